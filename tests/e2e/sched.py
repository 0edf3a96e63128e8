#!/usr/bin/env python3
"""schedtrace, scheddetail and `sonde sched`: every line in its grammar, programs whose scheduling
is known, by each source that this machine allows; what they wait for; what must not be disturbed."""

from harness import *
import ctypes
import re
import statistics
import struct
import time

ALL = ["tracepoints", "switch", "proc"]
TAIL = r"( pid=\d+)?$"
WORD = r'("([^"\\]|\\.)*"|[^ "]+)'
SUMS = r" run=\d+ wait=\d+ voluntary=\d+ involuntary=\d+( migrations=\d+)?"
GRAMMAR = [re.compile(r) for r in [
    r"SCHED \d+ms: source=(tracepoints|switch|proc) gomaxprocs=\d+ threads=\d+ interval=\d+ms"
    rf'( note={WORD})?{TAIL}',
    r"SCHED \d+ms: gomaxprocs=\d+ idleprocs=\d+ threads=\d+ idlethreads=\d+ runqueue=\d+"
    rf"( lost=\d+)? \[\d+( \d+)*\]{TAIL}",
    r"SCHED \d+ms: gomaxprocs=\d+ idleprocs=\d+ threads=\d+ idlethreads=\d+ runqueue=\d+"
    rf" ended=\d+{SUMS}( lost=\d+)?{TAIL}",
    rf"  P\d+: status=[01]( schedtick=\d+)? m=-?\d+ runqsize=\d+{TAIL}",
    rf'  M\d+: p=-?\d+ curg=-?\d+ name={WORD} state=(running|runnable|blocked\([^)]+\)){SUMS}'
    rf"( fd=\d+)?( on={WORD})?{TAIL}",
    r"    #\d+ 0x[0-9a-f]+( in .+)?( \(/.+\+0x[0-9a-f]+\))?$",
    r"    \([a-z ]+\)$"]]
FRAME = re.compile(r"    #\d+ 0x[0-9a-f]+(?: in ([^ ]+).*)? \(/")
FIELD = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*"|[^ "]+)')


class Sweep:
    def __init__(self, line):
        self.ms = int(re.match(r"SCHED (\d+)", line)[1])
        queues = re.search(r"\[([\d ]+)\]", line)
        self.queues = [int(n) for n in queues[1].split()] if queues else []
        self.p, self.m = {}, {}  # fields of a CPU, of a thread
        for key, value in FIELD.findall(line):
            setattr(self, key, int(value) if value.isdigit() else value)

    @property
    def running(self):
        return self.gomaxprocs - self.idleprocs


class Trace:
    """The lines, by sweep; those that are in no grammar."""

    def __init__(self, text):
        self.heads, self.sweeps, self.bad = [], [], []
        for line in text.splitlines():
            if not any(g.match(line) for g in GRAMMAR):
                self.bad.append(line)
            elif " source=" in line:
                self.heads.append(line)
            elif line.startswith("SCHED"):
                self.sweeps.append(Sweep(line))
            elif line.startswith("    "):
                frame = FRAME.match(line)
                into[int(number)].setdefault("stack", []).append(frame[1] if frame else line.strip())
            else:
                kind, number, rest = re.match(r"  ([PM])(\d+): (.*)", line).groups()
                fields = {k: v[1:-1] if v[0] == '"' else v for k, v in FIELD.findall(rest)}
                into = self.sweeps[-1].p if kind == "P" else self.sweeps[-1].m
                into[int(number)] = fields

    @property
    def source(self):
        return re.search(r"source=(\w+)", self.heads[0])[1]

    def middle(self, until):
        """The sweeps while the threads do what they do."""
        return [s for s in self.sweeps if 50 < s.ms < until]


def come_first():
    """Before what else this machine does, so that the programs below are scheduled as they would
    be on an idle one: by the session's share, if it is ours, for nobody else is in it."""
    try:
        if os.getsid(0) != os.getpid():
            os.setsid()
        with open("/proc/self/autogroup", "w") as file:
            file.write("-20")
    except OSError as error:
        note(f"others may come first: {error}")


def traced(command, settings, directory=None, **options):
    """Run it preloaded; its Run and the Trace of each of its processes."""
    directory = directory or scratch()
    run = preload(command, f"{settings},trace_path={directory}/lines.%p,quiet", directory, **options)
    files = sorted(os.listdir(directory))
    traces = {int(f.split(".")[1]): Trace(open(f"{directory}/{f}").read())
              for f in files if f.startswith("lines.")}
    bad = [line for t in traces.values() for line in t.bad]
    for line in bad[:3]:
        note(f"no line of the grammar: {line!r}")
    run.good = not bad
    return run, traces


