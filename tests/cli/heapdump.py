#!/usr/bin/env python3
"""`sonde heapdump`: a dump made by hand, whose answers are known."""

import gzip
import re
import stat
import sys
import struct
from tool import *

# profile.h's spool, heapdump.h's tables
HEAP_VALUES = 31  # of an entry of an exact heap: enum sn_heap_value
AT_MODULES, MODULES, MODULE = 4096, 1024, 24 + 8 + 32 + 448
AT_THREADS = AT_MODULES + MODULES * MODULE
AT_ENTRIES = AT_THREADS + 8192 * 48 + 65536 * 4
GLOBAL, STACK, REGISTERS, OTHER = 1, 2, 3, 4

LOADED_AT = 0x555555550000
LIVE, LEAKED = 1, 0


def symbols(path):
    """Name to address, of the functions of a program."""
    lines = subprocess.run(["nm", path], capture_output=True, text=True).stdout.splitlines()
    return {line.split()[2]: int(line.split()[0], 16) for line in lines
            if line.split()[1] in "tT"}


def code_segment(path):
    """(offset in the file, address, length) of what is executable."""
    with open(path, "rb") as file:
        data = file.read(4096)
    at, = struct.unpack_from("<Q", data, 32)
    size, n = struct.unpack_from("<HH", data, 54)
    for i in range(n):
        kind, flags, offset, address, _, length = struct.unpack_from("<IIQQQQ", data, at + i * size)
        if kind == 1 and flags & 1:
            return offset, address, length


