#!/usr/bin/env bash
# Fuzzes each boundary of Texto with libFuzzer, all at once, and tells what came of it.
#
#   fuzz/run.sh SECONDS [TARGET...]
#
# It needs cargo-fuzz (`cargo install cargo-fuzz --locked`) and a C++ compiler, but no nightly toolchain: without a sanitizer all that
# libFuzzer wants of the compiler is coverage, and stable rustc has the flags for that. A sanitizer would look for misused memory, which
# safe Rust has no way to misuse.
#
# What was found worth keeping stays in fuzz/corpus/, what fails in fuzz/artifacts/; both are left out of git. A failure goes, as small as it
# can be made (`cargo fuzz tmin`), into fuzz/seeds/, which tests/fuzz.rs replays. The exit status is 1 if a target failed.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:?usage: fuzz/run.sh SECONDS [TARGET...]}
shift
targets=("$@")
((${#targets[@]})) || mapfile -t targets < <(cargo fuzz list)

cargo fuzz build --sanitizer none
mkdir -p fuzz/artifacts
running=()
for target in "${targets[@]}"; do
    mkdir -p "fuzz/corpus/$target"
    # A heap of some hundred MB and a second per input are far beyond what any of them needs.
    cargo fuzz run --sanitizer none "$target" "fuzz/corpus/$target" "fuzz/seeds/$target" -- \
        -max_total_time="$seconds" -max_len=4096 -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 >"fuzz/artifacts/$target.log" 2>&1 &
    running+=($!)
done

failed=0
for index in "${!targets[@]}"; do
    target=${targets[$index]} verdict='found nothing'
    wait "${running[$index]}" || { verdict='FAILED, see fuzz/artifacts/'; failed=1; }
    log=fuzz/artifacts/$target.log
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    coverage=$(grep -o 'cov: [0-9]*' "$log" | tail -1 || true)
    printf '%-10s %12s executions   %-10s %s\n' "$target" "${executions:-?}" "$coverage" "$verdict"
done
exit "$failed"
