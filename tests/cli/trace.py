"""`sonde trace` as a user meets it: files and live pipes, the summary, charts, JSON, what is
refused. And Go's own output, of every Go that is installed, line by line against a reader that
is written here anew."""

import glob
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import time
import xml.dom.minidom

from tool import *

OURS = """\
SCHED 0ms: source=switch gomaxprocs=2 idleprocs=1 threads=3 runqueue=1 gcwaiting=0
  P0: status=1 m=7 runqsize=2
  P1: status=0 m=-1 runqsize=0
  M7: p=0 curg=7 name="main" state=running run=0 wait=0 voluntary=0 involuntary=0 migrations=0
  M8: p=-1 curg=-1 name="worker one" state=blocked(futex) run=0 wait=0 on=queue_lock
  M9: p=-1 curg=-1 name="poller" state=runnable run=0 wait=0
gc 1 @0.050s 0%: 0+0+0 ms clock, 0+0/0/0+0 ms cpu, 8->8->8 MB, 16 MB goal, 1200 objects, 2 P malloc
scvg1: inuse: 8, idle: 4, sys: 12, released: 1, consumed: 11 (MB)
the program's own line
SCHED 100ms: gomaxprocs=2 idleprocs=0 threads=3 runqueue=0 gcwaiting=0
  P0: status=1 m=7 runqsize=0
  P1: status=1 m=9 runqsize=0
  M7: p=0 curg=7 name="main" state=running run=90000000 wait=5000000 voluntary=1
  M8: p=-1 curg=-1 name="worker one" state=blocked(futex) run=0 wait=0 on=queue_lock
  M9: p=1 curg=9 name="poller" state=running run=50000000 wait=50000000
scvg2: inuse: 10, idle: 4, sys: 14, released: 2, consumed: 12 (MB)
scvg2: 3 MB released
"""

GO = "".join(f"gc {i} @{i}.000s 1%: {0.1 * i}+2.0+0.5 ms clock, 0.1+0/1/0+0.1 ms cpu, "
             f"{4 * i}->{4 * i + 1}->{2 * i} MB, {4 * i} MB goal, 2 P\n" for i in range(1, 11))


def file_of(text, name="trace.txt"):
    path = f"{scratch()}/{name}"
    with open(path, "wb" if isinstance(text, bytes) else "w") as file:
        file.write(text)
    return path


def test_help():
    out = call("help", "trace")[1]
    ok("--svg" in out and "--json" in out and "Examples:" in out, "help")
    equal(call("trace", "--help")[1], out, "--help")
    ok("--png" in call("__complete", "trace")[1].split(), "completion")
    ok("\n  trace " in call("help")[1], "it is in the list")
    page = pathlib.Path(__file__).resolve().parents[2] / "docs/man/sonde-trace.1"
    ok(page.exists(), "it has a manual page")


def test_summary():
    status, out, err = call("trace", file_of(OURS))
    equal((status, err), (0, ""), "a file is read; its other lines are not echoed")
    ok(out.startswith("16 lines of a runtime's trace, of 100ms; 1 other line passed over\n"),
       out.splitlines()[0])
    ok("Collections: 1" in out and "there is no collector" in out, "malloc is no collector")
    ok(re.search(r"^  live heap +8MB +8MB +8MB +8MB$", out, re.M), "heap")
    ok(re.search(r"^  in use +8MB +10MB +8MB +10MB$", out, re.M), "in use")
    ok("3MB went back to the system" in out, "what went back")
    ok("Scheduler: 2 CPUs, looked at 2 times, every 100ms; by switch" in out, "the source")
    ok(re.search(r"^  idle CPUs +0\.50 +0 +1 +1 +1 +25% of", out, re.M), "idle CPUs")
    ok(re.search(r"^  run queue +0\.50 +0 +1 +1 +1$", out, re.M), "run queue: all of them")
    ok("Threads waited 55ms for a CPU, 18.3% of their time; longest M9 poller, 50ms" in out,
       "waits in run queues")
    ok("gave it up 1 times, lost it 0 times" in out, "switches")
    ok(re.search(r"^ +90\.0% +5\.0% +5\.0% +- +-   M7 main", out, re.M),
       "a thread's shares are by the time it says it ran and waited")
    ok(re.search(r"^ +- +- +100\.0% +- +-   M8 worker one +futex queue_lock$", out, re.M),
       "what another waits for")
    ok(re.search(r"^ +33\.3%  futex queue_lock$", out, re.M), "what all wait for")


