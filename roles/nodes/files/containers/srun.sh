#!/bin/sh
# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
exec /usr/bin/python3 -E -s /usr/local/lib/aicluster/containers/commands.py srun.sh "$@"
