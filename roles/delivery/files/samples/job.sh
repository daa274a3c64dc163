#!/usr/bin/env bash
# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# A job to start from: sbatch job.sh
#SBATCH --job-name=hello
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --time=00:05:00
#SBATCH --output=%x-%j.log

set -euo pipefail
echo "job $SLURM_JOB_ID of $USER began on $SLURMD_NODENAME"
srun hostname
# With a GPU: sbatch --gres=gpu:1 job.sh
echo "GPUs of this job: ${CUDA_VISIBLE_DEVICES:-none}"
echo "done"
