#!/usr/bin/env python3
"""Heap profiles of the distribution's programs: no leak is invented; and go tool pprof reads
what we wrote."""

from harness import *
from books import allocate
import random
import re
import socket
import time

PYTHON = "/usr/bin/python3"


def lost(log):
    """What valgrind's log calls lost: blocks, bytes."""
    with open(log) as file:
        text = file.read()
    if "All heap blocks were freed" in text:
        return 0, 0
    found = re.findall(r"(?:definitely|indirectly) lost: ([\d,]+) bytes in ([\d,]+) blocks", text)
    if len(found) != 2:
        raise AssertionError(f"valgrind fails: {text[-500:]}")
    numbers = [[int(n.replace(",", "")) for n in pair] for pair in found]
    return sum(blocks for _, blocks in numbers), sum(space for space, _ in numbers)


def valgrind(log):
    return ["valgrind", "--leak-check=full", f"--log-file={log}"]


def memcheck(command, env=None):
    log = f"{scratch()}/log"
    subprocess.run([*valgrind(log), *command], env=env, timeout=200, stdin=subprocess.DEVNULL,
                   capture_output=True)
    return lost(log)


def leaked(profile):
    return profile.total("leaked_objects"), profile.total("leaked_space")


def check_leaks(name, run, ask):
    """Whatever we call leaked must be definitely or indirectly lost for valgrind too, which is
    asked only where there is something: a block that it knows a pointer to is no leak."""
    if run.status != 0:
        ok(False, f"{name}: status {run.status}")
    blocks, space = leaked(run.heap)
    said = [c for c in run.heap.comments if c.startswith("leaked")]
    ok(said and "not known" not in said[0], f"{name}: {said}")
    if blocks == 0:
        return ok(True, f"{name}: no leak, of {run.heap.total('inuse_objects')} blocks")
    if missing("valgrind"):
        return skip(f"{name}: {blocks} blocks leaked", "valgrind is not installed")
    lost_blocks, lost_space = ask()
    if not ok(blocks <= lost_blocks and space <= lost_space,
              f"{name}: leaked {space} bytes in {blocks} blocks, "
              f"for valgrind {lost_space} in {lost_blocks}"):
        note(sonde("traces", "--sample_index=leaked_space", run.heap.path)[:3000])


def leaks_of(name, command, **env):
    env = dict(os.environ, **env)
    run = preload(command, "mem=exact,quiet", text=False, env=env)
    check_leaks(name, run, lambda: memcheck(command, env))
    return run


def test_the_rule():
    """Where there are leaks, valgrind and we agree on all but the unusual."""
    if missing("valgrind"):
        return skip("valgrind agrees", "valgrind is not installed")
    command = program("alloc_leaks", PROGRAMS)
    got = memcheck(command)
    truth = [line.split() for line in preload(command, "mem=exact,quiet").out.splitlines()]
    equal(got, tuple(sum(int(words[at]) for words in truth) for at in (-2, -1)),
          "for valgrind, what was planted is lost")


def test_xz():
    if missing("xz"):
        return skip("xz", "xz is not installed")
    path = f"{scratch()}/data"
    with open(path, "wb") as file:
        file.write(random.Random(1).randbytes(1 << 20))
    leaks_of("xz", ["xz", "-4", "-T1", "-c", path])
    leaks_of("xz, two threads", ["xz", "-4", "-T2", "--block-size=256KiB", "-c", path])


def test_sqlite():
    if missing("sqlite3"):
        return skip("sqlite3", "sqlite3 is not installed")
    leaks_of("sqlite3", ["sqlite3", ":memory:",
                         """create table t(a, b); create index i on t(b);
                         with recursive n(i) as (select 1 union all select i + 1 from n where i < 9000)
                         insert into t select i, hex(i * 7919) from n;
                         select count(*), max(length(a.b || b.b)) from t a join t b on a.b < b.b
                         where a.a < 50 group by a.a order by 1 limit 9;"""])


