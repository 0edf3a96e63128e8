#!/usr/bin/env python3
"""gctrace, scavenge, and what gcdead and the memory statistics have to do with a collector: on
Guile and on a program whose heap is known, against libgc's own log; on programs that only have
malloc, against the allocator's own figures; and each line against Go's grammar."""

import re
import time

from harness import *

KNOWN = PROGRAMS / "gc"
MB = 1 << 20

# Go's line (runtime/mgc.go; stacks and globals since 1.18), and what we add behind it.
NUMBER = r"(?:0|[1-9]\d*|\d\.\d{1,3}|[1-9]\d\.\d|0\.\d\d?\d?)"
GO = (
    rf"^gc (?P<n>\d+) @(?P<at>\d+\.\d{{3}})s (?P<percent>\d+)%: "
    rf"(?P<stop>{NUMBER})\+(?P<mark>{NUMBER})\+(?P<start>{NUMBER}) ms clock, "
    rf"(?P<cpu0>{NUMBER})\+(?P<own>{NUMBER})/(?P<others>{NUMBER})/(?P<idle>{NUMBER})"
    rf"\+(?P<cpu1>{NUMBER}) ms cpu, "
    r"(?P<before>\d+)->(?P<end>\d+)->(?P<live>\d+) MB, (?P<goal>\d+) MB goal, "
    r"(?:\d+ MB stacks, \d+ MB globals, )?(?P<p>\d+) P(?P<forced> \(forced\))?")
GC = re.compile(
    GO + r" (?P<kind>libgc|malloc), (?P<objects>\d+)(?: \((?P<mallocs>\d+)-(?P<frees>\d+)\))? objects"
    r"(?: pid=(?P<pid>\d+))?$")
PHASES = re.compile(
    rf"^gc (?P<n>\d+) phases: prepare (?P<prepare>{NUMBER}), stop (?P<stop>{NUMBER}), "
    rf"mark (?P<mark>{NUMBER}), restart (?P<restart>{NUMBER}), reclaim (?P<reclaim>{NUMBER}), "
    rf"whole (?P<whole>{NUMBER}) ms libgc, (?P<before>\d+)->(?P<end>\d+)->(?P<live>\d+) B"
    r"(?: pid=\d+)?$")
SCVG = re.compile(r"^scvg(?P<n>\d+): (?P<gone>\d+) MB released(?P<libgc> libgc)?(?: pid=\d+)?$")
SIZES = re.compile(
    r"^scvg(?P<n>\d+): inuse: (?P<inuse>\d+), idle: (?P<idle>\d+), sys: (?P<sys>\d+), "
    r"released: (?P<released>\d+), consumed: (?P<consumed>\d+) \(MB\)(?P<libgc> libgc)?"
    r"(?: pid=\d+)?$")


class Line:
    """A line's fields, numbers as numbers."""

    def __init__(self, match):
        for key, value in match.groupdict().items():
            number = value is not None and re.fullmatch(r"[\d.]+", value)
            setattr(self, key, float(value) if number and "." in value else
                    int(value) if number else value)


def lines(text, pattern=GC):
    return [Line(m) for m in map(pattern.match, text.splitlines()) if m]


def strange(text):
    """Lines that begin as ours and are none."""
    ours = [line for line in text.splitlines() if re.match(r"gc \d|scvg\d", line)]
    return [line for line in ours if not any(p.match(line) for p in (GC, PHASES, SCVG, SIZES))]


def trace(command, settings, **options):
    run = preload([str(c) for c in command], settings, **options)
    equal(strange(run.err), [], f"{settings}: each line has Go's grammar")
    return run


def within(got, want, share, slack, name):
    ok(abs(got - want) <= share * abs(want) + slack, f"{name}: {got:.6g}, {want:.6g} expected")


def truths(out):
    return [line.split()[1:] for line in out.splitlines() if line.startswith("truth")]


# ---- Go ----

GO_PROGRAM = """
package main
import ("runtime"; "time")
var keep [][]byte
func main() {
    for i := 0; i < 60000; i++ { if i % 4 == 0 { keep = append(keep, make([]byte, 2000)) } else { _ = make([]byte, 4000 + i % 9) } }
    runtime.GC()
    time.Sleep(100 * time.Millisecond)
}
"""


