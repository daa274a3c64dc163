# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the inventory, the facts and the node store together say of each host: its names and its address in the cluster."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import netaddr


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
    return isinstance(text, str) and (netaddr.valid_ipv4(text, netaddr.INET_PTON) or netaddr.valid_ipv6(text))


def read_host(name: str, variables: Mapping[str, Any], network: str, stored: Mapping[str, Any]) -> Host:
    """One host from its variables (with `ansible_facts` where it was reached) and its record in the node store.

    The address is, in this order: what `nodes_address` declares; an address of the machine inside `network`, or with no
    network the one of its default route; the stored one; `ansible_host` or the inventory name where that is an address.
    """
    facts = variables.get("ansible_facts") or {}
    node = str(variables.get("nodes_name") or (name if is_address(name) else name.split(".")[0]))
    addresses = [str(item) for item in facts.get("all_ipv4_addresses") or ()]
    record = stored.get(node) or {}
    candidates = [variables.get("nodes_address")]
    if network:
        candidates += [item for item in addresses if item in netaddr.IPNetwork(network)]
    else:
        candidates.append((facts.get("default_ipv4") or {}).get("address"))
    if not addresses:  # not reached in this run: what was known of it before, else what the inventory connects to
        told = [item for item in (variables.get("ansible_host"), name) if is_address(item)]
        candidates += [record.get("address")]
        candidates += [item for item in told if not network or item in netaddr.IPNetwork(network)]
    address = next((str(item) for item in candidates if item), "")
    hostname = str(facts.get("hostname") or record.get("hostname") or "")
    return Host(name=name, node=node, address=address, hostname=hostname, addresses=addresses)


def etc_hosts_lines(hosts: Iterable[Host]) -> list[str]:
    """The lines of /etc/hosts, one per host with an address, each name at its first place only (see hosts(5))."""
    taken: set[str] = set()
    lines = []
    for host in hosts:
        wanted = [name for name in (host.node, host.name, host.hostname) if name and not is_address(name)]
        names = [name for name in dict.fromkeys(wanted) if name not in taken]
        if host.address and names:
            taken.update(names)
            lines.append(f"{host.address} {' '.join(names)}")
    return lines
