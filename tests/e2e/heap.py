#!/usr/bin/env python3
"""Heap profiles of programs that know what they allocated: exact is the truth, sampled is
within its own error of it."""

from harness import *
from books import FAMILIES, SAMPLED, ZERO, allocate, check_exact, measured, truth_of
import collections
import math
from pprof import names

DECADES = {0, *(10**n for n in range(3, 13))}
RATE = 65536


# ---- exact ----

def test_exact():
    for arguments in [(1, 1024), (2, 1024), (3, 1024), (4, 1024, 2), (5, 1024, 4)]:
        run = allocate("mem=exact", "alloc_truth", *arguments)
        check_exact(run, f"exact, seed {arguments[0]}, {(*arguments, 1)[2]} threads")


def test_each():
    """At one byte every block is sampled, and stands for itself."""
    run = allocate("mem=1", "alloc_truth", 6, 1024, 2)
    check_exact(run, "rate 1", families=SAMPLED)


def test_beside_the_clock():
    run = allocate("cpu=1000,mem=exact", "alloc_truth", 7, 1024, 2)
    check_exact(run, "with the CPU's clock")
    ok(run.profile is not run.heap, "a profile each")


def test_ways():
    """Orders of events, threads, handlers, the ends of threads and of the program."""
    for way in ["order", "storm", "dying", "signal", "alarm", "atexit", "thread_end", "plugin",
                "depth"]:
        run = allocate("mem=exact", "alloc_ways", way, PROGRAMS)
        check_exact(run, way, families=[f for f in FAMILIES if f != "leaked"])
    for build in ["alloc_new", "alloc_own_new"]:
        run = allocate("mem=exact", build)
        equal([line for line in run.out.splitlines() if line.startswith("no ")], [],
              f"{build}: finds what it was promised")
        check_exact(run, build, families=[f for f in FAMILIES if f != "leaked"])


def test_thread_labels():
    """Each thread that dies is told from the next, though they have one name."""
    run = allocate("mem=exact", "alloc_ways", "dying")
    _, samples = measured(run.heap, truth_of(run))
    [of] = [v for account, v in samples.items() if account]
    equal(len({s.labels["thread_id"] for s in of}), 50, "fifty threads, fifty numbers")


def test_shape():
    """Types, labels, comments, leaves."""
    for mode, families in [("mem=exact", FAMILIES), ("mem=1", SAMPLED)]:
        profile = (run := allocate(mode, "alloc_truth", 8, 512)).heap
        equal(profile.types, [t for f in families
                              for t in [(f"{f}_objects", "count"), (f"{f}_space", "bytes")]],
              f"{mode}: sample types")
        check_labels(profile, mode)
        check_leaves(profile, truth_of(run), mode)
    check_lifetimes(allocate("mem=exact", "alloc_truth", 8, 512).heap)
    equal(allocate("mem", "alloc_truth", 8, 512).heap.period, 512 << 10, "the usual period")
    equal(allocate("mem=12345", "alloc_truth", 8, 64).heap.period, 12345, "a period given")


def check_labels(profile, mode):
    ok(all({"thread", "thread_id", "bytes"} <= s.labels.keys() for s in profile.samples),
       f"{mode}: every sample has its thread, its number and its size")
    equal(profile.units.get("bytes"), "bytes", f"{mode}: the size is in bytes")
    objects, space = profile.value("alloc_objects"), profile.value("alloc_space")
    sizes = collections.defaultdict(lambda: [0, 0])  # one stack and class: one size, an average
    for s in profile.samples:
        of = sizes[s.stack, s.labels["thread_id"], s.labels["bytes"]]
        of[0] += s.values[objects]
        of[1] += s.values[space]
    wrong = [(key, of) for key, of in sizes.items()
             if of[0] and abs(of[1] / of[0] - key[2]) > 1 + 0.01 * key[2]]
    if not ok(not wrong, f"{mode}: ... which is the average of its class"):
        note(f"{len(wrong)} of {len(sizes)}: {[(k[1:], of) for k, of in wrong[:5]]}")


def check_leaves(profile, books, mode):
    """The leaf is who called the allocator: strdup for its own, else the site."""
    leaves = collections.Counter()
    for account, samples in measured(profile, books)[1].items():
        for s in samples if account else []:
            leaf = names(s.stack)[0]
            own = "dup" in account.site and "dup" in leaf
            leaves["good" if own or leaf == account.site else (account.site, leaf)] += 1
    equal(set(leaves), {"good"}, f"{mode}: the leaf is who called the allocator")


