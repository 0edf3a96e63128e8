"""allocfreetrace: what it costs to log every allocation and free, beside who does likewise."""

import collections
import glob
import os
import re
import shutil
import statistics
import tempfile

from common import BUILD, OUT, Chapter, amount, compile_c, run, show

PAIRS = 1_000_000
LIBSONDE = str(BUILD / "libsonde.so")

# less: how many times fewer pairs it is given. {} is a directory of its own.
Tool = collections.namedtuple("Tool", "name needs less prefix environment")
TOOLS = [
    Tool("plain", "/", 1, [], {}),
    Tool("Sonde, to a file", LIBSONDE, 1, [], {
        "LD_PRELOAD": LIBSONDE, "SONDE": "allocfreetrace,path={},quiet"}),
    Tool("Sonde, as text while it runs", str(BUILD / "sonde"), 10, [
        str(BUILD / "sonde"), "run", "--allocfreetrace", "--trace={}/text"], {}),
    Tool("Sonde, mem=exact: no log", LIBSONDE, 1, [], {
        "LD_PRELOAD": LIBSONDE, "SONDE": "mem=exact,path={},quiet"}),
    Tool("heaptrack", "heaptrack", 10, ["heaptrack", "-o", "{}/heaptrack"], {}),
    Tool("valgrind --trace-malloc=yes: no stacks", "valgrind", 100, [
        "valgrind", "--tool=memcheck", "--trace-malloc=yes", "--log-file={}/log"], {}),
    Tool("ltrace -e malloc+free: no stacks", "ltrace", 1000, [
        "ltrace", "-f", "-e", "malloc+free", "-o", "{}/log"], {}),
]


def once(tool, threads):
    """CPU and wall of a pair as the program saw it, and bytes written for each event. Filling
    the blocks that stay is not timed, but written."""
    pairs = PAIRS // tool.less
    live = min(16384, pairs)
    with tempfile.TemporaryDirectory() as directory:
        words = [word.replace("{}", directory) for word in tool.prefix]
        ran = run([*words, OUT / "heap_load", "loop", pairs, 9, 9, threads, live],
                  **{k: v.replace("{}", directory) for k, v in tool.environment.items()})
        cpu, wall = map(float, re.search(r"^([\d.]+) ([\d.]+)$", ran.said, re.M).groups())
        size = sum(map(os.path.getsize, glob.glob(f"{directory}/*")))
        return cpu, wall, size / (2 * pairs + live * threads)


def measure(rounds):
    compile_c("heap_load.c", "heap_load", "-pthread")
    there = [t for t in TOOLS if shutil.which(t.needs) or os.path.exists(t.needs)]
    for tool in [t for t in TOOLS if t not in there]:
        print(f"({tool.name}: {tool.needs} is not installed)")
    for threads in [1, 2]:
        figures = collections.defaultdict(list)
        for i in range(rounds):
            for tool in there:
                show(f"allocfreetrace: round {i + 1} of {rounds}: {tool.name}")
                figures[tool.name].append(once(tool, threads))
        show("")
        rows = [["", "CPU ns a pair", "added", "wall ns a pair", "added", "bytes an event"]]
        plain = [statistics.median(v) for v in zip(*figures["plain"])]
        for name, v in figures.items():
            cpu, wall, size = (statistics.median(x) for x in zip(*v))
            rows.append([name, f"{cpu:.0f}", f"{cpu - plain[0]:.0f}", f"{wall:.0f}",
                         f"{wall - plain[1]:.0f}", amount(size) if size else ""])
        yield f"{threads} thread{'s' if threads > 1 else ''}, a stack of 12", rows


CHAPTERS = {"allocfreetrace": Chapter("Every allocation and free", """
The loop of bench/heap_load.c: one of 16,384 live blocks is freed and another allocated, of 16 to
4096 bytes, below 12 frames. CPU and wall are what the program sees of a pair; of a tool that works
in another process (ltrace, our text), wall says more. Slow tools do fewer pairs. What was to be
reached: 500 ns a pair, to a file.
""", measure)}
