"""Programs of the distribution that allocate much, each with a fixed piece of work.

A workload is called with (a tool, how many times less work, a directory) and returns Figures."""

import collections
import os
import re
import shutil
import subprocess
import time

from common import OUT, run, run_for_peak

# Seconds; bytes: the peak of memory, and what was written.
Figures = collections.namedtuple("Figures", "cpu wall peak size")


def written(directory):
    return sum(os.path.getsize(os.path.join(directory, f)) for f in os.listdir(directory))


class Program:
    environment = {}

    def __call__(self, tool, less, directory):
        ran, peak = run_for_peak([*tool.words(directory), *self.command(less)],
                                 **self.environment, **tool.variables(directory))
        return Figures(ran.cpu, ran.wall, peak, written(directory))

    def instructions(self, tool, less, directory):
        """The program's own, of one process, as valgrind counts them: the same in every run."""
        ran = run(["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null",
                   *self.command(less)], **self.environment, **tool.variables(directory))
        return int(re.search(r"Collected : (\d+)", ran.warned)[1])


class Sqlite(Program):
    """Statements one by one, then a join, an index, sorting and grouping: in memory."""

    name, needs = "sqlite3", "sqlite3"

    def command(self, less):
        script = OUT / f"heap_{less}.sql"
        script.write_text(self.script(240000 // less))
        return ["sqlite3", ":memory:", f".read {script}"]

    def script(self, n):
        insert = "INSERT INTO orders VALUES ({}, {}, 'a note of its own on order {}', {});"
        orders = "\n".join(insert.format(i, i * 7919 % n + 1, i, i * 31 % 10007)
                           for i in range(1, n + 1))
        return f"""
CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT, town TEXT);
CREATE TABLE orders (id INTEGER PRIMARY KEY, person INTEGER, note TEXT, cents INTEGER);
BEGIN;
WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < {n})
  INSERT INTO people SELECT i, printf('person %d', i * 7919 % 100003),
  printf('town %d', i % 997) FROM c;
{orders}
COMMIT;
CREATE INDEX of_person ON orders (person);
SELECT count(*), sum(length(n)) FROM (SELECT town, group_concat(note) AS n FROM people
  JOIN orders ON orders.person = people.id GROUP BY town ORDER BY sum(cents));
SELECT count(*) FROM (SELECT upper(name) AS u, replace(town, 'town', 'city') FROM people
  WHERE name LIKE '%7%' ORDER BY u);
SELECT sum(length(j)) FROM (SELECT json_object('id', id, 'note', note) AS j FROM orders);
"""


class Python(Program):
    """Lists, dictionaries, strings, JSON: three quarters of it out of Python's own arenas."""

    name, needs = "python3", "/usr/bin/python3"
    # Else glibc gives its heap back to the kernel, and asks for it again, 28,000 times: what that
    # costs jumps by 4 % with the number of mappings, whosesoever they are.
    environment = {"MALLOC_TRIM_THRESHOLD_": "1073741824"}
    script = """
import json, sys
n, total = int(sys.argv[1]), 0
rows = [{"id": i, "name": "row %d" % i, "tags": ["t%d" % (i % k) for k in range(1, 9)],
         "note": "x" * (i % 900)} for i in range(n)]
for part in range(0, n, 50):
    text = json.dumps(rows[part:part + 50])
    total += sum(len(r["tags"]) for r in json.loads(text))
    words = text.split()
    total += len("".join(sorted(set(words)))) + len([w * 40 for w in words])
by_name = {r["name"]: list(r["tags"]) * 9 for r in rows}
print(total, len(by_name))
"""

    def command(self, less):
        return ["/usr/bin/python3", "-I", "-c", self.script, 72000 // less]


class Redis:
    """A server under redis-benchmark: the CPU time is the server's, the wall time the client's."""

    name, needs, requests = "redis-server", "redis-benchmark", 240000

    def __call__(self, tool, less, directory):
        socket = f"{directory}.sock"
        server = subprocess.Popen(
            [*tool.words(directory), "redis-server", "--port", "0", "--unixsocket", socket,
             "--save", "", "--appendonly", "no"], stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, env={**os.environ, **tool.variables(directory)})
        try:
            return self.measure(server, socket, less, directory)
        finally:
            if server.returncode is None:
                server.kill()
                server.wait()

    def measure(self, server, socket, less, directory):
        ask = lambda *words: subprocess.run(["redis-cli", "-s", socket, *words],
                                            capture_output=True, text=True).stdout
        deadline = time.monotonic() + 60
        while ask("ping") != "PONG\n":
            time.sleep(0.05)
            if server.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"redis-server does not start: {server.args}")
        before, begin = self.cpu(ask), time.perf_counter()
        subprocess.run(["redis-benchmark", "-s", socket, "-q", "-P", "16", "-c", "20", "-r",
                        "100000", "-d", "100", "-t", "set,get,lpush,lpop,hset", "-n",
                        str(self.requests // less)], check=True, capture_output=True)
        wall, cpu = time.perf_counter() - begin, self.cpu(ask) - before
        peak = self.peak(ask)
        ask("shutdown", "nosave")
        server.wait(timeout=60)
        return Figures(cpu, wall, peak, written(directory))

    def said(self, ask, section, key):
        lines = ask("info", section).splitlines()
        return next(line.split(":")[1] for line in lines if line.startswith(f"{key}:"))

    def cpu(self, ask):
        return sum(float(self.said(ask, "cpu", f"used_cpu_{kind}")) for kind in ["user", "sys"])

    def peak(self, ask):
        with open(f"/proc/{self.said(ask, 'server', 'process_id')}/status") as file:
            return 1024 * next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))


def programs():
    """Those that are here; the others are named."""
    for program in [Sqlite(), Python(), Redis()]:
        if shutil.which(program.needs):
            yield program
        else:
            print(f"({program.name} is not installed)")
