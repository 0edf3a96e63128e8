"""Debug files from a debuginfod server: fetched once, kept in its cache, waited for no longer than
is told; and nothing asked for unless servers are named."""

import http.server
import pathlib
import re
import socket
import subprocess
import tempfile
import threading
import time

from harness import SONDE, missing, ok, main, note, skip
from wire import field, varint

SOURCE = """
__attribute__((noinline)) int middle(int x)
{
    int s = 0;
    for (int i = 0; i < x; i++)
        s += (i ^ s) * 3;
    return s;
}
int main(int n, char **v) { (void)v; return middle(n); }
"""


def profile(program, build_id, addresses):
    strings = [b"", b"samples", b"count", str(program).encode(), build_id.encode()]
    out = field(1, field(1, 1) + field(2, 2))
    for i in range(1, len(addresses) + 1):
        out += field(2, field(1, varint(i)) + field(2, varint(1)))
    out += field(3, field(1, 1) + field(2, 0x400000) + field(3, 0x800000) + field(5, 3) +
                 field(6, 4))
    for i, address in enumerate(addresses, 1):
        out += field(4, field(1, i) + field(2, 1) + field(3, address))
    return out + b"".join(field(6, s) for s in strings)


def run_command(*words):
    return subprocess.run([str(w) for w in words], check=True, capture_output=True, text=True).stdout


class Made:
    """A program without symbols, its debug file elsewhere, and a profile of it."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        source, program = self.directory / "a.c", self.directory / "program"
        source.write_text(SOURCE)
        run_command("cc", "-O2", "-g", "-no-pie", "-Wl,--build-id", source, "-o", program)
        self.build_id = re.search(r"Build ID: (\w+)", run_command("readelf", "-n", program))[1]
        at = re.search(r"^(\w+) T middle$", run_command("nm", program), re.M)[1]
        self.debug = self.directory / "somewhere.debug"
        run_command("objcopy", "--only-keep-debug", program, self.debug)
        run_command("strip", program)
        self.profile = self.directory / "profile"
        self.profile.write_bytes(profile(
            program, self.build_id, range(int(at, 16), int(at, 16) + 30)))

    def traces(self, *options, **variables):
        begin = time.monotonic()
        done = subprocess.run([SONDE, "traces", *options, self.profile], capture_output=True,
                              text=True, timeout=60, env={
                                  "PATH": "/usr/bin:/bin", "HOME": str(self.directory),
                                  "DEBUGINFOD_CACHE_PATH": str(self.directory / "cache"),
                                  **variables})
        return done.stdout, done.stderr, time.monotonic() - begin


class Server:
    def __init__(self, made):
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                server.asked.append(self.path)
                right = self.path == f"/buildid/{made.build_id}/debuginfo"
                data = made.debug.read_bytes() if right else b""
                self.send_response(200 if right else 404)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        self.asked = []
        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/"


def has_library():
    return "libdebuginfod.so.1" in run_command("/sbin/ldconfig", "-p")


def test_fetched():
    absent = missing("cc", "readelf", "objcopy", "strip", "nm")
    if absent or not has_library():
        return skip("debuginfod", f"no {absent or 'libdebuginfod.so.1'}")
    with tempfile.TemporaryDirectory() as directory:
        made = Made(directory)
        server = Server(made)
        said, _, _ = made.traces()
        ok("middle" not in said and not server.asked, "no server is asked unless named")
        said, _, _ = made.traces(DEBUGINFOD_URLS=server.url)
        ok("middle" in said, "its debug file comes from a server")
        ok(len(server.asked) == 1, f"and is asked for once: {server.asked}")
        said, _, _ = made.traces(DEBUGINFOD_URLS=server.url)
        ok("middle" in said and len(server.asked) == 1, "then it is in the cache")


def test_missing():
    absent = missing("cc", "readelf", "objcopy", "strip", "nm")
    if absent or not has_library():
        return skip("debuginfod, none there", f"no {absent or 'libdebuginfod.so.1'}")
    with tempfile.TemporaryDirectory() as directory:
        made = Made(directory)
        server = Server(made)
        made.build_id = "0" * 40  # the server has but another
        _, warned, _ = made.traces("--verbose", DEBUGINFOD_URLS=server.url)
        ok("no debug file at the servers in DEBUGINFOD_URLS" in warned,
           "that a server has none is told with what was tried")


def test_bounded():
    absent = missing("cc", "readelf", "objcopy", "strip", "nm")
    if absent or not has_library():
        return skip("debuginfod, mute", f"no {absent or 'libdebuginfod.so.1'}")
    with tempfile.TemporaryDirectory() as directory, socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()  # takes calls, never answers
        made = Made(directory)
        _, warned, took = made.traces(
            "--verbose", DEBUGINFOD_URLS=f"http://127.0.0.1:{mute.getsockname()[1]}/",
            DEBUGINFOD_TIMEOUT="2")
        ok("gave up: nothing comes" in warned and took < 30,
           f"a server that does not answer is left after DEBUGINFOD_TIMEOUT: {took:.0f} s")
        if "gave up" not in warned:
            note(warned)


main(globals())
