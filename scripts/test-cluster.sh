#!/usr/bin/env bash
# The chart on a real cluster: whichever the current kubeconfig names (kind, one in a cloud, …). Builds the image, brings it there,
# installs the chart in a namespace of its own, plays while things happen to it, and takes away what it made, however it ends.
#
#   make test-cluster
#   KEEP=1 make test-cluster                              leaves the namespace as it is, and says how to go on
#   FRAY_CLUSTER_ONLY='rollout,drain' make test-cluster   only scenes whose names contain one of these
#
# The image:
#   IMAGE                    its name and tag, as the cluster knows it (localhost/fray:test-RANDOM). One with a registry is pushed to it
#   FRAY_CLUSTER_LOAD        a bash command that brings an image into the cluster instead: it gets a name, a folder with the image's
#                            whole tree but for the C library, and the program to start. No engine is needed then
#   FRAY_CLUSTER_READY=1     IMAGE is there already, and so is IMAGE_NEXT, if there is one, whose rules are of the next version
#   FRAY_CLUSTER_NEXT=0      without the build whose rules are of the next version, and without the upgrade to it
#   FRAY_CLUSTER_ENVOY_IMAGE, FRAY_CLUSTER_NATS_IMAGE, FRAY_CLUSTER_JAEGER_IMAGE
#                            instead of the chart's. `build`: made of what scripts/tools.sh installs, and loaded like ours, for a
#                            cluster that pulls nothing
# What Kubernetes has no verb for; bash commands, whose first argument is the name of a node. kind has defaults:
#   FRAY_CLUSTER_NODES=1     the nodes are the tests': they may be drained, killed, and cut off
#   FRAY_CLUSTER_NODE_KILL, FRAY_CLUSTER_NODE_START       crash a node, start it again
#   FRAY_CLUSTER_NODE_EXEC   runs a command (all further arguments) as root in a node's network, where it sees the processes of the
#                            node's pods; it needs `nft`
# More:
#   FRAY_CLUSTER_PLAYERS, FRAY_CLUSTER_ROOMS              200 and 20
#   FRAY_CLUSTER_GAP_MS      whatever happens by will, 99 of 100 players may not be without the game for longer, and nobody for four
#                            times as long (5000: others use the machine, too; the goal of 500 is printed beside each figure)
#   FRAY_CLUSTER_API=0       without the tests of what the server itself makes of the cluster's API
#   FRAY_CLUSTER_LONG=1      also what there is to see when nothing happens
#   FRAY_CLUSTER_OUT         where logs, figures and pictures go, in a folder for each run (target/cluster); `last` is the last one
#
# What scenes do to nodes (cordon, kill, cut off) is noted first and struck off when it is undone; what is left is undone in the end,
# also after Ctrl-C and SIGTERM.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() { echo "test-cluster: $*" >&2; exit 1; }
say() { echo "test-cluster: $*" >&2; }

target=${CARGO_TARGET_DIR:-target}
tools=${FRAY_TOOLS:-$HOME/.cache/fray-tools}/bin
work=$(mktemp -d)
suffix=$(od -An -N4 -tx4 /dev/urandom | tr -d ' ')
namespace=fray-test-$suffix
# Others may run it at the same time.
out=${FRAY_CLUSTER_OUT:-$target/cluster}/$suffix
mkdir -p "$out"
out=$(cd "$out" && pwd)
ln -sfn "$suffix" "$(dirname "$out")/last"
# A line is VERB NODE.
undo=$out/undo-$suffix

type -P helm >/dev/null || { scripts/tools.sh helm && PATH=$PATH:$tools; }
type -P kubectl >/dev/null || fail "kubectl is missing"
context=$(kubectl config current-context 2>/dev/null) || fail "no kubeconfig names a cluster"
kube() { command kubectl --context "$context" "$@"; }
kube --request-timeout=60s get --raw /readyz >/dev/null || fail "the cluster of context $context does not answer"

# === What it made goes away, however it ends