def check_lifetimes(profile):
    equal(profile.units.get("lifetime"), "nanoseconds", "lifetimes are in nanoseconds")
    ok({s.labels["lifetime"] for s in profile.samples if "lifetime" in s.labels} <= DECADES,
       "lifetimes are decades")
    at = [profile.value(f"{f}_{what}") for f in ["inuse", "leaked"]
          for what in ["objects", "space"]]
    ok(not any(s.values[i] for s in profile.samples if "lifetime" in s.labels for i in at),
       "what had an end is not in use")
    alloc, live = profile.value("alloc_objects"), profile.value("inuse_objects")
    equal(sum(s.values[alloc] for s in profile.samples if "lifetime" not in s.labels),
          sum(s.values[live] for s in profile.samples), "what had none is")


# ---- processes ----

def test_fork():
    run = allocate("mem=exact", "alloc_ways", "fork")
    books = truth_of(run)
    child = {a: b for a, b in books.items() if a.site == "in_child"}
    parent = {a: b for a, b in books.items() if a.site != "in_child"}
    profiles = run.with_type("alloc_space")
    equal(len(profiles), 2, "fork: a profile each")
    check_exact(run, "the parent", families=FAMILIES[:4], books=parent)
    check_exact(run, "the child", max(profiles, key=lambda p: len(p.path)), child, FAMILIES[:4])


def salvaged(run):
    """Of a process that was killed: what its spool says."""
    path = f"{run.directory}/salvaged.pprof"
    equal(len(run.spools), 1, "the spool is there")
    sonde("proto", f"--output={path}", *run.spools)
    return Profile(path)


def test_killed():
    for way, status in [("kill", -signal.SIGKILL), ("abort", -signal.SIGABRT)]:
        run = preload(program("alloc_ways", way), "mem=exact,quiet")
        equal(run.status, status, f"{way}: dies of it")
        check_exact(run, f"{way}: what was counted", salvaged(run), families=FAMILIES[:4])
    run = allocate("mem=exact", "alloc_ways", "_exit")
    check_exact(run, "_exit", families=FAMILIES[:4])


def test_exec():
    run = allocate("mem=exact", "alloc_ways", "exec")
    books = truth_of(run)
    before = {a: b for a, b in books.items() if a.size_class == "before_the_end"}
    after = {a: b for a, b in books.items() if a.size_class == "by_order"}
    check_exact(run, "after exec", books=after, families=FAMILIES[:4])
    check_exact(run, "before exec", salvaged(run), before, FAMILIES[:4])


# ---- sampled ----
#
# Sampling is a Poisson process over bytes, one in R: a block of S bytes is met with
# p = 1 - exp(-S / R), independently of every other, since the distance to the next sampled
# byte has no memory. A block that is met counts 1 / p, any other 0: that has the mean
# p (1 / p) = 1 and the variance p (1 / p)^2 - 1 = (1 - p) / p = 1 / (exp(S / R) - 1).
# Over n blocks of about S bytes the estimate of their number therefore has the variance
# n / (exp(S / R) - 1), and that of their bytes S^2 times as much. (About: of sizes that differ
# much, the smallest make most of the variance of the number, and the mean does not tell.)

class Estimate:
    """Of one family, size class and run: what was measured, less the truth."""

    def __init__(self, got, says, n_samples, rate):
        self.blocks, self.bytes = says
        self.size = self.bytes / self.blocks if self.blocks else 1
        self.error_objects, self.error_bytes = got[0] - says[0], got[1] - says[1]
        self.variance = self.blocks / math.expm1(self.size / rate)
        self.met = self.blocks * -math.expm1(-self.size / rate)
        self.rounding = n_samples / 2  # the numbers of a profile are whole


def by_class(sums, family):
    total = collections.defaultdict(lambda: ZERO)
    for account, of in sums.items():
        objects, space = total[account and account.size_class]
        total[account and account.size_class] = (objects + of[family][0], space + of[family][1])
    return total


