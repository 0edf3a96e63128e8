#!/usr/bin/env python3
"""`sonde run`: the program is alone with its terminal, and its profile is where it should be."""

import glob
import re
import sys
import time
from tool import *

PYTHON = os.path.realpath(sys.executable)
BURN = "import time\nend = time.process_time() + %g\nwhile time.process_time() < end: pass\n"


def run(*words, directory=None, **options):
    """(status, output, errors, the directory in which it ran)"""
    directory = directory or scratch()
    return *call("run", *words, cwd=directory, **options), directory


def files(directory):
    return sorted(os.path.relpath(f, directory)
                  for f in glob.glob(f"{directory}/**", recursive=True) if os.path.isfile(f))


def burn(seconds=0.2, more=""):
    return [PYTHON, "-c", BURN % seconds + more]


def test_endings():
    for status in [0, 1, 2, 77, 255]:
        equal(run("-q", "sh", "-c", f"exit {status}")[0], status, f"exit {status}")
    for name in ["TERM", "KILL", "INT", "ABRT", "SEGV", "USR1"]:
        equal(run("-q", "sh", "-c", f"kill -{name} $$")[0], -getattr(signal, "SIG" + name),
              f"dies of SIG{name} as the program does")


def test_passes_through():
    equal(run("-q", "cat", input="one\ntwo\n")[1], "one\ntwo\n", "standard input and output")
    equal(run("-q", "sh", "-c", "echo error >&2")[2], "error\n", "standard error, and no word more")
    equal(run("-q", "sh", "-c", 'echo "$0/$1/$2"', "a b", "", "-o")[1], "a b//-o\n",
          "arguments, options among them")
    equal(run("-q", "--", "echo", "--", "-q")[1], "-- -q\n", "-- ends the options of run")
    low = "import os; print(sorted(f for f in os.listdir('/proc/self/fd') if int(f) < 512))"
    equal(run("-q", PYTHON, "-c", low)[1], "['0', '1', '2', '3']\n", "no descriptor is left open")
    environment = dict(os.environ, LD_PRELOAD="libm.so.6")
    equal(run("-q", "sh", "-c", "echo $LD_PRELOAD", env=environment)[1].split(":")[0],
          "libm.so.6", "LD_PRELOAD is kept")


def test_first_look():
    status, out, err, directory = run("--cpu=1000", *burn())
    equal((status, out), (0, ""), "nothing on standard output")
    head = err.splitlines()[0]
    ok("samples" in head and "1000 Hz" in head and "lost" in head and "truncated" in head, head)
    ok("cpu.pprof" in err.splitlines()[1], err.splitlines()[1])
    ok("flat%" in err and "Showing" in err, "the top is printed")
    rows = err[err.index("flat%"):].splitlines()[1:]
    ok(1 <= len(rows) <= 10, f"at most ten of it ({len(rows)})")
    ok("_PyEval" in sonde("top", f"{directory}/cpu.pprof"), "the file has names")
    equal(run("-q", *burn())[2], "", "-q: no word")


HEAD = r"sonde: peaks?(, together)? \d[\d.]*[kMG]?B in \d+ blocks?%s, \d+ allocations? " \
       r"\(\d[\d.]*[kMG]? a second\), %s, 0 lost, \d+ truncated"
AMOUNT = r"\d[\d.]*[kM]?B in \d+ blocks?"
LEAKED = rf", leaked {AMOUNT} \(still reachable {AMOUNT}\)"


def is_exact_head(line):
    ok(re.fullmatch(HEAD % (LEAKED, "exact"), line), line)


