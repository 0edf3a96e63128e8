"""Heap profiles: what they cost on a loop of malloc and free, on programs, and in memory."""

import collections
import functools
import os
import random
import re
import shutil
import statistics
import tempfile

from common import BUILD, LIBRARIES, OUT, Chapter, amount, compile_c, run, run_for_peak, show
from programs import Figures, programs, written

PAIRS = 1_500_000
JEMALLOC = f"{LIBRARIES}/libjemalloc.so.2"
TCMALLOC = f"{LIBRARIES}/libtcmalloc.so.4"
LIBSONDE = str(BUILD / "libsonde.so")


# ---- the contenders ------------------------------------------------------------------------

# A way to run a program. base: the name of the tool it is compared with. needs: a file or command
# without which it is left out. cost: about how many times plain, so how many times less work it
# is given. every: it takes part in one round of so many. {} stands for a directory of its own.
Row = collections.namedtuple("Row", "name base needs cost every prefix environment program",
                             defaults=[(), {}, "heap_load"])


class Tool(Row):
    def words(self, directory):
        return [word.format(directory) for word in self.prefix]

    def variables(self, directory):
        return {name: value.format(directory) for name, value in self.environment.items()}


def sonde(name, settings):
    return Tool(name, "plain", LIBSONDE, 1, 1, (), {"LD_PRELOAD": LIBSONDE, **settings})


OFF, LINKED, SAMPLED, EXACT = "Sonde, off", "Sonde, linked, off", "Sonde, sampled", "Sonde, exact"
AGAIN = "plain, once more"

TOOLS = [
    Tool("plain", None, "/", 1, 1),
    Tool(AGAIN, "plain", "/", 1, 1),
    Tool(LINKED, "plain", LIBSONDE, 1, 1, program="heap_load_linked"),
    sonde(OFF, {}),
    sonde(SAMPLED, {"SONDE": "mem,path={},quiet"}),
    sonde(EXACT, {"SONDE": "mem=exact,path={},quiet"}),
    Tool("jemalloc", None, JEMALLOC, 1, 2, (), {"LD_PRELOAD": JEMALLOC}),
    Tool("jemalloc, sampled", "jemalloc", JEMALLOC, 1, 2, (), {
        "LD_PRELOAD": JEMALLOC,
        "MALLOC_CONF": "prof:true,lg_prof_sample:19,prof_final:true,prof_prefix:{}/jemalloc"}),
    Tool("tcmalloc", None, TCMALLOC, 1, 2, (), {"LD_PRELOAD": TCMALLOC}),
    Tool("tcmalloc, sampled", "tcmalloc", TCMALLOC, 1, 2, (), {
        "LD_PRELOAD": TCMALLOC, "TCMALLOC_SAMPLE_PARAMETER": "524288"}),
    Tool("tcmalloc, HEAPPROFILE", "tcmalloc", TCMALLOC, 60, 7, (), {
        "LD_PRELOAD": TCMALLOC, "HEAPPROFILE": "{}/tcmalloc"}),
    Tool("heaptrack", "plain", "heaptrack", 8, 7, ("heaptrack", "-o", "{}/heaptrack")),
    Tool("massif", "plain", "valgrind", 16, 7, (
        "valgrind", "-q", "--tool=massif", "--soname-synonyms=somalloc=libjemalloc*",
        "--massif-out-file={}/massif")),
    Tool("dhat", "plain", "valgrind", 32, 7, (
        "valgrind", "-q", "--tool=dhat", "--soname-synonyms=somalloc=libjemalloc*",
        "--dhat-out-file={}/dhat")),
]


def records(settings):
    """Whether this libsonde writes a heap profile when told so."""
    with tempfile.TemporaryDirectory() as directory:
        run(["/bin/true"], LD_PRELOAD=LIBSONDE, SONDE=settings.format(directory))
        return os.path.exists(f"{directory}/mem.pprof")


@functools.cache
def field():
    """Those that are here, by name; the others are named."""
    found = {}
    for tool in TOOLS:
        settings = tool.variables("{}").get("SONDE")
        if not shutil.which(tool.needs) and not os.path.exists(tool.needs):
            print(f"({tool.name}: {tool.needs} is not installed)")
        elif settings and not records(settings):
            print(f"({tool.name}: this libsonde writes no heap profile)")
        else:
            found[tool.name] = tool
    return found


# ---- the rounds -----------------------------------------------------------------------------

# Lists, one value a run: cpu and wall are ratios to the base, own is CPU itself, added is CPU
# beyond the base, peak likewise; size as it is.
Tally = collections.namedtuple("Tally", "cpu wall own added peak size")


def measure(workload, tool, less):
    with tempfile.TemporaryDirectory() as directory:
        return workload(tool, less, directory)


