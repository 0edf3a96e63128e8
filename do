#!/usr/bin/env bash
# The one entrance: ./do build | test | lint | demo
set -eu
cd "$(dirname "$0")"
export DEBIAN_FRONTEND=noninteractive

# What a clean Debian machine needs to build and test Sonde: one package a word.
packages="meson ninja-build gcc pkg-config python3 clang-format libdw-dev libelf-dev
 libgraphviz-dev libcairo2-dev libpango1.0-dev libdeflate-dev libiberty-dev libpcre2-dev"

install_missing() {
    local missing=() p root=
    for p in $packages; do
        dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing+=("$p")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    [ "$(id -u)" = 0 ] || root=sudo
    echo "installing: ${missing[*]}" >&2
    $root apt-get update -qq
    $root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        "${missing[@]}" > /dev/null
}

build() { # build DIR [meson options]
    local dir=$1
    shift
    [ -f "$dir/build.ninja" ] || meson setup "$dir" --werror "$@" > /dev/null
    ninja -C "$dir" --quiet
}

# Run every test of the builds named; end with the line that CI reads.
run_tests() {
    local dir passed=0 failed=0
    for dir in "$@"; do
        meson test -C "$dir" --no-rebuild --print-errorlogs || true
        while read -r verdict; do
            case $verdict in
            OK) passed=$((passed + 1)) ;;
            SKIP) ;;
            *) failed=$((failed + 1)) ;;
            esac
        done < <(python3 -c 'import json,sys
for line in open(sys.argv[1]): print(json.loads(line)["result"])' "$dir/meson-logs/testlog.json")
    done
    [ $((passed + failed)) -gt 0 ] || failed=1
    echo "$passed passed, $failed failed"
    [ "$failed" = 0 ]
}

case ${1:-help} in
build) install_missing && build build ;;
test)
    install_missing
    build build
    build build-asan -Db_sanitize=address,undefined -Db_lundef=false
    run_tests build build-asan
    ;;
lint)
    install_missing
    git ls-files '*.c' '*.h' | xargs clang-format --dry-run -Werror
    python3 tests/rooms.py
    ;;
*)
    echo "usage: ./do build | test | lint" >&2
    exit 2
    ;;
esac
