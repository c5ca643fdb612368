#!/bin/sh
# The page in a real browser, against a real server with bots in it.
#
#   FRAY_SERVER_BIN, FRAY_BOT_BIN   binaries to use; without them cargo builds them
#   FRAY_CHROMIUM                   the browser; without it the first one found on the PATH
set -eu
cd "$(dirname "$0")/.."

if [ -z "${FRAY_SERVER_BIN:-}" ] || [ -z "${FRAY_BOT_BIN:-}" ]; then
  (cd .. && cargo build --release -p fray-server -p fray-bot)
  target=$(cd .. && cargo metadata --format-version 1 --no-deps | node -e \
    'let t="";process.stdin.on("data",d=>t+=d).on("end",()=>console.log(JSON.parse(t).target_directory))')
  FRAY_SERVER_BIN="${FRAY_SERVER_BIN:-$target/release/fray-server}"
  FRAY_BOT_BIN="${FRAY_BOT_BIN:-$target/release/fray-bot}"
fi
export FRAY_SERVER_BIN FRAY_BOT_BIN

[ -d node_modules ] || npm ci
npm run --silent generate
exec npx vitest run --config e2e/vitest.config.ts "$@"
