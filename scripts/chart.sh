#!/usr/bin/env bash
# Checks the chart in helm/: lint, schema, unit tests, what it renders against what is committed and against the schemas of several
# versions of Kubernetes, its README. `scripts/chart.sh --write` renders what is committed anew. Needs a cluster nowhere.
# Needs helm, helm-unittest, kubeconform, nats-server, jaeger: `scripts/tools.sh NAME…` installs them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PATH=${FRAY_TOOLS:-$HOME/.cache/fray-tools}/bin:$PATH
write=${1:-}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# What helm takes for the cluster's, where there is none.
cluster=(--kube-version 1.34.0 --api-versions admissionregistration.k8s.io/v1/ValidatingAdmissionPolicy)
# The oldest that Chart.yaml allows, the newest that there are schemas of, and two between them.
versions=(1.30.0 1.33.0 1.35.0 1.37.0)

fail() { echo "chart: $*" >&2; exit 1; }
render() { helm template fray helm --namespace games "${cluster[@]}" "$@"; }

# Where all that can be is shown: the defaults, the files for users, and the variants.
variants=(default ha)
for file in helm/ci/*-values.yaml; do
  name=${file##*/}
  variants+=("${name%-values.yaml}")
done
flags_of() { # VARIANT
  case $1 in
    default) ;;
    ha) echo --values helm/ha-values.yaml ;;
    *) echo --values "helm/ci/$1-values.yaml" ;;
  esac
}

# === Lint and render

for name in "${variants[@]}"; do
  # shellcheck disable=SC2046 # flags are words
  helm lint --strict --quiet --kube-version 1.34.0 $(flags_of "$name") helm >"$scratch/lint" 2>&1 || { cat "$scratch/lint"; fail "helm lint: $name"; }
  # shellcheck disable=SC2046
  render $(flags_of "$name") >"$scratch/$name.yaml"
done
echo "chart: ${#variants[@]} variants pass helm lint --strict"

# === What is rendered is what is committed

