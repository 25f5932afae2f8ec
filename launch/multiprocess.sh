#!/usr/bin/env bash
# Trains with N processes on this machine: bash launch/multiprocess.sh N [flags of grasp_jax.main]
#   bash launch/multiprocess.sh 2 --config=configs/beauty.py:minilm --workdir=runs/two
#   MODULE=grasp_jax.recommend bash launch/multiprocess.sh 2 --workdir=runs/two --out=lists.parquet
# One GPU each where there are N, else CPUs that talk through Gloo. Expect the log and the report of process 0; all end
# with its exit code. When one dies the others are ended and all are started again, from the last checkpoint, at most
# RESTARTS times (default 3). SIGTERM to this script or to any process ends all of them for good: in training they save
# and end with 0, before and after it they end with 143; who then waits for answers that are paid for has GRACE seconds
# (default 60).
set -euo pipefail
if (($# < 1)); then
  echo "error: bash launch/multiprocess.sh N [flags of grasp_jax.main]" >&2
  exit 2
fi
count=$1
shift
[[ $count =~ ^[1-9][0-9]*$ ]] || { echo "error: '$count' is no number of processes" >&2; exit 2; }
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-.venv/bin/python}
[[ -x $(command -v "$python") ]] || { echo "error: $python is not there; bash launch/run.sh makes it, or set PYTHON" >&2; exit 2; }

gpus=$(nvidia-smi --list-gpus 2>/dev/null | wc -l || true)
mapfile -t devices < <(seq 0 $((gpus - 1)))
if [[ -n ${CUDA_VISIBLE_DEVICES+set} ]]; then # those that this machine lends us, by number or name
  IFS=, read -ra devices <<<"$CUDA_VISIBLE_DEVICES"
  ((gpus == 0)) || gpus=${#devices[@]}
fi
if ((gpus < count)); then
  export JAX_PLATFORMS=cpu
  # XLA's threads wait for each other in collectives; with fewer of them than that takes, they wait for ever.
  export NPROC=${NPROC:-$(($(nproc) > 4 ? $(nproc) : 4))}
fi

free_port() { "$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

pids=()
asked=''
source launch/stopped_code.sh "$@"
forward() { asked=yes; kill -TERM "${pids[@]}" 2>/dev/null || true; }
end_rest() { # those that are left would wait for the one that is gone
  if ((code != 143)); then kill -KILL "${pids[@]}" 2>/dev/null || true; return; fi
  [[ $asked ]] || kill -TERM "${pids[@]}" 2>/dev/null || true # a second one would tell them not to wait
  (sleep "${GRACE:-60}"; kill -KILL "${pids[@]}") >/dev/null 2>&1 &
  late=$!
  disown # ends without a message
}
trap forward TERM INT

for ((try = 0; ; try++)); do
  [[ ! $asked ]] || exit 143
  address=127.0.0.1:$(free_port)
  pids=()
  for ((number = 0; number < count; number++)); do
    ((gpus < count)) || export CUDA_VISIBLE_DEVICES=${devices[number]}
    "$python" -m "${MODULE:-grasp_jax.main}" --coordinator="$address" --processes="$count" --process="$number" "$@" &
    pids+=($!)
  done
  [[ ! $asked ]] || forward # the signal came before all of them were there
  code=0
  saved=0
  while ((${#pids[@]})); do
    sleep 0.1 || true # not `wait -n`, which says nothing of those that a signal killed before it was called
    for place in "${!pids[@]}"; do
      ! kill -0 "${pids[place]}" 2>/dev/null || continue
      status=0
      wait "${pids[place]}" || status=$?
      unset "pids[place]"
      if [[ $status == "$stopped" ]]; then
        saved=$status
      elif ((status && !code)); then
        code=$status
        end_rest
      fi
    done
  done
  [[ -z ${late:-} ]] || kill "$late" 2>/dev/null || true
  ((code)) || code=$saved
  # 0: done, or saved, as is --stopped_code. 2: an error of the user's. 143: SIGTERM. Else: once more.
  if [[ $asked || $code == "$stopped" ]] || ((code == 0 || code == 2 || code == 143 || try >= ${RESTARTS:-3})); then exit "$code"; fi
  echo "a process ended with $code; all start again from the last checkpoint ($((try + 1)) of ${RESTARTS:-3})" >&2
done