def known(mode, threads, ms, source, settings="schedtrace=50,scheddetail=1", **options):
    """The truth program under one source: Run, its own Trace."""
    run, traces = traced(program("sched", mode, threads, ms),
                         f"{settings},schedsource={source}", **options)
    pid = int(re.search(r"pid (\d+)", run.out)[1])
    ok(run.status == 0 and run.good and pid in traces,
       f"{source}, {mode}: runs as ever, and each line is in the grammar")
    return run, traces[pid]


def allowed():
    """The sources that may be had here."""
    found = []
    for source in ALL:
        run = preload(program("sched", "sleep", 1, 1), f"schedtrace=1000,schedsource={source}")
        if "cannot be watched" not in run.err:
            found.append(source)
    return found


SOURCES = []


def each_source():
    SOURCES.extend([] if SOURCES else allowed())
    for source in ALL:
        if source in SOURCES:
            yield source
        else:
            skip(source, "this source is not allowed here")


def median(values):
    return statistics.median(values) if values else None


def truth(run):
    line = re.search(r"truth run=(\d+) voluntary=(\d+) involuntary=(\d+)", run.out)
    return [int(n) for n in line.groups()]


def compare(run, last, threads, name):
    """The sums of the last sweep with what the program's threads say of themselves, each before
    it waited for the end."""
    ns, voluntary, involuntary = truth(run)
    lost = getattr(last, "lost", 0)
    ok(abs(last.run - ns) <= 0.1 * ns + 20e6,
       f"{name}: {last.run / 1e6:.1f} ms on CPUs, of {ns / 1e6:.1f}")
    slack = 3 * threads + 10 + (0.02 * (voluntary + involuntary) if lost else 0)
    ok(abs(last.voluntary - voluntary) <= slack and abs(last.involuntary - involuntary) <= slack,
       f"{name}: {last.voluntary} and {last.involuntary} switches, of {voluntary} and {involuntary}")


# ---- programs whose scheduling is known --------------------------------------------------


def test_allowed():
    found = list(each_source())
    ok("proc" in found, f"sources here: {', '.join(SOURCES)}")
    if os.getuid() == 0 and os.path.exists("/proc/sys/kernel/perf_event_paranoid"):
        note(open("/proc/sys/kernel/perf_event_paranoid").read())


def test_spinning():
    cpus = len(os.sched_getaffinity(0))
    for source in each_source():
        run, trace = known("spin", 4 * cpus, 600, source)
        middle = trace.middle(550)
        ok(len(middle) >= 3, f"{source}: {len(middle)} sweeps")
        both = [s.running + s.runqueue for s in middle]
        ok(median(both) == 4 * cpus, f"{source}: each runs or is in a queue: {both}")
        ok(median([s.idlethreads for s in middle]) == 1, f"{source}: the main thread is idle")
        share = truth(run)[0] / (cpus * 600e6)
        if share < 0.9:
            skip(f"{source}: run queue", f"other programs took {100 - 100 * share:.0f} % of the CPUs")
        else:
            ok(median([s.runqueue for s in middle]) <= 3 * cpus + 1 and
               median([s.idleprocs for s in middle]) <= 1,
               f"{source}: run queue {[s.runqueue for s in middle]}, about {3 * cpus}; idle CPUs "
               f"{[s.idleprocs for s in middle]}")
        compare(run, trace.sweeps[-1], 4 * cpus, source)
        waits = sum(int(t["wait"]) for t in trace.sweeps[-1].m.values())
        want = 4 * cpus * 600e6 - truth(run)[0]
        ok(0.6 * want < waits < 2 * want,
           f"{source}: waited {waits / 1e6:.0f} ms in queues, of about {want / 1e6:.0f}")


def test_pinned():
    for source in each_source():
        run, trace = known("pinned", 4, 500, source, "schedtrace=50")
        middle = trace.middle(450)
        ok(all(sum(s.queues) == s.runqueue for s in middle), f"{source}: queues add up")
        ok(median([s.running + s.runqueue for s in middle]) == 4, f"{source}: four could run")
        ok(all(sum(s.queues[1:]) == 0 for s in middle[1:]), f"{source}: all on CPU 0: "
           f"{[s.queues for s in middle]}")
        ok(all(s.running <= 1 for s in middle[1:]), f"{source}: and one at most runs")


