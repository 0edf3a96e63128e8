#!/usr/bin/env python3
"""list, disasm and weblist: sources and instructions with their costs, of real programs."""

import html.parser
import os
import pathlib
import re
import shutil
import subprocess

from harness import SONDE, equal, main, missing, near, note, ok, preload, scratch, skip

PROGRAM = r"""
static volatile unsigned long sink;
__attribute__((noinline)) void burn(int n) { /* <script>alert("x")</script> & "quoted" */
    for (volatile int i = 0; i < n; i++)
        sink += (unsigned long)i;
}
static inline __attribute__((always_inline)) int twist(int x) {
    for (volatile int i = 0; i < 2000; i++)
        x = x * 31 + i;
    return x;
}
__attribute__((noinline)) int dive(int depth) {
    burn(1000);
    if (depth > 0) {
        int below = dive(depth - 1);
        return below + twist(depth);
    }
    return 1;
}
int main(void) {
    for (int i = 0; i < 3000; i++)
        sink += (unsigned long)dive(20);
    return 0;
}
"""
TEMPLATES = r"""
#include <algorithm>
#include <vector>
template <class T> struct Box { T v; __attribute__((noinline)) T twice(T n) {
    T s = 0; for (volatile int i = 0; i < 3000; i++) s += n * i; return s; } };
int main() { Box<double> b{1}; double s = 0; for (int i = 0; i < 30000; i++) s += b.twice(i);
    std::vector<double> v(1000, s); std::sort(v.begin(), v.end()); return v[0] == 1; }
"""
GO = """package main
import ("os"; "runtime/pprof")
//go:noinline
func spin(n int) int { s := 0; for i := 0; i < n; i++ { s += i * s }; return s }
func main() { f, _ := os.Create(os.Args[1]); pprof.StartCPUProfile(f)
    s := 0; for i := 0; i < 300; i++ { s += spin(1000000) }
    pprof.StopCPUProfile(); f.Close(); if s == 42 { println(s) } }
"""
made = {}


def call(*words, **options):
    done = subprocess.run([str(SONDE), *map(str, words)], capture_output=True, text=True,
                          timeout=120, **options)
    return done.returncode, done.stdout, done.stderr


def recorded():
    """The program's folder: dive.c, dive, dive.pprof."""
    if "c" not in made:
        folder = pathlib.Path(scratch())
        (folder / "dive.c").write_text(PROGRAM)
        subprocess.run(["gcc", "-O1", "-g", "-o", "dive", folder / "dive.c"], cwd=folder, check=True)
        call("run", "--cpu=1000", "-o", folder / "dive.pprof", folder / "dive")
        made["c"] = folder
    return made["c"]


def milliseconds(word):
    number = re.match(r"[\d.]+", word)
    return 0.0 if word in ("0", ".") else float(number[0]) * {
        "ms": 1, "s": 1000, "us": 1e-3, "mins": 60000}[word[number.end():]]


def routine(text, name):
    """Of a listing: (flat, cum, share), and its lines as (flat, cum, rest)."""
    part = re.search(rf"ROUTINE =+ {re.escape(name)}(?: .*)?\n(.*)\n((?:(?!ROUTINE).*\n)*)", text)
    head = re.match(r" *(\S+) +(\S+) \(flat, cum\) +(\S+)% of Total", part[1])
    lines = [line.split(None, 2) for line in part[2].splitlines() if not line.startswith(" " * 60)]
    return (milliseconds(head[1]), milliseconds(head[2]), float(head[3])), [
        (milliseconds(a), milliseconds(b), c) for a, b, *c in lines if a == "." or a[0].isdigit()]


def test_list():
    status, text, _ = call("list", "^(dive|twist|burn)$", recorded() / "dive.pprof")
    equal(status, 0, "list: status")
    total = milliseconds(re.match(r"Total: (\S+)", text)[1])
    (_, cum, share), lines = routine(text, "dive")
    ok(share <= 100 and cum <= total, f"a function that calls itself counts once: {share} %")
    ok(any("below + twist(depth)" in rest[0] and c > 0 for _, c, rest in lines),
       "the line with the inlined call has its cost")
    (flat, _, _), lines = routine(text, "twist")
    ok(abs(sum(f for f, _, _ in lines) - flat) < 0.02 * total + 0.1, "lines add up to the function")
    ok(flat > 0.3 * total, "an inlined function is listed as one of its own")
    ok('<script>alert("x")</script>' in call("list", "burn", recorded() / "dive.pprof")[1],
       "sources are shown as they are")


