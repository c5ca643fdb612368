#!/usr/bin/env bash
# Starts the server and some bots, and says where to play. Ctrl-C ends all of it.
#   PORT, ADMIN_PORT   where the server listens on loopback (7777, 7780)
#   BOTS               how many bots play along (24; 0 for none)
#   STORE              the folder in which recordings are kept (target/play/store)
# Build first: `make play` does both.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

port=${PORT:-7777} admin_port=${ADMIN_PORT:-7780} bots=${BOTS:-24}
url=http://127.0.0.1:$port
ready=http://127.0.0.1:$admin_port/readyz
bin=${CARGO_TARGET_DIR:-target}/release
logs=${CARGO_TARGET_DIR:-target}/play
store=${STORE:-$logs/store}
ready_wait_secs=20
stop_wait_secs=15 # longer than the server's own grace period for open sessions

server_pid='' bots_pid=''

# A signal is only counted; the loops below look at the count.
signals=0
trap 'signals=$((signals + 1))' INT TERM HUP

# Each child gets a process group of its own. Ctrl-C in a terminal signals the whole foreground
# group; this way it reaches only this script, which then ends its children in order.
start() { # NAME COMMAND...: its pid is then in $!
  local name=$1
  shift
  set -m
  "$@" </dev/null >"$logs/$name.log" 2>&1 &
  set +m
}

alive() { [ -n "$1" ] && kill -0 "$1" 2>/dev/null; }
nap() { sleep 0.1 || true; } # a signal may cut it short

stop() { # PID SIGNALS: asks, waits, and insists; at once when more than SIGNALS have come
  local since=$SECONDS
  if alive "$1"; then kill -TERM "$1" 2>/dev/null || true; fi
  while alive "$1" && [ "$signals" -le "$2" ] && [ $((SECONDS - since)) -lt $stop_wait_secs ]; do nap; done
  if alive "$1"; then kill -KILL -- "-$1" 2>/dev/null || true; fi
}

stop_all() { # bots first, so that the server has nobody left to wait for
  local signals_before=$signals
  stop "$bots_pid" "$signals_before"
  stop "$server_pid" "$signals_before"
  { wait; } 2>/dev/null || true
}
trap stop_all EXIT # for what nobody foresaw; `finish` and `fail` come first

finish() {
  printf '\nStopping. (Again: at once.)\n' 2>/dev/null || true # the terminal may be gone
  stop_all
  exit 0
}

fail() { # MESSAGE [NAME OF THE LOG]
  echo "play: $1" >&2
  [ -z "${2:-}" ] || { echo "play: the end of $logs/$2.log:"; tail -n 20 "$logs/$2.log"; } >&2
  stop_all
  exit 1
}

answers() { curl --silent --output /dev/null --max-time 1 "$@"; }

command -v curl >/dev/null || fail "curl is missing"
for program in fray-server fray-bot; do
  [ -x "$bin/$program" ] || fail "$bin/$program is not built: run \`make play\`"
done
# Somebody else's server would answer for ours, and ours would fail a moment later.
for address in "$url/" "$ready"; do
  if answers "$address"; then fail "$address is already taken: set PORT and ADMIN_PORT"; fi
done
mkdir -p "$logs"

start server "$bin/fray-server" --listen "127.0.0.1:$port" --admin "127.0.0.1:$admin_port" \
  --store "$store"
server_pid=$!
deadline=$((SECONDS + ready_wait_secs))
until answers --fail "$ready"; do
  [ "$signals" -eq 0 ] || finish
  alive "$server_pid" || fail "the server ended before it was ready" server
  [ $SECONDS -lt $deadline ] || fail "the server was not ready within $ready_wait_secs s" server
  nap
done

if [ "$bots" -gt 0 ]; then
  start bots "$bin/fray-bot" swarm --players "$bots" --url "$url" --duration 0 --quiet
  bots_pid=$!
fi

cat <<TEXT

    Fray is up:   $url/

  Open that page to play; $bots bots are there already, and a second window is a second player.
  Or try, in another terminal:
    $bin/fray-bot play --url $url                   play in the terminal
    $bin/fray-bot swarm --url $url --players 200    add a crowd
    $bin/fray-bot replay $store        what was played, checked
  Everything is recorded: look back at ${url}/replay
  Logs are in $logs/. Ctrl-C ends the server and its bots.

TEXT

while [ "$signals" -eq 0 ]; do
  alive "$server_pid" || fail "the server ended by itself" server
  [ -z "$bots_pid" ] || alive "$bots_pid" || fail "the bots ended by themselves" bots
  nap
done
finish
