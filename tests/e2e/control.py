#!/usr/bin/env python3
"""A running program asked for its heap: by itself, by a signal, by the command, at its socket.
It answers however it waits, and notices nothing; whoever asks badly does no harm."""

from harness import *
import array
import contextlib
import glob
import re
import socket
import stat
import sys
import time

# Two seconds long; what they return when nobody disturbs them.
TIMED = {
    "poll": "0 0", "ppoll": "0 0", "ppoll_masked": "0 0", "select": "0 0", "pselect": "0 0",
    "epoll_wait": "0 0", "epoll_pwait": "0 0", "nanosleep": "0 0", "clock_nanosleep": "0 0",
    "clock_nanosleep_until": "0 0", "usleep": "0 0", "sleep": "0 0", "thrd_sleep": "0 0",
    "sem_timedwait": "-1 ETIMEDOUT", "cond_timedwait": "110 0", "semtimedop": "-1 EAGAIN",
    "sigtimedwait": "-1 EAGAIN",
}
# Until a signal of their own.
ENDLESS = ["poll_ever", "epoll_ever", "select_ever", "pause", "sigsuspend", "sem_wait", "read",
           "accept", "recv"]


class Started:
    """A program that records its heap and has said that it is ready."""

    def __init__(self, command, settings="mem=exact,quiet", directory=None, env=None, **options):
        self.directory = directory or scratch()
        environment = dict(env or os.environ, LD_PRELOAD=str(LIBRARY),
                           SONDE=f"{settings},path={self.directory}")
        self.process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                        **options)
        self.pid = self.process.pid
        line = self.process.stdout.readline()
        if line != "ready\n":
            raise AssertionError(f"{command}: {line} {self.process.stderr.read()}")

    def tell(self, line):
        """What it answers."""
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline()

    def asleep(self):
        """Wait until it sleeps in the kernel."""
        for _ in range(200):
            with open(f"/proc/{self.pid}/stat") as file:
                if file.read().rsplit(")", 1)[1].split()[0] == "S":
                    return
            time.sleep(0.01)

    def end(self):
        out, self.err = self.process.communicate(timeout=60)
        return out.strip()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


def waiting(how="obey", *settings, **options):
    return Started(program("waiting", how), *settings, **options)


def ask(*arguments, **options):
    """The command: (status, output, errors)."""
    options.setdefault("cwd", scratch())
    done = subprocess.run([str(SONDE), *map(str, arguments)], capture_output=True, text=True,
                          timeout=60, **options)
    return done.returncode, done.stdout, done.stderr


def taken(run, *options):
    """The heap of a running program, as the command has it."""
    path = f"{scratch()}/now.pprof"
    status, out, err = ask("heap", "-q", "-o", path, *options, run.pid)
    if (status, out) != (0, ""):
        raise AssertionError(f"sonde heap {run.pid}: {err}")
    return Profile(path)


def under(profile, name, kind="inuse_objects"):
    return profile.total(kind, lambda stack, _: name in stack)


def speak(path, request, seconds=5, fds=None):
    """A request at the socket; what is answered until it closes."""
    ours, theirs = socket.socketpair()
    with ours, theirs, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.settimeout(seconds)
        s.connect(path)
        rights = array.array("i", [theirs.fileno()] if fds is None else fds)
        s.sendmsg([request], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if rights else [])
        theirs.close()
        ours.settimeout(seconds)
        answer = b""
        while data := ours.recv(4096):
            answer += data
        return answer


# ---- what it says ------------------------------------------------------------------------


def test_now():
    with waiting() as run:
        run.tell("alloc 400")
        run.tell("keep 100")
        p = taken(run)
        equal((under(p, "alloc_blocks"), under(p, "keep_blocks")), (400, 100), "what is live now")
        ok("written while the program ran" in p.comments, "it says that the program goes on")
        run.tell("free")
        p = taken(run)
        equal(under(p, "alloc_blocks"), 0, "freed")
        equal(under(p, "alloc_blocks", "peak_objects"), 400, "... but it is in the peak")
        status, out, err = ask("heap", "--sample_index=peak_space", run.pid)
        ok(status == 0 and "alloc_blocks" in out and "peak_space" in out, "its top is printed")
        equal(err, "", "... and no more")
        equal(run.end(), "", "the program ends")
        equal(run.process.returncode, 0, "... well")
        p = Profile(f"{run.directory}/mem.pprof")
        equal(under(p, "alloc_blocks", "alloc_objects"), 400, "its own profile is complete")