def test_sleeping():
    for source in each_source():
        run, trace = known("sleep", 5, 400, source)
        middle = trace.middle(400)
        said = [(len(s.m), s.idlethreads, s.runqueue) for s in middle]
        ok(said.count((6, 6, 0)) > len(said) / 2, f"{source}: all are idle: {said}")
        states = [t["state"] for s in middle for t in s.m.values()]
        ok(states.count("blocked(clock_nanosleep)") > 0.8 * len(states),
           f"{source}: ... in clock_nanosleep")
        names = {t["name"] for t in middle[-1].m.values()}
        ok({r"sleep \"0\"", r"sleep \"4\""} <= names, f"{source}: names are quoted: {names}")
        compare(run, trace.sweeps[-1], 5, source)


def test_taking_turns():
    for source in each_source():
        run, trace = known("pingpong", 2, 500, source)
        compare(run, trace.sweeps[-1], 2, f"{source}, fast")
        run, trace = known("slowly", 2, 500, source)
        compare(run, trace.sweeps[-1], 2, f"{source}, slow")
        waits = [(t["state"], t.get("on")) for s in trace.middle(450) for t in s.m.values()
                 if t["name"] == r"slowly \"0\""]
        right = waits.count(("blocked(futex)", "turn_changed"))
        ok(waits and right > len(waits) / 2,
           f"{source}: waits for turn_changed in {right} of {len(waits)} sweeps")
        moved = [int(t["migrations"]) for t in trace.sweeps[-1].m.values()
                 if "migrations" in t]
        ok(len(moved) == (0 if source == "proc" else 3), f"{source}: migrations {moved}")


def test_what_is_waited_for():
    for source in each_source():
        run, trace = known("lock", 3, 200, source)
        waits = [(t["state"], t.get("on")) for s in trace.middle(200) for t in s.m.values()
                 if t["name"].startswith("lock")]
        ok(waits and waits.count(("blocked(futex)", "table_lock")) > 0.8 * len(waits),
           f"{source}: the lock's variable")
        run, trace = known("pipe", 1, 200, source)
        fd = re.search(r"pipe (\d+)", run.out)[1]
        waits = [(t["state"], t.get("fd"), t.get("on", "")[:6]) for s in trace.middle(200)
                 for t in s.m.values() if t["name"].startswith("pipe")]
        ok(("blocked(read)", fd, "pipe:[") in waits, f"{source}: the pipe: {set(waits)}")
    if os.getuid() != 0:
        return skip("after setuid", "not root")
    run, trace = known("nobody", 1, 200, "proc")
    waits = {t["state"] for s in trace.middle(200) for t in s.m.values()
             if t["name"].startswith("nobody")}
    ok(any("futex" in w for w in waits), f"after setuid the kernel's function: {waits}")


STANDS = [("epoll_thread",), ("read_deep",) * 6 + ("read_thread",), ("spin", "spin_thread"), ("rest", "main")]


def check_stacks(name, sweeps, out):
    """Each thread was seen where it stands, up to the beginning of its stack; none was disturbed."""
    seen, ends = set(), []
    for sweep in sweeps:
        for thread in sweep.m.values():
            stack = thread.get("stack", [])
            own = [f for f in stack if f in {n for names in STANDS for n in names}]
            seen.add(tuple(own))
            if tuple(own) in STANDS:  # libc names the start of a thread or does not
                ends.append(stack[-1] == "_start" if "main" in own else stack.index(own[-1]) + 2 <= len(stack))
    for stack in STANDS:
        ok(stack in seen, f"{name}: {' < '.join(stack)}")
    if not set(STANDS) <= seen:
        note(seen)
    ok(ends and all(ends), f"{name}: {len(ends)} stacks to their beginnings")
    equal(out.split("\n", 1)[1], "epoll 0\n", f"{name}: no wait was cut short")


