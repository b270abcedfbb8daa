#!/usr/bin/env bash
# Builds the image and looks whether it serves, as whom, what is left in it to build with, and whether it stops in time.
set -euo pipefail
cd "$(dirname "$0")/.."
engine=
for candidate in docker podman; do
  if command -v "$candidate" >/dev/null && "$candidate" info >/dev/null 2>&1; then engine=$candidate; break; fi
done
if [ -z "$engine" ]; then
  echo "SKIPPED: no container engine answers (docker, podman), so the image was not built" >&2
  exit 0
fi
export BUILDAH_FORMAT=docker  # or podman leaves the health check out
name=lorax-batch-check-$$
"$engine" build --tag "$name" .
trap '"$engine" rm --force "$name" >/dev/null; "$engine" rmi --force "$name" >/dev/null' EXIT
if refused=$("$engine" run --rm "$name" 2>&1); then echo "it listens to everybody without TLS or a login" >&2; exit 1; fi
grep -q allow_insecure <<<"$refused" || { echo "it does not say how to let it listen: $refused" >&2; exit 1; }
"$engine" run --detach --env LORAX_BATCH_ALLOW_INSECURE=true --name "$name" "$name" >/dev/null
for _ in $(seq 60); do
  if "$engine" exec "$name" lorax-batch health --own >/dev/null 2>&1; then break; fi
  sleep 1
done
"$engine" exec "$name" lorax-batch health --own
[ "$("$engine" exec "$name" id -u)" = 10001 ] || { echo "it does not run as user 10001" >&2; exit 1; }
for tool in gcc make pip; do
  if "$engine" exec "$name" sh -c "command -v $tool" >/dev/null; then echo "$tool is in the image" >&2; exit 1; fi
done
"$engine" stop --timeout 45 "$name" >/dev/null
code=$("$engine" inspect --format '{{.State.ExitCode}}' "$name")
[ "$code" = 0 ] || { echo "it ended with $code" >&2; exit 1; }
echo "the image serves, and stops"
