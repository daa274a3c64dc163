# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A cluster that a person wrote down: host lists with their roles, addresses and hardware, as an inventory."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import yaml
from ansible_collections.aicluster.slurm.plugins.module_utils.gres import GresError, parse_all
from ansible_collections.aicluster.slurm.plugins.module_utils.hostlist import HostlistError, expand

from .hosts import host_address, is_network
from .inventory import (
    FEATURE,
    GROUP_NAME,
    OWN_GROUPS,
    Inventory,
    InventoryError,
    check_keys,
    check_name,
    checked,
    host_names,
    mapping,
    refusal,
    short,
    words,
)
from .nodes import HARDWARE

with suppress(ImportError):  # whoever reads an inventory looks at hosts.HAS_NETADDR first
    import netaddr

ROLES = ("nfs", "head", "nodes", "gpu")
"""The groups that site.yml knows."""

ENTRY = ("address", "features", "gres", "groups", "hardware", "roles", "vars", "weight")
"""What can be said of a host list."""

OWN_VARIABLES = {
    "cluster_name": "name",
    "cluster_network": "network",
    "cluster_partitions": "partitions",
    "nodes_address": "address of a host",
}
"""Variables of all hosts that are not for `vars`, where nothing would check them, to what they are written as."""

HOST_VARIABLES = {
    "gpu_devices": "gres",
    "nodes_features": "features",
    "nodes_hardware": "hardware",
    "nodes_weight": "weight",
}
"""Variables of a host list to the keys of which they would get the better in silence."""

GRES_EXAMPLE = '{type: h100, files: ["/dev/nvidia[0-7]"]}'

ANY_ROLE = re.compile("|".join(ROLES))
MAX_WEIGHT = 2**32 - 1  # slurm.conf(5): an unsigned 32-bit number


class Entry(NamedTuple):
    """A host list and what is said of it."""

    where: str
    """Its place, for messages."""
    key: str
    names: list[str]
    settings: Mapping[str, Any]


def read_topology(hosts: object, network: str = "") -> Inventory:
    """The inventory of a topology: host lists (slurm.conf(5) NodeName) to what is said of them.

    Every address has to lie in `network`, where there is one. Raises InventoryError.
    """
    entries = [_entry(key, settings) for key, settings in mapping(hosts, "hosts", "host lists").items()]
    _refuse_shared(((name, entry) for entry in entries for name in entry.names), "host")
    found: dict[str, dict[str, Any]] = {}
    groups: dict[str, list[str]] = {role: [] for role in ROLES}
    located: list[tuple[str, Entry]] = []
    for entry in entries:
        common = _variables(entry)
        own = mapping(entry.settings.get("vars"), f"{entry.where}.vars")
        check_variables(own, f"{entry.where}.vars", {"nodes_address": "address"})
        for name, key in HOST_VARIABLES.items():
            if name in own and entry.settings.get(key) is not None:
                raise refusal(f"{entry.where}.vars", f"the variable {name} beside {key}", "one of the two", name)
        addresses = _addresses(entry, network)
        located += [(address, entry) for address in addresses]
        if addresses:
            for name, address in zip(entry.names, addresses):
                found[name] = {"ansible_host": address, "nodes_address": address, **common, **own}
        else:
            found.update((name, {**common, **own}) for name in entry.names)
        for group in _groups(entry):
            groups.setdefault(group, []).extend(entry.names)
    _refuse_shared(located, "address")
    return checked(Inventory(found, {name: members for name, members in groups.items() if members}, {}))


