#!/usr/bin/env python3
"""What a profiled program must not notice, and what Sonde says when it cannot profile."""

from harness import *
import resource


def test_programs_notice_nothing():
    plain = subprocess.run(program("polite"), capture_output=True, text=True).stdout.splitlines()
    for clock in ["perf", "timer"]:
        run = preload(program("polite"), f"cpu=2000,quiet,clock={clock}")
        equal(run.status, 0, f"{clock}: exit status")
        equal(run.err, "", f"{clock}: nothing on standard error")
        for want, got in zip(plain, run.out.splitlines()):
            equal(got, want, f"{clock}: {want[4:]}")
        equal(len(run.out.splitlines()), len(plain), f"{clock}: as many lines")
        took = run.profile.under("all_blocked") * run.profile.cpu_ns
        ok(took > 200e6, f"{clock}: a thread that blocks every signal is sampled "
                         f"({took / 1e6:.0f} of 300 ms)")
        took = run.profile.under("after_close") * run.profile.cpu_ns
        ok(took > 20e6, f"{clock}: what closes all descriptors is sampled on ({took / 1e6:.0f} ms)")


def test_own_allocator():
    run = preload(program("allocator"), "cpu=1000,quiet", timeout=60)
    equal(run.status, 0, "a program with an allocator of its own forks")


def test_unloading():
    done = subprocess.run(program("unload", LIBRARY, scratch()), timeout=60)
    equal(done.returncode, 0, "the library is closed before the thread that recorded ends")


def test_malformed_settings():
    for text, word in [("cpu=fast", "cpu"), ("cpu=0", "cpu"), ("speed=9", "speed"),
                       ("cpu,clock=sundial", "clock"), ("cpu,mem=lots", "mem")]:
        run = preload(program("shares", 20), text)
        equal(run.status, 0, f"SONDE={text}: the program runs")
        ok("truth ten" in run.out, "... to its end")
        ok(f"'{word}'" in run.err and len(run.err.splitlines()) == 1, f"... told: {run.err.strip()}")
        equal(run.files + run.spools, [], "... unprofiled")


def test_unwritable():
    run = preload(program("shares", 20), directory="/proc/nowhere")
    equal(run.status, 0, "an unwritable directory: the program runs")
    ok("/proc/nowhere" in run.err, f"... told: {run.err.strip()}")


def test_small_files_only():
    """The kernel kills what writes beyond this limit."""
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000000, 1000000))
    run = preload(program("shares", 20), preexec_fn=limit)
    equal(run.status, 0, "a limit on files: the program runs")
    ok("File too large" in run.err, f"... told: {run.err.strip()}")
    equal(run.files + run.spools, [], "... unprofiled")


def test_said():
    run = preload(program("shares", 100), "cpu=1000")
    lines = run.err.splitlines()
    equal(len(lines), 2, "a line at start and one at stop")
    ok(all(f"{run.directory}/cpu.pprof" in line for line in lines), "both name the file")
    run = preload(program("shares", 100), "cpu=1000,quiet")
    equal(run.err, "", "quiet: nothing")


def test_nothing_asked():
    environment = dict(os.environ, LD_PRELOAD=str(LIBRARY))
    environment.pop("SONDE", None)
    done = subprocess.run(program("shares", 20), env=environment, capture_output=True, text=True)
    equal((done.returncode, done.stderr), (0, ""), "preloaded with no SONDE: silent")


def test_refused():
    run = record(program("static"))
    ok(run.status == 1 and "static" in run.err, f"a static program: {run.err.strip()}")
    equal(run.out, "", "... is refused before it starts")
    directory = scratch()
    for d in [directory, os.path.dirname(directory)]:
        os.chmod(d, 0o755)
    setuid = f"{directory}/setuid"
    shutil.copy(program("shares")[0], setuid)
    os.chmod(setuid, 0o4755)
    somebody = {} if os.getuid() else {"user": 65534, "group": 65534, "extra_groups": []}
    try:
        run = record([setuid, "10"], **somebody)
    except PermissionError as error:
        return skip("a setuid program", str(error))
    ok(run.status == 1 and "setuid" in run.err, f"a setuid program: {run.err.strip()}")
    equal(run.out, "", "... is refused before it starts")


main(globals())
