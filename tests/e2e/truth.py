#!/usr/bin/env python3
"""Profiles of programs that know what they do: are the shares right, the stacks complete?"""

from harness import *

COMPLETE = 0.995


def check_shares(run):
    profile = run.profile
    for name, share in run.shares.items():
        near(profile.under(name), share, profile.count, f"{run.command[0].split('/')[-1]} {name}")


def check_complete(run, *roots):
    share = run.profile.complete(*roots or ["main"])
    ok(share >= COMPLETE, f"{' '.join(run.command[0].split('/')[-1:] + run.command[1:])}: "
                          f"{100 * share:.2f} % of {run.profile.count} stacks are complete")


def check_expected(run, hz=1000):
    """As many samples' worth of time as the program spent on the CPU."""
    spent = sum(run.truths.values())
    ratio = run.profile.cpu_ns / spent
    ok(0.95 <= ratio <= 1.05, f"{run.command[0].split('/')[-1]} at {hz} Hz: recorded "
                              f"{100 * ratio:.1f} % of the time spent")


def test_shares_however_compiled():
    for build in ["shares", "shares_O0", "shares_O3", "shares_fp", "shares_debug_frame"]:
        run = preload(program(build, 1500))
        check_shares(run)
        check_complete(run)
        check_expected(run)


def test_every_clock():
    for clock in ["perf", "perf-user", "timer"]:
        for hz in [100, 1000]:
            run = preload(program("shares", 1500), f"cpu={hz},clock={clock}")
            check_shares(run)
            check_complete(run)
            check_expected(run, hz)
            ok(any(f"clock: {clock}," in c for c in run.profile.comments), f"says that its clock was {clock}")


def test_deep_recursion():
    for depth in [100, 400]:
        run = preload(program("recurse", 800, depth))
        check_complete(run)
        whole = run.profile.share(lambda stack, _: stack.count("down") == depth)
        ok(whole >= COMPLETE, f"{100 * whole:.2f} % have all {depth} frames")


def test_threads():
    run = preload(program("threads", 4000))
    check_complete(run, "run")
    check_expected(run)
    for name, share in run.shares.items():
        got = run.profile.share(lambda _, labels: labels.get("thread") == name)
        ok(abs(got - share) <= 0.005,
           f"thread {name}: {100 * got:.2f} % of {100 * share:.2f} % (within 0.5)")
    ids = {s.labels.get("thread_id") for s in run.profile.samples if "run" in names_of(s)}
    equal(len(ids), 4, "each thread has its id")


def names_of(sample):
    from pprof import names
    return names(sample.stack)


def test_short_threads():
    run = preload(program("short_threads", 400))
    check_shares(run)
    check_expected(run)
    check_complete(run, "on_thread", "main")
    # The other clock only looks at the kernel's ticks, which come every 4 ms: a thread of 2 ms
    # is there for one or is not.
    run = preload(program("short_threads", 400), "cpu=1000,clock=timer")
    check_complete(run, "on_thread", "main")


def test_kernel_time():
    for clock in ["perf", "timer"]:
        run = preload(program("syscalls", 1500), f"cpu=1000,clock={clock}")
        check_shares(run)
        check_expected(run)
        check_complete(run)
    # Where the kernel may not be watched, its time is counted, but at the next tick outside.
    run = preload(program("syscalls", 1500), "cpu=1000,clock=perf-user")
    check_expected(run)


def test_exceptions():
    run = preload(program("exceptions", 1000))
    equal(run.out, "caught all\n", "every exception is caught")
    check_complete(run)
    ok(run.profile.under("catcher") > 0.9, "the throwing is found below its catcher")


def test_plugins():
    run = preload(program("dlopen", PROGRAMS, 200))
    both = run.profile.share(lambda stack, _: "one" in stack or "two" in stack)
    ok(both >= 0.97, f"{100 * both:.1f} % are in the plugins")
    one = run.profile.under("one")
    near(one, run.shares["one"], run.profile.count,
         "the first is told from the second, though both lie at one address", 0.02)
    check_complete(run)
    check_expected(run)
    back = run.profile.under("called_back")
    near(back, 0.5, run.profile.count, "half of it is called back from the plugins", 0.02)


def test_fibres():
    run = preload(program("fibres", 1000))
    equal(run.out, "home\n", "the fibres come home")
    check_complete(run, "fibre")
    deep = run.profile.share(lambda stack, _: stack.count("deep") == 13)
    ok(deep >= 0.95, f"{100 * deep:.1f} % have all their frames")


def test_mappings():
    run = preload(program("shares", 200))
    mappings = {m.file: m for m in run.profile.mappings.values()}
    own = mappings.get(run.command[0])
    ok(own is not None, "the program's own mapping is named")
    read = subprocess.run(["readelf", "-n", run.command[0]], capture_output=True, text=True).stdout
    ok(own and own.build_id and own.build_id in read, "with its build id")
    equal(run.profile.types, [("samples", "count"), ("cpu", "nanoseconds")], "sample types")
    ok(run.profile.time_ns > 1.7e18, "time")
    ok(run.profile.duration_ns > 150e6, "duration")
    equal(run.profile.period, 1000000, "period")


main(globals())