def duplicate_keys(text: str) -> Iterator[tuple[str, int]]:
    """Every key of a YAML text that its mapping has already, with its line; YAML itself would drop the first one."""
    document = yaml.compose(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    waiting = [document] if document else []
    known = set()
    while waiting:
        node = waiting.pop()
        if id(node) in known:  # an alias leads back to it
            continue
        known.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
        elif isinstance(node, yaml.MappingNode):
            seen = set()
            for key, value in node.value:
                # A mapping may have several `<<`, each with keys from elsewhere.
                if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                    if key.value in seen:
                        yield key.value, key.start_mark.line + 1
                    seen.add(key.value)
                waiting.append(value)


def check_network(value: object) -> str:
    """The value itself where it is a network, empty for null. Raises InventoryError."""
    if value in (None, ""):
        return ""
    if not isinstance(value, str) or "/" not in value or not is_network(value):
        raise refusal("network", short(value), "a network such as 10.0.0.0/24", value)
    return value


def check_variables(variables: Mapping[Any, Any], where: str, own: Mapping[str, str] | None = None) -> None:
    """InventoryError for a name that no variable can have, and for those of `own`, which are written otherwise."""
    for name in variables:
        if not isinstance(name, str) or not GROUP_NAME.fullmatch(name) or keyword.iskeyword(name):
            accepted = "letters, digits and '_', no digit first, and no word of Python's such as for"
            raise refusal(where, f"the variable {short(name)}", accepted, name)
        if own and name in own:
            raise refusal(where, f"the variable {name}", f"the key {own[name]} for it, which is checked", name)


def _entry(key: object, settings: object) -> Entry:
    where = f"hosts.{key}"
    if not isinstance(key, str):
        raise refusal(where, short(key), "a host list such as node[01-64], quoted where it is a number", key)
    try:
        names = host_names(key)
    except HostlistError as error:
        raise InventoryError(f"hosts: {error}", key) from None
    if not names:
        raise refusal("hosts", f"the host list {key!r} without a name", "a host list such as node[01-64]", key)
    for name in names:
        check_name(name, where, key)
    accepted = f"a mapping with the keys {', '.join(ENTRY)}"
    settings = mapping(settings, where, accepted)
    check_keys(settings, ENTRY, where)
    return Entry(where, key, names, settings)


def _refuse_shared(items: Iterable[tuple[str, Entry]], what: str) -> None:
    """InventoryError for a name or an address that stands there twice."""
    owners: dict[str, Entry] = {}
    for item, entry in items:
        if item in owners:
            other = "twice" if owners[item] is entry else f"which {owners[item].where} has as well"
            raise refusal(entry.where, f"the {what} {item}, {other}", f"every {what} once", entry.key)
        owners[item] = entry


def _groups(entry: Entry) -> list[str]:
    """The groups of the hosts: those of their roles, and further ones."""
    roles = entry.settings.get("roles")
    roles = ["nodes"] if roles is None else roles
    accepted = f"of {', '.join(ROLES)}"
    groups = words(roles, f"{entry.where}.roles", ANY_ROLE, accepted)
    if any((record.get("name") or "gpu") == "gpu" for record in _gres(entry)):
        groups.append("gpu")
    if "gpu" in groups:
        groups.append("nodes")  # a GPU is there for jobs
    further = entry.settings.get("groups") or []
    for group in words(further, f"{entry.where}.groups", GROUP_NAME, "letters, digits and '_', no digit first"):
        if group in (*ROLES, *OWN_GROUPS):
            accepted = f"a group of your own; {', '.join(ROLES)} are roles"
            raise refusal(f"{entry.where}.groups", short(group), accepted, entry.settings["groups"])
        groups.append(group)
    return list(dict.fromkeys(groups))


def _gres(entry: Entry) -> list[Mapping[str, Any]]:
    """The declared generic resources, as `gpu_devices` takes them."""
    records = entry.settings.get("gres") or []
    records = [records] if isinstance(records, Mapping) else records
    try:
        parse_all(records, f"{entry.where}.gres")
    except GresError as error:
        example = f", such as {GRES_EXAMPLE}" if isinstance(records, str) else ""
        raise InventoryError(f"{error}{example}", entry.settings["gres"]) from None
    return list(records)


def _variables(entry: Entry) -> dict[str, Any]:
    """The variables that all hosts of an entry have."""
    settings, where = entry.settings, entry.where
    variables: dict[str, Any] = {}
    hardware = mapping(settings.get("hardware"), f"{where}.hardware")
    known = tuple(HARDWARE.values())
    check_keys(hardware, known, f"{where}.hardware")
    for key, value in hardware.items():
        _check_number(value, 1, 2**63 - 1, f"{where}.hardware.{key}")
    if hardware:
        variables["nodes_hardware"] = dict(hardware)
    if settings.get("features") is not None:
        accepted = "words of letters, digits and '_', '.', ':', '-'"
        variables["nodes_features"] = words(settings["features"], f"{where}.features", FEATURE, accepted)
    if settings.get("weight") is not None:
        _check_number(settings["weight"], 0, MAX_WEIGHT, f"{where}.weight")
        variables["nodes_weight"] = settings["weight"]
    gres = _gres(entry)
    if gres:
        variables["gpu_devices"] = gres
    return variables


def _check_number(value: object, least: int, most: int, where: str) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise refusal(where, short(value), f"a whole number from {least} to {most}", value)


def _addresses(entry: Entry, network: str) -> list[str]:
    """The addresses of the hosts in their order, none where none is given."""
    declared, where = entry.settings.get("address"), f"{entry.where}.address"
    if declared is None:
        return []
    if isinstance(declared, str) and "[" not in declared:
        return _counted(declared, len(entry.names), where, network)
    try:
        addresses = expand(declared) if isinstance(declared, str) else declared
    except HostlistError as error:
        raise InventoryError(f"{where}: {error}", declared) from None
    if not isinstance(addresses, (list, tuple)) or len(addresses) != len(entry.names):
        accepted = f"an address to count up from, a network, or an address for each of the {len(entry.names)} hosts"
        raise refusal(where, short(declared), accepted, declared)
    for address in addresses:
        if not host_address(address):
            raise refusal(where, short(address), "addresses such as 10.0.1.1", declared)
        check_inside(address, network, where, declared)
    return list(map(host_address, addresses))


def _counted(declared: str, count: int, where: str, network: str) -> list[str]:
    """Addresses counted up from one, or from the first of a network."""
    if host_address(declared):
        first = netaddr.IPAddress(declared)
        limits = netaddr.IPNetwork(network) if network else None
    elif "/" in declared and is_network(declared):
        limits = netaddr.IPNetwork(declared)
        if limits.ip != limits.network:
            accepted = f"{limits.cidr} for the hosts of the whole network, or {limits.ip} to count up from"
            raise refusal(where, short(declared), accepted, declared)
        first = netaddr.IPAddress(_ends(limits)[0], limits.version)
    else:
        accepted = "an address such as 10.0.1.1, a network such as 10.0.1.0/24, or addresses such as 10.0.1.[1-64]"
        raise refusal(where, short(declared), accepted, declared)
    check_inside(first, network, where, declared)
    last = int(first) + count - 1
    # 255.255.255.255 is no host's.
    most = _ends(limits)[1] if limits else 2**32 - 2 if first.version == 4 else 2**128 - 1
    if last > most:
        room = most - int(first) + 1
        left = f"{room} address{'es are' if room != 1 else ' is'} left"
        found = f"{declared}, where {left}{f' in {limits}' if limits else ''}"
        raise refusal(where, found, f"room for {count} hosts", declared)
    end = netaddr.IPAddress(last, first.version)
    check_inside(end, network, where, declared)
    if not host_address(str(end)):
        raise refusal(where, f"{declared}, which leads to {end}", "addresses that hosts can have", declared)
    return [str(netaddr.IPAddress(value, first.version)) for value in range(int(first), last + 1)]


def check_inside(address: str | netaddr.IPAddress, network: str, where: str, source: object = None) -> None:
    """InventoryError for an address that no host of the network can have."""
    if not network:
        return
    address, limits = netaddr.IPAddress(address), netaddr.IPNetwork(network)
    first, last = _ends(limits)
    if address.version != limits.version or not first <= int(address) <= last:
        accepted = f"an address in the network {network}, {_text(first, limits)} to {_text(last, limits)}"
        raise refusal(where, address, accepted, source)


def _ends(network: netaddr.IPNetwork) -> tuple[int, int]:
    """The first and the last address that a host can have; two or fewer addresses are all for hosts (RFC 3021)."""
    if network.size <= 2:
        return network.first, network.last
    return network.first + 1, network.last - (network.version == 4)


def _text(value: int, network: netaddr.IPNetwork) -> str:
    return str(netaddr.IPAddress(value, network.version))
