# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Nodes as a running Slurm shows them, for tests of what is made of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ansible_collections.aicluster.slurm.plugins.module_utils.scontrol import Node

NODE = Node("n1", "IDLE", frozenset(), "", "", 10, (), (), "", "", "24.11.5", None, "")


def node(state: str = "IDLE", reason: str = "", user: str = "root", **values: Any) -> Node:
    """A node in a state as scontrol writes it."""
    base, *flags = state.split("+")
    return replace(NODE, base=base, flags=frozenset(flags), reason=reason, reason_user=user, **values)
