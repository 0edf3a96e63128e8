#!/usr/bin/env python3
"""The shell: its grammar beside `go tool pprof`, scripts, and a person at a terminal."""

import pathlib
import re
import select
import stat
import gzip
import time
from tool import *

SLEEPY = {tuple(f"f{(7 * i + k * k) % 97}" for k in range(7)): 1 + i % 9 for i in range(3000)}


def script(profile, *lines, grammar=("shell",), **options):
    return call(*grammar, profile, input="".join(line + "\n" for line in lines), **options)


def session(profile, directory, *lines):
    """The same lines to both: (ours, theirs), without what is ours to say."""
    text = "".join(line + "\n" for line in lines)
    return [subprocess.run([*tool, profile], input=text, capture_output=True, text=True, timeout=60,
                           cwd=directory) for tool in ([str(SONDE), "pprof"], ["go", "tool", "pprof"])]


def heap():
    """A profile of four sample types, as Go's heap is."""
    strings = ["", "alloc_objects", "count", "alloc_space", "bytes", "inuse_objects", "inuse_space", "/bin/made",
               "small", "large", "main"]
    out = b"".join(field(1, field(1, t) + field(2, u)) for t, u in [(1, 2), (3, 4), (5, 2), (6, 4)])
    for leaf, values in [(1, (100, 1600, 50, 800)), (2, (3, 300000, 1, 100000))]:
        out += field(2, field(1, varint(leaf) + varint(3)) + field(2, b"".join(map(varint, values))))
    out += field(3, field(1, 1) + field(2, 4096) + field(3, 1 << 20) + field(5, 7) +
                 b"".join(field(i, 1) for i in (7, 8, 9, 10)))
    for i in (1, 2, 3):
        out += field(4, field(1, i) + field(2, 1) + field(3, 4096 + 16 * i) + field(4, field(1, i) + field(2, i)))
        out += field(5, field(1, i) + field(2, 7 + i) + field(3, 7 + i))
    path = f"{scratch()}/heap.pprof"
    with open(path, "wb") as file:
        file.write(gzip.compress(out + b"".join(field(6, s) for s in strings)))
    return path


SESSIONS = [
    ["top", "top2", "top 3", "top 2 -cum", "top -cum 2", "top --cum", "top forty", "top -forty", "top main -work twenty",
     "text 1", "text2", "top -1", "top 0", "tree", "tree 2", "peek work", "peek ^f.*y$ -cum", "traces", "tags", "comments"],
    ["focus=forty", "top", "ignore=main", "top", ":", "top", "nodecount=2", "top", "top5", "nodecount=-1", "top",
     "granularity=lines", "top", "granularity=files", "top", "sort=cum", "top", "unit=ms", "top", "unit=auto", "top",
     "relative_percentages=true", "focus=thirty", "top", "relative_percentages=f", "top", "hide=work", "tree", "hide=",
     "mean", "top", "mean=0", "call_tree", "tree", "call_tree=false", "compact_labels=false", "top", "trim=n", "top",
     "divide_by=2", "top", "drop_negative=yes", "top"],
    ["samples", "top", "cpu", "top", "mean_cpu", "top", "total_cpu", "top", "sample_index=0", "top",
     "sample_index=samples", "top", "focus = forty //: a remark", "top", "output=", "exit", "top"],
    ["nonsense", "top", "list", "sample_index=9", "trim=perhaps", "nodecount=x", "granularity=zz", "top >", "",
     "   ", "peek", "nodecount", "top"],
    ["top >one.txt", "top2 > two.txt", "tree forty >three.txt", "output=four.txt", "peek work", "output=", "top 1"],
]


