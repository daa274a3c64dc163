# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is wrong with an inventory, found before anything changes: a line each, with host, variable, found, accepted."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.aicluster.slurm.plugins.module_utils import slurm_conf, slurm_keys

from .hosts import Host, in_network, is_address, is_network, read_host

SUPPORTED = {"Debian": ("12", "13"), "Ubuntu": ("22.04", "24.04")}
"""Operating systems with a Slurm that this collection knows: distribution to its releases."""

ARCHITECTURES = ("x86_64", "aarch64")
"""Debian's amd64 and arm64."""

RESERVED_NAMES = ("ALL", "DEFAULT")
"""NodeName values with a meaning of their own in slurm.conf(5)."""

NODE_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?")


def inventory_findings(
    groups: Mapping[str, Sequence[str]],
    hostvars: Mapping[str, Mapping[str, Any]],
    compute: Sequence[str],
    network: str = "",
    store: Mapping[str, Mapping[str, Any]] | None = None,
    allow_unsupported: bool = False,
) -> list[str]:
    """Every finding of every check below, in a stable order."""
    findings = group_findings(groups, compute) + network_findings(network)
    if network_findings(network):
        return findings
    names = list(dict.fromkeys(name for group in ("nfs", "head", "nodes", "gpu") for name in groups.get(group) or []))
    hosts = [read_host(name, hostvars[name], network or "", store or {}) for name in names]
    facts = {name: hostvars[name].get("ansible_facts") or {} for name in names}
    facts = {name: each for name, each in facts.items() if each.get("distribution")}
    slurm_hosts = [name for name in names if name in compute or name in (groups.get("head") or [])]
    return [
        *findings,
        *name_findings(hosts, compute),
        *address_findings(hosts, network, list(facts)),
        *system_findings(facts, slurm_hosts, allow_unsupported),
        *gpu_findings({name: hostvars[name] for name in names}, groups),
    ]


def finding(where: str, what: str, found: str, accepted: str) -> str:
    """The one form of a finding: a host (or the inventory), a variable, what was found there, what is accepted."""
    return f"{where}: {what}: found {found}; accepted: {accepted}"


def network_findings(network: str) -> list[str]:
    """Whether `cluster_network` is a network at all; the other checks need that."""
    if not network or is_network(network):
        return []
    return [finding("all hosts", "cluster_network", repr(network), "a network such as 10.0.0.0/24, or empty")]


def group_findings(groups: Mapping[str, Sequence[str]], compute: Sequence[str]) -> list[str]:
    """Groups that must hold a host, and hosts whose groups contradict each other."""
    findings = []
    heads, servers = groups.get("head") or [], groups.get("nfs") or []
    if not heads:
        findings.append(finding("inventory", "group head", "no host", "one host or more; the first runs slurmctld"))
    if not groups.get("nodes"):
        findings.append(finding("inventory", "group nodes", "no host", "one host or more, which run slurmd"))
    if len(servers) > 1:
        accepted = "one host, or none where the storage is not ours"
        findings.append(finding("inventory", "group nfs", ", ".join(servers), accepted))
    accepted = "a host of the group nodes, or of head with head_compute"
    for name in groups.get("gpu") or []:
        if name not in compute:
            findings.append(finding(name, "group gpu", "a host that does not compute", accepted))
    return findings


def name_findings(hosts: Iterable[Host], compute: Sequence[str]) -> list[str]:
    """Names that Slurm or ssh would trip over, and names that two hosts share."""
    findings = []
    hosts = list(hosts)
    for host in hosts:
        if is_address(host.name):
            accepted = "a name, with the address in ansible_host"
            findings.append(finding(host.name, "inventory name", "an address", accepted))
        elif host.name in compute and (not NODE_NAME.fullmatch(host.node) or host.node.upper() in RESERVED_NAMES):
            accepted = f"letters, digits, '-' and '_', not at the ends, and none of {', '.join(RESERVED_NAMES)}"
            findings.append(finding(host.name, "nodes_name", repr(host.node), accepted))
    return findings + _shared(hosts, "nodes_name", lambda host: host.node, "one node name for each host")


def address_findings(hosts: Iterable[Host], network: str, reached: Sequence[str]) -> list[str]:
    """Hosts of this run without an address in the cluster's network, and addresses that two hosts share."""
    findings = []
    hosts = list(hosts)
    accepted = f"an address in cluster_network {network}" if network else "an address, on the default route or declared"
    for host in hosts:
        if host.name in reached and not in_network(host.address, network):
            found = host.address or ", ".join(host.addresses) or "no address"
            findings.append(finding(host.name, "nodes_address", found, accepted))
    return findings + _shared(hosts, "nodes_address", lambda host: host.address, "one address for each host")


