#!/usr/bin/env python3
"""Profiles from servers: a small one made here, which can misbehave, and Go's net/http/pprof."""

import gzip
import http.server
import pathlib
import random
import ssl
import threading
import time
from tool import *


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        path, _, query = self.path.partition("?")
        self.server.asked.append((self.path, self.headers.get("Authorization")))
        body = self.server.body
        if path == "/slow":
            time.sleep(8)
        if path == "/loop":
            self.send_response(302)
            self.send_header("Location", "/loop")
            self.end_headers()
            return
        if path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/good")
            self.end_headers()
            return
        good = path in ("/good", "/debug/pprof/profile", "/slow", "/huge", "/text") or path in self.server.files
        body = self.server.files.get(path, body)
        if path == "/huge":
            body = b"x" * 3000000
        if path == "/text":
            body = b"no profile here\n"
        if not good:
            body = b"what you want is not here\nsecond line\n"
        self.answer(200 if good else 404, body)

    def answer(self, status, body, **headers):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        try:
            self.wfile.write(body)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def do_POST(self):
        """Names for addresses, as servers of gperftools and Go; /bad/HOW/... does it badly."""
        query = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.posted.append((self.path, query, self.headers["Content-Type"], self.headers["Authorization"]))
        names = b"num_symbols: 1\n" + b"".join(f"{a}\tfunction_{a[2:]}\n".encode() for a in query.split("+"))
        first = query.split("+")[0]
        how = self.path.split("/")[2] if self.path.startswith("/bad/") else "not"
        if how == "hang":
            time.sleep(9)
        if how == "die":
            return
        if how in ("302", "307"):
            return self.answer(int(how), b"", Location=f"/debug/pprof/symbol")
        if how == "loop":
            return self.answer(307, b"", Location=self.path)
        status, body = {"500": (500, b"no symbols\nfor you\n"), "huge": (200, b"x" * 3000000), "empty": (200, b""),
                        "large": (200, f"{first} good\n0x123456789abcdef01 bad\n".encode()),
                        "html": (200, b"<html>0xZZ it works</html>\n"),
                        "random": (200, bytes(random.Random(1).randbytes(100000))),
                        "others": (200, b"".join(b"0x%x evil\n" % (i * 16) for i in range(20000))),
                        "long": (200, first.encode() + b" " + b"n" * 900000 + b"\n"),
                        "lines": (200, (first.encode() + b" again\n") * 10000)}.get(how, (200, names))
        self.answer(status if self.path.endswith(("/symbol", "/symbolz")) else 404, body)


def serve(context=None):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.posted, server.files = [], [], {}
    server.body = pathlib.Path(made()).read_bytes()
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, f"127.0.0.1:{server.server_port}"


def fetch(*words, **environment):
    home = scratch()
    status, out, err = call("pprof", *words, env={**os.environ, "HOME": home, **environment})
    return status, out, err, home


def test_urls():
    server, host = serve()
    want = call("top", made())[1]
    for url, path in [(f"http://{host}/good", "/good"), (f"{host}/good", "/good"), (host, "/debug/pprof/profile"),
                      (f"http://{host}/", "/debug/pprof/profile"), (f"{host}/good?a=b", "/good?a=b"),
                      (f"http://{host}/moved", "/moved")]:
        server.asked.clear()
        status, out, err, home = fetch("-top", url)
        equal((status, out), (0, want), f"{url.replace(host, 'HOST')}: the same report")
        equal(server.asked[0][0], path, "... from there")
        ok("Fetching profile over HTTP from http://" in err and f"Saved profile in {home}/pprof/pprof.made.samples.cpu.001.pb.gz"
           in err, "... said, and kept")
        equal(call("top", f"{home}/pprof/pprof.made.samples.cpu.001.pb.gz")[1], want, "... whole")
    for flags, path in [(["-seconds=3"], "/good?seconds=3"), (["-seconds", "3"], "/good?x=1&seconds=3"),
                        (["-seconds=3"], "/good?seconds=3&y=2")]:
        ask = path.replace("?seconds=3&", "?seconds=9&") if "&y" in path else path.replace("&seconds=3", "").replace("?seconds=3", "")
        server.asked.clear()
        fetch("-top", *flags, f"{host}{ask}")
        equal(server.asked[0][0], path, f"{' '.join(flags)} {ask}")
    equal(fetch("-top", f"file://{made()}")[1], want, "file:")
    ok("Saved" not in fetch("-top", f"file://{made()}")[2], "... is not kept")
    server.asked.clear()
    status, out, err, home = fetch("-top", f"http://me:secret@{host}/nowhere")
    ok(server.asked[0][1] is not None and "secret" not in err and status == 1, "a password is sent, and not shown")
    home = scratch()
    for i in (1, 2):
        err = fetch("-top", f"{host}/good", PPROF_TMPDIR=f"{home}/a/b")[2]
        ok(f"{home}/a/b/pprof.made.samples.cpu.00{i}.pb.gz" in err, f"PPROF_TMPDIR, copy {i}")


