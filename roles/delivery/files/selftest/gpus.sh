#!/usr/bin/env bash
# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# gpus.sh COUNT FOLDER: as many job steps at once as the node has GPUs; each is given one, and none the one of another.

set -euo pipefail
export COUNT=$1 FOLDER=$2
mkdir -p "$FOLDER"
trap 'rm -rf "$FOLDER"' EXIT

# shellcheck disable=SC2016 # for the shell of each step
step='
uuid=$(if command -v nvidia-smi >/dev/null; then timeout 30 nvidia-smi --query-gpu=uuid --format=csv,noheader; fi | paste -s -d ,)
echo "${SLURM_STEP_GPUS-none} ${uuid:-no-tool}" > "$FOLDER/$NUMBER.new"
mv "$FOLDER/$NUMBER.new" "$FOLDER/$NUMBER"
# Nobody lets go of his GPU before all others have one.
for try in $(seq 120); do
    test "$(ls "$FOLDER" | grep -vc new)" -ge "$COUNT" && exit 0
    sleep 0.5
done
echo "FAIL: step $NUMBER had its GPU for 60 s, and the others had none"
exit 1
'
steps=()
for ((number = 1; number <= COUNT; number++)); do
    NUMBER=$number srun --exact --nodes=1 --ntasks=1 --gres=gpu:1 sh -c "$step" &
    steps+=($!)
done
failed=0
for step in "${steps[@]}"; do wait "$step" || failed=1; done

given=$(cat "$FOLDER"/[0-9]* | sort -n)
printf 'GPU and what nvidia-smi shows of it, step by step:\n%s\n' "$given"
distinct=$(cut -d ' ' -f 1 <<<"$given" | sort -u | grep -c '^[0-9][0-9]*$' || true)
((distinct == COUNT)) || { echo "FAIL: $COUNT steps at once were given $distinct different GPUs"; failed=1; }
exit "$failed"
