# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which jobs show that a cluster does what it is for, given the nodes that it has."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.aicluster.slurm.plugins.module_utils import scontrol
from ansible_collections.aicluster.slurm.plugins.module_utils.hostlist import fold
from ansible_collections.aicluster.slurm.plugins.module_utils.jobs import FAIL, NOT_RUN, PASS, SKIPPED

_UNUSABLE = frozenset(
    {"DOWN", "DRAIN", "FAIL", "NOT_RESPONDING", "INVALID_REG", "UNKNOWN", "FUTURE", "MAINTENANCE", "RESERVED"}
)


@dataclass(frozen=True)
class NodeView:
    """A node as Slurm reports it."""

    name: str
    state: str
    usable: bool
    reason: str
    drained: bool
    """Somebody or something took it out; it is not broken for that alone."""
    cpus: int
    memory_mb: int
    gpus: int
    gres: str


@dataclass(frozen=True)
class Look:
    """What the head tells before the tests."""

    nodes: list[NodeView] = field(default_factory=list)
    members: dict[str, list[str]] = field(default_factory=dict)
    """The nodes of each partition that the user may use."""
    mpi: list[str] = field(default_factory=list)
    version: str = ""
    builds_in_use: list[str] = field(default_factory=list)
    report: dict[str, Any] = field(default_factory=dict)
    """The last one."""


def read_look(text: str) -> Look:
    """The sections `== NAME` of what the head printed."""
    sections: dict[str, str] = {}
    for part in re.split(r"^== ", text, flags=re.MULTILINE)[1:]:
        name, _newline, body = part.partition("\n")
        sections[name.strip()] = body
    members: dict[str, list[str]] = {}
    for line in sections.get("members", "").splitlines():
        words = line.split()
        if len(words) == 2:
            members.setdefault(words[1].rstrip("*"), []).append(words[0])
    try:
        report = json.loads(sections.get("report", ""))
    except ValueError:
        report = {}
    mpi = re.findall(r"^\s*(?:srun: )?([a-z][a-z0-9_]*)\s*$", sections.get("mpi", ""), re.MULTILINE)
    return Look(
        nodes=_nodes(sections.get("nodes", "")),
        members=members,
        mpi=mpi,
        version=sections.get("version", "").strip(),
        builds_in_use=sections.get("in_use", "").split(),
        report=report if isinstance(report, dict) else {},
    )


def _nodes(text: str) -> list[NodeView]:
    hardware = {}
    for line in text.splitlines():
        values = dict(re.findall(r"(?:^|\s)(NodeName|CPUTot|RealMemory)=(\S+)", line))
        if "NodeName" in values:
            hardware[values["NodeName"]] = (int(values.get("CPUTot", 0)), int(values.get("RealMemory", 0)))
    views = []
    for node in scontrol.parse_nodes_text(text).values():
        cpus, memory_mb = hardware.get(node.name, (0, 0))
        out = node.words & _UNUSABLE
        views.append(
            NodeView(
                name=node.name,
                state=node.state,
                usable=not out,
                reason=node.current_reason,
                drained=out == {"DRAIN"},
                cpus=cpus,
                memory_mb=memory_mb,
                gpus=_gpus(node.gres),
                gres=node.gres,
            )
        )
    return sorted(views, key=lambda view: [int(word) if word.isdigit() else word for word in _SPLIT.split(view.name)])


_SPLIT = re.compile(r"([0-9]+)")


def _gpus(gres: str) -> int:
    """How many GPUs a node's Gres has, such as gpu:a100:4(S:0-1),gpu:1g.10gb:7."""
    plain = re.sub(r"\([^)]*\)", "", gres)
    counts = [re.fullmatch(r"gpu(?::[^:]+)??(?::(\d+))?", item) for item in plain.split(",")]
    return sum(int(match[1] or 1) for match in counts if match)