def test_beside_pprof():
    if shutil.which("go") is None:
        skip("beside go tool pprof", "no go (golang-go)")
        return
    profile = made()
    for i, lines in enumerate(SESSIONS):
        folders = [scratch(), scratch()]
        ours, theirs = [subprocess.run([*tool, profile], input="\n".join(lines) + "\n", capture_output=True, text=True,
                                       cwd=folder, timeout=60)
                        for tool, folder in zip(([str(SONDE), "pprof"], ["go", "tool", "pprof"]), folders)]
        equal(ours.stdout, theirs.stdout, f"session {i}: the same output, prompts and all")
        equal(ours.returncode, theirs.returncode, "... and status")
        held = [{p.name: p.read_bytes() for p in pathlib.Path(f).iterdir()} for f in folders]
        equal(held[0], held[1], f"... and files: {', '.join(sorted(held[1])) or 'none'}")
        said = [[line.removeprefix("sonde: ") for line in out.stderr.splitlines()] for out in (ours, theirs)]
        equal(said[0][:3], said[1][:3], "... and the same greeting")
    lines = ["alloc_space", "top", "mean_inuse_space", "top", "total_inuse_objects", "top", "inuse_space", "top large"]
    for profile in [heap()]:
        ours, theirs = session(profile, scratch(), *lines)
        equal(ours.stdout, theirs.stdout, "sample types by their names alone")
    for setting in ["", "focus=x", "nodefraction=0.25", "divide_by=1000000", "sort=cum", "nodecount=7", "trim=0",
                    "sample_index=0", "output=o"]:
        ours, theirs = session(profile, scratch(), setting, "o")
        shown = [[line for line in out.stderr.splitlines() if " = " in line and "granularity" not in line and
                  "showcolumns" not in line and "Duration" not in line] for out in (ours, theirs)]
        equal(shown[0], shown[1], f"options after '{setting}'")


def test_script():
    profile = made()
    status, out, err = script(profile, "top1", "quit", "top2")
    equal((status, err), (0, ""), "a script is run without a word")
    ok("forty" in out and "thirty" not in out and "(sonde)" not in out, "... but its reports")
    equal(out, call("top", "--nodecount=1", "--compact_labels", profile)[1], "... which are those of the verbs")
    equal(script(profile, "focus nothing_is_so", "focus thirty", "# a remark", "top1")[1].split()[-1], "thirty",
          "a setting by a space")
    equal(script(profile, "cum", "top1")[1], script(profile, "top1 -cum")[1], "a choice by its name alone")
    ok("lines" in script(profile, "lines", "o")[1], "options are part of the output")
    status, out, err = script(profile, "tpo", "top1")
    ok(status == 1 and "did you mean 'top'" in err and "forty" in out, "a mistake is told, and the script goes on")
    status, out, err = script(profile, "top1", "focus=(", "top", ":", "top1")
    ok(status == 1 and "focus" in err and out.count("forty") == 2, "... also one that only the report sees")
    equal(script(profile, "top1", grammar=["pprof"])[0], 0, "pprof's grammar: always 0, as pprof")
    equal(script("/no/such", "top")[0], 1, "no profile: 1")
    ok("no such" in script("/no/such", "top")[2].lower(), "... and why")
    equal(call("shell")[0], 2, "no word: 2")
    status, out, err = call("shell", "--focus=thirty", "--nodecount=1", profile, input="top\nfocus=\ntop")
    ok(status == 0 and out.count("thirty") == 2 and out.count("forty") == 1, "options are the first settings; no newline")
    equal(call("shell", "-", input="top")[0], 1, "standard input cannot be both")


