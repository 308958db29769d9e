#!/usr/bin/env bash
# Claim: a message costs no more CPU beside 16,000 idle connections than without them, to within a tenth.
#
#   perf/mixed.sh [--quick] [--json FILE]
source "$(dirname "$0")/lib.sh"

servers="floor texto tokio-small"
rounds=3 connections=16000 seconds=3
runs=$work/runs.jsonl
while [ $# -gt 0 ]; do
    case $1 in
        --quick) rounds=1 connections=4000 seconds=1 ;;
        --json) runs=$2; shift ;;
        *) say "usage: $0 [--quick] [--json FILE]"; exit 2 ;;
    esac
    shift
done

build "$servers"
for round in $(seq "$rounds"); do
    interleaved 1 "$servers" route --pairs 50 --inflight 4 --seconds "$seconds"
    interleaved 1 "$servers" mixed --pairs 50 --inflight 4 --connections "$connections" --touch --seconds "$seconds"
done
"$tool" compare --base floor "$runs"
