#!/usr/bin/env bash
# What players notice when the collector of traces hangs, refuses or is gone: nothing. One server, everything traced, and a
# swarm in each phase: gaps between updates, the server's memory, and what became of its spans.
#   PLAYERS        how many bots (100)      SECONDS_EACH   how long a phase is (20)
#   ROUNDS         how often all phases are gone through (2)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

players=${PLAYERS:-100} seconds=${SECONDS_EACH:-20} rounds=${ROUNDS:-2}
bin=${BIN:-${CARGO_TARGET_DIR:-target}/release}
PATH=${FRAY_TOOLS:-$HOME/.cache/fray-tools}/bin:$PATH
query=$((20000 + RANDOM % 10000)) otlp=''
otlp=$((query + 1))
work=$(mktemp -d)
server='' jaeger='' refuser=''
finish() {
  local pid
  for pid in $server $jaeger $refuser; do kill -KILL "$pid" 2>/dev/null || true; done
  { wait; } 2>/dev/null || true
  rm -rf "$work"
}
trap finish EXIT

start_collector() {
  FRAY_JAEGER_PORT=$query FRAY_OTLP_PORT=$otlp jaeger --config observability/jaeger.yaml \
    >>"$work/jaeger" 2>&1 &
  jaeger=$!
  until curl --silent --fail --output /dev/null "http://127.0.0.1:$query/api/services"; do
    kill -0 "$jaeger" || { cat "$work/jaeger" >&2; exit 1; }
    sleep 0.2
  done
}
end_collector() {
  kill -KILL "$jaeger"
  { wait "$jaeger"; } 2>/dev/null || true
  jaeger=''
}

spans() { # exported|dropped|failed
  curl --silent "$admin/metrics" | awk -v name="fray_spans_$1_total" '$1 == name { print $2 }'
}

measure() { # PHASE
  local before_exported before_dropped before_failed
  before_exported=$(spans exported) before_dropped=$(spans dropped) before_failed=$(spans failed)
  "$bin/fray-bot" swarm --url "$url" --players "$players" --ramp 1s --duration "${seconds}s" --quiet \
    --json "$work/json"
  node -e '
    const r = JSON.parse(require("fs").readFileSync(process.argv[1])), g = r.update_gap_ms, [, , phase, rss, e, d, f] = process.argv
    const w = (text, n) => String(text).padStart(n)
    console.log(phase.padEnd(12) + w(g.p50.toFixed(1), 8) + w(g.p99.toFixed(1), 8) + w(g.max.toFixed(1), 9) +
      w(rss, 8) + w(e, 10) + w(d, 9) + w(f, 8) + w(r.desyncs ?? "", 9) + w(r.disconnects ?? "", 12))
  ' "$work/json" "$1" "$(awk '/VmRSS/ { printf "%.1f", $2 / 1024 }' "/proc/$server/status")" \
    $(($(spans exported) - before_exported)) $(($(spans dropped) - before_dropped)) $(($(spans failed) - before_failed))
}

start_collector
"$bin/fray-server" --listen 127.0.0.1:0 --admin 127.0.0.1:0 --control 127.0.0.1:0 --seed 7 --record=false --trace-moves 1 --trace-ticks 1 \
  --otlp-endpoint "http://127.0.0.1:$otlp" 2>"$work/log" &
server=$!
url='' admin=''
for _ in $(seq 100); do
  url=$(sed -nE 's/.*play at (http:\/\/[0-9.:]+)\/.*/\1/p' "$work/log" | head -n 1)
  admin=$(sed -nE 's/.*metrics at (http:\/\/[0-9.:]+)\/.*/\1/p' "$work/log" | head -n 1)
  [ -z "$url" ] || [ -z "$admin" ] || break
  sleep 0.1
done

echo "# $(nproc) cores, $(awk -F': ' '/model name/ { print $2; exit }' /proc/cpuinfo), load $(cut -d' ' -f1 /proc/loadavg)"
echo "# $players bots, every move and every tick traced, $rounds rounds of phases of $seconds s"
echo "phase        gap p50     p99      max  RSS MB  exported  dropped  failed  desyncs disconnects"
for _ in $(seq "$rounds"); do
  measure "well"
  kill -STOP "$jaeger"
  measure "hangs"
  kill -CONT "$jaeger"
  measure "well again"
  end_collector
  measure "gone"
  # Somebody is there, and speaks no gRPC.
  python3 -m http.server --bind 127.0.0.1 "$otlp" >/dev/null 2>&1 &
  refuser=$!
  measure "refuses"
  kill -KILL "$refuser"
  { wait "$refuser"; } 2>/dev/null || true
  refuser=''
  start_collector
done
measure "well"
