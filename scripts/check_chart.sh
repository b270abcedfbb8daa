#!/usr/bin/env bash
# Runs a command with `helm` in its PATH: `check_chart.sh TOOLS COMMAND...`, then tries the chart on a cluster if one answers.
#
# helm is built with Go from the module proxy into TOOLS when there is none (minutes the first time).
set -euo pipefail
tools=$(mkdir -p "${1:?usage: check_chart.sh TOOLS COMMAND...}" && cd "$1" && pwd)
shift
helm_version=v3.19.0
chart=$(dirname "$0")/../deploy/helm/lorax-batch
needed=database.existingSecret=database,objectStore.url=s3://bucket/store,tls.existingSecret=tls,auth.operatorKey.existingSecret=operator

PATH=$PATH:$tools
if ! command -v helm >/dev/null; then
  if ! command -v go >/dev/null; then
    echo "SKIPPED: there is neither helm nor a Go to build it with" >&2
    exit 0
  fi
  GOBIN=$tools go install "helm.sh/helm/v3/cmd/helm@$helm_version"
fi
helm lint --strict --quiet --kube-version 1.30 "$chart" --set "$needed"
"$@"
if ! command -v kubectl >/dev/null || ! kubectl version --request-timeout=5s >/dev/null 2>&1; then
  echo "SKIPPED: no cluster answers, so the chart was rendered but not tried on one" >&2
  exit 0
fi
# The server checks every object as it would for good, and keeps none.
helm install lorax-batch-check "$chart" --dry-run=server --set "$needed" >/dev/null
