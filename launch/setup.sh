# shellcheck shell=bash
# Makes .venv next to this folder if it is not there and installs the project with the extras in $1.
# Sourced by run.sh and test.sh. PYTHON chooses the interpreter (3.11 to 3.13).
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit

wanted="extras=$1 $(cksum <setup.py)"
if [[ "$(cat .venv/installed 2>/dev/null)" != "$wanted" ]]; then
  # Without pip it is what a setup left that was stopped or had no python3-venv; nor does an old Python do.
  .venv/bin/python -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
    "${PYTHON:-python3}" -m venv --clear .venv
  echo "installing into .venv (minutes, the first time)" >&2
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".$1"
  echo "$wanted" >.venv/installed
fi
