{{/* What all pods have in common. */}}

{{/* Labels of a pod: (list $ "edge" .Values.edge) */}}
{{- define "fray.pod.labels" -}}
{{ include "fray.selector" (list (first .) (index . 1)) }}
app.kubernetes.io/part-of: {{ (first .).Chart.Name }}
{{- with (first .).Values.labels }}
{{ toYaml . }}
{{- end }}
{{- with (last .).podLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Where a pod may run, and how it is spread: (list $ "edge" .Values.edge) */}}
{{- define "fray.pod.placement" -}}
{{- $root := first . -}}
{{- $part := last . -}}
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $part.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $part.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with include "fray.pod.tolerations" . }}
tolerations:
  {{- . | nindent 2 }}
{{- end }}
{{- with $part.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
topologySpreadConstraints:
{{- if $part.topologySpreadConstraints }}
  {{- toYaml $part.topologySpreadConstraints | nindent 2 }}
{{- else }}
{{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "fray.selector" (list $root (index $ 1)) | nindent 8 }}
    # Pods that an upgrade replaces do not count.
    matchLabelKeys: [ pod-template-hash ]
{{- end }}
{{- end }}
{{- end }}

{{/*
How long a pod stays on a node that is gone, beside the tolerations of the values; who names such a taint there is left alone. The same
list as above. Only where another pod comes in its place: one of a StatefulSet does not while its node is silent, and if the node comes
back, a pod of NATS that was given up meanwhile would begin with an empty disk.
*/}}
{{- define "fray.pod.tolerations" -}}
{{- $root := first . -}}
{{- $all := (last .).tolerations | default list -}}
{{- $seconds := $root.Values.nodeGoneAfterSeconds -}}
{{- if and (has (index . 1) (list "server" "edge")) (not (kindIs "invalid" $seconds)) -}}
{{- $named := list -}}
{{- range $all -}}{{- $named = append $named (.key | default "") -}}{{- end -}}
{{- /* One without a key is for all taints. */ -}}
{{- if not (has "" $named) -}}
{{- range list "node.kubernetes.io/not-ready" "node.kubernetes.io/unreachable" -}}
{{- if not (has . $named) -}}
{{- $all = append $all (dict "key" . "operator" "Exists" "effect" "NoExecute" "tolerationSeconds" (int $seconds)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with $all -}}{{- toYaml . -}}{{- end -}}
{{- end }}

{{/* Where the chart's Jobs run: where servers may. */}}
{{- define "fray.job.placement" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.servers.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.servers.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.servers.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The "restricted" standard for pods. */}}
{{- define "fray.pod.security" -}}
securityContext:
  runAsNonRoot: true
  {{- with .Values.podSecurity.runAsUser }}
  runAsUser: {{ int . }}
  {{- end }}
  {{- with .Values.podSecurity.runAsGroup }}
  runAsGroup: {{ int . }}
  {{- end }}
  {{- with .Values.podSecurity.fsGroup }}
  fsGroup: {{ int . }}
  {{- end }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: { type: RuntimeDefault }
{{- end }}

{{- define "fray.container.security" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: { drop: [ ALL ] }
{{- end }}

{{/*
Variables of a container: (list "YAML" list list …). Later ones take the place of earlier ones of the same name, for a name that is there
twice is refused by server-side apply.
*/}}
{{- define "fray.env" -}}
{{- $all := first . | fromYamlArray -}}
{{- range rest . -}}{{- $all = concat $all (. | default list) -}}{{- end -}}
{{- $last := dict -}}
{{- range $all -}}{{- $_ := set $last .name . -}}{{- end -}}
{{- $seen := dict -}}
{{- $kept := list -}}
{{- range $all -}}
{{- if not (hasKey $seen .name) -}}
{{- $kept = append $kept (get $last .name) -}}
{{- $_ := set $seen .name true -}}
{{- end -}}
{{- end -}}
{{- toYaml $kept -}}
{{- end }}
