#!/usr/bin/env python3
"""A heap is recorded where something gives out, or breaks it off: descriptors, file sizes, a
reader; threads that are cancelled, handlers that allocate, forks and ends in the middle of it."""

from harness import *
import glob


def limits(way, mode="mem=exact,quiet", **options):
    """The program's run, and the numbers that it says."""
    directory = scratch()
    command = program("heap_limits", way, directory)
    if mode is None:
        env = {k: v for k, v in os.environ.items() if k != "SONDE"}
        done = subprocess.run(command, env=env, timeout=60, capture_output=True, text=True)
        run = Run(command, directory, done)
    else:
        run = preload(command, mode, directory, **options)
    equal(run.status, 0, f"{way}: the program ends as ever")
    said = {}
    for line in run.out.splitlines():
        key, number = line.split()
        said.setdefault(key, []).append(int(number))
    return run, said


def leaks(profile):
    return next((c for c in profile.comments if c.startswith("leaked: ")), None)


def test_no_descriptor():
    """What cannot be looked for is not known; it is not all that there is."""
    run, _ = limits("no_descriptor")
    path = f"{run.directory}/salvaged.pprof"
    sonde("proto", f"--output={path}", *run.spools)
    profile = Profile(path)
    ok(leaks(profile).startswith("leaked: not known, "), f"not known: {leaks(profile)}")
    equal(profile.total("leaked_space"), 0, "none is invented")


def test_other_roots():
    run, _ = limits("own_break")
    equal(run.heap.total("leaked_objects"), 0, "what a program's own break holds is not leaked")
    run, _ = limits("main_ended")
    equal(run.heap.total("leaked_objects"), 0, "nor what is held when the main thread has ended")


def test_moving():
    """The program ends while other threads are in realloc."""
    for _ in range(4):
        run, _ = limits("moving")
        equal(run.heap.total("leaked_objects"), 0, "what is being moved holds what it holds")
        ok(" 0 bytes in 0 blocks" in leaks(run.heap), leaks(run.heap))


def test_dumps():
    for way, want in [("handler_allocates", {"dump": [0] * 5}),
                      ("cancelled", {"dump": [0], "cancelled": [1]}),
                      ("one_path", {"bad": [0]}),
                      ("file_size", {"dump": [-1]})]:
        run, said = limits(way)
        said["cancelled"] = said.get("cancelled") and want.get("cancelled")  # or it has returned
        equal({k: v for k, v in said.items() if v}, want, f"{way}: {want}")
        equal(glob.glob(f"{run.directory}/*.tmp"), [], f"{way}: nothing is left half written")
        for path in glob.glob(f"{run.directory}/*.heap"):
            ok("blocks" in sonde("heapdump", path), f"{way}: the dump can be read")


def test_cancelled_in_malloc():
    _, said = limits("cancelled_in_malloc", None)
    equal(said, {"through": [1]}, "malloc is no place to be cancelled")


def test_ends_meanwhile():
    """The end waits for a profile that is being written."""
    for _ in range(5):
        run, _ = limits("ends_meanwhile")
        equal(glob.glob(f"{run.directory}/*.tmp*"), [], "nothing is left half written")


def test_small_stacks():
    """What asks does not need the stack of who answers."""
    run, _ = limits("small_thread", "mem=exact,quiet,mem_signal=12")
    equal(len(run.files), 4, "a thread of 16 KB writes each profile that it is asked for")
    directory = scratch()
    env = dict(os.environ, LD_PRELOAD=str(LIBRARY), SONDE=f"mem=exact,quiet,path={directory}")
    fibre = subprocess.Popen(program("heap_limits", "small_fibre", directory),
                             env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    equal(fibre.stdout.readline(), "ready\n", "a fibre of 16 KB waits")
    dump = f"{directory}/x.dump"
    sonde("heapdump", f"--output={dump}", fibre.pid)
    ok("Total:" in sonde("heapdump", dump), "it is dumped")
    equal(fibre.communicate(timeout=60)[0], "end 1\n", "and goes on")
    equal(fibre.returncode, 0, "to its end")


def test_nobody_reads():
    """Messages, too, may meet a closed pipe: not the program has written to it."""
    run, _ = limits("nobody_reads", "mem")
    equal(len(run.files), 1, "and the profile is there")


def test_fork_own():
    _, said = limits("fork_own", None)
    equal(said, {"bad": [0]}, "own profiles go on in each child of a fork among threads")


def test_sampling():
    """2000 blocks of 1 KB, sampled: a fifth is more than eight standard errors."""
    _, said = limits("two_rates", None)
    ok(1600 < said["allocations"][0] < 2400, f"a second recording's rate: {said}")
    _, said = limits("failed", "mem=1024,quiet")
    ok(said["failed"] == [1] and 1600 < said["allocations"][0] < 2400,
       f"after an allocation that failed: {said}")


main(globals())
