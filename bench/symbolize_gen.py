#!/usr/bin/env python3
"""symbolize_gen.py DIRECTORY MEGABYTES [--dwarf=4|5] [--cc=g++]

Makes DIRECTORY/templates, a C++ program of about so many megabytes, most of them debug
information: many translation units of templated code (containers, sorting, variants, expression
templates, recursion at compile time), each instantiated over types of its own, so that nothing
is merged by the linker; -O2 -g, as distributions do. It runs, and prints a sum.

Objects that are there already are kept, so that it can be interrupted."""

import concurrent.futures
import os
import pathlib
import subprocess
import sys

PER_UNIT = 3.32  # megabytes of the program that one unit makes, measured

HEADER = r"""
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <tuple>
#include <unordered_map>
#include <variant>
#include <vector>

namespace work {

template <int Unit, int Kind> struct Tag {
    static constexpr std::uint64_t salt = Unit * 1315423911ull + Kind * 2654435761ull;
};

// ---- expression templates: a tree of types that is inlined into one loop ----------------------

template <class E> struct Expr {
    const E &self() const { return static_cast<const E &>(*this); }
};

template <class T, class Of> struct Field : Expr<Field<T, Of>> {
    std::vector<T> data;
    explicit Field(std::size_t n) : data(n) {}
    T at(std::size_t i) const { return data[i]; }
    std::size_t size() const { return data.size(); }
    template <class E> Field &operator=(const Expr<E> &e) {
        const E &from = e.self();
        for (std::size_t i = 0; i < data.size(); i++)
            data[i] = from.at(i);
        return *this;
    }
};

struct Plus { template <class A, class B> static auto apply(A a, B b) { return a + b; } };
struct Times { template <class A, class B> static auto apply(A a, B b) { return a * b; } };
struct Mix { template <class A, class B> static auto apply(A a, B b) { return (a ^ b) * 31; } };

template <class Op, class L, class R> struct Binary : Expr<Binary<Op, L, R>> {
    const L &left;
    const R &right;
    Binary(const L &l, const R &r) : left(l), right(r) {}
    auto at(std::size_t i) const { return Op::apply(left.at(i), right.at(i)); }
};

template <class L, class R> Binary<Plus, L, R> operator+(const Expr<L> &l, const Expr<R> &r)
{ return {l.self(), r.self()}; }
template <class L, class R> Binary<Times, L, R> operator*(const Expr<L> &l, const Expr<R> &r)
{ return {l.self(), r.self()}; }
template <class L, class R> Binary<Mix, L, R> operator^(const Expr<L> &l, const Expr<R> &r)
{ return {l.self(), r.self()}; }

// ---- recursion at compile time, inlined to the end --------------------------------------------

template <class Of, int Depth> struct Fold {
    static inline std::uint64_t step(std::uint64_t x, std::uint64_t y)
    {
        std::uint64_t z = Fold<Of, Depth - 1>::step(y ^ (x >> 7), x + Of::salt);
        return z * 3 + (x ^ (z >> Depth));
    }
};
template <class Of> struct Fold<Of, 0> {
    static inline std::uint64_t step(std::uint64_t x, std::uint64_t y) { return x * y + 1; }
};

// ---- records in containers --------------------------------------------------------------------

template <class Of> struct Small { std::uint32_t key; std::uint64_t sum; };
template <class Of> struct Named { std::string name; std::vector<std::uint64_t> values; };
template <class Of> struct Linked { std::shared_ptr<Linked> next; std::uint64_t load = 0; };

template <class Of> using Value = std::variant<std::uint64_t, Small<Of>, Named<Of>, Linked<Of>>;

template <class Of> struct Measure {
    std::uint64_t operator()(std::uint64_t x) const { return Fold<Of, 6>::step(x, 3); }
    std::uint64_t operator()(const Small<Of> &s) const { return s.sum ^ s.key; }
    std::uint64_t operator()(const Named<Of> &n) const
    { return std::accumulate(n.values.begin(), n.values.end(), std::uint64_t{n.name.size()}); }
    std::uint64_t operator()(const Linked<Of> &l) const
    {
        std::uint64_t sum = l.load;
        for (auto p = l.next; p; p = p->next)
            sum += Fold<Of, 3>::step(p->load, sum);
        return sum;
    }
};

template <class Of> class Store {
public:
    void put(std::uint64_t key)
    {
        auto &slot = named_[std::to_string(key % 97)];
        slot.values.push_back(Fold<Of, 4>::step(key, slot.values.size()));
        by_key_[key].push_back(Small<Of>{std::uint32_t(key), key * 3});
        seen_.emplace(key, std::make_tuple(key, key * 2, std::string("k")));
    }
    std::uint64_t total() const
    {
        std::uint64_t sum = 0;
        for (const auto &[name, record] : named_)
            sum += std::visit(Measure<Of>{}, Value<Of>(record));
        for (const auto &[key, list] : by_key_)
            for (const auto &small : list)
                sum ^= std::visit(Measure<Of>{}, Value<Of>(small)) + key;
        return sum + seen_.size();
    }
    std::vector<Small<Of>> sorted() const
    {
        std::vector<Small<Of>> all;
        for (const auto &[key, list] : by_key_)
            all.insert(all.end(), list.begin(), list.end());
        std::sort(all.begin(), all.end(), [](const Small<Of> &a, const Small<Of> &b) {
            return Fold<Of, 2>::step(a.key, a.sum) < Fold<Of, 2>::step(b.key, b.sum);
        });
        return all;
    }

private:
    std::map<std::string, Named<Of>> named_;
    std::unordered_map<std::uint64_t, std::vector<Small<Of>>> by_key_;
    std::map<std::uint64_t, std::tuple<std::uint64_t, std::uint64_t, std::string>> seen_;
};

// ---- a pipeline of functions ------------------------------------------------------------------

template <class Of> std::uint64_t pipeline(std::uint64_t seed)
{
    std::vector<std::function<std::uint64_t(std::uint64_t)>> stages;
    stages.emplace_back([](std::uint64_t x) { return Fold<Of, 12>::step(x, Of::salt); });
    stages.emplace_back([seed](std::uint64_t x) { return Fold<Of, 5>::step(x, seed); });
    stages.emplace_back([](std::uint64_t x) {
        Store<Of> store;
        for (std::uint64_t i = 0; i < 20; i++)
            store.put(x + i * i);
        std::uint64_t sum = store.total();
        for (const auto &small : store.sorted())
            sum = Fold<Of, 3>::step(sum, small.sum);
        return sum;
    });
    stages.emplace_back([](std::uint64_t x) {
        Field<std::uint64_t, Of> a(32), b(32), c(32);
        std::iota(a.data.begin(), a.data.end(), x);
        b = a + a * a;
        c = (a ^ b) + (b * (a + b)) * (a ^ (b + b * a));
        return std::accumulate(c.data.begin(), c.data.end(), std::uint64_t{0});
    });
    for (const auto &stage : stages)
        seed = stage(seed);
    return seed;
}

} // namespace work
"""