def test_stacks():
    for source in each_source():
        run, traces = traced(program("stands", 500), f"schedtrace=50,scheddetail=2,schedsource={source}")
        ok(run.status == 0 and run.good, f"{source}: in the grammar, with stacks")
        check_stacks(source, next(iter(traces.values())).sweeps, run.out)
    running = subprocess.Popen(program("stands", 900), stdout=subprocess.PIPE, text=True)
    head = running.stdout.readline()
    done, trace = watch(running.pid, "--interval=50", "--count=10", "--stacks")
    equal((done.returncode, done.stderr, trace.bad), (0, "", []), "sonde sched --stacks: in the grammar")
    check_stacks("sonde sched --stacks", trace.sweeps, head + running.communicate()[0])
    done = subprocess.run([str(SONDE), "run", "--schedtrace=100", "--scheddetail=2", *program("stands", 300)],
                          capture_output=True, text=True, timeout=60)
    ok(done.returncode == 0 and "in spin " in done.stderr and
       "stands.c:" in done.stderr, "sonde run names functions and lines")
    for source in ["scheddetail=2", "scheddetail,cpu"]:
        run = preload(["true"], source)
        ok(run.status == 0 and "schedtrace: give both" in run.err, f"SONDE={source} is told: {run.err.strip()}")


def test_stacks_of_real_programs():
    code = "import threading, time\nt = threading.Thread(target=lambda: time.sleep(0.5))\nt.start()\nt.join()"
    run, traces = traced(["python3", "-c", code], "schedtrace=100,scheddetail=2")
    stacks = [t.get("stack", []) for s in next(iter(traces.values())).sweeps for t in s.m.values()]
    ok(run.status == 0 and run.good and len(stacks) > 5, f"python3: {len(stacks)} stacks")
    ok(any("_PyEval_EvalFrameDefault" in s and "_start" in s for s in stacks) or
       any(len(s) > 8 for s in stacks), "... through the interpreter, to the start")


def test_short_threads():
    for source in each_source():
        run, trace = known("short", 1, 600, source)
        made, ended = int(re.search(r"made (\d+)", run.out)[1]), trace.sweeps[-1].ended
        if source == "proc":
            ok(ended <= made, f"proc: {ended} of {made} threads were met")
        else:
            slack = 2 + (made / 2 if hasattr(trace.sweeps[-1], "lost") else 0)
            ok(abs(ended - made) <= slack, f"{source}: {ended} of {made} threads have ended")
            ok(trace.sweeps[-1].run > 0.9 * made * 100e3,
               f"{source}: {trace.sweeps[-1].run / 1e6:.0f} ms, theirs in it")


# ---- what must not be disturbed ------------------------------------------------------------


def test_lives():
    for source in each_source():
        run, trace = known("closes", 2, 300, source)
        compare(run, trace.sweeps[-1], 2, f"{source}, descriptors closed")
        run, trace = known("exec", 2, 200, source)
        equal(len(trace.heads), 2, f"{source}: exec begins anew")
        begin = time.monotonic()
        run, trace = known("leaves", 2, 300, source)
        ok(0.25 < time.monotonic() - begin < 10, f"{source}: ends with its last thread")
        ok(all("sonde" not in t["name"] for s in trace.sweeps for t in s.m.values()),
           f"{source}: our own thread is not listed")


def test_fork():
    for source in each_source():
        directory = scratch()
        run, traces = traced(program("sched", "fork", 1, 150),
                             f"schedtrace=50,scheddetail=1,schedsource={source}", directory)
        equal((run.status, run.good, len(traces)), (0, True, 2), f"{source}: two processes")
        for pid in traces:
            lines = open(f"{directory}/lines.{pid}").read().splitlines()
            first = pid == int(re.search(r"pid (\d+)", run.out)[1])
            tails = {line.endswith(f" pid={pid}") for line in lines}
            equal(tails, {not first}, f"{source}: pid= ends the lines of the child only")


def test_daemon():
    directory = scratch()
    run, traces = traced(program("sched", "daemon", 1, 200), "schedtrace=50", directory)
    end = time.monotonic() + 20
    last = []
    while time.monotonic() < end and not any(s.threads == 2 for t in last for s in t.sweeps):
        time.sleep(0.1)
        last = [Trace(open(f"{directory}/{f}").read()) for f in os.listdir(directory)
                if f.startswith("lines.")]
    ok(any(s.threads == 2 for t in last for s in t.sweeps), "a daemon's lines go on")
    equal([line for t in last for line in t.bad], [], "... in the grammar")


def test_a_short_program_has_its_sums():
    run, traces = traced(program("sched", "spin", 1, 30), "schedtrace=60000,scheddetail=1")
    trace = next(iter(traces.values()))
    ok(len(trace.sweeps) == 1 and trace.sweeps[0].run > 1e6, "a line at the end")


