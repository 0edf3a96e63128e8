#!/usr/bin/env python3
"""efence: each planted fault is told with its block, its distance and its sites, by each way to make
pages fault; what is the program's own stays so; real programs run as ever."""

from harness import *
import functools
import re
import resource

WAYS = ["guard", "userfaultfd", "mprotect"]
SIZES = [1, 7, 8, 15, 16, 17, 24, 100, 1000, 4080, 4095, 4096, 4097, 10000, 65536, 100000]
FEW = [1, 24, 4096, 4097, 100000]
LARGE = [1 << 20, 5000000]
PAGE = 4096


def fenced(command, settings="efence", by=None, wrapper=(), **options):
    directory = scratch()
    if by:
        options["env"] = {**os.environ, "SONDE_EFENCE_BY": by}
    if wrapper:
        os.chmod(directory, 0o777)
    options.setdefault("timeout", 60)
    return preload([*wrapper, *command], f"{settings},quiet", directory, **options)


@functools.cache
def ways():
    """Those that this kernel has."""
    found = [by for by in WAYS if "cannot work" not in fenced(["true"], by=by).err]
    note(f"ways: {found}")
    return found


@functools.cache
def sites():
    listed = subprocess.run(["nm", "-S", "--defined-only", *program("fence")],
                            capture_output=True, text=True).stdout
    rows = [line.split() for line in listed.splitlines()]
    return {row[3]: range(int(row[0], 16), int(row[0], 16) + int(row[1], 16))
            for row in rows if len(row) == 4 and row[2] in "tT"}


def stacks(err):
    """The functions of the program below each heading ("by", "allocated", "freed")."""
    found, heading = {}, None
    for line in err.splitlines():
        frame = re.match(r" +#\d+ 0x[0-9a-f]+.*\((\S+)\+0x([0-9a-f]+)\)$", line)
        if not frame:
            heading = line.strip().split(" by ")[0].split(" ")[0]
        elif frame[1].endswith("/fence"):
            names = [n for n, span in sites().items() if int(frame[2], 16) in span]
            found.setdefault(heading, []).append(names[0] if names else "?")
    return found


def head(err):
    return next((line for line in err.splitlines() if line.startswith("efence: ")), "")


class Case:
    """A fault, and what is to be said of it."""

    def __init__(self, arguments, says, site, freed=False, status=-signal.SIGSEGV):
        self.arguments, self.says, self.site = arguments, says, site
        self.freed, self.status = freed, status

    def wrong(self, run):
        """What is not as it should be; "" if all is."""
        at = run.out.split()[0] if run.out else "?"
        says = self.says.replace("AT", re.escape(at))
        where = stacks(run.err)
        if not re.fullmatch(f"efence: {says}", head(run.err)):
            return f"said {head(run.err)!r}, not {says!r}"
        if run.err.count("efence: ") != 1:
            return f"said more: {run.err}"
        if run.status != self.status:
            return f"status {run.status}"
        if self.site and where.get("by", ["?"])[0] not in self.site:
            return f"by {where.get('by')}"
        if "allocating_site" not in where.get("allocated", ["?"])[:2]:
            return f"allocated {where.get('allocated')}"
        if self.freed and where.get("freed", ["?"])[0] != "freeing_site":
            return f"freed {where.get('freed')}"
        return ""


def bytes_(n):
    return f"{n} byte{'s' * (n != 1)}"


