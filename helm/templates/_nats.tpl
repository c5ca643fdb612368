{{/* The configuration of the chart's own NATS. */}}
{{- define "fray.nats.config" -}}
{{- $nats := .Values.nats -}}
{{- $name := include "fray.name" (list . "nats") -}}
server_name: $POD_NAME
listen: 0.0.0.0:4222
http: 0.0.0.0:8222
jetstream {
  store_dir: /data
  max_memory_store: {{ $nats.memoryMib | int }}MB
  max_file_store: {{ $nats.fileMib | int }}MB
}
{{- if gt (int $nats.replicas) 1 }}
cluster {
  name: {{ $name }}
  listen: 0.0.0.0:6222
  routes: [
{{- range $index := until (int $nats.replicas) }}
    nats://{{ $name }}-{{ $index }}.{{ $name }}:6222
{{- end }}
  ]
  # Until all names are known, which takes a moment when all start together.
  connect_retries: 120
}
{{- end }}
{{- end }}
