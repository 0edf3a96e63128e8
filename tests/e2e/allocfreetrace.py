#!/usr/bin/env python3
"""allocfreetrace: programs that log their own events, compared one by one; what ends a program;
real programs, whose counts are those of an exact heap profile; the reader's options."""

from harness import *
import collections
import glob
import re
import resource
import struct
import time

PYTHON = "/usr/bin/python3"
RECORD = struct.Struct("=IIQQ24s")
FIRST = re.compile(r"trace(alloc|free)\(0x([0-9a-f]+), 0x([0-9a-f]+)(?:, (.*?))?\)"
                   r" @(\d+\.\d{9})s thread=(\d+)( realloc failed)?"
                   r"( gc(?: (?:late|unused) since=\d+\.\d{9}s)?)?(?: pid=(\d+))?$")

Event = collections.namedtuple("Event", "kind tid address size site")
Line = collections.namedtuple("Line", "kind tid address size site type seconds failed pid stack")


def parse(text):
    """The lines of allocfreetrace; what is none of them is an error."""
    events = []
    for block in text.split("\n\n"):
        lines = block.strip("\n").split("\n")
        if lines == [""]:
            continue
        found = FIRST.match(lines[0])
        if not found:
            raise AssertionError(f"no such line: {lines[0]!r}")
        stack = [line.removesuffix("(...)") for line in lines[1:] if not line.startswith("\t")]
        kind, address, size, type_, seconds, tid, failed, _, pid = found.groups()
        events.append(Line(kind, int(tid), int(address, 16), int(size, 16),
                           stack[0] if stack else None, type_, float(seconds), bool(failed), pid,
                           stack))
    return events


def trace(path, *options):
    return parse(sonde("trace", *options, path))


def truth(path, parts=1):
    """What the program logged, a list of events for each part."""
    with open(path, "rb") as file:
        data = file.read()
    logs = []
    size = len(data) // parts
    for part in range(parts):
        log = []
        for kind, tid, address, n, site in RECORD.iter_unpack(data[part * size:(part + 1) * size]):
            if kind == 0:
                break
            log.append(Event("alloc" if kind == 1 else "free", tid, address, n,
                             site.rstrip(b"\0").decode()))
        logs.append(log)
    return logs


def seen(lines):
    """Those of the program's own sites, as it logs them."""
    return [Event(*line[:5]) for line in lines if line.site and line.site.startswith("by_")]


def known(events, of):
    """Of a free of what was not allocated in the trace, the allocator's own size is told."""
    live, plain = set(), []
    for event, true in zip(events, of):
        if event.kind == "alloc":
            live.add(event.address)
        elif event.address in live:
            live.remove(event.address)
        elif event.size >= true.size:
            event = event._replace(size=true.size)
        plain.append(event)
    return plain + events[len(of):]


def same(got, want, name):
    if got == want:
        return ok(len(want) > 0, f"{name}: {len(want)} events, each as it was")
    ok(False, f"{name}: {len(got)} events, {len(want)} are true")
    for i, pair in enumerate(zip(got, want)):
        if pair[0] != pair[1]:
            return note(f"event {i}: {pair[0]} is not {pair[1]}")


def logged(mode, *arguments, settings="allocfreetrace=1,quiet", log=None, **options):
    log = log or f"{scratch()}/log"
    run = preload(program("alloc_log", mode, log, *arguments), settings, **options)
    run.log = log
    run.traces = sorted(glob.glob(f"{run.directory}/alloc*.trace"))
    return run


# ---- the truth, one by one ------------------------------------------------------------------


def test_one_thread():
    run = logged("locked", 1, 3000)
    equal(run.status, 0, "it ends as it would")
    equal([os.path.basename(t) for t in run.traces], ["alloc.trace"], "there is one file")
    lines = trace(run.traces[0])
    same(seen(lines), truth(run.log)[0], "one thread")
    ok(all("main" in line.stack and "_start" in line.stack[-1] + "_start" for line in lines if
           line.site and line.site.startswith("by_")), "each stack goes down to main")
    ok(all(a.seconds <= b.seconds for a, b in zip(lines, lines[1:])), "time goes forward")
    ok(all(line.type == line.site for line in lines if line.kind == "alloc"),
       "the site stands in place of the type")


def test_threads():
    run = logged("locked", 2, 3000, 4)
    same(seen(trace(run.traces[0])), truth(run.log)[0], "four threads, one at a time")


