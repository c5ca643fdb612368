#!/usr/bin/env bash
# Whether the chart of an earlier commit can be upgraded to this one: scripts/chart-upgrade.sh COMMIT
# Its values are still accepted, and no object changes in what Kubernetes does not let change. Needs helm.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PATH=${FRAY_TOOLS:-$HOME/.cache/fray-tools}/bin:$PATH
commit=${1:?a commit}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cluster=(--kube-version 1.34.0 --api-versions admissionregistration.k8s.io/v1/ValidatingAdmissionPolicy)

git archive "$commit" helm | tar -x -C "$scratch"
# A chart that reads what another one rendered, since helm is the one here that understands YAML.
mkdir -p "$scratch/fixed/templates"
echo '{ apiVersion: v2, name: fixed, version: 0.0.0 }' >"$scratch/fixed/Chart.yaml"
cat >"$scratch/fixed/templates/fixed.yaml" <<'TEMPLATE'
{{- range regexSplit "(?m)^---$" (.Files.Get "rendered.yaml") -1 }}
{{- $object := fromYaml . }}
{{- if $object.kind }}
{{- $what := printf "%s/%s" $object.kind $object.metadata.name }}
{{- $spec := $object.spec | default dict }}
{{- $fixed := dict }}
{{- if has $object.kind (list "Deployment" "StatefulSet") }}{{ $_ := set $fixed "selector" $spec.selector }}{{ end }}
{{- if eq $object.kind "StatefulSet" }}{{ $fixed = merge $fixed (pick $spec "serviceName" "podManagementPolicy" "volumeClaimTemplates") }}{{ end }}
{{- if eq $object.kind "Service" }}{{ $fixed = pick $spec "clusterIP" }}{{ end }}
{{- if has $object.kind (list "RoleBinding" "ClusterRoleBinding") }}{{ $fixed = pick $object "roleRef" }}{{ end }}
{{- if $fixed }}
# {{ $what }} {{ $fixed | toJson }}
{{- end }}
{{- end }}
{{- end }}
TEMPLATE

fixed() { # CHART FLAGS...: one line for each object with what cannot change
  local chart=$1
  shift
  helm template fray "$chart" --namespace games "${cluster[@]}" "$@" >"$scratch/fixed/rendered.yaml" || return
  helm template fixed "$scratch/fixed" --debug 2>/dev/null | grep '^# [A-Z][A-Za-z]*/' | sort
}

count=0
for values in "$scratch/helm/values.yaml" "$scratch"/helm/ha-values.yaml "$scratch"/helm/ci/*-values.yaml; do
  [ -f "$values" ] || continue
  fixed "$scratch/helm" --values "$values" >"$scratch/before"
  fixed helm --values "$values" >"$scratch/after" || { echo "the chart no longer takes $(basename "$values") of $commit" >&2; exit 1; }
  [ -s "$scratch/before" ] || { echo "nothing was compared" >&2; exit 1; }
  # Objects may come and go.
  while read -r mark what rest; do
    now=$(grep -F "$mark $what " "$scratch/after" || true)
    [ -z "$now" ] || [ "$now" = "$mark $what $rest" ] || {
      printf 'an upgrade from %s cannot change this (%s):\n- %s\n+ %s\n' "$commit" "$(basename "$values")" "$mark $what $rest" "$now" >&2
      exit 1
    }
    count=$((count + 1))
  done <"$scratch/before"
done
echo "chart: $count objects of $commit can be upgraded"