def test_python():
    if not os.path.exists(PYTHON):
        return skip("python3", "no Debian python3")
    script = """import json, re, threading
class Cycle: pass
c = Cycle(); c.self = c; del c
t = [threading.Thread(target=lambda: json.dumps(list(range(3000)))) for _ in range(3)]
[x.start() for x in t]; [x.join() for x in t]
print(len(re.sub('1', 'one', json.dumps([{'k%d' % i: [i]} for i in range(3000)]))))"""
    leaks_of("python3", [PYTHON, "-c", script])
    leaks_of("python3, all by malloc", [PYTHON, "-c", script], PYTHONMALLOC="malloc")
    planted = """import ctypes
libc = ctypes.CDLL(None)
libc.malloc.restype = None
for _ in range(100): libc.malloc(2001)"""
    run = leaks_of("python3, a hundred planted", [PYTHON, "-c", planted])
    found = run.heap.total("leaked_objects", lambda _, labels: labels["bytes"] == 2001)
    # Python is not position independent: its heap lies where 32-bit numbers point, and where
    # it lies is random. One such number in the whole program keeps a block alive.
    ok(90 <= found <= 100, f"python3: {found} of a hundred are found")


def serve_redis(prefix, env, directory):
    """A server that has had clients of all kinds, and was asked to shut down."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    server = subprocess.Popen([*prefix, "redis-server", "--port", port, "--save", "", "--dir",
                               directory, "--io-threads", "2"], env=env,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            time.sleep(0.1)
            if subprocess.run(["redis-cli", "-p", port, "ping"], capture_output=True).stdout:
                break
        subprocess.run(["redis-benchmark", "-p", port, "-n", "3000", "-q", "-t",
                        "set,get,lpush,hset,zadd,lrange_100"], capture_output=True, timeout=120)
        subprocess.run(["redis-cli", "-p", port, "shutdown", "nosave"], capture_output=True)
        server.wait(timeout=60)
    finally:
        server.kill()
        server.wait()
    return server.returncode


def test_redis():
    if missing("redis-server", "redis-benchmark"):
        return skip("redis", "redis-server or redis-benchmark is not installed")
    directory = scratch()
    env = dict(os.environ, LD_PRELOAD=str(LIBRARY), SONDE=f"mem=exact,quiet,path={directory}")
    status = serve_redis([], env, directory)
    run = Run(["redis-server"], directory, subprocess.CompletedProcess([], status, "", ""))

    def ask():
        log = f"{scratch()}/log"
        serve_redis(valgrind(log), dict(os.environ), directory)
        return lost(log)

    check_leaks("redis", run, ask)


# ---- other readers ----

def table(text):
    """The entries of a top, without blanks: of functions by the same cost the order is free."""
    lines = [" ".join(line.split()) for line in text.splitlines()]
    at = next((i for i, line in enumerate(lines) if line.startswith("flat flat%")), len(lines))
    return sorted(lines[at:])


def test_go_agrees():
    go = shutil.which("go", path="/usr/bin:/usr/lib/go/bin") or shutil.which("go")
    if go is None:
        return skip("go tool pprof agrees", "Go is not installed")
    raw = allocate("mem=exact", "alloc_truth", 12, 512, 2)
    named = f"{raw.directory}/named.pprof"
    sonde("proto", f"--output={named}", raw.heap.path)
    for index in ["inuse_space", "alloc_objects", "peak_space", "temporary_objects"]:
        options = [f"-sample_index={index}", "-nodecount=0", "-nodefraction=0"]
        done = subprocess.run([go, "tool", "pprof", *options, "-top", named],
                              capture_output=True, text=True, timeout=120,
                              env=dict(os.environ, PPROF_TMPDIR="/tmp"))
        ours = sonde("top", *[f"-{o}" for o in options], named)
        ok(len(table(ours)) > 10, f"{index}: {len(table(ours)) - 1} entries")
        equal(table(ours), table(done.stdout), f"{index}: go tool pprof prints the same table")
    equal(table(sonde("top", named)), table(sonde("top", "--sample_index=inuse_space", named)),
          "what is in use is what is shown")


main(globals())
