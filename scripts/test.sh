#!/usr/bin/env bash
# All that `make test` checks, cheapest first. The first failure ends it.
# A step whose part does not exist yet is skipped, and both the step and the summary say so.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tools=${FRAY_TOOLS:-$HOME/.cache/fray-tools}/bin
export PATH=$tools:$PATH
page=server/assets/index.html

# === Steps: announced, timed, and counted at the end ===

passed=() skipped=() current=''

step() { # NAME COMMAND...
  local since=$SECONDS
  current=$1
  shift
  printf '\n=== %s\n' "$current"
  "$@"
  passed+=("$current ($((SECONDS - since)) s)")
  echo "=== $current: passed in $((SECONDS - since)) s"
  current=''
}

skip() { # NAME REASON
  printf '\n=== SKIPPED: %s - %s\n' "$1" "$2"
  skipped+=("$1 - $2")
}

summary() {
  local status=$? line
  printf '\n=== Summary after %d s\n' "$SECONDS"
  for line in ${passed[@]+"${passed[@]}"}; do echo "  passed   $line"; done
  for line in ${skipped[@]+"${skipped[@]}"}; do echo "  SKIPPED  $line"; done
  [ -z "$current" ] || echo "  FAILED   $current"
  if [ $status -ne 0 ]; then
    echo "make test FAILED; what would have come after is unknown."
  elif [ ${#skipped[@]} -gt 0 ]; then
    echo "make test passed what it ran: ${#passed[@]} steps; ${#skipped[@]} SKIPPED."
  else
    echo "make test passed: all ${#passed[@]} steps."
  fi
}
trap summary EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# === What the longer steps do ===

in_dir() { (cd "$1" && shift && "$@"); } # DIR COMMAND...

last_release() { git describe --tags --match 'v[0-9]*' --abbrev=0 2>/dev/null; }

# The server embeds a committed page, so that building it needs no Node. It must be what web/ builds.
page_is_current() {
  local kept
  kept=$(mktemp)
  cp -p "$page" "$kept"
  rm "$page" # so that a build which writes elsewhere cannot pass
  if ! in_dir web npm run build || [ ! -f "$page" ]; then
    mv "$kept" "$page"
    echo "web/ did not build $page" >&2
    return 1
  fi
  if ! cmp "$kept" "$page"; then
    rm "$kept"
    echo "$page is not what web/ builds. It is now: look at it, and commit it with its source." >&2
    return 1
  fi
  mv "$kept" "$page" # the same bytes with the old time, so that cargo does not build again
}

# Every crate can say what it would publish: its manifest is complete, and what it names is there.
packages_list() {
  local name
  cargo metadata --format-version 1 --no-deps --locked |
    node -pe 'JSON.parse(require("fs").readFileSync(0)).packages.map(p => p.name).join("\n")' |
    while read -r name; do
      echo "--- $name"
      cargo package --locked --allow-dirty --list -p "$name"
    done
}

# === The steps ===

step "tools" scripts/tools.sh buf typos cargo-deny chromium-headless-shell prometheus promtool jaeger \
  envoy nats-server helm helm-unittest kubeconform h2spec
step "formatting" cargo fmt --all --check
step "spelling" typos
step "protocol lint" in_dir proto buf lint
if tag=$(last_release); then
  step "protocol against $tag" in_dir proto buf breaking --against "../.git#tag=$tag,subdir=proto"
else
  skip "protocol against the last release" "no release tag yet, so the wire is not fixed"
fi
step "Prometheus rules" promtool check rules helm/rules/fray.yaml
step "Prometheus rules, tried out" promtool test rules helm/rules/tests/fray.test.yaml
step "the edge's configuration" envoy/check.sh
step "the chart" scripts/chart.sh
if tag=$(last_release) && git cat-file -e "$tag:helm/templates/servers-deployment.yaml" 2>/dev/null; then
  step "upgrade of the chart from $tag" scripts/chart-upgrade.sh "$tag"
else
  skip "upgrade of the chart from the last release" "no chart was released yet"
fi
step "clippy" cargo clippy --locked --workspace --all-targets -- -D warnings
step "dependencies" cargo deny --locked check bans licenses sources
# The fuzz targets' own lock file, which only the last step would miss.
step "dependencies of the fuzz targets" in_dir fuzz cargo fetch --locked

if [ -f web/package.json ]; then
  step "web: dependencies" in_dir web npm ci --no-fund --no-audit
  step "web: types" in_dir web npm run check
  step "web: tests" in_dir web npm test
  step "web: committed page" page_is_current
else
  skip "web" "there is no web/package.json"
fi

# Servers that are cut off from each other are in network namespaces of their own.
if setpriv --pdeathsig KILL -- unshare --user --map-root-user --net --mount --fork --pid --mount-proc -- sh -c \
  'mount -t tmpfs tmpfs /run && ip link add br0 type bridge && ip netns add h0' 2>/dev/null; then
  export FRAY_REQUIRE_NAMESPACES=1
else
  skip "faults of a fleet" "no network namespaces: they need setpriv, unshare, ip and veth, and the right to use them"
fi
step "tests" env FRAY_REQUIRE_TOOLS=1 cargo test --locked --workspace
step "determinism in release" cargo test --locked --release -p fray-server \
  --test determinism --test golden_recordings --test recorded_play
# What players and examples are tried against.
step "programs in release" cargo build --locked --release -p fray-server -p fray-bot
programs=$(cd "${CARGO_TARGET_DIR:-target}/release" && pwd)
export FRAY_SERVER_BIN=$programs/fray-server FRAY_BOT_BIN=$programs/fray-bot
if [ -x web/e2e/run.sh ]; then
  step "browser end to end" web/e2e/run.sh
else
  skip "browser end to end" "there is no web/e2e/run.sh that can be executed"
fi
if type -P python3 >/dev/null && type -P go >/dev/null && type -P node >/dev/null; then
  step "clients in other languages" env FRAY_REQUIRE_TOOLS=1 examples/clients/run.sh
else
  skip "clients in other languages" "they need python3, go and node"
fi
if type -P c++ >/dev/null; then
  step "fuzzing, each target ${FUZZ_SECONDS:-10} s" scripts/fuzz.sh
else
  skip "fuzzing" "libFuzzer needs a C++ compiler, and there is no c++"
fi
step "packages" packages_list
step "documentation" env RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps
