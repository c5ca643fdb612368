{{/* What the schema cannot say. Each sentence says what to do. */}}
{{- define "fray.validate" -}}
{{- $servers := .Values.servers -}}
{{- if not (include "fray.fleet" .) -}}
{{- if or (gt (int $servers.replicas) 1) .Values.autoscaling.enabled .Values.canary.enabled -}}
{{- fail "Servers that share no directory cannot be more than one: set servers.replicas=1 (without autoscaling and canary), or nats.enabled=true, or nats.url" -}}
{{- end -}}
{{- end -}}
{{- if and (include "fray.fleet" .) .Values.store.persistence.enabled -}}
{{- fail "store.persistence is for one server without NATS; a fleet keeps its recordings in NATS: set nats.persistence.enabled instead" -}}
{{- end -}}
{{- if and (eq .Values.tls.mode "secret") (not .Values.tls.secretName) (ne .Values.edge.mode "none") -}}
{{- fail "tls.mode=secret needs tls.secretName: a Secret with tls.crt and tls.key" -}}
{{- end -}}
{{- if and (eq .Values.tls.mode "certManager") (or (not .Values.tls.certManager.issuerRef.name) (not .Values.tls.certManager.dnsNames)) -}}
{{- fail "tls.mode=certManager needs tls.certManager.issuerRef.name and tls.certManager.dnsNames" -}}
{{- end -}}
{{- if and (eq .Values.internalTls.mode "secret") (not (and .Values.internalTls.secretNames.servers .Values.internalTls.secretNames.edge)) -}}
{{- fail "internalTls.mode=secret needs internalTls.secretNames.edge and internalTls.secretNames.servers: Secrets with tls.crt, tls.key and ca.crt" -}}
{{- end -}}
{{- if and (eq .Values.internalTls.mode "certManager") (not .Values.internalTls.certManager.issuerRef.name) -}}
{{- fail "internalTls.mode=certManager needs internalTls.certManager.issuerRef.name: an issuer that has a CA of its own" -}}
{{- end -}}
{{- if and (ne .Values.internalTls.mode "none") (eq .Values.edge.mode "none") -}}
{{- fail "internalTls is between the edge and the servers: edge.mode=none has no edge to show a certificate" -}}
{{- end -}}
{{- if and (ne .Values.internalTls.mode "none") (eq .Values.edge.mode "gateway") -}}
{{- fail "internalTls is not supported with edge.mode=gateway" -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (lt (int .Values.autoscaling.scaleDown.stabilizationSeconds) (int $servers.terminationGracePeriodSeconds)) -}}
{{- fail "autoscaling.scaleDown.stabilizationSeconds must not be less than servers.terminationGracePeriodSeconds: a pod must be gone before the next one is chosen" -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (lt (int .Values.autoscaling.maxReplicas) (int .Values.autoscaling.minReplicas)) -}}
{{- fail "autoscaling.maxReplicas is less than autoscaling.minReplicas" -}}
{{- end -}}
{{- if and .Values.canary.enabled .Values.edge.versions -}}
{{- fail "canary.enabled makes edge.versions by itself: leave edge.versions empty, or run the canary elsewhere" -}}
{{- end -}}
{{- if and (not .Values.keys.create) (not .Values.keys.existingSecret) -}}
{{- fail "keys.create=false needs keys.existingSecret: all servers need the same keys" -}}
{{- end -}}
{{- if and (eq .Values.edge.mode "gateway") (not .Values.edge.gateway.className) (not .Values.edge.gateway.existing) -}}
{{- fail "edge.mode=gateway needs edge.gateway.className (a GatewayClass of Envoy Gateway), or edge.gateway.existing (a Gateway)" -}}
{{- end -}}
{{- if and (eq .Values.edge.mode "gateway") (or .Values.edge.servers.addresses (contains "\"addresses\":[\"" (toJson .Values.edge.versions))) -}}
{{- fail "edge.mode=gateway takes names of Services (dns), no addresses" -}}
{{- end -}}
{{- if and .Values.nats.url .Values.nats.urlSecret.name -}}
{{- fail "nats.url and nats.urlSecret say the same: leave one of them empty" -}}
{{- end -}}
{{- $storeMib := .Values.store.mib | default 1024 | int -}}
{{- if and (include "fray.ownNats" .) (lt (int .Values.nats.fileMib) (add $storeMib 64 | int)) -}}
{{- fail (printf "nats.fileMib must be at least %d: recordings may take %d MiB (store.mib; 0: 1024), which NATS sets aside, and the directory takes some more" (add $storeMib 64) $storeMib) -}}
{{- end -}}
{{- if and $servers.kube .Values.rbac.podAnnotations (not .Values.serviceAccount.create) (not .Values.serviceAccount.name) -}}
{{- fail "rbac.podAnnotations needs a service account that is the servers' alone: set serviceAccount.name, or serviceAccount.create=true, or rbac.podAnnotations=false" -}}
{{- end -}}
{{- if and .Values.networkPolicy.playersFrom (ne .Values.edge.mode "envoy") -}}
{{- fail "networkPolicy.playersFrom is about the chart's edge, which edge.mode leaves out: say in networkPolicy.serversFrom who may reach the servers" -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (not .Values.autoscaling.customMetric) (not .Values.autoscaling.targetCpuPercent) -}}
{{- fail "autoscaling needs autoscaling.customMetric or autoscaling.targetCpuPercent" -}}
{{- end -}}
{{- range $part, $strategy := dict "servers" $servers.strategy "edge" .Values.edge.strategy -}}
{{- if and (has (toString $strategy.maxSurge) (list "0" "0%")) (has (toString $strategy.maxUnavailable) (list "0" "0%")) -}}
{{- fail (printf "%s.strategy: with maxSurge and maxUnavailable both 0 no pod could ever be replaced" $part) -}}
{{- end -}}
{{- end -}}
{{- end }}