def test_files():
    profile, folder = made(), scratch()
    status, out, err = script(profile, "top1 >>all", "tree1 >> all", "top >none | cat", "svg", "svg forty", "proto", "dot >d",
                              "pdf -forty >x.pdf", "svg | head -c 5", "top >/no/such/file", cwd=folder)
    held = {p.name: p.read_bytes() for p in pathlib.Path(folder).iterdir()}
    equal(sorted(held), ["all", "d", "profile001.pb.gz", "profile001.svg", "profile002.svg", "x.pdf"], "files by name and number")
    equal(held["all"].decode(), call("top", "-nodecount=1", "-compact_labels", profile)[1] +
          call("tree", "-nodecount=1", "-compact_labels", profile)[1], ">> adds")
    ok(held["x.pdf"].startswith(b"%PDF") and held["d"].startswith(b"digraph") and held["profile001.svg"][:5] == b"<?xml", "... whole")
    ok("Generating report in profile002.svg" in err, "... and said")
    ok(out.endswith("<?xml"), "a picture goes into a pipe")
    ok(status == 1 and "/no/such/file" in err, "a file that cannot be: told")
    equal(call("top", "--nodecount=1", f"{folder}/profile001.pb.gz")[1].split()[-1], "forty", "proto: a profile again")
    status, out, err = script(profile, "pdf('", "svg a(b", cwd=folder)
    ok(not pathlib.Path(folder, "profile003.svg").exists(), "a report that fails leaves no file")


def test_pipes():
    profile = made()
    status, out, err = script(profile, "top | head -1", "top |wc -l", "peek f.*y|work | tail -n +1 | grep -c work", "tree | true",
                              "top | exit 3", "| cat", "top1")
    ok(out.startswith("Showing nodes") and out.splitlines()[1] == "7", "a report through programs")
    ok(int(out.splitlines()[2]) >= 2, "... a '|' in a word is the word's")
    ok("forty" in out and "command before" in err, "... and on")


def test_viewers():
    profile, folder = made(), scratch()
    viewer = pathlib.Path(folder, "browser")
    viewer.write_text(f"#!/bin/sh\ncp \"$1\" {folder}/shown\necho \"$1\" > {folder}/path\n")
    viewer.chmod(0o755)
    status, out, err = script(profile, "web", "top1", env={**os.environ, "BROWSER": str(viewer), "TMPDIR": folder},
                              grammar=["pprof"])
    for _ in range(50):
        if pathlib.Path(folder, "path").exists():
            break
        time.sleep(0.1)
    ok(pathlib.Path(folder, "shown").read_bytes().startswith(b"<?xml"), "web: the browser gets an SVG")
    path = pathlib.Path(folder, "path").read_text().strip()
    ok(path.endswith(".svg") and not pathlib.Path(path).exists(), "... whose file is gone in the end")
    ok("forty" in out, "... and the shell went on")
    for name in ["shown", "path"]:
        pathlib.Path(folder, name).unlink()
    status, out, err = call("pprof", "-web", profile, env={**os.environ, "BROWSER": str(viewer), "TMPDIR": folder})
    equal((status, out, err), (0, "", ""), "pprof -web")
    ok(pathlib.Path(folder, "shown").read_bytes().startswith(b"<?xml"), "... shows it")
    equal(list(pathlib.Path(folder).glob("*.svg")), [], "... and leaves nothing")
    call("pprof", "-web", "-output", f"{folder}/o.svg", profile)
    ok(pathlib.Path(folder, "o.svg").read_bytes().startswith(b"<?xml"), "... or into a file")
    nothing = {"PATH": folder, "TMPDIR": folder, "HOME": folder}
    for name in ["web", "eog", "evince", "gv", "kcachegrind"]:
        status, out, err = call("pprof", f"-{name}", profile, env=nothing)
        ok(status == 1 and out == "" and "--output=FILE" in err, f"{name}, not here: {err.strip()}")
    equal([p for p in pathlib.Path(folder).iterdir() if p.name.startswith("sonde")], [], "... nothing is left behind")


# ---- at a terminal ---------------------------------------------------------------------