def test_heap_of_programs():
    """Real programs do what they do without us."""
    text = "".join(f"{i * i}\n" for i in range(20000))
    table = "create table t(a, b); insert into t values (1, 'x'), (2, 'y');\n" \
            "with recursive c(x) as (select 1 union all select x + 1 from c where x < 2000)\n" \
            "select sum(x), count(*) from c; select * from t order by b desc;\n"
    rows = [(["xz", "-2", "-c", "-T1"], text), (["sqlite3", ":memory:"], table),
            ([PYTHON, "-c", "import json\nprint(json.dumps({str(i): i for i in range(3000)}))"], "")]
    for command, given in rows:
        if shutil.which(command[0]) is None:
            skip(f"{command[0]} under --mem", "it is not installed")
            continue
        plain = subprocess.run(command, input=given.encode(), capture_output=True)
        for kind in ["--mem=exact", "--mem"]:
            directory = scratch()
            done = subprocess.run([str(SONDE), "run", kind, *command], input=given.encode(),
                                  capture_output=True, cwd=directory)
            equal((done.returncode, done.stdout), (plain.returncode, plain.stdout),
                  f"{command[0]} under {kind}: the same output")
            head = done.stderr.decode().splitlines()[0]
            if kind == "--mem=exact":
                is_exact_head(head)
            else:
                ok(re.fullmatch(HEAD % ("", r"sampled every 512kB \(estimates\)"), head), head)
            equal(files(directory), ["mem.pprof"], "one file")


LEAK = """
#include <stdlib.h>
void *keep;
__attribute__((noinline)) void spill(int n) { while (n-- > 0) { void *volatile p = malloc(100); (void)p; } }
__attribute__((noinline)) void scrub(void) { volatile char room[8192]; for (int i = 0; i < 8192; i++) room[i] = 0; }
int main(int n, char **v) { keep = malloc(4096); spill(1000); scrub();
    for (int i = 0; i < 1000; i++) free(malloc(5000));
    if (n > 1) abort();
    return 0; }
"""


def built(text, *options):
    directory = scratch()
    with open(f"{directory}/made.c", "w") as file:
        file.write(text)
    subprocess.run(["cc", "-g", "-O1", "-fno-builtin", *options, "-o", f"{directory}/made", file.name], check=True)
    return f"{directory}/made"


def test_heap_first_look():
    leaky = built(LEAK)
    status, out, err, directory = run("--mem=exact", leaky)
    equal((status, out, files(directory)), (0, "", ["mem.pprof"]), "a heap")
    is_exact_head(err.splitlines()[0])
    for word in ["leaked 97.66kB in 1000 blocks (still reachable 4kB in 1 block)", "2001 allocations",
                 "in 1002 blocks"]:
        ok(word in err, word)
    peak, leaked = err.split("Leaked (leaked_space):")
    ok("At the peak (peak_space):" in peak and "flat%" in peak, "the top of the peak")
    ok("main made.c" in peak.split("At the peak, by site:")[1], "... and its sites")
    ok("spill made.c" in leaked and "1000" in leaked, "the sites of what leaked")
    err = run("--mem=exact", leaky, "abort")[2]
    ok("what leaked is not known: " in err, err.splitlines()[1])
    ok("leaked" not in run("--mem", leaky)[2], "sampled: nothing is said of leaks")
    err = run("--mem=exact", "sh", "-c", f"exec {leaky}")[2]
    ok("not known" not in err and "leaked 97.66kB" in err, "what ran before an exec leaked nothing")
    equal(run("-q", "--mem=1", leaky)[2], "", "-q: no word")
    ok("every allocation, " in run("--mem=1", leaky)[2], "--mem=1: each block")


OWN_MALLOC = """
#include <string.h>
static char pool[1 << 24];
static size_t at;
void *malloc(size_t n) { size_t *p = (void *)(pool + at); *p = n; at += ((n + 15) & ~15ul) + 16; return p + 2; }
void free(void *p) { (void)p; }
void *calloc(size_t a, size_t b) { return malloc(a * b); }
void *realloc(void *p, size_t n) { void *q = malloc(n); if (p) memcpy(q, p, n); return q; }
int main(void) { for (int i = 0; i < 1000; i++) malloc(1000); return 0; }
"""


def test_own_malloc():
    """What allocates unseen is not told that it allocated nothing."""
    own = built(OWN_MALLOC)
    for kinds in [["--mem"], ["--mem=exact"], ["--cpu", "--mem"]]:
        status, out, err, directory = run(*kinds, own)
        ok((status, out, files(directory)) == (1, "", []) and own in err and "malloc of its own" in err
           and "--cpu" in err, f"{kinds}: refused, with what works: {err.strip()}")
    equal(run("-q", own)[0], 0, "its CPU time is recorded")
    status, _, err, _ = run("--mem", "sh", "-c", own)
    ok(status == 0 and f"calls the malloc of {own}" in err, f"as a child: {err.splitlines()[0]}")
    for tracer in ("efence", "allocfreetrace", "gctrace", "gcdead", "invalidptr=1", "invalidptr=2"):
        status, _, err, _ = run(f"--{tracer}", "sh", "-c", own)
        ok(status == 0 and own in err and "which is not seen" in err, f"{tracer}, as a child: {err.strip()[:99]}")
    ok("leaked 97.66kB" in run("--mem=exact", built("#define _GNU_SOURCE\n" + LEAK))[2],
       "a program that only calls malloc is recorded")


