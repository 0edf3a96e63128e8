"""Sonde as `./do install` lays it down, in a directory of its own: the command finds what belongs to
it however it is called, and says what is wrong with the module that draws where it cannot be loaded."""

import re

from tool import *


def install():
    """(The command, the module that draws) of a fresh tree."""
    place = scratch()
    done = subprocess.run(["meson", "install", "-C", str(BUILD), "--no-rebuild", "--destdir", place],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
    if done.returncode != 0:
        note(done.stdout)
    found = {file: os.path.join(directory, file) for directory, _, files in os.walk(place) for file in files}
    return found["sonde"], found["sonde-draw.so"]


def run(*command, **options):
    done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60,
                          stdin=subprocess.DEVNULL, **options)
    return done.returncode, done.stdout, done.stderr.decode()


def drawn(command, kind="pdf", **options):
    status, picture, errors = run(command, kind, made(), **options)
    return status == 0 and picture[:4] in (b"%PDF", b"<?xm", b"<svg") and errors == ""


def test_called():
    """By its path, through a symlink, through PATH, from a tree that was moved."""
    command, module = install()
    ok(module.endswith("/sonde/sonde-draw.so"), "the module has a directory of its own")
    ok(drawn(command) and drawn(command, "svg"), "called by its path")
    link = f"{scratch()}/sonde"
    os.symlink(command, link)
    ok(drawn(link), "through a symlink")
    ok(drawn("sonde", env=dict(os.environ, PATH=f"{os.path.dirname(link)}:{os.environ['PATH']}")), "through PATH")
    moved = f"{scratch()}/moved"
    os.rename(os.path.dirname(os.path.dirname(command)), moved)
    ok(drawn(f"{moved}/bin/sonde"), "in a tree that was moved")
    status, _, errors = run(f"{moved}/bin/sonde", "run", "-o", f"{scratch()}/", "--", "true")
    if not ok(status == 0, "which finds the library too"):
        note(errors)


def refused(command, why, name):
    """No picture and no file, but text, with the reason in one line."""
    directory = scratch()
    status, _, errors = run(command, "pdf", f"-output={directory}/a.pdf", made())
    if not ok(status == 1 and errors.count("\n") == 1 and re.search(why, errors), f"{name}: refused"):
        note(f"{status} {errors}")
    ok("text reports do not" in errors and os.listdir(directory) == [], f"{name}: what works is told, no file left")
    status, text, errors = run(command, "top", made())
    ok(status == 0 and b"forty" in text and errors == "", f"{name}: text")


def test_without_the_module():
    command, module = install()
    whole = open(module, "rb").read()
    version = call("version")[1].strip().encode()
    equal(whole.count(version + b"\0"), 1, "the module names its version")
    for name, content, why in (
            ("another version", whole.replace(version + b"\0", version[:-1] + b"x\0"),
             re.escape(os.path.realpath(module)) + r".* it is of sonde 0\.1\.x, and this is sonde 0\.1\.0"),
            ("not a module", (BUILD / "libsonde.so").read_bytes(), r"sonde-draw\.so.*cannot load it: .*sn_draw_module"),
            ("a library less", whole.replace(b"libgvc.so.6\0", b"libgvc.so.x\0"), r"cannot load it: libgvc\.so\.x: "),
            ("cut short", whole[:100], r"sonde-draw\.so.*cannot load it: (file too short|cannot read file data)")):
        with open(module, "wb") as file:
            file.write(content)
        refused(command, why, name)
    os.unlink(module)
    refused(command, r"sonde-draw\.so: .*it is neither in the command's /.*/bin nor, as sonde/sonde-draw\.so, in its \.\./lib", "removed")
    done = subprocess.run([command, "pdf", "-o", f"{scratch()}/x.pdf", "/nowhere/x.pprof"], capture_output=True, text=True)
    ok(done.returncode == 1 and "sonde-draw.so" in done.stderr, f"... which is said before reading: {done.stderr.strip()}")


main(globals())