def check_parts(lines, parts, name, slack=0):
    """Each thread's own order; and each block's, whoever frees it."""
    got = collections.defaultdict(list)
    for event in seen(lines):
        got[event.tid].append(event)
    wrong = 0
    for part in parts:
        mine = got[part[0].tid] if part else []
        n = min(len(mine), len(part))
        wrong += mine[:n] != part[:n] or abs(len(mine) - len(part)) > slack
    ok(not wrong and sum(map(len, parts)) > 1000,
       f"{name}: {[len(p) for p in parts]} events, each thread's as they were")
    live, odd = set(), 0
    for line in lines:
        if line.kind == "alloc":
            odd += line.address in live
            live.add(line.address)
        elif line.address in live:
            live.remove(line.address)
    equal(odd, 0, f"{name}: no block is allocated before it was freed")


def test_threads_at_once():
    run = logged("free", 3, 8000, 4)
    equal(run.status, 0, "threads at once: it ends as it would")
    check_parts(trace(run.traces[0]), truth(run.log, 4), "threads at once")


def test_windows():
    """More than the windows that can be mapped at once hold: they come and go."""
    run = logged("locked", 4, 250_000, 2)
    want = truth(run.log)[0]
    same(seen(trace(run.traces[0], "--size=1000-1030")),
         [e for e in want if 1000 <= e.size <= 1030], f"of {len(want)}")
    equal(sum(r["allocs"] + r["frees"] for r in rows(run.traces[0]) if r["site"][:3] == "by_"),
          len(want), "and none is missing")
    size = os.path.getsize(run.traces[0])
    ok(size < 25 * len(want), f"its file is {size} bytes")


def test_failing_realloc():
    run = logged("failing", 1, 50)
    lines = trace(run.traces[0])
    tried = [line for line in lines if line.failed]
    equal(len(tried), 50, "a realloc that fails is told as such")
    by_malloc = [line for line in lines if line.site == "by_malloc"]
    by_free = [line for line in lines if line.site == "by_free"]
    equal([(x.address, x.size) for x in by_malloc], [(x.address, x.size) for x in by_free],
          "its block stays as it was")
    row = next(r for r in rows(run.traces[0]) if r["site"].startswith("by_malloc"))
    equal((row["allocs"], row["frees"], row["live"]), (50, 50, 0), "and is counted once")


def counted(run):
    """What the main process's trace and its exact heap profile come to."""
    profile = f"{run.directory}/trace.profile"
    sonde("trace", "--proto", "--gc=false", "-o", profile, f"{run.directory}/alloc.trace")
    return [[p.total(value) for value in
             ["alloc_objects", "alloc_space", "inuse_objects", "inuse_space"]]
            for p in [Profile(profile), Profile(f"{run.directory}/mem.pprof")]]


def test_ways():
    """Threads that die, handlers amid our own work, exits: what mem=exact counts."""
    for way in ["order", "storm", "dying", "signal", "alarm", "atexit", "thread_end", "plugin",
                "depth"]:
        run = preload(program("alloc_ways", way, PROGRAMS), "mem=exact,allocfreetrace,quiet")
        traced, exact = counted(run)
        ok(run.status == 0 and traced == exact and exact[0] > 0, f"{way}: {traced}, {exact}")


def test_again():
    """Started and stopped by the program, while threads allocate."""
    directory = scratch()
    done = subprocess.run(program("alloc_again", directory), capture_output=True, text=True,
                          timeout=60)
    traces = sorted(glob.glob(f"{directory}/alloc*.trace"), key=os.path.getmtime)
    equal((done.returncode, done.stderr, len(traces)), (0, "", 3), "three traces, a file each")
    for i, path in enumerate(traces):
        sizes = [line.size for line in trace(path) if line.site == "by_main"]
        equal(sizes, [5001 + i] * 200, f"trace {i + 1} has its own, and nothing else")


def test_handlers():
    run = logged("handler", 5, 5000)
    same(seen(trace(run.traces[0])), truth(run.log)[0], "handlers that allocate")
    done = preload(program("malloc_places", PROGRAMS), "allocfreetrace=1,quiet")
    bad = [line for line in done.out.splitlines() if line.startswith("not ok")]
    ok(done.status == 0 and not bad and "ok 1" in done.out,
       f"the allocator where it is hard to be one: {done.status} {bad}")
    for path in glob.glob(f"{done.directory}/alloc*.trace"):
        sonde("trace", "--count", path)


