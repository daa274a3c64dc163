# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Passwords that are known to be the right ones, so that crypt(3), which is slow, is not asked for each at each run.

The users are put into a few buckets by their names, and of each bucket a hash is kept that is as slow, over all its
passwords and what shadow(5) has for them. It tells who reads it no more than shadow(5) does: to try a password takes as
long, and all others of the bucket have to be known.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import zlib
from typing import Mapping, NamedTuple, Sequence

from ansible_collections.aicluster.slurm.plugins.module_utils.accounts import PRESENT, Database, User, stored
from ansible_collections.aicluster.slurm.plugins.module_utils.config_files import read_whole, write_whole

BUCKETS = 16

_SALT = 16


class Pair(NamedTuple):
    """A password, and what shadow(5) has for it."""

    password: str
    stored: str


class _Kept(NamedTuple):
    salt: str
    digest: str


def is_right(password: str, hashed: str) -> bool:
    """Whether the password is the one of crypt(5) that is stored. Python's own crypt has been removed."""
    library = ctypes.CDLL("libcrypt.so.1")
    library.crypt.restype = ctypes.c_char_p
    library.crypt.argtypes = (ctypes.c_char_p, ctypes.c_char_p)
    return bool(hashed) and library.crypt(password.encode(), hashed.encode()) == hashed.encode()


def pairs_of(users: Sequence[User], found: Database) -> dict[str, Pair]:
    """The passwords that users are to have, and those that they have."""
    return {
        user.name: Pair(user.password, stored(found.users[user.name]))
        for user in users
        if user.state == PRESENT and user.password is not None and user.name in found.users
    }


def unchanged(pairs: Mapping[str, Pair], record: str) -> set[str]:
    """The users whose password is known to be the one that is stored."""
    kept = _parse(record)
    return {
        name
        for bucket, members in _buckets(pairs).items()
        if bucket in kept and _digest(kept[bucket].salt, members) == kept[bucket].digest
        for name in members
    }


def recorded(pairs: Mapping[str, Pair], known: set[str], record: str) -> str:
    """The record of pairs that are right; those of `known` are as they were in the record before."""
    kept = _parse(record)
    lines = []
    for bucket, members in sorted(_buckets(pairs).items()):
        if not known >= members.keys():
            salt = os.urandom(_SALT).hex()
            kept[bucket] = _Kept(salt, _digest(salt, members))
        lines.append(f"{bucket} {kept[bucket].salt} {kept[bucket].digest}\n")
    return "".join(lines)


def remember(path: str, pairs: Mapping[str, Pair], known: set[str]) -> None:
    """Note passwords that are right. Raises OSError."""
    before = read_whole(path)
    text = recorded(pairs, known, before)
    if text != before:
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        write_whole(path, text, 0o600)


def _buckets(pairs: Mapping[str, Pair]) -> dict[int, dict[str, Pair]]:
    found: dict[int, dict[str, Pair]] = {}
    for name, pair in sorted(pairs.items()):
        found.setdefault(zlib.crc32(name.encode()) % BUCKETS, {})[name] = pair
    return found


def _parse(record: str) -> dict[int, _Kept]:
    rows = (line.split() for line in record.splitlines())
    return {int(row[0]): _Kept(row[1], row[2]) for row in rows if len(row) == 3 and row[0].isdigit()}


def _digest(salt: str, members: Mapping[str, Pair]) -> str:
    text = json.dumps(members, sort_keys=True).encode()
    return hashlib.scrypt(text, salt=salt.encode(), n=2**13, r=8, p=1).hex()