def test_failures():
    server, host = serve()
    rows = [(f"{host}/nowhere", ["404", "what you want is not here", host]), (f"{host}/loop", ["redirect"]),
            (f"{host}/text", ["text"]), ("127.0.0.1:1/good", ["127.0.0.1:1"]), (f"https://{host}/good", ["https://"])]
    for url, words in rows:
        status, out, err, home = fetch("-top", url)
        ok(status == 1 and out == "" and all(w in err for w in words) and "second line" not in err,
           f"{url.replace(host, 'HOST')}: {err.splitlines()[-1]}")
        ok(not os.path.exists(f"{home}/pprof"), "... nothing is kept")
    status, out, err, home = fetch("-top", "-max_size=1MB", f"{host}/huge")
    ok(status == 1 and "limit" in err, f"more than is allowed: {err.splitlines()[-1]}")
    began = time.time()
    status, out, err, home = fetch("-top", "-timeout=1", f"{host}/slow")
    ok(status == 1 and "time" in err.lower() and time.time() - began < 8, f"a timeout: {err.splitlines()[-1]}")
    for flag in ["-seconds=x", "-timeout=", "-max_size=many", "-tls_ca=/no/such", "-tls_cert=/dev/null"]:
        equal(fetch("-top", flag, f"{host}/good")[0], 2, f"{flag}: misused")


def bare(mappings, addresses):
    """A profile without names. Mappings: (start, limit, file offset, file, build id); addresses: (number of
    the mapping, address), a sample each."""
    strings = ["", "samples", "count", "cpu", "nanoseconds"]

    def string(text):
        if text not in strings:
            strings.append(text)
        return strings.index(text)

    out = field(1, field(1, 1) + field(2, 2)) + field(1, field(1, 3) + field(2, 4))
    for i, (mapping, address) in enumerate(addresses):
        out += field(2, field(1, varint(i + 1)) + field(2, varint(i + 1) + varint(1000 * (i + 1))))
        out += field(4, field(1, i + 1) + (field(2, mapping) if mapping else b"") + field(3, address))
    for i, (start, limit, offset, file, build_id) in enumerate(mappings):
        out += field(3, field(1, i + 1) + field(2, start) + field(3, limit) + field(4, offset) +
                     (field(5, string(file)) if file else b"") + (field(6, string(build_id)) if build_id else b""))
    return gzip.compress(out + b"".join(field(6, s) for s in strings) + field(11, field(1, 3) + field(2, 4)) +
                         field(12, 1000))


PROGRAM = (0x400000, 0x500000, 0, "/gone/program", "")
HIGHER = (0x700000, 0x800000, 0, "/gone/program", "")
NAMELESS = (0x400000, 0x500000, 0, "", "")
FILES = {"/debug/pprof/first": bare([PROGRAM], [(1, 0x400100), (1, 0x400200)]),
         "/b/debug/pprof/second": bare([HIGHER], [(1, 0x700100), (1, 0x700300)]),
         "/x/prof": bare([PROGRAM], [(1, 0x400100)]),
         "/pprof/growth": bare([PROGRAM], [(1, 0x400100)]),
         "/n/debug/pprof/p": bare([], [(0, 0x400100), (0, 0x400200)]),
         "/f/debug/pprof/p": bare([NAMELESS], [(1, 0x400100), (1, 0x400200)]),
         "/g/debug/pprof/p": bare([NAMELESS], [(1, 0x400100), (1, 0x400400)]),
         "/v/debug/pprof/p": bare([PROGRAM, (0x900000, 0x901000, 0, "[vdso]", "")], [(1, 0x400100), (2, 0x900400)]),
         "/two/debug/pprof/p": bare([(0x400000, 0x500000, 0, "/gone/it", "ab"),
                                     (0x500000, 0x600000, 0x100000, "/gone/it", "ab")], [(1, 0x400100), (2, 0x500200)]),
         "/zero/debug/pprof/p": bare([PROGRAM], [(1, 0), (1, 0x400100)])}