# ---- ends -----------------------------------------------------------------------------------


def test_kill():
    run = logged("kill", 6, 5000, 2)
    equal(run.status, -signal.SIGKILL, "it kills itself")
    same(seen(trace(run.traces[0])), truth(run.log)[0], "kill -9 loses nothing")


def test_kill_amid():
    """From outside, at any moment: no thread's trace is more than an event from its log."""
    log, directory = f"{scratch()}/log", scratch()
    child = subprocess.Popen(program("alloc_log", "forever", log, 7, 1, 4), env=dict(
        os.environ, LD_PRELOAD=str(LIBRARY), SONDE=f"allocfreetrace,quiet,path={directory}"))
    time.sleep(0.15)
    child.kill()
    child.wait()
    check_parts(trace(f"{directory}/alloc.trace"), truth(log, 4), "killed amid", slack=2)


def test_fork():
    run = logged("fork", 8, 2000)
    equal(len(run.traces), 2, f"a fork's child has a file of its own: {run.traces}")
    own = next(t for t in run.traces if t.endswith("/alloc.trace"))
    child = next(t for t in run.traces if t != own)
    ok(re.search(r"/alloc\.\d+\.trace$", child), "by its number")
    same(seen(trace(own)), truth(run.log)[0], "the parent's")
    want = truth(run.log + ".child")[0]
    same(known(seen(trace(child)), want), want, "the child's")
    ok(all(line.size != 3777 for line in trace(own)),
       "a child of clone, which is told to nobody, writes nothing")


def test_exec():
    run = logged("exec", 9, 2000)
    equal(len(run.traces), 2, "what it executes has a file of its own")
    own = next(t for t in run.traces if t.endswith("/alloc.trace"))
    same(seen(trace(own)), truth(run.log)[0], "before exec")
    same(seen(trace(next(t for t in run.traces if t != own))), truth(run.log + ".exec")[0],
         "after exec")


def test_modules():
    """A library that goes, and another in its place: each stack has the names of its time."""
    if missing("strip") or not os.path.exists(PYTHON):
        return skip("libraries that go", "no strip, or no Debian python3")
    directory = scratch()
    for name in ["one", "two"]:
        subprocess.run(["strip", "-o", f"{directory}/{name}.so",
                        PROGRAMS / "libplugin_alloc.so"], check=True)
    script = f"""import ctypes, _ctypes
for i in range(6):
    library = ctypes.CDLL("{directory}/" + ["one", "two"][i % 2] + ".so")
    library.alloc_plugin(5001 + i)
    print(hex(ctypes.cast(library.alloc_plugin, ctypes.c_void_p).value))
    _ctypes.dlclose(library._handle)"""
    run = preload([PYTHON, "-c", script], "allocfreetrace=1,quiet")
    ok(len(set(run.out.split())) < 6, "they come to lie at the same addresses")
    for i in range(6):
        text = sonde("trace", f"--size={5001 + i}", f"{run.directory}/alloc.trace")
        ok("alloc_plugin" in text and f"\t{directory}/{['one', 'two'][i % 2]}.so+" in text,
           f"a library in the place of another: {i + 1}")


BLOCKS = "v = [bytearray(100) for _ in range(100000)]; print(len(v))"


def check_full(name, shell, directory):
    """It ends, says so, counts what is lost; the program goes on. `shell` ends with exec."""
    done = subprocess.run(["sh", "-c", shell, "sh", PYTHON, "-c", BLOCKS], capture_output=True,
                          text=True, timeout=120, env=dict(
                              os.environ, LD_PRELOAD=str(LIBRARY), PYTHONMALLOC="malloc",
                              SONDE=f"allocfreetrace,path={directory}"))
    equal((done.returncode, done.stdout.split("\n")[0]), (0, "100000"), f"{name}: it goes on")
    ok("allocfreetrace ends here" in done.stderr and "events were lost" in done.stderr,
       f"{name}: it is said: {done.stderr.splitlines()[-2:]}")
    return done


