{{/* The servers, seen in as many ways as the table needs, and the collector of traces. */}}
{{- define "fray.envoy.clusters" -}}
{{- $edge := include "fray.edge" . | fromJson -}}
# Every version: the ticket picks the server. One that drains, or seems ill, can still be reached by those who play there.
{{ include "fray.envoy.cluster" (dict "edge" $edge "name" "servers" "at" $edge.servers "health" "fray.v1.Play") }}
# The same servers over HTTP/1.1, which WebSockets need. Nobody asks for health over HTTP/1.1, and the ticket asks for no other.
{{ include "fray.envoy.cluster" (dict "edge" $edge "name" "servers-websocket" "at" $edge.servers "http1" true) }}
# One for each version: the servers that take rooms. If none says that it does, one is asked all the same: it knows the rooms
# that there are, or the reason.
{{- range $edge.versions }}
{{ include "fray.envoy.cluster" (dict "edge" $edge "name" (printf "lobby-%s" .name) "at" . "health" "fray.v1.Lobby" "panic" 1) }}
{{- end }}
{{- if $edge.probes.port }}
# Envoy's own port, for the probes.
- name: admin
  type: STATIC
  connect_timeout: 1s
  load_assignment:
    cluster_name: admin
    endpoints: [ { lb_endpoints: [ {{ include "fray.envoy.endpoint" (printf "127.0.0.1:%v" $edge.admin.port) }} ] } ]
{{- end }}
{{- with $edge.tracing.collector }}
- name: collector
  type: STRICT_DNS
  connect_timeout: 1s
  typed_extension_protocol_options:
    envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
      "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
      explicit_http_config: { http2_protocol_options: {} }
  load_assignment: { cluster_name: collector, endpoints: [ { lb_endpoints: [ {{ include "fray.envoy.endpoint" . }} ] } ] }
{{- end }}
{{- end }}

