#!/usr/bin/env bash
# What a message costs when 50 clients write to one: the answers of many, and one outgoing queue that all deliveries share.
#
#   perf/fan-in.sh [--quick] [--json FILE]
source "$(dirname "$0")/lib.sh"

servers="floor texto tokio-small"
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

build "$servers"
interleaved "$rounds" "$servers" fan-in --pairs 50 --inflight 1 --seconds "$seconds"
interleaved "$rounds" "$servers" fan-in --pairs 50 --inflight 4 --seconds "$seconds"
"$tool" compare --base floor "$runs"
