#!/usr/bin/env bash
# Latency at fixed rates, counted from the moment when each message was due, alone and as a page with plots.
#
#   perf/rate.sh [--quick] [--json FILE] [--html FILE]
source "$(dirname "$0")/lib.sh"

servers="floor texto tokio-small"
rounds=3 seconds=5 rates="1000 5000 20000 50000"
runs=$work/runs.jsonl html=
while [ $# -gt 0 ]; do
    case $1 in
        --quick) rounds=1 seconds=1 ;;
        --json) runs=$2; shift ;;
        --html) html=$2; shift ;;
        *) say "usage: $0 [--quick] [--json FILE] [--html FILE]"; exit 2 ;;
    esac
    shift
done

build "$servers"
for rate in $rates; do
    interleaved "$rounds" "$servers" rate --rate "$rate" --seconds "$seconds"
done
"$tool" compare --base floor "$runs"
[ -z "$html" ] || "$tool" report "$runs" >"$html"
