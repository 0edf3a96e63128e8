#!/usr/bin/env python3
"""The room check: every #include "room/..." under src/ is one that docs/architecture.md allows."""
import pathlib
import re
import sys

ALLOWED = {
    "base": "",
    "wire": "base",
    "profile": "wire base",
    "unwind": "base",
    "runtime": "unwind profile wire base",
    "sched": "base",
    "trace": "runtime sched unwind profile base",
    "fetch": "base",
    "formats": "profile wire base",
    "object": "base",
    "symbolize": "object profile base",
    "graph": "profile base",
    "report": "graph symbolize object formats profile base",
    "draw": "report graph profile base",
    "record": "formats sched unwind symbolize profile base",
    "store": "profile base",
    "web": "draw report graph store profile base",
}


def main():
    src = pathlib.Path(__file__).resolve().parent.parent / "src"
    bad = 0
    for path in sorted(src.rglob("*.[ch]")):
        room = path.relative_to(src).parts[0]
        if room == "cli":
            continue
        allowed = set(ALLOWED[room].split()) | {room}
        for number, line in enumerate(path.read_text().splitlines(), 1):
            include = re.match(r'\s*#\s*include\s+"([^"/]+)/', line)
            if include and include[1] not in allowed:
                print(f"{path}:{number}: {room} may not include {include[1]}")
                bad += 1
    sys.exit(1 if bad else 0)


main()
