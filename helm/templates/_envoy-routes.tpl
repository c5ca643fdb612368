{{/* From the edge's table, edge-routes.yaml: the rows that are open. */}}
{{- define "fray.envoy.table" -}}
{{- $edge := include "fray.edge" . | fromJson -}}
{{- $open := list -}}
{{- range .Files.Get "edge-routes.yaml" | fromYamlArray -}}
{{- if or (not .only) (get $edge (.only | default "")) -}}
{{- $open = append $open . -}}
{{- end -}}
{{- end -}}
{{- $open | toJson -}}
{{- end }}

{{/* Which requests need a ticket. */}}
{{- define "fray.envoy.ticketRules" -}}
{{- range include "fray.envoy.table" . | fromJsonArray }}
{{- if eq .ticket "required" }}
- { match: { path: {{ .path }} }, requires: { provider_name: ticket } }
{{- end }}
{{- end }}
{{- end }}

{{- define "fray.envoy.routes" -}}
{{- $edge := include "fray.edge" . | fromJson -}}
# A browser cannot send and hear at once over gRPC-Web. 404 is UNIMPLEMENTED there.
- name: play-over-grpc-web
  match: { path: /fray.v1.Play/Play, headers: [ { name: content-type, string_match: { prefix: application/grpc-web } } ] }
  direct_response: { status: 404, body: { inline_string: "Play over gRPC-Web is not possible; open a WebSocket at /ws" } }
{{- range $row := include "fray.envoy.table" . | fromJsonArray }}
{{- if eq .to "lobby" }}
{{- if gt (len $edge.versions) 1 }}
{{- range $edge.versions }}
{{ include "fray.envoy.route" (dict "edge" $edge "row" $row "canary" .name) }}
{{- end }}
{{- end }}
{{ include "fray.envoy.route" (dict "edge" $edge "row" $row) }}
{{- else if ne .to "edge" }}
{{ include "fray.envoy.route" (dict "edge" $edge "row" $row) }}
{{- end }}
{{- end }}
{{- end }}

{{/* One route: `row` of the table; `canary`: for those who ask for this version only. */}}
{{- define "fray.envoy.route" -}}
{{- $row := .row -}}
{{- $edge := .edge -}}
- match:
{{- if contains "{" $row.path }}
    safe_regex: { regex: {{ regexReplaceAll "\\{[a-z]+\\}" $row.path "[^/]+" | squote }} }
{{- else }}
    path: {{ $row.path }}
{{- end }}
{{- with .canary }}
    headers: [ { name: x-canary, string_match: { exact: {{ . | quote }} } } ]
{{- end }}
  route:
{{- if eq $row.to "owner" }}
    cluster: servers
{{- else if eq $row.to "owner-websocket" }}
    cluster: servers-websocket
    upgrade_configs: [ { upgrade_type: websocket } ]
{{- else if .canary }}
    cluster: lobby-{{ .canary }}
{{- else if eq (len $edge.versions) 1 }}
    cluster: lobby-{{ (first $edge.versions).name }}
{{- else }}
    weighted_clusters:
      clusters:
{{- range $edge.versions }}
      - { name: lobby-{{ .name }}, weight: {{ .weight }} }
{{- end }}
{{- end }}
    timeout: {{ $row.timeout | replace "none" "0s" }}
{{- if ne $row.idle "default" }}
    idle_timeout: {{ $row.idle | replace "none" "0s" }}
{{- end }}
{{- if eq $row.retry "elsewhere" }}
    retry_policy:
      retry_on: connect-failure,refused-stream,reset-before-request,unavailable
      num_retries: 2
      retry_host_predicate:
      - name: envoy.retry_host_predicates.previous_hosts
        typed_config: { "@type": type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate }
      # The choice is by chance: so often, until it is another one.
      host_selection_retry_max_attempts: 30
{{- end }}
{{- if or (eq $row.ticket "none") (ne $row.limit "none") }}
  typed_per_filter_config:
{{- if eq $row.ticket "none" }}
    envoy.filters.http.stateful_session:
      "@type": type.googleapis.com/envoy.extensions.filters.http.stateful_session.v3.StatefulSessionPerRoute
      disabled: true
{{- end }}
{{- if ne $row.limit "none" }}
{{- $limit := get $edge.limits $row.limit }}
    envoy.filters.http.local_ratelimit:
      "@type": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
      stat_prefix: {{ $row.limit }}
      filter_enabled: { default_value: { numerator: 100, denominator: HUNDRED } }
      filter_enforced: { default_value: { numerator: 100, denominator: HUNDRED } }
      rate_limited_as_resource_exhausted: true
      token_bucket: {{ include "fray.envoy.bucket" $limit.all }}
      max_dynamic_descriptors: {{ $edge.limits.addresses | int64 }}
      rate_limits: [ { actions: [ { remote_address: {} } ] } ]
      # An entry without a value is a bucket for each value.
      descriptors: [ { entries: [ { key: remote_address } ], token_bucket: {{ include "fray.envoy.bucket" $limit.address }} } ]
{{- end }}
{{- end }}
{{- end }}

{{- define "fray.envoy.bucket" -}}
{ max_tokens: {{ .burst }}, tokens_per_fill: {{ .perSecond }}, fill_interval: 1s }
{{- end }}
