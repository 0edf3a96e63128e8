#!/usr/bin/env python3
"""`sonde run`: the program is alone with its terminal, and its profile is where it should be."""

import glob
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


main(globals())
