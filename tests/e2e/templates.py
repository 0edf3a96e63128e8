"""A C++ program of templates with calls inlined deep (bench/symbolize_gen.py, a small one): frames
of addresses all over it, set against llvm-symbolizer's."""

import gzip
import random
import subprocess
import sys

from harness import BUILD, ROOT, main, missing, note, ok, scratch, skip, sonde
from pprof import message

sys.path.append(str(ROOT / "bench"))
import symbolize  # noqa: E402
import symbolize_gen  # noqa: E402

symbolize.BUILD = BUILD  # the build that is tested


def check(name, dwarf, compiler):
    absent = missing(compiler, "llvm-symbolizer")
    if absent:
        return skip(name, f"no {absent}")
    program = symbolize_gen.generate(f"{scratch()}/{compiler}-{dwarf}", 3, dwarf, compiler)
    segment, (low, high) = symbolize.code_of(program)
    addresses = sorted(random.Random(7).sample(range(low, high), 4000))
    _, *rows = symbolize.agreement(program, segment, addresses)
    found = dict(rows)
    count = lambda reason: int(found.get(reason, "0").replace(",", ""))
    ok(count("not explained") == 0 and count("the same") > 3000 and
       count("frames compared") > 10_000, f"{name}: {found}")


def test_demangled():
    """Names demangled by the hundred, on all cores, are each its own function's."""
    absent = missing("g++", "c++filt")
    if absent:
        return skip("demangled", f"no {absent}")
    program = symbolize_gen.generate(f"{scratch()}/demangled", 3)
    segment, (low, high) = symbolize.code_of(program)
    given, out = f"{scratch()}/in.pprof", f"{scratch()}/out.pprof"
    symbolize.write_proto(given, program, segment,
                          sorted(random.Random(3).sample(range(low, high), 4000)))
    sonde("proto", "--symbolize=demangle=templates", f"--output={out}", given)
    with open(out, "rb") as file:
        top = message(gzip.decompress(file.read()))
    strings = [s.decode() for s in top[6]]
    pairs = {(strings[(f[3] or [0])[0]], strings[(f[2] or [0])[0]]) for f in map(message, top[5])}
    mangled = [m for m, _ in pairs if m.startswith("_Z")]
    plain = subprocess.run(["c++filt", "-p"], input="\n".join(mangled), capture_output=True,
                           text=True, check=True).stdout.split("\n")
    right = set(zip(mangled, plain))
    wrong = [p for p in pairs if p[0].startswith("_Z") and p not in right]
    ok(len(mangled) > 1000 and not wrong, f"demangled: {len(mangled)} names, {len(wrong)} wrong")
    if wrong:
        note(wrong[:3])


def test_dwarf_5():
    check("g++, DWARF 5", 5, "g++")


def test_dwarf_4():
    check("g++, DWARF 4", 4, "g++")


def test_clang():
    check("clang++, DWARF 5", 5, "clang++")


main(globals())