LOCAL = {"first": FILES["/debug/pprof/first"], "second": FILES["/b/debug/pprof/second"]}
# Flags and sources; whether its server is asked.
REMOTE = [("-symbolize=remote U:/debug/pprof/first", 1), ("U:/debug/pprof/first", 1),
          ("-symbolize=local U:/debug/pprof/first", 0), ("-symbolize=fastlocal U:/debug/pprof/first", 0),
          ("-symbolize=none U:/debug/pprof/first", 0), ("-symbolize=no U:/debug/pprof/first", 0),
          ("-symbolize=local:remote U:/debug/pprof/first", 1), ("-symbolize=Remote:LOCAL U:/debug/pprof/first", 0),
          ("-symbolize=force U:/debug/pprof/first", 1), ("-symbolize=remote:none U:/debug/pprof/first", 0),
          ("-symbolize=remote:force:demangle=full U:/debug/pprof/first", 1),
          ("U:/debug/pprof/first?seconds=1&a=b", 1), ("U:/x/prof", 1), ("U:/pprof/growth", 1), ("U:/n/debug/pprof/p", 1),
          ("U:/f/debug/pprof/p", 1), ("U:/f/debug/pprof/p U:/g/debug/pprof/p", 2), ("U:/v/debug/pprof/p", 2),
          ("U:/zero/debug/pprof/p", 1), ("U:/debug/pprof/first U:/b/debug/pprof/second", 1),
          ("U:/b/debug/pprof/second U:/debug/pprof/first", 1), ("DIR/second U:/debug/pprof/first", 1),
          ("U:/debug/pprof/first DIR/second", 1), ("-base=U:/b/debug/pprof/second U:/debug/pprof/first", 1),
          ("-diff_base=U:/debug/pprof/first DIR/second", 1), ("-symbolize=remote DIR/first", 0), ("DIR/first", 0)]


def test_remote():
    """Names from the server that a profile came from: beside go tool pprof, where it is installed."""
    server, host = serve()
    server.files = FILES
    folder = scratch()
    for name, data in LOCAL.items():
        pathlib.Path(folder, name).write_bytes(data)
    go = not missing("go")
    for i, (line, asked) in enumerate(REMOTE):
        for report in ["-raw"] + ["-top", "-traces", "-dot"][i % 9:i % 9 + 1]:
            words = [report, *line.replace("U:", f"http://{host}").replace("DIR", folder).split()]
            server.posted.clear()
            status, out, err, home = fetch(*words)
            ours = sorted((path, sorted(query.split("+"))) for path, query, *_ in server.posted)
            ok(status == 0 and len(ours) == asked and ("function_" in out) == (asked > 0), f"{report} {line}")
            if go:
                server.posted.clear()
                theirs = subprocess.run(["go", "tool", "pprof", *words], capture_output=True, text=True,
                                        stdin=subprocess.DEVNULL, env={**os.environ, "PPROF_TMPDIR": folder})
                equal(out, theirs.stdout, "... the same as go tool pprof's")
                equal(ours, sorted((path, sorted(query.split("+"))) for path, query, *_ in server.posted), "... as are the questions")
    if not go:
        skip("beside go tool pprof", "no go (golang-go)")
    server.posted.clear()
    status, out, err, home = fetch("-raw", f"http://me:secret@{host}/debug/pprof/first")
    equal(server.posted, [("/debug/pprof/symbol", "0x400100+0x400200", "application/octet-stream", "Basic bWU6c2VjcmV0")],
          "the question, as whom the profile was fetched")
    kept = gzip.decompress(pathlib.Path(home, "pprof/pprof.program.samples.cpu.001.pb.gz").read_bytes())
    ok(b"function_400100" in kept and b"secret" not in kept and b"secret" not in fetch("-proto", f"-output={home}/p",
       f"http://me:secret@{host}/debug/pprof/first")[2].encode() and
       b"secret" not in gzip.decompress(pathlib.Path(home, "p").read_bytes()), "the copy has the names, not the password")
    server.posted.clear()
    out = fetch("-raw", f"{host}/two/debug/pprof/p")[1]
    equal(sorted(query for _, query, *_ in server.posted), ["0x400100", "0x500200"], "two mappings of a program, each at its own addresses")
    ok("function_" in call("top", f"http://{host}/debug/pprof/first", env={**os.environ, "HOME": home})[1], "sonde top")
    ok("function_" in call("pprof", f"http://{host}/debug/pprof/first", input="top\n", env={**os.environ, "HOME": home})[1], "the shell")
    equal(fetch("-top", "-symbolize=remotely", f"{host}/x/prof")[0], 2, "-symbolize=remotely: misused")
    many = [(1, 0x400000 + 16 * i) for i in range(1, 60000)]
    server.files = {"/debug/pprof/many": bare([PROGRAM], many[:65000])}
    status, out, err, home = fetch("-raw", f"{host}/debug/pprof/many")
    equal((status, out.count(" function_")), (0, len(many)), "a question of a megabyte")


