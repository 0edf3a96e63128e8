"""A C++ program of templates with calls inlined deep (bench/symbolize_gen.py, a small one): frames
of addresses all over it, set against llvm-symbolizer's."""

import random
import sys

from harness import BUILD, ROOT, main, missing, note, ok, scratch, skip

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


def test_dwarf_5():
    check("g++, DWARF 5", 5, "g++")


def test_dwarf_4():
    check("g++, DWARF 4", 4, "g++")


def test_clang():
    check("clang++, DWARF 5", 5, "clang++")


main(globals())
