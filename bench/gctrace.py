"""gctrace: what its counting costs a loop of malloc and free, and its lines cost Guile."""

import random
import re
import shutil
import statistics
import tempfile

from common import BUILD, OUT, Chapter, compile_c, run, show

PAIRS = 3_000_000
LIBSONDE = str(BUILD / "libsonde.so")
SCHEME = """
(define (build n) (let loop ((i 0) (acc '())) (if (= i n) acc (loop (+ i 1) (cons (make-vector 3 i) acc)))))
(define keep (build 100000))
(let loop ((i 0)) (when (< i 60) (build 100000) (loop (+ i 1))))
"""

WAYS = {
    "plain": {},
    "plain, once more": {},
    "Sonde, off": {"LD_PRELOAD": LIBSONDE},
    "gctrace=1": {"LD_PRELOAD": LIBSONDE, "SONDE": "gctrace=1,quiet,trace_path={}/lines"},
}


def loop(threads):
    """Nanoseconds of CPU a pair, by bench/heap_load.c."""
    def once(environment):
        ran = run([OUT / "heap_load", "loop", PAIRS, 5, 5, threads], **environment)
        return float(re.search(r"^([\d.]+) ([\d.]+)$", ran.said, re.M)[1])
    return once


def guile(environment):
    return run(["guile", "--no-auto-compile", "-c", SCHEME], **environment).cpu


def measure(name, once, ways, rounds):
    """Each way's figures, and its ratios to the mean of the plain runs before and after."""
    figures = {way: ([], []) for way in ways}
    for i in range(rounds):
        show(f"{name}: round {i + 1} of {rounds}")
        before = once({})
        for way in random.sample(list(ways), len(ways)):
            with tempfile.TemporaryDirectory() as directory:
                got = once({k: v.format(directory) for k, v in ways[way].items()})
            after = once({})
            figures[way][0].append(got)
            figures[way][1].append(got / ((before + after) / 2))
            before = after
    show("")
    return {way: tuple(map(statistics.median, f)) for way, f in figures.items()}


def measure_gctrace(rounds):
    compile_c("heap_load.c", "heap_load", "-pthread")
    rows = [["", "1 thread: ns a pair", "÷ plain", "2 threads: ns a pair", "÷ plain"]]
    one, two = (measure(f"{n} threads", loop(n), WAYS, rounds) for n in (1, 2))
    for way in WAYS:
        rows.append([way, f"{one[way][0]:.1f}", f"{one[way][1]:.3f}", f"{two[way][0]:.1f}",
                     f"{two[way][1]:.3f}"])
    yield "A loop of malloc and free: 5 frames", rows
    if not shutil.which("guile"):
        return
    ways = {**WAYS, "gctrace=2": {"LD_PRELOAD": LIBSONDE,
                                  "SONDE": "gctrace=2,quiet,trace_path={}/lines"}}
    rows = [["", "CPU s", "÷ plain"]]
    for way, (cpu, ratio) in measure("guile", guile, ways, rounds).items():
        rows.append([way, f"{cpu:.2f}", f"{ratio:.3f}"])
    yield "Guile, 60 lists of 100,000 vectors: some 60 collections", rows


CHAPTERS = {"gctrace": Chapter("gctrace", """
The loop (bench/heap_load.c) frees one of 16,384 live blocks and allocates another, of 16 to 4096
bytes. Figures are CPU time, ratios are to the plain runs before and after. gctrace=2 collects
twice as often.
""", measure_gctrace)}