def test_list_agrees():
    if missing("go"):
        return skip("list agrees with go tool pprof", "go is not installed")
    path = recorded() / "dive.pprof"
    for name in ("^burn$", "^twist$", "^main$"):
        words = ["-symbolize=none", f"-list={name}", recorded() / "named.pprof"]
        call("proto", "-o", recorded() / "named.pprof", path)
        theirs = subprocess.run(["go", "tool", "pprof", *map(str, words)], capture_output=True,
                                text=True, env={**os.environ, "TZ": "UTC"})
        equal(call("pprof", *words)[1], theirs.stdout, f"-list={name} is go tool pprof's")


def test_disasm():
    path = recorded() / "dive.pprof"
    status, text, warned = call("disasm", "^dive$", path)
    equal(status, 0, "disasm: status")
    (flat, cum, share), lines = routine(text, "dive")
    total = milliseconds(re.match(r"Total: (\S+)", text)[1])
    ok(share <= 100, f"disasm: recursion counts once: {share} %")
    ok(abs(sum(f for f, _, _ in lines) - flat) < 0.02 * total + 0.1,
       "instructions add up to the function")
    ok(";twist dive.c:" in text, "instructions of an inlined function say so")
    ok(re.search(r"\bcall\S* +[0-9a-f]+ <burn>", text), "a call names what it calls")
    address = re.search(r"^ *\S+ +\S+ +([0-9a-f]+): ", text, re.M)[1]
    equal(call("disasm", "0x" + address, path)[1], text, "by address it is the same")
    intel = call("disasm", "--intel_syntax", "^dive$", path)[1]
    ok("%" not in re.sub(r"% of Total", "", intel) and "dword ptr" in intel, "Intel's syntax")