def test_mark():
    with waiting() as run:
        run.tell("alloc 1000")
        run.tell("free")
        run.tell("alloc 100")
        p = taken(run, "--mark")
        equal(under(p, "alloc_blocks", "peak_objects"), 1000, "the peak until the mark")
        p = taken(run)
        equal(under(p, "alloc_blocks", "peak_objects"), 100, "after it: what is live")
        run.tell("keep 300")
        run.tell("free")
        run.tell("keep 50")
        p = taken(run)
        equal((under(p, "alloc_blocks", "peak_objects"), under(p, "keep_blocks", "peak_objects")),
              (100, 300), "... and then the highest since")
        equal(under(p, "keep_blocks"), 50, "... while other values go on")


def test_difference():
    with waiting() as run:
        run.tell("alloc 100")
        path = f"{scratch()}/difference.pprof"
        child = subprocess.Popen([str(SONDE), "heap", "-q", "-o", path, "--seconds=2",
                                  str(run.pid)])
        time.sleep(1)
        run.tell("keep 70")
        equal(child.wait(timeout=30), 0, "--seconds")
        p = Profile(path)
        equal((under(p, "alloc_blocks"), under(p, "keep_blocks")), (0, 70), "only what has changed")
        child = subprocess.Popen([str(SONDE), "heap", "-q", "-o", path, "--seconds=1000",
                                  str(run.pid)], stderr=subprocess.PIPE, text=True)
        time.sleep(1)
        run.tell("keep 5")
        run.end()
        _, err = child.communicate(timeout=30)
        ok(child.returncode == 0 and "ended" in err, f"the program ends meanwhile: {err.strip()}")
        equal(under(Profile(path), "keep_blocks"), 5, "... and what it left is the second look")


def test_names():
    directory = scratch()
    with waiting() as run:
        for want in ["mem.%d.pprof", "mem.%d.2.pprof", "mem.%d.3.pprof"]:
            ask("heap", "-q", run.pid, cwd=directory)
            ok(os.path.exists(f"{directory}/{want % run.pid}"), f"without -o: {want}")
        before = sorted(os.listdir(directory))
        equal(ask("heap", "-o", "/nowhere/x", run.pid, cwd=directory)[0], 1, "cannot be written")
        equal(sorted(os.listdir(directory)), before, "... and nothing is left")


def test_sampled():
    with waiting("obey", "mem=1000,quiet") as run:
        run.tell("alloc 20000")
        got = under(taken(run), "alloc_blocks")
        ok(15000 < got < 25000, f"sampled: {got} of 20000")
        status, _, err = ask("heapdump", run.pid)
        ok(status == 1 and "mem=exact" in err, f"a dump needs more: {err.strip()}")


def test_by_itself():
    with waiting() as run:
        run.tell("alloc 30")
        path = f"{scratch()}/own.pprof"
        equal(run.tell(f"write {path}"), "done\n", "sonde_heap_write")
        equal(under(Profile(path), "alloc_blocks"), 30, "... has it")
        said = run.tell("write /nowhere/own.pprof")
        ok(said.startswith("EIO ") and "/nowhere" in said, f"... or says why not: {said.strip()}")
        equal(glob.glob(f"{os.path.dirname(path)}/*.tmp"), [], "... and leaves nothing")
    with waiting("obey", "cpu,quiet") as run:
        said = run.tell(f"write {scratch()}/own.pprof")
        ok(said.startswith("EINVAL ") and "heap" in said, f"no heap: {said.strip()}")


def written(run, name):
    """Wait for a file of it, whole."""
    path = f"{run.directory}/{name}"
    for _ in range(3000):
        if os.path.exists(path):
            return Profile(path)
        time.sleep(0.01)
    raise AssertionError(f"{name} is not written")


