#!/usr/bin/env python3
"""invalidptr: each wrong pointer is refused with its history, pointers to what was freed are
found, and no right program is disturbed. gcdead: what is dead is overwritten."""

from harness import *
import re
import signal

PYTHON = "/usr/bin/python3"
# way: what is said of the pointer, and whose sites are told
WRONG = {
    "twice": ("0 bytes into a freed block of 40 bytes", True),
    "twice_later": ("0 bytes into a freed block of 5000 bytes", True),
    "interior": ("16 bytes into a live block of 40 bytes", False),
    "far_interior": ("40894464 bytes into a live block of 41943040 bytes", False),
    "misaligned": ("3 bytes into a live block of 40 bytes", False),
    "into_freed": ("2000 bytes into a freed block of 4000 bytes", True),
    "of_stack": ("it points into the stack of this thread", None),
    "of_global": ("it points into a loaded file's code or data", None),
    "wild": ("no block was ever allocated there", None),
    "tagged": ("no block was ever allocated there", None),
    "moved": ("0 bytes into a freed block of 40 bytes", None),
    "reallocated": ("0 bytes into a freed block of 40 bytes", True),
    "by_threads": ("0 bytes into a freed block of 100 bytes", True),
}
SITES = {}


def traced(command, settings, **options):
    """A run, and the lines of its trace."""
    directory = scratch()
    run = preload(command, f"{settings},trace_path={directory}/trace", directory, **options)
    path = f"{directory}/trace"
    run.trace = open(path).read() if os.path.exists(path) else ""
    return run


def function_of(file, offset):
    """The function of the program that the offset lies in."""
    if file not in SITES:
        SITES[file] = {}
        listed = subprocess.run(["nm", "-S", "--defined-only", file], capture_output=True,
                                text=True).stdout
        for words in map(str.split, listed.splitlines()):
            if len(words) == 4 and words[2] in "tT":
                first = int(words[0], 16)
                SITES[file][words[3]] = range(first, first + int(words[1], 16))
    return next((name for name, span in SITES[file].items() if offset in span), "?")


def stacks(trace):
    """Heading → the functions of our programs below it, innermost first."""
    found, heading = {}, None
    for line in trace.splitlines():
        frame = re.match(r" +#\d+ 0x[0-9a-f]+.*\((\S+)\+0x([0-9a-f]+)\)$", line)
        if frame and "/bad_" in frame[1]:
            found.setdefault(heading, []).append(function_of(frame[1], int(frame[2], 16)))
        elif frame:  # another file's: only below ours
            found.setdefault(heading, []).append(frame[1])
        elif not frame:
            heading = line.strip()
    return found


def test_wrong_pointers():
    for way, (said, freed) in WRONG.items():
        run = traced(program("bad_pointers", way), "invalidptr=1")
        equal(run.status, -signal.SIGABRT, f"{way}: aborted")
        call = "realloc" if way == "reallocated" else "free"
        address = run.out.split()[0]
        head = f"runtime: invalid pointer {address} passed to {call}"
        if not ok(head in run.trace and said in run.trace, f"{way}: {said}"):
            note(run.trace)
        where = stacks(run.trace)
        site = way if way == "reallocated" else "wrong_site"
        equal(where.get(head, ["?"])[0], site, f"{way}: where")
        if freed is not None:
            equal(where.get("allocated at", ["?"])[0], "allocating_site", f"{way}: allocated")
        if freed:
            equal(where.get("freed at", ["?"])[0], "freeing_site", f"{way}: freed")


def test_operators():
    """What new allocates was allocated by who called it, whatever else is recorded."""
    for settings in ("invalidptr=1", "invalidptr=1,mem=exact"):
        run = traced(program("bad_new"), settings)
        where = stacks(run.trace)
        got = [where.get(what, ["?"])[0] for what in ("allocated at", "freed at")]
        equal((run.status, got), (-signal.SIGABRT, ["makes", "deletes"]), f"operators, {settings}")