has_namespace=''
tests=''
finish() {
  local status=$? told
  trap - EXIT
  # Nodes come first, also when somebody is in a hurry.
  trap : INT TERM
  end_tests
  undo_what_is_left || status=$((status > 0 ? status : 1))
  trap 'exit 130' INT
  trap 'exit 143' TERM
  rm -rf "$work"
  if [ -n "$has_namespace" ] && [ "${KEEP:-}" = 1 ]; then
    cat >&2 <<TEXT
test-cluster: kept. To go on:
    kubectl --context $context --namespace $namespace get pods
    helm --kube-context $context --namespace $namespace status fray
  and in the end:
    helm --kube-context $context --namespace $namespace uninstall fray
    kubectl --context $context delete namespace $namespace
TEXT
  elif [ -n "$has_namespace" ]; then
    # What belongs to no namespace goes with the release.
    told=$(helm --kube-context "$context" --namespace "$namespace" uninstall fray --ignore-not-found 2>&1) \
      || say "helm uninstall failed: $told
test-cluster: what belongs to no namespace may still be there: its name has $namespace in it"
    kube delete namespace "$namespace" --wait --timeout=150s >/dev/null || say "namespace $namespace is still there"
  fi
  exit "$status"
}

undo_what_is_left() { # the latest first
  local verb node failed=0
  [ -s "$undo" ] || return 0
  while read -r verb node; do
    say "$verb $node"
    case $verb in
      uncordon) kube uncordon "$node" ;;
      start) bash -c "${FRAY_CLUSTER_NODE_START:-false}" hook "$node" ;;
      heal) bash -c "${FRAY_CLUSTER_NODE_EXEC:-false}" hook "$node" nft "add table inet $table; delete table inet $table" ;;
      *) false ;;
    esac </dev/null >/dev/null || { say "$verb $node: that failed, and is left to you"; failed=1; }
  done < <(sed '1!G;h;$!d' "$undo")
  [ "$failed" = 0 ] && rm "$undo"
}
# The tests' own rules in a node, as the tests name them.
table=${namespace//-/_}

run() { # COMMAND...: which ends, and all that it started, when this ends
  local status=0
  set -m
  "$@" </dev/null &
  tests=$!
  set +m
  wait "$tests" || status=$?
  tests=''
  return "$status"
}
end_tests() {
  [ -n "$tests" ] || return 0
  kill -TERM -- "-$tests" 2>/dev/null || true
  wait "$tests" 2>/dev/null || true
}

trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# === Nodes

case $context in
  kind-*)
    : "${FRAY_CLUSTER_NODES=1}"
    # shellcheck disable=SC2016 # whoever runs it expands it
    : "${FRAY_CLUSTER_NODE_KILL=docker kill "\$1"}" "${FRAY_CLUSTER_NODE_START=docker start "\$1"}" \
      "${FRAY_CLUSTER_NODE_EXEC=docker exec "\$1" "\${@:2}"}"
    export FRAY_CLUSTER_NODES FRAY_CLUSTER_NODE_KILL FRAY_CLUSTER_NODE_START FRAY_CLUSTER_NODE_EXEC
    ;;
esac

# === Images

image=${IMAGE:-localhost/fray:test-$suffix}
image_next=''

load() { # NAME TREE PROGRAM
  say "$1"
  bash -c "$FRAY_CLUSTER_LOAD" load "$@" || fail "FRAY_CLUSTER_LOAD could not load $1"
}


tool_image() { # VARIABLE TOOL: an image of a tool that scripts/tools.sh installs, if the variable says `build`
  local name tree=$work/$2
  [ "${!1:-}" = build ] || return 0
  scripts/tools.sh "$2" || fail "$2 is needed"
  name=localhost/$2:test
  mkdir -p "$tree/usr/bin"
  cp -L "$tools/$2" "$tree/usr/bin/$2"
  load "$name" "$tree" "/usr/bin/$2"
  export "$1=$name"
  rm -rf "$tree"
}

if [ "${FRAY_CLUSTER_READY:-}" = 1 ]; then
  [ -n "${IMAGE:-}" ] || fail "FRAY_CLUSTER_READY: which IMAGE is there?"
  image_next=${IMAGE_NEXT:-}
