# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who was made on a host, so that those who leave the list are not forgotten: a name and a number on each line."""

from __future__ import annotations

from typing import Mapping

RECORD = "/var/lib/aicluster/people"


def recorded(text: str) -> dict[str, int]:
    """The users of a record, by name."""
    rows = (line.split() for line in text.splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}


def record(numbers: Mapping[str, int]) -> str:
    """The record of users by name."""
    return "".join(f"{name} {uid}\n" for name, uid in sorted(numbers.items()))
