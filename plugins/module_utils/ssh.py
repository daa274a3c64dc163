# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The ssh keys of a host, as facts: its sshd's, and the one of the cluster's user, which lies off the share.

Sources: ssh-keygen(1), sshd(8).
"""

from __future__ import annotations

import os
from typing import Any, Callable

FOLDER = "/etc/ssh/cluster"
HOST_KEY = "/etc/ssh/ssh_host_ed25519_key.pub"


def facts(read: Callable[[str], str], folder: str = FOLDER) -> dict[str, Any]:
    """The public keys without their kind: sshd's under the name of Ansible's own fact, and the user's with its path."""
    found: dict[str, Any] = {}
    host = _public(read(HOST_KEY))
    if host:
        found["ssh_host_key_ed25519_public"] = host
    # Named after what the host was called when the key was made; it stays when that changes.
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    for name in names:
        public = _public(read(f"{folder}/{name}")) if name.startswith("key_") and name.endswith(".pub") else ""
        if public and os.path.exists(f"{folder}/{name[:-4]}"):
            found["cluster_ssh_key"] = {"path": f"{folder}/{name[:-4]}", "public": public}
            break
    return found


def _public(text: str) -> str:
    words = text.split()
    return words[1] if len(words) > 1 and words[0] == "ssh-ed25519" else ""
