#!/usr/bin/env python3
"""`sonde pprof` against `go tool pprof`, on real profiles and a table of flags: the same bytes.

What differs on purpose is in docs/pprof-differences.md and has tests of its own. SN_SAME_RANDOM=N
tries N random rows more; PPROF='...' is another pprof than Go's."""

import concurrent.futures
import functools
import html.parser
import json
import os
import pathlib
import random
import re
import shlex
import shutil
import subprocess
import xml.dom.minidom

from harness import BUILD, SONDE, main, missing, note, ok, program, scratch, skip
from wire import field, varint

GO = """package main
import ("context"; "os"; "runtime"; "runtime/pprof"; "sync"; "time")
type tree struct { left, right *tree; data []byte }
func grow(n int) *tree { if n == 0 { return nil }; return &tree{grow(n-1), grow(n-1), make([]byte, 64*n)} }
func (t *tree) sum() int { if t == nil { return 0 }; s := 0; for _, b := range t.data { s += int(b) + 1 }
    return s + t.left.sum() + t.right.sum() }
//go:noinline
func hash(n int) int { h := 1; for i := 0; i < n; i++ { h = h*31 + i; h ^= h >> 7 }; return h }
func work(kind string, n int) { pprof.Do(context.Background(), pprof.Labels("kind", kind, "host", "a b"),
    func(context.Context) { for i := 0; i < n; i++ { hash(200000); grow(8).sum() } }) }
var keep *tree
func main() {
    runtime.SetBlockProfileRate(1); runtime.SetMutexProfileFraction(1); runtime.MemProfileRate = 2048
    var mu sync.Mutex; var wg sync.WaitGroup
    f, _ := os.Create("cpu"); pprof.StartCPUProfile(f)
    for i, kind := range []string{"read", "write", "read"} { wg.Add(1)
        go func(k string, n int) { work(k, 60*n); mu.Lock(); time.Sleep(time.Millisecond); mu.Unlock(); wg.Done() }(kind, i+1) }
    hash(50000000); wg.Wait(); pprof.StopCPUProfile(); f.Close()
    keep = grow(10); runtime.GC()
    for _, n := range []string{"heap", "allocs", "goroutine", "block", "mutex"} {
        f, _ := os.Create(n); pprof.Lookup(n).WriteTo(f, 0); f.Close() }
}
"""

REPORTS = ["-top", "-tree", "-peek=o", "-traces", "-tags", "-comments", "-dot", "-callgrind", "-raw",
           "-list=main.hash"]
# Rows for each report and profile; {other} is a second profile of the same kind.
OPTIONS = ["", "-cum", "-functions", "-filefunctions", "-files", "-lines", "-addresses", "-noinlines",
           "-lines -showcolumns", "-nodecount=5", "-nodecount=7 -nodefraction=0 -edgefraction=0",
           "-nodefraction=0.1", "-edgefraction=0.2", "-trim=false", "-call_tree", "-relative_percentages -focus=o",
           "-compact_labels", "-focus=a", "-ignore=a", "-hide=ru", "-show=main", "-show_from=main",
           "-prune_from=main", "-focus=no_such_thing", "-sample_index=0", "-sample_index=1", "-divide_by=3",
           "-unit=us", "-unit=", "-unit=kb", "-drop_negative", "-diff_base={other}", "-base={other}",
           "-normalize -diff_base={other}", "-drop_negative -diff_base={other}", "{other}"]
LABELS = ["-tagfocus=read", "-tagfocus=kind=write", "-tagignore=kind=read", "-tagfocus=read,write",
          "-tagshow=kind", "-taghide=kind", "-tagroot=kind", "-tagleaf=kind", "-tagroot=kind,host"]
BYTES = ["-tagfocus=1kb:", "-tagfocus=:512b", "-tagignore=bytes=64b:2kb", "-tagleaf=bytes", "-inuse_objects",
         "-alloc_space", "-sample_index=alloc_objects", "-mean -sample_index=alloc_space"]
# Where pprof has sums beside means; where all is zero, since nothing is left to normalize.
ON_PURPOSE = re.compile(r"(-tree|-peek\S*|-dot|-list\S*) .*-mean|ours_mem.*-normalize")

