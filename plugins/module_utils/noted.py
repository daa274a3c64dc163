# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was found as it should be, so that the next run need not send all of it to the host again.

A note has the digest of what was asked for, and stamps of the files as they were when all was right. It counts as long
as no stamp has changed and the units run. It lies under /run: after a boot everything is looked at once.
"""

from __future__ import annotations

import json
import os
import stat
from typing import Any, Iterable, Mapping, Sequence

from ansible_collections.aicluster.slurm.plugins.module_utils import services
from ansible_collections.aicluster.slurm.plugins.module_utils.command import Runner
from ansible_collections.aicluster.slurm.plugins.module_utils.config_files import read_whole, write_whole

FOLDER = "/run/aicluster/noted"

TICK = 0.02
"""Seconds within which a second change of a file may leave its time as it is, with time to spare."""

# What names stand for.
_NUMBERS = ("/etc/passwd", "/etc/group")


def stamps(paths: Iterable[str]) -> dict[str, str]:
    """By path, what is another one after any change; nobody can set the time of a change (inode(7), ctime)."""
    return {path: _stamp(path) for path in (*paths, *_NUMBERS)}


def _stamp(path: str) -> str:
    parts = []
    for look in (os.lstat, os.stat):
        try:
            status = look(path)
        except OSError:
            parts.append("-")
            continue
        rights = f"{status.st_ino} {status.st_uid} {status.st_gid} {status.st_mode}"
        # What comes into a folder, or goes, does not change the folder.
        parts.append(rights if stat.S_ISDIR(status.st_mode) else f"{rights} {status.st_size} {status.st_ctime_ns}")
    return " / ".join(parts)


def keep(name: str, digest: str, stamped: Mapping[str, str], units: Iterable[str]) -> None:
    """Note that what was asked for is as it should be. Raises OSError."""
    os.makedirs(FOLDER, mode=0o755, exist_ok=True)
    note = {"digest": digest, "stamps": dict(stamped), "units": list(units)}
    write_whole(os.path.join(FOLDER, name), json.dumps(note), 0o600)


def drop(name: str) -> None:
    """Forget it: something is about to change. Raises OSError."""
    path = os.path.join(FOLDER, name)
    if os.path.exists(path):
        os.unlink(path)


def standing(run: Runner) -> dict[str, str]:
    """The digests of those notes that still count, by name."""
    notes = {name: _read(os.path.join(FOLDER, name)) for name in _names()}
    notes = {name: note for name, note in notes.items() if note and stamps(note["stamps"]) == note["stamps"]}
    wanted = [
        services.Service(unit) for unit in dict.fromkeys(each for note in notes.values() for each in note["units"])
    ]
    amiss = _amiss(run, wanted) if wanted else set()
    return {name: note["digest"] for name, note in notes.items() if not amiss.intersection(note["units"])}


def _amiss(run: Runner, wanted: Sequence[services.Service]) -> set[str]:
    """The units about which something would have to be done."""
    try:
        found = services.parse(wanted, run(services.show(wanted)).stdout)
    except ValueError:
        found = {}
    return {
        each.name
        for each in wanted
        if services.steps([each], {each.name: found.get(each.name, services.ABSENT)}, [], services.MARKS)
    }


def _names() -> list[str]:
    return sorted(os.listdir(FOLDER)) if os.path.isdir(FOLDER) else []


def _read(path: str) -> dict[str, Any]:
    """A note; empty for what is none, such as one half written when the power went, or one that only root may read."""
    try:
        note: dict[str, Any] = json.loads(read_whole(path))
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) and set(note) == {"digest", "stamps", "units"} else {}
