#!/usr/bin/env python3
"""C++'s operators new and delete: who called them is the leaf, each block counts once,
wherever they are and whoever has the memory."""

from harness import *
import collections
from pprof import names

WAYS = ["way_new", "way_array", "way_nothrow", "way_array_nothrow", "way_aligned",
        "way_array_aligned", "way_aligned_nothrow", "way_array_aligned_nothrow"]
ALLOCATORS = ["libjemalloc.so.2", "libmimalloc.so.2", "libtcmalloc_minimal.so.4"]
EVERY = {way: 10 for way in WAYS}
# Of new_ways without a plugin: the deep ones; the handler is called twice a round.
ALL = EVERY | {"way_array_nothrow": 90, "way_helped": 10, "handler_malloc": 20,
               "handler_new": 20}


def leaves(profile):
    """How many blocks each leaf has allocated and freed."""
    alloc, live = profile.value("alloc_objects"), profile.value("inuse_objects")
    found, left = collections.Counter(), 0
    for s in profile.samples:
        stack = names(s.stack)
        if any("every_way" in name or "without_memory" in name for name in stack):
            found[stack[0]] += s.values[alloc]
            left += s.values[live] if "way_" in stack[0] or "handler_" in stack[0] else 0
    return found, left


def check(name, run, want, times=1, others=()):
    """The leaves are those that we want, each as often; what an exception is made of is the
    C++ library's."""
    equal((run.status, run.err), (0, ""), f"{name}: runs")
    found, left = leaves(run.heap)
    plain = {leaf.split("::")[-1].split("(")[0]: n for leaf, n in found.items()}
    for leaf in [*plain]:
        if leaf in ("__cxa_allocate_exception", *others):
            del plain[leaf]
    equal(plain, {leaf: n * times for leaf, n in want.items()}, f"{name}: leaves")
    equal(left, 0, f"{name}: all is freed")


def test_everywhere():
    for mode in ["mem=exact", "mem=1"]:
        check(f"libstdc++, {mode}", preload(program("new_ways"), f"{mode},quiet"), ALL)


def test_other_allocators():
    """jemalloc and tcmalloc do not go through malloc, mimalloc does not call the handler with
    our limit: what is simply allocated is counted all the same."""
    for allocator in ALLOCATORS:
        probe = subprocess.run(["/bin/true"], env=dict(os.environ, LD_PRELOAD=allocator),
                               capture_output=True, text=True)
        if probe.stderr:
            skip(f"with {allocator}", "it is not installed")
            continue
        run = preload(program("new_host", plugin("plugin_new")), "mem=exact,quiet",
                      behind=[allocator])
        check(f"with {allocator}", run, EVERY)


def plugin(name):
    [path] = [p for p in PROGRAMS.glob(f"*{name}.so")]
    return path


def test_late():
    """Its library comes by dlopen, for the plugin alone; or is in the plugin itself."""
    dynamic, static = plugin("plugin_new"), plugin("plugin_new_static")
    for name, plugins in [("a plugin", [dynamic]), ("a static one", [static]),
                          ("one after the other", [static, dynamic]),
                          ("the other way", [dynamic, static]), ("again", [dynamic] * 2)]:
        for settings in ["mem=exact,quiet", "cpu,quiet"]:
            run = preload(program("new_host", *plugins), settings)
            if "mem" in settings:
                check(name, run, EVERY, len(plugins))
            else:
                equal((run.status, run.err), (0, ""), f"{name}: runs, without mem")


def test_static():
    """-static-libstdc++ -lsonde: operator new is then nobody's but ours."""
    directory = scratch()
    env = dict(os.environ, SONDE=f"mem=exact,quiet,path={directory}")
    done = subprocess.run(program("new_static"), env=env, capture_output=True, text=True,
                          timeout=60)
    check("-static-libstdc++", Run(["new_static"], directory, done), ALL)
    env.pop("SONDE")
    done = subprocess.run(program("new_static"), env=env, capture_output=True, text=True,
                          timeout=60)
    equal((done.returncode, done.stderr), (0, ""), "-static-libstdc++: runs, not recorded")


main(globals())
