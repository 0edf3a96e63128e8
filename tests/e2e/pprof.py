"""Reads profile.proto with nothing but Python, and names addresses with nothing but nm: a second
opinion on what libsonde wrote, independent of Sonde's own reader and symboliser."""

import bisect
import collections
import functools
import gzip
import re
import struct
import subprocess

Mapping = collections.namedtuple("Mapping", "start limit offset file build_id")
Sample = collections.namedtuple("Sample", "stack values labels")  # addresses, leaf first


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7


def fields(data):
    """Yield (number, value) of a message; packed numbers stay bytes."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        if key & 7 == 0:
            value, at = varint(data, at)
        elif key & 7 == 2:
            size, at = varint(data, at)
            value, at = data[at : at + size], at + size
        else:
            raise ValueError(f"wire type {key & 7} at byte {at}")
        yield key >> 3, value


def numbers(values):
    """The numbers of a repeated field, packed or not."""
    for value in values:
        if isinstance(value, int):
            yield value
            continue
        at = 0
        while at < len(value):
            number, at = varint(value, at)
            yield number


def message(data):
    fielded = collections.defaultdict(list)
    for number, value in fields(data):
        fielded[number].append(value)
    return fielded


class Profile:
    def __init__(self, path):
        self.path = path
        with open(path, "rb") as file:
            data = file.read()
        self.size = len(data)
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        top = message(data)
        strings = [s.decode("utf-8", "replace") for s in top[6]]
        one = lambda m, n: m[n][0] if m[n] else 0
        text = lambda m, n: strings[one(m, n)]
        types = [message(t) for t in top[1]]
        self.types = [(text(t, 1), text(t, 2)) for t in types]
        self.mappings = {
            one(m, 1): Mapping(one(m, 2), one(m, 3), one(m, 4), text(m, 5), text(m, 6))
            for m in map(message, top[3])
        }
        self.locations = {
            one(m, 1): (self.mappings.get(one(m, 2)), one(m, 3)) for m in map(message, top[4])
        }
        self.samples, self.units = [], {}
        for m in map(message, top[2]):
            labels = {}
            for label in map(message, m[3]):
                labels[text(label, 1)] = text(label, 2) if label[2] else one(label, 3)
                self.units[text(label, 1)] = text(label, 4)
            stack = tuple(self.locations[i] for i in numbers(m[1]))
            self.samples.append(Sample(stack, tuple(numbers(m[2])), labels))
        self.time_ns, self.duration_ns, self.period = one(top, 9), one(top, 10), one(top, 12)
        self.comments = [strings[i] for i in numbers(top[13])]

    def value(self, name):
        return [t for t, _ in self.types].index(name)

    def total(self, name, want=lambda stack, labels: True):
        """The sum of a sample type over the samples that satisfy want(names, labels)."""
        at = self.value(name)
        return sum(s.values[at] for s in self.samples
                   if s.values[at] and want(names(s.stack), s.labels))

    def said(self, word):
        """The number behind "word:" in the comments: samples, lost, truncated."""
        for comment in self.comments:
            found = re.search(rf"\b{word}: (\d+)", comment)
            if found:
                return int(found[1])
        raise AssertionError(f"no word about {word} in {self.comments}")

    @property
    def count(self):
        """Samples taken; with some clocks one stands for several periods."""
        return self.said("samples")

    @property
    def cpu_ns(self):
        at = self.value("cpu")
        return sum(s.values[at] for s in self.samples)

    def share(self, want):
        """The part of the CPU time whose sample satisfies want(names, labels)."""
        at = self.value("cpu")
        good = sum(s.values[at] for s in self.samples if want(names(s.stack), s.labels))
        return good / max(1, self.cpu_ns)

    def under(self, name):
        """The part of the CPU time spent in `name` and what it calls."""
        return self.share(lambda stack, _: name in stack)

    def complete(self, *roots):
        """The part whose stack reaches one of the functions `roots`, or ends at the very frame
        where those that do end: the thread was on its way there, or back."""
        at, whole, rest, ends = self.value("cpu"), 0, [], set()
        for s in self.samples:
            if any(root in names(s.stack) for root in roots):
                whole += s.values[at]
                ends.add(names(s.stack)[-1])
            else:
                rest.append(s)
        whole += sum(s.values[at] for s in rest if names(s.stack)[-1] in ends)
        return whole / max(1, self.cpu_ns)


def names(stack):
    return [name(mapping.file, mapping.start, mapping.offset, address) if mapping else "?"
            for mapping, address in stack]


@functools.lru_cache(maxsize=None)
def name(path, start, offset, address):
    symbols = load(path)
    if symbols is None:
        return "?"
    segments, addresses, symbol_names = symbols
    file_offset = address - start + offset
    for at, size, vaddr in segments:
        if at <= file_offset < at + size:
            i = bisect.bisect_right(addresses, file_offset - at + vaddr) - 1
            return symbol_names[i] if i >= 0 else "?"
    return "?"


@functools.lru_cache(maxsize=None)
def load(path):
    """The load segments of an ELF file and its symbols in order of address."""
    try:
        with open(path, "rb") as file:
            head = file.read(64)
            phoff, = struct.unpack_from("<Q", head, 32)
            size, count = struct.unpack_from("<HH", head, 54)
            file.seek(phoff)
            table = file.read(size * count)
    except (OSError, struct.error):
        return None
    segments = []
    for i in range(count):
        kind, _, offset, vaddr, _, filesz = struct.unpack_from("<IIQQQQ", table, i * size)
        if kind == 1:
            segments.append((offset, filesz, vaddr))
    symbols = {}
    for options in (["-D"], []):
        done = subprocess.run(["nm", "--defined-only", "-C", *options, path],
                              capture_output=True, text=True)
        for line in done.stdout.splitlines():
            parts = line.split(" ", 2)
            if len(parts) == 3 and parts[1] in "tTwWiuV":
                symbols.setdefault(int(parts[0], 16), bare(parts[2]))
                if not options:
                    symbols[int(parts[0], 16)] = bare(parts[2])
    addresses = sorted(symbols)
    return segments, addresses, [symbols[a] for a in addresses]


def bare(symbol):
    """Without version, parameters, template arguments and namespaces."""
    symbol = symbol.split("@")[0].split(".")[0]
    symbol = symbol.replace("(anonymous namespace)::", "")
    return symbol.split("(")[0].split("<")[0].split(" ")[-1]
