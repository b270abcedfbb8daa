{{- define "lorax-batch.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "lorax-batch.labels" -}}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{ include "lorax-batch.selector" . }}
{{- end }}

{{- define "lorax-batch.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "lorax-batch.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "lorax-batch.apiAccount" -}}
{{ .Values.serviceAccount.apiName | default (printf "%s-api" (include "lorax-batch.name" .)) }}
{{- end }}

{{- define "lorax-batch.schedulerAccount" -}}
{{ .Values.serviceAccount.schedulerName | default (printf "%s-scheduler" (include "lorax-batch.name" .)) }}
{{- end }}

{{- define "lorax-batch.fleetNamespace" -}}
{{ .Values.fleet.namespace | default .Release.Namespace }}
{{- end }}

{{/* Where PostgreSQL is. */}}
{{- define "lorax-batch.databaseEnv" -}}
- name: LORAX_BATCH_DATABASE_URL
  valueFrom:
    secretKeyRef:
      name: {{ required "database.existingSecret: name a Secret that holds the URL of a PostgreSQL" .Values.database.existingSecret }}
      key: {{ .Values.database.key }}
{{- end }}

{{/* What API and scheduler share. */}}
{{- define "lorax-batch.env" -}}
{{ include "lorax-batch.databaseEnv" . }}
- name: LORAX_BATCH_OBJECT_STORE
  value: {{ required "objectStore.url: give s3://BUCKET/PREFIX, which API and scheduler share" .Values.objectStore.url | quote }}
{{- with .Values.objectStore.existingSecret }}
{{- range $name := list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" }}
- name: {{ $name }}
  valueFrom:
    secretKeyRef:
      name: {{ $.Values.objectStore.existingSecret }}
      key: {{ $name }}
{{- end }}
{{- end }}
- name: LORAX_BATCH_LISTEN
  value: 0.0.0.0:50051
- name: LORAX_BATCH_ALLOW_INSECURE
  value: {{ .Values.allowInsecure | quote }}
- name: LORAX_BATCH_SHUTDOWN_GRACE_S
  value: {{ .Values.shutdownGraceSeconds | quote }}
- name: LORAX_BATCH_LOG_FORMAT
  value: json
{{- if .Values.metrics.port }}
- name: LORAX_BATCH_METRICS_HOST
  value: 0.0.0.0
- name: LORAX_BATCH_METRICS_PORT
  value: {{ .Values.metrics.port | quote }}
{{- end }}
{{- end }}

{{/* Ports, probes and rights, the same for both. */}}
{{- define "lorax-batch.container" -}}
image: {{ include "lorax-batch.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
ports:
  - { name: grpc, containerPort: 50051 }
  {{- if .Values.metrics.port }}
  - { name: metrics, containerPort: {{ .Values.metrics.port }} }
  {{- end }}
# Up when it listens, which takes a while when it must migrate or adopt servers.
startupProbe:
  tcpSocket: { port: grpc }
  periodSeconds: 2
  failureThreshold: 150
# Not by its health: that also tells of PostgreSQL's troubles, and killing pods would not cure those.
livenessProbe:
  tcpSocket: { port: grpc }
  periodSeconds: {{ .Values.probes.periodSeconds }}
  timeoutSeconds: 5
  failureThreshold: {{ .Values.probes.failureThreshold }}
readinessProbe:
  {{- if not .Values.tls.existingSecret }}
  grpc: { port: 50051 }
  {{- else }}
  exec: { command: [lorax-batch, health, --own] }
  {{- end }}
  periodSeconds: {{ .Values.probes.periodSeconds }}
  timeoutSeconds: 10
  failureThreshold: {{ .Values.probes.failureThreshold }}
# Endpoints forget the pod before it refuses calls.
lifecycle:
  preStop:
    exec: { command: [sleep, "5"] }
securityContext: {{- toYaml .Values.securityContext | nindent 2 }}
{{- end }}

{{/* Changes of settings and of the fleet file roll the pods. */}}
{{- define "lorax-batch.podAnnotations" -}}
checksum/settings: {{ printf "%s%s" (include "lorax-batch.settings" .) .Values.fleet.toml | sha256sum }}
{{- if .Values.metrics.port }}
prometheus.io/scrape: "true"
prometheus.io/port: {{ .Values.metrics.port | quote }}
{{- end }}
{{- end }}
