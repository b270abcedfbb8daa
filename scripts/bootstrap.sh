#!/usr/bin/env bash
# Makes .venv with what the hashed lock names: `bootstrap.sh runtime` or `bootstrap.sh dev`.
# Does nothing when the lock that .venv was made from has not changed.
set -euo pipefail
cd "$(dirname "$0")/.."
kind=${1:?usage: bootstrap.sh runtime|dev}
case $kind in
  runtime) lock=requirements.lock ;;
  dev) lock=requirements-dev.lock ;;
  *) echo "bootstrap.sh: '$kind' is neither 'runtime' nor 'dev'" >&2; exit 2 ;;
esac

python=${PYTHON:-python3}
want=$(cat "$lock" pyproject.toml scripts/bootstrap.sh | sha256sum | cut -d ' ' -f 1)
stamp=.venv/.lorax-batch-$kind
if [ "$(cat "$stamp" 2>/dev/null)" = "$want" ]; then exit 0; fi

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
  { echo "lorax-batch needs Python 3.11 or newer; '$python' is $("$python" -V). Set PYTHON=..." >&2; exit 1; }
echo "setting up .venv ($kind) ..."
if [ ! -x .venv/bin/python ]; then
  "$python" -m venv .venv || { echo "no venv module: on Debian, apt-get install python3-venv" >&2; exit 1; }
fi
# uv is several times faster, but reads no pip configuration (mirrors, proxies): pip is the fallback.
if .venv/bin/python -m pip install --quiet --disable-pip-version-check 'uv==0.13.9' &&
  VIRTUAL_ENV="$PWD/.venv" .venv/bin/uv pip install --quiet --no-config --require-hashes -r "$lock"; then
  VIRTUAL_ENV="$PWD/.venv" .venv/bin/uv pip install --quiet --no-config --no-deps -e .
else
  echo "uv could not install the lock; falling back to pip (about two minutes)" >&2
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r "$lock"
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
fi
echo "$want" > "$stamp"