def test_remote_failures():
    server, host = serve()
    for how in ["hang", "die", "302", "307", "loop", "500", "huge", "empty", "large", "html", "random", "others", "long", "lines"]:
        server.files[f"/bad/{how}/debug/pprof/p"] = FILES["/v/debug/pprof/p"]
    rows = {"hang": "time", "die": "", "302": "404", "loop": "redirect", "500": "500: no symbols", "huge": "limit", "large": "64 bits"}
    for how, word in rows.items():
        url = f"{host}/bad/{how}/debug/pprof/p"
        server.posted.clear()
        status, out, err, home = fetch("-raw", "-timeout=1", url)
        equal((status, "0x400100 M=1 \n" in out, len(server.posted) - 10 * (how == "loop")), (0, True, 1),
              f"{how}: the addresses stay, and it is asked no more")
        told = [line for line in err.splitlines() if "2 addresses" in line or "1 addresses" in line]
        ok(told and word in told[0] and "for you" not in err and len(err) < 2000, f"... told: {told[:1]}")
        if how == "hang":
            continue
        status, out, err, home = fetch("-raw", "-symbolize=remote", url)
        ok((status, out) == (1, "") and word in err, f"... alone it is an error: {err.splitlines()[-1]}")
        ok(os.path.exists(f"{home}/pprof/pprof.program.samples.cpu.001.pb.gz"), "... but the profile is kept")
    rows = {"307": ("function_", 3), "empty": ("0x400100 M=1 \n", 2), "html": ("0x400100 M=1 \n", 2), "random": ("0x400100 M=1", 2),
            "others": ("0x900400 M=2 \n", 2), "long": ("n" * 900000, 2), "lines": (" again ", 2)}
    for how, (word, n) in rows.items():
        server.posted.clear()
        status, out, err, home = fetch("-raw", "-symbolize=remote", f"{host}/bad/{how}/debug/pprof/p")
        ok(status == 0 and word in out and len(server.posted) >= n, f"{how}: {word[:20]!r}")
    out = fetch("-raw", "-symbolize=remote", f"{host}/bad/others/debug/pprof/p")[1]
    ok("evil" not in out, "answers to what was not asked are passed over")


def test_several():
    server, host = serve()
    twice = call("top", made(), made())[1]
    status, out, err, home = fetch("-top", f"{host}/good", made())
    equal((status, out), (0, twice), "a server and a file, merged")
    status, out, err, home = fetch("-top", f"{host}/good", f"{host}/nowhere", f"{host}/good", "/no/such")
    ok((status, out) == (0, twice) and "404" in err and "Fetched 2 source profiles out of 4" in err, "those that fail are told, and left out")
    status, out, err, home = fetch("-top", f"{host}/nowhere", "/no/such")
    ok(status == 1 and "failed to fetch any source profiles" in err, "unless all do")
    status, out, err, home = fetch("-top", f"-base={host}/good", f"{host}/good", made())
    equal((status, out), (0, call("top", "--base", made(), made(), made())[1]), "a base from a server")
    status, out, err, home = fetch("-top", f"-diff_base={host}/nowhere", made())
    ok(status == 1 and "404" in err, "a base that is not there")


