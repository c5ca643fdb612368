#!/usr/bin/env bash
# What takes too long for every change. The first failure ends it.
#   MINUTES   how long 64 bots play in real time (10)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

minutes=${MINUTES:-10}
bin=${CARGO_TARGET_DIR:-target}/release
work=$(mktemp -d)
server_pid=''

finish() {
  local status=$?
  if [ -n "$server_pid" ] && kill -0 "$server_pid" 2>/dev/null; then kill -KILL "$server_pid"; fi
  if [ $status -eq 0 ]; then rm -rf "$work"; else echo "soak: FAILED; its files are in $work" >&2; fi
}
trap finish EXIT

echo "=== A recording server is killed, 50 times"
cargo test --locked --release -p fray-server --test soak_kill -- --ignored --nocapture

echo "=== Any bytes for a recording, 50,000 cases"
PROPTEST_CASES=50000 cargo test --locked --release -p fray-server --test recording_damage

echo "=== Two minutes of fuzzing for each target"
FUZZ_SECONDS=120 scripts/fuzz.sh

echo "=== A fleet whose NATS is away for over a minute, for all or for two of three; a server that stands still"
scripts/tools.sh envoy nats-server helm
FRAY_FAULTS=1 FRAY_REQUIRE_TOOLS=1 FRAY_REQUIRE_NAMESPACES=1 cargo test --locked --release -p fray-bot --test faults \
  whatever_lasts -- --nocapture

echo "=== $minutes minutes of 64 bots in real time, recorded, verified"
cargo build --locked --release -p fray-server -p fray-bot
"$bin/fray-server" --listen 127.0.0.1:0 --admin 127.0.0.1:0 --control 127.0.0.1:0 --store "$work/store" 2>"$work/server.log" &
server_pid=$!
url=''
for _ in $(seq 100); do
  url=$(sed -nE 's/.*play at (http:\/\/[0-9.:]+)\/.*/\1/p' "$work/server.log" | head -n 1)
  [ -z "$url" ] || break
  sleep 0.1
done
[ -n "$url" ] || { cat "$work/server.log" >&2; exit 1; }
"$bin/fray-bot" swarm --url "$url" --players 64 --duration "$((minutes * 60))s" --churn 0.05 --min-players 64
kill -TERM "$server_pid"
wait "$server_pid"
server_pid=''
"$bin/fray-bot" replay "$work/store"
room=$(ls "$work/store/rooms" | head -n 1)
"$bin/fray-bot" replay "$work/store" --recording "$room" --export "$work/match.fray"
"$bin/fray-bot" replay "$work/match.fray"
