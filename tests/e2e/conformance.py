#!/usr/bin/env python3
"""The allocator keeps its promises under every knob, with another allocator underneath, and
to the test suites of real programs."""

from harness import *
from books import FAMILIES, allocate, check_exact
import re

KNOBS = {
    "off": None,
    "mem": "mem",
    "mem=1": "mem=1",
    "mem=exact": "mem=exact",
    "cpu and mem": "cpu=1000,mem=exact",
    "gcdead": "gcdead=1",
    "invalidptr": "invalidptr=1",
    "invalidptr=2": "invalidptr=2",
    "gcdead, mem": "gcdead=1,mem=exact",
    "efence": "efence=1",
    "efence=left": "efence=left,mem=exact",
    "gctrace, scavenge": "gctrace=2,scavenge=1",
}
ALLOCATORS = ["libjemalloc.so.2", "libmimalloc.so.2", "libtcmalloc_minimal.so.4"]
PYTHON = "/usr/bin/python3"
MODULES = ["test_list", "test_dict", "test_array", "test_struct", "test_zlib", "test_json",
           "test_deque", "test_ctypes", "test_thread", "test_re"]


def environment(knob, allocator=None, plain=False, **more):
    """Of a program under a knob: the library is there, and records or does not."""
    env = dict(os.environ, **more)
    preloads = ([] if plain else [str(LIBRARY)]) + ([allocator] if allocator else [])
    env.pop("SONDE", None)
    if preloads:
        env["LD_PRELOAD"] = ":".join(preloads)
    if knob:
        env["SONDE"] = f"{knob},quiet,path={scratch()},trace_path={scratch()}/trace"
    return env


def outcome(command, env, **options):
    """The status and the verdicts of a program that speaks TAP."""
    try:
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=20,
                              stdin=subprocess.DEVNULL, **options)
    except subprocess.TimeoutExpired as late:
        return "hangs", (late.stdout or b"").decode().splitlines()
    return done.returncode, [line for line in done.stdout.splitlines() if line[:1] != "#"]


# All the addresses of its blocks are the process's from the start.
NOT_FENCED = ["where memory ends, malloc fails with ENOMEM, free goes on"]


def check_kept(name, got, want, but=()):
    """What was kept without is kept; what another allocator does not keep may be."""
    lost = [line for line in want[1] if not line.startswith("not ok") and line not in got[1] and
            not line.endswith(tuple(but))]
    if not ok((got[0] in (0, want[0]) or but) and not lost, name):
        note(f"status {got[0]}, not {want[0]}; {len(got[1])} of {len(want[1])} lines")
        for line in lost[:10]:
            note(f"missing: {line}")


TABLES = {
    "malloc_table": program("malloc_table"),
    "malloc_places": program("malloc_places", PROGRAMS),
}


def test_tables():
    for name, command in TABLES.items():
        want = outcome(command, environment(None, plain=True))
        bad = [line for line in want[1] if line.startswith("not ok")]
        equal((want[0], bad), (0, []), f"{name}: {len(want[1])} promises are kept without")
        for knob, settings in KNOBS.items():
            check_kept(f"{name}: kept, {knob}", outcome(command, environment(settings)), want,
                       NOT_FENCED if "efence" in knob else ())


def test_blocks_of_before():
    """Those that were handed out while the real allocator was looked up."""
    plugin = f"{PROGRAMS}/libplugin_dlsym.so"
    for knob, settings in KNOBS.items():
        done = subprocess.run(program("malloc_table"), env=environment(settings, plugin),
                              capture_output=True, text=True, timeout=60)
        lines = done.stdout.splitlines()
        broken = [line for line in lines if line.startswith("not ok") and
                  not ("efence" in knob and any(words in line for words in NOT_FENCED))]
        equal((broken, "kept" in lines), ([], True), f"before the real one is known, {knob}")


def loadable(allocator):
    done = subprocess.run(["/bin/true"], env=dict(os.environ, LD_PRELOAD=allocator),
                          capture_output=True, text=True)
    return done.stderr == ""