class Person(Terminal):
    """Somebody at a terminal that knows the few codes that libedit uses."""

    def __init__(self, profile, home, *options, grammar="shell"):
        super().__init__([str(SONDE), grammar, *options, profile], directory=home, TERM="xterm", HOME=home,
                         XDG_STATE_HOME=f"{home}/state", NO_COLOR="1")
        self.prompt = "(pprof) " if grammar == "pprof" else "(sonde) "
        self.read_until(self.prompt)
        self.lines, self.column = [list(self.prompt)], len(self.prompt)

    def draw(self, data):
        for count, verb, char in re.findall(r"\x1b\[(\d*)([A-Za-z])|(.)", data, re.S):
            line = self.lines[-1]
            if char == "\n":
                self.lines.append([])
            elif char in ("\r", "\b"):
                self.column = 0 if char == "\r" else self.column - 1
            elif verb:
                n = int(count or 1)
                self.column = n - 1 if verb == "G" else self.column + n if verb == "C" else \
                    self.column - n if verb == "D" else self.column
                if verb == "K":
                    del line[self.column:]
                elif verb == "P":
                    del line[self.column:self.column + n]
                elif verb == "@":
                    line[self.column:self.column] = " " * n
            elif char >= " ":
                line += " " * (self.column + 1 - len(line))
                line[self.column] = char
                self.column += 1

    def screen(self):
        return "\n".join("".join(line) for line in self.lines)

    def type(self, keys, until=None):
        """The screen below the line that was typed at, once `until` or the next prompt is there."""
        self.seen, self.lines = b"", self.lines[-1:]
        self.press(keys if isinstance(keys, bytes) else keys.encode())
        end = time.time() + 10
        while time.time() < end:
            if until in self.screen() if until else (len(self.lines) > 1 or "^C" in self.seen.decode(errors="replace")) \
                    and "".join(self.lines[-1]).rstrip() == self.prompt.rstrip():
                break
            if select.select([self.fd], [], [], 0.2)[0]:
                data = os.read(self.fd, 65536)
                self.seen += data
                self.draw(data.decode(errors="replace"))
        return self.screen()

    def run(self, line):
        """... after a line that is run: up to the prompt that follows."""
        self.type(line, line[-1:])
        return self.type("\r")


def test_terminal():
    home, profile = scratch(), made()
    person = Person(profile, home)
    ok("Type: cpu" in person.seen.decode() and "interactive mode" in person.seen.decode(), "a greeting")
    ok("forty" in person.run("top1"), "a command")
    ok("twenty" in person.run("top thirty twenty"), "another")
    ok("forty" not in person.run("top thirty"), "... with a filter of its own")
    ok("forty" in person.run("top1"), "... which does not last")
    person.run("nodecount=1")
    time.sleep(0.3)  # what is typed before the editor listens is the terminal's to edit
    text = person.type("tp\x02o\x05\x7f\x7f\x7ftop\r")
    ok("forty" in text and "thirty" not in text, "editing: ^B, ^E, backspace")
    person.type("xyz", "xyz")
    ok("forty" in person.type("\x15top\r"), "^U")
    text = person.type("junk", "junk") + person.type("\x03")
    ok("^C" in text, "Ctrl-C gives the line up")
    ok("forty" in person.run("top1"), "... and the shell goes on")
    ok("interactive" not in person.type("\x1b[A\x1b[A\r"), "the line before comes back by the arrow")
    ok("forty" in person.seen.decode(), "... and is run")
    person.press(b"\x04")
    equal(person.status(), 0, "^D leaves")
    file = pathlib.Path(home, "state/sonde/history")
    equal(stat.S_IMODE(file.stat().st_mode), 0o600, "the history is its user's alone")
    lines = file.read_text().splitlines()
    ok("top thirty twenty" in lines and "junk" not in lines, "... and holds what was run")
    person = Person(profile, home)
    ok(lines[-1] in person.type("\x1b[A", lines[-1]), "the next session has it")
    person.type("\x03")
    person.press(b"quit\r")
    equal(person.status(), 0, "quit")


