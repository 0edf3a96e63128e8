#!/usr/bin/env python3
"""./do bench [cpu] [jitter] [unwind] [startup] [heap] [allocfreetrace] [efence] [sched] [gctrace]
               [reports] [symbolize] [--rounds=N] [--write]

Sonde beside its peers in one run. Every figure is a median over rounds; within a round each
contender runs once, in random order, between two plain runs, and is compared with those. What is
not installed is left out by name. --write keeps the chapters named (or all) in
docs/benchmarks.md."""

import re
import sys

import allocfreetrace
import cpu
import efence
import gctrace
import heap
import reports
import sched_cost as sched
import symbolize
from common import ROOT, machine, markdown

CHAPTERS = {**cpu.CHAPTERS, **heap.CHAPTERS, **allocfreetrace.CHAPTERS, **efence.CHAPTERS,
            **sched.CHAPTERS, **gctrace.CHAPTERS, **reports.CHAPTERS,
            **symbolize.CHAPTERS}
DOCUMENT = ROOT / "docs" / "benchmarks.md"
HEAD = """# Benchmarks

`./do bench --write` wrote this file: Sonde and its peers in one run, on one machine.

Each figure is a median over rounds. In a round every contender runs once, in random order, between
two plain runs of the same program, and is set against those two. Below 1.00 is noise, which these
machines have plenty of.
"""


def chapter_text(chapter, rounds):
    """Prints each table as it comes."""
    text = f"\n## {chapter.heading}\n{chapter.text}\n{rounds} rounds on {machine()}.\n"
    print(text, end="", flush=True)
    for title, rows in chapter.measure(rounds):
        table = (f"\n### {title}\n" if title else "") + f"\n{markdown(rows)}\n"
        print(table, end="", flush=True)
        text += table
    return text


def kept(heading):
    """The chapter as the document has it, or nothing."""
    text = DOCUMENT.read_text() if DOCUMENT.exists() else ""
    found = re.search(rf"^\n## {re.escape(heading)}\n.*?(?=^\n## |\Z)", text, re.M | re.S)
    return found[0] if found else ""


def main():
    rounds = next((int(a.split("=")[1]) for a in sys.argv if a.startswith("--rounds=")), 5)
    named = [a for a in sys.argv[1:] if not a.startswith("-")]
    if any(n not in CHAPTERS for n in named):
        raise SystemExit(__doc__)
    new = {name: chapter_text(CHAPTERS[name], rounds) for name in named or CHAPTERS}
    if "--write" in sys.argv:
        DOCUMENT.write_text(HEAD + "".join(
            new[name] if name in new else kept(chapter.heading)
            for name, chapter in CHAPTERS.items()))


main()
