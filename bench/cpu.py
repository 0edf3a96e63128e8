"""CPU profiles: what they cost, whether all samples come and the split is true; start-up."""

import os
import random
import re
import shutil
import statistics
import struct
import subprocess
import tempfile

from common import (BUILD, LIBRARIES, OUT, ROOT, Chapter, Profile, amount, compile_c, run,
                    show)

LIBPROFILER = f"{LIBRARIES}/libprofiler.so.0"
UNITS = 8000

def compile_programs():
    compile_c("load.c", "load", "-pthread")
    compile_c("load.c", "load_fp", "-pthread", "-fno-omit-frame-pointer")
    compile_c("floor.c", "libfloor.so", "-shared", "-fPIC")


# ---- the contenders ----------------------------------------------------------------------


class Contender:
    """A way to profile `load`: returns (its output, its samples or None, bytes written, CPU)."""

    program = OUT / "load"

    def __init__(self, hz):
        self.hz = hz

    def __call__(self, arguments, directory):
        raise NotImplementedError


class Plain(Contender):
    name = "plain"

    def __call__(self, arguments, directory):
        ran = run([self.program, *arguments])
        return ran.said, None, 0, ran.cpu


class PlainFp(Plain):
    name = "plain, frame pointers"
    program = OUT / "load_fp"


class Sonde(Contender):
    name = "Sonde"

    def __call__(self, arguments, directory):
        ran = run([self.program, *arguments], LD_PRELOAD=str(BUILD / "libsonde.so"),
                  SONDE=f"cpu={self.hz},path={directory},quiet")
        profile = Profile(f"{directory}/cpu.pprof")
        self.complete = profile.complete("main", "work")
        return ran.said, profile.cpu_ns * self.hz / 1e9, profile.size, ran.cpu


class Floor(Contender):
    name = "empty handler, same clock"

    def __call__(self, arguments, directory):
        ran = run([self.program, *arguments], FLOOR_HZ=str(self.hz),
                  LD_PRELOAD=str(OUT / "libfloor.so"))
        return ran.said, int(ran.warned.split()[-1]), 0, ran.cpu


