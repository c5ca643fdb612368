{{/* A Deployment of servers: dict "root" $, "track" "stable" or "canary", "replicas", "image", "release", "extraEnv". */}}
{{- define "fray.servers.deployment" -}}
{{- $root := .root -}}
{{- $values := $root.Values -}}
{{- $servers := $values.servers -}}
{{- $name := include "fray.name" (list $root "servers") -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ $name }}{{ if eq .track "canary" }}-canary{{ end }}
  labels:
    {{- include "fray.labels" (list $root "server") | nindent 4 }}
    fray.dev/track: {{ .track }}
  {{- include "fray.annotations" $root | nindent 2 }}
spec:
{{- with include "fray.replicas" (dict "root" $root "name" $name "replicas" .replicas "isAutoscaled" (and $values.autoscaling.enabled (eq .track "stable"))) }}
  {{ . }}
{{- end }}
  revisionHistoryLimit: 5
  strategy:
{{- if $values.store.persistence.enabled }}
    # Two pods cannot have the same disk.
    type: Recreate
{{- else }}
    type: RollingUpdate
    rollingUpdate: { maxSurge: {{ $servers.strategy.maxSurge }}, maxUnavailable: {{ $servers.strategy.maxUnavailable }} }
{{- end }}
  selector:
    matchLabels:
      {{- include "fray.selector" (list $root "server") | nindent 6 }}
      fray.dev/track: {{ .track }}
  template:
    metadata:
      labels:
        {{- include "fray.pod.labels" (list $root "server" $servers) | nindent 8 }}
        fray.dev/track: {{ .track }}
      annotations:
        kubectl.kubernetes.io/default-container: server
        {{- with $servers.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      serviceAccountName: {{ include "fray.serviceAccount.servers" $root }}
      automountServiceAccountToken: {{ $servers.kube }}
      # What a variable of another Service is called must not pass for a flag's.
      enableServiceLinks: false
      # SIGTERM does it all: rooms move, the listener stays open until the end. So there is no preStop.
      terminationGracePeriodSeconds: {{ $servers.terminationGracePeriodSeconds }}
      {{- include "fray.pod.security" $root | nindent 6 }}
      {{- include "fray.pod.placement" (list $root "server" $servers) | nindent 6 }}
      containers:
      - name: server
        image: {{ .image }}
        imagePullPolicy: {{ $values.image.pullPolicy }}
        {{- include "fray.container.security" $root | nindent 8 }}
        ports:
        - { name: grpc, containerPort: 7777 }
        - { name: peer, containerPort: 7779 }
        - { name: admin, containerPort: 7780 }
        env:
        {{- include "fray.env" (list (include "fray.servers.env" .) $servers.extraEnv .extraEnv) | nindent 8 }}
        {{- with $servers.extraEnvFrom }}
        envFrom:
        {{- toYaml . | nindent 8 }}
        {{- end }}
        # By HTTP on the operators' port, which never speaks TLS.
        startupProbe:
          httpGet: { path: /livez, port: admin }
          periodSeconds: 1
          failureThreshold: {{ $servers.probes.startupSeconds }}
        readinessProbe:
          httpGet: { path: /readyz, port: admin }
          {{- toYaml $servers.probes.readiness | nindent 10 }}
        livenessProbe:
          httpGet: { path: /livez, port: admin }
          {{- toYaml $servers.probes.liveness | nindent 10 }}
        resources:
          {{- toYaml $servers.resources | nindent 10 }}
        volumeMounts:
        - { name: keys, mountPath: /etc/fray/keys, readOnly: true }
        - { name: tmp, mountPath: /tmp }
        {{- if ne $values.internalTls.mode "none" }}
        - { name: internal-tls, mountPath: /etc/fray/internal-tls, readOnly: true }
        {{- end }}
        {{- if $values.nats.credentialsSecret }}
        - { name: nats-credentials, mountPath: /etc/fray/nats, readOnly: true }
        {{- end }}
        {{- if $values.store.persistence.enabled }}
        - { name: store, mountPath: /var/lib/fray }
        {{- end }}
        {{- with $servers.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      volumes:
      # NAME.pem: keys for tickets. Other names are not looked at by --ticket-keys.
      - name: keys
        secret: { secretName: {{ include "fray.keysSecret" $root }} }
      - name: tmp
        emptyDir: { sizeLimit: 256Mi }
      {{- if ne $values.internalTls.mode "none" }}
      - name: internal-tls
        secret: { secretName: {{ include "fray.internalTlsSecret.servers" $root }} }
      {{- end }}
      {{- with $values.nats.credentialsSecret }}
      - name: nats-credentials
        secret: { secretName: {{ . }}, items: [ { key: nats.creds, path: nats.creds } ] }
      {{- end }}
      {{- if $values.store.persistence.enabled }}
      - name: store
        persistentVolumeClaim: { claimName: {{ $values.store.persistence.existingClaim | default (printf "%s-store" $name) }} }
      {{- end }}
      {{- with $servers.extraVolumes }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
{{- end }}

{{/* What a server is told; the same dict as above. */}}
{{- define "fray.servers.env" -}}
{{- $root := .root -}}
{{- $values := $root.Values -}}
{{- $servers := $values.servers -}}
- { name: POD_IP, valueFrom: { fieldRef: { fieldPath: status.podIP } } }
- { name: FRAY_POD_NAME, valueFrom: { fieldRef: { fieldPath: metadata.name } } }
- { name: FRAY_POD_NAMESPACE, valueFrom: { fieldRef: { fieldPath: metadata.namespace } } }
- { name: FRAY_NODE_NAME, valueFrom: { fieldRef: { fieldPath: spec.nodeName } } }
# Empty where the cluster does not give pods their node's zone.
- { name: FRAY_ZONE, valueFrom: { fieldRef: { fieldPath: "metadata.labels['topology.kubernetes.io/zone']" } } }
- { name: FRAY_NAME, value: $(FRAY_POD_NAME) }
- { name: FRAY_LISTEN, value: "0.0.0.0:7777" }
- { name: FRAY_ADVERTISE, value: "$(POD_IP):7777" }
- { name: FRAY_ADMIN, value: "0.0.0.0:7780" }
# Whoever reaches this port may end rooms: `kubectl exec` or `kubectl port-forward` to one pod only.
- { name: FRAY_CONTROL, value: "127.0.0.1:7781" }
- { name: FRAY_TICKET_KEYS, value: /etc/fray/keys }
- { name: FRAY_SESSION_KEY, value: /etc/fray/keys/session-key }
- { name: FRAY_JWKS_MAX_AGE, value: {{ $values.keys.jwksMaxAge | quote }} }
- { name: FRAY_TICKET_TTL, value: {{ $values.keys.ticketTtl | quote }} }
- { name: FRAY_TICK_RATE, value: {{ $servers.tickRate | int | quote }} }
- { name: FRAY_ROOM_CAPACITY, value: {{ $servers.roomCapacity | int | quote }} }
- { name: FRAY_ROOMS_MAX, value: {{ $servers.roomsMax | int | quote }} }
- { name: FRAY_ROOM_TTL, value: {{ $servers.roomTtl | quote }} }
- { name: FRAY_GRACE, value: {{ $servers.grace | quote }} }
- { name: FRAY_STALENESS_WINDOW, value: {{ $servers.stalenessWindow | quote }} }
- { name: FRAY_IDLE_TIMEOUT, value: {{ $servers.idleTimeout | quote }} }
- { name: FRAY_CHECKPOINT_EVERY, value: {{ $servers.checkpointEvery | quote }} }
- { name: FRAY_CONNECTIONS_MAX, value: {{ $servers.connectionsMax | int | quote }} }
- { name: FRAY_STREAMS_PER_CONNECTION_MAX, value: {{ $servers.streamsPerConnectionMax | int | quote }} }
- { name: FRAY_STREAMS_PER_ADDRESS_MAX, value: {{ $servers.streamsPerAddressMax | int64 | quote }} }
- { name: FRAY_CONNECTIONS_PER_ADDRESS_MAX, value: {{ $servers.connectionsPerAddressMax | int64 | quote }} }
{{- $own := ternary 0 (add 1 (int $values.edge.trustedHops)) (eq $values.edge.mode "none") }}
- { name: FRAY_TRUSTED_HOPS, value: {{ kindIs "invalid" $servers.trustedHops | ternary $own $servers.trustedHops | int | quote }} }
{{- with concat $values.edge.origins $servers.allowOrigins | uniq }}
- { name: FRAY_ALLOW_ORIGIN, value: {{ join "," . | quote }} }
{{- end }}
- { name: FRAY_LOG, value: {{ $servers.log.filter | quote }} }
- { name: FRAY_LOG_FORMAT, value: {{ $servers.log.format }} }
# Less than the pod's grace period, so that the server ends by itself and says what it did.
- { name: FRAY_SHUTDOWN_TIMEOUT, value: {{ sub (int $servers.terminationGracePeriodSeconds) 5 }}s }
{{- with .release }}
- { name: FRAY_RELEASE, value: {{ . | quote }} }
{{- end }}
{{- if include "fray.fleet" $root }}
{{- with $values.nats.urlSecret }}
{{- if .name }}
- { name: FRAY_NATS, valueFrom: { secretKeyRef: { name: {{ .name }}, key: {{ .key }} } } }
{{- else }}
- { name: FRAY_NATS, value: {{ include "fray.natsUrl" $root | quote }} }
{{- end }}
{{- end }}
- { name: FRAY_NATS_PREFIX, value: {{ include "fray.natsPrefix" $root | quote }} }
- { name: FRAY_NATS_REPLICAS, value: {{ $values.nats.replicas | int | quote }} }
- { name: FRAY_STORE_NATS, value: "true" }
- { name: FRAY_PEER, value: "0.0.0.0:7779" }
- { name: FRAY_ADVERTISE_PEER, value: "$(POD_IP):7779" }
- { name: FRAY_RELAY, value: {{ $servers.relay | quote }} }
- { name: FRAY_REBALANCE_EVERY, value: {{ $servers.rebalanceEvery | quote }} }
{{- if $values.nats.credentialsSecret }}
- { name: FRAY_NATS_CREDENTIALS, value: /etc/fray/nats/nats.creds }
{{- end }}
{{- end }}
{{- if $values.store.persistence.enabled }}
- { name: FRAY_STORE, value: /var/lib/fray }
# The next pod goes on with the rooms of the one before.
- { name: FRAY_RESTORE_ROOMS, value: "true" }
{{- end }}
{{- with int $values.store.mib }}
- { name: FRAY_STORE_MIB, value: {{ . | quote }} }
{{- end }}
{{- if $servers.kube }}
- { name: FRAY_KUBE, value: "true" }
- { name: FRAY_KUBE_SERVICE, value: {{ include "fray.name" (list $root "servers") }} }
- { name: FRAY_KUBE_EVENTS, value: {{ $values.rbac.events | quote }} }
- { name: FRAY_KUBE_ANNOTATE, value: {{ eq (include "fray.podAnnotations" $root) "true" | quote }} }
{{- if eq $values.edge.mode "envoy" }}
- { name: FRAY_KUBE_EDGE_SERVICE, value: {{ include "fray.name" (list $root "edge") }} }
{{- end }}
{{- end }}
{{- if ne $values.edge.mode "none" }}
- { name: FRAY_EDGE_WAIT, value: {{ $servers.edgeWait | quote }} }
{{- end }}
{{- with $values.keys.identity }}
{{- if .issuer }}
- { name: FRAY_ID_ISSUER, value: {{ .issuer | quote }} }
- { name: FRAY_ID_AUDIENCE, value: {{ .audience | quote }} }
- { name: FRAY_ID_JWKS, value: {{ .jwks | quote }} }
- { name: FRAY_REQUIRE_ID_TOKEN, value: {{ .required | quote }} }
{{- end }}
{{- end }}
{{- if ne $values.internalTls.mode "none" }}
- { name: FRAY_TLS_CERT, value: /etc/fray/internal-tls/tls.crt }
- { name: FRAY_TLS_KEY, value: /etc/fray/internal-tls/tls.key }
- { name: FRAY_TLS_CLIENT_CA, value: /etc/fray/internal-tls/ca.crt }
- { name: FRAY_PEER_TLS_CERT, value: /etc/fray/internal-tls/tls.crt }
- { name: FRAY_PEER_TLS_KEY, value: /etc/fray/internal-tls/tls.key }
- { name: FRAY_PEER_TLS_CA, value: /etc/fray/internal-tls/ca.crt }
- { name: FRAY_PEER_TLS_NAME, value: {{ $values.internalTls.name | quote }} }
{{- end }}
{{- with include "fray.collectorUrl" $root }}
- { name: OTEL_EXPORTER_OTLP_ENDPOINT, value: {{ . | quote }} }
- { name: OTEL_RESOURCE_ATTRIBUTES, value: "k8s.namespace.name=$(FRAY_POD_NAMESPACE),k8s.pod.name=$(FRAY_POD_NAME),k8s.node.name=$(FRAY_NODE_NAME)" }
- { name: FRAY_TRACE_MOVES, value: {{ $values.tracing.moves | quote }} }
- { name: FRAY_TRACE_TICKS, value: {{ $values.tracing.ticks | quote }} }
- { name: FRAY_TRACE_BUDGET, value: {{ $values.tracing.budget | int | quote }} }
{{- end }}
{{- end }}
