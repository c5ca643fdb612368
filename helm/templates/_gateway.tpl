{{/*
From the edge's table: one route for each way of going on. JSON: `{ name: { to, ticket, retry, idle, limit, rules: { timeout: [paths] } } }`.
*/}}
{{- define "fray.gateway.routes" -}}
{{- $routes := dict -}}
{{- range include "fray.envoy.table" . | fromJsonArray -}}
{{- if ne .to "edge" -}}
{{- $words := list .to -}}
{{- if eq .to "lobby" -}}{{- $words = append $words .retry -}}{{- end -}}
{{- if ne .limit "none" -}}{{- $words = append $words .limit -}}{{- end -}}
{{- if ne .idle "default" -}}{{- $words = append $words .idle -}}{{- end -}}
{{- $name := join "-" $words -}}
{{- $route := get $routes $name | default (dict "to" .to "ticket" .ticket "retry" .retry "idle" .idle "limit" .limit "rules" dict) -}}
{{- $_ := set $route.rules .timeout (append (get $route.rules .timeout | default list) .path) -}}
{{- $_ := set $routes $name $route -}}
{{- end -}}
{{- end -}}
{{- $routes | toJson -}}
{{- end }}

{{/* The name of the Gateway. */}}
{{- define "fray.gateway.name" -}}
{{- .Values.edge.gateway.existing | default (include "fray.fullname" .) -}}
{{- end }}

{{/* What a policy is for: (list $ "lobby-never") */}}
{{- define "fray.gateway.target" -}}
[ { group: gateway.networking.k8s.io, kind: HTTPRoute, name: {{ include "fray.name" . }} } ]
{{- end }}

{{/* Matches of a rule: dict "paths", "canary" */}}
{{- define "fray.gateway.matches" -}}
{{- range .paths }}
{{- if contains "{" . }}
- path: { type: RegularExpression, value: {{ regexReplaceAll "\\{[a-z]+\\}" . "[^/]+" | quote }} }
{{- else }}
- path: { type: Exact, value: {{ . }} }
{{- end }}
{{- with $.canary }}
  headers: [ { name: x-canary, value: {{ . | quote }} } ]
{{- end }}
{{- end }}
{{- end }}

{{/* Envoy's durations as Gateway API writes them: whole units. */}}
{{- define "fray.gateway.duration" -}}
{{- if eq . "none" -}}
0s
{{- else if contains "." . -}}
{{ mulf (trimSuffix "s" . | float64) 1000 | int64 }}ms
{{- else -}}
{{ . }}
{{- end -}}
{{- end }}

{{/* HTTP/2 with servers, which all routes share. */}}
{{- define "fray.gateway.http2" -}}
http2:
  maxConcurrentStreams: {{ .streamsPerConnectionMax.servers }}
  initialStreamWindowSize: {{ .windowsBytes.stream | int64 }}
  initialConnectionWindowSize: {{ .windowsBytes.serverConnection | int64 }}
  connectionKeepalive:
    interval: {{ include "fray.gateway.duration" .keepalive.servers.interval }}
    timeout: {{ include "fray.gateway.duration" .keepalive.servers.timeout }}
{{- end }}
