#!/usr/bin/env bash
# Checks that what is committed here is what the chart renders, and that Envoy takes it; so too with every value switched on.
# Needs envoy and helm: `scripts/tools.sh envoy helm`. `envoy/check.sh --write` renders what is committed anew.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PATH=${FRAY_TOOLS:-$HOME/.cache/fray-tools}/bin:$PATH
committed=(envoy.yaml edge-certificate.yaml)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

accepted() { # DIR WHAT
  (cd "$1" && envoy --mode validate --config-path envoy.yaml --log-level error) || {
    echo "Envoy does not take $2" >&2
    exit 1
  }
}

helm lint --quiet helm
envoy/render.sh "$scratch/local"
for file in "${committed[@]}"; do
  [ "${1:-}" != --write ] || cp "$scratch/local/$file" envoy/
  cmp "$scratch/local/$file" "envoy/$file" || {
    echo "envoy/$file is not what helm/ renders: run envoy/check.sh --write, look at it, and commit it" >&2
    exit 1
  }
done
accepted "$scratch/local" envoy/envoy.yaml

# As in a cluster: by name, two versions, mTLS, traces. Folders that are there, since Envoy looks.
mkdir -p "$scratch/all/tls"
cat >"$scratch/all/values.yaml" <<VALUES
internalTls: { mode: secret, folder: tls }
edge:
  probes: { port: 9902 }
  reflection: true
  origins: [ "https://play.example.com", "https://www.example.com" ]
  servers: { addresses: [] }
  versions:
    - { name: v1, weight: 80, dns: fray-v1 }
    - { name: v2, weight: 20, dns: fray-v2 }
  tracing: { collector: "collector:4317", trustClients: true, samplingPercent: 0.5 }
VALUES
envoy/render.sh "$scratch/all" --values "$scratch/all/values.yaml"
accepted "$scratch/all" "the configuration with everything switched on"