def cover(members: Mapping[str, Sequence[str]], usable: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Few partitions that together have every usable node, each with those that no earlier one has; largest first."""
    left = set(usable)
    chosen: list[tuple[str, list[str]]] = []
    while left:
        partition = max(sorted(members), key=lambda name: len(left & set(members[name])), default="")
        found = left & set(members.get(partition, ()))
        if not found:
            break
        chosen.append((partition, [name for name in usable if name in found]))
        left -= found
    return chosen


@dataclass(frozen=True)
class Settings:
    """What the role says of the tests."""

    path: str
    """Where the scripts of the tests are, on the share."""
    folder: str
    """Where the jobs write."""
    python: str = ""
    """The interpreter of an environment with mpi4py and numpy."""
    containers: bool = False
    image: str = ""
    share_mb: int = 64
    seconds: int = 300
    mpirun_options: tuple[str, ...] = ()
    only: tuple[str, ...] = ()


def plan(look: Look, settings: Settings) -> list[dict[str, Any]]:
    """The jobs, as the module slurm_jobs takes them."""
    usable = [node for node in look.nodes if node.usable]
    groups = cover(look.members, [node.name for node in usable])
    jobs: list[dict[str, Any]] = []
    for number, (partition, names) in enumerate(groups):
        suffix = f"-{partition}" if number else ""
        jobs += [_over_all(settings, partition, names, suffix), _share(settings, partition, names, suffix)]
    if not groups:
        why = "no node that the cluster user may use takes jobs"
        jobs += [_skip("nodes", "a job over all nodes", why), _skip("share", "the share, from every node", why)]
    jobs.append(_array(settings, groups))
    jobs += _gpu_jobs(settings, usable, look.members)
    jobs += _mpi_jobs(settings, look, groups, {node.name: node.cpus for node in usable})
    jobs.append(_container(settings, groups))
    return [job for job in jobs if not settings.only or job["name"].partition("_")[0] in settings.only]


def _job(
    settings: Settings, name: str, title: str, options: Sequence[str], lines: Sequence[str], check: str = ""
) -> dict[str, Any]:
    script = "\n".join(["#!/bin/bash", "set -euo pipefail", *lines, ""])
    seconds = settings.seconds
    return {
        "name": name,
        "title": title,
        "options": list(options),
        "script": script,
        "seconds": seconds,
        "check": check,
    }


def _skip(name: str, title: str, why: str) -> dict[str, Any]:
    return {"name": name, "title": title, "skip": why}


def _on(partition: str, names: Sequence[str]) -> list[str]:
    return [f"--partition={partition}", f"--nodelist={fold(names)}", f"--nodes={len(names)}", "--ntasks-per-node=1"]


def _tool(settings: Settings, name: str) -> str:
    return shlex.quote(f"{settings.path}/{name}")


def _over_all(settings: Settings, partition: str, names: Sequence[str], suffix: str) -> dict[str, Any]:
    title = f"a job over {len(names)} node{'s' if len(names) > 1 else ''} of partition {partition}"
    argument = shlex.quote(" ".join(sorted(names)))
    return _job(
        settings,
        f"nodes{suffix and '_' + suffix[1:]}",
        title,
        _on(partition, names),
        [f"{_tool(settings, 'nodes.sh')} {argument}"],
    )


def _share(settings: Settings, partition: str, names: Sequence[str], suffix: str) -> dict[str, Any]:
    tool = f"srun python3 {_tool(settings, 'share.py')}"
    folder = shlex.quote(f"{settings.folder}/share{suffix}")
    ring = shlex.quote(",".join(names))
    return _job(
        settings,
        f"share{suffix and '_' + suffix[1:]}",
        f"the share is written and read from {len(names)} node{'s' if len(names) > 1 else ''}, with checksums",
        _on(partition, names),
        [
            f"mkdir -p {folder}",
            f"trap 'rm -rf {folder}' EXIT",
            # Two steps: what is read was written before, whatever the clocks and caches of the nodes say.
            f"{tool} write {folder} {ring} {settings.share_mb}",
            f"{tool} read {folder} {ring} {settings.share_mb}",
        ],
    )


def _array(settings: Settings, groups: Sequence[tuple[str, list[str]]]) -> dict[str, Any]:
    title = "an array of four jobs"
    if not groups:
        return _skip("array", title, "no node takes jobs")
    return _job(
        settings,
        "array",
        title,
        [f"--partition={groups[0][0]}", "--array=1-4", "--ntasks=1"],
        ['echo "$SLURM_ARRAY_TASK_ID" > "array.$SLURM_ARRAY_TASK_ID"', "sleep 1"],
        check='found=$(cat array.[1-4] | tr "\\n" " "); test "$found" = "1 2 3 4 " || '
        '{ echo "FAIL: the tasks 1 2 3 4 were asked for, these left a file: $found"; exit 1; }',
    )


def _gpu_jobs(
    settings: Settings, usable: Sequence[NodeView], members: Mapping[str, Sequence[str]]
) -> list[dict[str, Any]]:
    jobs = []
    for node in usable:
        if not node.gpus:
            continue
        partition = next((name for name in sorted(members) if node.name in members[name]), "")
        title = f"each of the {node.gpus} GPUs of {node.name} is given to one job step at a time"
        if not partition:
            jobs.append(_skip(f"gpus_{node.name}", title, "the cluster user may use no partition that has this node"))
        elif node.cpus < node.gpus:
            jobs.append(_skip(f"gpus_{node.name}", title, f"it has fewer CPUs ({node.cpus}) than GPUs"))
        else:
            options = [
                f"--partition={partition}",
                f"--nodelist={node.name}",
                f"--gres=gpu:{node.gpus}",
                f"--ntasks={node.gpus}",
                "--nodes=1",
            ]
            folder = shlex.quote(f"{settings.folder}/gpus-{node.name}")
            lines = [f"{_tool(settings, 'gpus.sh')} {node.gpus} {folder}"]
            jobs.append(_job(settings, f"gpus_{node.name}", title, options, lines))
    return jobs or [_skip("gpus", "each GPU is given to one job step at a time", "no usable node has GPUs")]


# Debian's plugin looks for the name without a version, which only the development package has.
_PMIX_LOADS = """\
said=$(srun --mpi=pmix true 2>&1) || {
    echo "$said"
    [[ $said != *"can not load PMIx library"* ]] || {
        echo "SKIP: Slurm's PMIx plugin finds no libpmix.so; libpmix-dev among delivery_packages brings it"
        exit 77
    }
}"""


def _mpi_jobs(
    settings: Settings, look: Look, groups: Sequence[tuple[str, list[str]]], cpus: Mapping[str, int]
) -> list[dict[str, Any]]:
    where, options, why = "two nodes", [], ""
    if not groups:
        why = "no node takes jobs"
    elif not settings.python:
        why = "no environment of delivery_environments has mpi4py and numpy"
    elif len(groups[0][1]) > 1:
        partition, names = groups[0]
        options = _on(partition, names[:2])
    else:
        partition, names = groups[0]
        where = f"two CPUs of {names[0]}, because partition {partition} has no second node"
        options = [f"--partition={partition}", f"--nodelist={names[0]}", "--nodes=1", "--ntasks=2"]
        if cpus.get(names[0], 0) < 2:
            why = f"{names[0]} has one CPU, and there is no second node"
    titles = {
        "mpirun": f"MPI over {where}, by mpirun",
        "pmix": f"MPI over {where}, by srun and PMIx",
        "federated": f"federated averaging over {where}",
    }
    if why:
        return [_skip(name, title, why) for name, title in titles.items()]
    python, hello = shlex.quote(settings.python), _tool(settings, "../samples/hello.py")
    mpirun = shlex.join(["mpirun", "-n", "2", *settings.mpirun_options])
    check = f"python3 {_tool(settings, 'ranks.py')} {{}}.out 2 {'2' if where == 'two nodes' else '1'}"
    jobs = [_job(settings, "mpirun", titles["mpirun"], options, [f"{mpirun} {python} {hello}"], check.format("mpirun"))]
    if any(name.startswith("pmix") for name in look.mpi):
        lines = [_PMIX_LOADS, f"srun --mpi=pmix {python} {hello}"]
        jobs.append(_job(settings, "pmix", titles["pmix"], options, lines, check.format("pmix")))
    else:
        found = ", ".join(look.mpi) or "nothing"
        jobs.append(_skip("pmix", titles["pmix"], f"Slurm's PMIx plugin is not here (srun --mpi=list shows {found})"))
    jobs.append(_federated(settings, groups[0], options, mpirun, where))
    return jobs


def _federated(
    settings: Settings, group: tuple[str, list[str]], options: Sequence[str], mpirun: str, where: str
) -> dict[str, Any]:
    partition, names = group
    if len(names) > 1:
        options = _on(partition, names)
        mpirun = mpirun.replace("-n 2", f"-n {len(names)}", 1)
        where = f"{len(names)} nodes"
    program = _tool(settings, "../samples/fedavg.py")
    return _job(
        settings,
        "federated",
        f"federated averaging over {where}",
        options,
        [f"{mpirun} {shlex.quote(settings.python)} {program} federated.json"],
        f"python3 {_tool(settings, 'optimum.py')} federated.json",
    )


def _container(settings: Settings, groups: Sequence[tuple[str, list[str]]]) -> dict[str, Any]:
    title = "a job in a container"
    if not settings.containers:
        return _skip("container", title, "containers are off (nodes_containers)")
    if not settings.image:
        return _skip("container", title, "no image is named (delivery_images, delivery_selftest_image)")
    if not groups:
        return _skip("container", title, "no node takes jobs")
    image = shlex.quote(f"--container-image={settings.image}")
    mounts = shlex.quote(f"--container-mounts={settings.folder}:/workspace")
    return _job(
        settings,
        "container",
        title,
        [f"--partition={groups[0][0]}", "--ntasks=1"],
        [f"srun {image} {mounts} sh -c 'id -u > /workspace/container'"],
        "test -s container || { echo 'FAIL: the container did not write to the folder that it was given'; exit 1; }",
    )


# --- Rows that need no job --------------------------------------------------------------------------------------------


def node_rows(look: Look) -> list[dict[str, Any]]:
    """A row for each node that takes no jobs, so that nobody thinks that it was tested."""
    return [
        row(
            f"node_{node.name}",
            f"node {node.name}",
            NOT_RUN if node.drained else FAIL,
            f"it takes no jobs: {node.state}{f', {node.reason}' if node.reason else ''}",
        )
        for node in look.nodes
        if not node.usable
    ]


def storage_row(found: Mapping[str, str] | None, share: str) -> dict[str, Any]:
    """The server's side of the share: exported, and written by the cluster's user.

    `found` is what the server printed: `exports` (lines), `wanted` (files that say so), `write` (an error, or nothing).
    """
    title = "the storage server exports the share, and the cluster user writes there"
    if found is None:
        return row("storage", title, SKIPPED, "the group nfs is empty: the storage is not ours")
    if found["write"]:
        return row("storage", title, FAIL, f"the cluster user cannot write to {share}: {found['write']}")
    if not found["wanted"]:
        why = f"nothing exports {share} on this host; the cluster user can write there"
        return row("storage", title, SKIPPED, why)
    exported = [line for line in found["exports"].splitlines() if line.split()[:1] == [share]]
    if not exported:
        return row("storage", title, FAIL, f"{found['wanted']} names {share}, but the server does not export it")
    return row("storage", title, PASS)


def row(name: str, title: str, verdict: str, reason: str = "") -> dict[str, Any]:
    """A row of the report without a job."""
    return {
        "name": name,
        "title": title,
        "verdict": verdict,
        "reason": reason,
        "job": "",
        "nodes": "",
        "seconds": 0,
        "waited": 0,
        "lines": [],
        "measured": [],
        "output": "",
    }


def fingerprint(*things: object) -> str:
    """Changes when one of the things changes that the tests stand on."""
    return hashlib.sha256(json.dumps(things, sort_keys=True, default=str).encode()).hexdigest()[:16]


def due(look: Look, jobs: Sequence[Mapping[str, Any]], stands_on: object) -> dict[str, Any]:
    """Whether the tests have to run: the last report is no pass, or of something else."""
    nodes = [(node.name, node.usable, node.cpus, node.memory_mb, node.gres) for node in look.nodes]
    mark = fingerprint(nodes, list(jobs), look.version, stands_on)
    last = look.report
    return {"fingerprint": mark, "due": last.get("verdict") != PASS or last.get("fingerprint") != mark}


def read_storage(text: str) -> dict[str, str] | None:
    """The sections `== NAME` of what the storage server printed; None where there is none."""
    if not text.strip():
        return None
    found = {"exports": "", "wanted": "", "write": ""}
    for part in re.split(r"^== ", text, flags=re.MULTILINE)[1:]:
        name, _newline, body = part.partition("\n")
        found[name.strip()] = body.strip()
    return found