# Words that pprof of Go before 1.22 did not know, or put otherwise: columns, labels, tags.
OLDER = re.compile(r"-showcolumns|-tags|-raw|-traces|-addresses")


@functools.cache
def pprof():
    """The program itself: `go tool` takes longer to find it than it takes for a report."""
    if "PPROF" in os.environ:
        return shlex.split(os.environ["PPROF"])
    subprocess.run(["go", "tool", "pprof", "-help"], capture_output=True)  # built, where it is not
    found = subprocess.run(["go", "tool", "-n", "pprof"], capture_output=True, text=True).stdout.strip()
    return [found] if os.access(found, os.X_OK) else ["go", "tool", "pprof"]


def is_older():
    return "showcolumns" not in subprocess.run([*pprof(), "-help"], capture_output=True, text=True).stderr


def profiles():
    """(name, path, another of its kind, has labels, has numbers of bytes)."""
    folder = pathlib.Path(scratch())
    env = {**os.environ, "GOCACHE": str(folder / "cache"), "HOME": str(folder)}
    (folder / "m.go").write_text(GO)
    subprocess.run(["go", "build", "-o", "m", "m.go"], cwd=folder, env=env, check=True)
    for name in ("one", "two"):
        (folder / name).mkdir()
        subprocess.run([folder / "m"], cwd=folder / name, check=True)
    for name in ("one", "two"):
        command = program("alloc_truth", 4, 200) if (BUILD / "tests/programs/alloc_truth").exists() \
            else ["xz", "--version"]
        subprocess.run([SONDE, "run", "--mem=exact", "-o", folder / name / "ours_mem", *command],
                       capture_output=True)
        subprocess.run([SONDE, "run", "--cpu=1000", "-o", folder / name / "ours_cpu", "python3", "-c",
                        "s = [str(i) * 3 for i in range(300000)]; s.sort(); print(len(set(s)))"],
                       capture_output=True)
    for name, labels, numbers in (("cpu", True, False), ("heap", False, True), ("allocs", False, True),
                                  ("goroutine", False, False), ("block", False, False),
                                  ("mutex", False, False), ("ours_cpu", False, False),
                                  ("ours_mem", False, True)):
        if (folder / "one" / name).exists():
            yield name, folder / "one" / name, folder / "two" / name, labels, numbers


def rows():
    chance = random.Random(7)
    for name, path, other, labels, numbers in profiles():
        options = OPTIONS + LABELS * labels + BYTES * numbers
        for i, report in enumerate(REPORTS):
            # Each option with two of the reports, each report with all that change much.
            for k, option in enumerate(options):
                if (k + i) % 4 == 0 or option == "":
                    yield name, path, other, report, option
        for _ in range(6 + int(os.environ.get("SN_SAME_RANDOM", 0))):
            yield name, path, other, chance.choice(REPORTS), " ".join(chance.sample(options, 2))


def words(path, other, report, option):
    listed = [w.format(other=other) for w in option.split()]
    return ["-symbolize=none", report, *[w for w in listed if w.startswith("-")],
            str(path), *[w for w in listed if not w.startswith("-")]]


def normal(text):
    """Go before 1.20 words the time otherwise."""
    return re.sub(rb"Time: [^\n\\]*", b"Time:", text)


def shape(text):
    """Lines in no order, and boxes without their numbers: what does not depend on ties."""
    return sorted(re.sub(rb"\bN\d+(_\d+)?\b|node\d+", b"N", line) for line in text.splitlines())


