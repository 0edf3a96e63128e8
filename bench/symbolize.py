"""Symbolising: addresses of a big C++ program, by Sonde and by its peers, and whether they agree."""

import collections
import gzip
import os
import random
import re
import shutil
import statistics
import struct
import tempfile

import symbolize_gen
from common import BUILD, OUT, Chapter, compile_c, run, run_for_peak, show
from pprof import message, numbers
from wire import field, varint

MEGABYTES = 150
SIZES = [1_500, 10_000, 100_000]
BASE = 0x555555554000  # where the program is as if loaded


# ---- the program and its addresses --------------------------------------------------------------


def code_of(path):
    """Of the segment with the code: (address, offset, size); and where .text is, (from, to)."""
    with open(path, "rb") as file:
        data = file.read()
    at, n = struct.unpack_from("<Q", data, 32)[0], struct.unpack_from("<H", data, 56)[0]
    for i in range(n):
        kind, flags, offset, address, _, size = struct.unpack_from("<IIQQQQ", data, at + 56 * i)
        if kind == 1 and flags & 1:
            segment = address, offset, size
    at, (n, names) = struct.unpack_from("<Q", data, 40)[0], struct.unpack_from("<HH", data, 60)
    sections = [struct.unpack_from("<IIQQQQ", data, at + 64 * i) for i in range(n)]
    for name, _, _, address, _, size in sections:
        if data[sections[names][4] + name:].startswith(b".text\0"):
            return segment, (address, address + size)


def write_proto(path, program, segment, addresses):
    """profile.proto: each address is a sample."""
    address, offset, size = segment
    strings = [b"", b"samples", b"count", str(program).encode()]
    parts = [field(1, field(1, 1) + field(2, 2))]
    parts += [field(2, field(1, varint(i)) + field(2, varint(1)))
              for i in range(1, len(addresses) + 1)]
    parts.append(field(3, field(1, 1) + field(2, BASE + address) +
                       field(3, BASE + address + size) + field(4, offset) + field(5, 3)))
    parts += [field(4, field(1, i) + field(2, 1) + field(3, BASE + a))
              for i, a in enumerate(addresses, 1)]
    parts += [field(6, s) for s in strings]
    with open(path, "wb") as file:
        file.write(gzip.compress(b"".join(parts), 1))


def write_legacy(path, program, segment, addresses):
    """gperftools' CPU profile, as google-pprof reads it."""
    address, offset, size = segment
    words = [0, 3, 0, 10_000, 0]
    for a in addresses:
        words += [1, 1, BASE + a]
    maps = f"{BASE + address:x}-{BASE + address + size:x} r-xp {offset:08x} 00:00 1 {program}\n"
    with open(path, "wb") as file:
        file.write(struct.pack(f"<{len(words) + 3}Q", *words, 0, 1, 0) + maps.encode())


def write_plain(path, program, segment, addresses):
    with open(path, "w") as file:
        file.writelines(f"{a:#x}\n" for a in addresses)


# ---- the contenders -----------------------------------------------------------------------------

# command: {program}, {input}, {output} stand for paths.
Tool = collections.namedtuple("Tool", "name needs write command")
SONDE, LLVM = "Sonde", "llvm-symbolizer"
TOOLS = [
    Tool(SONDE, BUILD / "sonde", write_proto,
         "{sonde} proto --symbolize=force --output={output} {input}"),
    Tool(LLVM, "llvm-symbolizer", write_plain,
         "llvm-symbolizer --inlines -e {program} < {input} > {output}"),
    Tool("addr2line -i", "addr2line", write_plain,
         "addr2line -i -f -C -e {program} < {input} > {output}"),
    Tool("eu-addr2line -i", "eu-addr2line", write_plain,
         "eu-addr2line -i -f -C -e {program} < {input} > {output}"),
    Tool("go tool pprof", "go", write_proto,
         "go tool pprof -symbolize=force -proto -output={output} {input}"),
    Tool("google-pprof", "google-pprof", write_legacy,
         "google-pprof --text --lines {program} {input} > {output}"),
]
SLOW, LIMIT = 10, 60  # seconds: after one such run there is no other; when it is given up


def field_of():
    found = []
    for tool in TOOLS:
        if shutil.which(tool.needs) or os.path.exists(tool.needs):
            found.append(tool)
        else:
            print(f"({tool.name}: {tool.needs} is not installed)")
    return found


def command_of(tool, program, given, output):
    """Through a shell, for its input and output."""
    words = {"sonde": BUILD / "sonde", "program": program, "input": given, "output": output}
    return ["sh", "-c", f"timeout {LIMIT} {tool.command.format(**words)} || test $? = 124"]


# ---- whether they agree -------------------------------------------------------------------------


def frames_of_proto(path):
    """{address: [(function, file, line), ...]}, innermost first."""
    with open(path, "rb") as file:
        data = file.read()
    top = message(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data)
    strings = [s.decode() for s in top[6]]
    one = lambda m, n: m[n][0] if m[n] else 0
    functions = {one(m, 1): (strings[one(m, 3)], strings[one(m, 4)])
                 for m in map(message, top[5])}
    return {one(m, 3) - BASE: [(*functions[one(line, 1)], one(line, 2))
                               for line in map(message, m[4])]
            for m in map(message, top[4])}


def frames_of_llvm(path, addresses):
    blocks = open(path).read().split("\n\n")
    found = {}
    for address, block in zip(addresses, blocks):
        lines = block.strip().split("\n")
        found[address] = [(name, *re.fullmatch(r"(.*):(\d+):\d+", place).groups())
                          for name, place in zip(lines[::2], lines[1::2])]
    return found


