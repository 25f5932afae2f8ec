#!/usr/bin/env bash
# Sets everything up, checks style and types, builds the site and runs the tests: bash launch/test.sh [flags of pytest]
# WORKERS=1 runs them one after the other, 3 keep two cores busy while some wait. EXTRAS=[test,reference]
# adds PyTorch and with it the tests against third_party/pytorch_reference.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=launch/setup.sh
source "$here/setup.sh" "${EXTRAS:-[test]}"
.venv/bin/ruff check .
.venv/bin/mypy
.venv/bin/lint-imports --no-logo
NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict
exec .venv/bin/python -m pytest -n "${WORKERS:-3}" --dist worksteal "$@"