{{/*
One cluster: `name`; `at` with `dns` or `addresses`; `http1`; `health`, the name that its health check asks for; `panic`, the
percentage of healthy servers below which health is ignored.
*/}}
{{- define "fray.envoy.cluster" -}}
{{- $edge := .edge -}}
- name: {{ .name }}
{{- if .at.addresses }}
  type: STATIC
{{- else }}
  cluster_type:
    name: envoy.cluster.dns
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.clusters.dns.v3.DnsCluster
      dns_refresh_rate: {{ $edge.servers.dnsRefresh }}
      dns_failure_refresh_rate: { base_interval: 1s, max_interval: 5s }
      dns_lookup_family: V4_PREFERRED
{{- end }}
  connect_timeout: {{ $edge.timeouts.connect }}
  # Shared by all streams of a connection: small, it only makes them wait for each other.
  per_connection_buffer_limit_bytes: 1048576
  load_balancing_policy:
    policies:
    - typed_extension_config:
        name: envoy.load_balancing_policies.least_request
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest
          choice_count: 3
  common_lb_config:
    # What health says counts at once, not after Envoy's second.
    update_merge_window: 0s
    # Never new rooms for servers that drain.
    healthy_panic_threshold: { value: {{ .panic | default 0 }} }
    # Players may return to a server that drains.
    override_host_status: { statuses: [ HEALTHY, UNKNOWN, DEGRADED, UNHEALTHY, DRAINING ] }
{{- with .health }}
  health_checks:
  - timeout: {{ $edge.health.timeout }}
    interval: {{ $edge.health.interval }}
    no_traffic_interval: {{ $edge.health.interval }}
    interval_jitter_percent: 25
    # NOT_SERVING counts at once.
    unhealthy_threshold: 1
    healthy_threshold: 1
    grpc_health_check: { service_name: {{ . }} }
{{- end }}
  # Envoy's own limits would refuse the 1025th player.
  circuit_breakers:
    thresholds:
    - priority: DEFAULT
      max_connections: {{ $edge.connectionsMax | int64 }}
      max_pending_requests: {{ $edge.connectionsMax | int64 }}
      max_requests: {{ mul $edge.connectionsMax 10 }}
      max_retries: 50
      track_remaining: true
  # Only failures to connect: a server whose answers are errors is still where its rooms are.
  outlier_detection:
    split_external_local_origin_errors: true
    consecutive_local_origin_failure: 5
    enforcing_consecutive_5xx: 0
    enforcing_consecutive_gateway_failure: 0
    enforcing_success_rate: 0
    enforcing_local_origin_success_rate: 0
    interval: 5s
    base_ejection_time: 10s
    max_ejection_percent: 30
  typed_extension_protocol_options:
    envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
      "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
{{- if .http1 }}
      explicit_http_config: { http_protocol_options: {} }
{{- else }}
      explicit_http_config:
        http2_protocol_options:
          max_concurrent_streams: {{ $edge.streamsPerConnectionMax.servers }}
          initial_stream_window_size: {{ $edge.windowsBytes.stream | int64 }}
          # No less than all streams' windows together, so that those who do not read leave room for the others.
          initial_connection_window_size: {{ $edge.windowsBytes.serverConnection | int64 }}
          connection_keepalive: { interval: {{ $edge.keepalive.servers.interval }}, timeout: {{ $edge.keepalive.servers.timeout }} }
{{- end }}
{{- if $edge.servers.tls.enabled }}
  transport_socket:
    name: envoy.transport_sockets.tls
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
      sni: {{ $edge.servers.tls.name }}
      common_tls_context:
        alpn_protocols: [ {{ ternary "http/1.1" "h2" (default false .http1) }} ]
        # Towards servers, Envoy would stop at 1.2.
        tls_params: { tls_minimum_protocol_version: TLSv1_3, tls_maximum_protocol_version: TLSv1_3 }
        tls_certificate_sds_secret_configs:
        - {{ include "fray.envoy.secret" (dict "edge" $edge "name" "servers-certificate") }}
        combined_validation_context:
          default_validation_context:
            match_typed_subject_alt_names: [ { san_type: DNS, matcher: { exact: {{ $edge.servers.tls.name }} } } ]
          validation_context_sds_secret_config: {{ include "fray.envoy.secret" (dict "edge" $edge "name" "servers-authority") }}
{{- end }}
  load_assignment:
    cluster_name: {{ .name }}
    endpoints:
    - lb_endpoints:
{{- range .at.addresses | default (list (printf "%s:%v" .at.dns $edge.servers.port)) }}
      - {{ include "fray.envoy.endpoint" . }}
{{- end }}
{{- end }}

{{/* HOST:PORT */}}
{{- define "fray.envoy.endpoint" -}}
{{- $host := regexReplaceAll ":[0-9]+$" . "" | trimPrefix "[" | trimSuffix "]" -}}
{ endpoint: { address: { socket_address: { address: {{ $host | quote }}, port_value: {{ regexFind "[0-9]+$" . }} } } } }
{{- end }}

{{/* Where Envoy finds, and watches, the secret called `name`. */}}
{{- define "fray.envoy.secret" -}}
{ name: {{ .name }}, sds_config: { resource_api_version: V3, path_config_source: { path: {{ .edge.folder }}/{{ .name }}.yaml } } }
{{- end }}

{{/* The file that names a certificate, `name`, and its key in a folder; Envoy reads them again when the folder's link is replaced. */}}
{{- define "fray.envoy.certificate" -}}
resources:
- "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret
  name: {{ .name }}
  tls_certificate:
    certificate_chain: { filename: {{ .folder }}/tls.crt }
    private_key: { filename: {{ .folder }}/tls.key }
    watched_directory: { path: {{ .folder }} }
{{- end }}

{{/* The same for those who vouch for the servers. */}}
{{- define "fray.envoy.authority" -}}
resources:
- "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret
  name: {{ .name }}
  validation_context:
    trusted_ca: { filename: {{ .folder }}/ca.crt }
    watched_directory: { path: {{ .folder }} }
{{- end }}
