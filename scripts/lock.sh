#!/usr/bin/env bash
# Writes requirements.lock (runtime) and requirements-dev.lock: hashes, every platform, no addresses.
set -euo pipefail
cd "$(dirname "$0")/.."
compile() {
  .venv/bin/uv pip compile --quiet --no-config --universal --generate-hashes --python-version 3.11 \
    --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" pyproject.toml "$@"
}
compile -o requirements.lock
compile --group dev --group bench -c requirements.lock -o requirements-dev.lock
# What the image holds: the runtime, the client of Kubernetes and that of OpenTelemetry.
compile --extra kubernetes --extra otel -c requirements.lock -o requirements-image.lock
