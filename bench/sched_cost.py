"""schedtrace: what a sweep costs, by the time on CPUs of the library's own thread."""

import os
import statistics
import subprocess
import time

from common import BUILD, OUT, Chapter, compile_c, show

LIBSONDE = str(BUILD / "libsonde.so")
SECONDS = 3
SOURCES = ["tracepoints", "switch", "proc"]
COUNTS = [10, 100, 1000]


def thread_named(pid, name):
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/comm") as file:
            if file.read().strip() == name:
                return task
    return None


def spent(pid, task):
    with open(f"/proc/{pid}/task/{task}/schedstat") as file:
        return int(file.read().split()[0])


def sweep_us(threads, settings):
    """Microseconds on a CPU for each 100 ms, between the first sweep and the last but one."""
    program = subprocess.Popen([OUT / "sched_load", str(threads), str(SECONDS)],
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                               env={**os.environ, "LD_PRELOAD": LIBSONDE,
                                    "SONDE": f"schedtrace=100,quiet,{settings}"})
    program.stdout.readline()
    time.sleep(0.5)
    task = thread_named(program.pid, "sonde")
    if task is None:
        program.kill()
        program.wait()
        return None
    begin, before = time.monotonic(), spent(program.pid, task)
    time.sleep(SECONDS - 1)
    passed, used = time.monotonic() - begin, spent(program.pid, task) - before
    program.wait()
    return used / 1000 / (passed / 0.1)


def measure(rounds):
    compile_c("sched_load.c", "sched_load", "-pthread")
    rows = [["source", *(f"{n} threads{d}" for n in COUNTS for d in ["", ", detail"])]]
    for source in SOURCES:
        row = [source]
        for threads in COUNTS:
            for detail in [0, 1]:
                show(f"{source}, {threads} threads")
                took = [sweep_us(threads, f"schedsource={source},scheddetail={detail}")
                        for _ in range(rounds)]
                took = [t for t in took if t is not None]
                row.append(f"{statistics.median(took):.0f} us" if took else "not allowed")
        rows.append(row)
    show("")
    yield "", rows


TEXT = """
Microseconds on a CPU that the library's thread takes for each line (with detail: for its lines) of
`schedtrace=100`: reading records between them, and the sweep. Every thread of the program has
run since the sweep before, which is the dearest case. 1000 us each second are 0.1 % of a core: at
`schedtrace=1000` a figure is its share of a core in millionths.
"""

CHAPTERS = {"sched": Chapter("The scheduler's lines", TEXT, measure)}
