#!/usr/bin/env bash
# The objects that run inside the signal handler may call nothing but what is on this list: no
# allocation, no lock, no loader. usage: signal_safety.sh OBJECT...
set -eu

allowed=$(
    cat << 'LIST'
_dl_find_object
_GLOBAL_OFFSET_TABLE_
__errno_location
__stack_chk_fail
__tls_get_addr
clock_gettime
gettid
memchr
memcmp
memcpy
memmove
memset
strlen
syscall
LIST
)

bad=0
defined=$(nm -P --defined-only "$@" | awk 'NF >= 3 { print $1 }' | sort -u)
wanted=$(nm -P -u "$@" | awk 'NF >= 2 { print $1 }' | sed 's/@.*//' | sort -u)
for symbol in $wanted; do
    if grep -qx -- "$symbol" <<< "$defined" || grep -qx -- "$symbol" <<< "$allowed"; then
        continue
    fi
    echo "not ok - the handler may reach $symbol"
    nm -A -u "$@" | grep -w -- "$symbol" | sed 's/^/# /'
    bad=1
done
[ "$bad" = 0 ] && echo "ok 1 - $(wc -w <<< "$wanted") outside symbols, all of them signal-safe"
echo "1..1"
exit "$bad"