def test_full_disk():
    if not os.path.exists(PYTHON):
        return skip("a full disk", "no Debian python3")
    directory = scratch()
    check_full("a limit on files", "ulimit -f 2000; exec \"$@\"", directory)
    path = max(glob.glob(f"{directory}/alloc*.trace"), key=os.path.getsize)
    done = subprocess.run([SONDE, "trace", path], capture_output=True, text=True)
    found = re.search(r"it ends early.*ulimit -f.*: (\d+) events are lost", done.stderr)
    ok(done.returncode == 0 and found, f"and the reader says so, too: {done.stderr.strip()}")
    ok(len(parse(done.stdout)) > 10000 and int(found[1]) > 10000,
       f"what there is can be read: {len(parse(done.stdout))} events, {found[1]} are lost")
    directory = scratch()
    mount = f"mount -t tmpfs -o size=1m none {directory}"
    if subprocess.run(["unshare", "-Urm", "sh", "-c", mount], capture_output=True).returncode:
        return skip("a full disk", "no tmpfs can be mounted")
    keep = f"{scratch()}/kept"
    read = f"env -u LD_PRELOAD cat {directory}/alloc.*trace > {keep}"
    done = subprocess.run(["unshare", "-Urm", "sh", "-c",
                           f'{mount}; LD_PRELOAD={LIBRARY} PYTHONMALLOC=malloc '
                           f'SONDE=allocfreetrace,path={directory} "$@"; {read}',
                           "sh", PYTHON, "-c", BLOCKS], capture_output=True, text=True)
    ok("100000" in done.stdout and "there is no room for its file" in done.stderr,
       f"a full disk: it goes on, and it is said: {done.stdout.strip()} "
       f"{done.stderr.splitlines()[1:]}")
    done = subprocess.run([SONDE, "trace", keep], capture_output=True, text=True)
    ok(done.returncode == 0 and len(parse(done.stdout)) > 10000,
       f"a full disk: {len(parse(done.stdout))} events can be read")


# ---- reading --------------------------------------------------------------------------------


def rows(path, *options):
    """The table of --count."""
    units = {"ns": 1, "us": 1e3, "ms": 1e6, "s": 1e9}
    table = []
    for line in sonde("trace", "--count", *options, path).splitlines()[2:]:
        allocs, frees, _, live, _, temporary, life, site = line.split(None, 7)
        found = re.match(r"([\d.]+)(\w+)$", life)
        table.append({"allocs": int(allocs), "frees": int(frees), "live": int(live),
                      "temporary": temporary, "site": site,
                      "life": float(found[1]) * units.get(found[2], 60e9) if found else None})
    return table


