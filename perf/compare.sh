#!/usr/bin/env bash
# Texto and its peers side by side: idle memory, CPU per message, CPU per connection, as ratios to the floor.
#
#   perf/compare.sh [--quick] [--servers "floor texto ..."] [--rounds N] [--json FILE]
#
# Full: three rounds, about a quarter of an hour. --quick: one short round, good for a look and not for a claim.
source "$(dirname "$0")/lib.sh"

servers="floor texto tokio-small tokio-default node-ws"
rounds=3 seconds=3 connections=2000,9000 storm=8000
runs=$work/runs.jsonl
while [ $# -gt 0 ]; do
    case $1 in
        --quick) rounds=1 seconds=1 connections=1000,3000 storm=2000 ;;
        --servers) servers=$2; shift ;;
        --rounds) rounds=$2; shift ;;
        --json) runs=$2; shift ;;
        *) say "usage: $0 [--quick] [--servers \"NAME...\"] [--rounds N] [--json FILE]"; exit 2 ;;
    esac
    shift
done

build "$servers"

interleaved "$rounds" "$servers" idle --connections "$connections" --touch
interleaved "$rounds" "$servers" route --pairs 50 --inflight 4 --size 32 --seconds "$seconds"
interleaved "$rounds" "$servers" route --pairs 50 --inflight 4 --size 1024 --seconds "$seconds"
interleaved "$rounds" "$servers" route --pairs 500 --inflight 1 --size 32 --seconds "$seconds"
interleaved "$rounds" "$servers" route --pairs 1 --inflight 1 --size 32 --seconds "$seconds"
interleaved "$rounds" "$servers" storm --pairs 0 --connections "$storm" --cycles 1
"$tool" compare --base floor "$runs"
