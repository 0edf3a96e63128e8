#!/usr/bin/env python3
"""mem_mmap: the program's own mappings as blocks of its heap, to the page."""

from harness import *
from pprof import names

PAGE = 4096
# way: objects allocated, pages allocated, objects in use, pages in use
WAYS = {
    "way_plain": (10, 160, 0, 0),
    "way_kept": (3, 96, 3, 96),
    "way_cut": (2, 16, 2, 6),     # what was cut in two is two
    "way_under": (2, 8, 2, 4),
    "way_over": (1, 2, 1, 2),
    "way_first": (1, 4, 0, 0),
    "way_moved": (2, 1536, 1, 512),
    "way_thread": (1600, 6400, 0, 0),
    "way_odd": (1, 2, 0, 0),
}
ALLOCATORS = ["libjemalloc.so.2", "libmimalloc.so.2", "libtcmalloc_minimal.so.4"]
TYPES = ["alloc_objects", "alloc_space", "inuse_objects", "inuse_space"]


def measured(profile):
    """By leaf, what is not a block of malloc."""
    at = [profile.value(t) for t in TYPES]
    found = {}
    for s in profile.samples:
        leaf = names(s.stack)[0]
        if leaf.startswith("way_"):
            found[leaf] = tuple(had + s.values[i]
                                for had, i in zip(found.get(leaf, (0, 0, 0, 0)), at))
    return found


def check(name, run):
    equal((run.status, run.err), (0, ""), f"{name}: runs")
    want = {way: (n, pages * PAGE, live, live_pages * PAGE)
            for way, (n, pages, live, live_pages) in WAYS.items()}
    equal(measured(run.heap), want, f"{name}: to the page")
    ok("mappings are counted as blocks" in run.heap.comments, f"{name}: it says so")


def test_ways():
    """Each one counts, in a sampled profile too."""
    for mode in ["mem=exact", "mem=1", "mem"]:
        run = preload(program("maps"), f"{mode},mem_mmap,quiet")
        check(mode, run)
        if mode == "mem=exact":
            total = [run.heap.total(t) for t in ["alloc_space", "inuse_space", "peak_space"]]
            ok(total[0] > total[2] >= total[1] > 600 * PAGE, f"the peak is above: {total}")
            equal(sum(s.values[run.heap.value("leaked_space")] for s in run.heap.samples
                      if names(s.stack)[0].startswith("way_")), 0, "none is leaked")


def test_not_asked():
    run = preload(program("maps"), "mem=exact,quiet")
    equal(measured(run.heap), {}, "not asked for, none counts")
    ok("mappings are counted as blocks" not in run.heap.comments, "nor is it said")
    run = preload(program("maps"), "mem_mmap,quiet")
    ok(run.status == 0 and "nothing to record" in run.err, "alone it records nothing")


def test_other_allocators():
    """What they map is theirs."""
    for allocator in ALLOCATORS:
        done = subprocess.run(["/bin/true"], env=dict(os.environ, LD_PRELOAD=allocator),
                              capture_output=True, text=True)
        if done.stderr:
            skip(f"with {allocator}", "it is not installed")
            continue
        run = preload(program("maps"), "mem=exact,mem_mmap,quiet", behind=[allocator])
        check(f"with {allocator}", run)
        inner = [s for s in run.heap.samples
                 if any(n.startswith(("je_", "mi_", "_mi_", "tc_", "tcmalloc")) for n in
                        names(s.stack)[:1])]
        equal(inner, [], f"{allocator}'s own mappings do not count")


def test_real():
    """python3 maps much, and is as it was."""
    python = "/usr/bin/python3"
    if not os.path.exists(python):
        return skip("python3", "there is no Debian python3")
    script = """import mmap, threading
m = [mmap.mmap(-1, 1 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) for _ in range(20)]
for x in m[::2]: x.close()
m[1].resize(3 << 20)
t = [threading.Thread(target=lambda: [bytearray(1 << 20) for _ in range(50)]) for _ in range(4)]
[x.start() for x in t]; [x.join() for x in t]
print(len(m))"""
    run = preload([python, "-c", script], "mem=exact,mem_mmap,quiet")
    equal((run.status, run.out, run.err), (0, "20\n", ""), "python3 runs")
    alloc = run.heap.value("alloc_objects")
    maps = sum(s.values[alloc] for s in run.heap.samples
               if s.labels["bytes"] == 1 << 20)
    ok(20 <= maps < 30, f"python3: its {maps} mappings")


main(globals())
