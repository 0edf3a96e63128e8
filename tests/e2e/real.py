#!/usr/bin/env python3
"""Programs of the distribution, never changed: the same output, complete stacks."""

from harness import *
import collections
import random
import socket
import tempfile
import time
from pprof import names

COMPLETE = 0.995


def corpus():
    """A few megabytes that compress like text."""
    source = random.Random(1)
    words = ["".join(source.choices("etaoinshrdlu", k=source.randint(2, 9))) for _ in range(3000)]
    return " ".join(source.choices(words, k=900000)).encode()


def check(name, run, plain, least=100):
    equal((run.status, run.out), (plain.returncode, plain.stdout), f"{name}: the same output")
    profile = run.profile
    cut = profile.said("truncated")
    ok(profile.count >= least, f"{name}: {profile.count} samples")
    ok(cut <= (1 - COMPLETE) * profile.count,
       f"{name}: {cut} of {profile.count} stacks are cut short")
    check_ends(name, profile)


def check_ends(name, profile):
    """Stacks begin in two places, the program's entry and the thread's, and nowhere else."""
    ends = collections.Counter()
    for s in profile.samples:
        mapping, address = s.stack[-1]
        ends[mapping.file if mapping else hex(address), names(s.stack)[-1]] += s.values[0]
    share = sum(n for _, n in ends.most_common(2)) / max(1, ends.total())
    if not ok(share >= COMPLETE, f"{name}: {100 * share:.2f} % begin where threads begin"):
        note(ends.most_common(10))


def both(command, least=100, hz=1000, **options):
    plain = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=120,
                           **options)
    run = record(command, f"--cpu={hz}", text=False, **options)
    check(os.path.basename(command[0]), run, plain, least)
    return run


def test_xz():
    if missing("xz"):
        return skip("xz", "xz is not installed")
    with tempfile.NamedTemporaryFile() as file:
        file.write(corpus())
        file.flush()
        both(["xz", "-4", "-T1", "-c", file.name], 300)
        both(["xz", "-4", "-T2", "--block-size=1MiB", "-c", file.name], 300)


def test_sqlite():
    if missing("sqlite3"):
        return skip("sqlite3", "sqlite3 is not installed")
    query = """with recursive n(i) as (select 1 union all select i + 1 from n where i < 700000)
               select count(*), sum(length(hex(i * 7919))), max(i % 1009) from n
               group by i % 7 order by 2;"""
    both(["sqlite3", ":memory:", query])


def test_python():
    python = "/usr/bin/python3"
    if not os.path.exists(python):
        return skip("python3", "no Debian python3")
    both([python, "-c", "import json, re\n"
          "text = json.dumps([{'k%d' % i: [i, str(i)] * 5} for i in range(20000)])\n"
          "for _ in range(3): json.loads(text)\n"
          "print(len(re.sub(r'(\\d)(\\d)', r'\\2\\1', text)), sorted(text)[7])"])


def test_redis():
    if missing("redis-server", "redis-benchmark"):
        return skip("redis", "redis-server or redis-benchmark is not installed")
    directory = scratch()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    environment = dict(os.environ, LD_PRELOAD=str(LIBRARY), SONDE=f"cpu=1000,path={directory}")
    server = subprocess.Popen(["redis-server", "--port", port, "--save", "", "--dir", directory,
                               "--io-threads", "2"],
                              env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        for _ in range(100):
            time.sleep(0.1)
            if subprocess.run(["redis-cli", "-p", port, "ping"], capture_output=True).stdout:
                break
        done = subprocess.run(["redis-benchmark", "-p", port, "-n", "30000", "-q", "-t",
                               "set,get,lpush,lrange_100"], capture_output=True, text=True,
                              timeout=120)
        equal(done.returncode, 0, "redis: the benchmark ends well")
        subprocess.run(["redis-cli", "-p", port, "shutdown", "nosave"], capture_output=True)
        server.wait(timeout=30)
    finally:
        server.kill()
        server.wait()
    equal(server.returncode, 0, "redis: the server shuts down as asked")
    profile = Profile(f"{directory}/cpu.pprof")
    ok(profile.count > 300, f"redis: {profile.count} samples")
    cut = profile.said("truncated")
    ok(cut <= 0.005 * profile.count, f"redis: {cut} of {profile.count} stacks cut short")
    check_ends("redis", profile)


def test_gcc():
    """An exec storm: the driver, the compiler, the assembler and the linker, a profile each."""
    if missing("gcc"):
        return skip("gcc", "gcc is not installed")
    directory = scratch()
    source = f"{directory}/many.c"
    with open(source, "w") as file:
        for i in range(600):
            file.write(f"int f{i}(int *v, int n) {{ int s = {i}; for (int i = 0; i < n; i++) "
                       f"s += v[i] * (s ^ {i}); return s; }}\n")
        file.write("int main(void) { return 0; }\n")
    command = ["gcc", "-O2", source, "-o"]
    plain = subprocess.run([*command, f"{directory}/plain"], capture_output=True)
    run = record([*command, f"{directory}/sonde"], "--cpu=1000", text=False)
    equal((run.status, run.out), (plain.returncode, plain.stdout), "gcc: the same output")
    with open(f"{directory}/plain", "rb") as a, open(f"{directory}/sonde", "rb") as b:
        equal(a.read() == b.read(), True, "gcc: the same program")
    ok(len(run.profiles) >= 3, f"gcc: {len(run.profiles)} profiles, one an image")
    images = {m.file for p in run.profiles for m in p.mappings.values()}
    ok(any(i.endswith("/cc1") for i in images), "gcc: the compiler proper among them")
    for p in run.profiles:
        cut = p.said("truncated")
        ok(cut <= max(1, 0.005 * p.count), f"gcc: {cut} of {p.count} stacks cut short")


main(globals())
