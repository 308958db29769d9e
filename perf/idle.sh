#!/usr/bin/env bash
# Claim: an idle connection costs Texto at most 64 bytes of its own memory and the kernel no more than it costs it under the floor; and
# holding it, pinged every 25 seconds, at most 0.4 µs of CPU a second.
#
#   perf/idle.sh [--quick] [--json FILE]
source "$(dirname "$0")/lib.sh"

servers="floor texto"
rounds=3 connections=2000,18000 hold=60
runs=$work/runs.jsonl
while [ $# -gt 0 ]; do
    case $1 in
        --quick) rounds=1 connections=1000,5000 hold=5 ;;
        --json) runs=$2; shift ;;
        *) say "usage: $0 [--quick] [--json FILE]"; exit 2 ;;
    esac
    shift
done

build "$servers"
interleaved "$rounds" "$servers" idle --connections "$connections" --touch
# The floor never pings: for the CPU of held connections there is nothing to compare with.
ask texto idle --connections "${connections#*,}" --touch --hold "$hold"
"$tool" compare --base floor "$runs"
