# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The `hosts.json` of an older system as an inventory, in both of its shapes.

{"c01": {"ipv4": "10.0.0.1", "labels": [{"spark-worker": "enable"}], "groups": ["master"]}}
{"c01": {"ipv4": "10.0.0.1", "labels": {"spark-worker": "enable"}, "roles": ["master"]}}
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .hosts import host_address
from .inventory import (
    FEATURE,
    Inventory,
    check_keys,
    check_name,
    checked,
    mapping,
    refusal,
    safe_group,
    short,
)
from .topology import ROLES, check_inside

HOST = ("groups", "ipv4", "labels", "roles")
"""What is said of a host."""

ENABLED = "enable"
"""The only value that counts."""

ROLE_GROUPS: dict[str, list[str]] = {
    "master": ["head", "nfs"],
    "worker": ["nodes"],
    "manager": ["nodes"],
    "slave": [],
}
"""The role of a host to its groups. Where no role is for both, a head is a node only where no other host is one."""


class _Pairs(dict[str, Any]):
    """A JSON object that remembers which of its keys stand there again."""

    def __init__(self, pairs: Sequence[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.again = [key for key, times in Counter(key for key, _value in pairs).items() if times > 1]


def read_hosts_json(text: str, role_groups: Mapping[str, Any] | None = None, network: str = "") -> Inventory:
    """The inventory in the text of a hosts.json; `role_groups` goes over ROLE_GROUPS.

    Every address has to lie in `network`, where there is one. Raises InventoryError.
    """
    groups_of = {**ROLE_GROUPS, **check_role_groups(role_groups or {})}
    hosts: dict[str, dict[str, Any]] = {}
    groups: dict[str, list[str]] = {role: [] for role in ROLES}
    owners: dict[str, str] = {}
    for name, record in _hosts(text).items():
        check_name(name, name, None)
        record = mapping(record, name, f"a mapping with the keys {', '.join(HOST)}")
        check_keys(record, HOST, name)
        address = record.get("ipv4")
        if not isinstance(address, str) or not host_address(address) or ":" in address:
            raise refusal(f"{name}.ipv4", short(address), "an IPv4 address such as 10.0.0.1")
        check_inside(address, network, f"{name}.ipv4")
        if owners.setdefault(address, name) != name:
            found = f"{address}, which {owners[address]} has as well"
            raise refusal(f"{name}.ipv4", found, "every address once")
        labels = _labels(record, name)
        hosts[name] = {"ansible_host": address, **({"nodes_features": labels} if labels else {})}
        for group in [*_role_groups(record, name, groups_of), *(f"label_{safe_group(label)}" for label in labels)]:
            groups.setdefault(group, []).append(name)
    heads = groups["head"]
    if not any({"head", "nodes"} <= set(each) for each in groups_of.values()):
        groups["nodes"] = [name for name in groups["nodes"] if name not in heads] or heads
        compute = set(groups["nodes"])
        groups["gpu"] = [name for name in groups["gpu"] if name in compute]
    return checked(Inventory(hosts, {name: members for name, members in groups.items() if members}, {}))


def check_role_groups(role_groups: Mapping[Any, Any]) -> dict[str, list[str]]:
    """The map of roles; what is in gpu is in nodes, too, because a GPU is there for jobs. Raises InventoryError."""
    found = {}
    for role, groups in role_groups.items():
        names = [groups] if isinstance(groups, str) else groups
        if not isinstance(role, str) or not isinstance(names, list) or not set(map(str, names)) <= set(ROLES):
            accepted = f"a list of {', '.join(ROLES)}"
            raise refusal(f"role_groups.{role}", short(groups), accepted, groups)
        found[role] = list(dict.fromkeys([*names, "nodes"] if "gpu" in names else names))
    return found


def _hosts(text: str) -> Mapping[str, Any]:
    try:
        document = json.loads(text, object_pairs_hook=_Pairs)
        again = next(_keys_again(document), "")
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise refusal(where, f"no JSON ({error.msg})", "JSON") from None
    except RecursionError:
        raise refusal("hosts.json", "JSON that is nested too deeply", "host names to what is said of them") from None
    except ValueError as error:  # a number of thousands of digits
        raise refusal("hosts.json", f"no JSON ({error})", "JSON") from None
    if not isinstance(document, Mapping):
        raise refusal("hosts.json", short(document), "a mapping of host names")
    if again:
        raise refusal(again, "this key twice", "every key once")
    return document


def _keys_again(value: object, where: str = "") -> Iterator[str]:
    """Every key that its object has already, with the keys that lead to it."""
    if isinstance(value, _Pairs):
        yield from (where + key for key in value.again)
        for key, inner in value.items():
            yield from _keys_again(inner, f"{where}{key}.")
    elif isinstance(value, list):
        for inner in value:
            yield from _keys_again(inner, where)


def _labels(record: Mapping[str, Any], name: str) -> list[str]:
    """The labels of a host that are enabled."""
    where, accepted = f"{name}.labels", 'a map such as {"spark-worker": "enable"}, or a list of such maps'
    labels = record.get("labels")
    labels = {} if labels is None else labels
    maps = [labels] if isinstance(labels, Mapping) else labels
    if not isinstance(maps, list) or not all(isinstance(each, Mapping) for each in maps):
        raise refusal(where, short(labels), accepted)
    enabled = list(dict.fromkeys(label for each in maps for label, value in each.items() if value == ENABLED))
    for label in enabled:
        if not FEATURE.fullmatch(label):
            raise refusal(where, f"the label {short(label)}", "letters, digits and '_', '.', ':', '-'")
    return enabled


def _role_groups(record: Mapping[str, Any], name: str, groups_of: Mapping[str, list[str]]) -> list[str]:
    """The groups of a host by its roles."""
    if "groups" not in record and "roles" not in record:
        raise refusal(name, "neither groups nor roles", f"a list of {', '.join(sorted(groups_of))}")
    groups: list[str] = []
    for key in ("groups", "roles"):
        roles = record.get(key, [])
        if not isinstance(roles, list) or not all(isinstance(role, str) for role in roles):
            raise refusal(f"{name}.{key}", short(roles), f"a list of {', '.join(sorted(groups_of))}")
        check_keys(dict.fromkeys(roles), list(groups_of), f"{name}.{key}")
        groups += [group for role in roles for group in groups_of[role]]
    return list(dict.fromkeys(groups))