def spool(path, stacks):
    """The spool's bytes, and where in it each stack (names, leaf first) is."""
    offset, address, length = code_segment(path)
    at = symbols(path)
    module = struct.pack("<QQQII32s448s", LOADED_AT + address, LOADED_AT + address + length,
                         offset, 1, 0, b"", path.encode())
    entries, places = b"", []
    for stack in stacks:
        places.append((AT_ENTRIES + len(entries)) // 8)
        pcs = [LOADED_AT + at[name] + 1 for name in stack]
        entries += struct.pack("<IIIIHHHH", 0, 0, 0, 0, len(pcs), 0, 0, 0)
        entries += bytes(8 * HEAP_VALUES) + struct.pack(f"<{len(pcs)}Q", *pcs)
    # struct sn_spool_header: magic .. period; times and clock; exe; counts
    header = struct.pack("<8sIIIIIIQ", b"SNSPOOL1", 1, 42, 1, 1, HEAP_VALUES, 1, 1)
    header += bytes(4 * 8 + 32 + 32) + path.encode().ljust(448, b"\0") + bytes(448)
    header += struct.pack("<IIQQQ", 1, 0, len(entries), 0, 0)
    tables = header.ljust(AT_MODULES, b"\0") + module
    return tables.ljust(AT_ENTRIES, b"\0") + entries, places


def dump(blocks, edges, roots, stacks, path=str(PROGRAMS / "shares_O0")):
    """blocks: (address, size, index into stacks or None, flags); roots: (block, kind, address)"""
    spool_bytes, places = spool(path, stacks)
    at_blocks = 12 * 8
    at_edges = at_blocks + 24 * len(blocks)
    at_roots = at_edges + 8 * len(edges)
    at_spool = at_roots + 16 * len(roots)
    out = struct.pack("<8s11Q", b"SNHDUMP1", 1, 42, 1700000000 * 10**9, len(blocks), len(edges),
                      len(roots), at_blocks, at_edges, at_roots, at_spool, len(spool_bytes))
    for address, size, stack, flags in blocks:
        out += struct.pack("<QQII", address, size, 0 if stack is None else places[stack], flags)
    out += b"".join(struct.pack("<II", *edge) for edge in sorted(edges))
    out += b"".join(struct.pack("<IIQ", *root) for root in roots)
    return out + spool_bytes


STACKS = [("forty", "work", "main"), ("thirty", "work", "main"), ("twenty", "work", "main"),
          ("ten", "main"), ("thirty", "work", "main")]
BLOCKS = [(0x10000, 1024, 0, LIVE),  # a table
          (0x20000, 100, 1, LIVE), (0x21000, 100, 4, LIVE), (0x22000, 100, 1, LIVE),  # its items
          (0x30000, 5000, 2, LIVE),  # two items share it
          (0x40000, 50, 2, LIVE),  # the table's own, and the leak's
          (0x50000, 4096, 3, LEAKED), (0x51000, 10, 3, LEAKED), (0x52000, 7, 3, LEAKED),
          (0x60000, 1, None, LIVE)]
EDGES = [(0, 1), (0, 2), (0, 3), (0, 5), (1, 4), (2, 4), (6, 7), (6, 5)]
ROOTS = [(0, GLOBAL, 0x404040), (0, STACK, 0x7ffc0010), (9, REGISTERS, 0)]


def made_dump(name="heap.dump", data=None):
    path = f"{scratch()}/{name}"
    with open(path, "wb") as file:
        file.write(data or dump(BLOCKS, EDGES, ROOTS, STACKS))
    return path


def rows(text):
    """(retained, flat, blocks, site) of the table's rows."""
    found = re.findall(r"^ +(\S+) +\S+% +(\S+) +\S+% +(\d+)  (.*)$", text, re.M)
    return [(retained, flat, int(blocks), site) for retained, flat, blocks, site in found]


def test_table():
    status, out, err = call("heapdump", made_dump())
    equal((status, err), (0, ""), "it succeeds, without a word")
    for line in ["File: shares_O0", "Total: 10 blocks, 10.24kB", "Reachable: 7 blocks, 6.23kB (60.78%)",
                 "Leaked: 3 blocks, 4.02kB (39.22%), all held by 2 of them",
                 "Roots: 1 in global data, 1 in stack, 1 in registers"]:
        ok(line in out, line)
    ok("Heap of process 42 at 2023-11-1" in out, "which process, and when")
    live, leaked = out.split("Leaked: showing")
    equal(rows(live), [("6.22kB", "1kB", 1, "forty < work < main"),
                       ("5.18kB", "300B", 3, "thirty < work < main"),
                       ("4.93kB", "4.93kB", 2, "twenty < work < main"),
                       ("1B", "1B", 1, "(not known)")], "sites by what they retain together")
    equal(rows(leaked), [("4.02kB", "4.02kB", 3, "ten < main")], "leaks apart")


def test_table_options():
    path = made_dump()
    sites = lambda *options: [r[3].split()[0] for r in rows(call("heapdump", *options, path)[1])]
    equal(sites("--sort=flat")[:3], ["twenty", "forty", "thirty"], "--sort=flat")
    equal(sites("--sort=blocks")[:3], ["thirty", "twenty", "(not"], "--sort=blocks")
    equal(sites("--top=1"), ["forty", "ten"], "--top=1: a row a table")
    equal(len(sites("--top=0")), 5, "--top=0: all")
    equal(call("heapdump", "--top", path), call("heapdump", path), "--top alone is the table")
    names = [r[3] for r in rows(call("heapdump", "--frames=1", path)[1])]
    equal(names[:2], ["forty", "thirty"], "--frames=1: sites are functions")
    one = rows(call("heapdump", "--frames=1", path)[1])
    equal(one[1][:3], ("5.18kB", "300B", 3), "... summed up")
    ok("shares_O0+0x" in call("heapdump", "--symbolize=none", path)[1], "without names: where")
    with open(path, "rb") as file:
        equal(call("heapdump", "-", stdin=file), call("heapdump", path), "- is standard input")
    equal(call("heapdump", str(PROGRAMS / "shares_O0"), path), call("heapdump", path),
          "the program may stand before it")


def test_why():
    path = made_dump()
    out = call("heapdump", "--why=0x30000", path)[1]
    lines = out.splitlines()
    ok(lines[0].startswith("0x30000  4.88kB, retains 4.88kB  twenty < work"), lines[0])
    equal(lines[1], "referred to by 2 blocks", lines[1])
    equal(lines[3], "global data at 0x404040, and 1 more", "the root")
    equal([line.split()[:2] for line in lines[4:7]],
          [["*", "0x10000"], ["0x20000", "100B,"], ["*", "0x30000"]],
          "the way, and what on it is needed")
    equal(call("heapdump", "--why", "0x30010", path)[1], out, "an address inside the block")
    out = call("heapdump", "--why=twenty", path)[1]
    ok(out.startswith("2 blocks of 1 site; of these retains most:\n0x30000 "), "by a site")
    ok("leaked: no root leads here\n  * 0x50000" in call("heapdump", "--why=0x51000", path)[1],
       "a leaked one")
    for word, wrong in [("0x99999", "no block"), ("nowhere", "no block"), ("(", "why")]:
        status, out, err = call("heapdump", f"--why={word}", path)
        ok(status == 1 and out == "" and wrong in err, f"--why={word}: {err.strip()}")


def test_why_long():
    n = 10000
    blocks = [(0x1000 + 64 * i, 16, 0, LIVE) for i in range(n)]
    path = made_dump(data=dump(blocks, [(i, i + 1) for i in range(n - 1)], [(0, STACK, 8)],
                               STACKS))
    out = call("heapdump", f"--why={0x1000 + 64 * (n - 1):#x}", path)[1]
    ok(len(out.splitlines()) < 20 and f"... {n - 8} more of these" in out,
       "a list is not printed whole")


def test_blocks():
    path = made_dump()
    out = call("heapdump", "--blocks", path)[1].splitlines()
    equal(len(out), 1 + len(BLOCKS), "a line a block")
    equal([line.split()[:4] for line in out[1:3]],
          [["0x0000000000010000", "1024", "6374", "live"],
           ["0x0000000000020000", "100", "100", "live"]], "address, size, retained, state")
    equal(out[7].split()[2:], ["4106", "leaked", "ten", "<", "main"], "a leaked one, its site")
    out = call("heapdump", "--blocks", "--sort=flat", "--top=2", path)[1].splitlines()
    equal([line.split()[1] for line in out[1:]], ["5000", "4096"], "--sort=flat --top=2")
    to = f"{scratch()}/out"
    equal(call("heapdump", "--blocks", "-o", to, path)[:2], (0, ""), "-o: nothing is printed")
    equal(open(to).read(), call("heapdump", "--blocks", path)[1], "... but written")


def test_pictures():
    path = made_dump()
    status, dot, err = call("heapdump", "--dot", "--nodefraction=0", path)
    boxes = dict(re.findall(r'^(N\d+) \[label="([^"]*)"', dot, re.M))
    ok(status == 0 and "forty\\nwork\\nmain\\nretains 6.22kB (60.77%)\\n1kB in 1 block" in
       boxes.values(), "a box a site")
    number = {label.split("\\n")[0]: name for name, label in boxes.items()}
    ok({"global data", "stack", "leaked"} <= set(number), "and one a kind of root")
    ok(f'{number["thirty"]} -> {number["twenty"]} [label=" 4.88kB\\n in 1"' in dot,
       "an arrow: bytes and blocks, each once")
    ok(f'{number["leaked"]} -> {number["ten"]} ' in dot, "what is leaked")
    ok("See https" not in dot, "it is not pprof's call graph")
    few = call("heapdump", "--dot", "--nodecount=1", path)[1]
    ok("forty" in few and "thirty" not in few.split("node [")[1].split("] }")[1], "--nodecount=1")
    for kind, magic in [("svg", b"<?xml"), ("pdf", b"%PDF"), ("png", b"\x89PNG")]:
        done = subprocess.run([str(SONDE), "heapdump", f"--{kind}", path], capture_output=True)
        ok(done.returncode == 0 and done.stdout.startswith(magic), f"--{kind}")


def test_proto():
    path, profile = made_dump(), f"{scratch()}/heap.pprof"
    equal(call("heapdump", "--proto", "-o", profile, path), (0, "", ""), "--proto")

    def top(kind):
        unit = [] if kind.endswith("objects") else ["--unit=b"]
        out = call("top", f"--sample_index={kind}", *unit, profile)[1]
        found = re.findall(r"^ +(\S+) +\S+% +\S+% +\S+ +\S+%  (\w+)", out, re.M)
        return {name: value for value, name in found if value != "0"}

    equal(top("retained_space"), {"forty": "6374B", "thirty": "5300B", "twenty": "5050B",
                                  "ten": "4113B"}, "retained_space")
    equal(top("inuse_space"), {"twenty": "5050B", "ten": "4113B", "forty": "1024B",
                               "thirty": "300B"}, "inuse_space")
    equal(top("inuse_objects"), {"thirty": "3", "ten": "3", "twenty": "2", "forty": "1"},
          "inuse_objects")
    equal(top("leaked_space"), {"ten": "4113B"}, "leaked_space")
    ok("work" in call("tree", profile)[1], "tree reads it too")


def test_refused():
    path = made_dump()
    data = open(path, "rb").read()
    rows_ = [([], "give a heap dump"), (["--sort=size", path], "--sort"),
             (["--top=many", path], "--top"), (["--nodefraction=2", path], "nodefraction"),
             (["--dot", "--svg", path], "one report"), ([path, path], "one heap dump"),
             (["--blcoks", path], "--blocks"), (["--why=", path], "--why")]
    for words, wrong in rows_:
        status, out, err = call("heapdump", *words)
        ok((status, out) == (2, "") and wrong in err, err.splitlines()[0] if err else words)
    for name, content, wrong in [("text", b"hello" * 99, "no heap dump"),
                                 ("profile", gzip.compress(b"x"), "no heap dump")]:
        status, out, err = call("heapdump", made_dump(name, content))
        ok((status, out) == (1, "") and wrong in err and name in err, err.strip())
    status, out, err = call("top", path)
    ok(status == 1 and "sonde heapdump" in err, f"a report of profiles: {err.strip()}")
    bad = {}
    for n in [*range(0, 600, 7), *range(600, len(data), 100000), len(data) - 1]:
        status, out, err = call("heapdump", made_dump(data=data[:n] or b"\0"))
        if (status, out) != (1, "") or "heap.dump" not in err:
            bad[n] = (status, out, err)
    equal(bad, {}, "cut short: refused, whatever is missing")


SLEEPER = "import sys\nx = [bytes(5000 + i) for i in range(500)]\nprint('ready', flush=True)\n" \
          "sys.stdin.read()\n"


class Recorded:
    """A program that records its heap, until it has been looked at."""

    def __init__(self, settings):
        directory = scratch()
        environment = dict(os.environ, LD_PRELOAD=str(LIBRARY), SONDE=f"{settings},quiet,path={directory}")
        self.child = subprocess.Popen([os.path.realpath(sys.executable), "-c", SLEEPER], env=environment,
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.child.stdout.readline()
        self.pid = self.child.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.child.communicate(timeout=60)


def test_running():
    """Of a process: its dump, or a report at once."""
    with Recorded("mem=exact") as program:
        here, temporary = scratch(), scratch()
        at = lambda *words, **more: call("heapdump", *words, program.pid, cwd=here,
                                         env=dict(os.environ, TMPDIR=temporary), **more)
        for name in [f"heap.{program.pid}.dump", f"heap.{program.pid}.2.dump"]:
            status, out, err = at()
            ok((status, out) == (0, "") and name in err and os.path.exists(f"{here}/{name}"),
               f"a dump, and none is lost: {err.strip()}")
        dump = f"{here}/heap.{program.pid}.dump"
        ok(call("heapdump", dump)[1].startswith("File: python"), "... which is read")
        for words in [["--top=3"], ["--frames=1"], ["--sort=flat"]]:
            status, out, err = at(*words)
            ok(status == 0 and f"Heap of process {program.pid}" in out, f"{words}: the table at once")
        status, out, err = at("--svg", "-o", "heap.svg")
        with open(f"{here}/heap.svg", "rb") as file:
            ok(status == 0 and file.read(200).startswith(b"<?xml"), "--svg -o: a picture, and no dump")
        equal((sorted(os.listdir(here)), os.listdir(temporary)),
              (sorted(["heap.svg", f"heap.{program.pid}.dump", f"heap.{program.pid}.2.dump"]), []),
              "no more files")
        done = subprocess.run(f"{SONDE} heapdump -o - {program.pid} | {SONDE} heapdump --top=2 -", shell=True,
                              capture_output=True, text=True, cwd=here)
        ok("Total:" in done.stdout, "-o -: into a pipe")
        os.mkfifo(f"{here}/pipe")
        reader = subprocess.Popen("cat pipe > copy", cwd=here, shell=True)
        equal(at("-o", "pipe")[0], 0, "-o of what is no file")
        reader.wait(30)
        with open(f"{here}/copy", "rb") as file:
            ok(file.read(8) == b"SNHDUMP1" and stat.S_ISFIFO(os.stat(f"{here}/pipe").st_mode),
               "... is written to, not replaced")
        shown = Terminal([str(SONDE), "heapdump", "-o", "-", str(program.pid)])
        ok("not written to a terminal" in shown.read_until("\0never"), "not to a terminal")
        out = call("heap", "--seconds=0.3", program.pid, cwd=here)[1]
        ok(out.count("allocations: ") == 1 and "difference: of two looks, 0.3 seconds apart" in out,
           "heap --seconds: said once, and that it is a difference")
        for output in ["/nowhere/x", here]:
            status, _, err = at("-o", output)
            ok(status == 1 and output in err, f"refused: {err.strip()}")
    with Recorded("mem") as program:
        status, _, err = call("heapdump", "--top", program.pid)
        ok(status == 1 and "mem=exact" in err, f"sampled: {err.strip()}")
        here = scratch()
        status, out, err = call("heap", "--leaked", program.pid, cwd=here)
        ok((status, out, os.listdir(here)) == (1, "", []) and "mem=exact" in err,
           f"heap of a value that is not recorded: neither table nor file: {err.strip()}")


def test_sonde_itself():
    child = subprocess.Popen([str(SONDE), "run", "-q", "--mem", os.path.realpath(sys.executable), "-c", SLEEPER], cwd=scratch(),
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child.stdout.readline()
    status, _, err = call("heap", child.pid)
    found = re.search(r"what it runs is process (\d+)", err)
    ok(status == 1 and found, f"sonde run's own number: {err.strip()}")
    if found:
        here = scratch()
        equal(call("heap", "-q", found[1], cwd=here)[0], 0, "... which it is")
    child.communicate(timeout=60)


def test_number():
    directory = os.path.dirname(made_dump("4194305"))
    equal(call("heapdump", "4194305", cwd=directory)[0], 0, "a file whose name is a number")
    status, out, err = call("heapdump", "4194305", cwd=scratch())
    ok((status, out) == (1, "") and "4194305" in err, f"a number that is no file: {err.strip()}")


def test_terminal():
    shown = Terminal([str(SONDE), "heapdump", "--pdf", made_dump()])
    ok("terminal" in shown.read_until("\0never"), "no picture on a terminal")
    equal(shown.status(), 1, "... which is an error")
    coloured = Terminal([str(SONDE), "heapdump", made_dump()], TERM="xterm").read_until("\0never")
    ok("\x1b[31m" in coloured, "what retains most is red")


main(globals())