def test_other_allocators():
    """One that the user preloads lies below us, or its blocks would not be seen."""
    leaky = built(LEAK)
    for name in ["libjemalloc.so.2", "libmimalloc.so.2", "libtcmalloc_minimal.so.4"]:
        library = f"/usr/lib/x86_64-linux-gnu/{name}"
        if not os.path.exists(library):
            skip(f"above {name}", "it is not installed")
            continue
        err = run("--mem=exact", leaky, env=dict(os.environ, LD_PRELOAD=library))[2]
        ok("2001 allocations" in err and "peak 1" in err, f"{name}: {err.splitlines()[0]}")
    asan = subprocess.run(["cc", "-print-file-name=libasan.so"], capture_output=True, text=True).stdout.strip()
    order = run("-q", "--mem", "sh", "-c", "echo $LD_PRELOAD", env=dict(os.environ, LD_PRELOAD="libm.so.6"))
    ok(order[1].endswith(":libm.so.6\n"), f"ours comes first: {order[1].strip()}")
    if os.path.exists(asan):
        err = run("--mem", "true", env=dict(os.environ, LD_PRELOAD=asan, ASAN_OPTIONS="detect_leaks=0"))[2]
        ok("calls the malloc of" in err and "libasan" in err, f"a sanitizer is let first: {err.splitlines()[0]}")
        sane = built(LEAK, "-fsanitize=address")
        for kind in ["--cpu", "--mem=exact"]:
            status, _, err, directory = run(kind, sane, env=dict(os.environ, ASAN_OPTIONS="detect_leaks=0"))
            ok(status == 0 and len(files(directory)) == 1, f"a program built with one: {err.splitlines()[0]}")
        ok("2001 allocations" in err, "... and its heap")


def test_exact_among_sampled():
    """Processes may be recorded in different ways: each has its file, and they become one."""
    script = f"SONDE=$SONDE,mem=exact {built(LEAK)}; {PYTHON} -c 'x = bytes(9000000)'"
    for merge in [[], ["--merge"]]:
        status, _, err, directory = run("--mem", *merge, "sh", "-c", script)
        ok(status == 0 and "1 exact, 2 sampled every 512kB" in err, err.splitlines()[0])
        ok("leaked 97.66kB in 1000 blocks" in err and "not known of 2 of 3 programs" in err,
           "what is known of leaks is told")
        ok("At the peak" in err and "spill" in err.split("Leaked (")[1], "... below, too")
    equal(files(directory), ["mem.pprof"], "--merge: one file")
    ok("mem.pprof: 1 program\n" in run("--mem", "--merge", "true")[2], "... also of one")
    ok("spill" in sonde("top", "--leaked", f"{directory}/mem.pprof") and
       "_PyBytes" in sonde("top", "--peak", f"{directory}/mem.pprof"), "... of both")


def test_both_kinds():
    directory = run("-q", "--cpu=1000", "--mem=exact", *burn())[3]
    equal(files(directory), ["cpu.pprof", "mem.pprof"], "--cpu --mem: two files")
    err = run("--cpu=1000", "--mem=exact", *burn(), directory=directory)[2]
    equal(files(directory), ["cpu.2.pprof", "cpu.pprof", "mem.2.pprof", "mem.pprof"], "again")
    ok(0 <= err.index("samples in") < err.index("sonde: peak"), "cpu is told first")
    both = files(run("-q", "--cpu", "--mem", "-o", "d/", *burn(0.05))[3])
    ok([re.sub(r"\d+", "N", f) for f in both] == ["d/cpu.N.pprof", "d/mem.N.pprof"], f"-o d/: {both}")
    status, out, err, directory = run("--cpu", "--mem", "-o", "f", "echo", "ran")
    ok((status, out, files(directory)) == (2, "", []) and "-o f/" in err, err.splitlines()[0])
    equal(files(run("-q", "--mem", "-o", "f", "true")[3]), ["f"], "one kind: -o FILE")
    ok("write --mem=exact" in run("--mem", "exact", "true")[2], "--mem exact: what was meant")
    for value in ["0", "fast", "-1", "5000000000"]:
        status, out, err, _ = run(f"--mem={value}", "true")
        ok(status == 2 and "--mem" in err, f"--mem={value}: {err.splitlines()[0]}")


