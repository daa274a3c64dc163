# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Before slurmctld starts: takes the configuration that the other heads use, where it is newer than this head's.

take_newer.py FOLDER_OF_SLURM_CONF STATE_PATH MARK. Runs by systemd, without Ansible; the two modules lie beside it. The
mark is a file that keeps slurmctld from starting: it is there where this head's munge key is older than the others'.
"""

import os
import re
import sys
import time

import config_files
import slurm_generations


def since_boot(path: str) -> bool:
    """Whether the file is there, and was made since this machine started: what a power cut left behind is older."""
    uptime = float(config_files.read_whole("/proc/uptime").split()[0])
    return os.path.exists(path) and os.stat(path).st_mtime > time.time() - uptime


def main(folder: str, state_path: str, mark: str) -> str:
    """Take it; says what was taken."""
    if os.path.exists(mark):
        os.unlink(mark)
    if since_boot(f"{state_path}/slurm/pending"):
        return "the configuration is being changed"
    conf = config_files.read_whole(f"{folder}/slurm.conf")
    location = re.findall(r"^\s*StateSaveLocation\s*=\s*(\S+)", conf, re.IGNORECASE | re.MULTILINE)
    if not location:
        return "no StateSaveLocation"
    newer = slurm_generations.published(location[-1], slurm_generations.own_key(state_path))
    if newer and slurm_generations.has_older_key(newer):
        # It would take control from a controller that it does not understand, and both would write the same state.
        os.makedirs(os.path.dirname(mark), mode=0o755, exist_ok=True)
        with open(mark, "w", encoding="utf-8"):
            pass
        return f"{slurm_generations.MUNGE}: found an older key than the other heads'; accepted: theirs, by site.yml"
    if newer is None or newer.number <= slurm_generations.own_number(state_path):
        return "this head has the newest configuration"
    config_files.install(folder, state_path, newer.texts)
    slurm_generations.take(state_path, newer)
    return f"took configuration {newer.number} of the other heads"


if __name__ == "__main__":
    print(main(*sys.argv[1:]))
