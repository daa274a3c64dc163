# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every source of the inventory plugin yields: hosts, groups and variables; and how it refuses bad input."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple

from ansible_collections.aicluster.slurm.plugins.module_utils.hostlist import MAX_NAMES, HostlistError, expand

HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
GROUP_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
FEATURE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]*")
"""What `srun --constraint` takes for one feature and not for an expression."""

OWN_GROUPS = ("all", "ungrouped")
"""Groups that Ansible makes itself."""

ITEM = re.compile(r"(?:[^,\s\[\]]|\[[^\]]*\]?)+|\]")
"""An item of host lists: separators are the commas and blanks outside of brackets."""

_WITH_DOMAIN = re.compile(r"(.*\])(\.[^\[\],\s]+)", re.DOTALL)


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


def host_names(text: str) -> list[str]:
    """The names of host lists, as `expand` has them; a domain may follow the brackets, as in node[01-64].lab.

    Slurm knows a host by its name up to the first dot, so that it never sees what it would not take. Raises
    HostlistError.
    """
    if "]." not in text:
        return expand(text)
    names: list[str] = []
    for item in ITEM.findall(text):
        match = _WITH_DOMAIN.fullmatch(item)
        hosts, domain = match.groups() if match else (item, "")
        names += [name + domain for name in expand(hosts)]
        if len(names) > MAX_NAMES:
            raise HostlistError(f"host list {short(text)}: found more names; accepted: up to {MAX_NAMES} in all")
    return names


def is_plain(document: object) -> bool:
    """Whether a document is an inventory as Ansible's own plugin yaml reads it: groups at the top."""
    groups = list(document.values()) if isinstance(document, Mapping) else []
    return any(groups) and all(
        group is None or (isinstance(group, Mapping) and set(group) <= {"children", "hosts", "vars"})
        for group in groups
    )


def check_keys(found: Iterable[Any], known: Collection[str], where: str) -> None:
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
    # A comma too many says nothing.
    items = [item for item in value.split(",") if item.strip()] if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)):
        raise refusal(where, short(value), f"a list: {accepted}", value)
    for item in items:
        if not isinstance(item, str) or not pattern.fullmatch(item.strip()):
            quoted = ", in quotes where YAML takes it for a number" if isinstance(item, (int, float)) else ""
            raise refusal(where, short(item), accepted + quoted, item)
    return list(dict.fromkeys(item.strip() for item in items))


def safe_group(text: str) -> str:
    """The text as a group's name: Ansible warns of characters that have no place in a variable."""
    return re.sub(r"[^A-Za-z0-9_]", "_", text)


def short(value: object) -> str:
    """A value as it stands in a message."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
