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


# 100 MB that live, then collections, each with its time.
HEAP = """
(define keep %s)
(gc)
(define (once) (let ((from (get-internal-run-time))) (gc) (- (get-internal-run-time) from)))
(let loop ((i 0)) (when (< i 9)
  (display (* 1e3 (/ (once) 1.0 internal-time-units-per-second))) (newline) (loop (+ i 1))))
"""
HEAPS = {
    "6.5 million pairs": "(let loop ((i 0) (l '())) (if (< i 6500000) (loop (+ i 1) (cons i l)) l))",
    "100,000 vectors of 1 kB":
        "(let loop ((i 0) (l '())) (if (< i 100000) (loop (+ i 1) (cons (make-vector 127 i) l)) l))",
}
SETTINGS = {"plain": None, "gctrace": "gctrace=1", "allocfreetrace": "allocfreetrace",
            "both": "gctrace=1,allocfreetrace"}
CLOCK = re.compile(r"^gc \d+ @.*?: ([\d.]+)\+([\d.]+)\+([\d.]+) ms clock.* \(forced\) libgc", re.M)


def collections(heap, setting):
    """Milliseconds of CPU that (gc) takes; those for which the world stands still, where told."""
    with tempfile.TemporaryDirectory() as directory:
        environment = {} if setting is None else {
            "LD_PRELOAD": LIBSONDE, "SONDE": f"{setting},quiet,path={directory}"}
        ran = run(["guile", "--no-auto-compile", "-c", HEAP % heap], **environment)
    stops = [sum(map(float, phases)) for phases in CLOCK.findall(ran.warned)[-9:]]
    return list(map(float, ran.said.split())), stops


def late(rounds):
    """What allocfreetrace adds to a collection, by when it has seen what lives."""
    yield ["", *(f"{name}: {what}" for name in HEAPS for what in ["the stop", "CPU"])]
    rows = {way: [way] for way in SETTINGS}
    for name, heap in HEAPS.items():
        figures = {way: ([], []) for way in SETTINGS}
        for i in range(rounds):
            for way, setting in random.sample(list(SETTINGS.items()), len(SETTINGS)):
                show(f"{name}: round {i + 1} of {rounds}, {way}")
                for to, got in zip(figures[way], collections(heap, setting)):
                    to.extend(got)
        show("")
        for way, (whole, stops) in figures.items():
            rows[way] += [f"{statistics.median(stops):.1f} ms" if stops else "",
                          f"{statistics.median(whole):.1f} ms"]
    yield from rows.values()


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
    yield "Guile, a collection of 100 MB that live", list(late(rounds))


CHAPTERS = {"gctrace": Chapter("gctrace", """
The loop (bench/heap_load.c) frees one of 16,384 live blocks and allocates another, of 16 to 4096
bytes. Figures are CPU time, ratios are to the plain runs before and after. gctrace=2 collects
twice as often. Of a collection: for how long the world stands still, by gctrace's line, and how
much CPU it takes in all; gctrace and allocfreetrace each go through what lives, when the world
goes on again.
""", measure_gctrace)}
