#!/usr/bin/env bash
# What a message costs that has to cross from one node to another: two Texto nodes and a Redis of their own, pairs with an end on each.
#
#   perf/cluster.sh [--quick] [--json FILE]
source "$(dirname "$0")/lib.sh"

rounds=3 seconds=3
runs=$work/runs.jsonl
while [ $# -gt 0 ]; do
    case $1 in
        --quick) rounds=1 seconds=1 ;;
        --json) runs=$2; shift ;;
        *) say "usage: $0 [--quick] [--json FILE]"; exit 2 ;;
    esac
    shift
done

need redis-server redis-server
build texto

# One Redis, on a socket in our own folder: no port to collide with.
redis-server --port 0 --unixsocket "$work/redis.sock" --save '' --appendonly no --daemonize no >"$work/redis.log" 2>&1 &
started+=("$!")
for _ in $(seq 100); do
    [ -S "$work/redis.sock" ] && break
    sleep 0.05
done
export REDIS_URL="unix://$work/redis.sock"

start texto
first=$server first_url=$url
start texto
options=(--url "$first_url" --url "$url" --pid "$first" --pid "$server" --label texto-x2 --json "$runs")
for _ in $(seq "$rounds"); do
    "${on_tool_cpu[@]}" "$tool" cluster --pairs 1 --inflight 1 --seconds "$seconds" "${options[@]}" >"$work/run.txt" || tail -3 "$work/run.txt" >&2
    "${on_tool_cpu[@]}" "$tool" cluster --pairs 50 --inflight 4 --seconds "$seconds" "${options[@]}" >"$work/run.txt" || tail -3 "$work/run.txt" >&2
done
"$tool" compare "$runs"
