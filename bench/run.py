#!/usr/bin/env python3
"""./do bench [cpu] [jitter] [unwind] [startup] [--rounds=N] [--write]

Sonde beside its peers in one run. Every figure is a median over rounds; within a round each
contender runs once, in random order, between two plain runs, and is compared with those. What is
not installed is left out by name. --write keeps the tables in docs/benchmarks.md."""

import os
import pathlib
import platform
import random
import re
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
OUT = BUILD / "bench"
sys.path.insert(0, str(ROOT / "tests" / "e2e"))
from pprof import Profile  # noqa: E402

LIBPROFILER = "/usr/lib/x86_64-linux-gnu/libprofiler.so.0"
UNITS = 8000


# ---- building and running ---------------------------------------------------------------


def compile_all():
    OUT.mkdir(exist_ok=True)
    cc = ["cc", "-O2", "-g", "-fomit-frame-pointer"]
    source = ROOT / "bench"
    subprocess.run([*cc, source / "load.c", "-o", OUT / "load", "-pthread"], check=True)
    subprocess.run([*cc, "-fno-omit-frame-pointer", source / "load.c", "-o", OUT / "load_fp",
                    "-pthread"], check=True)
    subprocess.run([*cc, "-shared", "-fPIC", source / "floor.c", "-o", OUT / "libfloor.so"],
                   check=True)


