# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is wanted of Slurm's configuration beside what is there and what runs, and the plan that follows from that.

The data are the options of slurm_config, by their names there.
"""

from __future__ import annotations

import os
from typing import Any, Iterable, Mapping, NamedTuple

from ansible_collections.aicluster.slurm.plugins.module_utils import (
    slurm_adopt,
    slurm_files,
    slurm_generations,
    slurm_keys,
    slurm_plan,
)
from ansible_collections.aicluster.slurm.plugins.module_utils.command import Runner
from ansible_collections.aicluster.slurm.plugins.module_utils.config_files import ConfigFiles
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_apply import PING, Controller, answering
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_conf import HEADER, Cluster, ConfigError, render
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_conf_reader import ReadError
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_live import Running, jobs, look, unfinished

DATA = ("config", "nodes", "partitions", "nodesets", "cgroup", "gres", "plugstack", "files")
"""The options that make up the configuration, in the order of Cluster."""


class RefusedError(Exception):
    """The module will not do this, or the cluster did not take it; `facts` belong to the result."""

    def __init__(self, message: str, **facts: Any) -> None:
        self.facts = facts
        super().__init__(message)


class Case(NamedTuple):
    """What is wanted, what is there, and what follows from that."""

    texts: Mapping[str, str]
    """The files that shall be in place."""
    there: Mapping[str, str]
    """Those that are."""
    wanted: slurm_files.Configuration
    in_use: slurm_files.Configuration
    running: Running
    answering: list[str]
    """Of several controllers those that answer; the first of them controls the cluster."""
    differ: bool
    """Whether files have to be written."""
    plan: slurm_plan.Plan
    kept: Mapping[str, Any]
    """What of `texts` is in no data, because it was in foreign files; empty where nothing is kept."""


def check_keys(params: Mapping[str, Any], version: str) -> None:
    """Refuse keys that this version of Slurm does not know; ConfigError."""
    findings = slurm_keys.findings(version, slurm_keys.GLOBAL, "slurm.conf", params["config"] or ())
    findings += slurm_keys.findings(version, slurm_keys.CGROUP, "cgroup.conf", params["cgroup"])
    for node in params["nodes"] or []:
        findings += slurm_keys.findings(version, slurm_keys.NODE, f"node {node.get('NodeName')}", node)
    for index, line in enumerate(params["gres"]):
        findings += slurm_keys.findings(version, slurm_keys.GRES, f"gres[{index}]", line)
    for kind, option in ((slurm_keys.PARTITION, "partitions"), (slurm_keys.NODESET, "nodesets")):
        for name, keys in params[option].items():
            findings += slurm_keys.findings(version, kind, f"{kind} {name}", keys or {})
    if findings:
        raise ConfigError(findings)


def wanted_texts(
    params: Mapping[str, Any], files: ConfigFiles, there: Mapping[str, str], noted: Mapping[str, Any], version: str
) -> tuple[dict[str, str], Mapping[str, Any]]:
    """The texts that shall be in place, and what in them is kept of foreign files: `noted`, if that was before.

    Raises RefusedError, ConfigError, or ReadError for foreign files.
    """
    if params["state"] == "reverted":
        texts = files.previous()
        if "slurm.conf" not in texts:
            raise RefusedError(
                f"state: found no files in {files.state} to go back to; accepted: a host with an earlier change"
            )
        return texts, noted
    cluster = Cluster(*(params[key] for key in DATA))
    texts = render(cluster)
    foreign = not files.used() and any(not text.startswith(HEADER) for text in there.values())
    if params["adopt"] == "drop" or not (foreign or noted):
        return texts, {}
    live = slurm_files.read(there if foreign else files.used(), version, slurm_files.beside(files.folder))
    wanted = slurm_files.read(texts, version)
    changes = slurm_files.diff(live, wanted)
    if params["adopt"] == "keep":
        more = slurm_adopt.extra(cluster, live, changes) if foreign else slurm_adopt.left(cluster, noted)
        return render(slurm_adopt.kept(cluster, more, changes)), more
    if not foreign:
        # What was kept until now; other things that are gone were in the data once.
        live = slurm_files.read(render(slurm_adopt.kept(cluster, noted, changes)), version)
        changes = slurm_files.diff(live, wanted)
    lost = slurm_adopt.yaml_lines(slurm_adopt.missing(live, wanted, changes))
    if lost:
        raise RefusedError(
            f"files in {files.folder} were not written by this module, and the data lacks some of them. Put this into"
            " the inventory, or choose keep or drop for adopt (head_adopt):\n" + "\n".join(lost)
        )
    return texts, {}


def make_case(
    params: Mapping[str, Any],
    run: Runner,
    controller: Controller,
    files: ConfigFiles,
    restarts: Mapping[str, Any],
    noted: Mapping[str, Any],
    version: str,
    host: str,
) -> Case:
    """Compare what is wanted with the files and with what runs."""
    further = slurm_files.beside(files.folder)
    there = files.read()
    texts, kept = wanted_texts(params, files, there, noted, version)
    wanted = slurm_files.read(texts, version)
    running = look(run, controller.installed and controller.is_active(), files)
    in_use = slurm_files.read(running.texts, version, further)
    changes = slurm_files.diff(in_use, wanted)
    differ = bool(changes) or files.pending
    if not differ and there != running.texts:
        try:
            differ = bool(slurm_files.diff(slurm_files.read(there, version, further), wanted))
        except ReadError:  # a person broke them
            differ = True
    restarting = unfinished(restarts, controller.nodes(running.ask)) if running.active and restarts else []
    at_risk = jobs(running.ask) if running.active and changes else []
    live = slurm_plan.Live(version, running.active, running.applied, at_risk, restarting, state_can_move(changes))
    plan = slurm_plan.make(changes, live, wanted.nodes)
    found: list[str] = []
    if len(in_use.controllers) > 1 and host in in_use.controllers and plan.action != "none":
        found = answering(running.shown or run(PING).stdout)
        if found and found[0] != host:
            plan = plan._replace(takes_over=found[0])
    return Case(texts, there, wanted, in_use, running, found, differ, plan, kept)


def state_location(configuration: slurm_files.Configuration) -> str:
    """Where slurmctld keeps its state (slurm.conf(5) for what it is by default)."""
    return str(configuration.value("StateSaveLocation") or "/var/spool")


def has_state(location: str) -> bool:
    """Whether a folder holds the state of a slurmctld."""
    if not os.path.isdir(location):
        return False
    with slurm_generations.owner_of(location):
        return os.path.exists(os.path.join(location, "clustername"))


def state_can_move(changes: Iterable[slurm_files.Change]) -> bool:
    """Whether slurmctld's state goes to a folder that has none. RefusedError where both have one."""
    for change in filter(slurm_plan.moves_state, changes):
        if has_state(change.before) and has_state(change.after):
            raise RefusedError(
                f"StateSaveLocation: found {change.after}, which holds the state of another time than {change.before};"
                " accepted: a folder without a state, to which the jobs are copied. Move away what is there"
            )
        return has_state(change.before) and os.path.isdir(change.after)
    return False