def test_summary_of_go():
    out = call("trace", file_of(GO))[1]
    ok("Collections: 10, one every 900ms" in out, "how often")
    ok(re.search(r"^  pause +500us +800us +1ms +1ms +10\.50ms    0\.117% of", out, re.M),
       "pauses: percentiles, the longest, all")
    ok(re.search(r"^  live heap +2MB +20MB +2MB +20MB$", out, re.M), "the live heap grows")
    ok(re.search(r"^  heap, at most +- +- +- +41MB$", out, re.M), "the heap at its highest")
    ok(re.search(r"^  goal +4MB +40MB +- +40MB$", out, re.M), "the goal")


def test_top():
    text = "SCHED 0ms: gomaxprocs=2\n" + "".join(
        f"  M{i}: p=0 curg=1 name=t{i} state=blocked(reason{i})\n" for i in range(30))
    path = file_of(text + text.replace("SCHED 0", "SCHED 9"))
    ok("and 20 more" in call("trace", path)[1], "ten rows")
    ok("and 27 more" in call("trace", "--top=3", path)[1], "--top=3")
    ok(" more" not in call("trace", "--top=0", path)[1], "--top=0: all")


def test_large_numbers():
    out = call("trace", file_of("gc 1 @9999999.0s 1%: 999999999+2+999999998 ms clock, 3->4->2 MB, 2 P\n"
                                "SCHED 1ms: gomaxprocs=1000000000 idleprocs=1000000000\n"))[1]
    ok(re.search(r"^  pause +\S+hrs +\S+hrs +\S+hrs ", out, re.M) and
       re.search(r"^  idle CPUs +1000000000.00 1000000000 1000000000 ", out, re.M),
       "columns stay apart")


def test_allocations():
    text = "".join(f"tracealloc({0x1000 + 16 * i:#x}, 0x10, main.T)\n"
                   "goroutine 1 [running]:\nruntime.mallocgc(0x10)\n\t/go/malloc.go:1 +0x1\n"
                   f"main.f{i % 2}()\n\t/home/x/main.go:{i % 2} +0x2\n\n" for i in range(10))
    text += "tracefree(0x1000, 0x10)\ngoroutine 1 [running]:\nruntime.gc()\n\t/go/gc.go:1 +0x1\n\n"
    out = call("trace", file_of(text))[1]
    ok("Allocations: 10, freed 1" in out, "how many")
    ok(re.search(r"^ +5 +80B +4 +64B   main.f0 main.go:0  main.T$", out, re.M), "by site")