class Page(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.open, self.bad, self.text, self.tags = [], [], "", set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        while self.open and self.open[-1] != tag and self.open[-1] in ("td", "tr", "th"):
            self.open.pop()
        if not self.open or self.open.pop() != tag:
            self.bad.append(tag)

    def handle_data(self, data):
        self.text += data


def test_weblist():
    out = recorded() / "page.html"
    status, _, warned = call("weblist", "-o", out, "^(dive|burn)$", recorded() / "dive.pprof")
    equal(status, 0, "weblist: status")
    page = Page(out.read_text())
    equal((page.bad, page.open), ([], []), "weblist: each element ends")
    ok("script" not in page.tags and '<script>alert("x")</script>' in page.text,
       "what a source holds is text, not markup")
    ok("return below + twist(depth);" in page.text, "weblist: the source")
    ok("x = x * 31 + i;  dive.c:" in page.text, "weblist: under the line, the call inlined into it")
    ok(re.search(r"call\S* +[0-9a-f]+ <burn>", page.text), "weblist: instructions")
    whole = recorded() / "whole.html"  # several functions: what is known of one outlives the next
    call("weblist", "-o", whole, "^(dive|burn|main|twist)$", recorded() / "dive.pprof")
    text = whole.read_text()
    equal(set(re.findall(r"<i>([^<]*):\d+</i>", text)) |
          set(re.findall(r"</b> +(\S*):\d+$", text, re.M)), {"dive.c"}, "weblist: of which file")
    ok(not re.search(r"https?://|src=|href=\"[^#]", out.read_text()), "it needs nothing beside it")


def test_where_sources_are():
    folder = recorded()
    away = folder / "away" / "project"
    away.mkdir(parents=True)
    shutil.move(folder / "dive.c", away / "dive.c")
    try:
        status, text, _ = call("list", "burn", folder / "dive.pprof")
        ok(status == 0 and "Error: open " in text and "dive.c: no such file" in text,
           "a source that is gone is named")
        found = call("list", f"--source_path={away}", f"--trim_path={folder}", "burn",
                     folder / "dive.pprof")[1]
        ok("sink += (unsigned long)i;" in found, "source_path and trim_path find it")
        lost = call("list", f"--source_path={folder}/no:{folder}/away/nothing", f"--trim_path={folder}",
                    "burn", folder / "dive.pprof")[1]
        ok("could not find file dive.c on path" in lost and
           f"  tried {folder}/away/nothing/dive.c" in lost, "the paths that were tried are told")
    finally:
        shutil.move(away / "dive.c", folder / "dive.c")


def test_no_code():
    folder = recorded()
    program, kept, path = folder / "dive", folder / "dive.kept", folder / "dive.pprof"
    call("proto", "-o", folder / "named.pprof", path)
    shutil.move(program, kept)
    try:
        for name, data in (("gone", None), ("cut in half", kept.read_bytes()[:6000]),
                           ("empty", b""), ("another", pathlib.Path("/bin/true").read_bytes())):
            if data is not None:
                program.write_bytes(data)
            status, said, warned = call("disasm", "--symbolize=none", "dive", folder / "named.pprof")
            ok(status == 1 and said == "" and f"regexp dive; {program}: " in warned,
               f"disasm of a program that is {name}: {warned.strip()[:150]}")
            status, _, _ = call("weblist", "--symbolize=none", "-o", folder / "none.html", "dive",
                                folder / "named.pprof")
            equal(status, 0, f"weblist of a program that is {name} has its lines")
    finally:
        shutil.move(kept, program)
    for verb in ("list", "disasm", "weblist"):
        status, said, warned = call(verb, "no_such_function", path)
        ok(status == 1 and said == "" and "no matches found for regexp" in warned, f"{verb}: no match")


def test_between_symbols():
    """Code that no symbol covers is not the function before it."""
    folder = pathlib.Path(scratch())
    (folder / "gap.s").write_text(".globl _start\n.type _start,@function\n_start: nop\nnop\n.size _start, 2\n"
                                  ".skip 30, 0x90\n.globl after\n.type after,@function\nafter: ret\n.size after, 1\n")
    done = subprocess.run(["cc", "-nostdlib", "-static", "-no-pie", "-Wl,-Ttext=0x401000", "-o", "gap", "gap.s"],
                          cwd=folder, capture_output=True)
    if done.returncode != 0:
        return skip("code that no symbol covers", done.stderr.decode()[-200:])
    (folder / "heap").write_text("heap profile: 6: 60 [6: 60] @ heap\n1: 10 [1: 10] @ 0x401002\n"
                                 "2: 20 [2: 20] @ 0x401011\n3: 30 [3: 30] @ 0x401021\nMAPPED_LIBRARIES:\n"
                                 f"00401000-00402000 r-xp 00001000 00:00 0 {folder}/gap\n")
    _, said, _ = call("top", folder / "heap")
    named = {line.split()[5]: line.split()[0] for line in said.splitlines() if "%" in line and "of" not in line
             and "flat" not in line}
    equal(named, {"_start": "10B", "[gap]": "20B", "after": "30B"}, "code that no symbol covers has no name")


def test_binary_path():
    """Each of pprof's layouts below PPROF_BINARY_PATH, for a program that is gone."""
    folder = recorded()
    program = folder / "dive"
    path = preload([str(program)], "cpu=1000,quiet").files[0]  # without names, as libsonde writes it
    build_id = re.search(r"Build ID: ([0-9a-f]+)",
                         call("top", path)[1])[1]
    kept = folder / "dive.away"
    shutil.move(program, kept)
    own = str(folder).lstrip("/")
    try:
        named = re.compile(r"% +dive$", re.M)
        ok(not named.search(call("top", path)[1]), "a program that is gone has no names")
        for place in (f"{build_id}/dive", f"{build_id}/whatever", f"{own}/dive/{build_id}",
                      f"{build_id[:2]}/{build_id[2:]}.debug", "dive", f"{own}/dive",
                      f"{own}/dive.debug", f"{own}/.debug/dive.debug",
                      f"usr/lib/debug/{own}/dive.debug"):
            binaries = pathlib.Path(scratch())
            (binaries / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(kept, binaries / place)
            env = {**os.environ, "PPROF_BINARY_PATH": f"{folder}/none:{binaries}"}
            ok(named.search(call("top", path, env=env)[1]),
               f"found as {place.replace(own, 'PATH').replace(build_id, 'ID')}")
            ok("callq" in call("disasm", "^dive$", path, env=env)[1] or ".debug" in place,
               "... and disassembled")
        home = pathlib.Path(scratch())
        (home / "pprof/binaries").mkdir(parents=True)
        shutil.copy(kept, home / "pprof/binaries/dive")
        for value, seen in ((None, True), ("", True), (str(folder / "none"), False)):
            env = {**os.environ, "HOME": str(home)}
            env.pop("PPROF_BINARY_PATH", None)
            if value is not None:
                env["PPROF_BINARY_PATH"] = value
            equal(bool(named.search(call("top", path, env=env)[1])), seen,
                  f"~/pprof/binaries, with PPROF_BINARY_PATH {'unset' if value is None else repr(value and 'DIR')}")
        env = {k: v for k, v in os.environ.items() if k not in ("HOME", "PPROF_BINARY_PATH")}
        equal(call("top", path, env=env)[0], 0, "... without HOME")
        choose_by_name(path, build_id, kept, named)
        binaries = pathlib.Path(scratch())
        shutil.copy("/bin/true", binaries / "dive")
        env = {**os.environ, "PPROF_BINARY_PATH": str(binaries)}
        status, text, warned = call("top", "--verbose", path, env=env)
        ok(status == 0 and f"{binaries}/dive: is another file" in warned,
           "one with another build id is not taken, and told")
    finally:
        shutil.move(kept, program)


def choose_by_name(path, build_id, program, named):
    """Of many files of that build id the first by name is taken, in whatever order the folder has them:
    one that has symbols, or one that has none."""
    stripped = f"{scratch()}/stripped"
    if missing("strip"):
        return skip("the first by name", "strip is not installed")
    subprocess.run(["strip", "-o", stripped, program], check=True)
    names = [".hidden", "B", "a", "b", "m", "z", "\u00e9"]  # as their bytes sort
    for first in (0, 1, 2, 3):
        for symbols in (True, False):
            binaries = pathlib.Path(scratch())
            (binaries / build_id).mkdir()
            for k in (5, 3, 1, 6, 0, 4, 2):
                if k >= first:
                    shutil.copy(program if (k == first) == symbols else stripped, binaries / build_id / names[k])
            status, out, _ = call("top", path, env={**os.environ, "PPROF_BINARY_PATH": str(binaries)})
            ok((status, bool(named.search(out))) == (0, symbols) and "File: dive\n" in out,
               f"ID/{names[first]} comes before the others, with{'' if symbols else 'out'} symbols")


def test_separate_debug_file():
    if missing("objcopy"):
        return skip("separate debug file", "objcopy is not installed")
    folder = pathlib.Path(scratch())
    shutil.copy(recorded() / "dive.c", folder / "dive.c")
    subprocess.run(["gcc", "-O1", "-g", "-o", "dive", folder / "dive.c"], cwd=folder, check=True)
    for words in (["--only-keep-debug", "dive", "dive.debug"], ["--strip-all", "dive"],
                  ["--add-gnu-debuglink=dive.debug", "dive"]):
        subprocess.run(["objcopy", *words], cwd=folder, check=True)
    call("run", "--cpu=1000", "-o", folder / "dive.pprof", folder / "dive")
    ok("below + twist(depth)" in call("list", "dive", folder / "dive.pprof")[1],
       "list, of a separate debug file")
    ok(";twist dive.c:" in call("disasm", "^dive$", folder / "dive.pprof")[1],
       "disasm, of a separate debug file")


def test_cxx():
    if missing("g++"):
        return skip("C++", "g++ is not installed")
    folder = pathlib.Path(scratch())
    (folder / "box.cc").write_text(TEMPLATES)
    subprocess.run(["g++", "-O2", "-g", "-o", "box", folder / "box.cc"], cwd=folder, check=True)
    call("run", "--cpu=1000", "-o", folder / "box.pprof", folder / "box")
    ok("s += n * i" in call("list", "twice", folder / "box.pprof")[1], "list of a template's method")
    ok("ROUTINE ======================== Box<double>::twice" in
       call("disasm", "Box<double>::twice", folder / "box.pprof")[1], "disasm by its demangled name")


def test_go():
    if missing("go"):
        return skip("Go", "go is not installed")
    folder = pathlib.Path(scratch())
    (folder / "m.go").write_text(GO)
    env = {**os.environ, "GOCACHE": str(folder / "cache"), "HOME": str(folder)}
    subprocess.run(["go", "build", "-o", "m", "m.go"], cwd=folder, check=True, env=env)
    subprocess.run([folder / "m", folder / "cpu.pprof"], check=True)
    ours = call("pprof", "-symbolize=none", "-list=main.spin", folder / "cpu.pprof")[1]
    theirs = subprocess.run(["go", "tool", "pprof", "-symbolize=none", "-list=main.spin",
                             folder / "cpu.pprof"], capture_output=True, text=True, env=env).stdout
    equal(ours, theirs, "list of a Go program is go tool pprof's")
    text = call("disasm", "main.spin", folder / "cpu.pprof")[1]
    ok("ROUTINE ======================== main.spin" in text and "m.go:" in text, "disasm of one")


main(globals())
