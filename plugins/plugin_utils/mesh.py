# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who may reach whom by ssh, and the lines that make it so (sshd(8): known hosts, authorized keys)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.aicluster.slurm.plugins.plugin_utils.hosts import Host, names_of

ALL = "all"
GROUPS = ("nfs", "head", "nodes", "gpu")
"""Groups that may be named where the inventory has none of them."""
KIND = "ssh-ed25519"


class MeshError(Exception):
    """The map names what is not there."""


@dataclass(frozen=True)
class Keys:
    """The public keys of a host, each without its kind; empty for what is not known in this run."""

    own: str
    """The key by which its cluster user reaches others."""
    host: str
    """The key by which its sshd proves who it is."""


def sources(
    mesh: Mapping[str, Sequence[str]] | str, groups: Mapping[str, Sequence[str]], hosts: Sequence[str]
) -> dict[str, list[str]]:
    """By host, who may reach it; itself always. MeshError with all that is wrong in the map."""
    if mesh == ALL:
        return {host: list(hosts) for host in hosts}
    wrong = _findings(mesh, {*groups, *GROUPS, *hosts})
    # Of text _findings finds something, which mypy cannot know.
    if wrong or isinstance(mesh, str):
        raise MeshError("\n".join(f"common_ssh_mesh: {text}" for text in wrong))
    reached = {host: {host} for host in hosts}
    for origin, targets in mesh.items():
        for target in targets:
            for host in _members(target, groups, hosts):
                reached[host] |= set(_members(origin, groups, hosts))
    return {host: [each for each in hosts if each in reached[host]] for host in hosts}


def _findings(mesh: Any, names: Collection[str]) -> list[str]:
    if not isinstance(mesh, Mapping):
        return [f"found {mesh}; accepted: {ALL}, or a map of hosts and groups to lists of them"]
    wrong = [
        f"{origin}: found {targets}; accepted: a list of hosts and groups"
        for origin, targets in mesh.items()
        if isinstance(targets, str) or not isinstance(targets, Sequence)
    ]
    if wrong:
        return wrong
    named = dict.fromkeys(name for origin, targets in mesh.items() for name in (origin, *targets))
    return [f"found {name}; accepted: a host or a group of the inventory" for name in named if name not in names]


def _members(name: str, groups: Mapping[str, Sequence[str]], hosts: Sequence[str]) -> list[str]:
    if name in hosts:
        return [name]
    members = set(groups.get(name) or ())
    return [host for host in hosts if host in members]


def lines(hosts: Sequence[Host], keys: Mapping[str, Keys], admitted: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """What the hosts write: lines of those whose keys are known, and the names of the others, whose lines stay."""
    names = names_of(hosts)
    return {
        "known": [
            f"{','.join(dict.fromkeys([*names[host.name], host.address]))} {KIND} {keys[host.name].host}"
            for host in hosts
            if keys[host.name].host and host.address
        ],
        # Every name: which one came first may have been another one when the line was written.
        "unknown": sorted(
            {name for host in hosts if not keys[host.name].host for name in (*names[host.name], host.address) if name}
        ),
        "lines": {
            host.name: f'from="{host.address}" {KIND} {keys[host.name].own} key_{host.name}'
            for host in hosts
            if keys[host.name].own and host.address
        },
        "sources": dict(admitted),
    }
