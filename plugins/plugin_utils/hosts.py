# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the inventory, the facts and the node store together say of a host: its names and its address in the cluster."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

try:
    import netaddr
except ImportError:
    HAS_NETADDR = False
else:
    HAS_NETADDR = True


@dataclass(frozen=True)
class Host:
    """One machine as the cluster knows it."""

    name: str
    """The inventory name."""
    node: str
    """The NodeName in Slurm: the inventory name up to the first dot, unless `nodes_name` says otherwise."""
    address: str
    """The address in `cluster_network`, empty when nothing tells it."""
    hostname: str
    """What the machine calls itself, empty when it was never asked."""
    addresses: list[str]
    """Every IPv4 address that its facts hold."""


def is_address(text: object) -> bool:
    """Whether `text` is a literal IPv4 or IPv6 address."""
    if not isinstance(text, str) or not text.isascii():
        return False
    return netaddr.valid_ipv4(text, netaddr.INET_PTON) or netaddr.valid_ipv6(text)


def host_address(text: object) -> str:
    """The address in its usual spelling; empty for what is none, or one that no host can have."""
    if not is_address(text):
        return ""
    address = netaddr.IPAddress(str(text))
    return "" if not int(address) or address.is_multicast() or str(address) == "255.255.255.255" else str(address)


def is_network(text: str) -> bool:
    """Whether `text` is a network such as 10.0.0.0/24."""
    try:
        netaddr.IPNetwork(text)
    except (netaddr.AddrFormatError, ValueError):
        return False
    return True


def in_network(text: object, network: str) -> bool:
    """Whether `text` is an address inside `network`; every address is inside an empty one."""
    return is_address(text) and (not network or netaddr.IPAddress(str(text)) in netaddr.IPNetwork(network))


def node_name(name: str, variables: Mapping[str, Any]) -> str:
    """The NodeName of a host."""
    return str(variables.get("nodes_name") or (name if is_address(name) else name.split(".")[0]))


def read_host(name: str, variables: Mapping[str, Any], network: str, stored: Mapping[str, Any]) -> Host:
    """One host from its variables (with `ansible_facts` where it was reached) and its record in the node store.

    The address is, in this order: what `nodes_address` declares; an address of the machine inside `network`, or with no
    network the one of its default route; the stored one; `ansible_host` or the inventory name where that is an address
    which leads to it from elsewhere too.
    """
    facts = variables.get("ansible_facts") or {}
    node = node_name(name, variables)
    addresses = [str(item) for item in facts.get("all_ipv4_addresses") or ()]
    record = stored.get(node) or {}
    candidates = [variables.get("nodes_address")]
    if network:
        candidates += [item for item in addresses if in_network(item, network)]
    else:
        candidates.append((facts.get("default_ipv4") or {}).get("address"))
    if not addresses:  # not reached in this run: what was known of it before, else what the inventory connects to
        told = [str(item) for item in (variables.get("ansible_host"), name) if in_network(item, network)]
        candidates += [record.get("address"), *(item for item in told if not netaddr.IPAddress(item).is_loopback())]
    address = next((str(item) for item in candidates if item), "")
    hostname = str(facts.get("hostname") or record.get("hostname") or "")
    return Host(name=name, node=node, address=address, hostname=hostname, addresses=addresses)


def etc_hosts_lines(hosts: Iterable[Host]) -> list[str]:
    """The lines of /etc/hosts, one per host with an address, each name on one line only (see hosts(5)).

    Where two hosts claim a name, a node name counts more than an inventory name, and that more than a hostname.
    """
    hosts = list(hosts)
    names = names_of(hosts)
    return [f"{host.address} {' '.join(names[host.name])}" for host in hosts if host.address and names[host.name]]


def names_of(hosts: Sequence[Host]) -> dict[str, list[str]]:
    """The names by which each host is known to the others, by its inventory name; each name has one owner."""
    owners: dict[str, Host] = {}
    for kind in ("node", "name", "hostname"):
        for host in hosts:
            owners.setdefault(getattr(host, kind), host)
    found = {}
    for host in hosts:
        names = dict.fromkeys(name for name in (host.node, host.name, host.hostname) if owners[name] is host)
        # localhost is the machine that asks, wherever that is.
        found[host.name] = [name for name in names if name and name != "localhost" and not is_address(name)]
    return found