def differs(row):
    """None: the same. "ties": as pprof itself differs from one run to the next. Else why."""
    name, path, other, report, option = row
    arguments = words(path, other, report, option)
    env = {**os.environ, "TZ": "UTC", "PPROF_TMPDIR": str(path.parent)}
    run = lambda command: subprocess.run([*command, *arguments], capture_output=True, env=env,
                                         timeout=100)
    theirs, ours = run(pprof()), run([SONDE, "pprof"])
    if (theirs.returncode == 0) != (ours.returncode == 0):
        return (f"status {ours.returncode}, not {theirs.returncode}: {ours.stderr[-300:]} "
                f"{theirs.stderr[-300:]}")
    got, want = normal(ours.stdout), normal(theirs.stdout)
    if theirs.returncode != 0 or got == want:
        return None
    again = [normal(run(pprof()).stdout) for _ in range(5)]
    shapes, runs = [shape(x) for x in (want, *again)], len({want, *again})
    # In a difference, weights of opposite signs tie: pprof sorts them as its maps come, and of its
    # redundant edges loses those that come first.
    # In a call tree nodes of one name tie, too, and pprof's sort is not stable: what was in order before a cut
    # is in no order after it.
    if "-call_tree" in option and shape(got) in shapes:
        return "ties"
    boxes = lambda lines: [line for line in lines if b" -> " not in line]
    if got in again or runs > 3 or ("{other}" in option and (
            runs > 1 or boxes(shape(got)) in map(boxes, shapes))) or (runs > 1 and (shape(got) in shapes or
                                                  any(x != shapes[0] for x in shapes))):
        return "ties"  # also of what is still shown
    a, b = want.splitlines(), got.splitlines()
    at = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
    return "\n".join([f"pprof's own runs: {runs}; line {at + 1}: pprof, then sonde:",
                      *map(repr, a[at:at + 3] + b[at:at + 3])])


def test_same():
    if missing("go"):
        return skip("the same as go tool pprof", "go is not installed")
    seen = set()
    older = is_older()
    todo = [r for r in rows() if not ON_PURPOSE.search(f"{r[0]} {r[3]} {r[4]}")
            and not (older and OLDER.search(f"{r[3]} {r[4]}"))
            and not (r[2:] in seen or seen.add(r[2:]))]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        results = list(pool.map(differs, todo))
    for (name, _, _, report, option), why in zip(todo, results):
        if why not in (None, "ties"):
            ok(False, f"{name}: {report} {option.replace('{other}', 'OTHER')}")
            note(why)
    ties = results.count("ties")
    ok(results.count(None) + ties == len(todo), f"{len(todo) - ties} reports of real profiles are "
       f"pprof's, to the byte; {ties} but for ties that pprof orders differently in each run")
    ok(ties < len(todo) / 10, "ties are few")


HEAP = ("heap profile: 1: 10 [2: 30] @ heap/1048576\n1: 10 [2: 30] @ 0x401000 0x402000\n"
        "0: 0 [0: 0] @ 0x403000 0x402000\n")
JAVA = ("--- contentionz 1 ---\nformat = java\nresolution = microseconds\nsampling period = 2\n\n"
        " 70 3 @ 0x3 0x4\n\n0x3 com.x.f (F.java:12)\n0x4 com.x.main (F.java:9)\n")
# g is called from two lines of f and one of h, and each of them by one line of main.
SITES = ("--- contentionz 1 ---\nformat = java\nresolution = microseconds\nsampling period = 2\n\n"
         " 70 3 @ 0x3 0x4 0x5\n 50 5 @ 0x3 0x6 0x5\n 20 9 @ 0x3 0x7 0x5\n\n0x3 g (F.java:12)\n"
         "0x4 f (F.java:9)\n0x6 f (F.java:8)\n0x7 h (F.java:7)\n0x5 main (F.java:3)\n")


def numbered():
    """Three locations and a mapping whose numbers are not 1, 2, 3."""
    message = lambda *fields: b"".join(field(n, v) for n, v in fields)
    packed = lambda *numbers: b"".join(map(varint, numbers))
    texts = ["", "samples", "count", "f", "g", "h", "/bin/p", "kind", "x"]
    samples = [message((1, packed(*ids)), (2, packed(n)), (3, message((1, 7), (2, 8))), (3, message((1, 3), (3, 0))))
               for n, ids in ((5, (700, 3)), (6, (20, 700, 3)))]
    return message((1, message((1, 1), (2, 2))), *((2, s) for s in samples),
                   (3, message((1, 9), (2, 0x1000), (3, 0x9000), (5, 6))),
                   *((4, message((1, i), (2, 9), (3, 0x1000 + i), (4, message((1, i), (2, 1)))))
                     for i in (20, 700, 3)),
                   *((5, message((1, i), (2, name))) for i, name in ((20, 3), (700, 4), (3, 5))),
                   *((6, text) for text in texts))


