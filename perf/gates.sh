#!/usr/bin/env bash
# The gates: figures that a busy machine does not blur, each against a number in gates.toml.
#
#   perf/gates.sh [--update | --print] [SERVER]
#
# SERVER is a program (default: target/release/texto, built if need be) or the name of a peer. --update writes what was measured into
# gates.toml; --print only prints it. Exit code 1: a figure is above its number.
#
# - bytes: the slope between two numbers of idle connections, after one message each way;
# - instructions: callgrind counts them at 100 messages and at 1,100, of 8 pairs in lock-step; start and end cancel out. With one pair it
#   depends on chance whether the two messages under way share a tick, which is some 600 instructions either way;
# - system calls: strace counts them likewise. Under strace the server is slow, so batches are what a busy server's are.
source "$(dirname "$0")/lib.sh"

action=check subject=texto
for argument in "$@"; do
    case $argument in
        --update) action=update ;;
        --print) action=print ;;
        -*) say "usage: $0 [--update | --print] [SERVER]"; exit 2 ;;
        */*) TEXTO=$(realpath "$argument") texto=$TEXTO ;;
        *) subject=$argument ;;
    esac
done

gates=$perf/gates.toml
runs=$work/runs.jsonl
need valgrind valgrind
need strace strace
build "$subject"

# gate NAME FIELD: what gates.toml says.
gate() { awk -v name="[$1]" -v field="$2" '$1 ~ /^\[/ { inside = ($1 == name) } inside && $1 == field { print $3 }' "$gates"; }

# write NAME VALUE: the new value of a gate.
write() {
    awk -v name="[$1]" -v value="$2" '$1 ~ /^\[/ { inside = ($1 == name) } inside && $1 == "value" { $0 = "value = " value } { print }' \
        "$gates" >"$work/gates.toml"
    cat "$work/gates.toml" >"$gates"
}

# load OPTIONS...: closed load against the server under the tool of measurement.
load() { "$tool" "$@" --url "$url" --size 32 --limit 120 >"$work/run.txt" || { cat "$work/run.txt" >&2; exit 1; }; }

# Each of these leaves its figure in $measured: a subshell would lose track of what it started.
bytes() {
    start "$subject"
    load idle --connections 2000,18000 --touch --pid "$server" --json "$runs"
    stop "$server"
    measured=$(tail -1 "$runs" | sed -E 's/.*"user_bytes_per_connection":([0-9.]+).*/\1/')
}

# instructions MESSAGES: of a server's whole life.
instructions() {
    start "$subject" valgrind --tool=callgrind --callgrind-out-file=/dev/null --log-file="$work/callgrind.log"
    load route --pairs 8 --inflight 1 --messages "$1"
    stop "$server"
    measured=$(sed -nE 's/.*Collected : ([0-9]+).*/\1/p' "$work/callgrind.log" | tail -1)
}

# system_calls MESSAGES PAIRS IN_FLIGHT: of a server's whole life.
system_calls() {
    start "$subject" strace -f -c -o "$work/strace.log"
    load route --pairs "$2" --inflight "$3" --messages "$1"
    # Stopping strace would detach it; the server is its child.
    local pid
    pid=$(pgrep -P "$server" | head -1)
    kill "${pid:-$server}"
    # It writes its summary when the server has gone.
    for _ in $(seq 100); do
        kill -0 "$server" 2>/dev/null || break
        sleep 0.05
    done
    stop "$server"
    measured=$(awk '$NF == "total" { print $4 }' "$work/strace.log")
}

# slope FEW MANY COUNT [ARGUMENTS...]: COUNT at many messages less COUNT at few, per message.
slope() {
    local few=$1 many=$2 count=$3 at_few
    shift 3
    "$count" "$few" "$@"
    at_few=$measured
    "$count" "$many" "$@"
    measured=$(awk -v few="$at_few" -v many="$measured" -v messages=$((many - few)) 'BEGIN { printf "%.4g\n", (many - few) / messages }')
}

failed=0
# judge NAME: $measured against what gates.toml says of NAME.
judge() {
    awk -v m="$measured" -v v="$(gate "$1" value)" -v t="$(gate "$1" tolerance)" -v l="$(gate "$1" limit)" 'BEGIN {
        if (m > l) print "FAIL: above the limit"
        else if (m > v * (1 + t)) print "FAIL: dearer than before"
        else if (m < v * (1 - t)) print "ok: cheaper than before; --update keeps it so"
        else print "ok" }'
}

# pass NAME MEASURE...: through one gate. What happens beside a measurement can only add to it, so the least of three counts; the second
# and third are taken only if the first is not good enough.
pass() {
    local name=$1 least= verdict
    shift
    for _ in 1 2 3; do
        "$@"
        [ -n "$least" ] && measured=$(awk -v a="$least" -v b="$measured" 'BEGIN { print a < b ? a : b }')
        least=$measured
        verdict=$(judge "$name")
        case $verdict in ok*) break ;; esac
        [ "$action" = check ] || [ "$action" = update ] || break
    done
    case $action in
        check) case $verdict in FAIL*) failed=1 ;; esac ;;
        update) verdict=written; write "$name" "$measured" ;;
        print) verdict= ;;
    esac
    printf '%-48s %10s   (value %s, + %s, limit %s) %s\n' "$name" "$measured" "$(gate "$name" value)" "$(gate "$name" tolerance)" \
        "$(gate "$name" limit)" "$verdict"
}

pass user_bytes_per_idle_connection bytes
pass instructions_per_message slope 100 1100 instructions
pass system_calls_per_message_1_pair slope 100 4100 system_calls 1 1
pass system_calls_per_message_8_pairs slope 100 4100 system_calls 8 1
pass system_calls_per_message_50_pairs_4_in_flight slope 1000 9000 system_calls 50 4
exit "$failed"
