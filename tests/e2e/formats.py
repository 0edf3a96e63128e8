#!/usr/bin/env python3
"""Profiles that real programs wrote in the old formats: -raw must be what `go tool pprof` prints."""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile

SONDE = os.path.join(os.environ["SONDE_BUILD"], "sonde")
GO_PROGRAM = """package main
import ("os"; "runtime"; "runtime/pprof"; "sync"; "time")
var keep [][]byte
func main() {
    runtime.SetBlockProfileRate(1)
    runtime.SetMutexProfileFraction(1)
    runtime.MemProfileRate = 4096
    var mu sync.Mutex
    var wg sync.WaitGroup
    f, _ := os.Create("cpu.0")
    pprof.StartCPUProfile(f)
    for i := 0; i < 4; i++ {
        wg.Add(1)
        go func() { mu.Lock(); time.Sleep(time.Millisecond); mu.Unlock(); wg.Done() }()
    }
    wg.Wait()
    for t := time.Now(); time.Since(t) < 200*time.Millisecond; { keep = append(keep[:0], make([]byte, 1000)) }
    pprof.StopCPUProfile()
    f.Close()
    for _, n := range []string{"heap", "goroutine", "block", "mutex", "threadcreate"} {
        for d, end := range []string{".0", ".1"} {
            f, _ := os.Create(n + end)
            pprof.Lookup(n).WriteTo(f, d)
            f.Close()
        }
    }
}
"""
C_PROGRAM = "int main(void) { for (volatile long i = 0; i < 200000000; i++) continue; return 0; }\n"


def run(command, cwd, **env):
    return subprocess.run(command, cwd=cwd, env=dict(os.environ, TZ="UTC", **env), timeout=200,
                          capture_output=True)


def raw(command, path, cwd):
    text = run(command + ["-symbolize=none", "-raw", path], cwd).stdout
    return re.sub(rb"(?m)^Time: .*$", b"Time:", text)  # Go before 1.20 words it otherwise


def perf_rows(d):
    """(flags, what `perf script` prints) of the C program, as perf of this machine has it."""
    run(["cc", "-g", "-fno-omit-frame-pointer", "g.c", "-o", "p"], d)
    record = lambda *flags: run(["perf", "record", "-q", "-o", "p.data", "-e", "cpu-clock", *flags, "./p"],
                                d).returncode == 0
    script = lambda *flags: run(["perf", "script", "-i", "p.data", *flags], d).stdout
    if shutil.which("perf") is None or not record("-g"):
        print("# perf (linux-perf) is not installed, or may not record here")
        return
    for flags in ([], ["--header"], ["-F", "+srcline"], ["-G"], ["--show-mmap-events"]):
        yield "-g, script " + " ".join(flags), script(*flags)
    record()
    yield "no stacks", script()


def main():
    if shutil.which("go") is None:
        print("1..0 # SKIP go (golang-go) is not installed")
        return
    made, bad = [], 0
    with tempfile.TemporaryDirectory() as d:
        cwd = pathlib.Path(d)
        (cwd / "m.go").write_text(GO_PROGRAM)
        (cwd / "g.c").write_text(C_PROGRAM)
        run(["go", "run", "m.go"], d)
        made += sorted(p.name for p in cwd.glob("*.[01]"))
        if run(["cc", "g.c", "-o", "g", "-Wl,--no-as-needed", "-lprofiler"], d).returncode == 0:
            run(["./g"], d, CPUPROFILE="gperftools.cpu")
            made.append("gperftools.cpu")
        else:
            print("# gperftools (libgoogle-perftools-dev) is not installed")
        for number, name in enumerate(made, 1):
            theirs, ours = raw(["go", "tool", "pprof"], name, d), raw([SONDE, "pprof"], name, d)
            good = theirs == ours and b"Mappings" in ours
            bad += not good
            print(f"{'ok' if good else 'not ok'} {number} - {name} as go tool pprof prints it")
        good = len(made) >= 11
        number = len(made) + 1
        print(f"{'ok' if good else 'not ok'} {number} - the programs wrote their profiles")
        bad += not good
        for flags, text in perf_rows(d):
            (cwd / "p.txt").write_bytes(text)
            top = run([SONDE, "top", "p.txt"], d).stdout
            first = next((line.split() for line in top.splitlines() if line.endswith(b" main")), [b"0%"] * 6)
            share = float(first[1].strip(b"%"))  # the kernel's and the loader's are the rest
            good, number = share > 50, number + 1
            bad += not good
            print(f"{'ok' if good else 'not ok'} {number} - perf {flags}: main has {share} %")
            if not good:
                print("# " + "\n# ".join((text[:400] + b"\n...\n" + top[:800]).decode(errors="replace").splitlines()))
    print(f"1..{number}")
    raise SystemExit(bad > 0)


main()
