#!/usr/bin/env bash
# Claim: a routed message costs Texto at most 2 × the floor's CPU with 50 pairs and 4 in flight, 1.3 × with 500 pairs and 1, 1.15 × with
# one pair; and less than tokio-tungstenite with small buffers in every row.
#
#   perf/route.sh [--quick] [--json FILE]
source "$(dirname "$0")/lib.sh"

servers="floor texto tokio-small"
rounds=5 seconds=3
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
interleaved "$rounds" "$servers" route --pairs 50 --inflight 4 --seconds "$seconds"
interleaved "$rounds" "$servers" route --pairs 50 --inflight 4 --size 1024 --seconds "$seconds"
interleaved "$rounds" "$servers" route --pairs 500 --inflight 1 --seconds "$seconds"
interleaved "$rounds" "$servers" route --pairs 1 --inflight 1 --seconds "$seconds"
"$tool" compare --base floor "$runs"
