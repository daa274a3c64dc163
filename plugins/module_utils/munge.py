# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""munge's key: as it is on a host, and whether munged runs with it (munged(8), as of munge 0.5.15)."""

from __future__ import annotations

import base64
import hashlib
import os
import pwd
import stat
from typing import NamedTuple

from ansible_collections.aicluster.slurm.plugins.module_utils.command import Runner, require
from ansible_collections.aicluster.slurm.plugins.module_utils.config_files import write_whole

KEY = "/etc/munge/munge.key"
MODE = 0o400
USER = "munge"
IS_ACTIVE = ["systemctl", "is-active", "--quiet", "munge"]
RESTART = ["systemctl", "restart", "munge"]


class Outcome(NamedTuple):
    """What was not as wanted, and the commands that changed it."""

    found: list[str]
    commands: list[list[str]]


def decode(text: str) -> bytes:
    """The key's bytes; ValueError, without the text, for what is no key."""
    try:
        key = base64.b64decode("".join(text.split()), validate=True)
    except ValueError:  # binascii.Error among them
        raise ValueError("content: found text that is not Base64; accepted: a munge key in Base64") from None
    if not 32 <= len(key) <= 1024:
        raise ValueError(f"content: found a key of {len(key)} bytes; accepted: 32 to 1024 bytes")
    return key


def read_key(path: str) -> bytes | None:
    """What is in the file, None where there is none."""
    if not os.path.exists(path):
        return None
    with open(path, "rb") as file:
        return file.read()


def rights_differ(path: str, account: pwd.struct_passwd) -> bool:
    """Whether others than munge could read the file, or munge could not."""
    status = os.stat(path)
    return stat.S_IMODE(status.st_mode) != MODE or status.st_uid != account.pw_uid


def _mark(path: str) -> str:
    return os.path.join(os.path.dirname(path), ".restart-munge")


def use_key(run: Runner, path: str, key: bytes, account: pwd.struct_passwd, check_mode: bool) -> Outcome:
    """Put the key in place and have munged use it.

    The mark stands from before the key changes until munged was restarted. Raises OSError and CommandError.
    """
    mark = _mark(path)
    wrong_key = read_key(path) != key
    wrong_rights = not wrong_key and rights_differ(path, account)
    stale = wrong_key or os.path.exists(mark)
    stopped = not stale and run(IS_ACTIVE).rc != 0
    states = {
        "another key": wrong_key,
        f"other rights than {account.pw_name} {MODE:04o}": wrong_rights,
        "munged runs with another key": stale,
        "munged does not run": stopped,
    }
    found = [text for text, true in states.items() if true]
    if check_mode:
        return Outcome(found, [])
    if stale:
        with open(mark, "w", encoding="utf-8"):
            pass
    if wrong_key or wrong_rights:
        # At no moment can anybody else read it. Bytes that are no UTF-8 survive.
        write_whole(path, key.decode("utf-8", "surrogateescape"), MODE, account.pw_uid, account.pw_gid)
    commands = [RESTART] if stale or stopped else []
    for command in commands:
        require(run(command))
    if stale:
        os.unlink(mark)
    return Outcome(found, commands)


def key_time(path: str = KEY) -> float:
    """When the key was written, in seconds since 1970; 0 where there is none."""
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0


def key_in_use(run: Runner, path: str = KEY) -> str:
    """The SHA-256 of the key that munged runs with; empty where `use_key` would have something to do.

    The key is random and long: nobody finds it by its hash.
    """
    try:
        key, account = read_key(path), pwd.getpwnam(USER)
        if key is None or rights_differ(path, account) or os.path.exists(_mark(path)) or run(IS_ACTIVE).rc != 0:
            return ""
    except (OSError, KeyError):
        return ""
    return hashlib.sha256(key).hexdigest()
