#!/usr/bin/env python3
"""However a process ends, what was recorded is there, and the end is the program's own."""

from harness import *
import time

# HOW: (exit status or minus the signal, the least of `before_the_end` in milliseconds of 300)
ENDINGS = {
    "exit": 3,
    "_exit": 4,
    "quick_exit": 5,
    "abort": -signal.SIGABRT,
    "kill": -signal.SIGKILL,
    "segv": -signal.SIGSEGV,
    "sigint": -signal.SIGINT,
    "sigint_handled": 40 + signal.SIGINT,
    "sigint_ignored": 6,
    "sigterm": -signal.SIGTERM,
    "pthread_exit": 9,
    "thread": 10,
}


def shell(status):
    """How a command reports that its child ended so."""
    return status if status >= 0 else 128 - status


def check_recorded(run, how):
    recorded = sum(p.share(lambda stack, _: "before_the_end" in stack) * p.cpu_ns
                   for p in run.profiles)
    ok(recorded > 250e6, f"{how}: {recorded / 1e6:.0f} of 300 ms or more are recorded")


def test_under_run():
    for how, status in ENDINGS.items():
        run = record(program("ending", how), "--cpu=1000")
        ok(run.status in (status, shell(status)), f"{how}: exit status {run.status}")
        check_recorded(run, how)
        equal(run.spools, [], f"{how}: nothing is left lying about")


def test_preloaded():
    """Without `sonde run` a killed process leaves its spool, which the command reads."""
    for how, status in ENDINGS.items():
        run = preload(program("ending", how), "cpu=1000,quiet")
        equal(run.status, status, f"{how}: exit status")
        equal(run.err, "", f"{how}: quiet")
        for spool in run.spools:
            ok(not run.profiles, f"{how}: a spool or a profile")
            salvaged = f"{run.directory}/salvaged.pprof"
            sonde("proto", f"--output={salvaged}", spool)
            run.profiles.append(Profile(salvaged))
        check_recorded(run, how)


def test_exec_and_fork():
    """A profile for each program that was executed, and for each process."""
    for how, status in [("exec", 3), ("fork", 8)]:
        run = record(program("ending", how), "--cpu=1000")
        equal(run.status, status, f"{how}: exit status")
        equal(len(run.profiles), 2, f"{how}: a profile each")
        check_recorded(run, how)


def interrupt(sig):
    """Send `sig` to a program that has been at work for a while."""
    directory = scratch()
    environment = dict(os.environ, LD_PRELOAD=str(LIBRARY), SONDE=f"cpu=1000,path={directory}")
    child = subprocess.Popen(program("ending", "exit", 60000), env=environment,
                             stderr=subprocess.PIPE, text=True)
    time.sleep(0.6)
    child.send_signal(sig)
    _, err = child.communicate(timeout=20)
    return directory, child.returncode, err


def test_control_c():
    directory, status, err = interrupt(signal.SIGINT)
    equal(status, -signal.SIGINT, "Ctrl-C: dies of SIGINT")
    path = f"{directory}/cpu.pprof"
    ok(os.path.exists(path) and Profile(path).under("before_the_end") > 0.9,
       "... with its profile written")
    ok(path in err, "... and named")


def test_profile_cannot_be_written():
    directory = scratch()
    os.mkdir(f"{directory}/cpu.pprof")
    environment = dict(os.environ, LD_PRELOAD=str(LIBRARY), SONDE=f"cpu=1000,path={directory}")
    done = subprocess.run(program("ending", "exit", 50), env=environment, capture_output=True,
                          text=True)
    equal(done.returncode, 3, "the profile cannot be written: the exit status is kept")
    spool = f"{directory}/cpu.spool"
    ok(spool in done.stderr, f"... told where the recording is: {done.stderr.splitlines()[-1]}")
    ok("before_the_end" in sonde("top", spool), "... and it can be read")


main(globals())