def test_other_allocators():
    """What each promises, it promises still. jemalloc leaves pvalloc to glibc, and crashes."""
    for allocator in ALLOCATORS:
        if not loadable(allocator):
            skip(f"with {allocator}", f"{allocator} is not installed")
            continue
        for name, command in TABLES.items():
            if name == "malloc_table" and "jemalloc" in allocator:
                command = [*command, "nopvalloc"]
            if name == "malloc_places" and "jemalloc" in allocator:
                command = [*command, "16384"]  # its data and a tick take most of 16 KB
            want = outcome(command, environment(None, allocator, plain=True))
            for knob in ["off", "mem", "cpu and mem"]:
                check_kept(f"{name}: as before with {allocator}, {knob}",
                           outcome(command, environment(KNOBS[knob], allocator)), want)


def test_truth_with_other_allocators():
    """The books are right whoever has the memory."""
    for allocator in filter(loadable, ALLOCATORS):
        run = allocate("mem=exact", "alloc_truth", 11, 512, 2, behind=[allocator])
        check_exact(run, f"with {allocator}", families=FAMILIES[:4])


# ---- real programs ----

SQL = """
create table people(id integer primary key, name text, town int, born real);
create table towns(id integer primary key, name text unique);
create table visits(person int, town int, day int);
with recursive n(i) as (select 1 union all select i + 1 from n where i < 97)
  insert into towns select i, printf('town %03d %s', i, hex(i * 7919)) from n;
with recursive n(i) as (select 1 union all select i + 1 from n where i < 5000)
  insert into people select i, upper(substr(hex(i * 2654435761 % 4294967296), 1, 6)) || '-' || i,
    1 + i % 97, 1900 + i % 100 + i / 7.0 from n;
with recursive n(i) as (select 1 union all select i + 1 from n where i < 20000)
  insert into visits select 1 + i * 7919 % 5000, 1 + i * 104729 % 97, i % 365 from n;
create index by_town on visits(town, day);
create index by_name on people(name collate nocase);
select t.name, count(*), min(p.name), max(v.day), round(avg(p.born), 3), group_concat(distinct v.day % 5)
  from visits v join people p on p.id = v.person join towns t on t.id = v.town
  group by t.id order by count(*) desc, t.name;
select name, length(name), instr(name, '7'), replace(name, '1', 'one'), trim(name, 'A'),
  quote(name), unicode(name), lower(name), printf('%10.2f|%-12s|', born, name)
  from people where name like '%A_%7' order by name desc limit 500;
select town, day, row_number() over w, sum(person) over w from visits
  window w as (partition by town order by day, person) order by town, day, person limit 3000;
select json_group_array(json_object('n', name, 'b', born)) from people where id % 37 = 0;
begin; update people set name = name || name where id % 3 = 0; delete from visits where day % 2;
select count(*), sum(length(name)) from people; rollback;
select count(*), sum(length(name)) from people;
create view joined as select p.name a, t.name b from people p left join towns t on t.id = p.town;
select b, count(distinct a) from joined group by b having count(*) > 51 order by 1;
explain query plan select * from joined where a glob 'A*';
vacuum; analyze; reindex; pragma integrity_check; select * from sqlite_stat1 order by 1, 2;
.schema
.dump towns
.mode box
select * from towns limit 20;
select a from nowhere;
select randomblob(1e12);
"""


def same_as_plain(name, command, knobs=KNOBS, clean=lambda text: text, cwd=None, **more):
    """A program that was not told says the same and ends the same."""
    def run(env, text):
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=180,
                              input=text, cwd=cwd)
        return done.returncode, clean(done.stdout), clean(done.stderr)

    text = more.pop("text", "")
    want = run(environment(None, plain=True, **more), text)
    for knob in knobs:
        got = run(environment(KNOBS[knob], **more), text)
        if not ok(got == want, f"{name}: the same, {knob}"):
            note([(g[-300:], w[-300:]) for g, w in zip(got[1:], want[1:]) if g != w])
            note(f"status {got[0]}, not {want[0]}")
    return want


