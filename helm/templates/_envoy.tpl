{{/*
The edge's configuration, whole. envoy/envoy.yaml in the repository is what it gives with envoy/local-values.yaml; the chart
puts it into a ConfigMap. Clusters and routes are in templates of their own.
*/}}
{{- define "fray.envoy" -}}
{{- $edge := include "fray.edge" . | fromJson -}}
# The edge: Envoy, before all servers. Made from helm/ by envoy/render.sh; do not edit.
node: { id: fray-edge, cluster: fray-edge }

# Whoever reaches this port can end Envoy and read its memory.
admin:
  address: { socket_address: { address: 127.0.0.1, port_value: {{ $edge.admin.port }} } }

overload_manager:
  refresh_interval: 0.25s
  # Streams that hold 128 KiB or more are candidates for `reset_high_memory_stream`.
  buffer_factory_config: { minimum_account_to_track_power_of_two: 17 }
  resource_monitors:
  - name: envoy.resource_monitors.fixed_heap
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig
      max_heap_size_bytes: {{ $edge.heapBytesMax | int64 }}
  - name: envoy.resource_monitors.global_downstream_max_connections
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig
      max_active_downstream_connections: {{ $edge.connectionsMax | int64 }}
  actions:
  - name: envoy.overload_actions.shrink_heap
    triggers: [ { name: envoy.resource_monitors.fixed_heap, threshold: { value: 0.85 } } ]
  - name: envoy.overload_actions.reset_high_memory_stream
    triggers: [ { name: envoy.resource_monitors.fixed_heap, scaled: { scaling_threshold: 0.85, saturation_threshold: 0.95 } } ]
  - name: envoy.overload_actions.stop_accepting_requests
    triggers: [ { name: envoy.resource_monitors.fixed_heap, threshold: { value: 0.97 } } ]

static_resources:
  listeners:
  - name: players
    address: { socket_address: { address: {{ $edge.listen.address | quote }}, port_value: {{ $edge.listen.port }} } }
    per_connection_buffer_limit_bytes: 65536
    # HTTP/1.1 has no pings; this finds its vanished peers.
    socket_options:
    - { description: SO_KEEPALIVE, level: 1, name: 9, int_value: 1, state: STATE_PREBIND }
    - { description: TCP_KEEPIDLE, level: 6, name: 4, int_value: 60, state: STATE_PREBIND }
    - { description: TCP_KEEPINTVL, level: 6, name: 5, int_value: 20, state: STATE_PREBIND }
    - { description: TCP_KEEPCNT, level: 6, name: 6, int_value: 3, state: STATE_PREBIND }
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          {{- include "fray.envoy.http" . | nindent 10 }}
{{- if $edge.tls.enabled }}
      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            # WebSockets need HTTP/1.1.
            alpn_protocols: [ h2, http/1.1 ]
            tls_params: { tls_minimum_protocol_version: TLSv1_2 }
            # From a file that is watched, so that a renewed certificate needs no restart.
            tls_certificate_sds_secret_configs:
            - {{ include "fray.envoy.secret" (dict "edge" $edge "name" "edge-certificate") }}
{{- end }}

{{- if $edge.probes.port }}
  # For probes and Prometheus: of Envoy's own port, two paths and nothing else.
  - name: probes
    address: { socket_address: { address: {{ $edge.listen.address | quote }}, port_value: {{ $edge.probes.port }} } }
    # Who scrapes must not use up the players' connections.
    ignore_global_conn_limit: true
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: probes
          stream_idle_timeout: 10s
          request_headers_timeout: 5s
          common_http_protocol_options: { idle_timeout: 60s, headers_with_underscores_action: REJECT_REQUEST }
          normalize_path: true
          path_with_escaped_slashes_action: REJECT_REQUEST
          http_filters:
          - name: envoy.filters.http.router
            typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }
          route_config:
            name: probes
            virtual_hosts:
            - name: admin
              domains: [ "*" ]
              routes:
{{- range list "/ready" "/stats/prometheus" }}
              - match: { path: {{ . }}, headers: [ { name: ":method", string_match: { exact: GET } } ] }
                route: { cluster: admin, timeout: 5s }
{{- end }}
{{- end }}

  clusters:
  {{- include "fray.envoy.clusters" . | nindent 2 }}
{{- end }}

