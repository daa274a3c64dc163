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

import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.aicluster.slurm.plugins.plugin_utils.preflight import inventory_findings, whole_number
from ansible_collections.aicluster.slurm.plugins.plugin_utils.survey import (
    Finding,
    Rules,
    View,
    control_findings,
    groups_of,
    inventory_finding,
    levels,
    lost_findings,
    survey_findings,
)


def preflight_report(
    groups: Mapping[str, Sequence[str]], hostvars: Mapping[str, Mapping[str, Any]], rules: Mapping[str, Any]
) -> dict[str, Any]:
    """The findings in a stable order, those that fail the run first."""
    try:
        level_of = levels(rules["levels"])
    except ValueError as error:
        raise AnsibleFilterError(str(error)) from None
    surveys = {name: _answers(hostvars[name], rules["hosts"].get(name) or {}) for name in rules["run"]}
    views = [_view(name, groups, hostvars[name], survey, rules) for name, survey in surveys.items() if survey]
    volumes = (rules["minima"].get("control") or {}).get("size_gb") or {}
    lines = inventory_findings(
        groups, hostvars, rules["compute"], rules["network"], rules["store"], rules["allow_unsupported"]
    )
    findings = [
        *map(inventory_finding, lines),
        *control_findings({path: shutil.disk_usage(path).total / 1e9 for path in volumes}, rules["minima"]),
        *lost_findings(name for name, survey in surveys.items() if not survey),
        *survey_findings(views, _rules(groups, rules)),
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
    facts = variables.get("ansible_facts") or {}
    return View(
        name=name,
        node=rules["hosts"][name]["node"],
        address=rules["hosts"][name]["address"],
        groups=groups_of(name, groups, rules["compute"]),
        survey=survey,
        asked=(rules["questions"].get(name) or {}).get("resolve") or {},
        container="container" in (facts.get("virtualization_tech_guest") or []),
        declares_gpus=bool(variables.get("gpu_devices")),
        mps=whole_number(variables.get("gpu_mps")),
    )


def _rules(groups: Mapping[str, Sequence[str]], rules: Mapping[str, Any]) -> Rules:
    return Rules(
        minima=rules["minima"],
        clock_skew=float(rules["clock_skew"]),
        compute_capability=str(rules["compute_capability"]),
        writes_etc_hosts=bool(rules["writes_etc_hosts"]),
        shares=bool(groups.get("nfs")),
        share=rules["share"],
    )


def _unconfined(surveys: Mapping[str, Mapping[str, Any] | None], rules: Mapping[str, Any]) -> list[Finding]:
    """The compute hosts that cannot confine jobs, where that was to be found out."""
    if rules["confinement"] != "auto":
        return []
    accepted = "a writable cgroup v2, or cluster_confinement: none"
    fix = "Else no node keeps its jobs inside their CPUs, memory and GPUs"
    return [
        Finding("cgroup", name, "confinement", "no writable cgroup v2", accepted, fix)
        for name in rules["compute"]
        if (survey := surveys.get(name)) and not survey["kernel"]["cgroup_v2"]
    ]


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """Names to functions."""
        return {"preflight_report": preflight_report}
