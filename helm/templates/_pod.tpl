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
{{- with $part.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
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

{{/* The "restricted" standard for pods. */}}
{{- define "fray.pod.security" -}}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
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
