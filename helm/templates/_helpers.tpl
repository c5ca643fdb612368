{{/* Names and labels, and what follows from several values. */}}

{{/* What all names begin with: the release's name, with the chart's after it if it is not in it already. */}}
{{- define "fray.fullname" -}}
{{- $name := .Values.nameOverride | default .Chart.Name -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{/* Of one part: (list $ "edge") */}}
{{- define "fray.name" -}}
{{- printf "%s-%s" (include "fray.fullname" (first .)) (last .) -}}
{{- end }}

{{/* What finds the pods of a part; never changes. (list $ "edge") */}}
{{- define "fray.selector" -}}
app.kubernetes.io/name: {{ (first .).Values.nameOverride | default (first .).Chart.Name }}
app.kubernetes.io/instance: {{ (first .).Release.Name }}
app.kubernetes.io/component: {{ last . }}
{{- end }}

{{/* All labels of an object of a part. (list $ "edge") */}}
{{- define "fray.labels" -}}
{{ include "fray.selector" . }}
{{ include "fray.labels.release" (first .) }}
{{- end }}

{{- define "fray.labels.release" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: {{ .Chart.Name }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* `annotations:` of an object, if there are any. */}}
{{- define "fray.annotations" -}}
{{- with .Values.annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* An image: (list $ .Values.image "the tag if none is given") */}}
{{- define "fray.image" -}}
{{- $image := index . 1 -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $image.repository ($image.tag | default (last .)) -}}
{{- end -}}
{{- end }}

{{/* Whether servers share a directory: "true" or nothing. */}}
{{- define "fray.fleet" -}}
{{- if or .Values.nats.enabled .Values.nats.url -}}true{{- end -}}
{{- end }}

{{/* Whether the chart brings its own NATS. */}}
{{- define "fray.ownNats" -}}
{{- if and .Values.nats.enabled (not .Values.nats.url) -}}true{{- end -}}
{{- end }}

{{/* Where NATS is. Each server by name, so that clients find one that answers. */}}
{{- define "fray.natsUrl" -}}
{{- if .Values.nats.url -}}
{{- .Values.nats.url -}}
{{- else -}}
{{- $name := include "fray.name" (list . "nats") -}}
{{- $urls := list -}}
{{- range $index := until (int .Values.nats.replicas) -}}
{{- $urls = append $urls (printf "nats://%s-%d.%s:4222" $name $index $name) -}}
{{- end -}}
{{- join "," $urls -}}
{{- end -}}
{{- end }}

{{/* The collector of traces, as a URL, or nothing. */}}
{{- define "fray.collectorUrl" -}}
{{- if .Values.tracing.endpoint -}}
{{- .Values.tracing.endpoint -}}
{{- else if .Values.jaeger.enabled -}}
http://{{ include "fray.name" (list . "jaeger") }}:4317
{{- end -}}
{{- end }}

{{/* The same for Envoy, HOST:PORT. It speaks no TLS with collectors. */}}
{{- define "fray.edgeCollector" -}}
{{- if .Values.edge.tracing.collector -}}
{{- .Values.edge.tracing.collector -}}
{{- else -}}
{{- $url := include "fray.collectorUrl" . -}}
{{- if hasPrefix "http://" $url -}}{{- trimPrefix "http://" $url | trimSuffix "/" -}}{{- end -}}
{{- end -}}
{{- end }}

{{/* The Secret with the keys of tickets and sessions. */}}
{{- define "fray.keysSecret" -}}
{{- .Values.keys.existingSecret | default (include "fray.name" (list . "keys")) -}}
{{- end }}

{{/* The Secret of the edge's certificate, and those of the certificates behind the edge. */}}
{{- define "fray.tlsSecret" -}}
{{- .Values.tls.secretName | default (include "fray.name" (list . "tls")) -}}
{{- end }}
{{- define "fray.internalTlsSecret.edge" -}}
{{- .Values.internalTls.secretNames.edge | default (include "fray.name" (list . "internal-tls-edge")) -}}
{{- end }}
{{- define "fray.internalTlsSecret.servers" -}}
{{- .Values.internalTls.secretNames.servers | default (include "fray.name" (list . "internal-tls-servers")) -}}
{{- end }}

{{- define "fray.serviceAccount.servers" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "fray.name" (list . "servers")) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end }}

{{/* Whether pods may annotate themselves: only where a policy can keep them to their own. */}}
{{- define "fray.podAnnotations" -}}
{{- if and .Values.servers.kube .Values.rbac.create .Values.rbac.podAnnotations (.Capabilities.APIVersions.Has "admissionregistration.k8s.io/v1/ValidatingAdmissionPolicy") -}}true{{- end -}}
{{- end }}

{{/* How many players, and what the edge's Service calls its port. */}}
{{- define "fray.edgeServicePort" -}}
{{- .Values.edge.service.port | default (ternary 80 443 (eq .Values.tls.mode "none")) -}}
{{- end }}

{{/* Releases that run side by side: those of the values, or what the chart itself runs. JSON. */}}
{{- define "fray.versions" -}}
{{- if .Values.edge.versions -}}
{{- .Values.edge.versions | toJson -}}
{{- else if .Values.canary.enabled -}}
{{- list
      (dict "name" "stable" "weight" (sub 100 .Values.canary.weight) "dns" (include "fray.name" (list . "servers-stable")))
      (dict "name" "canary" "weight" (int .Values.canary.weight) "dns" (include "fray.name" (list . "servers-canary")))
    | toJson -}}
{{- else -}}
{{- list (dict "name" "stable" "weight" 100 "dns" (include "fray.name" (list . "servers"))) | toJson -}}
{{- end -}}
{{- end }}

{{/* `edge` of the values, with what follows from others. JSON. */}}
{{- define "fray.edge" -}}
{{- $edge := deepCopy .Values.edge -}}
{{- $_ := set $edge "versions" (include "fray.versions" . | fromJsonArray) -}}
{{- if not $edge.servers.dns -}}
{{- $_ := set $edge.servers "dns" (include "fray.name" (list . "servers")) -}}
{{- end -}}
{{- $_ := set $edge.tracing "collector" (include "fray.edgeCollector" .) -}}
{{- $_ := set $edge "tls" (dict "enabled" (ne .Values.tls.mode "none") "folder" .Values.tls.folder) -}}
{{- $_ := set $edge.servers "tls" (dict "enabled" (ne .Values.internalTls.mode "none") "folder" .Values.internalTls.folder "name" .Values.internalTls.name) -}}
{{- $edge | toJson -}}
{{- end }}
