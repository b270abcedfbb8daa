#!/usr/bin/env bash
# Runs a command beside versitygw, the S3 server of deploy/compose.yaml: `s3_versitygw.sh TOOLS COMMAND...`
#
# Built with Go from the module proxy into TOOLS (minutes the first time), on loopback, its files in a temporary folder.
# The command finds the address in LORAX_BATCH_TEST_S3; the keys are test/test. All ends with the command.
set -euo pipefail
tools=$(mkdir -p "${1:?usage: s3_versitygw.sh TOOLS COMMAND...}" && cd "$1" && pwd)
shift
version=$(sed -n 's/.*VERSITYGW_TAG:-\(v[0-9.]*\)}.*/\1/p' "$(dirname "$0")/../deploy/compose.yaml")
binary=$tools/versitygw-$version

if [ ! -x "$binary" ]; then
  if ! command -v go >/dev/null; then
    echo "SKIPPED: there is no Go to build versitygw with" >&2
    exit 0
  fi
  GOBIN=$tools go install "github.com/versity/versitygw/cmd/versitygw@$version"
  mv "$tools/versitygw" "$binary"
fi
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
run=$(mktemp -d)
mkdir "$run/data"
ROOT_ACCESS_KEY=test ROOT_SECRET_KEY=test "$binary" --port "127.0.0.1:$port" --region us-east-1 --quiet posix "$run/data" &
server=$!
trap 'kill "$server"; wait "$server" || true; rm -rf "$run"' EXIT
for _ in $(seq 100); do
  if (: >"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then break; fi
  sleep 0.1
done
LORAX_BATCH_TEST_S3=http://127.0.0.1:$port "$@"
