# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The wizard: a few answers, and what the hosts say of themselves, as an inventory folder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from ansible_collections.aicluster.slurm.plugins.module_utils.hostlist import HostlistError, expand

from .hosts import host_address, is_address
from .inventory import ITEM, OWN_GROUPS, InventoryError, check_name, host_names, refusal, short
from .topology import ROLES

USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.@-]*")
PATH = re.compile(r"/[A-Za-z0-9_./+-]*[A-Za-z0-9_+-]")

PROBE = r"""
set -- $SSH_CONNECTION
address=${3:-$(hostname -I 2>/dev/null | cut -d' ' -f1)}
gpus=$(for device in /sys/bus/pci/devices/*; do
    case $(cat "$device/class" 2>/dev/null):$(cat "$device/vendor" 2>/dev/null):${device##*/} in
        0x03*:0x10de:* | 0x12*:0x10de:*) echo NVIDIA ;;
        0x0380*:0x1002:* | 0x12*:0x1002:*) echo AMD ;;
        *:0x8086:0000:00:*) ;; # a part of the processor
        0x03*:0x8086:* | 0x12*:0x8086:*) echo Intel ;;
    esac
done | sort | uniq -c)
echo "aicluster-probe address=$address cpus=$(getconf _NPROCESSORS_ONLN)" \
    "memory_kb=$(sed -n 's/^MemTotal: *\([0-9]*\).*/\1/p' /proc/meminfo) gpus=$(echo $gpus | tr ' ' ,)"
"""
"""A script for sh that prints the line which parse_probe reads; it needs no Python and no rights."""


class Answers(NamedTuple):
    """What was asked, checked."""

    head: str
    storage: str
    """Empty where the storage is not ours."""
    nodes: list[str]
    gpu: list[str]
    addresses: dict[str, str]
    """Of those hosts whose address was given."""
    user: str
    """Empty where ssh knows whom to be."""
    shared_path: str

    @property
    def hosts(self) -> list[str]:
        """Every host once."""
        return list(dict.fromkeys(name for name in (self.storage, self.head, *self.nodes) if name))


class Probe(NamedTuple):
    """What a host says of itself."""

    address: str
    cpus: int
    memory_mb: int
    gpus: str
    """Such as `8 NVIDIA`, empty for none."""

    def __str__(self) -> str:
        memory = f"{self.memory_mb / 1024:.0f} GiB" if self.memory_mb >= 1024 else f"{self.memory_mb} MiB"
        gpus = f", GPUs: {self.gpus}" if self.gpus else ""
        return f"{self.address or 'no address'}, {self.cpus} CPUs, {memory}{gpus}"


def read_answers(raw: Mapping[str, object]) -> Answers:
    """The answers, by the variables of the playbook. Raises InventoryError, which names the variable."""
    addresses: dict[str, str] = {}

    def hosts(variable: str, accepted: str, least: int, most: int | None = None) -> list[str]:
        names = _hosts(variable, _text(variable, raw.get(variable)), addresses)
        if len(names) < least or (most and len(names) > most):
            raise refusal(variable, ", ".join(names) or "no host", accepted)
        return names

    head = hosts("configure_head", "one host", 1, 1)
    storage = hosts("configure_storage", "one host, or none where the storage is not ours", 0, 1)
    nodes = hosts("configure_compute", "one host or more here or in configure_gpu", 0)
    gpu = hosts("configure_gpu", "hosts", 0)
    nodes = list(dict.fromkeys([*nodes, *gpu]))
    if not nodes:
        raise refusal("configure_compute", "no host", "one host or more here or in configure_gpu")
    _check_addresses(addresses)
    user = str(raw.get("configure_user") or "")
    path = re.sub("/+", "/", str(raw.get("configure_shared_path") or "/data"))
    path = path.rstrip("/") or path
    if user and not USER.fullmatch(user):
        raise refusal("configure_user", short(user), "the name of an account, or nothing where ssh knows it")
    if not PATH.fullmatch(path) or {".", ".."} & set(path.split("/")):
        raise refusal("configure_shared_path", short(path), "an absolute path such as /data, without . and ..")
    return Answers(head[0], "".join(storage), nodes, gpu, addresses, user, path)


def _text(variable: str, answer: object) -> str:
    """An answer in one text; -e may give a list of hosts."""
    if answer is None or isinstance(answer, (str, int)):
        return str(answer or "")
    if not isinstance(answer, (list, tuple)) or not all(isinstance(item, str) for item in answer):
        raise refusal(variable, short(answer), "host lists, with commas or as a list")
    return ",".join(answer)


