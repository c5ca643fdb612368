#!/usr/bin/env bash
# Builds a fuzz target with coverage, and runs it: scripts/fuzz.sh TARGET SECONDS
# libFuzzer needs coverage only, so the stable compiler and a C++ compiler are enough. What it finds is in target/fuzz/TARGET.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target=$1 seconds=$2
out=${CARGO_TARGET_DIR:-$PWD/target}/fuzz
host=$(rustc -vV | sed -n 's/^host: //p')
flags='-Cpasses=sancov-module -Ccodegen-units=1 --cfg fuzzing'
for option in level=4 inline-8bit-counters pc-table trace-compares; do
  flags+=" -Cllvm-args=-sanitizer-coverage-$option"
done

# With a target given, build scripts and macros are built without the coverage.
RUSTFLAGS=$flags CARGO_TARGET_DIR=$out/build cargo build --quiet --release --locked \
  --manifest-path fuzz/Cargo.toml --target "$host" --bin "$target"
mkdir -p "$out/$target/corpus" "$out/$target/found"
# The target's first byte says whether to mend checksums: each golden recording begins a way with, and one without.
for seed in server/tests/golden/*.fray; do
  for how in 0 1; do
    { printf '%b' "\\x0$how"; cat "$seed"; } >"$out/$target/corpus/seed-$how-$(basename "$seed")"
  done
done
"$out/build/$host/release/$target" -max_total_time="$seconds" -rss_limit_mb=512 -timeout=10 -max_len=32768 \
  -artifact_prefix="$out/$target/found/" -print_final_stats=1 -verbosity=0 "$out/$target/corpus" 2>&1 | tail -n 25
