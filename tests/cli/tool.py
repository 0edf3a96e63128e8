"""What the tests of the command share: profiles made by hand, and a command on a terminal. The
rest (TAP, where the build is) is that of the end-to-end tests."""

import gzip
import os
import pathlib
import pty
import select
import signal
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "e2e"))
from harness import *
from harness import __all__ as harness_names
from wire import field, varint


def encode(stacks, period=10000000):
    """A profile of `stacks`: {("leaf", "caller", ...): samples}. Names need no binary."""
    strings = ["", "samples", "count", "cpu", "nanoseconds", "/bin/made"]
    names = sorted({name for stack in stacks for name in stack})
    at = {name: i + 1 for i, name in enumerate(names)}
    out = bytearray(field(1, field(1, 1) + field(2, 2)) + field(1, field(1, 3) + field(2, 4)))
    for stack, count in stacks.items():
        out += field(2, field(1, b"".join(varint(at[n]) for n in stack)) +
                     field(2, varint(count) + varint(count * period)))
    out += field(3, field(1, 1) + field(2, 4096) + field(3, 1 << 20) + field(5, 5) +
                 b"".join(field(i, 1) for i in (7, 8, 9, 10)))
    for name, i in at.items():
        out += field(4, field(1, i) + field(2, 1) + field(3, 4096 + 16 * i) +
                     field(4, field(1, i) + field(2, 10 * i)))
        out += field(5, field(1, i) + field(2, len(strings)) + field(3, len(strings)))
        strings.append(name)
    out += b"".join(field(6, s) for s in strings)
    return bytes(out + field(11, field(1, 3) + field(2, 4)) + field(12, period))


STACKS = {("forty", "work", "main"): 40, ("thirty", "work", "main"): 30,
          ("twenty", "work", "main"): 20, ("work", "main"): 9, ("main",): 1}


def made(stacks=STACKS, zipped=True):
    """The path of such a profile."""
    path = f"{scratch()}/made.pprof"
    with open(path, "wb") as file:
        file.write(gzip.compress(encode(stacks)) if zipped else encode(stacks))
    return path


def call(*arguments, **options):
    """Run the command: (status, output, errors)."""
    options.setdefault("stdin", None if "input" in options else subprocess.DEVNULL)
    done = subprocess.run([str(SONDE), *map(str, arguments)], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=60, **options)
    return done.returncode, done.stdout, done.stderr


class Terminal:
    """A command that has a terminal of its own."""

    def __init__(self, command, directory=None, **environment):
        self.seen = b""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update(environment)
            os.chdir(directory or "/")
            os.execvp(command[0], command)

    def read_until(self, word, seconds=20):
        """All that was printed, up to when `word` comes or the command ends."""
        while word.encode() not in self.seen:
            ready, _, _ = select.select([self.fd], [], [], seconds)
            try:
                data = os.read(self.fd, 65536) if ready else b""
            except OSError:  # Linux's end of a terminal
                data = b""
            if not data:
                break
            self.seen += data
        return self.seen.decode(errors="replace")

    def press(self, key):
        os.write(self.fd, key)

    def status(self, seconds=30):
        """Wait for the end: as subprocess has it, negative for a signal; what does not end is killed."""
        self.read_until("\0never")
        end, ended, status = time.time() + seconds, 0, 0
        while ended == 0:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            if ended == 0 and time.time() > end:
                os.kill(self.pid, signal.SIGKILL)
            time.sleep(0.01)
        os.close(self.fd)
        return os.waitstatus_to_exitcode(status)


__all__ = [*harness_names, "STACKS", "Terminal", "call", "encode", "field", "made", "varint"]
