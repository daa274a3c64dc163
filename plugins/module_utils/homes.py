# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Homes of users on a host: which of them are to be made, and which belong to somebody else."""

from __future__ import annotations

import os
from typing import Mapping, Sequence

from ansible_collections.aicluster.slurm.plugins.module_utils.accounts import (
    ABSENT,
    PRESENT,
    AccountsError,
    Database,
    User,
)

LOCAL = ("zfs", "overlay", "tmpfs")
"""File systems of this host whose source is no device."""


def given(users: Sequence[User], found: Database) -> list[User]:
    """Those who get a home of this host that they do not have: they come, or it is another one.

    Who is locked keeps the one that is there.
    """
    return [
        user
        for user in users
        if user.state != ABSENT and user.create_home
        if user.name not in found.users or (user.state == PRESENT and found.users[user.name].home != user.home)
    ]


def left(users: Sequence[User], found: Database, before: Mapping[str, int], mounts: str) -> list[User]:
    """Those who have an account, and whose home may be missing: a run was killed, a disk was full, or somebody took it.

    A home that lies on another host is looked for only where no run came to its end: its server may be dead, and who
    looks would wait for it.
    """
    points = mounted(mounts)
    return [
        user
        for user in users
        if user.state == PRESENT and user.create_home and user.name in found.users
        if user.name not in before or found.users[user.name].home != user.home or on_this_host(user.home, points)
    ]


def mounted(mounts: str) -> dict[str, bool]:
    """Where something is mounted, and whether it is of this host, from /proc/self/mounts; the last one counts."""
    rows = (line.split(" ") for line in mounts.splitlines())
    return {
        row[1].replace("\\040", " "): row[1] == "/" or row[0].startswith("/dev/") or row[2] in LOCAL
        for row in rows
        if len(row) > 3
    }


def on_this_host(path: str, points: Mapping[str, bool]) -> bool:
    """Whether a folder is on a disk of this host."""
    while path not in points and path != "/":
        path = os.path.dirname(path)
    return points.get(path, True)


def half_made(home: str) -> bool:
    """Whether it is as useradd leaves it that is killed before it gives it away."""
    return os.stat(home).st_uid == 0 and not os.listdir(home)


def refuse(users: Sequence[User], found: Database) -> None:
    """The homes of others that somebody would be given: such as of the same person with another number."""
    wrong = []
    for user in given(users, found):
        if os.path.isdir(user.home) and not half_made(user.home):
            owner = os.stat(user.home).st_uid
            if owner != user.uid:
                that = "that uid, " if owner else ""
                wrong.append(
                    f"user {user.name}: found the home {user.home} of the uid {owner}; accepted: {that}another"
                    f" home, or all of it given to {user.uid} by hand"
                )
    if wrong:
        raise AccountsError("\n".join(wrong))


def amiss(
    users: Sequence[User], found: Database, recorded: Mapping[str, int], mounts: str
) -> tuple[list[str], list[str]]:
    """Who has an account on this host and no home; and whose home was made, and not given to them."""
    without = left(users, found, recorded, mounts)
    doubtful = [
        *given(users, found),
        *(user for user in without if user.name not in recorded),
    ]
    bare = dict.fromkeys(user.name for user in doubtful if os.path.isdir(user.home) and half_made(user.home))
    return [user.name for user in without if not os.path.isdir(user.home)], [*bare]