def test_pictures():
    path = file_of(OURS + GO)
    done = {}
    for kind, magic in [("svg", b"<?xml"), ("pdf", b"%PDF"), ("png", b"\x89PNG")]:
        done[kind] = subprocess.run([str(SONDE), "trace", f"--{kind}", path],
                                    capture_output=True)
        ok(done[kind].returncode == 0 and done[kind].stdout.startswith(magic), f"--{kind}")
        to = f"{scratch()}/out.{kind}"
        equal(call("trace", f"--{kind}", "-o", to, path), (0, "", ""), f"--{kind} -o")
        ok(open(to, "rb").read().startswith(magic), "... is in the file")
    page = xml.dom.minidom.parseString(done["svg"].stdout)
    text = [t.firstChild.data for t in page.getElementsByTagName("text")]
    for word in ["trace.txt", "Heap", "Pauses", "Memory", "CPUs", "Run queue", "Threads",
                 "How long pauses are", "M8 worker one", "futex queue_lock", "running",
                 "consumed", "goal", "in use", "released"]:
        ok(word in text, f"the chart says '{word}'")
    ok("scheduler seen by switch" in " ".join(text), "and whence it knows")
    lanes = [g for g in page.getElementsByTagName("g") if g.getAttribute("class") == "lane"]
    equal(len(lanes), 3, "a lane a thread")
    ok("100.0% blocked" in lanes[1].getElementsByTagName("title")[0].firstChild.data,
       "which says more when pointed at")
    pages = subprocess.run(["pdfinfo", "-"], input=done["pdf"].stdout, capture_output=True) \
        if not missing("pdfinfo") else None
    ok(pages is None or b"Pages:           1" in pages.stdout, "one page")
    only = subprocess.run([str(SONDE), "trace", "--svg", file_of(GO)], capture_output=True).stdout
    ok(b">Heap<" in only and b">Threads<" not in only and b">CPUs<" not in only,
       "only panels that have data")
    title = call("trace", "--svg", "--title=A & <B>", path)[1]
    ok("<title>A &amp; &lt;B&gt;</title>" in title, "--title, escaped")


def test_odd_names():
    """Bytes that are no text, and characters that are none: no picture fails for them."""
    name = b'a\xff\xfeb \xef\xbf\xbe \xef\xb7\x90 \xf0\x9f\xbf\xbf \xc3'
    text = b"".join(b'SCHED %dms: gomaxprocs=1 idleprocs=0\n  M1: p=0 name="%s" state=blocked(%s)\n'
                    % (i, name, name) for i in (0, 10))
    path = file_of(text)
    xml.dom.minidom.parseString(subprocess.run([str(SONDE), "trace", "--svg", path],
                                               capture_output=True).stdout)
    ok(True, "SVG is XML")
    for kind in ("pdf", "png"):
        equal(call("trace", f"--{kind}", "-o", f"{scratch()}/odd.{kind}", path)[::2], (0, ""), kind)


def test_lanes():
    text = ""
    for sweep in range(3):
        text += f"SCHED {sweep * 10}ms: gomaxprocs=2\n" + "".join(
            f"  M{i}: p=0 curg={i} name=t{i} state={'running' if i % 3 == sweep else 'blocked(x)'}\n"
            for i in range(250))
    path = file_of(text)
    out = call("trace", "--svg", path)[1]
    equal(out.count('class="lane"'), 200, "200 lanes at most")
    ok("the 200 of 250 that ran most; 50 are left out" in out, "... which is said")
    equal(call("trace", "--svg", "--lanes=7", path)[1].count('class="lane"'), 7, "--lanes=7")
    wide = text.replace("name=t1 ", f"name={'x' * 100} ")
    ok("\u2026" in call("trace", "--svg", file_of(wide))[1], "long names are cut")


def test_long_traces():
    text = "".join(f"SCHED {i}ms: gomaxprocs=2 idleprocs={i % 3} threads=9 runqueue={i % 7}\n"
                   f"  M1: p=0 curg=1 state={'running' if i % 2 else 'blocked(x)'}\n"
                   for i in range(120000))
    path = file_of(text)
    out = call("trace", path)[1]
    ok("looked at 120000 times" in out and "one of 2 is kept" in out, "thinned, and says so")
    ok(len(call("trace", "--svg", path)[1]) < 1500000, "a picture of many events is not large")
    equal(call("trace", "--png", "-o", f"{scratch()}/x.png", path)[0], 0, "nor is a PNG a problem")


# ---- JSON -----------------------------------------------------------------------------------