{{/* How HTTP is spoken with players. */}}
{{- define "fray.envoy.http" -}}
{{- $edge := include "fray.edge" . | fromJson -}}
"@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
stat_prefix: players
codec_type: AUTO
# What a client says of its own address, and of Envoy's internals (x-envoy-*), is not believed.
use_remote_address: true
xff_num_trusted_hops: {{ $edge.trustedHops }}
normalize_path: true
path_with_escaped_slashes_action: REJECT_REQUEST
server_header_transformation: PASS_THROUGH
# HTTP/2 pings do not count: streams must say something.
stream_idle_timeout: {{ $edge.timeouts.idle }}
request_headers_timeout: {{ $edge.timeouts.requestHeaders }}
drain_timeout: {{ $edge.timeouts.drain }}
delayed_close_timeout: 1s
common_http_protocol_options:
  idle_timeout: {{ $edge.timeouts.connectionIdle }}
  max_connection_duration: {{ $edge.timeouts.connectionAge }}
  headers_with_underscores_action: REJECT_REQUEST
# A ticket has 4 KiB at most. The servers take more than this: what they do not take must not cost their connection with Envoy.
max_request_headers_kb: 16
http2_protocol_options:
  max_concurrent_streams: {{ $edge.streamsPerConnectionMax.players }}
  initial_stream_window_size: {{ $edge.windowsBytes.stream | int64 }}
  initial_connection_window_size: {{ $edge.windowsBytes.connection | int64 }}
  connection_keepalive:
    interval: {{ $edge.keepalive.players.interval }}
    timeout: {{ $edge.keepalive.players.timeout }}
    interval_jitter: { value: 20 }
# Before anything else, tracing and routing included: what only Envoy may say of a request.
early_header_mutation_extensions:
- name: envoy.http.early_header_mutation.header_mutation
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation
    mutations:
    - { remove: x-room-route }
    - { remove: x-room }
    - { remove: x-player }
    - { remove_on_match: { key_matcher: { prefix: x-fray-, ignore_case: true } } }
    - { remove_on_match: { key_matcher: { prefix: x-envoy-, ignore_case: true } } }
{{- if not $edge.tracing.trustClients }}
    - { remove: traceparent }
    - { remove: tracestate }
{{- end }}
# A ticket for something else (403 by jwt_authn) is as good as none: clients know what to do about UNAUTHENTICATED.
local_reply_config:
  mappers:
  - filter: { status_code_filter: { comparison: { op: EQ, value: { default_value: 403, runtime_key: fray.edge.forbidden } } } }
    status_code: 401
{{- if $edge.accessLog.enabled }}
access_log_options: { flush_access_log_on_new_request: true, access_log_flush_interval: {{ $edge.accessLog.every }} }
access_log:
- name: envoy.access_loggers.stdout
  filter: { header_filter: { header: { name: ":path", string_match: { exact: /healthz }, invert_match: true } } }
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog
    log_format:
      # Nothing here may hold a ticket: no query, no `authorization`, no `sec-websocket-protocol`.
      json_format:
        time: "%START_TIME%"
        type: "%ACCESS_LOG_TYPE%"
        client: "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"
        method: "%REQ(:METHOD)%"
        path: "%PATH(NQ)%"
        status: "%RESPONSE_CODE%"
        grpc_status: "%GRPC_STATUS%"
        flags: "%RESPONSE_FLAGS%"
        details: "%RESPONSE_CODE_DETAILS%"
        cluster: "%UPSTREAM_CLUSTER%"
        server: "%UPSTREAM_HOST%"
        room: "%REQ(X-ROOM)%"
        player: "%REQ(X-PLAYER)%"
        received_bytes: "%BYTES_RECEIVED%"
        sent_bytes: "%BYTES_SENT%"
        duration_ms: "%DURATION%"
        trace_id: "%TRACE_ID%"
{{- end }}
{{- if $edge.tracing.collector }}
tracing:
  # The sampler decides: whoever is believed to be traced is, and so is a share of the others.
  random_sampling: { value: 100 }
  client_sampling: { value: 0 }
  spawn_upstream_span: true
  provider:
    name: envoy.tracers.opentelemetry
    typed_config:
      "@type": type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig
      grpc_service: { envoy_grpc: { cluster_name: collector }, timeout: 1s }
      service_name: fray-edge
      sampler:
        name: envoy.tracers.opentelemetry.samplers.parent_based
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.tracers.opentelemetry.samplers.v3.ParentBasedSamplerConfig
          wrapped_sampler:
            name: envoy.tracers.opentelemetry.samplers.trace_id_ratio_based
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.tracers.opentelemetry.samplers.v3.TraceIdRatioBasedSamplerConfig
              sampling_percentage: { numerator: {{ mulf $edge.tracing.samplingPercent 10000 | int64 }}, denominator: MILLION }
{{- end }}
http_filters:
# For load balancers: 200 at /healthz, 503 while Envoy drains (POST /healthcheck/fail on its own port).
- name: envoy.filters.http.health_check
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.health_check.v3.HealthCheck
    pass_through_mode: false
    headers: [ { name: ":path", string_match: { exact: /healthz } } ]
