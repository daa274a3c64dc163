# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is wrong with an inventory, found before anything changes: one line a finding (host, variable, found, accepted)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import netaddr

from .hosts import Host, is_address

SUPPORTED = {"Debian": ("12", "13"), "Ubuntu": ("22.04", "24.04")}
"""Operating systems with a Slurm that this collection knows: distribution to its releases."""

RESERVED_NAMES = ("ALL", "DEFAULT")
"""NodeName values with a meaning of their own in slurm.conf(5)."""

NODE_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?")


def network_findings(network: str) -> list[str]:
    """Whether `cluster_network` is a network at all; the other checks need that."""
    try:
        if network:
            netaddr.IPNetwork(network)
    except (netaddr.AddrFormatError, ValueError):
        return [f"all hosts: cluster_network: found {network!r}; accepted: a network such as 10.0.0.0/24, or empty"]
    return []


def group_findings(groups: Mapping[str, Sequence[str]], compute: Sequence[str]) -> list[str]:
    """Groups that must hold a host, and hosts whose groups contradict each other."""
    findings = []
    heads, servers = groups.get("head") or [], groups.get("nfs") or []
    if len(heads) != 1:
        found = ", ".join(heads) or "no host"
        findings.append(f"inventory: group head: found {found}; accepted: one host, which runs slurmctld")
    if not groups.get("nodes"):
        findings.append("inventory: group nodes: found no host; accepted: one host or more, which run slurmd")
    if len(servers) > 1:
        findings.append(
            f"inventory: group nfs: found {', '.join(servers)}; accepted: one host, or none where the storage is not ours"
        )
    for name in groups.get("gpu") or []:
        if name not in compute:
            findings.append(
                f"{name}: group gpu: found a host that does not compute; accepted: a host of the group nodes,"
                " or of head with head_compute"
            )
    return findings


def name_findings(hosts: Iterable[Host], compute: Sequence[str]) -> list[str]:
    """Names that Slurm or ssh would trip over, and names that two hosts share."""
    findings = []
    hosts = list(hosts)
    for host in hosts:
        if is_address(host.name):
            findings.append(
                f"{host.name}: inventory name: found an address; accepted: a name, with the address in ansible_host"
            )
        elif host.name in compute and (not NODE_NAME.fullmatch(host.node) or host.node.upper() in RESERVED_NAMES):
            findings.append(
                f"{host.name}: nodes_name: found {host.node!r}; accepted: letters, digits, '-' and '_', not at the ends,"
                f" and none of {', '.join(RESERVED_NAMES)}"
            )
    return findings + _shared(hosts, "nodes_name", lambda host: host.node, "one node name for each host")


def address_findings(hosts: Iterable[Host], network: str, reached: Sequence[str]) -> list[str]:
    """Hosts of this run without an address in the cluster's network, and addresses that two hosts share."""
    findings = []
    hosts = list(hosts)
    for host in hosts:
        declared_outside = network and host.address and host.address not in netaddr.IPNetwork(network)
        if host.name in reached and (not host.address or declared_outside):
            found = host.address or ", ".join(host.addresses) or "no address"
            accepted = f"an address in cluster_network {network}" if network else "an address on the default route"
            findings.append(f"{host.name}: nodes_address: found {found}; accepted: {accepted}, or one declared in nodes_address")
    return findings + _shared(hosts, "nodes_address", lambda host: host.address, "one address for each host")


def system_findings(facts: Mapping[str, Mapping[str, Any]], slurm_hosts: Sequence[str], allow: bool) -> list[str]:
    """Operating systems that are not supported, or that would give the cluster two versions of Slurm.

    `facts` maps each host that was reached to its facts; `slurm_hosts` run a Slurm daemon.
    """
    systems = {name: system(each) for name, each in facts.items()}
    accepted = ", ".join(f"{name} {release}" for name, releases in SUPPORTED.items() for release in releases)
    findings = [
        f"{name}: operating system: found {' '.join(found)}; accepted: {accepted}, or any with cluster_allow_unsupported_os"
        for name, found in systems.items()
        if not allow and found[1] not in SUPPORTED.get(found[0], ())
    ]
    kinds = {name: systems[name] for name in slurm_hosts if name in systems}
    if len(set(kinds.values())) > 1:
        first = next(iter(kinds.items()))
        for name, found in kinds.items():
            if found != first[1]:
                findings.append(
                    f"{name}: operating system: found {' '.join(found)}; accepted: {' '.join(first[1])} as on {first[0]},"
                    " because every host must run the same version of Slurm"
                )
    return findings


def system(facts: Mapping[str, Any]) -> tuple[str, str]:
    """Distribution and release, in the spelling of SUPPORTED (Debian by its major version)."""
    distribution = str(facts.get("distribution", "unknown"))
    key = "distribution_version" if distribution == "Ubuntu" else "distribution_major_version"
    return distribution, str(facts.get(key, "unknown"))


def gpu_findings(declared: Mapping[str, object], groups: Mapping[str, Sequence[str]]) -> list[str]:
    """Hosts that declare GPUs without being in the group that sets GPUs up."""
    return [
        f"{name}: gpu_devices: found a declaration on a host outside the group gpu; accepted: the host in gpu, or no gpu_devices"
        for name, devices in declared.items()
        if devices and name not in (groups.get("gpu") or [])
    ]


def _shared(hosts: Iterable[Host], variable: str, value: Any, accepted: str) -> list[str]:
    """Findings for a value that more than one host has."""
    hosts = [host for host in hosts if value(host)]
    counts = Counter(value(host) for host in hosts)
    findings = []
    for shared in (item for item, number in counts.items() if number > 1):
        names = ", ".join(host.name for host in hosts if value(host) == shared)
        findings.append(f"{names}: {variable}: found {shared} on each of them; accepted: {accepted}")
    return findings
