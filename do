#!/usr/bin/env bash
# The one entrance. ./do without a word says what it can do.
set -eu
cd "$(dirname "$0")"
export DEBIAN_FRONTEND=noninteractive

usage="usage: ./do build              build/sonde, build/libsonde.so
       ./do demo               profile examples/example1.c and draw its call graphs
       ./do test               every test, plain and under the sanitizers
       ./do lint               formatting, rooms, static analysis
       ./do fuzz [TARGET [S]]  fuzz one target, or each, for S seconds (60)
       ./do bench [NAME...]    measure beside the peers
       ./do install [PREFIX]   into PREFIX (/usr/local); DESTDIR is respected"

# What a clean Debian machine needs for each.
to_build=(meson ninja-build gcc g++ libc6-dev pkg-config python3 libdw-dev libelf-dev
 libgraphviz-dev libcairo2-dev libpango1.0-dev libdeflate-dev libisal-dev zlib1g-dev libiberty-dev libpcre2-dev
 libedit-dev libcurl4-openssl-dev libcapstone-dev)
to_test=(binutils dwz llvm libdebuginfod1 libgoogle-perftools-dev xz-utils sqlite3 redis-server
 redis-tools golang-go poppler-utils valgrind libjemalloc2 libmimalloc2.0
 libtcmalloc-minimal4 libpython3.11-testsuite guile-3.0 libgc-dev openssl)
to_lint=(clang-format clang-tidy shellcheck)
to_fuzz=(clang libclang-rt-dev)
to_bench=(llvm binutils elfutils graphviz libgoogle-perftools-dev google-perftools linux-perf libunwind-dev
 heaptrack valgrind ltrace
 libjemalloc2 libgoogle-perftools4 sqlite3 redis-server redis-tools electric-fence guile-3.0)

need() { # need PACKAGE...: install those that are missing
    local missing=() p root=()
    for p in "$@"; do
        dpkg-query -W -f '${Status}' "$p" 2> /dev/null | grep -q 'ok installed' || missing+=("$p")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    [ "$(id -u)" = 0 ] || root=(sudo)
    echo "installing ${missing[*]}" >&2
    "${root[@]}" apt-get update -qq &&
        "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
            --no-install-recommends "${missing[@]}" > /dev/null
}

want() { # like need, but what cannot be had is only missed: the tests say which they skip
    need "$@" || echo "going on without" >&2
}

# Warnings are errors in the plain build only: a sanitizer's code makes GCC see ghosts.
build() { # build DIR [meson options]
    local dir=$1
    shift
    [ -f "$dir/build.ninja" ] || meson setup "$dir" "$@" > /dev/null
    ninja -C "$dir" --quiet
}

# Run every test of the builds named; end with the line that CI reads.
run_tests() {
    local dir verdict passed=0 failed=0
    for dir in "$@"; do
        meson test -C "$dir" --no-rebuild --print-errorlogs || true
        while read -r verdict; do
            case $verdict in
            OK) passed=$((passed + 1)) ;;
            SKIP) ;;
            *) failed=$((failed + 1)) ;;
            esac
        done < <(python3 -c 'import json, sys
for line in open(sys.argv[1]): print(json.loads(line)["result"])' "$dir/meson-logs/testlog.json")
    done
    [ $((passed + failed)) -gt 0 ] || failed=1
    echo "$passed passed, $failed failed"
    [ "$failed" = 0 ]
}

demo() {
    mkdir -p build/demo
    cc -g -O2 -Iinclude examples/example1.c -o build/demo/example1 \
        -Lbuild -lsonde -Wl,-rpath,"$PWD/build"
    cd build/demo
    ./example1
    ../sonde --pdf ./example1 cpu.pprof > callgraph.pdf
    ../sonde --pdf ./example1 mem.pprof > mem.pdf
    ../sonde top --peak ./example1 mem.pprof
    echo
    ../sonde top ./example1 cpu.pprof
    echo
    echo "where its time goes:   $PWD/cpu.pprof, drawn in $PWD/callgraph.pdf"
    echo "where its memory goes: $PWD/mem.pprof, drawn in $PWD/mem.pdf"
}

lint() {
    local sources
    mapfile -t sources < <(git ls-files '*.c' '*.h' '*.cc')
    clang-format --dry-run -Werror "${sources[@]}"
    python3 tests/rooms.py
    shellcheck ./do .ci/run
    [ -f build/build.ninja ] || meson setup build --werror > /dev/null
    git ls-files 'src/*.c' | xargs -P "$(nproc)" -n 4 clang-tidy -p build --quiet 2> /dev/null
}

fuzz() { # fuzz [TARGET [SECONDS]]
    local target one=${1:-} seconds=${2:-60}
    [ -f build-fuzz/build.ninja ] || CC=clang CXX=clang++ meson setup build-fuzz \
        -Dfuzzing=true -Db_sanitize=address,undefined -Db_lundef=false \
        -Dc_args=-fsanitize=fuzzer-no-link > /dev/null
    ninja -C build-fuzz --quiet fuzzers
    for target in tests/fuzz/fuzz_*.c; do
        target=$(basename "$target" .c)
        [ -z "$one" ] || [ "$target" = "fuzz_$one" ] || continue
        echo "$target for $seconds s"
        mkdir -p "build-fuzz/found/$target" "tests/fuzz/corpus/${target#fuzz_}"
        "build-fuzz/tests/fuzz/$target" -max_total_time="$seconds" -timeout=10 \
            -rss_limit_mb=2048 -verbosity=0 -print_final_stats=1 \
            -artifact_prefix="build-fuzz/$target-" \
            "build-fuzz/found/$target" "tests/fuzz/corpus/${target#fuzz_}"
    done
}

install_all() { # install_all [PREFIX]
    build build --werror
    meson configure build -Dprefix="${1:-/usr/local}"
    meson install -C build
    if [ "$(id -u)" = 0 ] && [ -z "${DESTDIR:-}" ]; then
        ldconfig
    fi
}

command=${1:-help}
[ $# -eq 0 ] || shift
case $command in
build)
    need "${to_build[@]}"
    build build --werror
    ;;
demo)
    need "${to_build[@]}"
    build build --werror
    demo
    ;;
test)
    need "${to_build[@]}"
    want "${to_test[@]}"
    build build --werror
    build build-asan -Db_sanitize=address,undefined -Db_lundef=false
    build build-tsan -Db_sanitize=thread -Db_lundef=false
    run_tests build build-asan build-tsan
    ;;
lint)
    need "${to_build[@]}" "${to_lint[@]}"
    lint
    ;;
fuzz)
    need "${to_build[@]}" "${to_fuzz[@]}"
    fuzz "$@"
    ;;
bench)
    need "${to_build[@]}"
    want "${to_bench[@]}"
    build build --werror
    python3 bench/run.py "$@"
    ;;
install)
    need "${to_build[@]}"
    install_all "$@"
    ;;
*)
    echo "$usage" >&2
    exit 2
    ;;
esac
