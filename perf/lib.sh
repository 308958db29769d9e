# What the scripts of this folder share: building, starting a server by name on a free port, stopping it by its process id. Sourced.
#
# Invariant: whatever was started is stopped when the script ends, however it ends, and nothing is left outside $work and $runs.

set -euo pipefail

perf=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$perf")
built=${CARGO_TARGET_DIR:-$root/target}/release
peers_built=${CARGO_TARGET_DIR:-$perf/peers/target}/release
texto=${TEXTO:-$built/texto}
tool=$built/texto-perf
work=$(mktemp -d)
started=()

# Every ending is a clean one: servers first, then the folder.
finish() {
    for pid in "${started[@]}"; do stop "$pid"; done
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

say() { printf '%s\n' "$*" >&2; }

# need COMMAND PACKAGE: installs a Debian package unless its command is there.
need() {
    command -v "$1" >/dev/null && return
    say "installing $2"
    apt-get install -y -qq "$2" >"$work/apt.log" 2>&1 || { cat "$work/apt.log" >&2; exit 1; }
}

# build [SERVERS]: the tool, and of the servers what is not there yet: Texto unless TEXTO names one, the peers that are asked for.
build() {
    local servers=${1:-texto}
    cargo build --release --locked --quiet --manifest-path "$root/Cargo.toml" -p texto-perf
    case $servers in *texto*) [ -n "${TEXTO:-}" ] || cargo build --release --locked --quiet --manifest-path "$root/Cargo.toml" -p texto ;; esac
    case $servers in *floor* | *tokio*) cargo build --release --locked --quiet --manifest-path "$perf/peers/Cargo.toml" ;; esac
    case $servers in *node-ws*) build_node_peer ;; esac
}

build_node_peer() {
    need node nodejs
    need npm npm
    [ -d "$perf/peers/ws/node_modules" ] || (cd "$perf/peers/ws" && npm ci --silent --no-audit --no-fund)
}

# Server and tool on CPUs of their own, where there are two: what one of them takes, the other must not feel.
if [ "$(nproc)" -ge 2 ] && [ -z "${UNPINNED:-}" ]; then
    on_server_cpu=(taskset -c 1)
    on_tool_cpu=(taskset -c 0)
else
    on_server_cpu=()
    on_tool_cpu=()
fi

# start NAME [WRAPPER...]: starts a server; sets $server (process id) and $url. A name with a slash is a program that takes HOST:PORT.
start() {
    local name=$1
    shift
    local -a command
    local log="$work/$name.log"
    case $name in
        texto) command=(env HOST=127.0.0.1 PORT=0 TEXTO_LOOPS="${TEXTO_LOOPS:-1}" TEXTO_ADMIN_ADDRESS=off "$@" "$texto") ;;
        floor) command=("$@" "$peers_built/floor" 127.0.0.1:0) ;;
        tokio-default) command=("$@" "$peers_built/tokio-tungstenite" 127.0.0.1:0 default) ;;
        tokio-small) command=("$@" "$peers_built/tokio-tungstenite" 127.0.0.1:0 small) ;;
        node-ws) command=("$@" node "$perf/peers/ws/server.js" 127.0.0.1:0) ;;
        */*) command=("$@" "$name" 127.0.0.1:0) log="$work/server.log" ;;
        *) say "no server named $name"; exit 2 ;;
    esac
    # Emptied here: the address of the server before must not be taken for this one's.
    : >"$log"
    "${on_server_cpu[@]}" "${command[@]}" >>"$log" 2>&1 &
    server=$!
    started+=("$server")
    await_address "$log"
}

# Waits until the log names the address: `listens on ADDRESS` or `listening on ADDRESS`.
await_address() {
    local address=
    for _ in $(seq 200); do
        address=$(sed -nE 's/.*(listens|listening) on ([0-9.]+:[0-9]+).*/\2/p' "$1" | head -1)
        [ -n "$address" ] && break
        kill -0 "$server" 2>/dev/null || break
        sleep 0.05
    done
    [ -n "$address" ] || { say "the server did not start:"; cat "$1" >&2; exit 1; }
    url=ws://${address/#0.0.0.0/127.0.0.1}/v1/texto
}

# stop PID: asks, waits, and insists.
stop() {
    kill "$1" 2>/dev/null || return 0
    for _ in $(seq 100); do
        kill -0 "$1" 2>/dev/null || break
        sleep 0.05
    done
    kill -KILL "$1" 2>/dev/null || true
    wait "$1" 2>/dev/null || true
}

# ask NAME MODE [OPTIONS...]: one run of the tool against a fresh server, into $runs; a failed run is told and does not end the script.
ask() {
    local name=$1
    shift
    start "$name"
    "${on_tool_cpu[@]}" "$tool" "$@" --url "$url" --pid "$server" --label "$name" --json "$runs" >"$work/run.txt" ||
        { say "$name: the run failed"; tail -3 "$work/run.txt" >&2; }
    stop "$server"
}

# interleaved ROUNDS "SERVERS" MODE [OPTIONS...]: A B A B, so that what drifts on the machine meets all servers alike.
interleaved() {
    local rounds=$1 servers=$2 name
    shift 2
    for round in $(seq "$rounds"); do
        for name in $servers; do
            say "round $round of $rounds: $name: $*"
            ask "$name" "$@"
        done
    done
}
