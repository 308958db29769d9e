#!/usr/bin/env bash
# Claim: when all connections drop and return at once, each costs Texto at most 1.15 × the floor's CPU, and those who stayed hardly notice: at
# p95 as little as in calm times, at p99 a millisecond or two where the floor needs sixty. On two cores most of that p99 is the load tool's own
# (`storm_tool_lateness_us`). Some 130 kB more than before stay with the allocator.
#
#   perf/storm.sh [--quick] [--json FILE]
source "$(dirname "$0")/lib.sh"

servers="floor texto"
rounds=3 connections=16000 cycles=2 seconds=3
runs=$work/runs.jsonl
while [ $# -gt 0 ]; do
    case $1 in
        --quick) rounds=1 connections=4000 cycles=1 seconds=1 ;;
        --json) runs=$2; shift ;;
        *) say "usage: $0 [--quick] [--json FILE]"; exit 2 ;;
    esac
    shift
done

build "$servers"
# Without anyone who stays the CPU is the connections' alone; with them, their latency is the question.
interleaved "$rounds" "$servers" storm --pairs 0 --connections "$connections" --cycles "$cycles"
interleaved "$rounds" "$servers" storm --pairs 50 --rate 1000 --connections "$connections" --cycles "$cycles" --seconds "$seconds"
"$tool" compare --base floor "$runs"
