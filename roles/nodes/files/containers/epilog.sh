#!/bin/sh
# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Epilog of slurmd: removes containers without a name that a killed step of this job has left in its user's store. Pyxis
# calls them JOB.STEP; containers that users named stay. Nothing here fails: that would drain the node.

[ "${SLURM_SCRIPT_CONTEXT:-}" = epilog_slurmd ] && [ -n "${SLURM_JOB_USER:-}" ] && [ -n "${SLURM_JOB_ID:-}" ] || exit 0
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin # slurmd gives it none

as_user() {
    home=$(getent passwd "$SLURM_JOB_USER" | cut -d : -f 6)
    runuser -u "$SLURM_JOB_USER" -- env -C / -u XDG_RUNTIME_DIR HOME="$home" timeout -k 1 30 enroot "$@"
}

as_user list 2>/dev/null | grep -E "^pyxis_(${SLURM_JOB_ID}_)?${SLURM_JOB_ID}\.[0-9]+\$" | while read -r name; do
    as_user remove -f -- "$name" </dev/null || logger -t aicluster-containers "job $SLURM_JOB_ID: $name stays"
done
exit 0
