# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files that are delivered whole: what differs from what is there, and how it becomes the same."""

from __future__ import annotations

import base64
import binascii
import errno
import grp
import json
import os
import pwd
import stat
import tempfile
from dataclasses import dataclass
from typing import Any, Callable, Iterable, Mapping, Sequence

FILE, FOLDER, ABSENT = "file", "directory", "absent"
NEW = "new"

_ASIDE = ".aicluster-"


class DeliveryError(Exception):
    """A file that cannot be delivered."""


@dataclass(frozen=True)
class Wanted:
    """A file or folder as it has to be."""

    path: str
    state: str
    content: bytes
    mode: int
    uid: int
    gid: int


@dataclass(frozen=True)
class Change:
    """What differs, in a word, and what has to be done."""

    wanted: Wanted
    what: str


def wanted_of(item: Mapping[str, Any]) -> Wanted:
    """One item of the module's options, checked; DeliveryError."""
    path = item["path"]
    if not path.startswith("/") or os.path.normpath(path) != path:
        raise DeliveryError(f"path: found {path}; accepted: an absolute path without a slash at its end")
    try:
        content = base64.b64decode(item.get("content") or "", validate=True)
    except (binascii.Error, ValueError):
        raise DeliveryError(f"{path}: content: found text that is not Base64") from None
    try:
        mode = int(str(item.get("mode") or "0755"), 8)
    except ValueError:
        raise DeliveryError(f"{path}: mode: found {item['mode']}; accepted: an octal number such as 0755") from None
    return Wanted(
        path,
        item.get("state") or FILE,
        content,
        mode,
        _id_of(path, "owner", item.get("owner"), lambda name: pwd.getpwnam(name).pw_uid),
        _id_of(path, "group", item.get("group"), lambda name: grp.getgrnam(name).gr_gid),
    )


def _id_of(path: str, key: str, name: Any, number_of: Callable[[str], int]) -> int:
    text = str(name or "0")
    if text.isdigit():
        return int(text)
    try:
        return number_of(text)
    except KeyError:
        raise DeliveryError(f"{path}: {key}: found {text}, which this host does not know") from None


def changes(wanted: Sequence[Wanted], own: bool) -> list[Change]:
    """What differs, in the order in which it has to be done. `own` is whether owners can be set."""
    return [Change(item, what) for item in wanted for what in [_difference(item, own)] if what]


def _difference(item: Wanted, own: bool) -> str:
    try:
        there = os.lstat(item.path)
    except (FileNotFoundError, NotADirectoryError):
        return "" if item.state == ABSENT else NEW
    if item.state == ABSENT:
        return "remove"
    is_folder = stat.S_ISDIR(there.st_mode)
    # A link would lead somewhere else; a folder is never replaced by a file, nor a file by a folder.
    if is_folder != (item.state == FOLDER) or not (is_folder or stat.S_ISREG(there.st_mode)):
        raise DeliveryError(
            f"{item.path}: found something else than a {item.state}; accepted: a {item.state}, or nothing"
        )
    if item.state == FILE and _read(item.path) != item.content:
        return "content"
    if stat.S_IMODE(there.st_mode) != item.mode:
        return "mode"
    return "owner" if own and (there.st_uid, there.st_gid) != (item.uid, item.gid) else ""


def apply(change: Change, own: bool) -> None:
    """Do what the change says."""
    item = change.wanted
    if item.state == ABSENT:
        if os.path.isdir(item.path) and not os.path.islink(item.path):
            os.rmdir(item.path)
        else:
            os.unlink(item.path)
    elif item.state == FOLDER:
        os.makedirs(item.path, exist_ok=True)
        _rights(item.path, item, own)
    elif change.what in ("mode", "owner"):
        _rights(item.path, item, own)
    else:
        _write(item, own)


def _write(item: Wanted, own: bool) -> None:
    """On the disk, with its rights, before it takes the old one's place."""
    folder = os.path.dirname(item.path)
    os.makedirs(folder, exist_ok=True)
    handle, aside = tempfile.mkstemp(dir=folder, prefix=_ASIDE)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(item.content)
            file.flush()
            os.fsync(file.fileno())
        _rights(aside, item, own)
        os.replace(aside, item.path)
    except BaseException:
        os.unlink(aside)
        raise


def _rights(path: str, item: Wanted, own: bool) -> None:
    if own:
        os.chown(path, item.uid, item.gid)
    # After the owner: chown takes set-user-id bits away.
    os.chmod(path, item.mode)


def no_longer_wanted(before: Iterable[str], wanted: Iterable[Wanted]) -> list[Wanted]:
    """What an earlier run delivered and nobody wants now, files before the folders that they are in."""
    kept = {item.path for item in wanted}
    return [Wanted(path, ABSENT, b"", 0, 0, 0) for path in sorted(set(before) - kept, reverse=True)]


def is_ours(change: Change) -> bool:
    """Whether removing it takes away nothing of others: a folder with something in it stays."""
    path = change.wanted.path
    return not (change.what == "remove" and os.path.isdir(path) and not os.path.islink(path) and os.listdir(path))


def read_manifest(path: str) -> list[str]:
    """The paths that an earlier run delivered."""
    try:
        with open(path, encoding="utf-8") as file:
            return [str(name) for name in json.load(file)]
    except (FileNotFoundError, ValueError):
        return []


def explain(error: OSError) -> str:
    """What the error means for who reads it."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{error.filename or 'the file system'}: no space left; nothing was half written there"
    return str(error)


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