KINDS = 6  # pipelines a unit


def unit(number):
    calls = "".join(f"    x = pipeline<Tag<{number}, {kind}>>(x);\n" for kind in range(KINDS))
    return (f'#include "templates.h"\nnamespace work {{\nstd::uint64_t unit_{number}'
            f'(std::uint64_t x)\n{{\n{calls}    return x;\n}}\n}} // namespace work\n')


def main_unit(count):
    declared = "".join(f"std::uint64_t unit_{i}(std::uint64_t);\n" for i in range(count))
    called = "".join(f"    x = work::unit_{i}(x);\n" for i in range(count))
    return (f"#include <cstdint>\n#include <cstdio>\nnamespace work {{\n{declared}}}\n"
            f'int main()\n{{\n    std::uint64_t x = 1;\n{called}'
            f'    std::printf("%llu\\n", (unsigned long long)x);\n}}\n')


def write(path, text):
    """Unless it is so already: what is made of it stays newer then."""
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def generate(directory, megabytes, dwarf=5, compiler="g++", told=lambda text: None):
    """The path of the program."""
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    count = max(1, round(megabytes / PER_UNIT))
    write(directory / "templates.h", HEADER)
    sources = {f"unit_{i}": unit(i) for i in range(count)} | {"main": main_unit(count)}
    done = 0

    def build(name, text):
        nonlocal done
        source, thing = directory / f"{name}.cc", directory / f"{name}.o"
        write(source, text)
        newest = max(source.stat().st_mtime, (directory / "templates.h").stat().st_mtime)
        if not thing.exists() or thing.stat().st_mtime < newest:
            part = directory / f"{name}.part"
            subprocess.run([compiler, "-std=c++17", "-O2", "-g", f"-gdwarf-{dwarf}", "-c", source,
                            "-o", part], check=True)
            part.rename(thing)
        done += 1
        told(f"compiling {directory.name}: {done} of {len(sources)}")
        return thing

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        things = list(pool.map(lambda item: build(*item), sources.items()))
    program = directory / "templates"
    if not program.exists() or program.stat().st_mtime < max(t.stat().st_mtime for t in things):
        subprocess.run([compiler, "-o", program, *things], check=True)
    told("")
    return program


if __name__ == "__main__":
    options = dict(a[2:].split("=") for a in sys.argv[1:] if a.startswith("--"))
    words = [a for a in sys.argv[1:] if not a.startswith("--")]
    if len(words) != 2 or not set(options) <= {"dwarf", "cc"}:
        raise SystemExit(__doc__)
    print(generate(words[0], float(words[1]), int(options.get("dwarf", 5)),
                   options.get("cc", "g++"), lambda text: print(text, file=sys.stderr)))
