# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The ssh keys of a host, as facts: its sshd's, and the one of the cluster's user, which lies off the share.

Sources: ssh-keygen(1), sshd(8).
"""

from __future__ import annotations

import os
import stat
from typing import Any, Callable

FOLDER = "/etc/ssh/cluster"
HOST_KEY = "/etc/ssh/ssh_host_ed25519_key.pub"


KEY_MODE = 0o400
FOLDER_MODE = 0o755


def facts(read: Callable[[str], str], folder: str = FOLDER, owner: int | None = None) -> dict[str, Any]:
    """The public keys without their kind: sshd's under the name of Ansible's own fact, and the user's with its path.

    A key that `owner`, if one is given, could not use counts as none.
    """
    found: dict[str, Any] = {}
    host = _public(read(HOST_KEY))
    if host:
        found["ssh_host_key_ed25519_public"] = host
    path = private_key(read, folder)
    public = _public(read(f"{path}.pub")) if path else ""
    if public and (owner is None or not unusable(path, owner)):
        found["cluster_ssh_key"] = {"path": path, "public": public}
    return found


def private_key(read: Callable[[str], str], folder: str) -> str:
    """The private key that counts: the first that has a public one, else the first; empty where there is none."""
    # Named after what the host was called when the key was made; it stays when that changes.
    names = sorted(os.listdir(folder)) if os.access(folder, os.R_OK | os.X_OK) else []
    paths = [f"{folder}/{name}" for name in names if name.startswith("key_") and not name.endswith(".pub")]
    return next((path for path in paths if _public(read(f"{path}.pub"))), next(iter(paths), ""))


def unusable(path: str, owner: int) -> list[str]:
    """What keeps a user from a private key. Raises OSError."""
    found = []
    folder, key = (os.stat(each) for each in (os.path.dirname(path), path))
    if stat.S_IMODE(folder.st_mode) != FOLDER_MODE:
        found.append(f"{os.path.dirname(path)}: mode {stat.S_IMODE(folder.st_mode):04o}")
    if key.st_uid != owner:
        found.append(f"{path}: owner {key.st_uid}")
    if stat.S_IMODE(key.st_mode) != KEY_MODE:
        found.append(f"{path}: mode {stat.S_IMODE(key.st_mode):04o}")
    return found


def _public(text: str) -> str:
    words = text.split()
    return words[1] if len(words) > 1 and words[0] == "ssh-ed25519" else ""