def test_signal():
    for setting, number in [("USR2", signal.SIGUSR2), ("SIGHUP", signal.SIGHUP),
                            (str(int(signal.SIGUSR2)), signal.SIGUSR2)]:
        with waiting("obey", f"mem=exact,quiet,mem_signal={setting}") as run:
            for n in [1, 2]:
                run.tell("alloc 10")
                run.process.send_signal(number)
                p = written(run, f"mem.{n}.pprof")
                equal(under(p, "alloc_blocks"), 10 * n, f"{setting}: mem.{n}.pprof")
            equal((run.end(), run.process.returncode), ("", 0), "... and the program goes on")
    with waiting("poll", "mem=exact,quiet,mem_signal=USR2") as run:
        run.asleep()
        run.process.send_signal(signal.SIGUSR2)
        written(run, "mem.1.pprof")
        ok(run.end().startswith("poll: 0 0,"), "a wait is not cut short by it")
    with waiting("poll_ever", "mem=exact,quiet,mem_signal=USR1") as run:
        run.asleep()
        run.process.send_signal(signal.SIGUSR1)
        ok(run.end().startswith("poll_ever: -1 EINTR,"), "a signal that the program handles is its own")
        equal(glob.glob(f"{run.directory}/mem.1.pprof"), [], "... and writes nothing")
    for setting in ["KILL", "SEGV", "0", "999", "MAYBE", "", "61", "32"]:
        run = preload(program("shares", 20), f"mem,mem_signal={setting}")
        ok("'mem_signal'" in run.err and run.status == 0, f"mem_signal={setting}: {run.err.strip()}")


def test_storm():
    """Signals while it allocates: on top of everything that our own work does."""
    code = ("import time\nprint('ready', flush=True)\nend = time.monotonic() + 4\n"
            "while time.monotonic() < end: x = [str(n) * 20 for n in range(3000)]\n"
            "print('well')\n")
    with Started([sys.executable, "-c", code], "mem=exact,quiet,mem_signal=USR2",
                 env=dict(os.environ, PYTHONMALLOC="malloc")) as run:
        n = 0
        while run.process.poll() is None and n < 300:
            run.process.send_signal(signal.SIGUSR2)
            if n % 20 == 0:
                ask("heap", "-q", "-o", "x", run.pid)
            time.sleep(0.03)
            n += 1
        equal((run.end(), run.process.returncode), ("well", 0), f"{n} signals and looks")
        files = glob.glob(f"{run.directory}/mem.*.pprof")
        ok(len(files) >= 1, f"... {len(files)} files")  # a signal on top of our work writes none
        for path in files:
            Profile(path)


# ---- however it waits ---------------------------------------------------------------------


def check_asked(run, how):
    """A look, and a dump, which the program writes itself."""
    run.asleep()
    status, _, err = ask("heap", "-q", "-o", "x.pprof", run.pid)
    dumped, _, more = ask("heapdump", "-o", "x.dump", run.pid)
    ok((status, dumped) == (0, 0), f"{how}: answers {err}{more if dumped else ''}")


def check_timed(hows, settings):
    """Some at once: each takes two seconds."""
    with contextlib.ExitStack() as stack:
        runs = {how: stack.enter_context(waiting(how, settings)) for how in hows}
        for how, run in runs.items():
            check_asked(run, f"{how}, {settings}")
        for how, run in runs.items():
            said = run.end()
            found = re.fullmatch(rf"{how}: {TIMED[how]}, (\d+) ms, 0 signals", said)
            ok(found and 1990 <= int(found[1]) < 2900, f"... and notices nothing: {said}")


def test_waits_with_a_time():
    hows = list(TIMED)
    for i in range(0, len(hows), 4):
        check_timed(hows[i:i + 4], "mem=exact,quiet")


def test_with_clocks():
    check_timed(["poll", "nanosleep", "sem_timedwait"], "cpu=1000,mem=exact,quiet")


def test_waits_without():
    for how in ENDLESS:
        with waiting(how) as run:
            check_asked(run, how)
            run.asleep()
            equal(run.process.poll(), None, "... and waits on")
            run.process.send_signal(signal.SIGUSR1)
            said = run.end()
            ok(re.fullmatch(rf"{how}: -1 EINTR, \d+ ms, 1 signals", said),
               f"... until its own signal: {said}")


def test_asked_without_end():
    """Hundreds of requests a second: whatever it does meanwhile goes as it should."""
    plain = subprocess.run(program("polite"), capture_output=True, text=True).stdout.splitlines()
    for settings in ["mem=exact,quiet", "cpu=1000,mem,quiet"]:
        directory = scratch()
        environment = dict(os.environ, LD_PRELOAD=str(LIBRARY), SONDE=f"{settings},path={directory}")
        child = subprocess.Popen(program("polite"), env=environment, stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, text=True)
        answers, end = 0, time.monotonic() + 60
        while child.poll() is None:
            if time.monotonic() > end:
                child.kill()
            try:
                answers += speak(f"{directory}/mem.sock", b"stat", 1).startswith(b"ok ")
            except OSError:  # it has not begun, or is at its end
                pass
            time.sleep(0.002)
        out, err = child.communicate()
        equal((child.returncode, err), (0, ""), f"{settings}: {answers} answers")
        for want, got in zip(plain, out.splitlines()):
            equal(got, want, f"... {want[4:]}")
        ok(answers > 50, "... many")


