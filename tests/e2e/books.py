"""The books of the allocator programs (tests/programs/alloc.h) beside what a heap profile
says."""

import collections

from harness import note, ok, preload, program
from pprof import names

FAMILIES = ["alloc", "inuse", "peak", "temporary", "leaked"]
SAMPLED = FAMILIES[:3]
ZERO = (0, 0)

Account = collections.namedtuple("Account", "site size_class thread")


def truth_of(run):
    """What a program of tests/programs/alloc.h says: account → family → (objects, bytes)."""
    books = {}
    for words in map(str.split, run.out.splitlines()):
        if words and words[0] == "truth":
            n = list(map(int, words[4:]))
            books[Account(*words[1:4])] = dict(zip(FAMILIES, zip(n[::2], n[1::2])))
    return books


def measured(profile, books):
    """The same from a profile, and the samples of each account."""
    families = [f for f in FAMILIES if f"{f}_space" in dict(profile.types)]
    columns = [(f, profile.value(f"{f}_objects"), profile.value(f"{f}_space")) for f in families]
    sums = collections.defaultdict(lambda: dict.fromkeys(families, ZERO))
    samples = collections.defaultdict(list)
    for s in profile.samples:
        account = account_of(books, frozenset(names(s.stack)), s.labels.get("thread"))
        samples[account].append(s)
        of = sums[account]
        for f, objects, space in columns:
            of[f] = (of[f][0] + s.values[objects], of[f][1] + s.values[space])
    return sums, samples


def account_of(books, stack, thread):
    return next((a for a in books
                 if a.thread == thread and a.site in stack and a.size_class in stack), None)


def check_exact(run, name, profile=None, books=None, families=FAMILIES):
    """Each account, to the unit."""
    profile, books = profile or run.heap, books or truth_of(run)
    got, _ = measured(profile, books)
    wrong = [(account, f, got[account][f], says[f]) for account, says in books.items()
             for f in families if got[account][f] != says[f]]
    if not ok(not wrong and books, f"{name}: {len(books)} accounts are true to the unit"):
        note(f"{len(wrong)} differ, the first: (account, family, got, want)")
        for line in wrong[:8]:
            note(line)


def allocate(mode, *arguments, **options):
    run = preload(program(*arguments), f"{mode},quiet", **options)
    if run.status != 0 or run.err:
        ok(False, f"{' '.join(map(str, arguments))}: status {run.status}, says {run.err!r}")
    return run
