#!/usr/bin/env bash
# What recording costs: the server's CPU time (user + system) with and without it, for the same number of bots.
# Pairs are interleaved, so that a noisy machine disturbs both alike; what is printed is the ratio within each pair.
#   PAIRS     how many (10)        SECONDS_EACH   how long each run is measured (20)
#   PLAYERS   how many bots (64)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

pairs=${PAIRS:-10} seconds=${SECONDS_EACH:-20} players=${PLAYERS:-64}
bin=${BIN:-${CARGO_TARGET_DIR:-target}/release}
work=$(mktemp -d)
server_pid='' bots_pid=''
finish() {
  for pid in $bots_pid $server_pid; do kill -KILL "$pid" 2>/dev/null || true; done
  rm -rf "$work"
}
trap finish EXIT

# User and system time of all threads, in ns: /proc/PID/stat counts in hundredths of a second, too coarse for one per cent.
cpu_ns() { cat /proc/"$1"/task/*/schedstat | awk '{ sum += $1 } END { printf "%.0f", sum }'; }

measure() { # true|false: prints the CPU time per second of play, in ms
  "$bin/fray-server" --listen 127.0.0.1:0 --admin 127.0.0.1:0 --seed 7 --record="$1" \
    --store "$work/store-$1-$RANDOM" 2>"$work/log" &
  server_pid=$!
  local url='' from to
  for _ in $(seq 100); do
    url=$(sed -nE 's/.*play at (http:\/\/[0-9.:]+)\/.*/\1/p' "$work/log" | head -n 1)
    [ -z "$url" ] || break
    sleep 0.1
  done
  "$bin/fray-bot" swarm --url "$url" --players "$players" --ramp 1s --duration 0 --quiet >/dev/null 2>&1 &
  bots_pid=$!
  sleep 4
  from=$(cpu_ns "$server_pid")
  sleep "$seconds"
  to=$(cpu_ns "$server_pid")
  kill -TERM "$bots_pid"
  wait "$bots_pid" 2>/dev/null || true
  kill -TERM "$server_pid"
  wait "$server_pid" 2>/dev/null || true
  bots_pid='' server_pid=''
  echo "$from $to $seconds" | awk '{ printf "%.3f", ($2 - $1) / 1e6 / $3 }'
}

echo "# $(nproc) cores, $(awk -F': ' '/model name/ { print $2; exit }' /proc/cpuinfo), load $(cut -d' ' -f1 /proc/loadavg)"
echo "# $players bots in one room, 20 Hz, $pairs pairs of $seconds s; CPU ms per second of play"
for pair in $(seq "$pairs"); do
  # Which comes first changes, so that neither always has the warmer machine.
  if [ $((pair % 2)) -eq 0 ]; then off=$(measure false) on=$(measure true); else on=$(measure true) off=$(measure false); fi
  echo "$off $on" | awk '{ printf "without %s  with %s  ratio %.4f\n", $1, $2, $2 / $1 }' | tee -a "$work/ratios"
done
awk '{ print $NF }' "$work/ratios" | sort -n | awk '
  { r[NR] = $1 }
  END {
    median = NR % 2 ? r[(NR + 1) / 2] : (r[NR / 2] + r[NR / 2 + 1]) / 2
    printf "median ratio %.4f, lowest %.4f, highest %.4f\n", median, r[1], r[NR]
  }'
