#!/usr/bin/env python3
"""The command line: its grammars, its help, its errors, and where its output goes."""

import ctypes
import gzip
import json
import re
import pathlib
import random
import resource
import struct
import tempfile
import zlib
from tool import *


def verbs():
    return [line.split()[0] for line in call("help")[1].splitlines()
            if line.startswith("  ") and line[2] != " " and not line.startswith("  sonde")]


def test_help():
    status, out, err = call("--help")
    equal((status, err), (0, ""), "--help succeeds, on standard output")
    for verb in ["run", "heapdump", "pprof", "top", "dot", "svg", "pdf", "png"]:
        ok(verb in verbs(), f"help lists {verb}")
    for verb in verbs():
        status, out, err = call("help", verb)
        ok(status == 0 and out.startswith(f"usage: sonde {verb}") and err == "", f"help {verb}")
    for verb in set(verbs()) - {"help", "version"}:
        ok("Examples:" in call(verb, "--help")[1], f"{verb} --help has examples")
    status, out, err = call()
    ok(status == 2 and out == "" and "usage:" in err, "no word at all: the usage, status 2")


def test_version():
    for word in ["version", "--version", "-V"]:
        status, out, err = call(word)
        ok(status == 0 and out.startswith("sonde ") and err == "", f"{word}: {out.strip()}")


def test_usage_errors():
    profile = made()
    rows = [(["tpo", profile], "'top'"), (["frobnicate"], "'frobnicate'"),
            (["top", "--focsu=x", profile], "'--focus'"), (["top"], "give a profile"),
            (["-top", "-nodecuont=3", profile], "'--nodecount'"),
            (["peek"], "regular expression"), (["top", profile, "--focus"], "'--focus'"),
            (["top", "--nodecount=many", profile], "nodecount"),
            (["top", "--cum=perhaps", profile], "perhaps"), (["-top"], "give a profile"),
            (["-top", "-tree", profile], "tree"), (["-http=:0", profile], "not built"),
            (["top", "---cum", profile], "---cum"), (["run"], "program"),
            (["run", "--cpu=0", "true"], "10000"), (["run", "--cpu=fast", "true"], "fast"),
            (["run", "--mrege", "true"], "'--merge'"), (["help", "tpo"], "'top'"),
            (["top", "--symbolize=magic", profile], "magic"),
            (["top", "--base=a", "--diff_base=b", profile], "base")]
    for command, word in rows:
        status, out, err = call(*command)
        ok((status, out) == (2, "") and word in err and "Traceback" not in err,
           f"sonde {' '.join(command[:2])}: {err.splitlines()[0] if err else '(nothing)'}")


def test_exclusive():
    """What pprof lets stand together, and what not; beside it, where it is installed."""
    profile = made()
    rows = [("-top -text", 2), ("-list=a -peek=x", 2), ("-peek=a -peek=work", 0), ("-peek=a -peek= -top", 0),
            ("-top -top=false -tree", 0), ("-top -text=false -peek=", 0), ("-top -cum -flat", 2),
            ("-top -cum -cum=1", 0), ("-top -cum -flat=false", 0), ("-top -flat=false", 0), ("-top -cum -cum=false", 0),
            ("-top -lines -functions=false", 0), ("-top -lines -lines=false", 0), ("-top -lines -files -files=false", 0),
            ("-top -no_browser", 2), ("-top -no_browser=false", 0), ("-top -normalize", 1),
            ("-top -base={} -diff_base={}", 2), ("-top -base={} -diff_base=", 0)]
    kinds = ["functions", "filefunctions", "files", "lines", "addresses"]
    rows += [(f"-top -{a} -{b}", 0 if a == b else 2) for a in kinds for b in kinds]
    go = not missing("go")
    for line, want in rows:
        words = ["pprof", *line.format(profile, profile).split(), profile]
        status, out, err = call(*words)
        ok(status == want and (out == "") == (want != 0), f"{line}: status {status} {err.splitlines()[0] if want else ''}")
        if go:
            theirs = subprocess.run(["go", "tool", *words], capture_output=True, text=True, stdin=subprocess.DEVNULL)
            equal((theirs.returncode == 0, theirs.stdout), (want == 0, out), "... as go tool pprof")
    if not go:
        skip("beside go tool pprof", "go is not installed")
    for words in [["--lines", "--granularity=files"], ["--cum", "--flat"], ["-top", "-tree", "-tree=false"]]:
        equal(call(*["top"] * (words[0] != "-top"), *words, profile)[0], 2, " ".join(words))
    equal(call("top", "--lines", "--granularity=lines", profile)[0], 0, "the same twice")