def parse_probe(text: str) -> Probe | None:
    """What PROBE printed, among whatever a login prints; None where it did not run."""
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["aicluster-probe"]:
            values = dict(word.split("=", 1) for word in words[1:] if "=" in word)
            numbers = [values.get(key, "") for key in ("cpus", "memory_kb")]
            if all(map(str.isdecimal, numbers)):
                gpus = values.get("gpus", "").split(",")
                counted = ", ".join(f"{count} {name}" for count, name in zip(gpus[::2], gpus[1::2]))
                return Probe(values.get("address", ""), int(numbers[0]), int(numbers[1]) // 1024, counted)
    return None


def report(answers: Answers, probes: Mapping[str, Probe | None]) -> list[str]:
    """A line for each host, to be shown."""
    lines = []
    for name in answers.hosts:
        probe = probes.get(name)
        line = f"{name}: {probe or 'did not answer; site.yml finds its values when it does'}"
        if probe and probe.gpus and name not in answers.gpu:
            line += " (not in configure_gpu, so its GPUs stay unused)"
        if probe and not probe.gpus and name in answers.gpu:
            line += " (in configure_gpu, and no GPU was seen)"
        lines.append(line)
    return lines


def files(answers: Answers, probes: Mapping[str, Probe | None]) -> dict[str, str]:
    """The files of the inventory folder, by their paths in it."""
    storage = [answers.storage] if answers.storage else []
    groups = {"nfs": storage, "head": [answers.head], "nodes": answers.nodes, "gpu": answers.gpu}
    seen: set[str] = set()
    lines = [*HEADER, HOSTS.strip()]
    for group, names in groups.items():
        lines += ["", *(f"# {line}" for line in MEANING[group]), f"[{group}]"]
        for name in names:
            lines.append(name if name in seen else _host_line(name, answers, probes.get(name)))
            seen.add(name)
    user = f"ansible_user: {answers.user}" if answers.user else "# ansible_user: admin"
    variables = GROUP_VARS.format(user=user, path=answers.shared_path).strip()
    return {
        "hosts": "\n".join(lines) + "\n",
        "group_vars/all.yml": "\n".join([*HEADER, "---", variables]) + "\n",
    }


HEADER = [
    "# Written by the playbook configure of aicluster.slurm. Change it as you like: it is written again only when you",
    "# play configure again, and what is here then is kept in a folder beside this one.",
]

HOSTS = """
# A name is what ssh connects to, unless ansible_host says otherwise. Up to the first dot it is the name in Slurm.
# Behind a name: ansible_host=10.0.0.11, and variables such as nodes_features='["fast"]' or nodes_weight=10.
"""

MEANING = {
    "nfs": ["The host that the shared storage belongs to; none where the storage is not ours to set up."],
    "head": ["Runs slurmctld, and is where users log in."],
    "nodes": ["Run jobs."],
    "gpu": ["Those of the nodes that have GPUs."],
}

GROUP_VARS = """
# Who ssh connects as; needs sudo unless it is root. Left out, ssh and its configuration decide.
{user}

# Where every host has the shared storage.
cluster_shared_path: {path}

# Slurm's name of the cluster. It cannot be changed once the cluster has run.
# cluster_name: cluster

# Hosts with several addresses: the one in this network is the cluster's. Left out, it is that of the default route.
# cluster_network: 10.0.0.0/24

# Partitions by name, with Slurm's own keys; quote times. Left out, there is one, main, of all nodes.
# cluster_partitions:
#   main: {{MaxTime: "7-00:00:00"}}
#   debug: {{Nodes: "node[1-2]", MaxTime: "00:30:00"}}

# Any key of slurm.conf, over the defaults. A key without a value is removed.
# cluster_config:
#   SlurmdTimeout: 120
"""


def _hosts(variable: str, text: str, addresses: dict[str, str]) -> list[str]:
    """The names in an answer; addresses behind `=` go into `addresses`."""
    found: list[str] = []
    for item in ITEM.findall(text):
        names_text, _separator, addresses_text = item.partition("=")
        try:
            names, given = host_names(names_text), expand(addresses_text)
        except HostlistError as error:
            raise InventoryError(f"{variable}: {error}") from None
        for name in names:
            check_name(name, variable, None)
            if is_address(name):
                raise refusal(variable, name, f"a name; its address may stand behind it, as in node1={name}")
            if name in (*ROLES, *OWN_GROUPS):
                raise refusal(variable, name, "a name that no group of the inventory has")
        if given and (len(given) != len(names) or not all(map(host_address, given))):
            raise refusal(variable, short(item), "an address for each name, as in node[1-2]=10.0.0.[11-12]")
        for name, address in zip(names, map(host_address, given)):
            if addresses.setdefault(name, address) != address:
                raise refusal(variable, f"{name}={address}", f"{name}={addresses[name]}, as it was said before")
        found += names
    return list(dict.fromkeys(found))


def _check_addresses(addresses: Mapping[str, str]) -> None:
    """InventoryError for an address that two hosts have."""
    owners: dict[str, str] = {}
    for name, address in addresses.items():
        if owners.setdefault(address, name) != name:
            raise refusal(name, f"{address}, which {owners[address]} has as well", "every address once")


def _host_line(name: str, answers: Answers, probe: Probe | None) -> str:
    """A host where the inventory names it first, with what is known of it."""
    address = f" ansible_host={answers.addresses[name]}" if name in answers.addresses else ""
    return f"{name}{address} # {probe or 'did not answer; site.yml finds its values when it does'}"