def test_heap_of_children():
    script = "import subprocess, sys\n" \
             "subprocess.run([sys.executable, '-c', 'x = bytes(5000000)'])"
    status, _, err, directory = run("--mem=exact", PYTHON, "-c", script)
    names = files(directory)
    ok(len(names) == 2 and names[0] == "mem.pprof" and names[1][10:].isdigit(), f"{names}")
    ok("peaks, together" in err and all(name in err for name in names), err.splitlines()[0])
    merged = run("--mem=exact", "--merge", PYTHON, "-c", script)[3]
    equal(files(merged), ["mem.pprof"], "--merge: one file")
    ok("merged: 2 programs" in sonde("comments", f"{merged}/mem.pprof"), "... of both")
    directory = run("-q", "--cpu", "--mem=exact", "sh", "-c", f"exec {PYTHON} -c '{BURN % 0.1}'")[3]
    ok({"cpu.pprof", "mem.pprof"} <= set(files(directory)), "exec: the last has the plain names")
    ok("_PyObject" in sonde("top", "--sample_index=alloc_space", f"{directory}/mem.pprof"),
       "... and its heap")


def test_what_programs_write():
    """Profiles of the program's own, and those it is asked for by a signal, are not lost."""
    own = str(PROGRAMS / "own_profiles")
    status, _, err, directory = run("-q", "--mem", own, "two")
    names = [re.sub(r"\d+", "N", f) for f in files(directory)]
    equal((err, names), ("", ["held.N.pprof"] * 2 + ["mem.pprof"]), "a program's own, of parent and child")
    held = sorted(Profile(f"{directory}/{f}").total("held") for f in files(directory) if f.startswith("held"))
    equal(held, [1, 2], "... whole")
    ok("two_processes" in sonde("top", glob.glob(f"{directory}/held.*")[0]), "... with names")
    status, _, err, directory = run("--merge", "-o", "there/cpu.pprof", own, "two",
                                    directory=made_directory("there"))
    names = [re.sub(r"\d+", "N", f) for f in files(directory)]
    equal(names, ["there/cpu.pprof"] + ["there/held.N.pprof"] * 2, "-o FILE: beside it")
    ok(re.search(r"there/held\.\d+\.pprof: 1 held, written by the program", err), "they are told")
    ask = "import os, signal\nx = bytes(7000000)\nfor i in range(3): os.kill(os.getpid(), signal.SIGUSR2)"
    status, _, err, directory = run("--mem", "-o", "d", PYTHON, "-c", ask, directory=made_directory("d"),
                                    env=dict(os.environ, SONDE="mem_signal=USR2"))
    names = [re.sub(r"mem\.\d+", "mem.N", f) for f in files(directory)]
    equal((status, names), (0, ["d/mem.N.1.pprof", "d/mem.N.2.pprof", "d/mem.N.3.pprof", "d/mem.N.pprof"]),
          "mem_signal: one each time")
    ok("_PyBytes" in sonde("top", f"{directory}/{files(directory)[0]}"), "... of what was in use then")


def made_directory(name):
    directory = scratch()
    os.mkdir(f"{directory}/{name}")
    return directory


MAPS = """
#include <sys/mman.h>
int main(void) { return mmap(0, 9 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED; }
"""


def test_mappings():
    maps = built(MAPS)
    ok("peak 0B" in run("--mem=exact", maps)[2], "mappings are no blocks")
    for kind in [["--mem_mmap"], ["--mem_mmap", "--mem=exact"]]:
        err = run(*kind, maps)[2]
        ok("peak 9MB in 1 block" in err, f"{kind}: they are: {err.splitlines()[0]}")