def gaps(size, left, alignment=16):
    """How many bytes of its pages lie before the block, and after it."""
    pages = max(1, -(-size // PAGE)) * PAGE
    whole = pages if alignment > PAGE else -(-size // alignment) * alignment
    before = 0 if left else pages - whole
    return before, pages - size - before


def cases(size, left, how=(), alignment=16):
    before, after = gaps(size, left, alignment)
    block = f"block of {bytes_(size)} at AT"
    address = "0x[0-9a-f]+"
    for access in ("write", "read"):
        site = [f"{access[:4]}ing_site" if access == "read" else "writing_site"]
        for beyond in (after, after + 100) if after < PAGE // 2 else (after,):
            yield Case([access, size, size + beyond, *how],
                       f"overrun: {access} at {address}, {bytes_(beyond)} after a {block}", site)
        yield Case([access, size, -before - 1, *how],
                   f"underrun: {access} at {address}, {bytes_(before + 1)} before a {block}", site)
        yield Case([f"freed_{access}", size, size // 2, *how], f"use after free: {access} at "
                   f"{address}, {bytes_(size // 2)} into a freed {block}", site, freed=True)
    for beyond in {1, after} - {0} if after else ():
        yield Case(["write", size, size + beyond - 1, *how],
                   f"overrun by {bytes_(beyond)}, found at free: what lies after a {block} was "
                   f"written", None, freed=True, status=-signal.SIGABRT)
    for beyond in {1, before} - {0} if before else ():
        yield Case(["write", size, -beyond, *how],
                   f"underrun by {bytes_(beyond)}, found at free: what lies before a {block} was "
                   f"written", None, freed=True, status=-signal.SIGABRT)


def try_all(name, all_cases, settings="efence", by=None):
    bad = n = 0
    for case in all_cases:
        n += 1
        wrong = case.wrong(fenced(program("fence", *case.arguments), settings, by))
        bad += wrong != ""
        if wrong:
            note(f"{case.arguments}: {wrong}")
    ok(n > 0 and bad == 0, f"{name}: {n} faults, {bad} not told as they should be")


def test_table():
    for left in (False, True):
        settings = "efence=left" if left else "efence=right"
        try_all(settings, (c for size in SIZES for c in cases(size, left)), settings)


def test_ways():
    for by in ways():
        for left in (False, True):
            settings = "efence=left" if left else "efence"
            try_all(f"{by}, {settings}", (c for size in FEW for c in cases(size, left)),
                    settings, by)
        try_all(f"{by}, large", (c for size in LARGE for c in cases(size, False)), "efence", by)


def test_allocators():
    """Each way to allocate; C++; alignments up to more than a chunk of the arena."""
    for how in ("calloc", "realloc", "new", "array"):
        try_all(how, (c for size in (24, 4097) for c in cases(size, False, [how])))
    for how in ("memalign", "aligned_alloc", "posix_memalign"):
        for alignment in (64, 4096, 65536, 8 << 20):
            all_cases = [c for size in (24, 5000)
                         for c in cases(size, False, [how, alignment], alignment)]
            try_all(f"{how} at {alignment}", all_cases)
    try_all("valloc", cases(5000, False, ["valloc", 4096], 4096))


def test_frees():
    block = "block of 24 bytes at AT"
    abort = -signal.SIGABRT
    try_all("frees", [
        Case(["twice", 24], "double free: free of AT, a block of 24 bytes", ["freeing_site"],
             True, abort),
        Case(["interior", 24, 4], f"bad free: free of 0x[0-9a-f]+, 4 bytes into a {block}",
             ["freeing_site"], False, abort),
        Case(["interior", 24, 24], f"bad free: free of 0x[0-9a-f]+, 0 bytes after a {block}",
             ["freeing_site"], False, abort),
        Case(["usable", 24], "use after free: malloc_usable_size of AT, a block of 24 "
             "bytes", ["fault", "main"], True, abort),
        Case(["twice", 24, 0, "array"], "double free: free of AT, a block of 24 bytes",
             ["freeing_site"], True, abort)])
    try_all("realloc", [
        Case(["moved", 24, 5], f"use after free: write at 0x[0-9a-f]+, 5 bytes into a freed {block}",
             ["writing_site"]),
        Case(["found_by_realloc", 13, 13], "overrun by 1 byte, found at free: what lies after a "
             "block of 13 bytes at AT was written", None, False, abort)])
    try_all("threads", [
        Case(["threads", 24, 5], f"use after free: write at 0x[0-9a-f]+, 5 bytes into a freed "
             f"{block}", ["writing_site"], True)])
    try_all("no bytes", [
        Case(["write", 0, 0], "overrun: write at AT, 0 bytes after a block of 0 bytes at AT",
             ["writing_site"])])


def test_frees_beside_other_tracers():
    """Those ask how large a block is before it is freed: that is no use of it."""
    block = "block of 24 bytes at AT"
    abort = -signal.SIGABRT
    for other in ("allocfreetrace", "gcdead", "gctrace", "allocfreetrace,gcdead,gctrace,mem=exact"):
        try_all(f"beside {other}", [
            Case(["twice", 24], "double free: free of AT, a block of 24 bytes", ["freeing_site"],
                 True, abort),
            Case(["interior", 24, 4], f"bad free: free of 0x[0-9a-f]+, 4 bytes into a {block}",
                 ["freeing_site"], False, abort),
            Case(["usable", 24], "use after free: malloc_usable_size of AT, a block of 24 bytes",
                 ["fault", "main"], True, abort),
            Case(["again", 24], "use after free: realloc of AT, a block of 24 bytes",
                 ["fault", "main"], True, abort)], f"efence,{other}")
    try_all("beside invalidptr=2", (c for c in cases(24, False) if c.freed), "efence,invalidptr=2")


def test_library():
    """In the C library, for the program: it is on the stack."""
    for call in ("memcpy", "memset", "strcpy", "sprintf", "strlen"):
        for size in (32, 4096):
            run = fenced(program("fence", f"library_{call}", size, 40))
            at = run.out.split()[0]
            kind = "read" if call == "strlen" else "write"
            said = re.fullmatch(rf"efence: overrun: (read|write) at 0x[0-9a-f]+, (\d+) bytes? after "
                                rf"a block of {size} bytes at {at}", head(run.err))
            good = said and int(said[2]) < 40 and (said[1] == kind or call == "strlen")
            ok(good and "library_site" in stacks(run.err).get("by", []),
               f"{call} of {size} bytes: {head(run.err)}")


def test_kernel():
    for call in ("read", "pread", "readv", "recv", "recvfrom", "recvmsg", "write", "pwrite",
                 "writev", "send", "sendto", "sendmsg"):
        what = "write" if call[0] in "r" or call == "pread" else "read"
        run = fenced(program("fence", f"kernel_freed_{call}", 64))
        said = f"efence: use after free: {what} by the kernel, for {call}, at "
        good = head(run.err).startswith(said) and "0 bytes into a freed block" in head(run.err)
        ok(good and "Bad address" in run.out and stacks(run.err)["by"][0] == "kernel_site",
           f"{call} of a freed block: {head(run.err)}")
    run = fenced(program("fence", "kernel_write", 64, 64))
    ok("overrun: read by the kernel, for write" in head(run.err), "write beyond a block")
    run = fenced(program("fence", "kernel_read", 64, 64))
    equal((run.err, run.status), ("", 0), "room that is not used is no fault")


def test_own_faults():
    """What a program sees of its own faults is what it sees without us."""
    plain = subprocess.run(program("own_faults"), capture_output=True, text=True).stdout
    ok(plain.endswith("end\n"), "a program sees its own faults")
    for by in ways():
        run = fenced(program("own_faults"), by=by)
        equal((run.status, run.err, run.out.splitlines()), (0, "", plain.splitlines()),
              f"{by}: and nothing else under efence")
        for way in ("null", "ignored", "raised", "overflow", "file", "blocked"):
            want = subprocess.run(program("own_faults", way), capture_output=True).returncode
            run = fenced(program("own_faults", way), by=by)
            equal((run.status, run.err), (want, ""), f"{by}: {way} kills as ever")
        for way in ("freed", "freed_blocked"):
            run = fenced(program("own_faults", way), by=by)
            ok(run.status == -signal.SIGSEGV and "efence: use after free" in run.err,
               f"{by}: {way} is told")
        run = fenced(program("own_faults", "caught"), by=by)
        equal((run.status, run.out.count("caught\n"), run.err.count("efence: use after free")),
              (0, 3, 3), f"{by}: its own handler comes after the report")


def test_forks():
    """A child has fences, too, whichever way, and says who it is."""
    text = ("import ctypes, os\n"
            "c = ctypes.CDLL(None); c.malloc.restype = ctypes.c_void_p\n"
            "old = c.malloc(24); c.free(ctypes.c_void_p(old)) if {early} else None\n"
            "if os.fork() == 0:\n"
            "    p = old if {early} else c.malloc(24)\n"
            "    if not {early}: c.free(ctypes.c_void_p(p))\n"
            "    ctypes.memset(p, 1, 1)\n"
            "    os._exit(0)\n"
            "pid, status = os.wait()\nprint(pid, os.WTERMSIG(status))")
    for by in ways():
        for early in (True, False):
            run = fenced(["python3", "-c", text.format(early=early)], by=by)
            pid, killed = run.out.split()
            ok(killed == "11" and head(run.err).startswith("efence: use after free: write") and
               head(run.err).endswith(f" pid={pid}"),
               f"{by}: freed {'before' if early else 'after'} the fork: {head(run.err)}")
        run = fenced(["bash", "-c", "for i in 1 2 3; do (echo $i | cat) | sort; done"], by=by)
        equal((run.out, run.err), ("1\n2\n3\n", ""), f"{by}: a shell and its children")


def available_gb():
    with open("/proc/meminfo") as file:
        return int(re.search(r"MemAvailable:\s*(\d+)", file.read())[1]) / 1e6


def test_million():
    for by in ways():
        if by != "mprotect" and available_gb() < 7:
            skip(f"{by}: a million live blocks", "they need 5 GB of memory")
            continue
        count = 1100000 if by != "mprotect" else 100000
        run = fenced(program("efence_load", "live", count), by=by, timeout=120)
        live = [line.split()[1] for line in run.out.splitlines() if line.startswith("live")]
        equal(float(live[-1]), float(count), f"{by}: {count} live blocks")
        ok(run.err.count("efence: ") == (by == "mprotect"), f"{by}: {run.err!r}")
    run = fenced(program("efence_load", "pairs", 2000000), timeout=120)
    equal((run.status, run.err), (0, ""), "two million blocks, one after the other")


def test_few_addresses():
    """Addresses that have all been used are used again, and that is said."""
    limit = 700 << 20
    run = fenced(program("efence_load", "pairs", 300000),
                 preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)))
    ok(run.status == 0 and run.out.startswith("us ") and
       re.fullmatch(r"efence: all .* used again\n", run.err), f"said once: {run.err[:200]!r}")


def test_stress():
    """Threads, a handler that allocates, forks; also where addresses are used again."""
    for by in ways():
        run = fenced(program("fence_stress", 1000), by=by)
        equal((run.status, run.out, run.err), (0, "good\n", ""), f"{by}: threads, signals, forks")
    limit = 2000 << 20
    run = fenced(program("fence_stress", 3000),
                 preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)))
    ok((run.status, run.out) == (0, "good\n"), f"with few addresses: {run.err[:200]!r}")


