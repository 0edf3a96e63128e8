#!/usr/bin/env python3
"""What the command makes of a fresh profile, beside what Go's pprof makes of it."""

from harness import *

state = {}


def profile():
    if "path" not in state:
        run = preload(program("shares", 1500))
        state["path"], state["program"] = run.files[0], run.command[0]
    return state["path"]


def entries(text):
    """The rows of a top table: (flat, flat %, sum %, cum, cum %, name)."""
    lines = text.splitlines()
    at = next(i for i, line in enumerate(lines) if line.split()[:2] == ["flat", "flat%"])
    return [line.split(None, 5) for line in lines[at + 1:] if line.strip()]


def test_top():
    named = [row[5] for row in entries(sonde("top", "--noinlines", profile()))]
    equal(named[:4], ["forty", "thirty", "twenty", "ten"], "top: the four, in order")
    ok("main" in named and "work" in named, "top: with their callers")
    named = [row[5] for row in entries(sonde("top", profile()))]
    equal(named[0], "burn (inline)", "top: what they all have inlined")


def test_both_grammars():
    first = sonde("top", profile())
    equal(sonde("pprof", "-top", profile()), first, "sonde pprof -top")
    equal(sonde("--top", profile()), first, "sonde --top")
    equal(sonde("-top", state["program"], profile()), first, "with the binary named")


def test_go_agrees():
    """On a profile that carries its names: those of one without depend on who looks them up."""
    go = shutil.which("go", path="/usr/bin:/usr/lib/go/bin") or shutil.which("go")
    if go is None:
        return skip("go tool pprof prints what sonde top prints", "Go is not installed")
    named = record(program("shares", 1500), "--cpu=1000").files[0]
    done = subprocess.run([go, "tool", "pprof", "-top", named], capture_output=True, text=True,
                          env=dict(os.environ, PPROF_TMPDIR="/tmp"), timeout=120)
    equal(done.returncode, 0, "go tool pprof reads the profile")
    equal(entries(sonde("top", named)), entries(done.stdout), "and prints the same table")
    head = lambda text: [line for line in text.splitlines()
                         if line.startswith(("Type:", "Duration:", "Showing", "File:"))]
    equal(head(sonde("top", named)), head(done.stdout), "under the same head")


def test_pictures():
    for verb, magic in [("svg", "<?xml"), ("pdf", "%PDF-"), ("png", "\x89PNG"), ("dot", "digraph")]:
        path = f"{scratch()}/graph.{verb}"
        sonde(verb, "-o", path, profile())
        with open(path, "rb") as file:
            data = file.read()
        ok(data.startswith(magic.encode("latin-1")), f"{verb}: begins as it should")
        if verb in ("svg", "dot"):
            ok(all(name in data.decode() for name in ["forty", "thirty", "twenty", "ten"]),
               f"{verb}: shows the four")
        if verb == "pdf" and not missing("pdftotext"):
            text = subprocess.run(["pdftotext", path, "-"], capture_output=True, text=True).stdout
            ok("forty" in text, "pdf: its text can be searched")


def test_bad_files():
    directory = scratch()
    whole = open(profile(), "rb").read()
    for name, data in [("cut", whole[: len(whole) // 2]), ("empty", b""), ("text", b"hello\n" * 9)]:
        path = f"{directory}/{name}.pprof"
        with open(path, "wb") as file:
            file.write(data)
        done = subprocess.run([str(SONDE), "top", path], capture_output=True, text=True)
        equal((done.returncode, done.stdout), (1, ""), f"{name}: fails with nothing printed")
        ok(path in done.stderr, f"{name}: {done.stderr.strip()}")


main(globals())