class Libprofiler(Contender):
    name = "libprofiler"
    extra = {}

    def __call__(self, arguments, directory):
        path = f"{directory}/gperf"
        ran = run([self.program, *arguments], LD_PRELOAD=LIBPROFILER, CPUPROFILE=path,
                  CPUPROFILE_FREQUENCY=str(self.hz), **self.extra)
        # Its file: words; a header of 5, then (count, depth, pcs...) until a count of 0.
        data = open(path, "rb").read()
        words, at, samples = struct.unpack(f"<{len(data) // 8}Q", data[: len(data) // 8 * 8]), 5, 0
        while at + 1 < len(words) and words[at]:
            samples += words[at]
            at += 2 + words[at + 1]
        return ran.said, samples, len(data), ran.cpu


class LibprofilerReal(Libprofiler):
    name = "libprofiler, REALTIME"
    extra = {"CPUPROFILE_REALTIME": "1"}


class Perf(Contender):
    name = "perf, frame pointers"
    graph = "fp"
    program = OUT / "load_fp"

    def __call__(self, arguments, directory):
        path = f"{directory}/perf.data"
        ran = run(["perf", "record", "-q", "-e", "task-clock", "-F", self.hz, "--call-graph",
                   self.graph, "-o", path, "--", self.program, *arguments])
        stats = subprocess.run(["perf", "report", "--stats", "-i", path], capture_output=True,
                               text=True).stdout
        samples = re.search(r"SAMPLE events:\s+(\d+)", stats)
        return (ran.said, int(samples[1]) if samples else None, os.path.getsize(path),
                ran.cpu)


class PerfDwarf(Perf):
    name = "perf, dwarf"
    graph = "dwarf"
    program = OUT / "load"


def contenders(threads):
    rates = [100, 1000, 10000]
    chosen = [Sonde(hz) for hz in rates]
    if threads == 1:
        chosen += [Floor(hz) for hz in rates]
    if os.path.exists(LIBPROFILER):
        chosen += [Libprofiler(100), Libprofiler(1000), LibprofilerReal(1000)]
    else:
        print("(libprofiler is not installed)")
    if shutil.which("perf"):
        chosen += [Perf(hz) for hz in rates] + [PerfDwarf(hz) for hz in rates]
    else:
        print("(perf is not installed)")
    return chosen


# ---- CPU ------------------------------------------------------------------------------------


class Tally:
    def __init__(self):
        self.ratio, self.total, self.extra, self.samples, self.size = [], [], [], [], []


def measure_cpu(depth, threads, rounds):
    arguments = [UNITS // threads, depth, threads]
    field = contenders(threads)
    tallies = {c: Tally() for c in field}
    plains = {False: Plain(0), True: PlainFp(0)}
    for i in range(rounds):
        show(f"{depth} frames, {threads} thread(s): round {i + 1} of {rounds}")
        random.shuffle(field)
        for c in field:
            plain = plains[c.program.name == "load_fp"]
            before = plain(arguments, None)
            with tempfile.TemporaryDirectory() as directory:
                said, samples, size, total = c(arguments, directory)
            after = plain(arguments, None)
            base = (int(before[0]) + int(after[0])) / 2
            tally = tallies[c]
            tally.ratio.append(int(said) / base)
            tally.total.append(total / ((before[3] + after[3]) / 2))
            if samples:
                tally.samples.append(samples / (int(said) * c.hz / 1e9))
                tally.extra.append((int(said) - base) / 1e3 / samples)
            tally.size.append(size)
    show("")
    return tallies


def cpu_table(depth, threads, rounds):
    tallies = measure_cpu(depth, threads, rounds)
    rows = [["", "Hz", "CPU of the program", "CPU with the tool's own", "µs a sample",
             "samples ÷ expected", "output"]]
    for c in sorted(tallies, key=lambda c: (ORDER.index(type(c)), c.hz)):
        t = tallies[c]
        rows.append([c.name, str(c.hz), f"{statistics.median(t.ratio):.3f}",
                     f"{statistics.median(t.total):.3f}",
                     f"{statistics.median(t.extra):.1f}" if t.extra else "",
                     f"{statistics.median(t.samples):.3f}" if t.samples else "",
                     amount(statistics.median(t.size)) if any(t.size) else ""])
    return rows


ORDER = [Sonde, Floor, Libprofiler, LibprofilerReal, Perf, PerfDwarf]


def measure_cpu_all(rounds):
    compile_programs()
    for depth, threads in [(20, 1), (106, 1), (20, 4)]:
        yield (f"{depth} frames, {threads} thread{'s' if threads > 1 else ''}",
               cpu_table(depth, threads, rounds))


# ---- jitter: a program in step with the clock ---------------------------------------------

PARTS = ["forty", "thirty", "twenty", "ten"]


def truth_of(said):
    spent = {w[1]: int(w[2]) for w in map(str.split, said.splitlines()) if w[:1] == ["truth"]}
    return {name: spent[name] / sum(spent.values()) for name in PARTS}


def shares_by_sonde(command, hz, directory):
    ran = run(command, LD_PRELOAD=str(BUILD / "libsonde.so"),
              SONDE=f"cpu={hz},path={directory},quiet")
    profile = Profile(f"{directory}/cpu.pprof")
    return truth_of(ran.said), {name: profile.under(name) for name in PARTS}


def shares_by_perf(command, hz, directory, rate):
    path = f"{directory}/perf.data"
    ran = run(["perf", "record", "-q", "-e", "task-clock", *rate, "--call-graph", "fp", "-o",
               path, "--", *command])
    text = subprocess.run(["perf", "script", "-i", path, "-F", "ip,sym"], capture_output=True,
                          text=True).stdout
    stacks = [set(re.findall(r"\w+$", stack, re.M)) for stack in text.split("\n\n") if stack]
    return truth_of(ran.said), {n: sum(n in s for s in stacks) / len(stacks) for n in PARTS}


def measure_jitter(rounds):
    program = BUILD / "tests" / "programs" / "periodic"
    tools = {"Sonde": shares_by_sonde}
    if shutil.which("perf"):
        tools["perf -c, a fixed period"] = lambda command, hz, directory: shares_by_perf(
            command, hz, directory, ["-c", 10**9 // hz])
        tools["perf -F"] = lambda command, hz, directory: shares_by_perf(
            command, hz, directory, ["-F", hz])
    rows = [["repeats every", "sampled at", *(f"{name}: median, worst" for name in tools)]]
    for period_us, hz in [(1000, 1000), (2000, 1000), (3400, 1000), (10000, 100), (3400, 100)]:
        row = [f"{period_us / 1000:g} ms", f"{hz} Hz"]
        for name, shares in tools.items():
            errors = []
            for i in range(rounds):
                show(f"{row[0]}, {row[1]}, {name}: round {i + 1} of {rounds}")
                with tempfile.TemporaryDirectory() as directory:
                    truth, got = shares([program, 2000, period_us], hz, directory)
                errors.append(100 * max(abs(got[n] - truth[n]) for n in PARTS))
            row.append(f"{statistics.median(errors):.1f}, {max(errors):.1f}")
        rows.append(row)
    show("")
    yield "", rows


# ---- start-up ---------------------------------------------------------------------------------


def measure_startup(rounds):
    rounds *= 20
    with tempfile.TemporaryDirectory() as directory:
        library = str(BUILD / "libsonde.so")
        field = {
            "plain": {},
            "Sonde, preloaded": {"LD_PRELOAD": library},
            "Sonde, recording": {"LD_PRELOAD": library, "SONDE": f"cpu,quiet,path={directory}"},
        }
        if os.path.exists(LIBPROFILER):
            field["libprofiler, recording"] = {"LD_PRELOAD": LIBPROFILER,
                                               "CPUPROFILE": f"{directory}/gperf"}
        walls, cpus = {n: [] for n in field}, {n: [] for n in field}
        for i in range(rounds):
            if i % 20 == 0:
                show(f"start-up: round {i + 1} of {rounds}")
            for name in random.sample(list(field), len(field)):
                ran = run(["/bin/true"], **field[name])
                walls[name].append(ran.wall)
                cpus[name].append(ran.cpu)
        if shutil.which("perf"):
            walls["perf record"], cpus["perf record"] = [], []
            for _ in range(max(3, rounds // 20)):
                ran = run(["perf", "record", "-q", "-g", "-o", f"{directory}/perf", "--",
                           "/bin/true"])
                walls["perf record"].append(ran.wall)
                cpus["perf record"].append(ran.cpu)
    show("")
    rows = [["`true`", "ms", "more than plain", "CPU ms"]]
    base = statistics.median(walls["plain"])
    for name in walls:
        wall = statistics.median(walls[name])
        rows.append([name, f"{1e3 * wall:.2f}", f"{1e3 * (wall - base):.2f}",
                     f"{1e3 * statistics.mean(cpus[name]):.2f}"])
    yield "", rows


# ---- unwinding ----------------------------------------------------------------------------------


def measure_unwind(rounds):
    program, src = OUT / "unwind_ns", ROOT / "src"
    rooms = [*src.glob("unwind/*.c"), *src.glob("unwind/x86_64/*.c"), *src.glob("base/*.c")]
    built = subprocess.run(["cc", "-O2", "-g", "-std=gnu17", "-D_GNU_SOURCE", f"-I{src}",
                            ROOT / "bench" / "unwind_ns.c", *rooms, "-lunwind", "-pthread", "-o",
                            program], capture_output=True, text=True)
    if built.returncode != 0:
        print("(no unwinding without libunwind-dev)")
        return
    said = run([program]).said
    cells, depths = {}, []
    for name, frames, ns in re.findall(r"^(.*?)\s+(\d+) frames .*?([\d.]+) ns/frame", said, re.M):
        cells.setdefault(name, []).append(ns)
        if name == next(iter(cells)):
            depths.append(frames)
    yield ("", [["", *(f"{d} frames" for d in depths)], *([n, *row] for n, row in cells.items())])


# ---- the chapters -----------------------------------------------------------------------------

CHAPTERS = {
    "cpu": Chapter("CPU profiles", """
The program (bench/load.c) does a fixed piece of work of about a second. *CPU of the program* is
what its process used; *with the tool's own* adds what a recording process beside it used. *µs a
sample* is the CPU time added, by sample taken. The *empty handler* is the floor: the same clock
with a handler that does nothing.
""", measure_cpu_all),
    "jitter": Chapter("A program in step with the clock", """
It repeats itself, and spends 40, 30, 20 and 10 % in four functions: points off that split.
""", measure_jitter),
    "unwind": Chapter("Unwinding", """
Nanoseconds a frame.
""", measure_unwind),
    "startup": Chapter("Start-up", """
Of `true`, the shortest program there is.
""", measure_startup),
}
