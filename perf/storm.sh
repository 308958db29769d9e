#!/usr/bin/env bash
# Claim: when all connections drop and return at once, each costs Texto at most 1.15 × the floor's CPU, memory is afterwards at most
# 1.10 × what it was, and those who stayed see a p99 of at most 2 × the calm one.
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
