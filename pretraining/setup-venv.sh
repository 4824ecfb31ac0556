#!/bin/sh
# Makes .cache/venv with the packages of requirements.txt; does nothing if they are there already.
set -eu
root=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
venv=$root/.cache/venv
wanted=$(sha256sum "$root/pretraining/requirements.txt" | cut -d ' ' -f 1)
if [ -x "$venv/bin/python" ] && [ "$(cat "$venv/requirements.sha256" 2>/dev/null || true)" = "$wanted" ]; then
  exit 0
fi
python=${PYTHON:-python3}
if ! "$python" -c 'import sys, venv; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
  echo "error: $python is missing, older than 3.10 or has no venv module: install Python 3.10+ with venv, or set PYTHON" >&2
  exit 2
fi
if [ ! -x "$venv/bin/python" ]; then
  echo "making $venv" >&2
  mkdir -p "$root/.cache"
  "$python" -m venv "$venv"
fi
"$venv/bin/python" -m pip install -q -r "$root/pretraining/requirements.txt"
echo "$wanted" >"$venv/requirements.sha256"
