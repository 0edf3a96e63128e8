"""What every end-to-end test shares: where the build is, how a program is run under Sonde, and
TAP (https://testanything.org). A test file is a list of functions and `main(globals())`."""

import faulthandler
import glob
import math
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback

from pprof import Profile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD = pathlib.Path(os.environ.get("SONDE_BUILD", ROOT / "build")).resolve()
LIBRARY = BUILD / "libsonde.so"
SONDE = BUILD / "sonde"
PROGRAMS = BUILD / "tests" / "programs"

HANGS = 230  # seconds; meson's limit is 240

state = {"count": 0, "failed": 0}


def ok(good, name):
    state["count"] += 1
    state["failed"] += not good
    print(f"{'ok' if good else 'not ok'} {state['count']} - {name}", flush=True)
    return good


def equal(got, want, name):
    if not ok(got == want, name):
        note(f"got:  {got!r}")
        note(f"want: {want!r}")


def skip(name, why):
    state["count"] += 1
    print(f"ok {state['count']} - {name} # SKIP {why}", flush=True)


def note(text):
    for line in str(text).splitlines():
        print(f"# {line}", flush=True)


def near(got, want, samples, name, floor=0.004):
    """`got`, a share of `samples`, is within four standard errors of `want`."""
    slack = 4 * math.sqrt(max(want * (1 - want), 0) / max(samples, 1)) + floor
    ok(abs(got - want) <= slack,
       f"{name}: {100 * got:.1f} % of {100 * want:.1f} % (within {100 * slack:.1f})")


def missing(*commands):
    """The first of the commands that this machine lacks."""
    return next((c for c in commands if shutil.which(c) is None), None)


class Run:
    """A program that was run, and what Sonde left behind."""

    def __init__(self, command, directory, done):
        self.command, self.directory = command, directory
        self.status, self.out, self.err = done.returncode, done.stdout, done.stderr
        self.files = sorted(glob.glob(f"{directory}/**/*.pprof", recursive=True))
        self.spools = sorted(glob.glob(f"{directory}/**/*.spool", recursive=True))
        self.profiles = [Profile(f) for f in self.files]

    def with_type(self, name):
        """The profiles that have this sample type."""
        found = [p for p in self.profiles if name in [t for t, _ in p.types]]
        if not found:
            raise AssertionError(f"no profile of {name} from {self.command}: {self.err}")
        return found

    @property
    def profile(self):
        """The CPU profile; where there are several, the one with most samples."""
        return max(self.with_type("cpu"), key=lambda p: p.count)

    @property
    def heap(self):
        """The heap profile; where there are several, the first process's."""
        return min(self.with_type("alloc_space"), key=lambda p: len(p.path))

    @property
    def truths(self):
        """What a truth program says it spent, name → nanoseconds."""
        lines = (line.split() for line in self.out.splitlines())
        return {words[1]: int(words[2]) for words in lines if words and words[0] == "truth"}

    @property
    def shares(self):
        total = sum(self.truths.values())
        return {name: ns / total for name, ns in self.truths.items()}


def scratch():
    return tempfile.mkdtemp(prefix="sonde-e2e-", dir=state["scratch"])


def program(name, *arguments):
    return [str(PROGRAMS / name), *map(str, arguments)]


def preload(command, settings="cpu=1000", directory=None, text=True, behind=(), **options):
    """Run `command` with libsonde preloaded, and other libraries behind it."""
    directory = directory or scratch()
    environment = dict(options.pop("env", os.environ))
    environment["LD_PRELOAD"] = ":".join([str(LIBRARY), *behind])
    environment["SONDE"] = f"{settings},path={directory}"
    options.setdefault("timeout", 120)
    options.setdefault("stdin", subprocess.DEVNULL)
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=text, **options)
    return Run(command, directory, done)


def record(command, *arguments, directory=None, text=True, **options):
    """Run `command` under `sonde run`."""
    directory = directory or scratch()
    options.setdefault("timeout", 120)
    options.setdefault("stdin", subprocess.DEVNULL)
    done = subprocess.run([str(SONDE), "run", *arguments, "-o", f"{directory}/", "--", *command],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=text, **options)
    return Run(command, directory, done)


def sonde(*arguments, **options):
    """Run the command; its standard output."""
    done = subprocess.run([str(SONDE), *map(str, arguments)], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=120, **options)
    if done.returncode != 0:
        note(f"sonde {' '.join(map(str, arguments))}: {done.stderr}")
    return done.stdout


def main(module):
    """Run every function of the test file whose name begins with test_."""
    wanted = sys.argv[1:]
    faulthandler.dump_traceback_later(HANGS, exit=True)  # where, before meson kills the test without a word
    with tempfile.TemporaryDirectory(prefix="sonde-e2e-") as state["scratch"]:
        for key, function in list(module.items()):
            if not key.startswith("test_") or (wanted and key not in wanted):
                continue
            note(key)
            try:
                function()
            except Exception:  # a test that breaks is a test that fails
                ok(False, key)
                note(traceback.format_exc())
    print(f"1..{state['count']}")
    sys.exit(state["failed"] != 0)


__all__ = ["BUILD", "LIBRARY", "SONDE", "PROGRAMS", "Profile", "Run", "equal", "main", "missing",
           "near", "note", "ok", "os", "preload", "program", "record", "scratch", "shutil",
           "signal", "skip", "sonde", "subprocess"]
