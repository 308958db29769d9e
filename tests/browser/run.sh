#!/usr/bin/env bash
# The browser client in Chromium, alone and through nginx with two nodes and Redis, and its library in Node.
#
#   tests/browser/run.sh [BINARY]                   default: target/release/texto
#   tests/browser/run.sh [BINARY] figures           one of library, chat, cluster, figures, screenshots
#
# `figures` prints what the page weighs, how soon it is online, and its memory and frames with ten thousand messages. `screenshots` makes
# those in docs/images/ anew, and is not run with the others. Logs go to target/browser/.
set -euo pipefail
cd "$(dirname "$0")/../.."
source tests/servers.sh

binary=$(realpath "${1:-$target/release/texto}")
tests=(library chat cluster figures)
(($# < 2)) || tests=("${@:2}")
output=$target/browser
mkdir -p "$output"
(cd tests/browser && npm ci --loglevel=error --omit=optional)

status=0
for test in "${tests[@]}"; do
    timeout -k 5 180 node --disable-warning=ExperimentalWarning "tests/browser/$test.mjs" "$binary" "$output" || status=$?
done
exit "$status"
