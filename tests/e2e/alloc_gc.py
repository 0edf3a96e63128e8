#!/usr/bin/env python3
"""allocfreetrace in a collected heap: blocks from lists and what collections free, seen late; in
a program that knows what it allocates, and in Guile, where libgc's own count is the truth."""

from harness import *
import collections
import re

LATE = PROGRAMS / "alloc_gc_late"
LINE = re.compile(r"trace(?P<kind>alloc|free)\(0x(?P<address>[0-9a-f]+), 0x(?P<size>[0-9a-f]+)"
                  r"(?:, (?P<site>.*?))?\) @(?P<at>\d+\.\d{9})s thread=(?P<tid>\d+) gc"
                  r"(?: (?P<late>late|unused) since=(?P<since>\d+\.\d{9})s)?$", re.M)
PER_PAGE = 4096 // 48
SLACK = 40  # objects that a word on the stack, or a register, seems to lead to


def traced(way, n, settings="allocfreetrace,quiet", **options):
    """The run; its truths; each site's row of --count."""
    run = preload(program("alloc_gc_late", way, n), settings, **options)
    equal(run.status, 0, f"{way}: it ends as it would")
    run.trace = f"{run.directory}/alloc.trace"
    numbers = [[int(n) for n in line.split()[1:]] for line in run.out.splitlines()]
    run.of = dict(zip(["by_list", "by_function"], numbers))
    run.finalized, run.live = numbers[2]
    return run


def rows(path, *options):
    table = collections.defaultdict(lambda: (0, 0, 0))
    for line in sonde("trace", "--count", "--gc", *options, path).splitlines()[2:]:
        words = line.split()
        table[words[7]] = (int(words[0]), int(words[1]), int(words[3]))
    return table


def events(path, *options):
    return [m.groupdict() for m in LINE.finditer(sonde("trace", "--gc", *options, path))]


def check(run, name):
    """A site's allocations are all there; what lives is what the program keeps, and in all
    what libgc says."""
    table = rows(run.trace)
    for site, (allocated, kept, _) in run.of.items():
        allocs, frees, live = table[site]
        equal(allocs, allocated, f"{name}: each allocation of {site} is there, once")
        ok(kept <= live <= kept + SLACK and live == allocs - frees,
           f"{name}: {live} of {site} live, {kept} are kept")
    live = table["(all)"][2]  # libgc's count has what it keeps ready for its threads, too
    ok(-SLACK <= run.live - live <= SLACK + 2 * PER_PAGE,
       f"{name}: {live} live, {run.live} by libgc's own count")
    return table


def missing_program():
    if os.path.exists(LATE):
        return False
    skip("a collected heap", "libgc-dev was not installed when the tests were built")
    return True


def test_ways():
    if missing_program():
        return
    for way, n in [("lists", 30000), ("functions", 30000), ("again", 20000), ("threads", 40000)]:
        run = traced(way, n)
        check(run, way)
        freed = collections.Counter(bool(e["late"]) for e in events(run.trace)
                                    if e["kind"] == "free")
        by_hand = sum(f for _, _, f in run.of.values())
        equal(freed[False], by_hand, f"{way}: what is freed by hand is told by its function, once")


def test_order():
    """A block is allocated, freed, allocated, ...; late events lie within their collections."""
    if missing_program():
        return
    live, wrong, outside = set(), 0, 0
    for e in events(traced("again", 20000).trace):
        wrong += (e["address"] in live) == (e["kind"] == "alloc")
        (live.add if e["kind"] == "alloc" else live.discard)(e["address"])
        outside += bool(e["late"]) and not float(e["since"]) <= float(e["at"])
    equal((wrong, outside), (0, 0), "each address is allocated and freed in turn, in its time")


def test_finalizers():
    """What waits for its finalizer lives on; it is freed once."""
    if missing_program():
        return
    run = traced("final", 5000)
    allocs, frees, live = rows(run.trace)["by_function"]
    equal((allocs, allocs - frees), (5000, live), "with finalizers: each is there once")
    ok(5000 - SLACK <= frees <= run.finalized, f"{frees} are freed, {run.finalized} were finalized")


def test_hidden():
    """Freed where nobody saw it: known when its function hands it out again, or it is swept."""
    if missing_program():
        return
    run = traced("hidden", 1000)
    allocs, frees, live = rows(run.trace)["by_function"]
    equal((allocs, allocs - frees), (1000, live), "frees that are not seen")
    ok(live <= SLACK, f"... are seen when the block is on a list again, or swept: {live} live")


