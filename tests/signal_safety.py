#!/usr/bin/env python3
"""signal_safety.py ARCHIVE: what can the signal handler reach?

The archive holds libsonde's objects with a section a function. From the handler on, the
relocations say which function mentions which, also through tables of pointers; whatever is met
that is not libsonde's own must be on the list below. TAP."""

import collections
import re
import subprocess
import sys

ROOTS = ["sn_on_tick", "sn_table_module"]  # the handler; what the walker calls back
NEVER = ["sn_hooks_bind"]  # the real functions are looked up before there is a clock
ALLOWED = set("""
    _GLOBAL_OFFSET_TABLE_ __errno_location __stack_chk_fail _dl_find_object
    clock_gettime getpid ioctl madvise prctl sched_yield syscall tgkill
    memchr memcmp memcpy memmove memset strlen strncmp
""".split())


def objdump(option, archive):
    """Yield (member, line)."""
    text = subprocess.run(["objdump", option, "-w", archive], capture_output=True, text=True,
                          check=True).stdout
    member = None
    for line in text.splitlines():
        named = re.match(r"(\S+):\s+file format", line)
        member = named[1] if named else member
        yield member, line


def read(archive):
    """Where each symbol is defined, and what each section mentions."""
    local, shared, mentions = {}, {}, collections.defaultdict(set)
    for member, line in objdump("-t", archive):
        found = re.match(r"[0-9a-f]+ (.)......\s+(\S+)\s+[0-9a-f]+\s+(?:\.hidden )?(\S+)$", line)
        if found and found[2] not in ("*UND*", "*ABS*", "*COM*"):
            where = (member, found[2])
            local[member, found[3]] = where
            if found[1] in "gu":
                shared[found[3]] = where
    section = None
    for member, line in objdump("-r", archive):
        named = re.match(r"RELOCATION RECORDS FOR \[(.*)\]", line)
        if named:
            section = (member, named[1])
        found = re.match(r"[0-9a-f]+ R_\S+\s+(\S+)$", line)
        if found:
            mentions[section].add(re.sub(r"[-+]0x[0-9a-f]+$", "", found[1]))
    return local, shared, mentions


def reach(archive):
    """What is reached, each by whom; and the outside symbols, likewise."""
    local, shared, mentions = read(archive)
    queue = [shared[root] for root in ROOTS]
    seen, outside = dict.fromkeys(queue), {}
    never = {shared.get(name) for name in NEVER}
    while queue:
        here = queue.pop()
        for symbol in mentions[here]:
            if symbol.startswith("."):
                there = (here[0], symbol)
            else:
                there = local.get((here[0], symbol)) or shared.get(symbol)
            if there is None:
                outside.setdefault(symbol, here)
            elif there not in seen and there not in never:
                seen[there] = here
                queue.append(there)
    return seen, outside


def main():
    seen, outside = reach(sys.argv[1])
    functions = {section for _, section in seen if section.startswith(".text")}
    good = len(functions) > 10
    print(f"{'ok' if good else 'not ok'} 1 - follows the handler into {len(functions)} functions")
    bad = sorted(set(outside) - ALLOWED)
    print(f"{'not ok' if bad else 'ok'} 2 - which call {len(outside)} from outside, all of them safe")
    for symbol in bad:
        chain, here = symbol, outside[symbol]
        while here is not None:
            chain, here = f"{here[1].removeprefix('.text.')} > {chain}", seen[here]
        print(f"# {chain}")
    print("1..2")
    sys.exit(bool(bad) or not good)


main()
