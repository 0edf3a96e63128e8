"""efence: what a block of 24 bytes costs, and how many there can be at once."""

import os
import re
import statistics
import subprocess

from common import BUILD, LIBRARIES, OUT, Chapter, compile_c, show

LIBSONDE = str(BUILD / "libsonde.so")
ELECTRIC = next((p for p in ("/usr/lib/libefence.so.0", f"{LIBRARIES}/libefence.so.0")
                 if os.path.exists(p)), None)
LIVE = 1_200_000
PAIRS = 200_000


def sonde(by=None, settings="efence"):
    variables = {"LD_PRELOAD": LIBSONDE, "SONDE": f"{settings},quiet"}
    return {**variables, "SONDE_EFENCE_BY": by} if by else variables


# name → program, environment, times less work
CONTENDERS = {
    "plain": ("efence_load", {}, 1),
    "Sonde": ("efence_load", sonde(), 1),
    "Sonde, left": ("efence_load", sonde(settings="efence=left"), 1),
    "Sonde, by userfaultfd": ("efence_load", sonde("userfaultfd"), 1),
    "Sonde, by mprotect": ("efence_load", sonde("mprotect"), 2),
    "AddressSanitizer": ("efence_load_asan", {}, 1),
    "electric-fence": ("efence_load", {"LD_PRELOAD": ELECTRIC or ""}, 8),
    "electric-fence, frees protected": (
        "efence_load", {"LD_PRELOAD": ELECTRIC or "", "EF_PROTECT_FREE": "1"}, 20),
}


def load(name, what, n):
    """Its figures; a fence that has no room for more ends the program."""
    program, variables, _ = CONTENDERS[name]
    done = subprocess.run([OUT / program, what, str(n)], env={**os.environ, **variables},
                          capture_output=True, text=True)
    said = {}
    for key, figure in re.findall(r"^(us|live) ([\d.]+)$", done.stdout, re.M):
        said[key] = float(figure)
    return said, done.stderr


def live_text(name):
    said, warned = load(name, "live", LIVE)
    count = said.get("live", 0)
    more = re.search(r"(\d+) blocks are fenced, and at most (\d+)", warned)
    if more:
        return f"{int(more[2]):,}, then a sample"
    return f"{count:,.0f}{'' if count < LIVE else ' (all)'}"


def measure(rounds):
    compile_c("efence_load.c", "efence_load", "-fno-builtin")
    compile_c("efence_load.c", "efence_load_asan", "-fno-builtin", "-fsanitize=address")
    here = [n for n in CONTENDERS if ELECTRIC or "electric" not in n]
    if not ELECTRIC:
        print("(electric-fence: it is not installed)")
    figures = {name: [] for name in here}
    for i in range(rounds):
        show(f"efence: round {i + 1} of {rounds}")
        for name in here:
            said, _ = load(name, "pairs", PAIRS // CONTENDERS[name][2])
            if "us" in said:
                figures[name].append(said["us"])
    rows = [["", "µs a block", "live blocks"]]
    for name in here:
        cost = f"{statistics.median(figures[name]):.2f}" if figures[name] else "ends"
        rows.append([name, cost, live_text(name)])
    show("")
    yield "", rows
    yield "What was to be reached", [
        ["", "figure", "bound"],
        ["Sonde: µs a block", rows[2][1], "6"],
        ["Sonde: live blocks", rows[2][2], "1,000,000"]]


CHAPTERS = {"efence": Chapter("Fences", """
A block of 24 bytes is allocated, written to and freed (bench/efence_load.c): microseconds of CPU
time; and as many as there can be, up to 1,200,000, are held, each written to. *Sonde* takes the
first way that the kernel has, which is guard pages here. AddressSanitizer compiles checks into the
program instead, and gives freed addresses out again; electric-fence does so, too, unless told to
protect them.
""", measure)}