NAMES = """_ZN3foo3barEi _ZNSt6vectorIiSaIiEE9push_backERKi _RNvCs1234_7mycrate3foo
_ZN4core3fmt5write17h0123456789abcdefE _ZN3fooL3barEv.isra.0 __ZN3foo3barEi a.<init> f< foo.part.3
std::vector<int>::push_back(int) foo(int) main.(*Bar[...]).M x::y(a)::z(b) _ZN12_GLOBAL__N_13fooEv
(anonymous-namespace)::f(int) operator<<(int) a::operator()(int) _ZN1A1BIiEclEv _ZZ4mainENKUlvE_clEv
_Z3fooiz _ZNK3FooIiE3barERKS0_ _Z1fILi3EEvv _ZN1AcviEv _ZN1AltERKS_ _ZN1AlsIiEERS_RKT_ x::operator<=>
_ZN9__gnu_cxxeqIPcSt6vectorIcSaIcEEEEbRKNS_17__normal_iteratorIT_T0_EESA_ a)::b( _Z _ZN _R a<b>>::c
_ZN9__gnu_cxxmiIPiSt6vectorIiSaIiEEEENS_17__normal_iteratorIT_T0_E15difference_typeERKS8_SB_""".split()


def named():
    """A function of each of NAMES."""
    message = lambda *fields: b"".join(field(n, v) for n, v in fields)
    texts = ["", "cpu", "nanoseconds", "/no/such/program", *NAMES]
    return message((1, message((1, 1), (2, 2))),
                   (3, message((1, 1), (2, 0x1000), (3, 0x9000), (5, 3), *((n, 1) for n in range(7, 11)))),
                   *(x for i in range(1, len(NAMES) + 1) for x in (
                       (2, message((1, varint(i)), (2, varint(i)))),
                       (4, message((1, i), (2, 1), (3, 0x1000 + i), (4, message((1, i))))),
                       (5, message((1, i), (2, i + 3), (3, i + 3))))),
                   *((6, text) for text in texts))


def test_names():
    """Names that a profile carries are demangled, and cut, as pprof does."""
    if missing("go") or is_older():
        return skip("names as go tool pprof", "go of 1.22 or later is not installed")
    path = pathlib.Path(scratch()) / "named"
    path.write_bytes(named())
    for mode in ("local", "none", "force", "demangle=none", "demangle=templates", "demangle=full"):
        run = lambda command: [line.split(None, 5)[5] for line in subprocess.run(
            [*command, f"-symbolize={mode}", "-top", "-nodefraction=0", path], capture_output=True, text=True,
            env={**os.environ, "PPROF_TMPDIR": str(path.parent)}, timeout=100).stdout.splitlines()
                                  if "%" in line and "flat%" not in line and "nodes" not in line]
        want, got = run(pprof()), run([SONDE, "pprof"])
        ok(len(want) > 20 and want == got, f"-symbolize={mode}")
        for theirs, ours in zip(want, got):
            if theirs != ours:
                note(f"pprof: {theirs}")
                note(f"sonde: {ours}")


HOSTILE = [b"<script>alert(1)</script>", b'"onload="x', b"'a'&amp;<b>", b"a\nb\tc\x01", b"</title><svg onload=x>",
           b'\\"; digraph', b"\xe9\xff", b"x\xed\xa0\x80y", b"]]>", b"-->", b"javascript:alert(1)"]


def hostile():
    """Functions, files, an object and labels with such names."""
    message = lambda *fields: b"".join(field(n, v) for n, v in fields)
    n, files = len(HOSTILE), [b"/no/<img src=x onerror=alert(1)>.c", b'/no/"q".c', b"../../no/a\nb.c"]
    texts = [b"", b"cpu", b"nanoseconds", b"/bin/<b>no", b"<k>", b"<v>&\"'", *HOSTILE, *files]
    return message((1, message((1, 1), (2, 2))), (3, message((1, 1), (2, 0x1000), (3, 0x9000), (5, 3), (7, 1))),
                   *(x for i in range(1, n + 1) for x in (
                       (2, message((1, varint(i) + varint(i % n + 1)), (2, varint(i * 10)),
                                   (3, message((1, 4), (2, 5))))),
                       (4, message((1, i), (2, 1), (3, 0x1000 + i), (4, message((1, i), (2, 1))))),
                       (5, message((1, i), (2, i + 5), (3, i + 5), (4, 6 + n + i % 3))))),
                   *((6, text) for text in texts))


