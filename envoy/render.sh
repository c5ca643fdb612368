#!/usr/bin/env bash
# Renders the edge's configuration from helm/ into a folder: envoy/render.sh DIR [HELM FLAGS...]
#   envoy/render.sh DIR                        with envoy/local-values.yaml
#   envoy/render.sh DIR -f more-values.yaml    with more values on top
# DIR gets envoy.yaml and the files that it names. Needs helm: `scripts/tools.sh helm`.
set -euo pipefail
[ $# -gt 0 ] || { sed -n '2,5s/^# //p' "${BASH_SOURCE[0]}"; exit 2; }
dir=$1
shift
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
PATH=${FRAY_TOOLS:-$HOME/.cache/fray-tools}/bin:$PATH

mkdir -p "$dir"
# The chart asks for a Kubernetes that Envoy's configuration does not need; a helm that was built from source claims an old one.
# A file is what is indented below its name in the ConfigMap.
helm template fray "$root/helm" --show-only templates/edge-configmap.yaml --kube-version 1.34.0 \
  --values "$root/envoy/local-values.yaml" "$@" |
  awk -v dir="$dir" '
    /^  [a-z-]+\.yaml: \|$/ { file = dir "/" substr($1, 1, length($1) - 1); printf "" >file; next }
    file && /^    / { print substr($0, 5) >file; next }
    file && /^ *$/ { print "" >file; next }
    { file = "" }'