def test_by_configuration():
    done = subprocess.run(program("sched_api"), capture_output=True, text=True, timeout=60)
    trace = Trace(done.stderr)
    equal((done.returncode, done.stdout, len(trace.heads), trace.bad),
          (0, "fds 0 tasks 0\n", 2, []), "sonde_start, twice, and nothing is left of it")
    ok(all(len(s.m) == 6 and [t.get("on") for t in s.m.values()].count("held") == 5
           for s in trace.sweeps[1:]) and len(trace.sweeps) >= 6,
       "... with the threads that there were")


def test_standard_error():
    run = preload(program("sched", "sleep", 1, 100), "schedtrace=50")
    trace = Trace(run.err)
    ok(len(trace.sweeps) >= 2 and not trace.bad, "lines go to standard error")
    run = record(program("sched", "sleep", 1, 100), "--schedtrace=50", "--scheddetail")
    trace = Trace(run.err)
    ok(len(trace.sweeps) >= 2 and trace.sweeps[0].m and run.status == 0,
       f"sonde run --schedtrace: {run.err[:200]!r}")


# ---- what is allowed -----------------------------------------------------------------------


def test_calls_that_want_no_other_thread():
    """setuid after capset, and other namespaces: refused, or fatal, where there are threads."""
    if os.getuid() != 0 or missing("setpriv", "unshare"):
        return skip("setpriv, unshare", "not root, or not here")
    drop = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    for command in [drop + ["id"], ["unshare", "-Ur", "id"], ["unshare", "-U", *drop[:1], "--help"]]:
        plain = subprocess.run(command, capture_output=True, text=True)
        if plain.returncode != 0:
            skip(" ".join(command[:2]), plain.stderr.strip())
            continue
        for settings in ["schedtrace=1,scheddetail=2", "scavenge", "gctrace,invalidptr=2"]:
            run = preload(command, f"{settings},quiet,trace_path=/dev/null")
            equal((run.status, run.out), (0, plain.stdout), f"{settings}: {' '.join(command[:2])}")
    run = preload([*drop, "sleep", "0.05"], "schedtrace=1,scheddetail,quiet")
    ended = {line.split(" ended=")[1].split()[0] for line in run.err.splitlines() if " ended=" in line}
    ok(run.status == 0 and ended == {"0"}, f"our thread, gone and back, is no thread of the program's: ended {ended}")


def refuse_perf():
    """Let perf_event_open fail, as container runtimes do."""
    number = {"x86_64": 298, "aarch64": 241}[os.uname().machine]
    code = [(0x20, 0, 0, 0), (0x15, 0, 1, number), (6, 0, 0, 0x00050001), (6, 0, 0, 0x7fff0000)]
    text = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *c) for c in code))
    rules = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(code), ctypes.addressof(text)))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(38, 1, 0, 0, 0)  # no new privileges
    if libc.prctl(22, 2, rules, 0, 0) != 0:  # seccomp, by a filter
        raise OSError(ctypes.get_errno(), "seccomp")


def test_refused_perf():
    try:
        run = preload(program("sched", "sleep", 1, 100), "schedtrace=50", preexec_fn=refuse_perf)
    except subprocess.SubprocessError as error:
        return skip("perf_event refused", str(error))
    trace = Trace(run.err)
    ok(trace.source == "proc" and "perf_event_open: Operation not permitted" in trace.heads[0],
       f"perf_event refused: {trace.heads}")
    ok(not trace.bad and trace.sweeps[-1].threads == 2, "... and /proc in its place")
    run = preload(program("sched", "sleep", 1, 100), "schedtrace=50,schedsource=switch",
                  preexec_fn=refuse_perf)
    ok("switch" in run.err and "not profiling" in run.err and "truth" in run.out,
       f"insisted on: {run.err.strip()}")


def unprivileged_copy():
    """The library, the command and the program where everybody may read them."""
    directory = scratch()
    for d in [directory, os.path.dirname(directory)]:
        os.chmod(d, 0o755)
    os.mkdir(f"{directory}/out")
    os.chmod(f"{directory}/out", 0o777)
    for file in [LIBRARY, SONDE, program("sched")[0]]:
        shutil.copy(file, directory)
    return directory


NOBODY = {"user": 65534, "group": 65534, "extra_groups": []}