def test_without():
    """invalidptr=0: what the C library says is all there is."""
    run = traced(program("bad_pointers", "twice"), "gcdead=1,invalidptr=0")
    ok("runtime:" not in run.trace + run.err, "invalidptr=0 says nothing")
    run = traced(program("bad_pointers", "twice"), "gcdead=1")
    ok("runtime: invalid pointer" in run.trace, "gcdead brings invalidptr with it")
    run = traced(program("bad_pointers", "twice"), "gctrace=1")
    ok(run.status == -signal.SIGABRT and "runtime: invalid pointer" in run.trace and
       "freed block of" in run.trace and "invalidptr=1 tells who" in run.trace, "gctrace, too, without the stacks")
    run = traced(program("bad_pointers", "twice"), "gctrace=1,invalidptr=1")
    ok("  freed at\n    #0" in run.trace, "... with them if it is said")
    for settings in ("gctrace=1,invalidptr=0", "allocfreetrace=1", "schedtrace=10"):
        run = traced(program("bad_pointers", "twice"), settings)
        ok("runtime: invalid" not in run.trace + run.err, f"{settings}: not")


def test_dangling():
    run = traced(program("bad_pointers", "dangling"), "invalidptr=2")
    equal((run.status, run.out.split()[1]), (0, "survived"), "dangling: goes on")
    address = run.out.split()[0]
    first = run.trace.splitlines()[:1]
    ok(first and re.fullmatch(rf"runtime: garbage collector found invalid heap pointer "
                              rf"\*\(0x[0-9a-f]+\+0x0\)={address} span={address}-0x[0-9a-f]+"
                              rf"-0x[0-9a-f]+ state=freed", first[0]), f"dangling: {first}")
    where = stacks(run.trace)
    equal(where.get("in a live block, allocated at", ["?"])[0], "allocating_site",
          "dangling: who holds it")
    equal(where.get("the freed block of 48 bytes was allocated at", ["?"])[0],
          "allocating_site", "dangling: who allocated it")
    equal(where.get("freed at", ["?"])[0], "freeing_site", "dangling: who freed it")


def test_dangling_beside_a_log():
    """What our own log has of the addresses is no pointer of the program's, nor in a heap dump."""
    for settings in ("invalidptr=2", "invalidptr=2,allocfreetrace"):
        run = traced(program("bad_pointers", "dangling"), settings)
        equal((run.status, "in global data" in run.trace, "in a live block" in run.trace),
              (0, False, True), f"{settings}: what is held by the program alone")
    for settings in ("mem=exact", "mem=exact,allocfreetrace"):
        path = f"{scratch()}/dump"
        run = traced([PYTHON, "-c", "import ctypes, sys; c = ctypes.CDLL(None)\n"
                      "for i in range(1000): c.malloc(777)\n"
                      "sys.exit(c.sonde_heapdump_write(sys.argv[1].encode()))", path], settings)
        dump = subprocess.run([SONDE, "heapdump", path], capture_output=True, text=True)
        leaked = re.search(r"^Leaked: (\d+) block", dump.stdout, re.M)
        if not ok(run.status == 0 and leaked and int(leaked[1]) > 900, f"{settings}: leaks"):
            note(run.err + dump.stdout[:500] + dump.stderr)


def test_dangling_in_a_collected_heap():
    if not os.path.exists(program("gc_dangling")[0]):
        return skip("libgc", "libgc-dev is not installed")
    run = traced(program("gc_dangling", "free"), "invalidptr=2")
    word, block = run.out.split()
    found = re.findall(r"^runtime: garbage collector found invalid heap pointer "
                       r"\*\((0x[0-9a-f]+)\+0x18\)=(0x[0-9a-f]+) libgc$", run.trace, re.M)
    equal(found, [(hex(int(word, 16) - 0x18), block)], "libgc: the word is told, once")
    run = traced(program("gc_dangling"), "invalidptr=2")
    equal((run.status, run.trace.count("libgc")), (0, 0), "libgc: and none where none is")
    if missing("guile-3.0"):
        return skip("guile", "guile-3.0 is not installed")
    run = traced(["guile-3.0", "--no-auto-compile", "-c", "(let loop ((i 0) (l '())) (if (< i 200000) "
                  "(loop (+ i 1) (if (= 0 (modulo i 9)) (cons (make-string 9 #\\x) l) l)) "
                  "(display (length l))))"], "invalidptr=2")
    equal((run.status, run.out), (0, "22223"), "guile: goes on")
    # Its virtual machine keeps the end of its stack, behind which the heap may happen to begin.
    ends = re.findall(r"\+0x60\)=0x[0-9a-f]+000 libgc$", run.trace, re.M)
    equal(run.trace.count("libgc\n"), len(ends[:1]), "guile: none, but for the end of its stack")