elif [ -n "${FRAY_CLUSTER_LOAD:-}" ]; then
  # The same packages each time: other sets have dependencies with other features, built once more.
  cargo build --locked --release -p fray-server -p fray-bot
  scripts/image.sh tree "$work/fray" "$target/release"
  load "$image" "$work/fray" /usr/bin/fray-server
  if [ "${FRAY_CLUSTER_NEXT:-1}" = 1 ]; then
    image_next=$image-next
    cargo build --locked --release -p fray-server -p fray-bot --example next_rules
    NEXT_RULES=1 scripts/image.sh tree "$work/next" "$target/release"
    load "$image_next" "$work/next" /usr/bin/fray-server
  fi
  tool_image FRAY_CLUSTER_ENVOY_IMAGE envoy
  tool_image FRAY_CLUSTER_NATS_IMAGE nats-server
  tool_image FRAY_CLUSTER_JAEGER_IMAGE jaeger
else
  registry=${image%%/*}
  push=''
  case $context:$registry in
    kind-*) type -P kind >/dev/null || fail "kind is missing, which brings images into context $context" ;;
    *:localhost) fail "context $context: push to a registry (IMAGE=REGISTRY/NAME:TAG), or say how images get there (FRAY_CLUSTER_LOAD)" ;;
    *) push=1 ;;
  esac
  IMAGE=$image PUSH=$push scripts/image.sh
  if [ "${FRAY_CLUSTER_NEXT:-1}" = 1 ]; then
    image_next=$image-next
    IMAGE=$image_next PUSH=$push NEXT_RULES=1 scripts/image.sh
  fi
  [ -n "$push" ] || kind load docker-image --name "${context#kind-}" "$image" ${image_next:+"$image_next"}
fi

# === The tests

# Exactly what `make test` builds, for the same reason.
say "building the tests"
built=$(cargo test --locked --workspace --no-run 2>&1) || { printf '%s\n' "$built" | tail -n 40; fail "the tests do not build"; }
test_program() { # NAME: the path of that test
  local path
  path=$(sed -n "s#^ *Executable tests/$1/.*(\(.*\))\$#\1#p" <<<"$built")
  [ -x "$path" ] || fail "there is no test $1"
  realpath "$path"
}
kube_test=$(test_program kube)
cluster_test=$(test_program cluster)

kube create namespace "$namespace" >/dev/null
has_namespace=1
failed=0

if [ "${FRAY_CLUSTER_API:-1}" = 1 ]; then
  # They take the current context, and its namespace.
  (umask 077 && kube config view --minify --flatten >"$work/kubeconfig")
  kubectl --kubeconfig "$work/kubeconfig" config set-context --current --namespace "$namespace" >/dev/null
  # No pod can be made in a new namespace before this is there.
  for ((i = 0; i < 100; i++)); do
    kube --namespace "$namespace" get serviceaccount default >/dev/null 2>&1 && break
    sleep 0.2
  done
  run env FRAY_TEST_CLUSTER=1 KUBECONFIG="$work/kubeconfig" env -C server "$kube_test" \
    || { say "what the server makes of the cluster's API: FAILED"; failed=1; }
fi

# Pods that are not restricted are refused.
kube label namespace "$namespace" pod-security.kubernetes.io/enforce=restricted >/dev/null
say "context $context, namespace $namespace, image $image; logs and figures in $out"

[ -n "${FRAY_CHROMIUM:-}" ] || scripts/tools.sh chromium-headless-shell || say "no Chromium: the page is not tried"
run env PATH="$PATH:$tools" FRAY_TEST_CLUSTER=1 FRAY_CLUSTER_CONTEXT="$context" FRAY_CLUSTER_NAMESPACE="$namespace" \
  FRAY_CLUSTER_OUT="$out" FRAY_CLUSTER_UNDO="$undo" FRAY_CLUSTER_IMAGE="$image" FRAY_CLUSTER_IMAGE_NEXT="$image_next" \
  env -C bot-client "$cluster_test" --nocapture || failed=1
[ "$failed" = 0 ]
