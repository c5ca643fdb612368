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
#   FRAY_CLUSTER_NODE_EXEC   runs a command (all further arguments) as root in a node's network; it needs `nft`
# More:
#   FRAY_CLUSTER_PLAYERS, FRAY_CLUSTER_ROOMS              200 and 20
#   FRAY_CLUSTER_LONG=1      also what takes long
#   FRAY_CLUSTER_OUT         where logs, figures and pictures go (target/cluster)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() { echo "test-cluster: $*" >&2; exit 1; }
say() { echo "test-cluster: $*" >&2; }

target=${CARGO_TARGET_DIR:-target}
tools=${FRAY_TOOLS:-$HOME/.cache/fray-tools}/bin
out=${FRAY_CLUSTER_OUT:-$target/cluster}
mkdir -p "$out"
out=$(cd "$out" && pwd)
work=$(mktemp -d)
suffix=$(od -An -N4 -tx4 /dev/urandom | tr -d ' ')
namespace=fray-test-$suffix

type -P helm >/dev/null || { scripts/tools.sh helm && PATH=$PATH:$tools; }
type -P kubectl >/dev/null || fail "kubectl is missing"
context=$(kubectl config current-context 2>/dev/null) || fail "no kubeconfig names a cluster"
kube() { command kubectl --context "$context" "$@"; }
kube --request-timeout=60s get --raw /readyz >/dev/null || fail "the cluster of context $context does not answer"

# === What it made goes away, however it ends

has_namespace=''
finish() {
  local status=$?
  trap - EXIT
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
    helm --kube-context "$context" --namespace "$namespace" uninstall fray --ignore-not-found >/dev/null 2>&1 || true
    kube delete namespace "$namespace" --wait --timeout=150s >/dev/null || say "namespace $namespace is still there"
  fi
  for node in $(comm -13 "$out/cordoned" <(cordoned) 2>/dev/null); do kube uncordon "$node" || true; done
  exit $status
}
cordoned() { kube get nodes --output jsonpath='{range .items[?(@.spec.unschedulable)]}{.metadata.name}{"\n"}{end}' | sort; }
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
cordoned >"$out/cordoned"

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
  cargo build --locked --release -p fray-server -p fray-bot
  scripts/image.sh tree "$work/fray" "$target/release"
  load "$image" "$work/fray" /usr/bin/fray-server
  if [ "${FRAY_CLUSTER_NEXT:-1}" = 1 ]; then
    image_next=$image-next
    cargo build --locked --release -p fray-server --example next_rules
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

kube create namespace "$namespace" >/dev/null
has_namespace=1
# Pods that are not restricted are refused.
kube label namespace "$namespace" pod-security.kubernetes.io/enforce=restricted >/dev/null
say "context $context, namespace $namespace, image $image; logs and figures in $out"

[ -n "${FRAY_CHROMIUM:-}" ] || scripts/tools.sh chromium-headless-shell || say "no Chromium: the page is not tried"
PATH=$PATH:$tools FRAY_TEST_CLUSTER=1 FRAY_CLUSTER_CONTEXT=$context FRAY_CLUSTER_NAMESPACE=$namespace FRAY_CLUSTER_OUT=$out \
  FRAY_CLUSTER_IMAGE=$image FRAY_CLUSTER_IMAGE_NEXT=$image_next \
  cargo test --locked -p fray-bot --test cluster -- --nocapture
