#!/usr/bin/env bash
# Measures the service: bash launch/load_test.sh WORKDIR [PORT]
# WORKDIR is what a running `python -m grasp_jax.serve --workdir=WORKDIR --port=PORT` serves (default port 8000); the
# histories of its users are what is asked. The generator is wrk (Debian: apt-get install wrk) and asks 127.0.0.1 alone,
# one minute in all. SECONDS_EACH changes how long a step takes (default 10), RATE the load of the third step (default
# 330 a second); the fourth step is ten times that, which the service answers with 503 as far as it must.
set -euo pipefail
if (($# < 1)) || [[ ! -d $1/prepare ]]; then
  echo "error: bash launch/load_test.sh WORKDIR [PORT], where WORKDIR has a folder prepare/" >&2
  exit 2
fi
workdir=$1 url=http://127.0.0.1:${2:-8000} each=${SECONDS_EACH:-10} rate=${RATE:-330}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${PYTHON:-$here/../.venv/bin/python}
command -v wrk >/dev/null || { echo "error: wrk is not installed; apt-get install wrk" >&2; exit 2; }
curl -sf "$url/health" >/dev/null || { echo "error: nothing is ready at $url; start python -m grasp_jax.serve" >&2; exit 2; }

BODIES=$(mktemp)
export BODIES
trap 'rm -f "$BODIES"' EXIT
"$python" - "$workdir/prepare" >"$BODIES" <<'PYTHON'
import json
import pathlib
import sys

import numpy as np

folder = pathlib.Path(sys.argv[1])
indptr, items = np.load(folder / 'indptr.npy'), np.load(folder / 'items.npy')
ids = [json.loads(line)['id'] for line in (folder / 'items.jsonl').open(encoding='utf-8')]
for user in np.random.default_rng(0).permutation(len(indptr) - 1)[:5000]:
    history = [ids[item - 1] for item in items[indptr[user]:indptr[user + 1]]][-100:]
    print(json.dumps({'history': history, 'k': 10}))
PYTHON

step() { # NAME CONNECTIONS [PACE]
  printf '%-28s' "$1"
  CONNECTIONS=$2 PACE=${3:-} wrk -t1 -c"$2" -d"${each}s" --timeout 5s -s "$here/load.lua" "$url" | tail -1
}
step 'warm up, 1 at a time' 1
step '1 at a time' 1
step '16 at a time' 16
step "$rate a second" 60 "$rate"
step "$((rate * 10)) a second" 600 "$((rate * 10))"
step "$rate a second again" 60 "$rate"