def check_json(text, name):
    """Google's "Trace Event Format", as far as it is used here. The events."""
    data = json.loads(text)
    events = data["traceEvents"]
    bad, open_until = [], {}
    for event in events:
        numbers = [event.get(k) for k in ("pid", "tid")] + (
            [event.get("ts")] if event["ph"] != "M" else [])
        if event["ph"] not in "XCM" or not isinstance(event["name"], str) or \
                not all(isinstance(n, (int, float)) and n >= 0 for n in numbers):
            bad.append(event)
        if event["ph"] == "C" and not all(isinstance(v, (int, float))
                                          for v in event["args"].values()):
            bad.append(event)
        if event["ph"] == "M" and (event["name"] not in ("process_name", "thread_name") or
                                   not isinstance(event["args"]["name"], str)):
            bad.append(event)
    for event in (e for e in events if e["ph"] == "X"):
        track = open_until.setdefault((event["pid"], event["tid"]), [])
        begin, end = round(1000 * event["ts"]), round(1000 * (event["ts"] + event["dur"]))
        while track and track[-1] <= begin:
            track.pop()
        if track and end > track[-1]:
            bad.append(("overlaps", event))
        track.append(end)
    equal(bad[:3], [], f"{name}: every event is as the format wants it, slices nest")
    return events


def test_json():
    events = check_json(call("trace", "--json", file_of(OURS + GO))[1], "ours and Go's")
    names = {(e["pid"], e["tid"]): e["args"]["name"] for e in events if e["name"] == "thread_name"}
    equal(names[3, 8], "M8 worker one", "a thread has its name")
    waits = [e for e in events if e["name"] == "futex queue_lock"]
    equal([(e["tid"], e["ts"], e["dur"], e["cat"]) for e in waits], [(8, 0, 200000, "blocked")],
          "a state that goes on is one slice")
    equal(sum(e["name"] == "collection" for e in events), 11, "a slice a collection")
    equal(sum(e["name"] == "world stopped" for e in events), 20, "and in it the stops")
    heap = [e["args"]["heap"] for e in events if e["name"] == "heap (bytes)"]
    equal(heap[2:4], [5 << 20, 2 << 20], "the heap before and after one")
    odd = OURS.replace("worker one", 'quo\\"te \t \udcff').encode(errors="surrogateescape")
    check_json(call("trace", "--json", file_of(odd))[1], "odd names")
    minus = GO.replace("+2.0+0.5 ms clock", "+-2.0+-0.5 ms clock").replace(": 0.", ": -0.")
    check_json(call("trace", "--json", file_of(minus + GO.replace("2.0+", "-0.3+")))[1], "minus")
    back = "".join(f"gc {i} @0.005s 1%: 1+2+3 ms clock, 3->4->2 MB, 2 P\n" for i in range(9))
    check_json(call("trace", "--json", file_of(back))[1], "many in one millisecond")


# ---- streams --------------------------------------------------------------------------------


def test_pipe():
    text = OURS + "last without an end"
    status, out, err = call("trace", "-", input=text)
    equal((status, err), (0, "the program's own line\nlast without an end"),
          "from a pipe, other lines go on to standard error, unchanged")
    with open(file_of(text)) as file:
        equal(call("trace", "-", stdin=file)[1:],
              (call("trace", file_of(text))[1], ""), "a file as standard input is a file")
    fifo = f"{scratch()}/fifo"
    os.mkfifo(fifo)
    writer = subprocess.Popen(["sh", "-c", f"printf 'hello\\n%s' \"$1\" > {fifo}", "sh", GO])
    equal(call("trace", fifo)[2], "hello\n", "a named pipe likewise")
    writer.wait()


def test_own_lines():
    """They go on in one write a read, not each by itself."""
    reader, writer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    text = "own\n" * 10000 + GO
    done = subprocess.run([str(SONDE), "trace", "-"], input=text, stdout=subprocess.PIPE,
                          stderr=writer, text=True, timeout=60)
    writer.close()
    packets = list(iter(lambda: reader.recv(1 << 20), b""))
    equal((done.returncode, b"".join(packets)), (0, b"own\n" * 10000), "all lines go on")
    ok(len(packets) < 100, f"10000 lines in {len(packets)} writes")


