#!/usr/bin/env bash
# Claim: clients that say as much as their sockets take slow nobody else down: a thousand quiet clients see a p99 of at most 2 × the calm one.
#
#   perf/flood.sh [--quick] [--json FILE]
source "$(dirname "$0")/lib.sh"

servers="texto tokio-small"
rounds=3 seconds=5 crowds="1 2 20"
runs=$work/runs.jsonl
while [ $# -gt 0 ]; do
    case $1 in
        --quick) rounds=1 seconds=2 crowds=2 ;;
        --json) runs=$2; shift ;;
        *) say "usage: $0 [--quick] [--json FILE]"; exit 2 ;;
    esac
    shift
done

build "$servers"
for flooders in $crowds; do
    interleaved "$rounds" "$servers" flood --pairs 500 --rate 1000 --flooders "$flooders" --seconds "$seconds"
done
"$tool" compare "$runs"
