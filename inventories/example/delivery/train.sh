#!/usr/bin/env bash
# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# train.sh PROGRAM [ARGUMENT...]: a Python program on one GPU, in the environment ml. It is on every machine.

set -euo pipefail
exec srun --gres=gpu:1 --time=08:00:00 /data/environments/ml/bin/python "$@"
