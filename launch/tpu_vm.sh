#!/usr/bin/env bash
# Runs on every host of a TPU slice (Cloud TPU VM), from your own machine, where gcloud is set up:
#   bash launch/tpu_vm.sh NAME ZONE gs://BUCKET/grasp [flags of grasp_jax.main]
#   bash launch/tpu_vm.sh my-v5e-16 us-west4-a gs://my-bucket/grasp --config=configs/beauty.py:minilm
# Copies what is committed here to every host, installs it there with the extra [tpu], mounts the bucket with gcsfuse
# (the folder that all hosts see, which their service account must be allowed to write: data in BUCKET/data, runs in
# BUCKET/runs/NAME, so --workdir is not for you to give) and starts the same command everywhere; JAX finds the hosts by
# itself. Expect the log of every host, of which host 0's has progress and report. After a preemption make the slice
# again and give the same command: it goes on from the last checkpoint. DRY_RUN=1 prints what would be run.
set -euo pipefail
if (($# < 3)); then
  echo "error: bash launch/tpu_vm.sh NAME ZONE gs://BUCKET/FOLDER [flags of grasp_jax.main]" >&2
  exit 2
fi
name=$1 zone=$2 bucket=${3#gs://}
shift 3
cd "$(dirname "${BASH_SOURCE[0]}")/.."

call() { if [[ ${DRY_RUN:-} ]]; then printf '%q ' "$@" && echo; else "$@"; fi; }
everywhere() { call gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker=all --command="$1"; }

for flag in "$@"; do
  [[ ! $flag =~ ^--?workdir ]] || { echo "error: $flag: the work folder is BUCKET/runs/$name, which all hosts see" >&2; exit 2; }
done
[[ -z $(git status --porcelain) ]] || echo "changes that are not committed stay here" >&2
mount=(gcsfuse --implicit-dirs)
[[ $bucket != */* ]] || mount+=("--only-dir=${bucket#*/}")
mount+=("${bucket%%/*}" shared)
archive=$(mktemp --suffix=.tar.gz)
trap 'rm -f "$archive"' EXIT
git archive --format=tar.gz --output="$archive" HEAD

call gcloud compute tpus tpu-vm scp "$archive" "$name:grasp_jax.tar.gz" --zone="$zone" --worker=all
# What is left of an earlier commit goes, what is installed stays.
everywhere "mkdir -p grasp_jax shared && find grasp_jax -mindepth 1 -maxdepth 1 ! -name .venv -exec rm -rf {} + && tar xzf grasp_jax.tar.gz -C grasp_jax"
everywhere "if mountpoint -q shared; then fusermount -u shared; fi && $(printf '%q ' "${mount[@]}")"
flags=$(printf '%q ' --coordinator=auto --workdir="../shared/runs/$name" "$@")
everywhere "cd grasp_jax && GRASP_JAX_DATA=../shared/data EXTRAS=[tpu] bash launch/run.sh $flags"