def test_unprivileged():
    if os.getuid() != 0:
        return skip("unprivileged", "is what all tests are")
    directory = unprivileged_copy()
    environment = dict(os.environ, LD_PRELOAD=f"{directory}/libsonde.so",
                       SONDE="schedtrace=50,scheddetail=1")
    done = subprocess.run([f"{directory}/sched", "spin", "4", "400"], env=environment, text=True,
                          capture_output=True, timeout=60, **NOBODY)
    trace = Trace(done.stderr)
    ok(done.returncode == 0 and not trace.bad and trace.sweeps, f"unprivileged: {trace.heads}")
    note(trace.bad[:3])
    paranoid = int(open("/proc/sys/kernel/perf_event_paranoid").read())
    ok("no tracepoints: " in trace.heads[0], "... told why not by tracepoints")
    if paranoid <= 2 and "switch" in SOURCES:
        equal(trace.source, "switch", f"... by switch records, at paranoid {paranoid}")
    middle = trace.middle(350)
    ok(median([s.running + s.runqueue for s in middle]) == 4, "... four could run")


def test_other_users_process():
    if os.getuid() != 0:
        return skip("another user's process", "not root")
    directory = unprivileged_copy()
    done = subprocess.run([f"{directory}/sonde", "sched", str(os.getpid())], text=True,
                          capture_output=True, timeout=60, **NOBODY)
    ok(done.returncode == 1 and "belongs to root" in done.stderr, f"refused: {done.stderr.strip()}")
    victim = subprocess.Popen([f"{directory}/sched", "lock", "1", "3000"], stdout=subprocess.PIPE,
                              **NOBODY)
    victim.stdout.readline()
    time.sleep(0.2)
    done = subprocess.run([f"{directory}/sonde", "sched", "--detail", "--count=3", "--interval=50",
                           str(victim.pid)], text=True, capture_output=True, timeout=60, **NOBODY)
    trace = Trace(done.stdout)
    ok(done.returncode == 0 and not trace.bad and len(trace.sweeps) == 3,
       f"one's own, unprivileged: {trace.heads} {done.stderr}")
    victim.kill()
    victim.wait()


# ---- a running program ---------------------------------------------------------------------


def start(mode, threads, ms):
    running = subprocess.Popen(program("sched", mode, threads, ms), stdout=subprocess.PIPE,
                               text=True)
    running.stdout.readline()
    return running


def watch(pid, *arguments):
    done = subprocess.run([str(SONDE), "sched", *arguments, str(pid)], text=True,
                          capture_output=True, timeout=60)
    return done, Trace(done.stdout)


def test_attach():
    for source in each_source():
        running = start("spin", 4, 900)
        done, trace = watch(running.pid, "--interval=100", "--detail", f"--source={source}")
        running.out = running.stdout.read()
        equal((done.returncode, done.stderr, running.wait()), (0, "", 0),
              f"{source}: ends with the program")
        ok(not trace.bad and len(trace.sweeps) > 4, f"{source}: {len(trace.sweeps)} sweeps, "
           f"{trace.bad[:2]}")
        middle = [s for s in trace.sweeps if 100 < s.ms < 700]
        both = [s.running + s.runqueue for s in middle]
        ok(median(both) == 4, f"{source}: four could run: {both}")
        last = next(s for s in reversed(trace.sweeps) if len(s.m) == 5)
        compare(running, last, 4, f"{source}, attached")


def test_attach_waits():
    for source in each_source():
        running = start("lock", 2, 1500)
        time.sleep(0.2)
        done, trace = watch(running.pid, "--detail", "--count=1", f"--source={source}")
        on = sorted(t.get("on", "") for t in trace.sweeps[0].m.values())
        equal((len(trace.sweeps), on), (1, ["", "table_lock", "table_lock"]),
              f"{source}: the lock's variable, from outside")
        running.kill()
        running.wait()
    static = subprocess.Popen(program("static", 3000), stdout=subprocess.DEVNULL)
    done, trace = watch(static.pid, "--count=2", "--interval=50")
    ok(done.returncode == 0 and len(trace.sweeps) == 2 and trace.sweeps[1].threads == 1,
       "a static program")
    static.kill()
    static.wait()


