# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A running Slurm as an inventory: every node, in groups by partition, state, gres and feature."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.aicluster.slurm.plugins.module_utils.command import CommandError, Result, Runner
from ansible_collections.aicluster.slurm.plugins.module_utils.scontrol import (
    Node,
    ScontrolError,
    parse_version,
    read_nodes,
)
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_failures import explain

from .hosts import is_address
from .inventory import OWN_GROUPS, Inventory, InventoryError, checked, refusal, safe_group, short
from .topology import ROLES

SHOW_CONFIG = ["scontrol", "show", "config"]

# Wider than what we would name a host, because nobody renames a cluster that runs; but no option of ssh, no template.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
# ssh (255), or the shell on the other side, or here: it is not Slurm that speaks.
_NOT_SLURM = (126, 127, 255)

_VERSION = re.compile(r"^SLURM_VERSION\s*=\s*(\S+)", re.MULTILINE)
# Its name, and its address where the configuration has one.
_CONTROLLER = re.compile(r"^SlurmctldHost\[[0-9]+\]\s*=\s*([^\s()]+)(?:\(([^\s()]+)\))?", re.MULTILINE)
# NAME:COUNT or NAME:TYPE:COUNT, and perhaps sockets or indexes in brackets
_GRES = re.compile(r"([^,:()]+)(?::([^,:()]+))?:[^,:()]+(?:\([^()]*\))?")


def command_runner(command: Sequence[str], timeout: float) -> Runner:
    """A runner that puts `command` in the place of scontrol; sinfo is looked for beside it. `timeout` is in seconds."""

    def run(argv: Sequence[str]) -> Result:
        *before, tool = command
        folder, name = os.path.split(tool)
        # A wrapper of another name stands for scontrol only.
        if argv[0] != "scontrol" and name != "scontrol":
            return Result(list(argv), 127, "", f"no {argv[0]} beside {tool}")
        tool = tool if argv[0] == "scontrol" else os.path.join(folder, argv[0])
        real = [*before, tool, *argv[1:]]
        try:
            done = subprocess.run(
                real,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
                encoding="utf-8",
                errors="surrogateescape",
                env={**os.environ, "LC_ALL": "C"},
                timeout=timeout,
            )
        except subprocess.TimeoutExpired:
            return Result(real, 124, "", f"no answer within {timeout:g} s")
        except OSError as error:
            return Result(real, 127, "", str(error))
        return Result(real, done.returncode, done.stdout, done.stderr)

    return run


def read_running(run: Runner) -> Inventory:
    """The inventory of the Slurm that `run` asks. Raises InventoryError, also where Slurm has no node."""
    config = run(SHOW_CONFIG)
    if config.rc:
        raise InventoryError(f"running Slurm: {_why(config)}")
    version = _VERSION.search(config.stdout)
    if not version:
        found, accepted = f"{config.stdout.strip()[:80]!r}", "what `scontrol show config` prints"
        raise refusal(f"running Slurm: `{' '.join(config.argv)}`", found, accepted)
    try:
        nodes = read_nodes(run, parse_version(f"slurm {version[1]}"))
    except CommandError as error:
        raise InventoryError(f"running Slurm: {_why(error.result)}") from None
    except ScontrolError as error:
        raise InventoryError(f"running Slurm: {error}") from None
    if not nodes:
        raise refusal("running Slurm", "no node", "one node or more in its configuration")
    return _inventory(nodes, dict(_CONTROLLER.findall(config.stdout)))


def _why(result: Result) -> str:
    """Why a command failed."""
    return str(CommandError(result)) if result.rc in _NOT_SLURM else explain(result)


def _inventory(nodes: Mapping[str, Node], controllers: Mapping[str, str]) -> Inventory:
    hosts: dict[str, dict[str, Any]] = {}
    groups: dict[str, list[str]] = {}
    members = {name: list(dict.fromkeys(_groups(node))) for name, node in nodes.items()}
    taken = {*ROLES, *OWN_GROUPS}.union(*members.values())
    host_of = {name: _host_name(name, taken, {*controllers, *nodes}) for name in (*controllers, *nodes)}
    for name, address in controllers.items():
        hosts[host_of[name]] = _connection(name, address, host_of[name])
        groups.setdefault("head", []).append(host_of[name])
    for name, node in nodes.items():
        hosts[host_of[name]] = {
            **_connection(name, node.address, host_of[name]),
            "slurm_features": list(node.features),
            "slurm_gres": node.gres,
            "slurm_partitions": list(node.partitions),
            "slurm_reason": node.current_reason,
            "slurm_state": node.state,
            "slurm_version": node.version,
        }
        for group in members[name]:
            groups.setdefault(group, []).append(host_of[name])
    return checked(Inventory(hosts, groups, {}))


def _host_name(name: str, taken: Collection[str], names: Collection[str]) -> str:
    """The host of a controller or node: its own name, after slurm_ where a group has that. Raises InventoryError.

    Ansible would take such a host for the group.
    """
    if not _NAME.fullmatch(name):
        raise refusal("running Slurm", f"the host name {short(name)}", "letters, digits, '.', '-' and '_'")
    host = name
    while host in taken or (host != name and host in names):
        host = f"slurm_{host}"
    return host


def _connection(name: str, address: str, host: str) -> dict[str, str]:
    """How Ansible gets to it, and Slurm's name of it where that of the host is another."""
    address = address or name
    if not _NAME.fullmatch(address) and not is_address(address):
        raise refusal(f"running Slurm: {name}", f"the address {short(address)}", "a name or an address")
    return {
        **({"ansible_host": address} if address != host else {}),
        **({"nodes_name": name} if name != host else {}),
    }


def _groups(node: Node) -> Iterator[str]:
    yield "nodes"
    yield from (f"slurm_partition_{safe_group(name)}" for name in node.partitions)
    yield from (f"slurm_state_{safe_group(word.lower())}" for word in sorted(node.words))
    yield from (f"slurm_feature_{safe_group(name)}" for name in node.features)
    for name, kind in _GRES.findall(node.gres):
        if name == "gpu":
            yield "gpu"
        yield f"slurm_gres_{safe_group(name)}"
        if kind:
            yield f"slurm_gres_{safe_group(name)}_{safe_group(kind)}"