def test_right():
    for settings in ("invalidptr=1", "invalidptr=2", "gcdead=1", "gcdead=1,mem=exact,cpu=1000"):
        run = traced(program("bad_pointers", "right"), settings)
        equal((run.status, run.out), (0, "survived\n"), f"{settings}: a right program goes on")
        refused = [line for line in run.trace.splitlines() if "invalid pointer" in line]
        equal(refused, [], f"{settings}: and nothing is refused")


def test_scarce():
    """Where memory is short, what is kept back goes, and that nobody looked is said."""
    run = traced(program("bad_pointers", "scarce"), "invalidptr=2")
    equal((run.status, run.out), (0, "survived\n"), "what was freed can be had again")
    equal(run.trace.count("invalidptr: there is no memory to look"), 1, f"said once: {run.trace[:200]}")


def test_again():
    """What became of blocks between two recordings is not held against the program."""
    directory = scratch()
    run = subprocess.run(program("trace_again", "40", f"{directory}/trace"),
                         capture_output=True, text=True, timeout=100)
    equal((run.returncode, run.stdout), (0, "survived\n"), "started and stopped")
    ok("invalid pointer" not in open(f"{directory}/trace").read(), "and nothing refused")


REAL = {
    "sqlite3": ["sqlite3", ":memory:", "create table t(a, b); with recursive n(i) as "
                "(select 1 union all select i + 1 from n where i < 20000) insert into t "
                "select i, hex(i * 7919) from n; select count(*), max(b) from t;"],
    "python3": [PYTHON, "-c", "import json, re, threading\n"
                "t = [threading.Thread(target=lambda: json.dumps(list(range(9999)))) "
                "for _ in range(3)]\n[x.start() for x in t]; [x.join() for x in t]\n"
                "print(len(json.dumps(list(range(99999)))))"],
    "sort": ["sort", "--parallel=2", "/etc/services"],
    "gcc": ["gcc", "-O2", "-S", "-o", "-", "-x", "c", "/dev/stdin"],
}


def test_real_programs():
    """The same output under every knob, and no complaint but of pointers to what was freed."""
    source = "int f(int n) { int s = 0; for (int i = 0; i < n; i++) s += i * i; return s; }\n"
    for name, command in REAL.items():
        if missing(command[0]):
            skip(name, f"{name} is not installed")
            continue
        want = subprocess.run(command, input=source, capture_output=True, text=True)
        for settings in ("invalidptr=1", "invalidptr=2", "gcdead=1"):
            run = traced(command, settings, input=source, stdin=None)
            equal((run.status, run.out), (want.returncode, want.stdout),
                  f"{name}, {settings}: the same output")
            refused = [line for line in run.trace.splitlines() if "invalid pointer" in line]
            equal(refused, [], f"{name}, {settings}: nothing refused")


def test_gcdead():
    run = traced(program("dead"), "gcdead=1")
    lines = dict(line.split(" ", 1) for line in run.out.splitlines())
    dead = "f969696969696969"
    for what in ("freed", "cut", "moved", "cached"):
        equal(set(lines.get(what, "").split()), {dead}, f"gcdead: {what}")
    ok(lines.get("stack", "").split().count(dead) >= 32, "gcdead: the stack below")
    equal(lines.get("kept"), "hello", "gcdead: what lives is kept")
    for settings in ("gcdead", "gcdead,allocfreetrace,gctrace,invalidptr=0"):
        run = traced(program("dead", "alone"), settings)
        equal((run.status, run.out), (0, "alone bac\n"), f"{settings}: a block may grow where two have no room")
    plain = subprocess.run(program("dead"), capture_output=True, text=True)
    ok(dead not in plain.stdout, "and nothing of it without")


main(globals())
