# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The ssh keys of a host: its sshd's, and the one of the cluster's user, which lies off the share.

On a shared home every host could use the keys of all.

Sources: ssh-keygen(1), sshd(8).
"""

from __future__ import annotations

import os
import pwd
import shutil
import stat
from typing import Any, Callable, NamedTuple

from ansible_collections.aicluster.slurm.plugins.module_utils.command import Runner, require
from ansible_collections.aicluster.slurm.plugins.module_utils.config_files import read_whole, write_whole

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


# --- Doing ------------------------------------------------------------------------------------------------------------


class Outcome(NamedTuple):
    """What was not as wanted of the user's key, the commands that changed it, and the facts as they are now."""

    found: list[str]
    commands: list[list[str]]
    facts: dict[str, Any]


def have_key(run: Runner, folder: str, user: str, anew: bool, check_mode: bool) -> Outcome:
    """Have an ed25519 key of this host's own that only this user can use.

    It is made once, and replaced only by one that is asked for `anew`; a public half that is gone is worked out again.
    In a preview the user may be still to come. Raises KeyError, ValueError, OSError and CommandError.
    """
    account = _account(user, check_mode)
    name = f"key_{os.uname().nodename.split('.')[0]}"
    private = private_key(read_whole, folder)
    lacking = anew or "cluster_ssh_key" not in facts(read_whole, folder)
    found = [_lack(private, name, anew)] if lacking else []
    if private and not anew:
        found += unusable(private, account.pw_uid) if account else [f"{private}: no {user}"]
    commands = []
    if found and account and not check_mode:
        if lacking:
            mend = private and not anew
            commands.append(_complete(run, private) if mend else _make(run, folder, name, account))
        _give(private_key(read_whole, folder), account)
    return Outcome(found, commands, facts(read_whole, folder, account.pw_uid if account else None))


def _account(name: str, check_mode: bool) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        if check_mode:
            return None
        raise


def _lack(private: str, name: str, anew: bool) -> str:
    if not private:
        return f"no {name}"
    return f"{os.path.basename(private)} from before" if anew else f"no {os.path.basename(private)}.pub"


def _make(run: Runner, folder: str, name: str, account: pwd.struct_passwd) -> list[str]:
    """Make the key aside and move it in place, in that of others; the command.

    A run that is killed leaves a private key whose public half can be worked out, and never halves of two pairs.
    """
    os.makedirs(folder, mode=FOLDER_MODE, exist_ok=True)
    aside = os.path.join(folder, ".new")
    shutil.rmtree(aside, ignore_errors=True)
    os.mkdir(aside, mode=0o700)
    made = os.path.join(aside, name)
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", made]
    require(run(command))
    os.chmod(made, KEY_MODE)
    os.chown(made, account.pw_uid, account.pw_gid)
    os.chmod(f"{made}.pub", 0o644)
    before = [each for each in os.listdir(folder) if each.startswith("key_")]
    for each in [each for each in before if each.endswith(".pub")]:
        os.unlink(os.path.join(folder, each))
    os.replace(made, os.path.join(folder, name))
    # After it, because it is what tells that there is a key.
    os.replace(f"{made}.pub", os.path.join(folder, f"{name}.pub"))
    for each in [each for each in before if not each.endswith(".pub") and each != name]:
        os.unlink(os.path.join(folder, each))
    os.rmdir(aside)
    return command


def _complete(run: Runner, path: str) -> list[str]:
    """Write the public key of a private one; the command."""
    command = ["ssh-keygen", "-y", "-f", path]
    kind, public = [*require(run(command)).stdout.split(), "none", ""][:2]
    if kind != "ssh-ed25519":
        raise ValueError(f"{path}: found a key of the kind {kind}; accepted: ssh-ed25519, or no such file")
    write_whole(f"{path}.pub", f"{kind} {public} {os.path.basename(path)}\n", 0o644)
    return command


def _give(path: str, account: pwd.struct_passwd) -> None:
    """Let this user, and no other, use a key."""
    os.chmod(os.path.dirname(path), FOLDER_MODE)
    os.chown(path, account.pw_uid, account.pw_gid)
    os.chmod(path, KEY_MODE)


def _public(text: str) -> str:
    words = text.split()
    return words[1] if len(words) > 1 and words[0] == "ssh-ed25519" else ""