def estimate(run, rate, families, found):
    books = truth_of(run)
    sums, samples = measured(run.heap, books)
    n_samples = collections.Counter()
    for account, of in samples.items():
        n_samples[account and account.size_class] += len(of)
    for family in families:
        got = by_class(sums, family)
        for size_class, says in by_class(books, family).items():
            found[family, size_class].append(
                Estimate(got[size_class], says, n_samples[size_class], rate))


def beyond(found):
    """The classes that, over all runs together, are more than three standard errors off."""
    bad = []
    for key, of in found.items():
        objects = math.sqrt(sum(e.variance for e in of))
        space = math.sqrt(sum(e.variance * e.size**2 for e in of))
        rounding = sum(e.rounding for e in of)
        off = (abs(sum(e.error_objects for e in of)) - rounding, objects), \
              (abs(sum(e.error_bytes for e in of)) - rounding, space)
        bad += [(*key, f"{error / deviation:.1f} standard errors" if deviation else error)
                for error, deviation in off if error > 3 * deviation]
    return bad


def check_unbiased(runs, rate, families, name):
    """Three times in a thousand an honest estimate is beyond three of its errors: what is, is
    measured again, and a wrong one is so again."""
    found, bad = collections.defaultdict(list), []
    for again in range(2):
        found.clear()
        for run in runs():
            estimate(run, rate, families, found)
        before, bad = bad, beyond(found)
        if not again and bad:
            note(f"{name}: measured again, because of {bad}")
        elif not bad:
            break
    both = {b[:2] for b in before} & {b[:2] for b in bad}
    if not ok(not both, f"{name}: {len(found)} classes are within three standard errors"):
        note(bad)
    return found


def check_spread(found, name):
    """Nor are the errors smaller or larger than they should be: their squares, in standard
    errors, are one on average, with the variance 2."""
    squares = [e.error_bytes**2 / (e.variance * e.size**2)
               for of in found.values() for e in of if e.met >= 20 and e.variance > e.blocks / 20]
    mean, slack = sum(squares) / len(squares), 4 * math.sqrt(2.1 / len(squares))
    ok(abs(mean - 1) < slack, f"{name}: the errors of {len(squares)} estimates are {mean:.2f} of "
                              f"their variance (within {slack:.2f})")


def test_sampled():
    found = check_unbiased(
        lambda: (allocate(f"mem={RATE}", "alloc_truth", seed, 8192) for seed in range(1, 21)),
        RATE, ["alloc", "inuse"], "twenty seeds")
    check_spread(found, "twenty seeds")
    check_unbiased(lambda: (allocate("mem", "alloc_truth", seed, 24576) for seed in range(1, 4)),
                   512 << 10, ["alloc", "inuse"], "at the usual rate")
    check_unbiased(lambda: (allocate(f"mem={RATE}", "alloc_truth", seed, 4096, 4)
                            for seed in range(1, 6)), RATE, ["alloc", "inuse"], "four threads")


def test_sampled_peak():
    """Where the heap only grows up to its peak, and never comes near it again, that of the
    estimate is at the same moment, and as good as any other."""
    check_unbiased(lambda: (allocate(f"mem={RATE}", "alloc_ways", "storm") for _ in range(5)),
                   RATE, SAMPLED, "a storm")


# ---- leaks ----

def test_leaks():
    """Exactly what was planted; and of what others left, nothing that is reachable."""
    for how in [[], ["_exit"]]:
        run = allocate("mem=exact", "alloc_leaks", PROGRAMS, *how)
        books = truth_of(run)
        sums, samples = measured(run.heap, books)
        for account, says in books.items():
            equal(sums[account]["leaked"], says["leaked"],
                  f"{' '.join(how)} {account.site}: leaked {says['leaked'][0]}")
        at = run.heap.value("leaked_space")
        others = [names(s.stack)[:6] for s in samples[None] if s.values[at]]
        equal(others, [], "nothing else is leaked")
        check_leak_comment(run.heap, sums)


def check_leak_comment(profile, sums):
    objects, space = (sum(of["leaked"][i] for of in sums.values()) for i in range(2))
    ok(any(c.startswith(f"leaked: {space} bytes in {objects} blocks, still reachable: ")
           for c in profile.comments), "the comment says as much")


def test_no_leaks():
    run = allocate("mem=exact", "alloc_truth", 9, 1024, 4)
    equal(run.heap.total("leaked_space"), 0, "what is in a table is not leaked")


main(globals())