SCRIPT = """
import json, subprocess, threading
data = [{"a": i, "b": [1, 2, "x" * i]} for i in range(200)]
def work():
    for i in range(20): json.loads(json.dumps(data)); [bytes(900 + i) for i in range(500)]
threads = [threading.Thread(target=work) for _ in range(3)]
[t.start() for t in threads]; [t.join() for t in threads]
print(len(json.dumps(data)), subprocess.run(["echo", "hi"], capture_output=True).stdout)
"""
SQL = ("create table t(a, b); with recursive n(i) as (select 1 union all select i + 1 from n where "
       "i < 5000) insert into t select i, hex(i * 7919) from n; create index i on t(b); "
       "select count(*), max(b) from t; select sum(length(x.b)) from t x join t y on x.b = y.b;")
SCHEME = ("(define (f n) (if (= n 0) '() (cons (make-string n #\\a) (f (- n 1)))))"
          "(do ((i 0 (+ i 1))) ((= i 30)) (f 300)) (gc) (display (length (f 100)))")
CXX = """
#include <iostream>
#include <map>
#include <string>
#include <thread>
#include <vector>
int main() {
    std::map<std::string, std::vector<int>> m; std::vector<std::thread> t;
    for (int i = 0; i < 500; i++) m[std::to_string(i)].resize(i);
    for (int k = 0; k < 3; k++) t.emplace_back([] { std::vector<std::string> v;
        for (int i = 0; i < 500; i++) v.push_back(std::string(i % 100, 'x'));
        try { throw std::string(100, 'e'); } catch (std::string &) {} });
    for (auto &x : t) x.join();
    std::cout << m.size() << std::endl; }
"""


