{{/*
Secrets that are mounted as files: where, of which Secret, and the variable that names each file. `of` says for whom:
"migrations" and "api" need fewer than "scheduler".
*/}}
{{- define "lorax-batch.secretFiles" -}}
{{- $values := .root.Values }}
{{- include "lorax-batch.clientTls" (dict "name" "database" "setting" "DATABASE" "tls" $values.database.tls) }}
{{- if ne .of "migrations" }}
{{- include "lorax-batch.clientTls" (dict "name" "object-store" "setting" "OBJECT_STORE" "tls" $values.objectStore.tls) }}
{{- include "lorax-batch.clientTls" (dict "name" "bucket" "setting" "BUCKET" "tls" $values.objectStore.callersBucketsTls) }}
- { name: tls, secret: {{ $values.tls.existingSecret | quote }}, variables: { LORAX_BATCH_TLS_CERT: tls.crt, LORAX_BATCH_TLS_KEY: tls.key } }
- { name: client-ca, secret: {{ $values.tls.clientCa.existingSecret | quote }}, variables: { LORAX_BATCH_TLS_CLIENT_CA: {{ $values.tls.clientCa.key }} } }
- { name: probe, secret: {{ $values.tls.probeCert.existingSecret | quote }}, variables: { LORAX_BATCH_TARGET_CERT: tls.crt, LORAX_BATCH_TARGET_KEY: tls.key } }
- { name: secrets-key, secret: {{ $values.secretsKey.existingSecret | quote }}, variables: { LORAX_BATCH_SECRETS_KEY_FILE: {{ $values.secretsKey.key }} } }
{{- if $values.auth.keys }}
- { name: operator-key, secret: {{ $values.auth.operatorKey.existingSecret | quote }}, variables: { LORAX_BATCH_OPERATOR_KEY_FILE: {{ $values.auth.operatorKey.key }} } }
{{- end }}
{{- end }}
{{- if eq .of "scheduler" }}
{{- include "lorax-batch.clientTls" (dict "name" "server" "setting" "SERVER" "tls" $values.scheduler.serverTls) }}
{{- end }}
{{- end }}

{{/* The files with which others are reached over TLS. */}}
{{- define "lorax-batch.clientTls" }}
- { name: {{ .name }}-ca, secret: {{ .tls.ca.existingSecret | quote }}, variables: { LORAX_BATCH_{{ .setting }}_CA: {{ .tls.ca.key }} } }
- { name: {{ .name }}-cert, secret: {{ .tls.clientCert.existingSecret | quote }}, variables: { LORAX_BATCH_{{ .setting }}_CERT: tls.crt, LORAX_BATCH_{{ .setting }}_KEY: tls.key } }
{{- end }}

{{- define "lorax-batch.secretFileEnv" -}}
{{- range $file := fromYamlArray (include "lorax-batch.secretFiles" .) }}
{{- if $file.secret }}
{{- range $variable, $key := $file.variables }}
- { name: {{ $variable }}, value: /etc/lorax-batch-secrets/{{ $file.name }}/{{ $key }} }
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Whole folders: a file that is mounted by itself (subPath) is never renewed. */}}
{{- define "lorax-batch.secretFileMounts" -}}
{{- range fromYamlArray (include "lorax-batch.secretFiles" .) }}
{{- if .secret }}
- { name: secret-{{ .name }}, mountPath: /etc/lorax-batch-secrets/{{ .name }}, readOnly: true }
{{- end }}
{{- end }}
{{- end }}

{{/* Only the keys that are used, for the group of the service alone (podSecurityContext.fsGroup). */}}
{{- define "lorax-batch.secretFileVolumes" -}}
{{- range fromYamlArray (include "lorax-batch.secretFiles" .) }}
{{- if .secret }}
- name: secret-{{ .name }}
  secret:
    secretName: {{ .secret }}
    defaultMode: 0440
    items:
      {{- range $key := values .variables | sortAlpha }}
      - { key: {{ $key }}, path: {{ $key }} }
      {{- end }}
{{- end }}
{{- end }}
{{- end }}
