# shellcheck shell=bash
# Makes .venv next to this folder if it is not there and installs the project with the extras in $1.
# Sourced by run.sh and test.sh. PYTHON chooses the interpreter (3.11 to 3.13).
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit

wanted="extras=$1 $(cksum <setup.py)"
if [[ "$(cat .venv/installed 2>/dev/null)" != "$wanted" ]]; then
  [[ -x .venv/bin/python ]] || "${PYTHON:-python3}" -m venv .venv
  echo "installing into .venv (minutes, the first time)" >&2
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".$1"
  echo "$wanted" >.venv/installed
fi
