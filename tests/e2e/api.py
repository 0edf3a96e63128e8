#!/usr/bin/env python3
"""The library's own interface, from a C program that links it (tests/programs/api.c)."""

from harness import *

directory = os.environ.get("TMPDIR", "/tmp")
with __import__("tempfile").TemporaryDirectory(dir=directory) as scratch_directory:
    done = subprocess.run(program("api", scratch_directory), env={
        k: v for k, v in os.environ.items() if k != "SONDE"})
raise SystemExit(done.returncode)
