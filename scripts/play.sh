#!/usr/bin/env bash
# Starts the server and some bots, and says where to play. Ctrl-C ends all of it.
#   PORT, ADMIN_PORT   where the server listens on loopback (7777, 7780)
#   BOTS               how many bots play along (24; 0 for none)
#   STORE              the folder in which recordings are kept (target/play/store)
# Build first: `make play` does both.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

port=${PORT:-7777} admin_port=${ADMIN_PORT:-7780} control_port=${CONTROL_PORT:-7781} bots=${BOTS:-24}
url=http://127.0.0.1:$port
bin=${CARGO_TARGET_DIR:-target}/release
self=play
logs=${CARGO_TARGET_DIR:-target}/play
store=${STORE:-$logs/store}
# shellcheck source=scripts/processes.sh
. scripts/processes.sh

command -v curl >/dev/null || fail "curl is missing"
for program in fray-server fray-bot; do
  [ -x "$bin/$program" ] || fail "$bin/$program is not built: run \`make play\`"
done
must_be_free "$port" PORT
must_be_free "$admin_port" ADMIN_PORT
must_be_free "$control_port" CONTROL_PORT
mkdir -p "$logs"

start server "$bin/fray-server" --listen "127.0.0.1:$port" --admin "127.0.0.1:$admin_port" \
  --control "127.0.0.1:$control_port" --store "$store"
wait_ready server "http://127.0.0.1:$admin_port/readyz"

if [ "$bots" -gt 0 ]; then
  start bots "$bin/fray-bot" swarm --players "$bots" --url "$url" --duration 0 --quiet
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
run_until_signal
