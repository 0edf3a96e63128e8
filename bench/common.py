"""What every benchmark needs: to compile, to run and be told the cost, to print a table."""

import collections
import os
import pathlib
import platform
import re
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
OUT = BUILD / "bench"
sys.path.append(str(ROOT / "tests" / "e2e"))  # behind: it has modules of the same names
from pprof import Profile  # noqa: E402, F401

# A part of the report: its tables come from measure(rounds) as (title, rows).
Chapter = collections.namedtuple("Chapter", "heading text measure")
LIBRARIES = "/usr/lib/x86_64-linux-gnu"


# ---- building and running ---------------------------------------------------------------


def compile_c(source, program, *flags):
    """As distributions do: optimised, without frame pointers."""
    OUT.mkdir(exist_ok=True)
    subprocess.run(["cc", "-O2", "-g", "-fomit-frame-pointer", ROOT / "bench" / source, "-o",
                    OUT / program, *flags], check=True)


Ran = collections.namedtuple("Ran", "said warned cpu wall")


def run(command, **environment):
    """Run it; what it said and warned, CPU seconds (with what it waited for), wall seconds."""
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
    return Ran(said, warned, usage.ru_utime + usage.ru_stime, wall)


def run_for_peak(command, **environment):
    """Run it, under bench/peak.c; (as run has it, the bytes of its largest process's peak)."""
    with tempfile.NamedTemporaryFile("r") as file:
        ran = run([OUT / "peak", file.name, *command], **environment)
        return ran, int(file.read()) * 1024


# ---- the report -------------------------------------------------------------------------


def amount(size):
    for unit in ["B", "KB", "MB", "GB"]:
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000


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
            f"{platform.libc_ver()[1]}, {version('cc', '--version')}")