def test_tls():
    if missing("openssl"):
        skip("https", "no openssl")
        return
    folder = scratch()
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{folder}/key", "-out", f"{folder}/cert",
                    "-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    want = call("top", made())[1]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{folder}/cert", f"{folder}/key")
    server, host = serve(context)
    status, out, err, home = fetch("-top", f"https://{host}/good")
    ok(status == 1 and "certificate" in err, f"https: not trusted: {err.splitlines()[-1]}")
    equal(fetch("-top", f"https+insecure://{host}/good")[:2], (0, want), "https+insecure")
    equal(fetch("-top", f"-tls_ca={folder}/cert", f"https://{host}/good")[:2], (0, want), "-tls_ca")
    server.files = FILES
    for words in [[f"https+insecure://{host}/x/prof"], [f"-tls_ca={folder}/cert", f"https://{host}/x/prof"]]:
        ok("function_400100" in fetch("-top", *words)[1], f"names by {words[0].split(':')[0].split('=')[0]}")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{folder}/cert", f"{folder}/key")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(f"{folder}/cert")
    server, host = serve(context)
    own = [f"-tls_cert={folder}/cert", f"-tls_key={folder}/key", f"-tls_ca={folder}/cert"]
    equal(fetch("-top", *own, f"https://{host}/good")[:2], (0, want), "-tls_cert, -tls_key")
    equal(fetch("-top", own[2], f"https://{host}/good")[0], 1, "... without which it is refused")


GO = """package main
import ("fmt"; "net"; "net/http"; _ "net/http/pprof")
func burn(n int) int { s := 0; for i := 0; i < n; i++ { s += i * i % 7 }; return s }
func main() {
    l, _ := net.Listen("tcp", "127.0.0.1:0")
    fmt.Println(l.Addr())
    go func() { for { burn(1000000) } }()
    http.Serve(l, nil)
}
"""


def test_go():
    if missing("go"):
        skip("net/http/pprof", "no go (golang-go)")
        return
    folder = scratch()
    pathlib.Path(folder, "m.go").write_text(GO)
    subprocess.run(["go", "build", "-o", "server", "m.go"], cwd=folder, check=True,
                   env={**os.environ, "GO111MODULE": "off", "HOME": folder, "GOFLAGS": ""})
    server = subprocess.Popen([f"{folder}/server"], stdout=subprocess.PIPE, text=True)
    try:
        host = server.stdout.readline().strip()
        status, out, err, home = fetch("-top", "-seconds=1", host)
        ok(status == 0 and "main.burn" in out, "host:port alone is Go's CPU profile")
        ok("Please wait... (1s)" in err and "pprof.server.samples.cpu.001.pb.gz" in err, "... after a second")
        for kind in ["heap", "goroutine", "allocs"]:
            status, out, err, home = fetch("-top", f"http://{host}/debug/pprof/{kind}")
            ok(status == 0 and "Showing nodes" in out, f"/debug/pprof/{kind}")
        for kind in ["goroutine", "heap"]:
            words = ["-traces", f"http://{host}/debug/pprof/{kind}?debug=1"]
            text = fetch(*words)[1]
            names = {line.split()[-1] for line in text.splitlines() if "main." in line or "runtime." in line}
            ok(names and not any("main." in x or "runtime." in x for x in fetch(*words, "-symbolize=local")[1].split()),
               f"/debug/pprof/{kind}?debug=1, as text, gets its names from Go's server: {len(names)}")
        status, out, err, home = fetch("-top", f"{host}/debug/pprof/nothing")
        ok(status == 1 and "404" in err and "Unknown profile" in err, f"what Go says is told: {err.splitlines()[-1]}")
    finally:
        server.kill()
        server.wait()


def test_limit():
    bomb = f"{scratch()}/bomb.pprof"
    pathlib.Path(bomb).write_bytes(gzip.compress(b"\0" * 20000000))
    status, out, err = call("top", "--max_size=10MB", bomb)
    ok(status == 1 and "bomb.pprof" in err and "more than is allowed" in err, f"a bomb: {err.strip()}")
    ok("more than is allowed" not in call("top", bomb)[2], "... is only no profile, with room for it")
    equal(call("top", "--max_size=10kib", made())[0], 0, "a limit in kib")


main(globals())
