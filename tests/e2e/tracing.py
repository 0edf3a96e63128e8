#!/usr/bin/env python3
"""One parser reads Go's lines and ours: what our tracers print, `sonde trace` knows line by
line, alone and all at once, and draws."""

from harness import *
import json
import re

PYTHON = ["/usr/bin/python3", "-c", """import json, threading, time
def work():
    for i in range(3): json.dumps(list(range(100000))); time.sleep(0.02)
t = [threading.Thread(target=work) for _ in range(3)]
[x.start() for x in t]; [x.join() for x in t]"""]
GUILE = ["guile-3.0", "--no-auto-compile", "-c",
         "(let loop ((i 0)) (if (< i 100000) (begin (make-vector 100 i) (loop (+ i 1)))))"]
CASES = {
    "gctrace, malloc": (PYTHON, ["--gctrace"]),
    "gctrace, libgc": (GUILE, ["--gctrace"]),
    "gctrace=2, libgc": (GUILE, ["--gctrace=2"]),
    "scavenge": (["sh", "-c", "sleep 1.3"], ["--scavenge"]),
    "schedtrace": (PYTHON, ["--schedtrace=10"]),
    "schedtrace, tracepoints": (PYTHON, ["--schedtrace=10", "--scheddetail"]),
    "schedtrace, switch": (PYTHON, ["--schedtrace=10", "--scheddetail"]),
    "schedtrace, proc": (PYTHON, ["--schedtrace=10", "--scheddetail"]),
    "allocfreetrace": (["sqlite3", ":memory:", "select 1"], ["--allocfreetrace"]),
    "all at once": (PYTHON, ["--gctrace=2", "--scavenge", "--schedtrace=10", "--scheddetail",
                             "--allocfreetrace", "--gcdead"]),
}


def traced(name, command, options):
    """The lines that the tracers printed."""
    path = f"{scratch()}/trace"
    source = name.partition(", ")[2]
    env = dict(os.environ)
    if source in ("tracepoints", "switch", "proc"):
        env["SONDE"] = f"schedsource={source}"
    done = subprocess.run([SONDE, "run", *options, f"--trace={path}", "--", *command], env=env,
                          capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
    if not ok(done.returncode == 0 and os.path.exists(path), f"{name}: runs"):
        note(done.stderr[:500])
        return None
    return path


def test_each_line_is_known():
    for name, (command, options) in CASES.items():
        if missing(command[0]):
            skip(name, f"{command[0]} is not installed")
            continue
        path = traced(name, command, options)
        if path is None:
            continue
        with open(path) as file:
            text = file.read()
        lines = text.splitlines()
        # From a pipe, what is no line of a trace goes on to standard error.
        done = subprocess.run([SONDE, "trace", "-"], input=text, capture_output=True, text=True,
                              timeout=60)
        left = [line for line in done.stderr.splitlines() if line in lines]
        equal((done.returncode, left[:3]), (0, []), f"{name}: {len(lines)} lines, each is known")
        ok(len(lines) > 0, f"{name}: there are lines")
        collections = sum(line.startswith("gc ") and " phases:" not in line for line in lines)
        told = re.search(r"^Collections: (\d+)", done.stdout, re.M)
        equal(int(told[1]) if told else 0, collections, f"{name}: all collections")
        sweeps = sum(line.startswith("SCHED ") and "source=" not in line for line in lines)
        told = re.search(r"^Scheduler: .* looked at (\d+) time", done.stdout, re.M)
        equal(int(told[1]) if told else 0, sweeps, f"{name}: all looks at the scheduler")
        allocations = sum(line.startswith("tracealloc(") for line in lines)
        told = re.search(r"^Allocations: (\d+)", done.stdout, re.M)
        equal(int(told[1]) if told else 0, allocations, f"{name}: all allocations")
        svg = sonde("trace", "--svg", path) if not name.startswith("allocfree") else "<svg"
        ok(svg.lstrip().startswith(("<?xml", "<svg")) and not re.search(r"[\s\",=-]nan\b", svg), f"{name}: is drawn")
        if not name.startswith("allocfree"):
            events = json.loads(sonde("trace", "--json", path))["traceEvents"]
            ok(len(events) > 0, f"{name}: {len(events)} events for Perfetto")


def test_processes():
    """Lines of what the program starts say whose they are."""
    path = traced("processes", ["sh", "-c", "sleep 0.12 & sleep 0.12; wait"], ["--schedtrace=50"])
    if path is None:
        return
    with open(path) as file:
        of = [re.search(r" pid=(\d+)$", line) for line in file.read().splitlines()]
    ok(any(pid is None for pid in of), "the program's own lines are plain")
    equal(len({pid[1] for pid in of if pid}), 2, "each other process's have its number")


def test_unwritable():
    done = subprocess.run([SONDE, "run", "--gctrace", "--trace=/nonexistent/x", "echo", "ran"],
                          capture_output=True, text=True)
    equal((done.returncode, done.stdout), (1, ""), "no trace can be written: nothing is run")
    ok("/nonexistent/x: cannot write the trace" in done.stderr, done.stderr.strip())
    done = subprocess.run([SONDE, "run", "--schedtrace=10", "--trace=/dev/full", "sleep", "0.1"],
                          capture_output=True, text=True, timeout=60)
    equal((done.returncode, done.stderr.count("has no room: lines are lost")), (0, 1),
          f"a full disk: it goes on, and it is said once: {done.stderr.strip()}")
    done = subprocess.run(["sh", "-c", 'ulimit -f 1; exec "$@"', "sh", SONDE, "run", "--schedtrace=2",
                           "--scheddetail", f"--trace={scratch()}/few", "sleep", "0.5"],
                          capture_output=True, text=True, timeout=60)
    equal((done.returncode, done.stderr.count("ulimit -f")), (0, 1),
          f"a limit on files: likewise: {done.stderr.strip()}")


def test_fifo():
    """A FIFO that nobody reads holds no program up; one that is read has the lines."""
    path = f"{scratch()}/fifo"
    os.mkfifo(path)
    run = preload(["echo", "ran"], f"gctrace,trace_path={path}", timeout=20)
    equal((run.status, run.out), (0, "ran\n"), "it runs")
    ok(f"{path}: cannot write the trace: nobody reads it" in run.err, run.err.strip())
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    run = preload(["sleep", "0.3"], f"schedtrace=50,quiet,trace_path={path}", timeout=20)
    lines = os.read(reader, 65536).decode().splitlines()
    os.close(reader)
    ok(run.status == 0 and len(lines) > 1 and all(line.startswith("SCHED ") for line in lines),
       f"{len(lines)} lines are read")


def test_small_stack():
    """A tracer takes little of a thread's stack."""
    for settings in ("efence", "allocfreetrace", "gctrace=2", "gcdead", "invalidptr=2", "scavenge,schedtrace=5",
                     "efence,allocfreetrace,gctrace=2,gcdead,invalidptr=2,scavenge"):
        run = preload(program("bad_pointers", "small_stack"), f"{settings},quiet,trace_path=/dev/null")
        equal((run.status, run.out, run.err), (0, "survived\n", ""), f"small stack: {settings}")


def test_short_program():
    """Our thread is none of the program's, also where it never came to run."""
    met = set()
    for _ in range(20):
        done = subprocess.run([SONDE, "run", "--schedtrace", "--", "taskset", "-c", "0", "true"],
                              capture_output=True, text=True, timeout=60)
        met |= set(re.findall(r"idleprocs=.* (threads=\d+)", done.stderr))
    equal(met, {"threads=1"}, "a program that ends at once has one thread")


main(globals())