def test_failures():
    directory = scratch()

    def holding(name, data):
        with open(f"{directory}/{name}", "wb") as file:
            file.write(data)
        return f"{directory}/{name}"

    rows = [("/nowhere/cpu.pprof", "No such file"), (directory, "directory"),
            (holding("empty", b""), "empty"), (holding("text", b"hello, world\n" * 99), "text"),
            (holding("perf", b"PERFILE2" + b"\0" * 99), "perf"), (str(SONDE), "program"),
            (holding("cut", open(made(), "rb").read()[:60]), "cut"), ("http://127.0.0.1:1/p", "127.0.0.1:1")]
    for path, word in rows:
        status, out, err = call("top", path)
        ok((status, out) == (1, "") and path in err and word in err, f"top: {err.strip()}")
    status, _, err = call("top", made(), "/nowhere/more")
    ok(status == 0 and "/nowhere/more" in err and "1 source profiles out of 2" in err, "one of two is missing: told, as pprof")
    status, _, err = call("top", "--focus=(", made())
    ok(status != 0 and "focus" in err, f"a bad regular expression: {err.strip()}")


def test_large():
    """A stack that is one line of a megabyte; what expands beyond the limit takes no more than it."""
    folder = scratch()
    with open(f"{folder}/deep", "w") as file:
        file.write(";".join(f"f{i}" for i in range(150000)) + " 7\n")
    status, out, err = call("top", "--nodecount=1", f"{folder}/deep")
    ok(status == 0 and " f149999" in out, f"a deep stack: {err[:200]}")
    with open(f"{folder}/zeros.gz", "wb") as file:
        packer = zlib.compressobj(1, wbits=31)
        file.writelines([packer.compress(bytes(1 << 20)) for _ in range(300)] +
                        [packer.flush()[:-4] + b"\0\0\1\0"])
    process = subprocess.Popen([str(SONDE), "top", "--max_size=256MB", f"{folder}/zeros.gz"],
                               stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    err = process.stderr.read().decode()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    ok(process.returncode == 1 and "more than is allowed" in err, err.strip())
    ok(used.ru_maxrss < 350 << 10, f"... in {used.ru_maxrss >> 10} MB")


def stacks_of(thread):
    """{stack, root first: weight} of a thread of profiler.firefox.com's processed format."""
    names, table, frames = thread["stringArray"], thread["stackTable"], thread["frameTable"]["func"]
    out = {}
    for stack, weight in zip(thread["samples"]["stack"], thread["samples"]["weight"]):
        path = []
        while stack is not None:
            path.append(names[thread["funcTable"]["name"][frames[table["frame"][stack]]]])
            stack = table["prefix"][stack]
        out[";".join(reversed(path))] = out.get(";".join(reversed(path)), 0) + weight
    return out


def test_json():
    """Both JSON formats have what the collapsed stacks have; each table's columns are as long as it says."""
    profile = made()
    lines = [line.rsplit(" ", 1) for line in call("collapsed", profile)[1].splitlines() if line[0] != "#"]
    want = {stack: int(value) / 1e6 for stack, value in lines}  # milliseconds
    firefox = json.loads(call("firefox", profile)[1])
    thread, = firefox["threads"]
    for name in ("samples", "stackTable", "frameTable", "funcTable", "resourceTable", "nativeSymbols", "markers"):
        columns = {k: len(v) for k, v in thread[name].items() if isinstance(v, list)}
        equal(columns, dict.fromkeys(columns, thread[name]["length"]), f"firefox: columns of {name}")
    equal(firefox["meta"]["preprocessedProfileVersion"], 46, "firefox: the version")
    ok({"interval", "startTime", "categories", "product", "stackwalk"} <= set(firefox["meta"])
       and thread["isMainThread"] is True and firefox["libs"] == [], "firefox: what that version asks for")
    table = thread["stackTable"]
    ok(all(p is None or p < i for i, p in enumerate(table["prefix"])), "firefox: stacks come after their prefixes")
    equal(thread["samples"]["time"], sorted(thread["samples"]["time"]), "firefox: samples in order")
    equal(stacks_of(thread), want, "firefox: the stacks and their weights")
    scope = json.loads(call("speedscope", profile)[1])
    names = [frame["name"] for frame in scope["shared"]["frames"]]
    shown = [p for p in scope["profiles"] if p["unit"] == "nanoseconds"]
    ok(shown, "speedscope: a profile of time")
    got = {";".join(names[i] for i in stack): weight / 1e6
           for stack, weight in zip(shown[0]["samples"], shown[0]["weights"])}
    equal(got, want, "speedscope: the stacks and their weights")
    equal(shown[0]["endValue"] - shown[0]["startValue"], sum(shown[0]["weights"]), "speedscope: the end")


def test_grammars():
    profile = made()
    first = call("top", profile)
    ok(first[0] == 0 and "forty" in first[1], "sonde top")
    for words in [["pprof", "-top"], ["pprof", "--text"], ["-top"], ["--top"], ["text"]]:
        equal(call(*words, profile), first, f"sonde {' '.join(words)}: the same")
    cum = call("top", "--cum", profile)
    ok(cum[1] != first[1], "sonde top --cum: another order")
    for words in [["top", "-cum"], ["-top", "-cum"], ["-cum", "-top"], ["top", "--cum=true"],
                  ["top", "--cum=t"], ["pprof", "--cum", "--top=1"]]:
        equal(call(*words, profile), cum, f"sonde {' '.join(words)}: the same")
    equal(call("top", profile, "--cum"), cum, "an option behind the profile")
    equal(call("top", "--cum=false", profile), first, "--cum=false")
    two = call("top", "--nodecount=2", profile)
    ok("forty" in two[1] and "twenty" not in two[1], "--nodecount=2")
    for words in [["-nodecount", "2"], ["-n", "2"], ["--n=2"]]:
        equal(call("top", *words, profile), two, f"{' '.join(words)}: the same")
    lines = call("top", "--lines", profile)
    equal(call("top", "--granularity=lines", profile), lines, "--granularity=lines is --lines")
    equal(call("peek", "forty", profile), call("-peek=forty", profile), "peek RX is -peek=RX")
    equal(call("top", "--", profile), first, "-- ends the options")
    samples = call("top", "-sample_index=samples", profile)
    ok("Type: samples" in samples[1], "-sample_index=samples")
    equal(call("top", "-sample_index=0", profile), samples, "-sample_index=0: the same")
    ok("alloc_space" in call("-top", "-alloc_space", profile)[2],
       "-alloc_space asks for that type")


def test_inputs():
    profile = made()
    first = call("top", profile)
    equal(call("top", made(zipped=False)), first, "not gzipped: the same")
    with open(profile, "rb") as file:
        equal(call("top", "-", stdin=file), first, "- is standard input")
    twice = call("top", profile, profile)[1]
    ok("2000ms total" in twice and "800ms" in twice, "two profiles are merged")
    equal(call("top", str(SONDE), profile)[0], 0, "the first of two may be a binary")
    less = call("top", f"--base={made({('forty', 'work', 'main'): 40})}", profile)[1]
    ok("thirty" in less and "0.40s" not in less, "--base subtracts")
    ten = f"--base={made({('forty', 'work', 'main'): 10})}"
    ok("0.20s" in call("top", ten, ten, profile)[1], "--base twice subtracts both")


def test_fifo():
    """It is opened once: who writes into it would lose what was written meanwhile."""
    fifo, libc = f"{scratch()}/fifo", ctypes.CDLL(None)
    os.mkfifo(fifo)
    watch, opened, closed, closed_by_a_reader = libc.inotify_init1(os.O_NONBLOCK), 0x20, 8, 16
    libc.inotify_add_watch(watch, fifo.encode(), opened | closed | closed_by_a_reader)
    profile = made()
    writer = subprocess.Popen(["sh", "-c", 'cat "$1" > "$2"', "sh", profile, fifo])
    equal(call("top", fifo), call("top", profile), "a named pipe is read")
    writer.wait()
    masks = [mask for _, mask, _, _ in struct.iter_unpack("iIII", os.read(watch, 4096))]
    equal(masks.count(closed_by_a_reader), 1, "and was opened once for that")
    os.close(watch)


def test_flags_of_gzip():
    """Those that are reserved are refused, whatever the size (RFC 1952, 2.3.1.2)."""
    noise = random.Random(3)
    for strings in (0, 300):  # of a kilobyte; what is large is read otherwise
        packed = gzip.compress(encode(STACKS) + b"".join(field(6, noise.randbytes(1024)) for _ in range(strings)))
        path = f"{scratch()}/p"
        for flag, status in ((0, 0), (0x20, 1), (0x80, 1)):
            with open(path, "wb") as file:
                file.write(packed[:3] + bytes([packed[3] | flag]) + packed[4:])
            equal(call("top", path)[0], status, f"{len(packed)} bytes, flag {flag}")


def heap(name="mem", settings="mem=exact", blocks="1000"):
    """The profile of a program that leaks `blocks` times 100 bytes."""
    directory = scratch()
    source = f"{directory}/leaky.c"
    with open(source, "w") as file:
        file.write("""#include <stdlib.h>
void *keep[10];
__attribute__((noinline)) void leak(int n) { while (n--) { void *volatile p = malloc(100); (void)p; } }
__attribute__((noinline)) void hold(void) { for (int i = 0; i < 10; i++) keep[i] = malloc(10000); }
__attribute__((noinline)) void waste(void) { for (int i = 0; i < 500; i++) free(malloc(2000)); }
__attribute__((noinline)) void pass(void) { free(malloc(1000000)); }
__attribute__((noinline)) void scrub(void) { volatile char x[8192]; for (int i = 0; i < 8192; i++) x[i] = 0; }
int main(int n, char **v) { (void)n; leak(atoi(v[1])); hold(); pass(); waste(); scrub(); return 0; }
""")
    subprocess.run(["cc", "-g", "-O1", "-fno-builtin", "-o", f"{directory}/leaky", source],
                   check=True)
    preload([f"{directory}/leaky", blocks], settings, directory)
    return f"{directory}/{name}.pprof"


def row(text, function):
    """Its flat value in a top."""
    found = [line.split()[0] for line in text.splitlines() if line.split()[5:6] == [function]]
    return found[0] if found else None


def test_heap_types():
    profile = heap()
    rows = [(["--leaked"], "leaked_space", "leak", "97.66kB"), (["--peak"], "peak_space", "pass", "976.56kB"),
            (["--temporary"], "temporary_space", "waste", "976.56kB"),
            (["--inuse"], "inuse_space", "hold", "97.66kB"), (["--alloc"], "alloc_space", "waste", "976.56kB"),
            ([], "inuse_space", "leak", "97.66kB"), (["--objects"], "inuse_objects", "leak", "1000"),
            (["--leaked", "--objects"], "leaked_objects", "leak", "1000"),
            (["--objects", "--alloc"], "alloc_objects", "waste", "500"),
            (["--temporary", "--objects"], "temporary_objects", "waste", "500"),
            (["--peak", "--objects"], "peak_objects", "hold", "10")]
    for words, name, function, want in rows:
        status, out, err = call("top", *words, "--trim=false", "--unit=kb" if "kB" in want else "--flat", profile)
        ok(status == 0 and f"Type: {name}\n" in out and row(out, function) == want,
           f"top {' '.join(words)}: {name}, {function} {row(out, function)} {err.strip()}")
    leaked = call("top", "--leaked", profile)[1]
    equal((row(leaked, "hold"), row(leaked, "pass")), (None, None), "only the leak is leaked")
    for flag in ["inuse_space", "inuse_objects", "alloc_space", "alloc_objects"]:
        words = ["--" + flag.split("_")[0]] + (["--objects"] if "objects" in flag else [])
        equal(call("-top", f"-{flag}", profile)[1], call("top", *words, profile)[1],
              f"pprof's -{flag} is {' '.join(words)}")
    drawn = call("svg", "--leaked", profile)[1]
    ok("100B" in drawn and "thread:" not in drawn, "drawn with sizes, not with what all share")
    ok(call("-dot", "-leaked", profile)[1].startswith("digraph"), "-dot -leaked")


def test_heap_types_missing():
    sampled = heap(settings="mem=1")
    rows = [(sampled, "--leaked", "--mem=exact"), (sampled, "--temporary", "--mem=exact"),
            (sampled, "--leaked", "peak_space"), (made(), "--peak", "samples cpu"),
            (made(), "--inuse", "sonde run --mem"), (made(), "--objects", "samples cpu")]
    for profile, flag, word in rows:
        status, out, err = call("top", flag, profile)
        ok((status, out) == (1, "") and word in err, f"{flag}: {err.strip()}")
    for words in [["--leaked", "--peak"], ["--leaked", "--sample_index=1"], ["--sample_index=1", "--leaked"],
                  ["--objects", "--sample_index=1"]]:
        status, out, err = call("top", *words, sampled)
        ok(status == 2 and "exclude" in err, f"{' '.join(words)}: {err.splitlines()[0]}")
    equal(call("-top", "-alloc_space", "-leaked", sampled)[0], 2, "-alloc_space -leaked exclude each other")
    equal(call("top", "--leaked=false", sampled)[0], 0, "--leaked=false")


def test_heap_difference():
    """What came between two heaps."""
    before, after = heap(blocks="1000"), heap(blocks="3000")
    for words, want in [(["--leaked"], "195.31kB"), (["--inuse"], "195.31kB"),
                        (["--leaked", "--objects"], "2000"), (["--peak"], "195.31kB")]:
        out = call("top", *words, f"--base={before}", after)[1]
        equal((row(out, "leak"), row(out, "hold")), (want, None), f"--base {' '.join(words)}")
    out = call("top", "--inuse", f"--diff_base={before}", after)[1]
    ok(row(out, "leak") == "195.31kB" and "100%" in out and "of 195.31kB total" in out,
       "--diff_base: percentages of the base, which is as large as the difference")
    out = call("top", "--inuse", f"--base={after}", before)[1]
    equal(row(out, "leak"), "-195.31kB", "the other way round")
    status, out, err = call("top", f"--base={made()}", after)
    ok(status == 1 and out == "" and err, f"a heap minus CPU time: {err.strip()}")


def proto(types, samples):
    """A profile's path. types: (type, unit). samples: (stack of names, leaf first; values)."""
    strings = [""]

    def text(s):
        if s not in strings:
            strings.append(s)
        return strings.index(s)

    names = sorted({name for stack, _ in samples for name in stack})
    out = b"".join(field(1, field(1, text(t)) + field(2, text(u))) for t, u in types)
    for stack, values in samples:
        out += field(2, field(1, b"".join(varint(names.index(n) + 1) for n in stack)) +
                     field(2, b"".join(map(varint, values))))
    for i, name in enumerate(names, 1):
        out += field(4, field(1, i) + field(4, field(1, i) + field(2, 10)))
        out += field(5, field(1, i) + field(2, text(name)) + field(4, text("a.c")))
    path = f"{tempfile.mkdtemp(dir=scratch())}/made.pb"
    pathlib.Path(path).write_bytes(out + b"".join(field(6, s) for s in strings))
    return path


def test_means_of_edges():
    """docs/pprof-differences.md: beside means, edges are means."""
    path = proto([("contentions", "count"), ("delay", "nanoseconds")],
                 [(["wait", "main"], (10, 1000)), (["other", "main"], (1, 500))])
    tree = call("pprof", "--tree", "--mean", path)[1]
    ok(re.search(r"100ns .*\|   wait", tree) and not re.search(r"1000ns|1us", tree),
       "the edge to wait is 100 ns, its mean")
    ok(re.search(r"100ns .*\|   wait", call("pprof", "--peek=main", "--mean", path)[1]), "so in peek")


def test_normalize_keeps_all():
    """docs/pprof-differences.md: what has the ratio 1 stays."""
    types = [("samples", "count"), ("cpu", "nanoseconds")]
    ours = proto(types, [(["kept", "main"], (0, 70)), (["more", "main"], (3, 30))])
    base = proto(types, [(["base", "main"], (6, 100))])
    text = call("pprof", "--top", "--normalize", f"--diff_base={base}", ours)[1]
    ok(re.search(r"70ns .*kept", text) and re.search(r"30ns .*more", text), "both samples are there")


def test_union_of_types():
    """docs/pprof-differences.md: several profiles have the types of all."""
    cpu = proto([("samples", "count"), ("cpu", "milliseconds")], [(["burn", "main"], (2, 20))])
    finer = proto([("samples", "count"), ("cpu", "microseconds")], [(["burn", "main"], (1, 500))])
    heap = proto([("inuse_space", "bytes")], [(["grow", "main"], (4096,))])
    ok(re.search(r"20.50ms .*burn", call("top", cpu, finer)[1]), "ms and us are added up")
    equal(call("top", cpu, finer)[1], call("top", finer, cpu)[1], "in any order")
    text = call("top", cpu, heap)[1]
    ok("Type: cpu" in text and re.search(r"20ms .*burn", text), "the type of the first is shown")
    ok(re.search(r"4kB .*grow", call("top", "--sample_index=inuse_space", cpu, heap)[1]),
       "the other is there")
    status, _, warned = call("top", f"--base={heap}", cpu)
    ok(status == 1 and "no sample type in common" in warned, "nothing to subtract is an error")


def test_output_file():
    profile, path = made(), f"{scratch()}/out"
    want = call("top", profile)[1]
    for words in [["-o", path], [f"--output={path}"], ["-output", path]]:
        equal(call("top", *words, profile)[:2], (0, ""), f"{words[0]}: nothing is printed")
        equal(open(path).read(), want, "... but written")
    equal(call("top", "-o", path, "--focus=(", profile)[0] != 0, True, "a report that fails")
    equal(open(path).read(), want, "... leaves the old file as it was")
    equal(os.listdir(os.path.dirname(path)), ["out"], "... and nothing beside it")
    status, _, err = call("top", "-o", "/nowhere/out", profile)
    ok(status == 1 and "/nowhere/out" in err, f"an unwritable place: {err.strip()}")


def test_large_output():
    """A profile that is written while it is made: whole, or not at all."""
    rows = random.Random(7)
    big = made({tuple(f"function_{rows.randrange(5000)}" for _ in range(30)) + ("main",): i % 97 + 1
                for i in range(40000)})
    folder = scratch()
    path = f"{folder}/out"
    equal(call("proto", "-o", path, big)[0], 0, "written")
    shown = subprocess.run([str(SONDE), "proto", big], stdout=subprocess.PIPE, timeout=60).stdout
    packed = open(path, "rb").read()
    ok(len(packed) > 1 << 20 and packed == shown, "a file and a pipe have the same")
    packer = zlib.decompressobj(wbits=31)
    plain = packer.decompress(packed)
    ok(packer.eof and packer.unused_data == b"", "which is one member")
    again = subprocess.run([str(SONDE), "proto", path], stdout=subprocess.PIPE, timeout=60).stdout
    ok(zlib.decompress(again, wbits=31) == plain, "and what is read from it is it again")
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    for verb in ("proto", "traces"):
        status, _, err = call(verb, "-o", f"{folder}/limited", big, preexec_fn=limit)
        ok(status == 1 and "too large" in err and os.listdir(folder) == ["out"],
           f"{verb} beyond a limit: {err.strip()}, and nothing is left")
    equal(open(path, "rb").read(), packed, "what was there is as it was")
    for number in (signal.SIGINT, signal.SIGKILL):
        ok(end_while_written(number, big, folder) and os.listdir(folder) == ["out"],
           f"ended by {number.name} while it is written: nothing is left")


def is_written(child, folder):
    """Has it a file open there?"""
    try:
        fds = f"/proc/{child.pid}/fd"
        return any(os.readlink(f"{fds}/{fd}").startswith(folder) for fd in os.listdir(fds))
    except FileNotFoundError:
        return False


def end_while_written(number, profile, folder):
    for _ in range(50):
        child = subprocess.Popen([str(SONDE), "traces", "-o", f"{folder}/traces", profile])
        while child.poll() is None and not is_written(child, folder):
            pass
        child.send_signal(number)
        if child.wait() == -number:
            return True
        os.unlink(f"{folder}/traces")  # it was too fast
    return False


def test_pipes():
    profile = made({(f"leaf_{i:05}", "main"): 1 for i in range(20000)})
    for verb in ("traces", "proto"):
        child = subprocess.Popen([str(SONDE), verb, profile], stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE)
        child.stdout.read(10)
        child.stdout.close()
        err = child.stderr.read()
        ok(child.wait() in (0, -signal.SIGPIPE) and err == b"", f"{verb}, a reader that goes away: no word")
    with open("/dev/full", "w") as full:
        done = subprocess.run([str(SONDE), "top", made()], stdout=full, stderr=subprocess.PIPE)
        helped = subprocess.run([str(SONDE), "help"], stdout=full, stderr=subprocess.PIPE)
    for report in [done, helped]:
        ok(report.returncode == 1 and b"space" in report.stderr, "a full disk is an error")


def test_terminal():
    profile = made()
    for verb in ["pdf", "png"]:
        shown = Terminal([str(SONDE), verb, profile])
        text = shown.read_until("\0never")
        ok("terminal" in text and "%PDF" not in text and "PNG" not in text,
           f"{verb}: not written to a terminal")
        equal(shown.status(), 1, "... which is an error")
    red = "\x1b["
    ok(red in Terminal([str(SONDE), "top", "/no"], TERM="xterm").read_until("\0never"),
       "errors are coloured on a terminal")
    ok(red not in Terminal([str(SONDE), "top", "/no"], TERM="xterm", NO_COLOR="1")
       .read_until("\0never"), "... unless NO_COLOR is set")
    ok(red not in call("top", "/no")[2], "... nor in a pipe")
    ok("\x1b[31m" in Terminal([str(SONDE), "top", profile], TERM="xterm").read_until("\0never"),
       "the functions that used most are red")
    ok(red not in call("top", profile)[1], "... nor in a pipe")


def test_progress():
    """What takes a while says so, on a terminal only."""
    dice = random.Random(1)
    tangle = made({tuple(f"f{dice.randrange(60)}" for _ in range(6)): 1 + dice.randrange(99) for _ in range(600)})
    whole = ["svg", "--nodecount=0", "--nodefraction=0", "--edgefraction=0", "-o", f"{scratch()}/tangle.svg", tangle]
    shown = Terminal([str(SONDE), *whole], TERM="xterm")
    ok("drawing: 0 s" in shown.read_until("drawing", 60), "a large graph is being drawn")
    equal(shown.status(), 0, "... to its end")
    ok(shown.seen.endswith(b"\r\x1b[K"), "... and nothing is left of it")
    equal(call(*whole)[2], "", "in a pipe: no word")


def test_pictures():
    profile = made()
    for verb, magic in [("svg", b"<?xml"), ("pdf", b"%PDF"), ("png", b"\x89PNG"),
                        ("dot", b"digraph")]:
        done = subprocess.run([str(SONDE), f"--{verb}", profile], capture_output=True)
        ok(done.returncode == 0 and done.stdout.startswith(magic), f"--{verb} > file")


def test_completion():
    words = call("__complete")[1].split()
    ok({"run", "top", "pdf"} <= set(words) and "__complete" not in words, "verbs")
    ok("--focus=" in call("__complete", "top")[1].split(), "options of a report")
    ok("--merge" in call("__complete", "run")[1].split(), "options of run")
    ok("--why=" in call("__complete", "heapdump")[1].split(), "options of heapdump")
    ok("--top" in call("__complete", "-t")[1].split(), "reports as flags")
    script = pathlib.Path(__file__).resolve().parents[2] / "share" / "completions" / "sonde"
    asked = (f"source {script}; COMP_WORDS=({SONDE} to); COMP_CWORD=1; compopt() {{ :; }}; _sonde; "
             "echo ${COMPREPLY[@]}; "
             f"COMP_WORDS=({SONDE} top --fo); COMP_CWORD=2; _sonde; echo ${{COMPREPLY[@]}}")
    done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True)
    equal((done.stdout.split(), done.stderr), (["top", "topproto", "--focus="], ""), "bash completes")
    for verb in ["heap", "heapdump"]:
        asked = (f"source {script}; compopt() {{ :; }}; COMP_WORDS=({SONDE} {verb} $$); COMP_CWORD=2; _sonde; "
                 "[[ ' '${COMPREPLY[@]}' ' == *' '$$' '* ]] && echo found")
        done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True)
        equal((done.stdout, done.stderr), ("found\n", ""), f"{verb}: processes")


def test_manuals():
    """Every option of a verb that has a page of its own is in it, and in the completion."""
    pages = pathlib.Path(__file__).resolve().parents[2] / "docs/man"
    for page in sorted(pages.glob("sonde-*.1")):
        verb, text = page.stem.partition("-")[2], page.read_text()
        options = re.findall(r"^  --(\w+)", call("help", verb)[1], re.M)
        if not ok(len(options) > 1, f"{verb} has options"):
            continue
        common = {"help"} | {o for o in re.findall(r"^  --(\w+)", call("help", "top")[1], re.M)}
        had = lambda o: re.search(rf"^\.(It )?Fl (.*[ -])?{o}\b" if verb == "pprof" else f"-{o}", text, re.M)
        equal([o for o in options if (o not in common or verb == "pprof") and not had(o)], [],
              f"{page.name} has them")
        offered = {w.strip("-=") for w in call("__complete", verb)[1].split()}
        equal([o for o in options if o not in offered], [], f"completion of {verb} has them")


main(globals())