def test_reader():
    if missing_program():
        return
    run = traced("lists", 30000)
    late, told = events(run.trace, "--late"), events(run.trace, "--late=false")
    allocated, _, freed = run.of["by_list"]
    ok(all(e["late"] for e in late) and len(late) > allocated, f"--late: {len(late)} events")
    ok(not any(e["late"] for e in told) and len(told) >= freed, f"--late=false: {len(told)}")
    equal(len(late) + len(told), len(events(run.trace)), "they are all")
    equal(sum(e["site"] == "by_list" for e in late), allocated,
          "a block's site is who took its list; one that is freed by hand is told then")
    head = sonde("trace", "--count", run.trace).splitlines()[0]
    found = re.search(r"; (\d+) of them seen late, (\d+) collections$", head)
    ok(found and int(found[1]) >= len(late) and int(found[2]) >= 3, head)
    profile = f"{run.directory}/p.pprof"
    sonde("trace", "--proto", "--gc", "-o", profile, run.trace)
    equal(Profile(profile).total("alloc_objects", lambda names, _: "by_list" in names), allocated,
          "--proto has them")
    leaked = events(run.trace, "--leaked")
    ok(abs(len(leaked) - run.live) <= SLACK, f"--leaked: {len(leaked)}")


def test_live():
    if missing_program():
        return
    done = subprocess.run([SONDE, "run", "--allocfreetrace", *program("alloc_gc_late", "lists", 500)],
                          capture_output=True, text=True, timeout=60)
    equal(sum(m["site"] == "by_list" for m in LINE.finditer(done.stderr) if m["late"]),
          int(done.stdout.split()[1]), "sonde run --allocfreetrace prints them")


def test_later():
    """Where the trace begins later, what was there is no allocation of it, nor is its end a free
    of a site."""
    if missing_program():
        return
    directory = scratch()
    done = subprocess.run(program("alloc_gc_late", "later", 20000, directory), capture_output=True,
                          text=True, timeout=60, env=dict(os.environ, LD_PRELOAD=str(LIBRARY)))
    equal(done.returncode, 0, f"begun later: {done.stderr.strip()}")
    allocated, kept, _ = map(int, done.stdout.splitlines()[0].split()[1:])
    table = rows(f"{directory}/alloc.trace")
    allocs, frees, live = table["by_list"]
    equal(allocs, allocated, "begun later: what came after is all there, and no more")
    ok(kept <= live <= kept + SLACK, f"begun later: {live} live, {kept} are kept")
    ok(table["(no)"][0] <= SLACK, f"begun later: {table['(no)']} of no stack")


GC = re.compile(r"^gc (\d+) @(\d+\.\d+)s .* libgc, (\d+) objects$", re.M)


def check_guile(name, script):
    if missing("guile-3.0"):
        return skip("guile", "guile-3.0 is not installed")
    command = ["guile-3.0", "--no-auto-compile", "-c", script]
    plain = subprocess.run(command, capture_output=True, text=True, timeout=60)
    run = preload(command, "allocfreetrace,quiet,gctrace=1")
    equal((run.status, run.out), (0, plain.stdout), f"{name}: its output is its own")
    collections_ = GC.findall(run.err)
    number, _, objects = collections_[-1]
    all_ = events(f"{run.directory}/alloc.trace")
    end = max(float(e["since"]) for e in all_ if e["late"])  # of the last collection: of lists
    live = sum(1 if e["kind"] == "alloc" else -1 for e in all_)
    then = sum(1 if e["kind"] == "alloc" else -1 for e in all_ if float(e["at"]) <= end)
    table = rows(f"{run.directory}/alloc.trace")
    head = sonde("trace", "--count", f"{run.directory}/alloc.trace").splitlines()[0]
    equal(re.search(r"(\d+) collections", head)[1], str(len(collections_)),
          f"{name}: each of {len(collections_)} collections is there")
    equal(table["(all)"][2], live, f"{name}: lines and table agree")
    # libgc's count has what it keeps ready for its threads: a page of each size and kind at most.
    ok(-SLACK <= int(objects) - then <= 2000,
       f"{name}: {then} live after collection {number}, {objects} by libgc's own count")


def test_guile():
    """The last thing that it does is to collect."""
    check_guile("guile, pairs", """(define keep (let loop ((i 0) (l '()))
        (if (< i 100000) (loop (+ i 1) (cons i l)) l)))
      (let loop ((i 0) (x #f)) (if (< i 300000) (loop (+ i 1) (cons i i)) x))
      (gc) (display (length keep))""")
    check_guile("guile, strings and guardians", """(define g (make-guardian))
      (define keep (map (lambda (i) (number->string i)) (iota 30000)))
      (for-each (lambda (i) (g (make-string 20 #\\x))) (iota 5000))
      (let loop ((i 0)) (if (< i 20000) (begin (string-append "a" "b") (loop (+ i 1)))))
      (gc) (display (length keep))""")


main(globals())
