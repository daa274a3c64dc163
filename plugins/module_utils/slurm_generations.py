# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The configuration that is in use, for heads that are away: on the share, beside slurmctld's state.

A head that comes back takes what is newer than its own before its slurmctld starts. The share can be written by whoever
is root on a host that mounts it, and the configuration says what runs as root; so it is signed with a key that only the
heads have. Standard library only: the heads run this file, too, without Ansible.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from contextlib import contextmanager
from typing import Any, Iterator, Mapping, NamedTuple

FILE = "aicluster.json"
KEY = "heads.key"
NUMBER = "generation"
STORE = "nodes.json"
KEPT = os.path.join("slurm", "kept.json")
MUNGE = "/etc/munge/munge.key"


class Generation(NamedTuple):
    """What the heads have in common."""

    number: int
    texts: Mapping[str, str]
    """The files in Slurm's folder, by name."""
    store: str
    """The text of nodes.json."""
    kept: str = ""
    """The text of slurm/kept.json, what is kept of files that a person wrote; empty where nothing is."""
    munge: str = ""
    """The SHA-256 of the munge key, which is random and long; empty where nobody has told."""
    munge_time: float = 0.0
    """When the head that tells it got that key, in seconds since 1970."""

    def same(self, other: Generation | None) -> bool:
        """Whether both hold the same, whatever their numbers and times."""
        return other is not None and self[1:-1] == other[1:-1]


def own_number(folder: str) -> int:
    """The number of the configuration of this head; 0 before the first one."""
    return int(_read(os.path.join(folder, NUMBER)) or 0)


def own(folder: str, texts: Mapping[str, str]) -> Generation:
    """What this head has, with these files."""
    store, kept = (_read(os.path.join(folder, name)) for name in (STORE, KEPT))
    return Generation(own_number(folder), texts, store, kept, *_munge_key())


def _munge_key() -> tuple[str, float]:
    """The SHA-256 and the time of this host's munge key; nothing where there is none, or none to read."""
    try:
        with open(MUNGE, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest(), os.fstat(file.fileno()).st_mtime
    except OSError:
        return "", 0.0


def has_older_key(other: Generation) -> bool:
    """Whether the munge key changed while this head was away: then nobody understands it."""
    digest, since = _munge_key()
    return bool(digest and other.munge) and digest != other.munge and since < other.munge_time


def take(folder: str, generation: Generation) -> None:
    """Have what comes with the files; the number, which tells that it is there, comes last."""
    kept = os.path.join(folder, KEPT)
    _write(os.path.join(folder, STORE), generation.store, 0o644)
    if generation.kept:
        os.makedirs(os.path.dirname(kept), mode=0o755, exist_ok=True)
        _write(kept, generation.kept, 0o644)
    elif os.path.exists(kept):
        os.unlink(kept)
    keep_number(folder, generation.number)


def keep_store(folder: str, store: Mapping[str, Any], write: bool) -> tuple[str, str]:
    """Keep what is known of the nodes: the text before, and from now on. Without `write` nothing is kept."""
    path = os.path.join(folder, STORE)
    before, after = _read(path), json.dumps(store, indent=4, sort_keys=True) + "\n"
    if write and before != after:
        os.makedirs(folder, mode=0o755, exist_ok=True)
        _write(path, after, 0o644)
    return before, after


def own_key(folder: str) -> str:
    """The key of the heads; empty where there is none yet."""
    return _read(os.path.join(folder, KEY)).strip()


def make_key(folder: str) -> str:
    """The key of the heads, made where there is none yet."""
    key = own_key(folder)
    if not key:
        key = secrets.token_hex(32)
        keep_key(folder, key)
    return key


def keep_key(folder: str, key: str) -> None:
    """Have this key."""
    _write(os.path.join(folder, KEY), key + "\n", 0o400)


def keep_number(folder: str, number: int) -> None:
    """Have this number."""
    _write(os.path.join(folder, NUMBER), f"{number}\n", 0o644)


def publish(location: str, key: str, generation: Generation) -> None:
    """Leave it for the heads that are away. Raises OSError."""
    body = json.dumps(generation._asdict(), sort_keys=True)
    with owner_of(location):
        _write(os.path.join(location, FILE), json.dumps({"body": body, "signature": _sign(key, body)}), 0o600)


def published(location: str, key: str) -> Generation | None:
    """What was left; None where there is nothing, or nothing that a head wrote. Raises OSError."""
    if not key or not os.path.isdir(location):
        return None
    with owner_of(location):
        text = _read(os.path.join(location, FILE))
    try:
        signed: dict[str, Any] = json.loads(text)
        if not hmac.compare_digest(_sign(key, signed["body"]), signed["signature"]):
            return None
        return Generation(**json.loads(signed["body"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _sign(key: str, text: str) -> str:
    return hmac.new(key.encode(), text.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()


@contextmanager
def owner_of(folder: str) -> Iterator[None]:
    """Act as the owner of a folder: on a share root may be nobody."""
    owner = os.stat(folder).st_uid
    if os.geteuid() != 0 or owner == 0:
        yield
        return
    os.seteuid(owner)
    try:
        yield
    finally:
        os.seteuid(0)


def _read(path: str) -> str:
    if not os.path.exists(path):
        return ""
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


def _write(path: str, text: str, mode: int) -> None:
    """On the disk before it takes the old one's place."""
    aside = f"{path}.new"
    if os.path.exists(aside):
        os.unlink(aside)
    handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)