def clean(frame):
    name, file, line = frame
    known = file not in ("??", "")
    return ("" if name == "??" else name, os.path.normpath(file) if known else "",
            int(line))


# llvm-symbolizer names the outermost function by the symbol table: of the constructors (C) and
# destructors (D) that share an address one or another, of a part or a copy that the compiler made
# its name with .cold, .part.0, .isra.0 or .constprop.0.
VARIANT = re.compile(r"(?<=[CD])[0-5](?=E)|(\.(cold|part|isra|constprop|lto_priv)(\.\d+)?)+$")


def why(ours, theirs):
    """Of frames that differ; None: not explained."""
    if not ours and theirs == [("", "", 0)]:
        return "between functions: known to neither"
    if len(ours) == len(theirs) == 1 and ours[0] == (theirs[0][0], "", 0) and theirs[0][2] == 0:
        return "without debug information, where llvm-symbolizer tells the symbol's file"
    bare = lambda frames: [VARIANT.sub("", f[0]) for f in frames]
    if ours[1:] and len(ours) != len(theirs) or not ours:
        return None
    if [f[1:] for f in ours] == [f[1:] for f in theirs] and ours[:-1] == theirs[:-1] and \
            bare(ours) == bare(theirs):
        return "the same, but for which of its symbols the outermost function is called by"
    return None


def agreement(program, segment, addresses):
    with tempfile.TemporaryDirectory() as directory:
        given, plain = f"{directory}/in.pprof", f"{directory}/in.txt"
        write_proto(given, program, segment, addresses)
        write_plain(plain, program, segment, addresses)
        out = f"{directory}/out"
        run([BUILD / "sonde", "proto", "--symbolize=demangle=none", f"--output={out}", given])
        ours = frames_of_proto(out)
        run(["sh", "-c", f"exec llvm-symbolizer --no-demangle --inlines -e {program} "
                         f"< {plain} > {out}"])
        theirs = frames_of_llvm(out, addresses)
    tally, frames, example = collections.Counter(), 0, None
    for address in addresses:
        mine = list(map(clean, ours.get(address, [])))
        other = list(map(clean, theirs.get(address, [])))
        frames += len(mine)
        reason = "the same" if mine == other else why(mine, other) or "not explained"
        tally[reason] += 1
        if reason == "not explained" and example is None:
            example = address, mine, other
    if example:
        print(f"{example[0]:#x}:\n  ours   {example[1]}\n  theirs {example[2]}")
    rows = [["", "addresses"], *([reason, f"{n:,}"] for reason, n in tally.most_common())]
    return [*rows, ["frames compared", f"{frames:,}"]]


# ---- the chapter --------------------------------------------------------------------------------


def compare(tools, program, segment, addresses, rounds):
    """{name: ([seconds], [bytes])}; each round in random order."""
    tallies = {tool.name: ([], []) for tool in tools}
    with tempfile.TemporaryDirectory() as directory:
        for tool in tools:
            tool.write(f"{directory}/{tool.write.__name__}", program, segment, addresses)
        for i in range(rounds):
            for tool in random.sample(tools, len(tools)):
                seconds, peaks = tallies[tool.name]
                if max(seconds, default=0) > SLOW:
                    continue
                show(f"{len(addresses):,} addresses, round {i + 1} of {rounds}: {tool.name}")
                ran, peak = run_for_peak(command_of(
                    tool, program, f"{directory}/{tool.write.__name__}", f"{directory}/out"),
                    PPROF_TMPDIR=directory, HOME=directory)
                seconds.append(ran.wall), peaks.append(peak)
    show("")
    return tallies


def rows_of(tallies):
    middle = {name: list(map(statistics.median, pair)) for name, pair in tallies.items()}
    seconds, peak = middle[SONDE]
    rows = [["", "seconds", "÷ Sonde", "peak memory", "÷ Sonde"]]
    for name, (s, p) in middle.items():
        if s > LIMIT:
            rows.append([name, f"over {LIMIT}", f"over {LIMIT / seconds:.0f}", "", ""])
        else:
            rows.append([name, f"{s:.2f}", f"{s / seconds:.1f}", f"{p / 1e6:.0f} MB",
                         f"{p / peak:.1f}"])
    return rows


def measure(rounds):
    compile_c("peak.c", "peak")
    program = symbolize_gen.generate(OUT / f"templates-{MEGABYTES}", MEGABYTES, told=show)
    segment, (low, high) = code_of(program)
    tools = field_of()
    generator = random.Random(1)
    for size in SIZES:
        addresses = sorted(generator.sample(range(low, high), size))
        yield f"{size:,} addresses", rows_of(compare(tools, program, segment, addresses, rounds))
        if shutil.which("llvm-symbolizer"):
            yield f"{size:,} addresses: frames of Sonde's and of llvm-symbolizer's", agreement(
                program, segment, addresses)


CHAPTERS = {"symbolize": Chapter("Symbolising", f"""
A C++ program of {MEGABYTES} MB, most of them debug information (bench/symbolize_gen.py: templates,
`-O2 -g`, DWARF 5), and addresses anywhere in its code, each with all calls inlined there. Seconds
are from start to end, *peak memory* is that of the largest process, pages of the program's file
among them. Sonde and `go tool pprof` read and write a profile; google-pprof's is gperftools', and
it prints a table by lines, without inlined calls. What takes more than {LIMIT} s is given up. Which
frames are the same: mangled name, file and line of each, innermost first.
""", measure)}