[ "$write" != --write ] || { mkdir -p helm/tests/golden && rm -f helm/tests/golden/*.yaml; }
for name in "${variants[@]}"; do
  # Envoy's configuration is long, and envoy/check.sh is about it; the dashboard and the rules are files of their own.
  awk '/^  (envoy\.yaml|fray\.json): \|/ { print $0 " …"; cut = 1; next } cut && (/^    / || /^ *$/) { next } { cut = 0; print }' \
    "$scratch/$name.yaml" >"$scratch/$name.golden"
  golden=helm/tests/golden/$name.yaml
  [ "$write" != --write ] || cp "$scratch/$name.golden" "$golden"
  diff -u "$golden" "$scratch/$name.golden" ||
    fail "$golden is not what helm/ renders: run scripts/chart.sh --write, look at it, and commit it"
done
for golden in helm/tests/golden/*.yaml; do
  [ -f "$scratch/$(basename "$golden")" ] || fail "$golden belongs to no variant"
done
echo "chart: ${#variants[@]} renderings are as committed"

# === Kubernetes and others would take it

for version in "${versions[@]}"; do
  (cd "$scratch" && kubeconform -strict -summary -kubernetes-version "$version" "${variants[@]/%/.yaml}") ||
    fail "kubeconform, Kubernetes $version"
done

# The text of a file in a ConfigMap: TEMPLATE FILE FLAGS…
file_of() {
  local template=$1 file=$2
  shift 2
  render --show-only "templates/$template" "$@" |
    awk -v begin="  $file: |" '$0 == begin { inside = 1; next } inside && !/^    / && !/^ *$/ { exit } inside { print substr($0, 5) }'
}
for name in default ha; do
  # shellcheck disable=SC2046
  file_of nats.yaml nats.conf $(flags_of "$name") >"$scratch/nats.conf"
  POD_NAME=fray-nats-0 nats-server --config "$scratch/nats.conf" -t >"$scratch/log" 2>&1 || { cat "$scratch/log"; fail "NATS does not take its configuration: $name"; }
done
file_of jaeger.yaml jaeger.yaml --set jaeger.enabled=true >"$scratch/jaeger.yaml"
jaeger validate --config "$scratch/jaeger.yaml" >"$scratch/log" 2>&1 || { cat "$scratch/log"; fail "Jaeger does not take its configuration"; }
file_of edge-configmap.yaml envoy.yaml >"$scratch/envoy.yaml"
envoy --mode validate --config-path "$scratch/envoy.yaml" --log-level error >"$scratch/log" 2>&1 || { cat "$scratch/log"; fail "Envoy does not take its configuration"; }
echo "chart: NATS, Jaeger and Envoy take their configurations"

# === Unit tests

helm-unittest --strict --file 'tests/*_test.yaml' helm

# === What rolls the edge and Jaeger: their own configuration, and not another version of the chart

checksums() { render --set jaeger.enabled=true "$@" | grep 'checksum/config'; }
cp -r helm "$scratch/newer" && sed -i 's/^version: .*/version: 99.0.0/' "$scratch/newer/Chart.yaml"
checksums >"$scratch/before"
helm template fray "$scratch/newer" --namespace games "${cluster[@]}" --set jaeger.enabled=true | grep 'checksum/config' >"$scratch/after"
diff "$scratch/before" "$scratch/after" || fail "another version of the chart rolls pods"
for value in edge.trustedHops=1 jaeger.tracesMax=7 nats.fileMib=4096; do
  [ "$(checksums --set "$value" | diff "$scratch/before" - | grep -c '^>')" = 1 ] || fail "$value does not roll one kind of pods"
done
echo "chart: another configuration rolls its pods, another version of the chart none"

# === Wrong values are refused, and the answer names them

refused=0
while IFS='|' read -r named flags; do
  [ -n "$named" ] || continue
  # shellcheck disable=SC2086 # flags are words
  if render $flags >"$scratch/log" 2>&1; then fail "the schema takes $flags"; fi
  grep -q -- "$named" "$scratch/log" || { cat "$scratch/log"; fail "the answer to $flags does not name $named"; }
  refused=$((refused + 1))
done <<'WRONG'
replica|--set servers.replica=3
metricsPort|--set metricsPort=9090
/servers/replicas|--set-string servers.replicas=three
/servers/tickRate|--set servers.tickRate=0
/servers/grace|--set servers.grace=30
/servers/terminationGracePeriodSeconds|--set servers.terminationGracePeriodSeconds=5
/image/pullPolicy|--set image.pullPolicy=Sometimes
/image/digest|--set image.digest=sha256:12
/nats/replicas|--set nats.replicas=2
/nats/url|--set nats.url=http://nats:4222
/edge/mode|--set edge.mode=nginx
address|--set edge.admin.address=0.0.0.0
/edge/listen/port|--set edge.listen.port=70000
/edge/timeouts/idle|--set edge.timeouts.idle=1m
/edge/origins|--set edge.origins={play.example.com}
/tls/mode|--set tls.mode=maybe
/canary/weight|--set canary.weight=101
/keys/identity|--set keys.identity.required=true
/labels/team|--set labels.team=7
/tracing/moves|--set tracing.moves=2
/edge/admin/port|--set edge.admin.port=99999
/nats/prefix|--set nats.prefix=a-prefix-of-thirty-three-letters-
/nodeGoneAfterSeconds|--set-string nodeGoneAfterSeconds=30s
/podSecurity/runAsUser|--set podSecurity.runAsUser=0
/servers/rebalanceEvery|--set servers.rebalanceEvery=30
WRONG
echo "chart: $refused wrong values are refused by name"

# === The README has every value

cp helm/README.md helm/values.yaml "$scratch/"
python3 scripts/chart-values.py "$scratch/README.md"
[ "$write" != --write ] || cp "$scratch/README.md" helm/README.md
diff -u helm/README.md "$scratch/README.md" || fail "helm/README.md is not what helm/values.yaml says: run scripts/chart.sh --write"

sed -n 's/^ *- alert: //p' helm/rules/fray.yaml | while read -r alert; do
  grep -q "RUNBOOK.md#${alert,,})" helm/README.md || fail "helm/README.md does not say what $alert means"
done

# === What is published

helm package helm --destination "$scratch" >/dev/null
tar -tzf "$scratch"/fray-*.tgz >"$scratch/files"
for file in Chart.yaml values.yaml values.schema.json ha-values.yaml README.md edge-routes.yaml rules/fray.yaml dashboards/fray.json templates/NOTES.txt templates/tests/swarm.yaml; do
  grep -qx "fray/$file" "$scratch/files" || fail "the package lacks $file"
done
if grep -E '^fray/(tests|ci|rules/tests)/' "$scratch/files"; then fail "tests are in the package"; fi
echo "chart: the package is complete"
