#!/usr/bin/env bash
# Writes the generated code beside the .proto files; with --check, says whether it is fresh and writes nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
out=protos
if [ "${1:-}" = --check ]; then
  out=$(mktemp -d)
  trap 'rm -rf "$out"' EXIT
fi
PATH="$PWD/.venv/bin:$PATH" .venv/bin/python -m grpc_tools.protoc -I protos \
  --python_out="$out" --grpc_python_out="$out" --mypy_out="$out" --mypy_grpc_out="$out" \
  protos/lorax_batch/v1/*.proto 2>&1 | { grep -v '^Writing mypy to' || true; }
if [ "${1:-}" = --check ]; then
  stale=0
  for file in "$out"/lorax_batch/v1/*; do
    cmp -s "$file" "protos/lorax_batch/v1/$(basename "$file")" || { echo "stale: $(basename "$file")" >&2; stale=1; }
  done
  [ $stale = 0 ] || { echo "generated code is not what the .proto files give: run 'make protos' and commit it" >&2; exit 1; }
fi
