#!/usr/bin/env bash
# Builds the fuzz targets with coverage, and runs them: scripts/fuzz.sh [TARGET...], or else all that are in fuzz/fuzz_targets.
#   FUZZ_SECONDS   how long each is fuzzed (10); 0: only what is kept is tried again
#   FUZZ_JOBS      how many at a time (one for each processor, at most two)
# First each target tries what is kept in fuzz/corpus/TARGET; then it goes on from there, and from what it found interesting before,
# which is in target/fuzz/TARGET/corpus. What breaks it is in target/fuzz/TARGET/found, and fails this script. Once mended, such an
# input belongs into fuzz/corpus/TARGET.
# libFuzzer needs coverage only, so the stable compiler and a C++ compiler are enough.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export FUZZ_SECONDS=${FUZZ_SECONDS:-10}
out=${CARGO_TARGET_DIR:-$PWD/target}/fuzz
host=$(rustc -vV | sed -n 's/^host: //p')

line() { printf '%-16s %12s %10s %9s %8s %9s\n' "$@"; }

# What ended it: a panic, or else the last words.
why() { # LOG
  grep -m 1 -A 30 'panicked at' "$1" || grep -v '^#' "$1" | tail -n 40
}

one() { # TARGET
  local target=$1 log=$out/$1/log status=0 options
  mkdir -p "$out/$target/corpus" "$out/$target/found"
  options=(-rss_limit_mb=1024 -timeout=10 -max_len=32768 "-artifact_prefix=$out/$target/found/" -print_final_stats=1)
  if [ -f "fuzz/dictionaries/$target.dict" ]; then options+=("-dict=fuzz/dictionaries/$target.dict"); fi
  local program=$out/build/$host/release/$target
  if ! "$program" "${options[@]}" -runs=0 "fuzz/corpus/$target" >"$log" 2>&1; then
    why "$log" >&2
    echo "$target: breaks at what is kept in fuzz/corpus/$target" >&2
    return 1
  fi
  if [ "$FUZZ_SECONDS" != 0 ]; then
    "$program" "${options[@]}" "-max_total_time=$FUZZ_SECONDS" "$out/$target/corpus" "fuzz/corpus/$target" >"$log" 2>&1 || status=$?
  fi
  local runs rate coverage corpus found
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  rate=$(sed -n 's/^stat::average_exec_per_sec: *//p' "$log")
  coverage=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
  corpus=$(sed -n 's/.* corp: \([0-9]*\).*/\1/p' "$log" | tail -n 1)
  found=$(sed -n 's/.*Test unit written to //p' "$log")
  line "$target" "${runs:--}" "${rate:--}" "${coverage:--}" "${corpus:--}" "$(grep -c . <<<"$found" || true)"
  if [ $status -ne 0 ]; then
    why "$log" >&2
    echo "$target: FOUND ${found:-something, see $log}; again with: $program $found" >&2
    return 1
  fi
}

if [ "${1:-}" = --one ]; then
  one "$2"
  exit
fi

targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
  for file in fuzz/fuzz_targets/*.rs; do targets+=("$(basename "$file" .rs)"); done
fi
flags='-Cpasses=sancov-module -Ccodegen-units=1 --cfg fuzzing'
for option in level=4 inline-8bit-counters pc-table trace-compares; do
  flags+=" -Cllvm-args=-sanitizer-coverage-$option"
done
bins=()
for target in "${targets[@]}"; do bins+=(--bin "$target"); done
# With a target given, build scripts and macros are built without the coverage.
RUSTFLAGS=$flags CARGO_TARGET_DIR=$out/build cargo build --quiet --release --locked \
  --manifest-path fuzz/Cargo.toml --target "$host" "${bins[@]}"

processors=$(getconf _NPROCESSORS_ONLN)
jobs=${FUZZ_JOBS:-$((processors < 2 ? 1 : 2))}
echo "${#targets[@]} targets, $FUZZ_SECONDS s each, $jobs at a time"
line TARGET EXECUTIONS 'EACH S' COVERAGE CORPUS FINDINGS
printf '%s\n' "${targets[@]}" | xargs -P "$jobs" -n 1 "$PWD/scripts/fuzz.sh" --one