def test_go_grammar():
    """What our lines are held against is what Go prints."""
    go = shutil.which("go", path="/usr/bin:/usr/lib/go/bin") or shutil.which("go")
    if go is None:
        return skip("Go's grammar", "golang-go is not installed")
    directory = scratch()
    with open(f"{directory}/main.go", "w") as file:
        file.write(GO_PROGRAM)
    env = dict(os.environ, GOFLAGS="-mod=mod", GOCACHE=f"{directory}/cache", GO111MODULE="off",
               HOME=directory)
    built = subprocess.run([go, "build", "-o", "main", "main.go"], cwd=directory, env=env,
                           capture_output=True, text=True, timeout=200)
    if built.returncode != 0:
        return skip("Go's grammar", f"go does not build: {built.stderr[-200:]}")
    err = subprocess.run([f"{directory}/main"], env=dict(os.environ, GODEBUG="gctrace=1"),
                         capture_output=True, text=True, timeout=60).stderr
    theirs = [line for line in err.splitlines() if line.startswith("gc ")]
    ok(len(theirs) > 3 and theirs[-1].endswith("(forced)"), f"Go prints {len(theirs)} lines")
    equal([line for line in theirs if not re.match(GO + "$", line)], [], "of the same grammar")


# ---- libgc ----

SCHEME = """
(define (build n) (let loop ((i 0) (acc '())) (if (= i n) acc (loop (+ i 1) (cons (make-vector 3 i) acc)))))
(define keep (build 100000))
(let loop ((i 0)) (when (< i 30) (build 100000) (loop (+ i 1))))
(gc)
(display (length keep)) (newline)
"""


def guile(*more):
    return ["guile", "--no-auto-compile", "-c", SCHEME, *more]


def libgc_log(err):
    """What libgc itself says of each collection: number → its pause in ms, its live bytes."""
    log, now = {}, None
    for line in err.splitlines():
        if m := re.match(r"GC #(\d+) freed", line):
            now = log.setdefault(int(m[1]), {})
        elif m := re.match(r"World-stopped marking took (\d+) ms (\d+) ns", line):
            now["ms"] = int(m[1]) + int(m[2]) / 1e6
        elif m := re.match(r"In-use heap: \d+% \((\d+) KiB pointers \+ (\d+) KiB other\)", line):
            now["live"] = (int(m[1]) + int(m[2])) * 1024
    return log


