#!/usr/bin/env python3
"""A program that repeats itself in step with the clock: its split must come out true all the
same. A clock of a fixed period fails this by many points."""

from harness import *


def worst(period_us, hz, settings=""):
    run = preload(program("periodic", 2000, period_us), f"cpu={hz}{settings}")
    return max(abs(run.profile.under(name) - share) for name, share in run.shares.items()), run


def test_in_step():
    """Not with clock=timer: that one looks when the kernel ticks, which nobody can jitter."""
    for period_us, hz in [(1000, 1000), (2000, 1000), (3400, 1000), (10000, 1000)]:
        check(period_us, hz)


def check(period_us, hz):
    error, run = worst(period_us, hz, ",clock=perf")
    slack = 4 * (0.25 / run.profile.count) ** 0.5 + 0.004
    ok(error <= slack, f"{hz} Hz, repeating every {period_us} us: off by {100 * error:.1f} "
                       f"points at most (within {100 * slack:.1f})")


def test_few_ticks():
    """200 of them are six batches: the drift within a batch must already cover a period."""
    check(10000, 100)


main(globals())
