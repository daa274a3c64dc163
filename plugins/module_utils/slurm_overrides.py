# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an admin set by scontrol, and slurmctld will forget when it reads its configuration anew.

Pure. What the running slurmctld shows is held against what a private one shows that has read the new files.
"""

from __future__ import annotations

import re
from typing import Any, Callable, Iterable, Mapping, NamedTuple, Sequence

from ansible_collections.aicluster.slurm.plugins.module_utils import slurm_keys
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_files import Change

COUNTED = ("State", "TotalCPUs", "TotalNodes", "TRES", "Nodes", "MaxNodes")
"""What a partition shows of its nodes and not of its line, and the state, which KeepPartState keeps (slurm.conf(5))."""

NODE_KEYS = ("Weight", "AvailableFeatures", "Gres")
"""What scontrol can change of a node and slurm.conf says too."""

LEVEL, FLAGS = "SlurmctldDebug", "DebugFlags"
"""What `scontrol setdebug` and `scontrol setdebugflags` change."""
_LEVELS = ("quiet", "fatal", "error", "info", "verbose", "debug", "debug2", "debug3", "debug4", "debug5")
"""The levels by their numbers (slurm.conf(5))."""

_WORD = re.compile(r"(?:^|(?<=\s))(\w+)=(\S*)")


class Override(NamedTuple):
    """A setting that would be lost."""

    kind: str
    name: str
    key: str
    now: str
    then: str


def lost(kind: str, now: str, then: str, changes: Iterable[Change]) -> list[Override]:
    """The settings of partitions or nodes that only scontrol has made; texts of `scontrol --oneliner show`.

    Keys that the change itself is about are not meant, nor are items that come or go.
    """
    about = {(change.name, _spelling(change.key)) for change in changes if change.kind in (kind, slurm_keys.GLOBAL)}
    found = []
    after = _records(kind, then)
    for name, keys in _records(kind, now).items():
        for key, value in keys.items():
            becomes = after.get(name, {}).get(key, value)
            if value != becomes and not {(name, _spelling(key)), ("", _spelling(key))} & about:
                found.append(Override(kind, name, key, value, becomes))
    return found


def lost_logging(now: str, value: Callable[[str], Any], changes: Iterable[Change]) -> list[Override]:
    """How slurmctld logs now, by the text of `scontrol show config`, where the new slurm.conf says something else.

    `value` looks a key of the new one up. What the change itself is about is not meant.
    """
    shown = dict(re.findall(r"^(\w+) *= (.*?) *$", now, re.MULTILINE))
    about = {_spelling(change.key) for change in changes if change.kind == slurm_keys.GLOBAL}
    found = []
    for key, read in ((LEVEL, _level), (FLAGS, _flags)):
        before, after = read(shown[key] if key in shown else value(key)), read(value(key))
        if before != after and _spelling(key) not in about:
            found.append(Override(slurm_keys.GLOBAL, "", key, before, after))
    return found


def _level(value: Any) -> str:
    text = str(_LEVELS.index("info") if value is None else value).lower()
    return _LEVELS[int(text)] if text.isdigit() and int(text) < len(_LEVELS) else text


def _flags(value: Any) -> str:
    words = [] if value is None else value if isinstance(value, list) else str(value).split(",")
    return (
        ",".join(sorted(str(word).strip().lower() for word in words if str(word).strip() not in ("", "(null)")))
        or "none"
    )


def _records(kind: str, text: str) -> Mapping[str, Mapping[str, str]]:
    records = {}
    for line in text.splitlines():
        # The first one counts: a Reason, which comes last, may have any words.
        keys = dict(reversed(_WORD.findall(line)))
        name = keys.pop("NodeName" if kind == slurm_keys.NODE else "PartitionName", "")
        wanted: Sequence[str] = NODE_KEYS if kind == slurm_keys.NODE else [key for key in keys if key not in COUNTED]
        if name:
            records[name] = {key: keys[key] for key in wanted if key in keys}
    return records


def _spelling(key: str) -> str:
    """One word for the names that slurm.conf and scontrol have for a key."""
    return {"feature": "availablefeatures", "features": "availablefeatures", "shared": "oversubscribe"}.get(
        key.lower(), key.lower()
    )
