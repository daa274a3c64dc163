# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter: everything that stands in the way of a cluster, as one report."""

from __future__ import annotations

DOCUMENTATION = """
name: preflight_report
short_description: Everything that stands in the way of a cluster, as one report
version_added: 0.1.0
author: aicluster.slurm contributors (@aicluster)
description:
  - Judges the inventory, and what the hosts said of themselves (M(aicluster.slurm.host_survey)) and of the
    others (M(aicluster.slurm.host_reach)).
  - Each finding names the host, what was found, what is accepted, and what to do. Its check decides whether it fails
    the run, warns, or is left out.
options:
  _input:
    description: The inventory's groups, C(groups).
    type: dict
    required: true
  hostvars:
    description: The variables of all hosts, C(hostvars).
    type: dict
    required: true
  rules:
    description:
      - What is accepted, and who takes part. The role C(preflight) shows the keys.
    type: dict
    required: true
"""

EXAMPLES = """
- name: Show what would fail the run
  ansible.builtin.debug:
    msg: "{{ (groups | aicluster.slurm.preflight_report(hostvars, rules)).failed }}"
"""

RETURN = """
_value:
  description:
    - C(findings), each with C(check), C(level), C(where), C(what), C(found), C(accepted), C(fix) and C(text).
    - C(failed) and C(warned), the texts of those that fail the run and of the others, and C(hosts), what each said.
  type: dict
"""

import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_keys import parse_version
from ansible_collections.aicluster.slurm.plugins.plugin_utils.preflight import (
    architecture_findings,
    inventory_findings,
    partition_findings,
    whole_number,
)
from ansible_collections.aicluster.slurm.plugins.plugin_utils.survey import (
    Finding,
    Rules,
    View,
    control_findings,
    groups_of,
    inventory_finding,
    levels,
    lost_findings,
    minima,
    refused_findings,
    survey_findings,
)


def preflight_report(
    groups: Mapping[str, Sequence[str]], hostvars: Mapping[str, Mapping[str, Any]], rules: Mapping[str, Any]
) -> dict[str, Any]:
    """The findings in a stable order, those that fail the run first."""
    try:
        level_of = levels(rules["levels"])
        rules = {**rules, "minima": minima(rules["minima"])}
    except ValueError as error:
        raise AnsibleFilterError(str(error)) from None
    surveys = {name: _answers(hostvars[name], rules["hosts"].get(name) or {}) for name in rules["run"]}
    views = [_view(name, groups, hostvars[name], survey, rules) for name, survey in surveys.items() if survey]
    volumes = rules["minima"].get("control", {}).get("size_gb") or {}
    nodes = {str(rules["hosts"][name]["node"]) for name in rules["compute"]}
    machines = {view.name: str(view.survey["architecture"]) for view in views}
    lines = [
        *inventory_findings(
            groups, hostvars, rules["compute"], rules["network"], rules["store"], rules["allow_unsupported"]
        ),
        *architecture_findings(machines, rules["allow_unsupported"]),
        *partition_findings(rules["partitions"], rules["nodesets"], nodes, _release(surveys.values())),
        *(line for name in surveys for line in hostvars[name].get("__nfs_refused") or []),
    ]
    findings = [
        *map(inventory_finding, lines),
        *control_findings({path: shutil.disk_usage(_there(path)).total / 1e9 for path in volumes}, rules["minima"]),
        *lost_findings({name: _lost(hostvars[name]) for name, survey in surveys.items() if not survey}),
        *refused_findings({name: said for name in surveys if (said := hostvars[name].get("__preflight_refused"))}),
        *survey_findings(views, _rules(rules)),
        *_unconfined(surveys, rules),
    ]
    records = [{**each._asdict(), "level": level_of[each.check], "text": str(each)} for each in findings]
    records = [each for level in ("fail", "warn") for each in records if each["level"] == level]
    return {
        "findings": records,
        "failed": [each["text"] for each in records if each["level"] == "fail"],
        "warned": [each["text"] for each in records if each["level"] == "warn"],
        "hosts": surveys,
    }


def _there(path: str) -> str:
    """The path, or the folder above it that is there."""
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return path


def _lost(variables: Mapping[str, Any]) -> str:
    """What Ansible said of a host that it could not ask, in a line."""
    said = str((variables.get("__cluster_survey") or {}).get("msg") or "").removeprefix("Task failed: ")
    return " ".join(said.split())


def _release(surveys: Iterable[Mapping[str, Any] | None]) -> str:
    """The newest release of Slurm that a host has or would get; empty where none tells."""
    found = [parse_version(survey["slurm"]) for survey in surveys if survey and survey["slurm"]]
    return "{}.{:02}".format(*max(found)) if found else ""


def _answers(variables: Mapping[str, Any], host: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a host said, of itself and of the others where it was asked; None when it was not reached."""
    survey = (variables.get("__cluster_survey") or {}).get("survey")
    if not survey:
        return None
    unasked: dict[str, Any] = {"addresses": {}, "names": {}, "unreachable": [], "slurm": ""}
    reach = (variables.get("__preflight_reach") or {}).get("reach") or unasked
    own = {str(variables.get("inventory_hostname")), host.get("node"), host.get("hostname")}
    return {
        **survey,
        **reach,
        "slurm": survey["slurm"]["release"] or reach["slurm"],
        "loopback": [name for name in survey["loopback"] if name in own],
    }


def _view(
    name: str,
    groups: Mapping[str, Sequence[str]],
    variables: Mapping[str, Any],
    survey: Mapping[str, Any],
    rules: Mapping[str, Any],
) -> View:
    return View(
        name=name,
        node=rules["hosts"][name]["node"],
        address=rules["hosts"][name]["address"],
        groups=groups_of(name, groups, rules["compute"]),
        survey=survey,
        asked=(rules["questions"].get(name) or {}).get("resolve") or {},
        declares_gpus=bool(variables.get("gpu_devices")),
        mps=whole_number(variables.get("gpu_mps")),
    )


def _rules(rules: Mapping[str, Any]) -> Rules:
    return Rules(
        minima=rules["minima"],
        clock_skew=float(rules["clock_skew"]),
        compute_capability=str(rules["compute_capability"]),
        writes_etc_hosts=bool(rules["writes_etc_hosts"]),
    )


def _unconfined(surveys: Mapping[str, Mapping[str, Any] | None], rules: Mapping[str, Any]) -> list[Finding]:
    """The compute hosts that cannot confine jobs, where that was to be found out."""
    if rules["confinement"] != "auto":
        return []
    accepted = "a writable cgroup v2, or cluster_confinement: none"
    fix = "Else no node keeps its jobs inside their CPUs, memory and GPUs"
    return [
        Finding("cgroup", name, "confinement", "no writable cgroup v2 with cpuset and memory", accepted, fix)
        for name in rules["compute"]
        if (survey := surveys.get(name)) and not survey["kernel"]["cgroup_v2"]
    ]


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """Names to functions."""
        return {"preflight_report": preflight_report}