def test_no_samples():
    status, _, err, directory = run("true")
    ok((status, files(directory)) == (0, ["cpu.pprof"]) and "no samples" in err
       and "flat%" not in err, "a program too short for a sample: said, without an empty table")


def test_nameless():
    if missing("strip"):
        return skip("without names", "no strip")
    directory = scratch()
    bare = f"{directory}/bare"
    subprocess.run(["strip", "-o", bare, PROGRAMS / "shares"], check=True)
    equal(run("-q", bare, "50")[2], "", "-q says nothing of what has no names")
    err = run("sh", "-c", f"{bare} 100; {bare} 100; {bare} 100")[2]
    equal(err.count("sonde: bare: "), 1, "without it such a module is named once, for all processes")


def test_names():
    directory = scratch()
    for want in [["cpu.pprof"], ["cpu.2.pprof", "cpu.pprof"],
                 ["cpu.2.pprof", "cpu.3.pprof", "cpu.pprof"]]:
        run("-q", *burn(0.05), directory=directory)
        equal(files(directory), want, f"without -o: {want}")
    directory = scratch()
    for _ in range(2):
        run("-q", "-o", "mine", *burn(0.05), directory=directory)
    equal(files(directory), ["mine"], "-o FILE replaces it")
    run("-q", "-o", "new/dir/", *burn(0.05), directory=directory)
    made_there = [f for f in files(directory) if f.startswith("new/dir/cpu.")]
    equal(len(made_there), 1, f"-o DIR/: {made_there}")
    status, out, err, _ = run("-o", "/nowhere/mine", "echo", "ran")
    ok((status, out) == (1, "") and "/nowhere/mine" in err, f"refused at once: {err.strip()}")


def test_nowhere_to_write():
    """What was recorded outlives a full disk: its spool is kept, and is as good as a profile."""
    temporary = scratch()
    status, _, err, _ = run("-o", "/dev/full", *burn(0.1), env=dict(os.environ, TMPDIR=temporary))
    kept = glob.glob(f"{temporary}/*/*.spool")
    ok(status == 1 and "No space left" in err, "a profile that cannot be written is an error")
    ok(len(kept) == 1 and os.path.dirname(kept[0]) in err, "its spool is kept, and named")
    ok("_PyEval" in sonde("top", *kept), "... and read")


def test_children():
    script = f"import subprocess, sys\n{BURN % 0.1}\n" \
             f"subprocess.run([sys.executable, '-c', {BURN % 0.2!r}])"
    status, _, err, directory = run("--cpu=1000", PYTHON, "-c", script)
    names = files(directory)
    ok(len(names) == 2 and names[0] == "cpu.pprof" and names[1][10:].isdigit(), f"{names}")
    parent, child = (Profile(f"{directory}/{n}") for n in names)
    ok(0 < parent.count < child.count, f"{parent.count} samples of one, {child.count} of the other")
    ok(all(name in err for name in names), "both are named")
    merged = run("--cpu=1000", "--merge", PYTHON, "-c", script)[3]
    equal(files(merged), ["cpu.pprof"], "--merge: one file")
    ok(Profile(f"{merged}/cpu.pprof").count > 200, "... of both")


def test_exec():
    directory = run("-q", "--cpu=1000", "sh", "-c", f"exec {PYTHON} -c '{BURN % 0.2}'")[3]
    equal(files(directory)[0], "cpu.pprof", "a program that is executed has the plain name")
    ok(Profile(f"{directory}/cpu.pprof").count > 100, "... and its samples")


def test_nothing_lost_or_left():
    temporary = scratch()
    environment = dict(os.environ, TMPDIR=temporary)
    for name, end in [("kill -9", "os.kill(os.getpid(), 9)"), ("_exit", "os._exit(3)"),
                      ("abort", "os.abort()")]:
        directory = run("-q", "--cpu=1000", *burn(0.2, f"import os\n{end}"), env=environment)[3]
        ok(Profile(f"{directory}/cpu.pprof").count > 150, f"{name}: what was recorded is there")
    equal(os.listdir(temporary), [], "nothing is left in TMPDIR")


