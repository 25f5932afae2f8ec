# shellcheck shell=bash
# Makes .venv next to this folder if it is not there and installs the project with the extras in $1.
# Sourced by run.sh and test.sh. PYTHON chooses the interpreter (3.11 to 3.13).
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit

if [[ ${PYTHON:-} && -d .venv ]]; then
  version='import sys; print(sys.version)'
  asked=$("$PYTHON" -c "$version")
  [[ $asked == "$(.venv/bin/python -c "$version" 2>/dev/null)" ]] || rm -rf .venv # of another interpreter
fi
made=$(cksum <setup.py)
# A line for every set of extras that is installed.
if ! grep -qxF "extras=$1 $made" .venv/installed 2>/dev/null; then
  # Without pip it is what a setup left that was stopped or had no python3-venv; nor does an old Python do.
  .venv/bin/python -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
    "${PYTHON:-python3}" -m venv --clear .venv
  echo "installing into .venv (minutes, the first time)" >&2
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".$1"
  known=$(grep -F " $made" .venv/installed 2>/dev/null || true) # not those of another setup.py
  printf '%s\n' ${known:+"$known"} "extras=$1 $made" >.venv/installed
fi