def test_real():
    """Nothing is told of programs that have no fault, and they say what they say."""
    directory = scratch()
    source, built = f"{directory}/x.cc", f"{directory}/x"
    open(source, "w").write(CXX)
    numbers = "\n".join(str(i * 7919 % 100003) for i in range(100000))
    open(f"{directory}/numbers", "w").write(numbers)
    programs = [
        ["python3", "-c", SCRIPT], ["sqlite3", ":memory:", SQL], ["guile", "-c", SCHEME],
        ["sort", "-n", "--parallel=2", "-S", "1M", f"{directory}/numbers"],
        ["xz", "-1", "-T2", "--block-size=200000", "-c", f"{directory}/numbers"],
        ["g++", "-O1", "-S", "-o", "-", source], ["gcc", "-O2", "-E", "-x", "c", "/dev/null"],
        ["perl", "-e", "$h{$_} = 'x' x $_ for 1..999; print scalar keys %h"]]
    if missing("g++") is None:
        subprocess.run(["g++", "-pthread", "-o", built, source], check=True)
        programs.append([built])
    for command in programs:
        name = os.path.basename(command[0])
        if missing(command[0]):
            skip(name, "not installed")
            continue
        plain = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               stdin=subprocess.DEVNULL)
        for settings in ("efence", "efence=left"):
            run = fenced(command, settings, text=False, timeout=120)
            equal((run.status, run.out == plain.stdout, run.err[:2000]),
                  (plain.returncode, True, plain.stderr), f"{name}, {settings}")