def one_round(workload, tools, tallies):
    """Each once, in random order, between two runs of its base."""
    groups = collections.defaultdict(list)
    for tool in tools:
        groups[tool.base, workload.less(tool)].append(tool)
    for base, less in random.sample(list(groups), len(groups)):
        plain, group = field()[base], groups[base, less]
        before = measure(workload, plain, less)
        for tool in random.sample(group, len(group)):
            got, after = measure(workload, tool, less), measure(workload, plain, less)
            cpu, wall, peak = ((x + y) / 2 for x, y in zip(before[:3], after[:3]))
            add(tallies[tool.name], (got.cpu / cpu, got.wall / wall, got.cpu, got.cpu - cpu,
                                     got.peak - peak, got.size))
            if less == 1:
                add(tallies[base], (1, 1, cpu, 0, 0, 0))
            before = after


# The medians of a Tally, and the middle half of its cpu.
Middle = collections.namedtuple("Middle", [*Tally._fields, "half"])


def middle(tally):
    quarters = statistics.quantiles(tally.cpu, n=4) if len(tally.cpu) > 1 else 3 * tally.cpu
    return Middle(*map(statistics.median, tally), half=(quarters[0], quarters[2]))


def add(tally, row):
    for values, value in zip(tally, row):
        values.append(value)


def compare(workload, rounds, names=None):
    """A Middle a tool's name, in the order of TOOLS."""
    tools = [t for t in field().values() if t.base and (not names or t.name in names)]
    tallies = {name: Tally(*([] for _ in Tally._fields)) for name in field()}
    for i in range(rounds):
        show(f"{workload.name}: round {i + 1} of {rounds}")
        one_round(workload, [t for t in tools if i % t.every == 0], tallies)
    show("")
    return {name: middle(tally) for name, tally in tallies.items() if tally.cpu}


def ratio(value):
    return f"{value:.3f}" if value < 2 else f"{value:.1f}" if value < 20 else f"{value:.0f}"


def is_base(name):
    return field()[name].base is None


def mb(value):
    return f"{value / 1e6:.1f} MB"


def heap_load(tool, directory, *arguments):
    ran, peak = run_for_peak([*tool.words(directory), OUT / tool.program, *arguments],
                             **tool.variables(directory))
    cpu, wall = re.search(r"^([\d.]+) ([\d.]+)$", ran.said, re.M).groups()
    return Figures(float(cpu), float(wall), peak, written(directory))


# ---- the loop --------------------------------------------------------------------------------


class Loop:
    """bench/heap_load.c loop: its seconds are nanoseconds a pair."""

    def __init__(self, name, low, high, threads, pairs=PAIRS):
        self.name, self.pairs = name, pairs
        self.arguments = [low, high, threads]

    def less(self, tool):
        return tool.cost

    def __call__(self, tool, less, directory):
        pairs = self.pairs // (less if tool.base else 1)
        return heap_load(tool, directory, "loop", pairs, *self.arguments)