def test_guile_agrees_with_libgc():
    """Its own log is the judge: the numbers, the pauses, what lives."""
    if missing("guile"):
        return skip("gctrace of Guile", "guile-3.0 is not installed")
    run = trace(guile(), "gctrace=2", env=dict(os.environ, GC_PRINT_STATS="1"))
    ours, phases, log = lines(run.err), lines(run.err, PHASES), libgc_log(run.err)
    equal(run.out, "100000\n", "guile does what it does")
    ok(len(log) > 10, f"libgc tells of {len(log)} collections")
    equal([x.n for x in ours], list(log), "each collection has its line, by libgc's number")
    equal([x.n for x in phases], list(log), "and its phases")
    pause = {x.n: x.stop + x.mark + x.restart for x in phases}
    longer = [n for n in log if pause[n] > 1.06 * log[n]["ms"] + 0.02]  # two digits are printed
    equal(longer, [], "no pause is longer than libgc says, who measures around us")
    shares = sorted(pause[n] / log[n]["ms"] for n in log)
    ok(shares[len(shares) // 2] > 0.8, f"pauses are {shares[len(shares) // 2]:.2f} of libgc's")
    wrong = [(x.n, x.live, log[x.n]["live"]) for x in phases
             if abs(x.live - log[x.n]["live"]) > 16384]
    # We count when the world goes on again: Guile's other threads may have been quicker, once.
    equal(wrong[len(log) // 50 + 1:], [], "what lives is what libgc says lives")
    equal([x.live // MB for x in phases], [x.live for x in ours], "MB are those of the bytes")
    ok(all(x.before >= x.live and x.end == x.before and x.kind == "libgc" for x in ours),
       "nothing is allocated while the world stands still")
    ok(all(a.at <= b.at for a, b in zip(ours, ours[1:])), "in the order of time")
    ok(all(0 < x.percent <= 100 for x in ours[5:]), "a share of the time")


def test_each_collection_twice():
    """gctrace=2: the second finds what the first left."""
    if not KNOWN.exists():
        return skip("gctrace=2", "libgc-dev is not installed")
    once = lines(trace([KNOWN, "churn", 20, 1], "gctrace=1").err)
    twice = lines(trace([KNOWN, "churn", 20, 1], "gctrace=2").err)
    ok(len(twice) > 1.8 * len(once), f"{len(twice)} collections, {len(once)} without")
    again = [b for a, b in zip(twice, twice[1:]) if b.n % 2 == twice[1].n % 2]
    ok(all(not x.forced for x in again), "which nobody asked for")
    equal(once[0].kind, "libgc", "libgc's")


def test_guile_unharmed():
    """Also when it collects twice as often as it asks for, and unmaps."""
    if missing("guile"):
        return skip("guile, unharmed", "guile-3.0 is not installed")
    script = """
(use-modules (ice-9 threads) (ice-9 popen) (ice-9 rdelim) (srfi srfi-1))
(define (work n) (let loop ((i 0) (acc '())) (if (= i 40000) (length acc) (loop (+ i 1) (cons (number->string (* i n)) acc)))))
(define g (make-guardian))
(let loop ((i 0)) (when (< i 100) (g (list i)) (loop (+ i 1))))
(display (map join-thread (map (lambda (n) (call-with-new-thread (lambda () (work n)))) (iota 4))))
(gc)
(display (let loop ((n 0)) (if (g) (loop (+ n 1)) (> n 90))))
(display (let* ((p (open-input-pipe "echo piped")) (l (read-line p))) (close-pipe p) l))
(let ((h (make-weak-key-hash-table))) (hash-set! h (list 1) 2) (gc) (display (hash-table? h)))
"""
    command = ["guile", "--no-auto-compile", "-c", script]
    plain = subprocess.run(command, capture_output=True, text=True, timeout=60)
    for settings in ["gctrace=1", "gctrace=2,scavenge,gcdead", "gctrace=2,mem=exact"]:
        run = trace(command, settings)
        equal((run.status, run.out), (plain.returncode, plain.stdout), f"guile, {settings}")
        ok(lines(run.err), f"guile, {settings}: there are lines")


def test_known_heap():
    """20000 nodes, each with its text, then half of them, then none."""
    if not KNOWN.exists():
        return skip("a known heap", "libgc-dev is not installed")
    run = trace([KNOWN, "truth"], "gctrace=2")
    asked = [x for x in lines(run.err) if x.forced]
    bytes_of = {x.n: x.live for x in lines(run.err, PHASES)}
    want = [(int(n), int(b)) for n, b in truths(run.out)]
    equal(len(asked), 3, "three collections were asked for")
    none = asked[-1]
    ok(none.objects < 1000, f"{none.objects} objects are libgc's own")
    got = [(x.objects - none.objects, bytes_of[x.n] - bytes_of[none.n]) for x in asked]
    for g, w in zip(got, want):
        within(g[0], w[0], 0, 4, "objects that live")  # a stale word may hold one
        within(g[1], w[1], 0, 1024, "bytes that live")


def test_threads():
    if not KNOWN.exists():
        return skip("threads", "libgc-dev is not installed")
    run = trace([KNOWN, "churn", 30, 8], "gctrace=1")
    got = lines(run.err)
    want = int(truths(run.out)[0][1])
    equal([x.n for x in got][-1], want, f"eight threads make garbage: {want} collections")
    ok(len(got) >= want - 1, "each has its line")


def test_own_handler():
    """The program's handler of events is called behind ours, and finds itself."""
    if not KNOWN.exists():
        return skip("its own handler", "libgc-dev is not installed")
    run = trace([KNOWN, "handler"], "gctrace=1")
    told = {k: int(v) for k, v in truths(run.out)}
    equal([told[k] for k in ("mine", "starts", "ends", "marks")], [1, 5, 5, 5], "it hears all")
    equal(len([x for x in lines(run.err) if x.forced]), 5, "and so do we")
    equal(told["dead"], 0, "the stack is as it was")
    told = {k: int(v) for k, v in truths(trace([KNOWN, "handler"], "gcdead").out)}
    ok(told["dead"] > 5 * 1800, f"gcdead: {told['dead']} words of the dead stack are overwritten")


def test_fork():
    if not KNOWN.exists():
        return skip("a fork's child", "libgc-dev is not installed")
    run = trace([KNOWN, "fork"], "gctrace=1")
    child = int(truths(run.out)[0][1])
    got = lines(run.err)
    equal({x.pid for x in got}, {None, child}, "the child's lines have its pid")
    ok([x.forced for x in got if x.pid][-1] and [x.forced for x in got if not x.pid][-1],
       "both are told to the end")


def test_late():
    """libgc that comes with a plugin."""
    if not KNOWN.exists():
        return skip("a late libgc", "libgc-dev is not installed")
    run = trace([PROGRAMS / "gc_late", PROGRAMS / "libplugin_gc.so"], "gctrace=1")
    got = lines(run.err)
    equal([x.n for x in got if x.kind == "libgc"][-1], int(truths(run.out)[0][1]),
          "all its collections")


def test_mem_stats():
    if not KNOWN.exists():
        return skip("memory statistics", "libgc-dev is not installed")
    for settings in ["gctrace=1", "mem"]:
        told = {k: int(v) for k, v in truths(trace([KNOWN, "stats"], settings).out)}
        equal(told["collections"], told["libgc"], f"{settings}: all collections are known")
        ok(told["pauses"] >= 300 and told["kept"] == 256, f"{settings}: and the last 256 pauses")
        equal([told[k] for k in ("gc", "heap", "allocated", "total")], [1] * 4,
              f"{settings}: the heap's figures")


# ---- heap dumps ----

def sites(dump):
    """Site → blocks, bytes of a report, those that are reachable; how many are leaked."""
    report = sonde("heapdump", "--top=0", dump)
    reachable, _, leaked = report.partition("\nLeaked:")[2].partition("\nLeaked:")
    found = {}
    for line in reachable.splitlines():
        if m := re.match(r"\s*(\S+)\s+[\d.]+%\s+([\d.]+)(k?B|MB)\s+[\d.]+%\s+(\d+)\s+(\S+)", line):
            found[m[5]] = (int(m[4]), float(m[2]) * {"B": 1, "kB": 1 << 10, "MB": 1 << 20}[m[3]])
    return found, int(re.search(r"Leaked: (\d+) blocks", report)[1])


def test_heapdump_known():
    if not KNOWN.exists():
        return skip("a dump of a known heap", "libgc-dev is not installed")
    path = f"{scratch()}/heap.dump"
    run = preload([str(KNOWN), "dump", path], "mem=exact,quiet")
    (objects, size), = [(int(n), int(b)) for n, b in truths(run.out)]
    found, leaked = sites(path)
    nodes, texts = found.get("GC_malloc", (0, 0)), found.get("GC_malloc_atomic", (0, 0))
    within(nodes[0] + texts[0], objects, 0, 400, "blocks of libgc")
    within(nodes[1] + texts[1], size, 0.02, 30000, "bytes of libgc's blocks")
    within(texts[0], objects / 2, 0, 200, "half of them hold no pointers")
    ok(leaked < 200, f"{leaked} blocks are in no list, which has all nodes")


def test_heapdump_guile():
    """Asked for from outside: at the next allocation; without the collector where none comes."""
    if missing("guile"):
        return skip("a heap dump of Guile", "guile-3.0 is not installed")
    script = """
(define (build n) (let loop ((i 0) (acc '())) (if (= i n) acc (loop (+ i 1) (cons (make-vector 10 i) acc)))))
(define keep (build 50000))
(display "ready") (newline) (force-output)
(let loop ((i 0)) (when (< i 60) (build 1000) (usleep 30000) (loop (+ i 1))))
(display "idle") (newline) (force-output)
(read-char)
(display (length keep))
"""
    directory = scratch()
    env = dict(os.environ, LD_PRELOAD=str(LIBRARY), SONDE=f"mem=exact,quiet,path={directory}")
    guile = subprocess.Popen(["guile", "--no-auto-compile", "-c", script], env=env, text=True,
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    for word, some in ("ready", True), ("idle", False):
        equal(guile.stdout.readline(), word + "\n", f"guile is {word}")
        done = subprocess.run([SONDE, "heapdump", "-o", f"{directory}/{word}", str(guile.pid)],
                              capture_output=True, text=True, timeout=60)
        equal(done.returncode, 0, f"{word}: its heap is dumped")
        equal("without the collector's blocks" in done.stderr, not some, f"{word}: what is in it")
        found, _ = sites(f"{directory}/{word}")
        blocks = found.get("GC_malloc", (0, 0))
        if some:
            ok(100000 <= blocks[0] <= 160000, f"{blocks[0]} blocks, 100000 of them the list's")
        else:
            equal(blocks[0], 0, "none of the collector's")
    out, _ = guile.communicate("x", timeout=60)
    equal((guile.returncode, out), (0, "50000"), "guile goes on, and ends")


# ---- malloc ----

# Says what the C library has in use whenever it has allocated a little.
PYTHON = """
import ctypes, sys
class Info(ctypes.Structure):
    _fields_ = [(n, ctypes.c_size_t) for n in 'arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost'.split()]
mallinfo2 = ctypes.CDLL(None).mallinfo2
mallinfo2.restype = Info
def tell():
    i = mallinfo2()
    sys.stderr.write(f'inuse {i.uordblks + i.hblkhd}\\n')
keep = []
for n in range(60):
    for k in range(1000):
        keep.append(b'x' * (500 + 17 * k % 900))
        if k % 50 == 0: tell()
    if n % 20 == 19: del keep[::2]
"""


def rule_of_doubling(got, name):
    """A line comes when as much was allocated as was live, and not much later."""
    bad = []
    for a, b in zip(got, got[1:]):
        goal = max(2 * a.live, 4)
        if not (goal - 1 <= b.goal <= goal + 2 and b.goal <= b.before <= b.goal + 2 + b.goal // 8):
            bad.append((a.__dict__, b.__dict__))
    equal(bad, [], f"{name}: {len(got)} lines, each where the heap would have doubled")


def test_malloc_live_bytes():
    """Live bytes are those of mallinfo2, less what heads of chunks take."""
    run = trace(["/usr/bin/python3", "-c", PYTHON], "gctrace=1",
                env=dict(os.environ, PYTHONMALLOC="malloc"))
    last, pairs = 0, []
    for line in run.err.splitlines():
        if line.startswith("inuse"):
            last = int(line.split()[1])
        elif (m := GC.match(line)) and last:
            pairs.append((Line(m), last))
    ok(len(pairs) >= 4, f"{len(pairs)} lines")
    for x, want in pairs:
        within(x.live, want / MB, 0.05, 1.2, f"gc {x.n}: MB live")
    rule_of_doubling(lines(run.err), "python3")
    ok(all(x.objects == x.mallocs - x.frees and x.kind == "malloc" for x in lines(run.err)),
       "objects are mallocs less frees")
    ok(all(a.mallocs <= b.mallocs for a, b in zip(lines(run.err), lines(run.err)[1:])),
       "which only grow")


def test_malloc_counts():
    """Threads that have ended: what they kept and what they freed is counted to the block."""
    for threads, blocks in [(1, 50000), (8, 40000)]:
        run = trace(program("gctrace", threads, blocks), "gctrace=1")
        got = lines(run.err)
        first, last = next(x for x in got if x.live >= 64), got[-1]  # with a large block each
        (objects, size), = [(int(n), int(b)) for n, b in truths(run.out)]
        within(last.objects - first.objects, objects, 0, 8 * threads, f"{threads} threads: blocks")
        within(last.live - 512 - (first.live - 64), size / MB, 0, 1.5 + 0.1 * threads, "MB")
        ok(last.mallocs - first.mallocs >= 2 * objects, "with those that were freed")


def test_sqlite():
    if missing("sqlite3"):
        return skip("sqlite3", "sqlite3 is not installed")
    sql = ("create table t(a integer primary key, b text);"
           "with recursive n(i) as (select 1 union all select i+1 from n where i<200000)"
           " insert into t select i, hex(i * 7919) || printf('%040d', i) from n;"
           "select count(*), sum(length(b)) from t;")
    command = ["sqlite3", ":memory:", sql]
    want = subprocess.run(command, capture_output=True, text=True)
    run = trace(command, "gctrace=1")
    equal((run.status, run.out), (want.returncode, want.stdout), "sqlite3 does what it does")
    rule_of_doubling(lines(run.err), "sqlite3")
    ok(max(x.live for x in lines(run.err)) >= 8, "it grew")


def test_redis():
    """A server, which brings its own allocator where the distribution says so."""
    if missing("redis-server", "redis-cli"):
        return skip("redis-server", "redis is not installed")
    directory = scratch()
    socket, out = f"{directory}/socket", f"{directory}/lines"
    env = dict(os.environ, LD_PRELOAD=str(LIBRARY), SONDE=f"gctrace=1,quiet,trace_path={out}")
    server = subprocess.Popen(["redis-server", "--port", "0", "--unixsocket", socket, "--save", "",
                               "--dir", directory], env=env, stdout=subprocess.DEVNULL)
    for _ in range(100):
        if os.path.exists(socket):
            break
        time.sleep(0.05)
    subprocess.run(["redis-cli", "-s", socket, "eval",
                    "for i = 1, 150000 do redis.call('set', 'key' .. i, string.rep('x', 100)) end",
                    "0"], capture_output=True, timeout=60)
    info = subprocess.run(["redis-cli", "-s", socket, "info", "memory"], capture_output=True,
                          text=True, timeout=60).stdout
    server.terminate()
    server.wait(timeout=30)
    text = open(out).read()
    equal(strange(text), [], "redis-server: Go's grammar")
    got = lines(text)
    used = int(re.search(r"used_memory:(\d+)", info)[1]) / MB
    rule_of_doubling(got, "redis-server")
    ok(got and got[-1].live <= used * 1.1 + 2 and got[-1].live * 2 + 4 >= used * 0.9,
       f"the last line's {got[-1].live if got else 0} MB, of {used:.1f} in the end")


def test_jemalloc_below():
    """Its own measure of its blocks."""
    if subprocess.run(["/bin/true"], env=dict(os.environ, LD_PRELOAD="libjemalloc.so.2"),
                      capture_output=True, text=True).stderr:
        return skip("jemalloc", "libjemalloc2 is not installed")
    script = "import time\nx=[bytes(3000) for i in range(20000)]\ndel x[::2]\ntime.sleep(1.3)\ndel x"
    run = trace(["/usr/bin/python3", "-c", script], "gctrace=1,scavenge", behind=["libjemalloc.so.2"],
                env=dict(os.environ, PYTHONMALLOC="malloc"))
    got = lines(run.err)
    rule_of_doubling(got, "on jemalloc")
    ok(got and got[-1].live >= 25, "it grew")
    sizes = lines(run.err, SIZES)
    ok(sizes and 25 <= sizes[0].inuse <= 50, f"inuse: {sizes and sizes[0].inuse}, half of 60")


def test_child_of_malloc():
    script = ("import os\nx=[bytes(2000) for i in range(10000)]\n"
              "p = os.fork()\nz=[bytes(2000) for i in range(30000)]\n"
              "p and (print(p), os.wait())")
    run = trace(["/usr/bin/python3", "-c", script], "gctrace=1",
                env=dict(os.environ, PYTHONMALLOC="malloc"))
    child = int(run.out)
    got = lines(run.err)
    equal({x.pid for x in got}, {None, child}, "the child's lines have its pid")
    its = [x for x in got if x.pid]
    equal(its[0].n, 1, "its own numbers")
    rule_of_doubling(its, "the child")
    ok(its[0].before >= its[0].goal >= 30, "what its parent had lives on in it")


# ---- scavenge ----

FRAGMENTED = """
import time, os
def rss(): return int(open('/proc/self/statm').read().split()[1]) * os.sysconf('SC_PAGESIZE')
keep = [bytes(30000) for i in range(6000)]
print(rss(), flush=True)
del keep[::2]
time.sleep({wait})
print(rss(), flush=True)
keep[:] = [k for pair in zip(keep, [b'y' * 30000 for i in range(3000)]) for k in pair]
time.sleep({wait})
print(rss(), flush=True)
"""


def test_scavenge():
    """A heap with holes: they go back to the system, and come again."""
    command = ["/usr/bin/python3", "-c", FRAGMENTED.format(wait=1.6)]
    env = dict(os.environ, PYTHONMALLOC="malloc")
    plain = subprocess.run(command, capture_output=True, text=True, env=env).stdout.split()
    run = trace(command, "scavenge", env=env)
    full, holes, again = (int(x) / MB for x in run.out.split())
    within(int(plain[1]) / MB, int(plain[0]) / MB, 0.1, 5, "without, nothing goes back")
    ok(holes < full - 60, f"RSS falls from {full:.0f} to {holes:.0f} MB")
    gone, sizes = lines(run.err, SCVG), lines(run.err, SIZES)
    equal([x.n for x in gone], [x.n for x in sizes], "two lines each time")
    within(sum(x.gone for x in gone[:2]), full - holes, 0.1, 4, "MB released, by RSS")
    most = max(x.released for x in sizes)
    within(most, full - holes, 0.1, 4, "released")
    within(sizes[-1].released, most - (again - holes), 0.2, 6, "less when it is in use again")
    ok(all(x.inuse + x.idle - x.sys in (-1, 0, 1) and x.released <= x.idle and
           x.consumed + x.released - x.sys in (-1, 0, 1) for x in sizes), "the sums are right")
    within(sizes[0].inuse, 3000 * 30000 / MB, 0.15, 6, "inuse")


def test_scavenge_guile():
    if missing("guile"):
        return skip("scavenge of Guile", "guile-3.0 is not installed")
    script = """
(define (build n) (let loop ((i 0) (acc '())) (if (= i n) acc (loop (+ i 1) (cons (make-vector 300 i) acc)))))
(define k (build 30000))
(set! k #f)
(let loop ((i 0)) (when (< i 500) (build 10) (usleep 10000) (loop (+ i 1))))
"""
    run = trace(["guile", "--no-auto-compile", "-c", script], "scavenge,gctrace=1")
    sizes = lines(run.err, SIZES)
    ok(len(sizes) >= 3 and all(x.libgc for x in sizes), f"{len(sizes)} lines, libgc's with them")
    ok(sizes[-1].released > 20, f"{sizes[-1].released} MB of libgc's heap are unmapped")
    ok(all(not x.forced for x in lines(run.err)), "guile did not ask for it")


# ---- manners ----

def test_unprivileged_and_file():
    if os.geteuid() != 0 or missing("setpriv"):
        return skip("nobody", "not root")
    directory = scratch()
    os.chmod(directory, 0o777)
    os.chmod(os.path.dirname(directory), 0o711)
    probe = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "cat",
                            str(LIBRARY)], capture_output=True)
    if probe.returncode != 0:
        return skip("nobody", "the build cannot be read by others")
    command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "env",
               f"LD_PRELOAD={LIBRARY}", "PYTHONMALLOC=malloc",
               f"SONDE=gctrace=1,scavenge,trace_path={directory}/%p.lines", "/usr/bin/python3",
               "-c", "import time\nx=[bytes(3000) for i in range(9000)]\ntime.sleep(1.2)"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    files = [open(f"{directory}/{f}").read() for f in os.listdir(directory)]
    equal((done.returncode, done.stderr), (0, ""), "nothing on stderr")
    ok(any(lines(f) and lines(f, SIZES) for f in files), "the lines are in the file of the process")


def test_by_sonde_run():
    run = record(["/usr/bin/python3", "-c", "x=[bytes(3000) for i in range(9000)]"], "--gctrace",
                 env=dict(os.environ, PYTHONMALLOC="malloc"))
    ok(lines(run.err), "sonde run --gctrace")


def test_broken_stderr():
    """A reader of stderr that goes away does not end the program."""
    for settings, command in {"gctrace=1": [KNOWN, "churn", "20", "1"],
                              "gctrace=1,scavenge": ["xz", "-T1", "-9", "-c", "/bin/bash"]}.items():
        if not shutil.which(str(command[0])):
            skip("a broken stderr", f"{command[0]} is missing")
            continue
        plain = subprocess.run(command, capture_output=True, timeout=60)
        env = dict(os.environ, LD_PRELOAD=str(LIBRARY), SONDE=settings)
        ours, theirs = os.pipe()
        os.close(ours)
        done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=theirs, timeout=60,
                              preexec_fn=lambda: signal.signal(signal.SIGPIPE, signal.SIG_DFL))
        os.close(theirs)
        equal((done.returncode, len(done.stdout) > 0), (plain.returncode, len(plain.stdout) > 0),
              f"{settings}: nobody reads stderr")


main(globals())