def run(command, **environment):
    """Run; (standard output, standard error, CPU seconds of it and of what it waited for, wall)."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        begin = time.perf_counter()
        child = subprocess.Popen([str(w) for w in command], stdout=out, stderr=err,
                                 env={**os.environ, **environment})
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - begin
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0), err.seek(0)
        said, warned = out.read().decode(), err.read().decode()
    if child.returncode != 0:
        raise SystemExit(f"{command}: status {child.returncode}: {warned}")
    return said, warned, usage.ru_utime + usage.ru_stime, wall


# ---- the contenders ----------------------------------------------------------------------


class Contender:
    """A way to profile `load`: returns (its output, its samples or None, bytes written, CPU)."""

    program = OUT / "load"

    def __init__(self, hz):
        self.hz = hz

    def __call__(self, arguments, directory):
        raise NotImplementedError


class Plain(Contender):
    name = "plain"

    def __call__(self, arguments, directory):
        said, _, cpu, _ = run([self.program, *arguments])
        return said, None, 0, cpu


class PlainFp(Plain):
    name = "plain, frame pointers"
    program = OUT / "load_fp"


class Sonde(Contender):
    name = "Sonde"

    def __call__(self, arguments, directory):
        said, _, cpu, _ = run([self.program, *arguments], LD_PRELOAD=str(BUILD / "libsonde.so"),
                              SONDE=f"cpu={self.hz},path={directory},quiet")
        profile = Profile(f"{directory}/cpu.pprof")
        self.complete = profile.complete("main", "work")
        return said, profile.cpu_ns * self.hz / 1e9, profile.size, cpu


class Floor(Contender):
    name = "empty handler, same clock"

    def __call__(self, arguments, directory):
        said, warned, cpu, _ = run([self.program, *arguments], FLOOR_HZ=str(self.hz),
                                   LD_PRELOAD=str(OUT / "libfloor.so"))
        return said, int(warned.split()[-1]), 0, cpu


class Libprofiler(Contender):
    name = "libprofiler"
    extra = {}

    def __call__(self, arguments, directory):
        path = f"{directory}/gperf"
        said, _, cpu, _ = run([self.program, *arguments], LD_PRELOAD=LIBPROFILER, CPUPROFILE=path,
                              CPUPROFILE_FREQUENCY=str(self.hz), **self.extra)
        # Its file: words; a header of 5, then (count, depth, pcs...) until a count of 0.
        data = open(path, "rb").read()
        words, at, samples = struct.unpack(f"<{len(data) // 8}Q", data[: len(data) // 8 * 8]), 5, 0
        while at + 1 < len(words) and words[at]:
            samples += words[at]
            at += 2 + words[at + 1]
        return said, samples, len(data), cpu


class LibprofilerReal(Libprofiler):
    name = "libprofiler, REALTIME"
    extra = {"CPUPROFILE_REALTIME": "1"}


class Perf(Contender):
    name = "perf, frame pointers"
    graph = "fp"
    program = OUT / "load_fp"

    def __call__(self, arguments, directory):
        path = f"{directory}/perf.data"
        said, _, cpu, _ = run(["perf", "record", "-q", "-e", "task-clock", "-F", self.hz,
                               "--call-graph", self.graph, "-o", path, "--", self.program,
                               *arguments])
        stats = subprocess.run(["perf", "report", "--stats", "-i", path], capture_output=True,
                               text=True).stdout
        samples = re.search(r"SAMPLE events:\s+(\d+)", stats)
        return said, int(samples[1]) if samples else None, os.path.getsize(path), cpu


class PerfDwarf(Perf):
    name = "perf, dwarf"
    graph = "dwarf"
    program = OUT / "load"


def contenders(threads):
    rates = [100, 1000, 10000]
    chosen = [Sonde(hz) for hz in rates]
    if threads == 1:
        chosen += [Floor(hz) for hz in rates]
    if os.path.exists(LIBPROFILER):
        chosen += [Libprofiler(100), Libprofiler(1000), LibprofilerReal(1000)]
    else:
        print("(libprofiler is not installed)")
    if shutil.which("perf"):
        chosen += [Perf(hz) for hz in rates] + [PerfDwarf(hz) for hz in rates]
    else:
        print("(perf is not installed)")
    return chosen


# ---- CPU ------------------------------------------------------------------------------------


class Tally:
    def __init__(self):
        self.ratio, self.total, self.extra, self.samples, self.size = [], [], [], [], []


def measure_cpu(depth, threads, rounds):
    arguments = [UNITS // threads, depth, threads]
    field = contenders(threads)
    tallies = {c: Tally() for c in field}
    plains = {False: Plain(0), True: PlainFp(0)}
    for i in range(rounds):
        show(f"{depth} frames, {threads} thread(s): round {i + 1} of {rounds}")
        random.shuffle(field)
        for c in field:
            plain = plains[c.program.name == "load_fp"]
            before = plain(arguments, None)
            with tempfile.TemporaryDirectory() as directory:
                said, samples, size, total = c(arguments, directory)
            after = plain(arguments, None)
            base = (int(before[0]) + int(after[0])) / 2
            tally = tallies[c]
            tally.ratio.append(int(said) / base)
            tally.total.append(total / ((before[3] + after[3]) / 2))
            if samples:
                tally.samples.append(samples / (int(said) * c.hz / 1e9))
                tally.extra.append((int(said) - base) / 1e3 / samples)
            tally.size.append(size)
    show("")
    return tallies


def cpu_table(depth, threads, rounds):
    tallies = measure_cpu(depth, threads, rounds)
    rows = [["", "Hz", "CPU of the program", "CPU with the tool's own", "µs a sample",
             "samples ÷ expected", "output"]]
    for c in sorted(tallies, key=lambda c: (ORDER.index(type(c)), c.hz)):
        t = tallies[c]
        rows.append([c.name, str(c.hz), f"{statistics.median(t.ratio):.3f}",
                     f"{statistics.median(t.total):.3f}",
                     f"{statistics.median(t.extra):.1f}" if t.extra else "",
                     f"{statistics.median(t.samples):.3f}" if t.samples else "",
                     amount(statistics.median(t.size)) if any(t.size) else ""])
    return rows


ORDER = [Sonde, Floor, Libprofiler, LibprofilerReal, Perf, PerfDwarf]


def amount(size):
    for unit in ["B", "KB", "MB", "GB"]:
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000


def measure_all_cpu(rounds):
    for depth, threads in [(20, 1), (106, 1), (20, 4)]:
        yield (f"## CPU: {depth} frames, {threads} thread{'s' if threads > 1 else ''}",
               cpu_table(depth, threads, rounds))


# ---- jitter: a program in step with the clock ---------------------------------------------

PARTS = ["forty", "thirty", "twenty", "ten"]


def truth_of(said):
    spent = {w[1]: int(w[2]) for w in map(str.split, said.splitlines()) if w[:1] == ["truth"]}
    return {name: spent[name] / sum(spent.values()) for name in PARTS}


def shares_by_sonde(command, hz, directory):
    said, _, _, _ = run(command, LD_PRELOAD=str(BUILD / "libsonde.so"),
                        SONDE=f"cpu={hz},path={directory},quiet")
    profile = Profile(f"{directory}/cpu.pprof")
    return truth_of(said), {name: profile.under(name) for name in PARTS}


def shares_by_perf(command, hz, directory, rate):
    path = f"{directory}/perf.data"
    said, _, _, _ = run(["perf", "record", "-q", "-e", "task-clock", *rate, "--call-graph", "fp",
                         "-o", path, "--", *command])
    text = subprocess.run(["perf", "script", "-i", path, "-F", "ip,sym"], capture_output=True,
                          text=True).stdout
    stacks = [set(re.findall(r"\w+$", stack, re.M)) for stack in text.split("\n\n") if stack]
    return truth_of(said), {n: sum(n in s for s in stacks) / len(stacks) for n in PARTS}


def measure_jitter(rounds):
    program = BUILD / "tests" / "programs" / "periodic"
    tools = {"Sonde": shares_by_sonde}
    if shutil.which("perf"):
        tools["perf -c, a fixed period"] = lambda command, hz, directory: shares_by_perf(
            command, hz, directory, ["-c", 10**9 // hz])
        tools["perf -F"] = lambda command, hz, directory: shares_by_perf(
            command, hz, directory, ["-F", hz])
    rows = [["repeats every", "sampled at", *(f"{name}: median, worst" for name in tools)]]
    for period_us, hz in [(1000, 1000), (2000, 1000), (3400, 1000), (10000, 100), (3400, 100)]:
        row = [f"{period_us / 1000:g} ms", f"{hz} Hz"]
        for name, shares in tools.items():
            errors = []
            for i in range(rounds):
                show(f"{row[0]}, {row[1]}, {name}: round {i + 1} of {rounds}")
                with tempfile.TemporaryDirectory() as directory:
                    truth, got = shares([program, 2000, period_us], hz, directory)
                errors.append(100 * max(abs(got[n] - truth[n]) for n in PARTS))
            row.append(f"{statistics.median(errors):.1f}, {max(errors):.1f}")
        rows.append(row)
    show("")
    yield "## A program in step with the clock: points off its true split", rows


# ---- start-up ---------------------------------------------------------------------------------


def measure_startup(rounds):
    rounds *= 20
    with tempfile.TemporaryDirectory() as directory:
        library = str(BUILD / "libsonde.so")
        field = {
            "plain": {},
            "Sonde, preloaded": {"LD_PRELOAD": library},
            "Sonde, recording": {"LD_PRELOAD": library, "SONDE": f"cpu,quiet,path={directory}"},
        }
        if os.path.exists(LIBPROFILER):
            field["libprofiler, recording"] = {"LD_PRELOAD": LIBPROFILER,
                                               "CPUPROFILE": f"{directory}/gperf"}
        walls, cpus = {n: [] for n in field}, {n: [] for n in field}
        for i in range(rounds):
            if i % 20 == 0:
                show(f"start-up: round {i + 1} of {rounds}")
            for name in random.sample(list(field), len(field)):
                _, _, cpu, wall = run(["/bin/true"], **field[name])
                walls[name].append(wall)
                cpus[name].append(cpu)
        if shutil.which("perf"):
            walls["perf record"], cpus["perf record"] = [], []
            for _ in range(max(3, rounds // 20)):
                _, _, cpu, wall = run(["perf", "record", "-q", "-g", "-o", f"{directory}/perf",
                                       "--", "/bin/true"])
                walls["perf record"].append(wall)
                cpus["perf record"].append(cpu)
    show("")
    rows = [["`true`", "ms", "more than plain", "CPU ms"]]
    base = statistics.median(walls["plain"])
    for name in walls:
        wall = statistics.median(walls[name])
        rows.append([name, f"{1e3 * wall:.2f}", f"{1e3 * (wall - base):.2f}",
                     f"{1e3 * statistics.mean(cpus[name]):.2f}"])
    yield "## Start-up", rows


# ---- unwinding ----------------------------------------------------------------------------------


def measure_unwind(rounds):
    program, src = OUT / "unwind_ns", ROOT / "src"
    rooms = [*src.glob("unwind/*.c"), *src.glob("unwind/x86_64/*.c"), *src.glob("base/*.c")]
    built = subprocess.run(["cc", "-O2", "-g", "-std=gnu17", "-D_GNU_SOURCE", f"-I{src}",
                            ROOT / "bench" / "unwind_ns.c", *rooms, "-lunwind", "-pthread", "-o",
                            program], capture_output=True, text=True)
    if built.returncode != 0:
        print("(no unwinding without libunwind-dev)")
        return
    said, _, _, _ = run([program])
    cells, depths = {}, []
    for name, frames, ns in re.findall(r"^(.*?)\s+(\d+) frames .*?([\d.]+) ns/frame", said, re.M):
        cells.setdefault(name, []).append(ns)
        if name == next(iter(cells)):
            depths.append(frames)
    yield ("## Unwinding: nanoseconds a frame",
           [["", *(f"{d} frames" for d in depths)], *([n, *row] for n, row in cells.items())])


# ---- the report -------------------------------------------------------------------------------


def show(text):
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def markdown(rows):
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    line = lambda row: "| " + " | ".join(
        c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths))) + " |"
    rule = "|" + "|".join("-" * (w + 1) + ("-" if i == 0 else ":")
                          for i, w in enumerate(widths)) + "|"
    return "\n".join([line(rows[0]), rule, *map(line, rows[1:])])


def version(*command):
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError:
        return "absent"
    return (done.stdout or done.stderr).splitlines()[0]


def machine():
    with open("/proc/cpuinfo") as file:
        model = re.search(r"model name\s*:\s*(.*)", file.read())
    return (f"{os.cpu_count()} cores ({model[1] if model else platform.machine()}), "
            f"Linux {platform.release().split('-')[0]}, {platform.libc_ver()[0]} "
            f"{platform.libc_ver()[1]}, {version('cc', '--version')}, {version('perf', '--version')}")


HEAD = """# Benchmarks