def test_redis():
    if missing("redis-server", "redis-benchmark"):
        skip("redis-server", "not installed")
        return
    socket = f"{scratch()}/redis"
    script = (f"redis-server --port 0 --unixsocket {socket} --save '' --appendonly no "
              f"--enable-debug-command yes > /dev/null & server=$!; "
              f"for i in $(seq 100); do redis-cli -s {socket} ping > /dev/null 2>&1 && break; sleep "
              f".1; done; redis-benchmark -s {socket} -n 2000 -q -t set,get,lpush | wc -l; "
              f"redis-cli -s {socket} debug reload; redis-cli -s {socket} shutdown; wait $server; echo $?")
    run = fenced(["bash", "-c", script], timeout=120)
    ok(run.out.rstrip().endswith("0") and "efence" not in run.err,
       f"redis-server and its clients: {run.out.split()} {run.err[:2000]!r}")


def test_together():
    """With profiles and the other tracers."""
    for more in ("mem=exact,cpu=1000", "gcdead", "invalidptr=1", "gcdead,invalidptr=2,mem=exact"):
        run = fenced(["sqlite3", ":memory:", SQL], f"efence,{more}")
        ok(run.status == 0 and "efence" not in run.err and run.out.count("\n") == 2,
           f"efence,{more}: {run.err[:200]!r}")
        run = fenced(program("fence", "write", 24, 32), f"efence,{more}")
        ok(run.status == -signal.SIGSEGV and "8 bytes after a block of 24" in head(run.err),
           f"efence,{more}: {head(run.err)}")


def test_unprivileged():
    if os.getuid() != 0 or missing("setpriv"):
        skip("without privileges", "not root")
        return
    drop = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    os.chmod(state_directory(), 0o755)
    for by in [None, *ways()]:
        run = fenced(program("fence", "write", 24, 32), by=by, wrapper=drop)
        ok("8 bytes after a block of 24" in head(run.err), f"{by}: {head(run.err)}")


def state_directory():
    return os.path.dirname(scratch())


def test_names():
    """`sonde run` names the frames, on its own standard error, while the program runs."""
    run = record(program("fence", "freed_write", 24, 3), "--efence")
    equal(run.status, -signal.SIGSEGV, "ends as the program")
    for frame in ("in writing_site ../tests/programs/fence.cc:", "in allocating_site",
                  "in freeing_site", "in main "):
        ok(frame.split(" ../")[0] in run.err, f"sonde run: {frame}")
    equal(run.files, [], "and there is no profile")
    left = record(program("fence", "write", 24, -1), "--efence=left")
    ok("underrun: write" in left.err and ", 1 byte before a block of 24" in left.err,
       "sonde run --efence=left")
    path = f"{scratch()}/trace"
    run = record(program("fence", "write", 24, 32), "--efence", f"--trace={path}")
    ok("efence: overrun" in open(path).read() and "efence" not in run.err, "sonde run --trace")



def test_old_signal_functions():
    """sigset, sighold and their like: as without, and a signal that is held stays told."""
    plain = subprocess.run(program("sysv_signals"), capture_output=True, text=True)
    for settings in ["efence=1", "cpu", "efence=1,cpu", "mem=exact,schedtrace=10"]:
        run = preload(program("sysv_signals"), f"{settings},quiet,trace_path=/dev/null")
        equal((run.status, run.out), (plain.returncode, plain.stdout), f"{settings}: sigset and its like")
    run = preload(program("sysv_signals", "held"), "efence=1")
    ok("efence: use after free" in run.err, "sighold(SIGSEGV): the fault is told")

main(globals())
