#!/usr/bin/env python3
"""The library's own interface, from C programs that link it: tests/programs/api.c and
own_profiles.c speak TAP themselves; what they wrote is looked at here."""

from harness import *
import pathlib
from harness import ROOT
from pprof import names

ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "SONDE"}


def run_tap(name, directory):
    """Pass the program's lines on, numbered as ours."""
    done = subprocess.run(program(name, directory), env=ENVIRONMENT, capture_output=True,
                          text=True, timeout=120)
    results = 0
    for line in done.stdout.splitlines():
        if line.startswith(("ok ", "not ok ")):
            ok(line.startswith("ok "), f"{name}: {line.split(' - ', 1)[-1]}")
            results += 1
        elif line.startswith("#"):
            note(line)
    ok(results > 5 and done.returncode == 0, f"{name}: to its end")


def test_api():
    run_tap("api", scratch())


def test_own_profiles():
    directory = scratch()
    run_tap("own_profiles", directory)
    profile = Profile(f"{directory}/connections.pprof")
    equal(profile.types, [("connections", "count")], "its type is its name")
    by_leaf = {}
    for sample in profile.samples:
        leaf = names(sample.stack)[0]
        by_leaf[leaf] = by_leaf.get(leaf, 0) + sample.values[0]
    equal(by_leaf, {"dial": 2001, "answer": 1}, "who holds how many")
    ok(all("thread_id" in s.labels for s in profile.samples), "and on which thread")
    equal(len({s.labels["thread_id"] for s in profile.samples}), 5, "of five")
    files = Profile(f"{directory}/files.pprof")
    equal([s.values[0] for s in files.samples], [1], "a recording's end writes them")
    heap = Profile(f"{directory}/mem.pprof")
    leaked = heap.value("leaked_space")
    equal([s.values[leaked] for s in heap.samples if names(s.stack)[0] == "lose"], [3333],
          "what only a profile knows is leaked")


def test_own_profiles_of_two():
    directory = scratch()
    env = dict(ENVIRONMENT, SONDE=f"cpu,quiet,path={directory}")
    subprocess.run(program("own_profiles", "two"), env=env, timeout=60, check=True)
    held = {path.name: sum(s.values[0] for s in Profile(str(path)).samples)
            for path in pathlib.Path(directory).glob("held*")}
    equal(sorted(held.values()), [1, 2], f"a process each: {held}")
    equal(held.get("held.pprof"), 1, "the parent's without a number")


def test_state_of_other_allocators():
    """sonde_read_mem_stats asks whoever has the memory."""
    for allocator in ["libjemalloc.so.2", "libmimalloc.so.2", "libtcmalloc_minimal.so.4"]:
        env = dict(ENVIRONMENT, LD_PRELOAD=f"{LIBRARY}:{allocator}")
        if subprocess.run(["/bin/true"], env=env, capture_output=True).stderr:
            skip(f"with {allocator}", "it is not installed")
            continue
        done = subprocess.run(program("own_profiles", scratch()), env=env, capture_output=True,
                              text=True, timeout=120)
        bad = [line for line in done.stdout.splitlines() if line.startswith("not ok")]
        equal((done.returncode, bad), (0, []), f"with {allocator}")


def test_cxx():
    """The header is C++ too."""
    if missing("g++"):
        skip("sonde.h in C++", "no g++")
        return
    source = f"{scratch()}/header.cc"
    with open(source, "w") as f:
        f.write('#include <sonde.h>\nint main() { sonde_profile_new("x"); sonde_stop(nullptr); }\n')
    done = subprocess.run(["g++", "-Wall", "-Werror", "-fsyntax-only",
                           f"-I{ROOT / 'include'}", source], capture_output=True, text=True)
    equal(done.returncode, 0, "sonde.h in C++")


main(globals())
