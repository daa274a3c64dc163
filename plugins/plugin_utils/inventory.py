# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every source of the inventory plugin yields: hosts, groups and variables; and how it refuses bad input."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple

HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
GROUP_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
FEATURE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]*")
"""What `srun --constraint` takes for one feature and not for an expression."""

OWN_GROUPS = ("all", "ungrouped")
"""Groups that Ansible makes itself."""


class InventoryError(ValueError):
    """Input that is no inventory."""

    def __init__(self, message: str, source: object = None) -> None:
        self.source = source
        """The value or key itself: Ansible knows the line it comes from."""
        super().__init__(message)


def refusal(where: str, found: object, accepted: str, source: object = None) -> InventoryError:
    """The error in its usual form: where, what was found, what is accepted."""
    return InventoryError(f"{where}: found {found}; accepted: {accepted}", source)


class Inventory(NamedTuple):
    """An inventory, checked."""

    hosts: dict[str, dict[str, Any]]
    """The variables of each host, by its name."""
    groups: dict[str, list[str]]
    """The hosts of each group, by its name."""
    variables: dict[str, Any]
    """The variables of all hosts."""


def checked(inventory: Inventory) -> Inventory:
    """The inventory itself; InventoryError where it has no host, or where a host and a group share a name.

    Ansible would give the group the variables of such a host.
    """
    if not inventory.hosts:
        raise refusal("hosts", "no host", "one host or more")
    for name in (*inventory.groups, *OWN_GROUPS):
        if name in inventory.hosts:
            raise refusal(f"host {name}", "the name of a group", "a name that no group has")
    return inventory


def check_name(name: str, where: str, source: object) -> None:
    """InventoryError for a name that no host can have."""
    if not HOST_NAME.fullmatch(name):
        accepted = "letters, digits, '.', '-' and '_', the last three not at the ends"
        raise refusal(where, f"the host name {short(name)}", accepted, source)


def check_keys(found: Mapping[Any, Any], known: Collection[str], where: str) -> None:
    """InventoryError for a key that is not among the known ones; names the nearest."""
    for key in found:
        if key not in known:
            near = "".join(f", meant {match}?" for match in get_close_matches(str(key), known, n=1))
            raise refusal(where, f"the key {short(key)}{near}", ", ".join(sorted(known)), key)


def mapping(value: object, where: str, accepted: str = "a mapping") -> Mapping[Any, Any]:
    """The value itself where it is a mapping, an empty one for null; else InventoryError."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise refusal(where, short(value), accepted, value)
    return value


def words(value: object, where: str, pattern: re.Pattern[str], accepted: str) -> list[str]:
    """A list of words, given as one or as a text with commas; each once, in their order. Raises InventoryError."""
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)):
        raise refusal(where, short(value), f"a list: {accepted}", value)
    for item in items:
        if not isinstance(item, str) or not pattern.fullmatch(item.strip()):
            raise refusal(where, short(item), accepted, item)
    return list(dict.fromkeys(item.strip() for item in items))


def safe_group(text: str) -> str:
    """The text as a group's name: Ansible warns of characters that have no place in a variable."""
    return re.sub(r"[^A-Za-z0-9_]", "_", text)


def short(value: object) -> str:
    """A value as it stands in a message."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
