{{/* Names and labels, and what follows from several values. */}}

{{/* What all names begin with: the release's name, with the chart's after it if it is not in it already. */}}
{{- define "fray.fullname" -}}
{{- $name := .Values.nameOverride | default .Chart.Name -}}
{{- if .Values.fullnameOverride -}}
{{- include "fray.cut" (list .Values.fullnameOverride 40) -}}
{{- else if contains $name .Release.Name -}}
{{- include "fray.cut" (list .Release.Name 40) -}}
{{- else -}}
{{- include "fray.cut" (list (printf "%s-%s" .Release.Name $name) 40) -}}
{{- end -}}
{{- end }}

{{/* A name of at most so many characters; one that is cut ends in a hash of the whole, so that no two become one. (list "name" 40) */}}
{{- define "fray.cut" -}}
{{- $name := first . -}}
{{- $max := last . | int -}}
{{- if gt (len $name) $max -}}
{{- printf "%s-%s" ($name | trunc (int (sub $max 9)) | trimSuffix "-") ($name | sha256sum | trunc 8) -}}
{{- else -}}
{{- $name | trimSuffix "-" -}}
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
{{- if or .Values.nats.enabled .Values.nats.url .Values.nats.urlSecret.name -}}true{{- end -}}
{{- end }}

{{/* Whether the chart brings its own NATS. */}}
{{- define "fray.ownNats" -}}
{{- if and .Values.nats.enabled (not .Values.nats.url) (not .Values.nats.urlSecret.name) -}}true{{- end -}}
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

{{/*
What the names of this fleet's buckets begin with. Two releases at one NATS must not be one fleet. (`_` is in no name of Kubernetes', so
that no two pairs give the same.)
*/}}
{{- define "fray.natsPrefix" -}}
{{- if .Values.nats.prefix -}}
{{- .Values.nats.prefix -}}
{{- else if include "fray.ownNats" . -}}
fray
{{- else -}}
{{- include "fray.cut" (list (printf "%s_%s" .Release.Namespace (include "fray.fullname" .) | replace "." "_") 32) -}}
{{- end -}}
{{- end }}

{{/* The port at the end of a URL or of HOST:PORT: (list "URL" "the port if it names none") */}}
{{- define "fray.port" -}}
{{- regexFind ":[0-9]+$" (trimSuffix "/" (first .)) | trimPrefix ":" | default (last .) -}}
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
{{- if hasPrefix "http://" $url -}}
{{- $host := trimPrefix "http://" $url | trimSuffix "/" -}}
{{- regexMatch ":[0-9]+$" $host | ternary $host (printf "%s:4317" $host) -}}
{{- end -}}
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
{{- if and .Values.servers.kube .Values.rbac.podAnnotations (.Capabilities.APIVersions.Has "admissionregistration.k8s.io/v1/ValidatingAdmissionPolicy") -}}true{{- end -}}
{{- end }}

{{/* Where the chart's own test joins; nothing where it cannot know a name that players may use. */}}
{{- define "fray.testUrl" -}}
{{- if .Values.test.url -}}
{{- .Values.test.url -}}
{{- else if eq .Values.edge.mode "none" -}}
http://{{ include "fray.name" (list . "servers") }}:7777
{{- else if and (eq .Values.edge.mode "envoy") (eq .Values.tls.mode "none") -}}
http://{{ include "fray.name" (list . "edge") }}:{{ include "fray.edgeServicePort" . }}
{{- end -}}
{{- end }}

{{/* The edge's port for players, of its Service. */}}
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

{{/*
`replicas:` of a Deployment that may be autoscaled: dict "root" $, "name", "replicas", "isAutoscaled". The API takes a number that is
no longer there for 1, so the first upgrade with autoscaling says what is there; `helm template` cannot know, and says nothing.
*/}}
{{- define "fray.replicas" -}}
{{- if not .isAutoscaled -}}
replicas: {{ .replicas }}
{{- else -}}
{{- $live := lookup "apps/v1" "Deployment" .root.Release.Namespace .name -}}
{{- if and $live (hasKey $live.spec "replicas") -}}
replicas: {{ $live.spec.replicas | int }}
{{- end -}}
{{- end -}}
{{- end }}