def test_sqlite():
    if missing("sqlite3"):
        return skip("sqlite3", "sqlite3 is not installed")
    status, out, err = same_as_plain("sqlite3", ["sqlite3", ":memory:"], text=SQL)
    ok(len(out.splitlines()) > 2000 and "no such table" in err,
       f"sqlite3: {len(out.splitlines())} lines, the mistakes among them")


def verdict(text):
    """Of a test run, without its times."""
    return re.findall(r"^(?:test_\w+ failed|.*Result:.*|All \d+ tests? OK\.)", text, re.M)


def test_python():
    """Its own tests, with every block of its from malloc."""
    found = os.path.exists(PYTHON) and subprocess.run(
        [PYTHON, "-c", "import test.test_list"], capture_output=True).returncode == 0
    if not found:
        return skip("python3's own tests", "libpython3.11-testsuite is not installed")
    want = same_as_plain("python3's own tests", [PYTHON, "-m", "test", "-q", *MODULES],
                         ["mem=exact"], verdict, scratch(), PYTHONMALLOC="malloc")
    equal(want[0], 0, "python3's own tests pass without")


def test_python_scripts():
    """What allocates in its own ways: threads, forks, buffers, C extensions."""
    if not os.path.exists(PYTHON):
        return skip("python3", "no Debian python3")
    for name, script in SCRIPTS.items():
        want = same_as_plain(f"python3, {name}", [PYTHON, "-c", script], ["off", "mem=exact"],
                             PYTHONMALLOC="malloc")
        equal((want[0], want[2]), (0, ""), f"python3, {name}: works without")


SCRIPTS = {
    "threads": """
import threading, hashlib
out = {}
def work(n):
    out[n] = hashlib.sha256(b''.join(str(i * n).encode() for i in range(20000))).hexdigest()
ts = [threading.Thread(target=work, args=(n,)) for n in range(8)]
[t.start() for t in ts]; [t.join() for t in ts]
print(sorted(out.items()))""",
    "processes": """
import multiprocessing as m
def f(n): return sum(len(str(i)) * n for i in range(3000))
if __name__ == '__main__':
    with m.get_context('fork').Pool(3) as pool: print(pool.map(f, range(20)))""",
    "ctypes": """
import ctypes
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p; libc.malloc.argtypes = [ctypes.c_size_t]
libc.realloc.restype = ctypes.c_void_p; libc.realloc.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
ps = [libc.realloc(libc.malloc(n), 2 * n) for n in range(1, 3000)]
print(all(ps), len(set(ps))); [libc.free(p) for p in ps]""",
    "databases": """
import sqlite3, zlib, bz2, lzma, json, pickle
c = sqlite3.connect(':memory:'); c.execute('create table t(a, b)')
c.executemany('insert into t values (?, ?)', ((i, str(i) * 9) for i in range(3000)))
b = pickle.dumps(c.execute('select * from t order by b').fetchall())
for z in zlib, bz2, lzma: assert z.decompress(z.compress(b)) == b
print(len(b), json.dumps(c.execute('select sum(a), max(b) from t').fetchall()))""",
}

def test_new_of_allocators():
    """An allocator's own operators, which do not call malloc, are the tracers', too."""
    for allocator in ALLOCATORS:
        if subprocess.run(["true"], env=environment(None, allocator, plain=True),
                          capture_output=True).stderr:
            skip(f"new of {allocator}", "it is not installed")
            continue
        for how in ("new", "array"):
            for knob in ("gcdead=1", "invalidptr=1", "efence=1", "efence=1,mem=exact"):
                run = subprocess.run(program("fence", "none", "24", "0", how),
                                     env=environment(knob, allocator), capture_output=True)
                equal(run.returncode, 0, f"{how} of {allocator}, {knob}: goes on")
            run = subprocess.run(program("fence", "freed_write", "24", "0", how), text=True,
                                 env=dict(environment("efence=1", allocator), SONDE="efence=1"),
                                 capture_output=True)
            ok("efence: " in run.stderr and "freed by" in run.stderr, f"{how} of {allocator}: fenced")


main(globals())
