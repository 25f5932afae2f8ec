#!/usr/bin/env bash
# Sets everything up and runs the main command: bash launch/run.sh [flags of grasp_jax.main]
# Without flags it runs the demo. EXTRAS=[cuda12] installs an extra along with it, for example for a GPU.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=launch/setup.sh
source "$here/setup.sh" "${EXTRAS:-}"
[[ $# -gt 0 ]] || set -- --config=configs/demo.py
exec .venv/bin/python -m grasp_jax.main "$@"