def test_main_thread_ends():
    with waiting("main_ends") as run:
        time.sleep(0.3)
        status, _, err = ask("heap", "-q", "-o", "x.pprof", run.pid)
        dumped, _, more = ask("heapdump", "-o", "x.dump", run.pid)
        equal((status, dumped), (0, 0), f"the main thread has ended: {err}{more}")
        equal(run.end(), "main_ends: 0", "... and the others notice nothing")


def test_stopped():
    with waiting() as run:
        run.tell("alloc 5")
        run.process.send_signal(signal.SIGSTOP)
        equal(under(taken(run), "alloc_blocks"), 5, "a stopped program's heap is read")
        status, _, err = ask("heapdump", run.pid)
        ok(status == 1 and "stopped" in err, f"... not dumped: {err.strip()}")
        run.process.send_signal(signal.SIGCONT)
        equal(run.tell("alloc 1"), "done\n", "... and it goes on")
        equal(glob.glob(f"{run.directory}/*.dump"), [], "... and writes nothing for whom has gone")
        equal(ask("heapdump", "-o", "x.dump", run.pid)[0], 0, "... and answers again")


def test_servers():
    if missing("redis-server", "redis-cli"):
        return skip("redis", "redis is not installed")
    directory = scratch()
    environment = dict(os.environ, LD_PRELOAD=str(LIBRARY), SONDE=f"mem=exact,quiet,path={directory}")
    server = subprocess.Popen(["redis-server", "--port", "0", "--unixsocket", f"{directory}/r",
                               "--save", "", "--dir", directory], env=environment,
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    client = ["redis-cli", "-s", f"{directory}/r"]
    try:
        for _ in range(100):
            if subprocess.run([*client, "ping"], capture_output=True).stdout == b"PONG\n":
                break
            time.sleep(0.1)
        if server.poll() is not None:
            return skip("redis", f"it does not run: {server.stderr.read()}")
        status, out, err = ask("heap", server.pid)
        ok(status == 0 and "inuse_space" in out, f"redis, idle: {err}")
        status, _, err = ask("heapdump", "-o", "x.dump", server.pid)
        ok(status == 0, f"... dumped: {err.strip()}")
        equal(subprocess.run([*client, "ping"], capture_output=True).stdout, b"PONG\n", "... and serves")
        subprocess.run([*client, "shutdown", "nosave"], capture_output=True)
        equal(server.wait(timeout=30), 0, "... to its end")
    finally:
        server.kill()
        server.communicate()


# ---- the socket ---------------------------------------------------------------------------


def test_private():
    with waiting("obey", preexec_fn=lambda: os.umask(0)) as run:
        for name in ["mem.sock", "mem.spool"]:
            mode = os.stat(f"{run.directory}/{name}").st_mode
            equal(stat.S_IMODE(mode), 0o600, f"{name}: its user's alone, whatever the umask")
        ok(stat.S_ISSOCK(os.stat(f"{run.directory}/mem.sock").st_mode), "a socket")
        for fd in os.listdir(f"/proc/{run.pid}/fd"):
            link = os.readlink(f"/proc/{run.pid}/fd/{fd}")
            ok("socket" not in link or int(fd) > 500, f"descriptor {fd} is {link.split(':')[0]}")
        run.end()
        equal(glob.glob(f"{run.directory}/*.sock"), [], "at the end it goes")


def test_other_users():
    if os.getuid() != 0:
        return skip("another user", "not root")
    with waiting() as run:
        directory = scratch()
        for d in [directory, os.path.dirname(directory), run.directory]:
            os.chmod(d, 0o755)
        try:
            status, _, err = ask("heap", run.pid, cwd=directory, user=65534, group=65534,
                                 extra_groups=[])
        except PermissionError as error:
            return skip("another user", str(error))
        ok(status == 1 and "belongs to root" in err, f"another user's: {err.strip()}")
    with waiting("obey", preexec_fn=lambda: (os.setgid(65534), os.setuid(65534)),
                 directory=(d := scratch_of(65534))) as run:
        run.tell("alloc 3")
        equal(under(taken(run), "alloc_blocks"), 3, "root looks at everybody's")
        equal(ask("heapdump", "-o", "x.dump", run.pid)[0], 0, "... and dumps it")
        del d


def scratch_of(uid):
    directory = scratch()
    os.chown(directory, uid, uid)
    os.chmod(os.path.dirname(directory), 0o755)
    return directory


def test_bad_clients():
    with waiting() as run:
        path = f"{run.directory}/mem.sock"
        run.tell("alloc 2")
        silent = [socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(50)]
        for s in silent:
            s.connect(path)
        begin = time.monotonic()
        ok(speak(path, b"spool").startswith(b"ok /"), "fifty who say nothing keep nobody waiting")
        ok(time.monotonic() - begin < 3, "... at all")
        for name, request in [("nothing", b""), ("garbage", bytes(range(256)) * 4),
                              ("a newline", b"\n"), ("zeros", bytes(500)),
                              ("half a word", b"hea"), ("a long word", b"x" * 9000),
                              ("a relative path", b"heapdump x")]:
            answer = speak(path, request)
            ok(answer.split(b"\n")[-2].startswith(b"error ") or name == "nothing", f"{name}: {answer!r}")
        try:
            speak(path, b"x" * (1 << 20))
            ok(False, "a megabyte is taken")
        except OSError as error:
            ok(True, f"a megabyte: {error}")
        for s in silent:  # requests with nobody to answer to
            s.setblocking(False)
            try:
                s.send(b"stat")
            except BlockingIOError:
                pass
        many = [os.dup(0) for _ in range(100)]
        speak_quietly(path, b"stat", many)
        for fd in many:
            os.close(fd)
        ok(speak(path, b"stat").startswith(b"ok live "), "... and it still answers")
        left = len(os.listdir(f"/proc/{run.pid}/fd"))
        equal(left, 4, "no descriptor is left over")
        equal(run.tell("alloc 1"), "done\n", "the program is well")
        both = [subprocess.Popen([str(SONDE), "heapdump", "-o", f"{scratch()}/x.dump", str(run.pid)],
                                 stderr=subprocess.PIPE) for _ in range(2)]
        equal([child.wait(timeout=30) for child in both if child.communicate()], [0, 0],
              "two at once")


def speak_quietly(path, request, fds):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.connect(path)
        s.sendmsg([request], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))])