`./do bench --write` wrote this file: Sonde and its peers in one run, on one machine: {machine}.

Each figure is the median of {rounds} rounds. In a round every contender runs once, in random
order, between two plain runs of the same program, and is set against those two. The program
(bench/load.c) does a fixed piece of work of about a second. *CPU of the program* is what its
process used; *with the tool's own* adds what a recording process beside it used. *µs a sample* is
the CPU time added, by sample taken. The *empty handler* is the floor: the same clock with a
handler that does nothing. Below 1.00 is noise, which these machines have plenty of.
"""


def main():
    rounds = next((int(a.split("=")[1]) for a in sys.argv if a.startswith("--rounds=")), 7)
    named = [a for a in sys.argv[1:] if not a.startswith("-")]
    sections = {"cpu": measure_all_cpu, "jitter": measure_jitter, "unwind": measure_unwind,
                "startup": measure_startup}
    if any(n not in sections for n in named):
        raise SystemExit(__doc__)
    compile_all()
    text = HEAD.format(machine=machine(), rounds=rounds)
    for name in named or sections:
        for title, rows in sections[name](rounds):
            table = f"\n{title}\n\n{markdown(rows)}\n"
            print(table, flush=True)
            text += table
    if "--write" in sys.argv:
        (ROOT / "docs" / "benchmarks.md").write_text(text)


main()