def system_findings(facts: Mapping[str, Mapping[str, Any]], slurm_hosts: Sequence[str], allow: bool) -> list[str]:
    """Operating systems that are not supported, or that would give the cluster two versions of Slurm.

    `facts` maps each host that was reached to its facts; `slurm_hosts` run a Slurm daemon.
    """
    systems = {name: system(each) for name, each in facts.items()}
    accepted = ", ".join(f"{name} {release}" for name, releases in SUPPORTED.items() for release in releases)
    accepted += ", or any with cluster_allow_unsupported_os"
    findings = [
        finding(name, "operating system", " ".join(found), accepted)
        for name, found in systems.items()
        if not allow and found[1] not in SUPPORTED.get(found[0], ())
    ]
    kinds = {name: systems[name] for name in slurm_hosts if name in systems}
    if len(set(kinds.values())) > 1:
        first, wanted = next(iter(kinds.items()))
        accepted = f"{' '.join(wanted)} as on {first}, because every host must run the same version of Slurm"
        for name, found in kinds.items():
            if found != wanted:
                findings.append(finding(name, "operating system", " ".join(found), accepted))
    return findings


def architecture_findings(machines: Mapping[str, str], allow: bool) -> list[str]:
    """Processors that nobody has tried, by host; as uname(2) names them."""
    accepted = f"{', '.join(ARCHITECTURES)}, or any with cluster_allow_unsupported_os"
    return [
        finding(name, "architecture", found, accepted)
        for name, found in machines.items()
        if not allow and found not in ARCHITECTURES
    ]


def partition_findings(
    partitions: Mapping[str, Any], nodesets: Mapping[str, Any], nodes: Collection[str], release: str
) -> list[str]:
    """What Slurm would not take of `cluster_partitions` and `cluster_nodesets`; `nodes` are those of the cluster.

    Their keys are judged where a host tells which release of Slurm it has or gets.
    """
    lines = slurm_conf.line_findings(partitions, nodesets, nodes)
    for kind, named in ((slurm_keys.PARTITION, partitions), (slurm_keys.NODESET, nodesets)):
        for name, keys in named.items():
            if release and isinstance(keys, Mapping):
                lines += slurm_keys.findings(release, kind, f"{kind} {name}", keys)
    return [f"inventory: {line}" for line in lines]


def system(facts: Mapping[str, Any]) -> tuple[str, str]:
    """Distribution and release, in the spelling of SUPPORTED (Debian by its major version)."""
    distribution = str(facts.get("distribution", "unknown"))
    key = "distribution_version" if distribution == "Ubuntu" else "distribution_major_version"
    return distribution, str(facts.get(key, "unknown"))


def gpu_findings(hostvars: Mapping[str, Mapping[str, Any]], groups: Mapping[str, Sequence[str]]) -> list[str]:
    """Hosts that declare GPUs without being in the group that sets GPUs up, and GPUs that cannot be shared as asked."""
    findings = []
    for name, variables in hostvars.items():
        devices = variables.get("gpu_devices")
        if devices and name not in (groups.get("gpu") or []):
            found, accepted = "a declaration on a host outside the group gpu", "the host in gpu, or no gpu_devices"
            findings.append(finding(name, "gpu_devices", found, accepted))
        elif name in (groups.get("gpu") or []):
            findings += [finding(name, *each) for each in _sharing(variables, devices or [])]
    return findings


def whole_number(value: object) -> int:
    """A number that people wrote; 0 for what is none, which the argument specs refuse."""
    return int(str(value)) if str(value).isdigit() else 0


def _sharing(variables: Mapping[str, Any], devices: object) -> Iterator[tuple[str, str, str]]:
    """Variable, what was found, and what is accepted, where the parts of GPUs and the declared GPUs do not fit."""
    parts = {name: count for name in ("gpu_mps", "gpu_shards") if (count := whole_number(variables.get(name)))}
    if len(parts) > 1:
        yield "gpu_mps", f"{parts['gpu_mps']} together with gpu_shards", "one of both, a GPU is shared in one way"
    for name, number in parts.items():
        # gres.conf(5): Flags; AMD's and Intel's device files are render nodes, a MIG instance's are capabilities.
        if name == "gpu_mps" and re.search(r"(amd|intel)_gpu_env|/dev/dri/", str(devices)):
            accepted = "NVIDIA GPUs, because MPS is CUDA's; gpu_shards for others"
            yield name, f"{number} with GPUs of another vendor in gpu_devices", accepted
        if re.search(r"multiple_files|/dev/nvidia-caps/", str(devices)):
            yield name, f"{number} with MIG instances in gpu_devices", "whole GPUs"


def _shared(hosts: Iterable[Host], variable: str, value: Callable[[Host], str], accepted: str) -> list[str]:
    """Findings for a value that more than one host has."""
    hosts = [host for host in hosts if value(host)]
    counts = Counter(value(host) for host in hosts)
    findings = []
    for shared in (item for item, number in counts.items() if number > 1):
        names = ", ".join(host.name for host in hosts if value(host) == shared)
        findings.append(finding(names, variable, f"{shared} on each of them", accepted))
    return findings
