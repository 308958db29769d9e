#!/usr/bin/env bash
# The browser client in Chromium against a real node; screenshots go to target/browser/.
#
#   tests/browser/run.sh [BINARY]       default: target/release/texto
set -euo pipefail
cd "$(dirname "$0")/../.."
source tests/servers.sh

binary=$(realpath "${1:-$target/release/texto}")
mkdir -p "$target/browser"
(cd tests/browser && npm ci --loglevel=error)
exec timeout -k 5 180 node tests/browser/chat.mjs "$binary" "$target/browser"
