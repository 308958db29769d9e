#!/usr/bin/env bash
# The one test command: everything that must hold before a change goes in.
#
#   tests/run.sh
#
# On Debian it installs what is missing of the servers and tools that the tests use; Rust it expects to be there. Every step runs, also
# after one that failed; the end sums up, and the exit status is 0 only if nothing failed.
set -uo pipefail
cd "$(dirname "$0")/.." || exit

step_limit=1800 # seconds
passed=0
failed=0
skipped=0
summary=()

if ! command -v cargo >/dev/null; then
    echo 'Rust is missing: install it with rustup (see rust-lang.org, "Install"), then run this again.' >&2
    exit 1
fi

# --- what the tests need of Debian ----------------------------------------------------------------------------------

missing_packages() {
    local command packages
    while read -r command packages; do
        command -v "$command" >/dev/null || [[ -x /usr/sbin/$command ]] || echo "$packages"
    done <<-'END'
		redis-server redis-server
		nginx nginx
		docker-compose docker-compose
		ip iproute2
		systemd-analyze systemd
		chromium chromium fonts-dejavu-core
		openssl openssl
		promtool prometheus
		strace strace
		valgrind valgrind
		node nodejs
		npm npm
		python3 python3 python3-venv
		flock util-linux
	END
    [[ -e /usr/lib/nginx/modules/ngx_stream_module.so ]] || echo libnginx-mod-stream
    ! command -v python3 >/dev/null || python3 -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
}

install_packages() {
    local packages root=()
    mapfile -t packages < <(missing_packages | tr ' ' '\n' | sort -u)
    if ((${#packages[@]} == 0)); then
        echo 'Nothing is missing.'
        return
    fi
    echo "Missing: ${packages[*]}"
    ((EUID == 0)) || root=(sudo)
    "${root[@]}" apt-get update -q &&
        "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${packages[@]}" &&
        [[ ! $(missing_packages) ]]
}

# --- steps ----------------------------------------------------------------------------------------------------------

# step NAME COMMAND...
step() {
    local name=$1 from=$SECONDS verdict=passed
    shift
    printf '\n=== %s\n' "$name"
    if "$@"; then
        passed=$((passed + 1))
    else
        verdict=FAILED
        failed=$((failed + 1))
    fi
    summary+=("$(printf '%-28s %-7s %4d s' "$name" "$verdict" $((SECONDS - from)))")
}

# skip NAME WHY
skip() {
    printf '\n=== %s\nskipped: %s\n' "$1" "$2"
    skipped=$((skipped + 1))
    summary+=("$(printf '%-28s skipped: %s' "$1" "$2")")
}

bounded() { timeout --foreground -k 30 "$step_limit" "$@"; }

step 'Debian packages' install_packages
step 'formatting' cargo fmt --all --check
step 'lints' bounded cargo clippy --workspace --all-targets --locked -- -D warnings
step 'tests' bounded cargo test --workspace --locked --no-fail-fast
step 'release build' bounded cargo build --workspace --release --locked --bins --examples
if command -v cargo-deny >/dev/null; then
    # Advisories need a database from the network, so they are asked for by hand: `cargo deny check advisories`.
    step 'dependencies' bounded cargo deny --offline check bans licenses sources
else
    skip 'dependencies' 'there is no cargo-deny; tests/dependencies.rs has checked licences and sources'
fi
step 'Autobahn conformance' bounded tests/autobahn.sh
step 'independent clients' bounded tests/independent/run.sh
step 'browser' bounded tests/browser/run.sh
step 'deployment' bounded tests/deploy.sh
if [[ -x perf/gates.sh ]]; then
    step 'performance gates' bounded perf/gates.sh
else
    skip 'performance gates' 'there is no perf/gates.sh'
fi

printf '\n=== summary, %d s\n' "$SECONDS"
printf '%s\n' "${summary[@]}"
echo
if ((skipped)); then
    echo "$passed passed, $failed failed, $skipped skipped"
else
    echo "$passed passed, $failed failed"
fi
((failed == 0))
