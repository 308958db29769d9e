#!/usr/bin/env bash
# RFC 6455 conformance, as the Autobahn|Testsuite sees it. Two runs, each with a report under target/autobahn/:
#
#   echo    examples/echo, the server's own machinery with another message handler: every case but compression (12.*, 13.*)
#   texto   the shipped server with its default settings: the cases that need no echo
#
#   tests/autobahn.sh [echo|texto]...       both when none is named
#
# The suite needs Python 2.7 (PYTHON27 says which). Where there is none, or with ENGINE=kosoku, kosoku runs the same cases on Python 3.
set -efuo pipefail
cd "$(dirname "$0")/.."
source tests/servers.sh

time_limit=600
cache=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/texto-tests/autobahn
pins=tests/autobahn/requirements.txt

# Cases are picked by patterns, and their number is stated: a case that never ran counts as failed.
echo_cases='*'
echo_excluded='12.* 13.*'
echo_count=301
# Control frames, violations, UTF-8 that is wrong and closing: what a server shows without ever answering a message.
texto_cases='2.* 3.1 3.5 3.6 3.7 4.1.1 4.1.2 4.2.1 4.2.2 5.1 5.10 5.11 5.12 5.13 5.14 5.16 5.17 5.18 5.2 5.9
    6.3.* 6.4.* 6.6.1 6.6.3 6.6.4 6.6.6 6.6.8 6.6.10 6.8.* 6.10.* 6.11.5 6.12.* 6.13.* 6.14.* 6.15.* 6.16.* 6.17.*
    6.18.* 6.19.* 6.20.* 6.21.* 7.1.2 7.1.3 7.1.4 7.1.5 7.1.6 7.3.* 7.5.* 7.7.* 7.9.* 7.13.*'
texto_excluded=''
texto_count=141

python27() {
    local candidate pyenv
    pyenv=$(find "${PYENV_ROOT:-${HOME:-}/.pyenv}/versions" -path '*/2.7*/bin/python2.7' 2>/dev/null | head -n 1)
    for candidate in "${PYTHON27:-}" python2.7 python2 "$pyenv"; do
        "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (2, 7))' 2>/dev/null || continue
        "$candidate" -c 'import sys; print(sys.executable)'
        return
    done
    return 1
}

# virtualenv 20.21 is the last that can make an environment for Python 2.7.
install_wstest() {
    local python directory=$cache/wstest
    cmp -s "$pins" "$directory/installed.txt" && return
    python=$(python27) || return
    rm -rf "$directory"
    python3 -m venv "$directory/maker" &&
        "$directory/maker/bin/pip" install -q --disable-pip-version-check virtualenv==20.21.1 &&
        "$directory/maker/bin/virtualenv" -q -p "$python" "$directory/suite" &&
        "$directory/suite/bin/pip" install -q --no-python-version-warning --disable-pip-version-check -r "$pins" &&
        cp "$pins" "$directory/installed.txt"
}

install_kosoku() {
    echo 'kosoku==0.1.0' >"$cache/kosoku.txt"
    python_environment "$cache/kosoku" "$cache/kosoku.txt"
}

# Two runs at once, of two working copies, must not make the environments twice.
install_suite() {
    mkdir -p "$cache"
    exec 9>"$cache/lock"
    flock 9
    engine=${ENGINE:-wstest}
    if [[ $engine == wstest ]] && ! install_wstest; then
        echo 'The Autobahn|Testsuite itself could not be installed (is there a Python 2.7?): kosoku runs its cases.'
        engine=kosoku
    fi
    [[ $engine == wstest ]] || install_kosoku
    exec 9>&-
}

json_strings() { python3 -c 'import json, sys; print(json.dumps(sys.argv[1:]))' "$@"; }

# fuzz URL REPORT CASES EXCLUDED: one run of the suite against a server that listens.
fuzz() {
    local url=$1 report=$2 pattern arguments=()
    if [[ $engine == wstest ]]; then
        # shellcheck disable=SC2086 # patterns are split at blanks
        printf '{"outdir": "%s", "servers": [{"agent": "texto", "url": "%s"}], "cases": %s, "exclude-cases": %s}\n' \
            "$report" "$url" "$(json_strings $3)" "$(json_strings $4)" >"$report/suite.json"
        arguments=("$cache/wstest/suite/bin/wstest" -m fuzzingclient -s "$report/suite.json")
    else
        arguments=("$cache/kosoku/bin/kosoku" -o "$report")
        for pattern in $3; do arguments+=(-i "$pattern"); done
        for pattern in $4; do arguments+=(-x "$pattern"); done
        arguments+=("$url")
    fi
    timeout --foreground -k 10 "$time_limit" "${arguments[@]}" >"$report/suite.log" 2>&1
}

# conform NAME URL CASES EXCLUDED COUNT
conform() {
    local name=$1 url=$2 report=$target/autobahn/$1 from=$SECONDS status=0
    fuzz "$url" "$report" "$3" "$4" || status=$?
    echo "$name: $engine against $url, exit status $status, $((SECONDS - from)) s, report in $report"
    python3 tests/autobahn/summary.py "$report" "$5"
}

# run NAME: starts the server, lets the suite loose on it, stops it.
run() {
    local name=$1 port report=$target/autobahn/$1 failed=0
    rm -rf "$report"
    mkdir -p "$report"
    port=$(free_port)
    case $name in
    echo)
        start "$report/server.log" "$target/release/examples/echo" "127.0.0.1:$port"
        await_port "$port" "$report/server.log" || return
        conform echo "ws://127.0.0.1:$port" "$echo_cases" "$echo_excluded" "$echo_count" || failed=1
        ;;
    texto)
        start_texto "$target/release/texto" "$port" "$report/server.log" || return
        conform texto "ws://127.0.0.1:$port/v1/texto?nogreet=1" "$texto_cases" "$texto_excluded" "$texto_count" || failed=1
        ;;
    *)
        echo "tests/autobahn.sh: \"$name\" is neither echo nor texto" >&2
        exit 2
        ;;
    esac
    stop "$server" && return "$failed"
}

install_suite
(($#)) || set -- echo texto
failed=0
for name; do run "$name" || failed=1; done
exit "$failed"