# Envoy lets bytes through behind a `?` that are no text. A server's HTTP/2 library (h2) ends the connection for one of them, and with it all
# the players on it.
- name: envoy.filters.http.rbac
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC
    rules:
      action: DENY
      policies:
        path-that-is-no-text:
          permissions:
          - not_rule: { header: { name: ":path", string_match: { safe_regex: { regex: "[!-~]+" } } } }
          principals: [ { any: true } ]
- name: envoy.filters.http.cors
  typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors }
- name: envoy.filters.http.grpc_web
  typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.grpc_web.v3.GrpcWeb }
# `stateful_session` tells the client which server it chose, where a ticket named none that it understands. Nobody needs to know.
- name: envoy.filters.http.header_mutation
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation
    mutations: { response_mutations: [ { remove: x-room-route } ] }
# Counts nothing here; rows of the table switch it on.
- name: envoy.filters.http.local_ratelimit
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
    stat_prefix: edge
- name: envoy.filters.http.jwt_authn
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication
    providers:
      ticket:
        issuer: fray
        audiences: [ play ]
        # The server checks the ticket, too.
        forward: true
        # Named, so that a ticket in a URL is none: URLs end up in logs.
        from_headers:
        - { name: authorization, value_prefix: "Bearer " }
        - { name: sec-websocket-protocol, value_prefix: "ticket." }
        clock_skew_seconds: 5
        claim_to_headers:
        - { header_name: x-room-route, claim_name: route }
        - { header_name: x-room, claim_name: room }
        - { header_name: x-player, claim_name: sub }
        - { header_name: x-fray-version, claim_name: version }
{{- if $edge.tickets.jwks }}
        local_jwks: { inline_string: {{ $edge.tickets.jwks | squote }} }
{{- else }}
        remote_jwks:
          http_uri: { uri: http://fray-servers/.well-known/jwks.json, cluster: servers, timeout: 2s }
          cache_duration: {{ $edge.tickets.jwksCache }}
          async_fetch: { failed_refetch_duration: 1s }
{{- end }}
    rules:
    {{- include "fray.envoy.ticketRules" . | trim | nindent 4 }}
# Takes a stream to the server that the header names, and to no other.
- name: envoy.filters.http.stateful_session
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.stateful_session.v3.StatefulSession
    strict: true
    stat_prefix: owner
    session_state:
      name: envoy.http.stateful_session.header
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.http.stateful_session.header.v3.HeaderBasedSessionState
        name: x-room-route
- name: envoy.filters.http.router
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
    suppress_envoy_headers: true
route_config:
  name: edge
  virtual_hosts:
  - name: fray
    domains: [ "*" ]
    typed_per_filter_config:
      envoy.filters.http.cors:
        "@type": type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy
        allow_origin_string_match: [{{ range $index, $origin := $edge.origins }}{{ if $index }},{{ end }} { exact: {{ $origin | quote }} }{{ end }} ]
        allow_methods: GET,POST,OPTIONS
        allow_headers: authorization,content-type,grpc-timeout,last-event-id,traceparent,tracestate,x-canary,x-grpc-web,x-user-agent
        expose_headers: grpc-status,grpc-message,grpc-status-details-bin
        max_age: "7200"
        # Answered here, whatever the answer.
        forward_not_matching_preflights: false
    routes:
    {{- include "fray.envoy.routes" . | nindent 4 }}
{{- end }}