def test_odd_places():
    """LD_PRELOAD holds neither spaces nor colons, SONDE no commas."""
    odd = f"{scratch()}/with space:colon,comma"
    os.makedirs(f"{odd}/tmp")
    shutil.copy(SONDE, f"{odd}/sonde")
    shutil.copy(LIBRARY, f"{odd}/libsonde.so")
    done = subprocess.run([f"{odd}/sonde", "run", *burn()], cwd=odd, capture_output=True, text=True,
                          env=dict(os.environ, TMPDIR=f"{odd}/tmp"), timeout=60)
    ok(done.returncode == 0 and os.path.exists(f"{odd}/cpu.pprof"), "recorded all the same")
    equal("ERROR" in done.stderr, False, "... and the loader is content")


def test_refused():
    directory = scratch()
    plain = f"{directory}/plain"
    with open(plain, "w") as file:
        file.write("echo hello\n")
    rows = [("no-such-program-at-all", "PATH"), ("./nowhere", "no such program"),
            (directory, "directory"), (plain, "executable")]
    for program_name, word in rows:
        status, out, err, _ = run(program_name)
        ok((status, out) == (1, "") and word in err and program_name in err, err.strip())
    os.chmod(plain, 0o755)
    with open(plain, "w") as file:
        file.write("#!/bin/sh\necho script\n")
    equal(run("-q", plain)[:2], (0, "script\n"), "a script runs")


def started(arguments, directory):
    """`sonde run` of a program that says when it is ready."""
    child = subprocess.Popen([str(SONDE), "run", *arguments], cwd=directory, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    child.stdout.readline()
    return child


def test_signals_are_handed_on():
    trap = "import signal, os, sys\n" \
           "signal.signal(signal.SIG%s, lambda *_: os._exit(42))\n" \
           "print('ready', flush=True)\nwhile True: pass\n"
    for name in ["TERM", "HUP", "INT", "USR1"]:
        directory = scratch()
        child = started(["-q", PYTHON, "-c", trap % name], directory)
        time.sleep(0.2)
        child.send_signal(getattr(signal, "SIG" + name))
        child.communicate(timeout=20)
        equal((child.returncode, files(directory)), (42, ["cpu.pprof"]),
              f"SIG{name} reaches the program, and the profile is written")


def test_keyboard():
    """Ctrl-C reaches the program once; Ctrl-Z stops, and a continued run goes on."""
    count = "import signal, time\nn = []\n" \
            "signal.signal(signal.SIGINT, lambda *_: n.append(1))\n" \
            "print('ready', flush=True)\n" \
            "end = time.monotonic() + 1\nwhile time.monotonic() < end: pass\n" \
            "print('interrupts:', len(n), flush=True)\n"
    directory = scratch()
    shown = Terminal([str(SONDE), "run", "-q", PYTHON, "-c", count], directory)
    shown.read_until("ready")
    shown.press(b"\x03")
    ok("interrupts: 1" in shown.read_until("interrupts: 1"), "Ctrl-C: one interrupt")
    equal((shown.status(), files(directory)), (0, ["cpu.pprof"]), "... and a profile")
    directory = scratch()
    shown = Terminal([str(SONDE), "run", "-q", PYTHON, "-c",
                      "print('ready', flush=True)\nwhile True: pass"], directory)
    shown.read_until("ready")
    shown.press(b"\x03")
    equal((shown.status(), files(directory)), (-signal.SIGINT, ["cpu.pprof"]),
          "Ctrl-C that kills the program kills not its profile")


def test_job_control():
    directory = scratch()
    with open(f"{scratch()}/work.py", "w") as file:
        file.write("import time\nprint('ready', flush=True)\ntime.sleep(1.5)\nprint('done')\n")
    shell = Terminal(["bash", "--norc", "-i"], directory, PS1="", TERM="dumb")
    shell.press(f"{SONDE} run -q {PYTHON} {file.name}\n".encode())
    ok("ready" in shell.read_until("ready"), "under a shell with job control")
    shell.press(b"\x1a")
    ok("Stopped" in shell.read_until("Stopped"), "Ctrl-Z stops the job")
    shell.press(b"fg\n")
    ok("done" in shell.read_until("done"), "... and fg continues it")
    shell.press(b"exit\n")
    shell.status()
    equal(files(directory), ["cpu.pprof"], "... to its profile")


def test_detail_of_nothing():
    status, out, err = call("run", "--scheddetail", "true")
    ok(status != 0 and "give both" in err, "--scheddetail without --schedtrace is refused")


main(globals())