LOOPS = [
    Loop("1 to 24 frames, 1 thread", 1, 24, 1),
    Loop("1 to 24 frames, 2 threads", 1, 24, 2),
    Loop("5 frames", 5, 5, 1),
    Loop("40 frames", 40, 40, 1, PAIRS // 2),
]


def loop_rows(tallies, one_thread):
    rows = [["", "ns a pair", "ns added", "CPU ÷ plain", "wall ÷ plain",
             *(["CPU, of one thread's", "wall, of one thread's"] if one_thread else []), "output"]]
    for name, t in tallies.items():
        row = [name, f"{t.own:.1f}"]
        row += ["", "", ""] if is_base(name) else [f"{t.added:.1f}", ratio(t.cpu), ratio(t.wall)]
        if one_thread:
            row += ["", ""] if is_base(name) else [f"{t.cpu / one_thread[name].cpu:.2f}",
                                                   f"{t.wall / one_thread[name].wall:.2f}"]
        rows.append([*row, amount(t.size) if t.size else ""])
    return rows


# ---- programs ----------------------------------------------------------------------------------


def less_for_program(tool):
    """Rounded, so that tools share their plain runs."""
    return 1 if tool.cost < 16 else 8


# Near to plain: they take part in so many times more rounds.
NEAR, OFTENER = 2, 4


def compare_program(program, rounds):
    near = [t.name for t in field().values() if t.cost < NEAR and t.name not in (LINKED, EXACT)]
    far = [n for n in field() if n not in near and n != LINKED]
    found = {**compare(program, rounds, far), **compare(program, OFTENER * rounds, near)}
    return {name: found[name] for name in field() if name in found}


def instructions(program):
    """Of those whose cost is a matter of instructions, a ratio to the base by name."""
    if not hasattr(program, "instructions") or not shutil.which("valgrind"):
        return {}
    count = {}
    for name, tool in field().items():
        if tool.cost == 1 and name not in (LINKED, AGAIN):
            show(f"{program.name}: instructions, {name}")
            with tempfile.TemporaryDirectory() as directory:
                count[name] = program.instructions(tool, 8, directory)
    show("")
    return {name: n / count[field()[name].base] for name, n in count.items() if not is_base(name)}


def program_rows(tallies, counted):
    rows = [["", "CPU ÷ plain", "middle half", "wall ÷ plain", "instructions ÷ plain",
             "peak memory beyond plain", "output"]]
    for name, t in tallies.items():
        if is_base(name):
            rows.append([f"{name}: {t.own:.2f} s", *[""] * 6])
        else:
            rows.append([name, ratio(t.cpu), f"{ratio(t.half[0])} to {ratio(t.half[1])}",
                         ratio(t.wall), ratio(counted[name]) if name in counted else "",
                         mb(t.peak), amount(t.size) if t.size else ""])
    return rows


# ---- memory -----------------------------------------------------------------------------


class Hold:
    """A heap of blocks of 1 KB."""

    name = "memory"

    def less(self, tool):
        return 1 if tool.cost < 16 else 8

    def blocks(self, tool):
        return 1_000_000 // self.less(tool)

    def __call__(self, tool, less, directory):
        return heap_load(tool, directory, "hold", 1_000_000 // less)


def hold_rows(workload, tallies):
    rows = [["", "blocks", "peak memory beyond plain", "a block", "ns a block added", "output"]]
    for name, t in tallies.items():
        if not is_base(name):
            blocks = workload.blocks(field()[name])
            rows.append([name, f"{blocks:,}", mb(t.peak), f"{t.peak / blocks:.0f} B",
                         f"{t.added:.0f}", amount(t.size) if t.size else ""])
    return rows


# ---- what was to be reached ------------------------------------------------------------------


def goal_rows(loops, ran, hold, workload):
    """Of Sonde's rows: the figure, and the bound that it was to keep."""
    rows = [["", "figure", "bound"]]
    mixed, two = loops[LOOPS[0].name], loops[LOOPS[1].name]
    for name, bound in [(AGAIN, ""), (LINKED, "3"), (OFF, "3"), (SAMPLED, "8")]:
        if name in mixed:
            added = ", ".join(f"{t[name].added:.1f}" for t in loops.values())
            rows.append([f"{name}: ns added to a pair, the four loops", added, bound])
    if SAMPLED in mixed:
        rows += [[f"{contender}: {name}", ratio(t[contender].cpu), "1.01"]
                 for name, t in ran.items() for contender in [AGAIN, OFF, SAMPLED]]
        rows.append([f"{SAMPLED}: memory", mb(hold[SAMPLED].peak), "10 MB"])
    if EXACT in mixed:
        rows.append([f"{EXACT}: {LOOPS[0].name}", ratio(mixed[EXACT].cpu), "5"])
        bound = 0.05 * 1024 * workload.blocks(field()[EXACT]) + 64e6
        rows.append([f"{EXACT}: memory", mb(hold[EXACT].peak), mb(bound)])
    for name in [SAMPLED, EXACT]:
        if name in mixed:
            rows.append([f"{name}: two threads' ratio ÷ one's, CPU",
                         f"{two[name].cpu / mixed[name].cpu:.2f}", "1.3"])
            rows.append([f"{name}: two threads' ratio ÷ one's, wall",
                         f"{two[name].wall / mixed[name].wall:.2f}", "1.3"])
    return rows


def measure_heap(rounds):
    compile_c("peak.c", "peak")
    compile_c("heap_load.c", "heap_load", "-pthread")
    compile_c("heap_load.c", "heap_load_linked", "-pthread", "-Wl,--no-as-needed", f"-L{BUILD}",
              "-lsonde", f"-Wl,-rpath,{BUILD}")
    loops, ran = {}, {}
    for loop in LOOPS:
        loops[loop.name] = compare(loop, 2 * rounds)
        one_thread = loops[LOOPS[0].name] if loop is LOOPS[1] else None
        yield f"A loop of malloc and free: {loop.name}", loop_rows(loops[loop.name], one_thread)
    for program in programs():
        program.less = less_for_program
        ran[program.name] = compare_program(program, rounds)
        yield program.name, program_rows(ran[program.name], instructions(program))
    hold = Hold()
    held = compare(hold, max(1, rounds // 2))
    yield "Memory: a heap of blocks of 1 KB", hold_rows(hold, held)
    yield "What was to be reached", goal_rows(loops, ran, held, hold)


CHAPTERS = {"heap": Chapter("Heap profiles", """
The loop (bench/heap_load.c) frees one of 16,384 live blocks and allocates another, of 16 to 4096
bytes, at the bottom of a call path of so many frames, below three of the thread's own. *ns added*
and the ratios are to plain runs with the same allocator; *plain* is glibc's, or for redis-server
jemalloc, which it is linked with. *Plain, once more* is the noise. On the loop, rounds are twice
as many, and slow tools do fewer pairs; on programs, those of 16 times plain and more are set
against plain on an eighth of the work, and those near to plain take part in four times as many
rounds; *middle half* is where the middle half of these lie; *instructions* are the program's own,
start and end included, counted by valgrind on an eighth of the work. python3 is told not to give
memory back to the kernel, which costs 4 % more or less with the number of mappings there are. jemalloc and tcmalloc take part in one round of two,
heaptrack and slower ones in one of seven. CPU on the loop is that of the program alone; on
programs a process beside it counts too, but for redis-server, where wall is that of redis-
benchmark. *Peak memory* is that of the largest process. Sampled is one sample in 524,288 bytes.
""", measure_heap)}
