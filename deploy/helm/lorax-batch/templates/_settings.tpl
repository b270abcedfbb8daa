{{/* The file of settings: those that values stand for, and the others as they are. TOML takes JSON's values. */}}
{{- define "lorax-batch.settings" -}}
auth = {{ .Values.auth.keys | ternary "keys" "off" | toJson }}
{{- with .Values.tracing.endpoint }}
otlp_endpoint = {{ toJson . }}
trace_ratio = {{ toJson $.Values.tracing.ratio }}
{{- end }}
webhook_networks = {{ toJson .Values.webhooks.networks }}
webhook_allow_http = {{ toJson .Values.webhooks.allowHttp }}
webhook_give_up_days = {{ toJson .Values.webhooks.giveUpDays }}
{{- range $name, $value := .Values.settings }}
{{ $name }} = {{ toJson $value }}
{{- end }}
{{- end }}

{{/* What must not be given, and what must be: said with the value that is missing. */}}
{{- define "lorax-batch.check" -}}
{{- $taken := list "role" "listen" "data_dir" "database_url" "object_store" "fleet" "servers" "metrics_host" "metrics_port" "allow_insecure" "shutdown_grace_s" "log_format" "auth" "operator_key_file" "secrets_key" "secrets_key_file" "otlp_endpoint" "trace_ratio" "webhook_networks" "webhook_allow_http" "webhook_give_up_days" }}
{{- range $kind := list "tls" "database" "object_store" "bucket" "server" }}
{{- $taken = concat $taken (list (printf "%s_ca" $kind) (printf "%s_cert" $kind) (printf "%s_key" $kind)) }}
{{- end }}
{{- range $name := append $taken "tls_client_ca" }}
{{- if hasKey $.Values.settings $name }}
{{- fail (printf "settings.%s: this chart sets it itself; see values.yaml for the value that stands for it" $name) }}
{{- end }}
{{- end }}
{{- $tls := .Values.tls }}
{{- if and (or $tls.clientCa.existingSecret $tls.probeCert.existingSecret) (not $tls.existingSecret) }}
{{- fail "tls.existingSecret: certificates of callers need TLS; name a Secret of the type kubernetes.io/tls" }}
{{- end }}
{{- if not .Values.allowInsecure }}
{{- if not $tls.existingSecret }}
{{- fail "tls.existingSecret: name a Secret of the type kubernetes.io/tls with the certificate of the gRPC port, or set allowInsecure=true where nobody can listen in" }}
{{- end }}
{{- if not (or .Values.auth.keys $tls.clientCa.existingSecret) }}
{{- fail "auth.keys: without keys anybody who can connect can do anything; set it, or tls.clientCa.existingSecret, or allowInsecure=true where everybody may" }}
{{- end }}
{{- end }}
{{- if and .Values.auth.keys (not .Values.auth.operatorKey.existingSecret) }}
{{- fail "auth.operatorKey.existingSecret: name a Secret with the first operator's key, with which others are made (kubectl create secret generic NAME --from-literal=operator.key=$(openssl rand -hex 32)), or set auth.keys=false" }}
{{- end }}
{{- end }}