class Tags(html.parser.HTMLParser):
    """What a page would run."""

    def __init__(self, text):
        super().__init__()
        self.bad, self.scripts = [], 0
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.scripts += tag == "script"
        self.bad += [(tag, k, v) for k, v in attributes
                     if k.startswith("on") or "javascript:" in (v or "") or tag == "img"]


def test_hostile_names():
    """Names are text, whatever is in them: for pictures and pages; reports are pprof's."""
    path = pathlib.Path(scratch()) / "hostile"
    path.write_bytes(hostile())
    run = lambda command, *words: subprocess.run(
        [*command, "-symbolize=none", *words, path], capture_output=True, timeout=100,
        env={**os.environ, "TZ": "UTC", "PPROF_TMPDIR": str(path.parent)}).stdout
    page = Tags(run([SONDE, "pprof"], "-weblist=.").decode(errors="replace"))
    ok(page.bad == [] and page.scripts == 0, f"weblist runs nothing: {page.bad}")
    picture = run([SONDE, "pprof"], "-svg")
    xml.dom.minidom.parseString(picture)
    own = Tags(picture.decode(errors="replace")).scripts
    ok(own <= 1 and b"<script>alert" not in picture, "svg is XML, with the script of its own only")
    boxes = [line for line in run([SONDE, "pprof"], "-dot").splitlines() if b"<k>" in line]
    ok(boxes and all(b'<k>:<v>&\\"' in line for line in boxes), "dot: a quote within a label is escaped")
    for form in ("-speedscope", "-firefox"):
        ok(json.loads(run([SONDE, "pprof"], form)), f"{form} is JSON")
    if missing("go") or is_older():
        return skip("reports as go tool pprof", "go of 1.22 or later is not installed")
    for words in (["-top"], ["-tree"], ["-peek=^.+$"], ["-traces"], ["-raw"], ["-tags"], ["-callgrind"],
                  ["-top", "-focus=^..$"], ["-top", "-ignore=x...y"]):
        want, got = run(pprof(), *words), run([SONDE, "pprof"], *words)
        ok(want == got and want, " ".join(words))


def test_programs_and_numbers():
    """A program beside a profile without mappings, merged with one that has; numbers kept; labels
    that are 0, which in a message are none; call sites of a tree that are of one function."""
    if missing("go"):
        return skip("programs and numbers as go tool pprof", "go is not installed")
    folder = pathlib.Path(scratch())
    (folder / "heap").write_text(HEAP)
    (folder / "java").write_text(JAVA)
    (folder / "numbered").write_bytes(numbered())
    (folder / "sites").write_text(SITES)
    other, heap, java, odd, sites = (str(folder / n)
                                     for n in ("other", "heap", "java", "numbered", "sites"))
    (folder / "other").write_bytes(SONDE.read_bytes())
    for row in [["-top", other, heap], ["-raw", other, heap], ["-callgrind", other, heap],
                ["-raw", other, java], ["-top", f"-base={java}", other, java], ["-raw", java, java],
                ["-raw", "-buildid=abcd", heap], ["-raw", odd], ["-raw", other, odd],
                ["-callgrind", "-call_tree", sites], ["-tags", heap], ["-traces", heap], ["-tags", odd], ["-traces", "-tagleaf=bytes", heap],
                ["-raw", "-tagroot=kind", "-tagleaf=none,kind", odd], ["-raw", odd, odd]]:
        if "-raw" in row and is_older():
            continue
        run = lambda command: subprocess.run(
            [*command, "-symbolize=none", *row], capture_output=True,
            env={**os.environ, "TZ": "UTC", "PPROF_TMPDIR": str(folder)}, timeout=100).stdout
        want, got = run(pprof()), run([SONDE, "pprof"])
        ok(got == want and want, " ".join(os.path.basename(w) for w in row))


main(globals())