def test_options():
    run = logged("locked", 11, 4000, 2)
    path = run.traces[0]
    want = truth(run.log)[0]
    table = {row["site"].split()[0]: row for row in rows(path)}
    for site in ["by_malloc", "by_calloc", "by_realloc"]:
        equal(table[site]["allocs"], sum(e.kind == "alloc" and e.site == site for e in want),
              f"--count: allocations of {site}")
    origin, live = {}, collections.Counter()
    for event in want:
        if event.kind == "alloc":
            origin[event.address] = event.site
            live[event.site] += 1
        else:
            live[origin.pop(event.address)] -= 1
    equal({site: table[site]["live"] for site in live}, dict(live), "--count: what is live")
    equal(table["(all)"]["frees"], sum(e.kind == "free" for e in want), "--count: frees")
    leaked = seen(trace(path, "--leaked"))
    equal({e.address: e.site for e in leaked}, origin, "--leaked: what was never freed")
    address = collections.Counter(e.address for e in want).most_common(1)[0][0]
    same(seen(trace(path, f"--address={address:#x}")),
         [e for e in want if e.address == address], "--address")
    same(seen(trace(path, "--size=100-200")), [e for e in want if 100 <= e.size <= 200],
         "--size=MIN-MAX")
    same(seen(trace(path, "--size=2900-")), [e for e in want if e.size >= 2900], "--size=MIN-")
    tid = want[-1].tid
    same(seen(trace(path, f"--thread={tid}")), [e for e in want if e.tid == tid], "--thread")
    lines = trace(path)
    half = lines[len(lines) // 2].seconds
    early, late = trace(path, f"--to={half:.9f}"), trace(path, f"--from={half + 1e-9:.9f}s")
    equal(len(early) + len(late), len(lines), "--from and --to part it")
    by_site = seen(trace(path, "--site=^by_calloc"))
    of = {}
    picked = []
    for event in want:
        if event.kind == "alloc":
            of[event.address] = event.site
        if of[event.address] == "by_calloc":
            picked.append(event)
    same(by_site, picked, "--site: the blocks of a site")
    profile = f"{run.directory}/p.pprof"
    sonde("trace", "--proto", "-o", profile, path)
    p = Profile(profile)
    equal([t for t, _ in p.types],
          ["alloc_objects", "alloc_space", "inuse_objects", "inuse_space"], "--proto: its types")
    for site in ["by_malloc", "by_realloc"]:
        equal(p.total("alloc_space", lambda names, _: site in names),
              sum(e.size for e in want if e.kind == "alloc" and e.site == site),
              f"--proto: bytes of {site}")
        equal(p.total("inuse_objects", lambda names, _: site in names), live[site],
              f"--proto: what is live of {site}")


def test_types():
    """A guess at the type, where debug information has one."""
    run = preload(program("alloc_types"), "allocfreetrace=1,quiet")
    types = {(line.type or "").split(":")[0]: line.type
             for line in trace(f"{run.directory}/alloc.trace")}
    for function, want in [("a_struct", "node"), ("a_typedef", "word"), ("a_union", "either"),
                           ("an_array", "node *"), ("a_new", "vector<int, std::allocator<int> >"),
                           ("a_void", None), ("no_variable", None)]:
        equal(types.get(function), f"{function}: {want}" if want else function,
              f"{function}: {want or 'no'} type")


def test_lifetimes():
    """A thread that sleeps between: times are those of the clock."""
    script = """import ctypes, time
libc = ctypes.CDLL(None); libc.malloc.restype = ctypes.c_void_p; libc.free.argtypes = [ctypes.c_void_p]
p = libc.malloc(123457); time.sleep(0.5); libc.free(p)"""
    if not os.path.exists(PYTHON):
        return skip("lifetimes", "no Debian python3")
    run = preload([PYTHON, "-c", script], "allocfreetrace=1,quiet")
    begin, end = trace(f"{run.directory}/alloc.trace", "--size=123457")
    ok(0.5 <= end.seconds - begin.seconds < 1.5, f"it lived {end.seconds - begin.seconds} s")


def test_cut_and_bad():
    run = logged("locked", 12, 1000)
    whole = seen(trace(run.traces[0]))
    with open(run.traces[0], "rb") as file:
        data = file.read()

    def read(data, name):
        path = f"{run.directory}/{name}.trace"
        with open(path, "wb") as file:
            file.write(data)
        done = subprocess.run([SONDE, "trace", path], capture_output=True, text=True)
        return done, path

    done, path = read(data[:len(data) // 2], "cut")
    ok(done.returncode == 1 and f"{path}: offset {len(data) // 2}: it is cut short" in done.stderr,
       f"a cut file: {done.stderr.strip()}")
    got = seen(parse(done.stdout))
    ok(len(got) > 300 and got == whole[:len(got)], f"what is good of it is printed: {len(got)}")
    at = 4096 + (len(data) // 3 // 24) * 24
    done, path = read(data[:at] + b"\xff" * 8 + data[at + 8:], "bad")
    ok(done.returncode == 1 and f"{path}: offset {at}: " in done.stderr,
       f"a bad file: {done.stderr.strip()}")
    got = seen(parse(done.stdout))
    ok(len(got) > 100 and got == whole[:len(got)], f"what is good of it is printed: {len(got)}")
    for n, name in [(8, "its first bytes"), (100, "a little"), (4095, "no whole head")]:
        done, _ = read(data[:n], "short")
        ok(done.returncode == 1 and "cut short" in done.stderr, f"{name}: {done.stderr.strip()}")
    for other in (b"", b"x" * 5000):
        done, _ = read(other, "other")
        ok(done.returncode == 1 and "no line of a runtime's trace" in done.stderr,
           f"another file: {done.stderr.strip()}")
    done = subprocess.run([SONDE, "trace", "-"], stdin=open(run.traces[0]), capture_output=True,
                          text=True)
    equal(seen(parse(done.stdout)), whole, "'-' is standard input")
    for option in ["--size=9-1", "--size=x", "--address=zz", "--from=x", "--count=maybe"]:
        done = subprocess.run([SONDE, "trace", option, path], capture_output=True, text=True)
        equal(done.returncode, 2, f"{option} is refused")


def test_written():
    """Whole or not at all, and what could not be written is named."""
    run = logged("locked", 13, 1000)
    path, to = run.traces[0], f"{run.directory}/lines.txt"

    def write(*words, **more):
        return subprocess.run([SONDE, "trace", *words], capture_output=True, text=True, **more)

    equal(write("-o", to, path).returncode, 0, "-o")
    equal(open(to).read(), write(path).stdout, "... is what goes to standard output")
    few = {"preexec_fn": lambda: (resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)),
                                  signal.signal(signal.SIGXFSZ, signal.SIG_IGN)),
           "restore_signals": False}
    before = open(to).read()
    done = write("-o", to, path, **few)
    ok(done.returncode == 1 and f"{to}: cannot write" in done.stderr, done.stderr.strip())
    ok(open(to).read() == before and sorted(glob.glob(to + "*")) == [to],
       "a file that cannot be written whole is as it was, and nothing lies beside it")
    with open("/dev/full", "w") as full:
        done = subprocess.run([SONDE, "trace", path], stdout=full, stderr=subprocess.PIPE, text=True)
    ok(done.returncode == 1 and "standard output: cannot write" in done.stderr, done.stderr.strip())


def test_other_kind():
    run = logged("locked", 14, 100)
    lines = f"{run.directory}/lines"
    with open(lines, "w") as file:
        file.write("SCHED 0ms: gomaxprocs=2\n")
    for words, wrong in [(["--svg", run.traces[0]], "'--svg' is for lines"),
                         (["--count", lines], "'--count' is for a trace of allocations"),
                         (["--leaked", lines + ".none"], "'--leaked' is for a trace")]:
        done = subprocess.run([SONDE, "trace", *words], capture_output=True, text=True)
        ok(done.returncode == 2 and wrong in done.stderr, done.stderr.splitlines()[0])


# ---- sonde run ------------------------------------------------------------------------------


def live(command, *options, **more):
    return subprocess.run([SONDE, "run", "--allocfreetrace", *options, *command],
                          capture_output=True, text=True, timeout=120, **more)


def test_live():
    log = f"{scratch()}/log"
    done = live(program("alloc_log", "fork", log, 1, 2000))
    equal((done.returncode, done.stdout), (0, ""), "the program's output is its own")
    lines = parse(done.stderr)
    same([e for e in seen(line for line in lines if not line.pid)], truth(log)[0],
         "sonde run --allocfreetrace prints each")
    want = truth(log + ".child")[0]
    same(known(seen(line for line in lines if line.pid), want), want,
         "a child's lines end with its number")
    path = f"{scratch()}/out.%p"
    done = live(program("alloc_log", "kill", log, 1, 2000), f"--trace={path}")
    equal((done.returncode, done.stderr), (-signal.SIGKILL, ""), "killed, as it would be")
    files = glob.glob(path.replace("%p", "*"))
    equal(len(files), 1, "--trace=FILE takes the text")
    with open(files[0]) as file:
        same(seen(parse(file.read())), truth(log)[0], "to a file, of a killed program")


def test_many():
    """More processes than there are descriptors."""
    script = "ulimit -n 64; for i in $(seq 150); do \"$@\"; done"
    log = f"{scratch()}/log"
    done = live(["sh", "-c", script, "sh", *program("alloc_log", "locked", log, 1, 50)])
    pids = collections.Counter(line.pid for line in parse(done.stderr)
                               if line.site and line.site.startswith("by_"))
    equal((len(pids), set(pids.values())), (150, {len(truth(log)[0])}),
          "150 processes: each one's events are all there")


def test_live_is_live():
    """Lines come while the program runs."""
    child = subprocess.Popen([SONDE, "run", "--allocfreetrace", "sh", "-c", "sleep 5 && exit 3"],
                             stderr=subprocess.PIPE, text=True)
    begin = time.monotonic()
    line = child.stderr.readline()
    ok(line.startswith("trace") and time.monotonic() - begin < 4, f"the first line: {line!r}")
    child.stderr.read()
    equal(child.wait(), 3, "and the program ends as it would")


def test_head():
    """Nobody reads the lines any more: the program goes on."""
    log, done_file, own = f"{scratch()}/log", f"{scratch()}/done", scratch()
    command = " ".join(program("alloc_log", "locked", log, 1, 300000))
    done = subprocess.run(f"({SONDE} run --allocfreetrace sh -c '{command} && echo $? > {done_file}') "
                          "2>&1 | head -1", shell=True, capture_output=True, text=True, timeout=120,
                          env=dict(os.environ, TMPDIR=own))
    ok(done.stdout.startswith("trace"), "| head")
    ok(os.path.exists(done_file), "... does not kill the program")
    equal(os.listdir(own), [], "and leaves nothing behind")


# ---- real programs --------------------------------------------------------------------------


def check_real(name, command, text=False, **options):
    if missing(command[0]):
        return skip(name, f"{command[0]} is not installed")
    plain = subprocess.run(command, capture_output=True, timeout=120, stdin=subprocess.DEVNULL,
                           **options)
    run = preload(command, "mem=exact,allocfreetrace,quiet", text=text, **options)
    equal((run.status, run.out), (plain.returncode, plain.stdout), f"{name}: its output is its own")
    profile = f"{run.directory}/trace.profile"
    sonde("trace", "--proto", "--gc=false", "-o", profile, f"{run.directory}/alloc.trace")
    traced, exact = Profile(profile), run.heap
    for value in ["alloc_objects", "alloc_space", "inuse_objects", "inuse_space"]:
        equal(traced.total(value), exact.total(value),
              f"{name}: {value} is what mem=exact counts: {exact.total(value)}")


def test_xz():
    path = f"{scratch()}/data"
    with open(path, "wb") as file:
        file.write(os.urandom(1 << 20))
    check_real("xz", ["xz", "-3", "-T2", "--block-size=256KiB", "-c", path])


def test_sqlite():
    check_real("sqlite3", ["sqlite3", ":memory:",
                           """create table t(a, b); create index i on t(b);
                           with recursive n(i) as (select 1 union all select i + 1 from n where i < 5000)
                           insert into t select i, hex(i * 7919) from n;
                           select count(*), sum(length(b)) from t group by a % 7;"""])


def test_python():
    if not os.path.exists(PYTHON):
        return skip("python3", "no Debian python3")
    script = """import json, re, threading
t = [threading.Thread(target=lambda: json.dumps(list(range(3000)))) for _ in range(3)]
[x.start() for x in t]; [x.join() for x in t]
print(len(re.sub('1', 'one', json.dumps([{'k%d' % i: [i]} for i in range(3000)]))))"""
    check_real("python3", [PYTHON, "-c", script])
    check_real("python3, all by malloc", [PYTHON, "-c", script],
               env=dict(os.environ, PYTHONMALLOC="malloc"))


def test_guile():
    check_real("guile", ["guile-3.0", "--no-auto-compile", "-c",
                         "(let loop ((i 0) (l '())) (if (< i 100000) (loop (+ i 1) (cons i l)) "
                         "(begin (display (length l)) (newline))))"])


def test_libgc():
    """The collector's functions, where the program calls them."""
    if not os.path.exists(PROGRAMS / "alloc_gc"):
        return skip("libgc", "libgc-dev was not installed when the tests were built")
    run = preload(program("alloc_gc", 1000), "allocfreetrace=1,quiet")
    equal((run.status, run.out), (0, "done\n"), "libgc: its output is its own")
    counts = collections.Counter((line.site, line.kind) for line in
                                 trace(f"{run.directory}/alloc.trace", "--gc"))
    equal([counts[site, "alloc"] for site in
           ["by_malloc", "by_atomic", "by_uncollectable", "by_realloc"]], [1000, 1000, 1000, 600],
          "libgc: allocations of each site")
    equal(sum(n for (site, kind), n in counts.items() if "strdup" in (site or "").lower()), 1000,
          "libgc: what it allocates for who calls it")
    equal((counts["by_free", "free"], counts["by_realloc", "free"]), (1000, 600), "libgc: frees")
    run = preload(["guile-3.0", "--no-auto-compile", "-c", "(display (vector-length "
                   "(make-vector 12345)))"], "allocfreetrace=1,quiet")
    if run.status == 0:
        lines = trace(f"{run.directory}/alloc.trace", "--gc", "--size=98760-98800")
        ok(any("scm_c_make_vector" in line.stack for line in lines), f"guile: its vector, in {len(lines)} events")


def test_cxx():
    run = preload(program("alloc_new"), "mem=exact,allocfreetrace,quiet")
    profile = f"{run.directory}/trace.profile"
    sonde("trace", "--proto", "-o", profile, f"{run.directory}/alloc.trace")
    equal(Profile(profile).total("alloc_objects"), run.heap.total("alloc_objects"),
          "C++: alloc_objects is what mem=exact counts")


main(globals())
