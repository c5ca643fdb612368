#!/usr/bin/env bash
# What the edge carries: three servers, NATS and Envoy with TLS on this machine, and swarms through them.
#   benches/edge.sh crowd    300 bots at 20 Hz, then 1,000 at 5 Hz, in 60 rooms, through Envoy; then the first through the
#                            plain port of one server. Each SECONDS_EACH long (120)
#   benches/edge.sh slow     of 300 players in ROOMS (6) rooms half stop reading, and lie about it, so that the server goes on
#                            writing: ROUNDS (4) times, alternating with rounds in which all read; the gap of those who
#                            read, and everybody's memory. Each SECONDS_EACH long (150: it takes over a minute to fill
#                            what is between). LIE='' for players who do not lie: their streams are not written to
#   benches/edge.sh control  half stop reading, with Envoy's default windows: they are so large that it takes minutes (of SECONDS_EACH,
#                            420) until whoever shares a connection with the stalled stands still, too
# Prints its conditions and figures; `crowd` exits 1 when something was lost or relayed that must not be.
# Build first: cargo build --release -p fray-server -p fray-bot
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
kind=${1:-crowd}
bin=${CARGO_TARGET_DIR:-target}/release
folder=$(mktemp -d)
edge_port=28443 edge_admin=29901 server_port=27777 nats_port=24222
url=https://localhost:$edge_port
fleet=''

fleet_starts() { # TICK_RATE [ENVOY'S CONFIGURATION]
  EDGE_PORT=$edge_port EDGE_ADMIN_PORT=$edge_admin SERVER_PORT=$server_port NATS_PORT=$nats_port BOTS=0 FOLDER=$folder \
    SERVER_FLAGS="--tick-rate $1 --record false" ENVOY_CONFIG=${2:-} scripts/edge.sh >"$folder.out" 2>&1 &
  fleet=$!
  until grep -q 'A fleet is up' "$folder.out"; do
    kill -0 $fleet 2>/dev/null || { cat "$folder.out" >&2; exit 1; }
    sleep 0.2
  done
}
fleet_ends() { [ -z "$fleet" ] || { kill -TERM "$fleet" 2>/dev/null || true; wait "$fleet" || true; fleet=''; }; }
trap 'fleet_ends; rm -rf "$folder" "$folder".*' EXIT

swarm() { # PLAYERS RATE SECONDS NAME [FLAGS...]
  local players=$1 rate=$2 seconds=$3 name=$4
  shift 4
  "$bin/fray-bot" swarm --players "$players" --rooms "${ROOMS:-60}" --rate "$rate" --duration "${seconds}s" --ramp 10s \
    --ca "$folder/tls/ca.crt" --streams-per-connection 30 --json "$folder.$name.json" --quiet "$@" \
    --max-disconnects 0 --max-sessions-lost 0 >"$folder.$name.txt" 2>&1 || { cat "$folder.$name.txt"; return 1; }
}
figure() { # NAME FIELD...
  local name=$1
  shift
  node -e 'const r = JSON.parse(require("fs").readFileSync(process.argv[1]));
    console.log(process.argv.slice(2).map(f => f + " " + f.split(".").reduce((o, k) => o?.[k], r)).join(", "))' "$folder.$name.json" "$@"
}
relays() {
  local sum=0 number
  for number in 0 1 2; do
    sum=$((sum + $(curl -s "http://127.0.0.1:$((server_port + number + 100))/metrics" |
      awk '/^fray_streams_relayed_total/ { sum += $2 } END { print sum + 0 }')))
  done
  echo $sum
}
rss() { # of the servers and Envoy, in MB
  local pid
  for pid in $(pgrep -f -- "$folder" | sort -n); do
    awk -v name="$(tr '\0' ' ' <"/proc/$pid/cmdline" | grep -oE 'envoy|--name [a-z]+' | head -1)" \
      '/VmRSS/ && name { printf "%s %.0f MB  ", name, $2 / 1000 }' "/proc/$pid/status" 2>/dev/null || true
  done
  awk '/VmRSS/ { printf "envoy %.0f MB\n", $2 / 1000 }' "/proc/$(pgrep -f 'envoy --config-path envoy.yaml --disable-hot-restart' | tail -1)/status"
}

echo "conditions: $(nproc) cores, load $(cut -d' ' -f1-3 /proc/loadavg), $(git rev-parse --short HEAD), three servers, NATS, Envoy with TLS and the bots all on them"
fields=(players updates checksums moves desyncs lost_moves duplicate_moves altered_moves disconnects sessions_lost
  update_gap_ms.p50 update_gap_ms.p99 update_gap_ms.max tick_to_receive_ms.p99)
case $kind in
crowd)
  seconds=${SECONDS_EACH:-120}
  fleet_starts 20
  swarm 300 20 "$seconds" envoy20 --url "$url"
  echo "300 at 20 Hz through Envoy: $(figure envoy20 "${fields[@]}"), relayed $(relays); $(rss)"
  [ "$(relays)" = 0 ]
  swarm 300 20 "$seconds" plain20 --url "http://127.0.0.1:$server_port"
  echo "300 at 20 Hz by one server's plain port: $(figure plain20 "${fields[@]}"), relayed $(relays); $(rss)"
  [ "$(relays)" -gt 0 ]
  fleet_ends
  fleet_starts 5
  swarm 1000 5 "$seconds" envoy5 --url "$url"
  echo "1,000 at 5 Hz through Envoy: $(figure envoy5 "${fields[@]}"), relayed $(relays); $(rss)"
  [ "$(relays)" = 0 ]
  ;;
slow | control)
  seconds=${SECONDS_EACH:-150} rounds=${ROUNDS:-4} ROOMS=${ROOMS:-6}
  # One thread of Envoy's, so one connection to each server that all of its streams share.
  export ENVOY_THREADS=1
  [ "$kind" = slow ] || { seconds=${SECONDS_EACH:-420} rounds=${ROUNDS:-1}; }
  fields=(updates bytes_per_update update_gap_ms.p50 update_gap_ms.p99 update_gap_ms.max staleness_ms.p99 desyncs disconnects)
  config=''
  if [ "$kind" = control ]; then
    config=$folder.default-windows.yaml
    sed -E -e '/initial_(stream|connection)_window_size/d' -e "s/port_value: 8443 /port_value: $edge_port /" \
      -e "s/port_value: 9901 /port_value: $edge_admin /" -e "s/port_value: 7777 /port_value: $server_port /" \
      -e "s/port_value: 7778 /port_value: $((server_port + 1)) /" -e "s/port_value: 7779 /port_value: $((server_port + 2)) /" envoy/envoy.yaml >"$config"
  fi
  fleet_starts 20 "$config"
  for round in $(seq "$rounds"); do
    if [ "$kind" = slow ]; then
      swarm 300 20 "$seconds" "all$round" --url "$url" || true
      echo "round $round, all read:       $(figure "all$round" "${fields[@]}"); $(rss)"
    fi
    # shellcheck disable=SC2086 # a flag, or none
    swarm 300 20 "$seconds" "half$round" --url "$url" --stall 0.5 ${LIE---stall-lies} || true
    echo "round $round, half do not:    $(figure "half$round" "${fields[@]}" stalled.players); $(rss)"
  done
  ;;
*) echo "benches/edge.sh crowd | slow | control" >&2; exit 2 ;;
esac
