#!/usr/bin/env bash
# Checks the clients in other languages: their decoders against proto/vectors, and each of them in play.
#
#   run.sh [URL [CA]]     URL  where a server, or an edge, is; without it a server of its own, with bots, on a free port
#                         CA   a file with the certificate of the authority, for an https URL
#
#   FRAY_SERVER_BIN, FRAY_BOT_BIN   the programs for a server of its own; without them cargo builds them
#   FRAY_CLIENTS_BUILD              where packages and generated code go (target/clients)
#   FRAY_REQUIRE_TOOLS=1            a language that is not here is a failure, and not skipped
#
# Packages come from PyPI, npm and the Go module proxy.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$here/../..
build=${FRAY_CLIENTS_BUILD:-${CARGO_TARGET_DIR:-$root/target}/clients}
mkdir -p "$build"
build=$(cd "$build" && pwd)
export PATH=${FRAY_TOOLS:-$HOME/.cache/fray-tools}/bin:$PATH
url=${1:-} ca=${2:-}
[ -z "$ca" ] || ca=$(cd "$(dirname "$ca")" && pwd)/$(basename "$ca")

server='' bots=''
end() {
  [ -z "$bots" ] || kill "$bots" 2>/dev/null || true
  [ -z "$server" ] || kill "$server" 2>/dev/null || true
  wait 2>/dev/null || true
}
trap end EXIT

own_server() {
  if [ -z "${FRAY_SERVER_BIN:-}" ] || [ -z "${FRAY_BOT_BIN:-}" ]; then
    (cd "$root" && cargo build --quiet -p fray-server -p fray-bot)
    FRAY_SERVER_BIN=${CARGO_TARGET_DIR:-$root/target}/debug/fray-server
    FRAY_BOT_BIN=${CARGO_TARGET_DIR:-$root/target}/debug/fray-bot
  fi
  "$FRAY_SERVER_BIN" --listen 127.0.0.1:0 --admin 127.0.0.1:0 --control 127.0.0.1:0 >"$build/server.log" 2>&1 &
  server=$!
  for _ in $(seq 200); do
    url=$(sed -n 's/.*play at \(http:[^ ]*[0-9]\)\/.*/\1/p' "$build/server.log")
    [ -z "$url" ] || break
    kill -0 "$server" 2>/dev/null || break
    sleep 0.1
  done
  [ -n "$url" ] || { cat "$build/server.log" >&2; exit 1; }
  "$FRAY_BOT_BIN" swarm --url "$url" --players 8 --ramp 200ms --duration 0 --quiet >"$build/bots.log" 2>&1 &
  bots=$!
}

python() {
  [ -x "$build/venv/bin/python" ] || python3 -m venv "$build/venv"
  "$build/venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/python/requirements.txt"
  export PYTHONDONTWRITEBYTECODE=1
  "$build/venv/bin/python" "$here/python/vectors.py"
  "$build/venv/bin/python" "$here/python/client.py" --url "$url" ${ca:+--ca "$ca"}
}

go_client() {
  local bin=$build/go-bin
  cd "$here/go"
  GOBIN=$bin go install tool
  PATH=$bin:$PATH buf generate
  go test ./... | grep -v 'no test files'
  go build -o "$bin/client" .
  "$bin/client" -url "$url" ${ca:+-ca "$ca"}
}

node_client() {
  cd "$here/node"
  npm ci --silent --no-audit --no-fund
  node vectors.mjs
  node client.mjs --url "$url" ${ca:+--ca "$ca"}
}

failed=0
# `set -e` is off inside a condition, so the outcome is looked at afterwards.
check() { # NAME FUNCTION PROGRAM...
  local name=$1 function=$2 program status=0
  shift 2
  for program in "$@"; do
    if ! command -v "$program" >/dev/null; then
      echo "SKIPPED: the client in $name: there is no $program here" >&2
      [ "${FRAY_REQUIRE_TOOLS:-}" != 1 ] || failed=1
      return
    fi
  done
  echo "=== $name"
  set +e
  (
    trap - EXIT
    set -e
    "$function"
  )
  status=$?
  set -e
  if [ $status -ne 0 ]; then
    echo "FAILED: the client in $name" >&2
    failed=1
  fi
}

[ -n "$url" ] || own_server
check Python python python3
check Go go_client go buf
check Node node_client node npm
exit $failed
