#!/usr/bin/env python3
"""Profiles from servers: a small one made here, which can misbehave, and Go's net/http/pprof."""

import http.server
import pathlib
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
        good = path in ("/good", "/debug/pprof/profile", "/slow", "/huge", "/text")
        if path == "/huge":
            body = b"x" * 3000000
        if path == "/text":
            body = b"no profile here\n"
        if not good:
            body = b"what you want is not here\nsecond line\n"
        self.send_response(200 if good else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            self.wfile.write(body)
        except (BrokenPipeError, ConnectionResetError):
            pass


def serve(context=None):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked = []
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


import gzip
main(globals())
