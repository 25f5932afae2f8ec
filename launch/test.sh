#!/usr/bin/env bash
# Sets everything up, checks style and types and runs the tests: bash launch/test.sh [flags of pytest]
# EXTRAS=[test,reference] adds PyTorch and with it the tests against third_party/pytorch_reference.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$here/setup.sh" "${EXTRAS:-[test]}"
.venv/bin/ruff check .
.venv/bin/mypy
exec .venv/bin/python -m pytest "$@"
