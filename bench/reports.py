"""Reports of large profiles: `go tool pprof` and `sonde pprof` on the same files."""

import os
import pathlib
import random
import shutil
import statistics
import subprocess
import tempfile

from common import BUILD, OUT, Chapter, amount, compile_c, run_for_peak, show

SONDE = BUILD / "sonde"
FUNCTIONS = 20_000
SIZES = [10_000, 100_000]
MILLION = 1_000_000
PEEKED = "package0[01]"

# Name, flags; the files are ONE, or TEN of a fifth of the stacks each, or ANOTHER's difference.
REPORTS = [
    ("top", ["-top"], "one"),
    ("tree", ["-tree"], "one"),
    ("peek", [f"-peek={PEEKED}"], "one"),
    ("dot", ["-dot"], "one"),
    ("svg", ["-svg"], "one"),
    ("pdf", ["-pdf"], "one"),
    ("traces", ["-traces"], "one"),
    ("proto", ["-proto"], "one"),
    ("dot, call_tree", ["-dot", "-call_tree"], "one"),
    ("top of ten", ["-top"], "ten"),
    ("proto of ten", ["-proto"], "ten"),
    ("top, diff_base", ["-top"], "base"),
]


# ---- the profiles ---------------------------------------------------------------------------


def profile(stacks, seed):
    """A compressed profile, made once."""
    path = OUT / f"stacks-{stacks}-{seed}.pb.gz"
    if not path.exists():
        temporary = path.with_suffix(".part")
        with open(temporary, "wb") as file:
            made = subprocess.Popen([OUT / "profile_gen", str(stacks), str(FUNCTIONS), str(seed)],
                                    stdout=subprocess.PIPE)
            subprocess.run(["gzip", "-6"], stdin=made.stdout, stdout=file, check=True)
            if made.wait() != 0:
                raise SystemExit("profile_gen failed")
        temporary.rename(path)
    return path


def files(stacks, which):
    if which == "ten":
        return [profile(stacks // 5, seed) for seed in range(1, 11)]
    one = profile(stacks, 0)
    return [f"-diff_base={profile(stacks, 1)}", one] if which == "base" else [one]


# ---- measuring ------------------------------------------------------------------------------


def contenders():
    found = {"sonde": [SONDE, "pprof"]}
    if shutil.which("go"):
        found["pprof"] = ["go", "tool", "pprof"]
        subprocess.run([*found["pprof"], "-help"], capture_output=True)  # built, where it is not
    return found


def once(command, flags, paths):
    with tempfile.TemporaryDirectory() as directory:
        out = pathlib.Path(directory) / "out"
        ran, peak = run_for_peak([*command, "-symbolize=none", f"-output={out}", *flags, *paths],
                                 PPROF_TMPDIR=directory)
        return ran.wall, peak


def row(name, flags, paths, rounds):
    """Median seconds and bytes of each contender, and of the ratios within a round."""
    tools = contenders()
    figures = {tool: [] for tool in tools}
    for i in range(rounds):
        for tool in random.sample(list(tools), len(tools)):
            show(f"{name}: {tool}, round {i + 1} of {rounds}")
            figures[tool].append(once(tools[tool], flags, paths))
    show("")
    median = lambda values: statistics.median(values)
    ours = figures["sonde"]
    cells = [name, f"{median([t for t, _ in ours]):.3f}", amount(median([m for _, m in ours]))]
    if "pprof" not in figures:
        return [*cells, "", "", "", ""]
    theirs = figures["pprof"]
    return [*cells, f"{median([t for t, _ in theirs]):.2f}",
            amount(median([m for _, m in theirs])),
            f"{median([b[0] / a[0] for a, b in zip(ours, theirs)]):.1f}",
            f"{median([b[1] / a[1] for a, b in zip(ours, theirs)]):.1f}"]


HEAD = ["", "Sonde s", "memory", "pprof s", "memory", "times faster", "times less"]


def measure(rounds):
    compile_c("profile_gen.c", "profile_gen")
    compile_c("peak.c", "peak")
    sizes = [int(s) for s in os.environ.get("SN_BENCH_STACKS", "").split(",") if s] or SIZES
    for stacks in sizes:
        title = f"{stacks:,} stacks, {amount(profile(stacks, 0).stat().st_size)} compressed"
        yield title, [HEAD] + [row(name, flags, files(stacks, which), rounds)
                               for name, flags, which in REPORTS]
    if sizes == SIZES:
        yield (f"{MILLION:,} stacks, once",
               [HEAD, row("top", ["-top"], files(MILLION, "one"), 1)])


CHAPTERS = {"reports": Chapter("Reports of large profiles", f"""
Profiles of distinct stacks of 25 to 55 frames over {FUNCTIONS:,} functions, walks through one call
graph (bench/profile_gen.c), some with labels, compressed. *Times faster* and *times less* (memory,
at its peak) are medians of the ratios within a round; svg and pdf include the layout, which pprof
leaves to Graphviz's dot. *Of ten* merges ten profiles of a fifth of the stacks each.
""", measure)}
