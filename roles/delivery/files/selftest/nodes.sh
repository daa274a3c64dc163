#!/usr/bin/env bash
# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# nodes.sh "NODE NODE...": one task runs on each of the nodes of this job, as the same ordinary user everywhere.

set -euo pipefail
# shellcheck disable=SC2016 # for the shell of each node
found=$(srun sh -c 'echo "$SLURMD_NODENAME $(id -u)"' | sort)
printf '%s\n' "$found"
names=$(cut -d ' ' -f 1 <<<"$found" | paste -s -d ' ')
[[ $names == "$1" ]] || { echo "FAIL: asked for $1, a task ran on ${names:-none}"; exit 1; }
uids=$(cut -d ' ' -f 2 <<<"$found" | sort -u | paste -s -d ' ')
[[ $uids == "$(id -u)" && $uids != 0 ]] || { echo "FAIL: the user has the numbers $uids on the nodes"; exit 1; }