def test_times():
    out = call("trace", "-", input="scvg1: 1 MB released\nscvg2: 1 MB released\n")[1]
    ok("Times are when the lines came" in out, "live lines without time have that of arrival")
    out = call("trace", file_of("scvg1: 1 MB released\nscvg2: 1 MB released\n"))[1]
    ok("No line says its time" in out, "in a file they have none")
    out = call("trace", file_of(GO + GO))[1]
    ok("Time goes back 1 time" in out, "several programs in one file")


def test_processes():
    child = re.sub(r"P$", "P pid=77", GO, flags=re.M)
    path = file_of(GO + child)
    out = call("trace", path)[1]
    ok("Collections: 10," in out and "Left out: 10 lines of other processes; --pid=77" in out,
       "lines of a forked process are left out")
    ok("Collections: 10," in call("trace", "--pid=77", path)[1], "--pid: or read alone")
    equal(call("trace", "-", input=GO + child)[2], "", "... and are not the program's own")
    many = "".join(GO.replace("P\n", f"P pid={pid}\n") for pid in range(80, 89))
    out = call("trace", file_of(GO + many))[1]
    ok("--pid=87, ..." in out and "--pid=88" not in out, "of many some are said, and that it is some")
    ok("--pid=87\n" in call("trace", file_of(GO + many.replace("pid=88", "pid=87")))[1], "or all")


