#!/usr/bin/env bash
# What something costs: the server's CPU time (user + system) with and without it, for the same number of bots.
#   benches/cost.sh recording   the input log, to a file store
#   benches/cost.sh tracing     1 % of the moves and 1 % of the ticks traced, sent to a real Jaeger
# The two of a pair run at the same time, each with its own bots, so that a noisy machine disturbs both alike, and which of them
# starts first changes from pair to pair; what is printed is the ratio within each pair.
#   PAIRS     how many (10)        SECONDS_EACH   how long each run is measured (20)
#   PLAYERS   how many bots (64; 400 for tracing)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

case ${1:-} in
  recording) default_players=64 ;;
  tracing) default_players=400 ;;
  *) echo "usage: benches/cost.sh recording|tracing" >&2; exit 2 ;;
esac
what=$1
pairs=${PAIRS:-10} seconds=${SECONDS_EACH:-20} players=${PLAYERS:-$default_players}
bin=${BIN:-${CARGO_TARGET_DIR:-target}/release}
work=$(mktemp -d)
pids=() jaeger='' collector=''
finish() {
  local pid
  for pid in ${pids[@]+"${pids[@]}"} ${jaeger:-}; do kill -KILL "$pid" 2>/dev/null || true; done
  { wait; } 2>/dev/null || true
  rm -rf "$work"
}
trap finish EXIT

# User and system time of all threads, in ns: /proc/PID/stat counts in hundredths of a second, too coarse for one per cent.
cpu_ns() { cat /proc/"$1"/task/*/schedstat | awk '{ sum += $1 } END { printf "%.0f", sum }'; }

flags() { # true|false: into the array `with`
  case $what in
    recording) with=("--record=$1" --store "$work/store-$1-$RANDOM") ;;
    tracing)
      with=(--record=false --trace-moves 0.01 --trace-ticks 0.01)
      [ "$1" = false ] || with+=(--otlp-endpoint "$collector")
      ;;
  esac
}

# The collector takes its time from both servers alike, and none of theirs.
start_collector() {
  local tools=${FRAY_TOOLS:-$HOME/.cache/fray-tools}/bin query=$((20000 + RANDOM % 10000))
  collector=http://127.0.0.1:$((query + 1))
  FRAY_JAEGER_PORT=$query FRAY_OTLP_PORT=$((query + 1)) PATH=$tools:$PATH \
    jaeger --config observability/jaeger.yaml >"$work/jaeger" 2>&1 &
  jaeger=$!
  until curl --silent --fail --output /dev/null "http://127.0.0.1:$query/api/services"; do
    kill -0 "$jaeger" || { cat "$work/jaeger" >&2; exit 1; }
    sleep 0.2
  done
}

start() { # true|false: a server with it or without, and its bots; its pid is then in `server`
  local url='' log=$work/log-$1 with
  flags "$1"
  rm -f "$log" # an earlier server's address must not be taken for this one's
  "$bin/fray-server" --listen 127.0.0.1:0 --admin 127.0.0.1:0 --control 127.0.0.1:0 --seed 7 "${with[@]}" 2>"$log" &
  server=$!
  pids+=("$server")
  for _ in $(seq 100); do
    [ -f "$log" ] || { sleep 0.1; continue; }
    url=$(sed -nE 's/.*play at (http:\/\/[0-9.:]+)\/.*/\1/p' "$log" | head -n 1)
    [ -z "$url" ] || break
    sleep 0.1
  done
  "$bin/fray-bot" swarm --url "$url" --players "$players" --ramp 1s --duration 0 --quiet >/dev/null 2>&1 &
  pids+=($!)
}

pair() { # which first: prints the CPU time per second of play without and with it, in ms
  local on off
  start "$1"
  if [ "$1" = true ]; then on=$server; start false; off=$server; else off=$server; start true; on=$server; fi
  sleep 4
  local off_from on_from off_to on_to
  off_from=$(cpu_ns "$off") on_from=$(cpu_ns "$on")
  sleep "$seconds"
  off_to=$(cpu_ns "$off") on_to=$(cpu_ns "$on")
  local pid
  for pid in "${pids[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
  pids=()
  echo "$off_from $off_to $on_from $on_to $seconds" |
    awk '{ printf "without %.3f  with %.3f  ratio %.4f\n", ($2-$1)/1e6/$5, ($4-$3)/1e6/$5, ($4-$3)/($2-$1) }'
}

echo "# $(nproc) cores, $(awk -F': ' '/model name/ { print $2; exit }' /proc/cpuinfo), load $(cut -d' ' -f1 /proc/loadavg)"
echo "# $what: $players bots, 20 Hz, $pairs pairs of $seconds s; CPU ms per second of play"
[ "$what" != tracing ] || start_collector
for number in $(seq "$pairs"); do
  pair "$([ $((number % 2)) -eq 0 ] && echo true || echo false)" >>"$work/ratios"
  tail -n 1 "$work/ratios"
done
awk '{ print $NF }' "$work/ratios" | sort -n | awk '
  { r[NR] = $1 }
  END {
    median = NR % 2 ? r[(NR + 1) / 2] : (r[NR / 2] + r[NR / 2 + 1]) / 2
    printf "median ratio %.4f, lowest %.4f, highest %.4f\n", median, r[1], r[NR]
  }'