def test_attach_exec():
    """By a thread that is not the first, whose number it then takes."""
    for source in each_source():
        running = start("aside", 3, 400)
        done, trace = watch(running.pid, "--interval=50", "--detail", f"--source={source}")
        running.out = running.stdout.read()
        equal((done.returncode, running.wait(), trace.bad), (0, 0, []), f"{source}: exec, watched")
        after = [s for s in trace.sweeps if s.threads == 4]
        ok(after and all(running.pid in s.m for s in after), f"{source}: its threads after exec")
        first = {s.m[running.pid]["state"] for s in after if running.pid in s.m}
        ok(first <= {"blocked(clock_nanosleep)", "running", "runnable", "blocked(?)"} and
           "blocked(clock_nanosleep)" in first, f"{source}: the first of them sleeps: {first}")


def test_attach_ends():
    running = start("sleep", 1, 5000)
    for number in [signal.SIGINT, signal.SIGTERM]:
        watcher = subprocess.Popen([str(SONDE), "sched", "--interval=50", str(running.pid)],
                                   stdout=subprocess.PIPE, text=True)
        for _ in range(3):
            watcher.stdout.readline()
        watcher.send_signal(number)
        equal(watcher.wait(10), -number, f"signal {number} ends it")
        watcher.stdout.close()
    running.kill()
    running.wait()
    done, _ = watch(running.pid)
    ok(done.returncode == 1 and "no such process" in done.stderr, done.stderr.strip())
    ended = subprocess.Popen(["true"])
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
    done = subprocess.run([str(SONDE), "sched", "--count=1", str(ended.pid)], text=True,
                          capture_output=True, timeout=60)
    ok((done.returncode, done.stdout) == (1, "") and "has ended" in done.stderr,
       f"a zombie: {done.stderr.strip()}")
    ended.wait()
    for word in ["init", "0", "-5"]:
        done, _ = watch(word)
        equal(done.returncode, 2, f"sonde sched {word}: {done.stderr.splitlines()[:1]}")


# ---- unmodified programs -------------------------------------------------------------------


def test_real_programs():
    lacks = missing("xz", "python3")
    if lacks:
        return skip("xz, python3", f"no {lacks}")
    data = os.urandom(1 << 20) * 12
    plain = subprocess.run(["xz", "-T2", "-1", "-c"], input=data, capture_output=True).stdout
    run, traces = traced(["xz", "-T2", "--block-size=1MiB", "-1", "-c"],
                         "schedtrace=20,scheddetail=1", text=False, stdin=None, input=data)
    trace = next(iter(traces.values()))
    again = subprocess.run(["xz", "-dc"], input=run.out, capture_output=True).stdout
    ok(run.status == 0 and run.good and again == data and plain, "xz -T2 compresses as ever")
    ok(max(len(s.m) for s in trace.sweeps) >= 3, "... with its threads")
    code = ("import threading, time\n"
            "def f():\n    time.sleep(0.3)\n"
            "ts = [threading.Thread(target=f) for _ in range(20)]\n"
            "[t.start() for t in ts]; [t.join() for t in ts]; print('done')")
    run, traces = traced(["python3", "-c", code], "schedtrace=50,scheddetail=1")
    trace = next(iter(traces.values()))
    ok(run.out == "done\n" and run.good, "python3 with threads")
    ok(max(s.idlethreads for s in trace.sweeps) >= 20, "... which sleep")


def test_redis():
    if missing("redis-server", "redis-cli"):
        return skip("redis-server", "is not there")
    directory = scratch()
    environment = dict(os.environ, LD_PRELOAD=str(LIBRARY),
                       SONDE=f"schedtrace=50,scheddetail=1,trace_path={directory}/lines")
    server = subprocess.Popen(["redis-server", "--port", "0", "--unixsocket", f"{directory}/s",
                               "--save", ""], env=environment, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)
    cli = ["redis-cli", "-s", f"{directory}/s"]
    end = time.monotonic() + 20
    while time.monotonic() < end and subprocess.run([*cli, "ping"], capture_output=True).stdout \
            != b"PONG\n":
        time.sleep(0.1)
    time.sleep(0.3)
    subprocess.run([*cli, "shutdown", "nosave"], capture_output=True)
    equal(server.wait(20), 0, "redis-server ends as ever")
    trace = Trace(open(f"{directory}/lines").read())
    equal(trace.bad, [], "... each line in the grammar")
    states = {t["state"] for s in trace.sweeps for t in s.m.values()}
    ons = {t.get("on") for s in trace.sweeps for t in s.m.values()}
    ok("blocked(epoll_wait)" in states and "anon_inode:[eventpoll]" in ons,
       f"... the main thread waits in epoll: {states}")


come_first()
main(globals())