def test_requests():
    with waiting() as run:
        path = f"{run.directory}/mem.sock"
        equal(speak(path, b"spool"), f"ok {run.directory}/mem.spool\n".encode(), "spool")
        run.tell("alloc 1000")
        run.tell("free")
        speak(path, b"mark")
        equal(under(taken(run), "alloc_blocks", "peak_objects"), 0, "mark")
        dump = f"{scratch()}/x.dump"
        equal(speak(path, f"heapdump {dump}".encode()), f"begun\nok {dump}\n".encode(), "heapdump")
        ok("Total:" in sonde("heapdump", dump), "... which can be read")
        answer = speak(path, b"heapdump /nowhere/x.dump")
        ok(b"error " in answer and b"/nowhere" in answer, f"... or why not: {answer!r}")


# ---- its life -----------------------------------------------------------------------------


def test_killed():
    directory = scratch()
    with waiting(directory=directory) as run:
        run.process.kill()
        run.process.wait()
        first = run.pid
    ok(os.path.exists(f"{directory}/mem.sock"), "kill -9 leaves its socket")
    status, _, err = ask("heap", first)
    ok(status == 1 and "no such process" in err, f"... {err.strip()}")
    with waiting(directory=directory) as run:
        run.tell("alloc 4")
        ok(speak(f"{directory}/mem.sock", b"spool").startswith(b"ok "), "the next replaces it")
        equal(under(taken(run), "alloc_blocks"), 4, "... and is read")
        run.end()
    equal(glob.glob(f"{directory}/*.sock"), [], "... and leaves none")