def test_interrupted():
    reader, writer = socket.socketpair()
    command = subprocess.Popen([str(SONDE), "trace", "-"], stdin=reader, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    reader.close()
    writer.sendall(GO.encode())
    writer.sendall(b"ready\n")
    equal(command.stderr.readline(), "ready\n", "it reads")
    command.send_signal(signal.SIGINT)
    time.sleep(0.05)
    writer.sendall(b"gc 11 @11.0s 1%: 1+2+3 ms clock, 3->4->2 MB, 2 P\n")
    out, err = command.communicate(timeout=20)  # the pipe stays open
    equal((command.returncode, err), (0, ""), "Ctrl-C ends it")
    ok("Collections: 11" in out, "with all that came, the program's last words too")
    writer.close()


def test_terminal():
    shown = Terminal([str(SONDE), "trace", "--png", file_of(GO)])
    ok("terminal" in shown.read_until("\0never"), "no picture on a terminal")
    equal(shown.status(), 1, "... which is an error")
    coloured = Terminal([str(SONDE), "trace", file_of(GO)], TERM="xterm")
    ok("\x1b[1mCollections" in coloured.read_until("\0never"), "heads are bold")
    plain = Terminal([str(SONDE), "trace", file_of(GO)], TERM="xterm", NO_COLOR="1")
    ok("\x1b" not in plain.read_until("\0never"), "unless NO_COLOR is set")


def test_progress():
    shown = Terminal(["sh", "-c", '(printf "%s" "$1"; echo own; sleep 0.6; echo "$2"; echo own; '
                      'sleep 0.3) | "$3" trace -', "sh", GO,
                      "gc 11 @11.0s 1%: 1+2+3 ms clock, 3->4->2 MB, 2 P", str(SONDE)], TERM="xterm")
    text = shown.read_until("\0never")
    ok("own\r\n" in text and re.search(r"\d s: 11 collections, live heap 2MB; Ctrl-C ends", text),
       "on a terminal it says how far things are")
    ok("Collections: 11" in text.split("\r\x1b[K")[-1], "and wipes that away at the end")


def test_hostile():
    for name, line in [("brackets", b"gc 1 @1s 1%: 1+2 ms clock, " + b"(" * 65000),
                       ("more", b"gc 1 @1s 1%: 1+2 ms clock, " + b"1(" * 32000),
                       ("scvg", b"scvg1: 1 MB released " + b"(" * 65000),
                       ("pairs", b"SCHED 1ms: gomaxprocs=1 " + b"a=( " * 16000),
                       ("spaces", b"  M1: p=0" + b" " * 65000),
                       ("nuls", b"SCHED 1ms: gomaxprocs=1 " + b"\0" * 65000),
                       ("endless", b"gc 1 @1s 1%: 1+2 ms clock" + b"x" * 500000)]:
        begin = time.monotonic()
        status, out, err = call("trace", file_of((line + b"\n") * 20, name))
        ok(status == 0 and err == "" and time.monotonic() - begin < 30, f"hostile: {name}")


def test_escapes():
    """Nothing in a trace steers the terminal."""
    odd = "\x1b]0;owned\x07\x1b[2J"
    out = call("trace", file_of(f"runtime: invalid pointer {odd}\n"
                                f"SCHED 1ms: gomaxprocs=2 idleprocs=1 odd={odd}\n"
                                f"  M1: p=0 name={odd} state=blocked({odd})\n"
                                f"tracealloc(0x10, 0x10, {odd})\n{odd}(...)\n\t/{odd}:1\n\n"))[1]
    ok("Invalid pointers: 1" in out and "odd=?]0;owned" in out and "\x1b" not in out and
       "\x07" not in out, "control characters of a trace are not printed")
    cut = file_of("runtime: invalid pointer " + "\u00e9" * 200 + "\n")
    done = subprocess.run([str(SONDE), "trace", cut], capture_output=True)
    ok(done.returncode == 0 and "\u00e9" in done.stdout.decode(), "nor half a character")


def test_refused():
    path = file_of(GO)
    for words, wrong in [([], "give a file"), ([path, path], "one file"),
                         (["--svg", "--pdf", path], "one report"), (["--top=x", path], "--top"),
                         (["--lanes=-1", path], "--lanes"), (["--svgg", path], "--svg")]:
        status, out, err = call("trace", *words)
        ok((status, out) == (2, "") and wrong in err, err.splitlines()[0] if err else words)
    for text, wrong in [("hello\nworld\n", "no line of a runtime's trace"), ("", "no line of"),
                        (b"\x1f\x8bxxxxxxxxxx", "compressed"), (b"\x7fELF\x02\x01\x01\0\0", "program"),
                        (b"SNHDUMP1xxxxxxxx", "sonde heapdump"), (b"\0" * 9999, "no line of")]:
        bad = file_of(text, "bad")
        status, out, err = call("trace", bad)
        ok((status, out) == (1, "") and wrong in err and "bad" in err, err.strip())
    for bad, wrong in [(f"{scratch()}/none", "cannot open"), (scratch(), "directory"),
                       ("/proc/self/mem", "cannot read")]:
        status, out, err = call("trace", bad)
        ok((status, out) == (1, "") and wrong in err and bad in err, err.strip())
    status, out, err = call("trace", "--svg", file_of("pacer: x\n"))
    ok((status, out) == (1, "") and "nothing to draw" in err, err.strip())
    status, out, err = call("trace", "--json", file_of("tracealloc(0x10, 0x20, T)\n"))
    ok((status, out) == (1, "") and "nothing to show" in err, err.strip())
    to = f"{scratch()}/none/out.svg"
    status, out, err = call("trace", "--svg", "-o", to, path)
    ok(status == 1 and to in err, f"a file that cannot be written: {err.strip()}")


# ---- Go -------------------------------------------------------------------------------------

PROGRAM = """
package main

import ("fmt"; "os"; "runtime"; "sync"; "time")

var sink [][]byte

func main() {
    var wg sync.WaitGroup
    var mu sync.Mutex
    ch := make(chan int)
    go func() { for range ch { time.Sleep(time.Millisecond) } }()
    for i := 0; i < 8; i++ {
        wg.Add(1)
        go func(i int) {
            defer wg.Done()
            for k := 0; k < 200; k++ {
                b := make([]byte, 40000)
                mu.Lock()
                sink = append(sink, b)
                if len(sink) > 200 { sink = sink[50:] }
                mu.Unlock()
                if k%30 == 0 { ch <- 1 }
                s := 0
                for q := 0; q < 100000; q++ { s += q }
                b[0] = byte(s)
            }
        }(i)
    }
    wg.Wait()
    runtime.GC()
    time.Sleep(50 * time.Millisecond) // else its end cuts the collector's last line short
    if len(os.Args) > 1 { // nobody else prints
        fmt.Fprintln(os.Stderr, os.Args[1])
    }
}
"""


def go_programs():
    """(version, program) for every Go of this machine."""
    tools = {os.path.realpath(p) for p in [*glob.glob("/usr/lib/go-*/bin/go"),
                                           shutil.which("go") or ""] if os.path.exists(p)}
    for tool in sorted(tools):
        source = file_of(PROGRAM, "main.go")
        program = source[:-3]
        environment = {**os.environ, "GO111MODULE": "off", "GOTOOLCHAIN": "local",
                       "GOFLAGS": "", "GOROOT": os.path.dirname(os.path.dirname(tool)),
                       "GOCACHE": os.environ.get("GOCACHE", "/var/tmp/sonde-go-cache")}
        done = subprocess.run([tool, "build", "-o", program, source], env=environment,
                              cwd=os.path.dirname(source), capture_output=True, text=True)
        if done.returncode != 0:
            note(f"{tool}: {done.stderr}")
            continue
        version = subprocess.run([tool, "version"], env=environment, capture_output=True, text=True)
        yield version.stdout.split()[2], program


def run_go(program, debug, *words):
    return subprocess.run([program, *words], env={**os.environ, "GODEBUG": debug}, capture_output=True,
                          text=True, timeout=60).stderr


def test_go():
    programs = list(go_programs())
    if not programs:
        skip("Go's own lines", "no Go")
    for version, program in programs:
        for debug in ["schedtrace=10,scheddetail=1,gctrace=1,scavtrace=1",
                      "schedtrace=10,gctrace=1", "gctrace=1"]:
            own = ["the program's own line"] if debug == "gctrace=1" else []
            text = run_go(program, debug, *own)
            name = f"{version} {debug}"
            status, out, err = call("trace", "-", input=text)
            equal((status, err.splitlines()[:5]), (0, own), f"{name}: no line is left over")
            # each piece that begins like a line, also where Go printed it into another one
            collections = re.findall(r"gc (\d+) @([0-9.]+)s \d+%: ([0-9.]+)\+[0-9.]+\+([0-9.]+) ms "
                                     r"clock, \S+ ms cpu, (\d+)->(\d+)->(\d+) MB, (\d+) MB goal",
                                     text)
            ok(f"Collections: {len(collections)}," in out, f"{name}: {len(collections)} collections")
            events = check_json(call("trace", "--json", file_of(text))[1], name)
            slices = [e["args"] for e in events if e["name"].startswith("collection")]
            equal([[a["number"], a["before"] >> 20, a["at end"] >> 20, a["live"] >> 20,
                    a["goal"] >> 20] for a in slices],
                  [[int(c[0]), *map(int, c[4:])] for c in collections], f"{name}: their sizes")
            stops = [e["dur"] for e in events if e["name"] == "world stopped"]
            near_enough = len(stops) == 2 * len(collections) and all(
                abs(a - 1000 * float(b)) < 0.002
                for a, b in zip(stops, [x for c in collections for x in (c[2], c[3])]))
            ok(near_enough, f"{name}: their stops")
            times = [1000 * int(ms) for ms in re.findall(r"SCHED (\d+)ms: gomax", text)]
            equal([e["ts"] for e in events if e["name"] == "threads"], times,
                  f"{name}: {len(times)} looks at the scheduler")
            for letter, pid in [("P", 2), ("M", 3), ("G", 4)]:
                want = {int(i) for i in re.findall(rf"^  {letter}(\d+): ", text, re.M)}
                got = {e["tid"] for e in events if e["pid"] == pid and e["name"] == "thread_name"}
                equal(got, want, f"{name}: every {letter}")
        equal(call("trace", "--svg", file_of(text))[0], 0, f"{version}: drawn")


# ---- what our own knobs print ---------------------------------------------------------------

PYTHON_HEAP = ["/usr/bin/python3", "-c", "import time; x = [bytes(5000) for _ in range(20000)]; "
               "x = 0; time.sleep(1.3)"]
WORK = "(let loop ((i 0) (l '())) (if (< i 300000) (loop (+ i 1) (cons i l))))"


def own(name, settings, argv, want):
    """Each line that SONDE=`settings` writes to a file, none passed over."""
    path = f"{scratch()}/own.trace"
    if os.path.exists(path):
        os.unlink(path)
    env = dict(os.environ, SONDE=f"{settings},trace_path={path},quiet",
               LD_PRELOAD=str(BUILD / "libsonde.so"))
    subprocess.run([str(a) for a in argv], env=env, capture_output=True, timeout=60)
    text = open(path).read() if os.path.exists(path) else ""
    status, out, err = call("trace", path)
    ok(status == 0 and err == "" and re.search(want, text, re.M),
       f"ours: {name}: {len(text.splitlines())} lines are read")
    if status != 0 or err != "":
        note(f"{status}: {err} of {text[:400]}")
    ok(out != "" and "passed over" not in out, f"ours: {name}: none is passed over")


def test_ours():
    own("gctrace of malloc", "gctrace=2", PYTHON_HEAP, "^gc 1 .* malloc")
    own("scavenge", "scavenge", PYTHON_HEAP, r"^scvg\d+: \d+ MB released$")
    for source in ("tracepoints", "switch", "proc"):
        if source == "proc" or os.geteuid() == 0:
            own(f"scheduler, {source}", f"schedtrace=20,scheddetail,schedsource={source}",
                PYTHON_HEAP, rf"^SCHED \d+ms: source={source} ")
            own(f"scheduler with stacks, {source}", f"schedtrace=20,scheddetail=2,schedsource={source}",
                PYTHON_HEAP, r"^    #1 0x[0-9a-f]+ ")
    own("invalidptr", "invalidptr=1", program("bad_pointers", "twice"),
        "^runtime: invalid pointer")
    own("dangling pointers", "invalidptr=2", program("bad_pointers", "dangling"),
        "^runtime: garbage collector found invalid heap pointer")
    for line, way in (("overrun", ["write", 40, 60]), ("underrun", ["write", 40, -20]),
                      ("use after free", ["freed_read", 40, 0]), ("double free", ["twice", 40]),
                      ("bad free", ["interior", 40, 8])):
        side = "left" if line == "underrun" else "1"
        own(f"efence, {line}", f"efence={side}", program("fence", *way), f"^efence: {line}")
    if shutil.which("guile-3.0"):
        own("gctrace of libgc", "gctrace=2", ["guile-3.0", "--no-auto-compile", "-c", WORK],
            "^gc 1 phases")


def test_go_live():
    for version, program in go_programs():
        trace = subprocess.run(["sh", "-c", 'GODEBUG=gctrace=1 "$1" "own line" 2>&1 | "$2" trace -',
                                "sh", program, str(SONDE)], capture_output=True, text=True, timeout=60)
        equal(trace.stderr, "own line\n", f"{version}: live")
        ok("Collections: " in trace.stdout, f"{version}: and the summary at its end")
        break


def test_go_allocations():
    for version, program in go_programs():
        text = subprocess.run(["sh", "-c", 'GODEBUG=allocfreetrace=1 "$1" 2>&1 | head -c 1000000',
                               "sh", program], capture_output=True, text=True, timeout=60).stdout
        text = text[:text.rindex("\n\n") + 2] if "tracealloc" in text else ""
        if not text:
            note(f"{version} has no allocfreetrace")
            continue
        status, out, err = call("trace", "-", input=text)
        equal((status, err.splitlines()[:5]), (0, []),
              f"{version}: no line of allocfreetrace is left over")
        n = len(re.findall("^tracealloc", text, re.M))
        ok(f"Allocations: {n}, freed {len(re.findall('^tracefree', text, re.M))}" in out,
           f"{version}: {n} allocations")


main(globals())