def test_completion():
    home = scratch()
    profile = made({("main.work", "main.main"): 3, ("main.(*T).Foo", "main.main"): 2, ("std::sort", "main.main"): 1,
                    ("parse_line", "main.main"): 1, ("parse_file", "main.main"): 1})
    person = Person(profile, home)
    rows = [("tra\t", "traces "), ("comm\t", "comments "), ("nodefr\t", "nodefraction="), ("filef\t", "filefunctions "),
            ("granularity=ad\t", "granularity=addresses "), ("sample_index=sa\t", "sample_index=samples "),
            ("unit=mini\t", "unit=minimum "), ("trim=f\t", "trim=false "), ("help tre\t", "help tree "),
            ("peek std\t", "peek std::sort "), ("peek main.w\t", "peek main.work "), ("top -std\t", "top -std::sort "),
            ("top T).F\t", "top main.\\(\\*T\\).Foo "), ("focus=parse_l\t", "focus=parse_line "), ("hide st\t", "hide std::sort "),
            ("peek parse\t", "peek parse_"), ("peek sort\t", "peek std::sort "), ("mean_s\t", "mean_samples ")]
    for keys, line in rows:
        text = person.type(keys, line)
        ok(line in text, f"{keys.strip()!r} becomes {line!r}")
        person.type("\x03")
    text = person.type("peek parse_\t", "parse_line")
    ok("parse_file" in text and "parse_line" in text, "several are listed")
    person.type("\x03")
    text = person.type("t\t", "trim_path=")
    for word in ["tree", "tags", "tagfocus=", "text", "top", "trim", "trim_path=", "tagroot="]:
        ok(word in text, f"t: {word}")
    person.type("\x03")
    text = person.run("peek main.(*T).Foo") + person.run("peek main.\\(\\*T\\).Foo")
    ok("main.(*T).Foo" in text, "the word that is put there finds its function")
    person.press(b"\x04")
    equal(person.status(), 0, "leave")


def test_interrupt():
    """Ctrl-C ends a command that takes long, and what it pipes to; not the shell."""
    person = Person(made(SLEEPY), scratch(), "--nodefraction=0", "--edgefraction=0", "--nodecount=0")
    person.type("svg >slow.svg\r", "drawing")
    person.type("\x03")
    ok(person.seen.decode().rstrip().endswith("(sonde)"), "a drawing is given up")
    ok(not pathlib.Path(f"{person_home(person)}/slow.svg").exists(), "... without a file")
    ok("f" in person.run("top1"), "... and the shell goes on")
    person.type("top | sleep 60\r", "\n")
    for _ in range(100):
        children = pathlib.Path(f"/proc/{person.pid}/task/{person.pid}/children").read_text().split()
        if any(pathlib.Path(f"/proc/{child}/comm").read_text() == "sleep\n" for child in children):
            break
        time.sleep(0.1)
    person.type("\x03")
    ok("flat" in person.run("top1"), "a program behind a pipe")
    person.press(b"\x04")
    equal(person.status(), 0, "leave")


def test_typed_ahead():
    """What is typed while a command runs is read after it; also the end."""
    person = Person(made(), scratch())
    person.type("top | sleep 1\r", "\n")
    time.sleep(0.3)
    person.press(b"top1\r")
    ok("forty" in person.type("", "forty"), "a command")
    person.type("top | sleep 1\r", "\n")
    time.sleep(0.3)
    person.press(b"\x04")
    equal(person.status(), 0, "^D")


def person_home(person):
    return os.readlink(f"/proc/{person.pid}/cwd")


def test_pprof_terminal():
    person = Person(made(), scratch(), grammar="pprof")
    ok("forty" in person.run("top1"), "pprof's grammar, at a terminal")
    person.type("o\r")
    ok("histogram" not in person.seen.decode() and "call_tree" in person.seen.decode(), "... has pprof's options")
    person.press(b"\x04")
    equal(person.status(), 0, "leave")
    folder = scratch()
    shown = Terminal([str(SONDE), "pprof", "-pdf", made()], directory=folder)
    ok("Generating report in profile001.pdf" in shown.read_until("\0never"), "pprof -pdf on a terminal: a file")
    equal(shown.status(), 0, "... which is no error")
    ok(pathlib.Path(folder, "profile001.pdf").read_bytes().startswith(b"%PDF"), "... and is whole")


main(globals())