def test_fork():
    with waiting() as run:
        run.tell("alloc 6")
        run.process.stdin.write("fork\n")
        run.process.stdin.flush()
        said = sorted(run.process.stdout.readline() for _ in range(2))
        child = int(said[1].split()[0])
        socks = sorted(os.path.basename(s) for s in glob.glob(f"{run.directory}/*.sock"))
        equal(socks, sorted(["mem.sock", f"mem.{child}.sock"]), "a fork's child has its own")
        for name in socks:
            spool = name.replace(".sock", ".spool").encode()
            ok(speak(f"{run.directory}/{name}", b"spool").endswith(spool + b"\n"), f"{name} answers")
        path = f"{scratch()}/child.pprof"
        equal(ask("heap", "-q", "-o", path, child)[0], 0, "... and its heap is read")
        equal(under(Profile(path), "alloc_blocks"), 0, "... which begins empty")
        equal(under(taken(run), "alloc_blocks"), 6, "... unlike its parent's")
        equal(ask("heapdump", "-o", "x.dump", child)[0], 0, "... and dumped")
        run.end()
        for _ in range(100):
            if not glob.glob(f"{run.directory}/*.sock"):
                break
            time.sleep(0.05)
        equal(glob.glob(f"{run.directory}/*.sock"), [], "both sockets go")


def test_exec():
    with waiting() as run:
        run.process.stdin.write("exec\n")
        run.process.stdin.flush()
        while not os.readlink(f"/proc/{run.pid}/exe").endswith("/cat"):
            time.sleep(0.01)
        equal(run.tell("hello"), "hello\n", "an exec")
        socks = [os.path.basename(s) for s in glob.glob(f"{run.directory}/*.sock")]
        equal(socks, [f"mem.{run.pid}.sock"], "... takes the old socket away")
        equal(ask("heap", "-q", "-o", "x", run.pid)[0], 0, "... and the new image is asked")
        run.end()
        equal(run.process.returncode, 0, "... it lives")


def test_long_path():
    directory = f"{scratch()}/{'long' * 30}/{'path' * 30}"
    with waiting(directory=directory) as run:
        run.tell("alloc 7")
        equal(under(taken(run), "alloc_blocks"), 7, "a path longer than a socket's name")
        equal(ask("heapdump", "-o", "x.dump", run.pid)[0], 0, "... is asked")


def test_container():
    """Its files, and the spool, lie where only it sees them."""
    inside = scratch()
    script = (f"mount -t tmpfs none {inside} && cp {program('waiting')[0]} {inside}/hidden && "
              f"export LD_PRELOAD={LIBRARY} SONDE=mem=exact,quiet,path={inside}/out && "
              f"exec {inside}/hidden")
    plain = {k: v for k, v in os.environ.items() if k not in ("LD_PRELOAD", "SONDE")}
    if missing("unshare") or subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
        return skip("another mount namespace", "unshare does not work here")
    child = subprocess.Popen(["unshare", "-m", "sh", "-c", script], env=plain, text=True,
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        equal(child.stdout.readline(), "ready\n", "in another mount namespace")
        child.stdin.write("alloc 8\n")
        child.stdin.flush()
        child.stdout.readline()
        equal(os.listdir(inside), [], "... whose files are not seen here")
        status, out, err = ask("heap", child.pid)
        ok(status == 0 and "alloc_blocks" in out, f"... it is read, with names {err}")
        directory = scratch()
        status, _, err = ask("heapdump", "-o", "x.dump", child.pid, cwd=directory)
        ok(status == 0 and "Total:" in sonde("heapdump", f"{directory}/x.dump"), f"... and dumped {err}")
        equal(sorted(os.listdir(f"/proc/{child.pid}/root{inside}/out")), ["mem.sock", "mem.spool"],
              "... and nothing is left there")
    finally:
        child.kill()
        child.communicate()


def test_refused():
    with subprocess.Popen(["sleep", "60"]) as plain:
        rows = [((), 2, "process"), (("x",), 2, "'x'"), (("1", "2"), 2, "one process"),
                (("2147480000",), 1, "no such process"), ((plain.pid,), 1, "sonde run --mem"),
                (("--seconds=soon", "1"), 2, "seconds"), (("--mrak", "1"), 2, "--mark")]
        for words, want, text in rows:
            status, out, err = ask("heap", *words)
            ok((status, out) == (want, "") and text in err, f"heap {words}: {err.splitlines()[0]}")
        plain.kill()
    with waiting("obey", "cpu,quiet") as run:
        status, _, err = ask("heap", run.pid)
        ok(status == 1 and "cpu,mem" in err, f"only CPU: {err.strip()}")
    with waiting() as run:
        os.unlink(f"{run.directory}/mem.spool")
        status, _, err = ask("heap", run.pid)
        ok(status == 1 and "deleted" in err, f"its spool is gone: {err.strip()}")


main(globals())
