#!/usr/bin/python
# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Slurm's configuration on a controller, as a plan."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slurm_config
short_description: Slurm's configuration from data, as a plan
version_added: 0.1.0
author: aicluster.slurm contributors (@aicluster)
description:
  - Renders C(slurm.conf), C(gres.conf) and C(cgroup.conf) from data in a stable order, with folded host lists, and
    compares them key by key with the files in place and with the running slurmctld. Comments and order do not count.
  - Makes a plan of what differs, which daemons have to follow and how, and which running jobs that would end.
  - Has Slurm itself judge the files before they are written, in private namespaces where the rights allow it.
  - Writes whole files, reconfigures where that is enough and restarts slurmctld where it is not. Then the controller
    has to answer, every node that responded has to respond again, and none may become invalid; otherwise the old files
    come back.
  - A run that is killed in between is finished by the next one.
requirements:
  - Slurm 22.05 or later with systemd on the controller
  - unshare and ip (util-linux, iproute2) and CAP_SYS_ADMIN for the deep check; without them only the syntax is checked
options:
  config:
    description:
      - Keys of C(slurm.conf) as slurm.conf(5) spells them. A key without a value is left out.
      - A list is joined with commas, a map is rendered as C(NAME=VALUE) pairs, or as C(NAME) where the value is true.
      - C(GresTypes) comes from the nodes where it is not given.
      - Needed unless O(state=reverted).
    type: dict
  nodes:
    description:
      - Every compute node with its keys of C(slurm.conf). C(NodeName) and C(NodeAddr) are needed.
      - C(Gres) is text, or a list of records with C(name), C(type), C(count), C(files), C(cores), C(links) and
        C(flags), from which C(gres.conf) follows too.
      - Needed unless O(state=reverted).
    type: list
    elements: dict
  partitions:
    description: The keys of each partition, by its name. A partition without a value is left out.
    type: dict
    default: {}
  nodesets:
    description: The keys of each node set, by its name.
    type: dict
    default: {}
  cgroup:
    description: Keys of C(cgroup.conf).
    type: dict
    default: {}
  state:
    description:
      - V(present) makes the plan and follows it, V(planned) only makes it.
      - V(reverted) goes back to the files that were in use before the last change.
    type: str
    choices: [present, planned, reverted]
    default: present
  adopt:
    description:
      - What to do on the first run with keys, nodes and partitions that are in files which this module did not write,
        and that are not in the data.
      - V(fail) prints them as variables to paste into the inventory, V(keep) keeps them in the files, V(drop) removes
        them.
    type: str
    choices: [fail, keep, drop]
    default: fail
  validate:
    description: Whether Slurm judges the files before they are written.
    type: bool
    default: true
  rollback:
    description: Whether the old files come back when the cluster does not take the new ones.
    type: bool
    default: true
  max_jobs_at_risk:
    description: How many running jobs may end because of the change. With more the module refuses, and names them.
    type: int
    default: 0
  path:
    description: The folder of Slurm's configuration files.
    type: path
    default: /etc/slurm
  state_path:
    description: The folder for the files that were in use before, and the mark of files that are not in use yet.
    type: path
    default: /var/lib/aicluster
  timeout:
    description: Seconds that slurmctld has to answer, and then the nodes to respond.
    type: int
    default: 60
attributes:
  check_mode:
    description: Can run in check mode and give back the plan, also on a host without Slurm.
    support: full
  diff_mode:
    description: Shows the files before and after.
    support: full
  idempotent:
    description: Changes nothing when the configuration is as wanted and in use.
    support: full
  platform:
    description: The platform.
    platforms: debian
    support: full
"""

EXAMPLES = r"""
- name: Configure a small cluster
  aicluster.slurm.slurm_config:
    config:
      ClusterName: lab
      SlurmctldHost: ["head0(10.0.0.1)"]
      SlurmctldParameters: {enable_configless: true}
    nodes:
      - {NodeName: node1, NodeAddr: 10.0.0.11, CPUs: 64, RealMemory: 250000}
      - {NodeName: node2, NodeAddr: 10.0.0.12, CPUs: 64, RealMemory: 250000}
    partitions:
      main: {Nodes: ALL, Default: true, MaxTime: INFINITE, State: UP}

- name: Go back to the configuration before that
  aicluster.slurm.slurm_config:
    state: reverted
"""

RETURN = r"""
plan:
  description: What differs, and what follows from it.
  type: dict
  returned: success
  contains:
    changes:
      description: >-
        Each key that differs, with C(kind) and C(name) of its line, C(key), and its value C(before) and C(after).
      type: list
      elements: dict
    nodes:
      description: The names of nodes that are C(added), C(changed) and C(removed).
      type: dict
    action:
      description: What slurmctld does, V(none), V(start), V(reconfigure) or V(restart).
      type: str
    daemons:
      description: Each C(daemon) that has something to C(do), and the C(hosts) where, by node name.
      type: list
      elements: dict
    jobs_at_risk:
      description: The running jobs that the change would end.
      type: list
      elements: str
  sample:
    changes: [{kind: partition, name: main, key: MaxTime, before: INFINITE, after: "1-00:00:00"}]
    nodes: {added: [], changed: [], removed: []}
    action: reconfigure
    daemons: [{daemon: slurmctld, do: reconfigure, hosts: []}]
    jobs_at_risk: []
validated:
  description: How Slurm judged the files, V(deep) or V(syntax); V(none) where nothing was to be judged.
  type: str
  returned: success
  sample: deep
commands:
  description: The commands that changed something, in order.
  type: list
  elements: list
  returned: success
  sample: [[scontrol, reconfigure]]
"""

import os
import re
import shutil
import tempfile
from typing import Any, Mapping

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.aicluster.slurm.plugins.module_utils import slurm_keys, slurm_plan, slurm_validate
from ansible_collections.aicluster.slurm.plugins.module_utils.command import (
    CommandError,
    Runner,
    module_runner,
    require,
)
from ansible_collections.aicluster.slurm.plugins.module_utils.config_files import ConfigFiles
from ansible_collections.aicluster.slurm.plugins.module_utils.scontrol import ScontrolError
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_apply import Controller, NotTakenError
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_conf import HEADER, Cluster, ConfigError, render
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_conf_reader import ReadError

FILES = ("cgroup.conf", "gres.conf", "slurm.conf")
NEWEST = "24.11"
"""The version whose keys count in a preview on a host without Slurm."""


class RefusedError(Exception):
    """The module will not do this."""


def check_keys(params: Mapping[str, Any], version: str) -> None:
    """Refuse keys that this version of Slurm does not know; ConfigError."""
    findings = slurm_keys.findings(version, slurm_keys.GLOBAL, "slurm.conf", params["config"] or ())
    findings += slurm_keys.findings(version, slurm_keys.CGROUP, "cgroup.conf", params["cgroup"])
    for node in params["nodes"] or []:
        findings += slurm_keys.findings(version, slurm_keys.NODE, f"node {node.get('NodeName')}", node)
    for kind, option in ((slurm_keys.PARTITION, "partitions"), (slurm_keys.NODESET, "nodesets")):
        for name, keys in params[option].items():
            findings += slurm_keys.findings(version, kind, f"{kind} {name}", keys or {})
    if findings:
        raise ConfigError(findings)


def look(run: Runner, controller: Controller, files: ConfigFiles, version: str) -> slurm_plan.Live:
    """What runs now."""
    if not version or not controller.is_active():
        return slurm_plan.Live(version or NEWEST, active=False, applied=False, jobs=[])
    shown = run(["scontrol", "show", "config"])
    applied = not files.pending and shown.rc == 0 and re.search(r"^HASH_VAL\s*=\s*Match", shown.stdout, re.MULTILINE)
    queue = run(["squeue", "--noheader", "--states=RUNNING,SUSPENDED", "--format=%A|%u|%P|%N|%b"])
    return slurm_plan.Live(version, True, bool(applied), slurm_plan.parse_jobs(queue.stdout) if queue.rc == 0 else [])


def validate(run: Runner, texts: Mapping[str, str], names: list[str]) -> str:
    """Have Slurm judge the texts; returns how deep it looked, ConfigError when it refuses them."""
    folder = tempfile.mkdtemp(prefix="aicluster-")
    try:
        os.makedirs(os.path.join(folder, "state"))
        prepared = {**texts, "slurm.conf": slurm_validate.candidate(texts["slurm.conf"], folder)}
        for name, text in {**prepared, "hosts": slurm_validate.hosts(names)}.items():
            with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                file.write(text)
        require(run(["chmod", "755", folder]))
        require(run(["chown", "-R", "slurm", folder]))
        verdict = slurm_validate.judge(run, folder)
    finally:
        shutil.rmtree(folder)
    if verdict.complaints:
        raise ConfigError(
            [f"Slurm refuses the configuration ({verdict.depth} check): {line}" for line in verdict.complaints]
        )
    return verdict.depth


def follow(
    controller: Controller, files: ConfigFiles, texts: Mapping[str, str], plan: slurm_plan.Plan, live: slurm_plan.Live
) -> None:
    """Write, have the daemons follow, and see whether the cluster took it; NotTakenError otherwise."""
    before = controller.nodes(live.version) if live.active else {}
    # Nodes whose slurmd has to restart respond again after that, and not before.
    before = {name: node for name, node in before.items() if name not in plan.slurmd}
    files.write(texts)
    controller.apply(plan.action)
    controller.wait_for_nodes(before, live.version)
    files.used()


def go_back(controller: Controller, files: ConfigFiles, live: slurm_plan.Live) -> str:
    """Put back what was in use before; says how that went."""
    texts = files.previous()
    files.write(texts)
    if not texts:
        controller.stop()
        files.used()
        return "there was no configuration before, so slurmctld is stopped"
    try:
        controller.apply("restart")
        controller.resume_spoiled(live.version)
    except NotTakenError as error:
        return f"the old files are back, but {error}"
    files.used()
    return "the old files are back and in use"


def wanted(params: Mapping[str, Any], files: ConfigFiles, version: str) -> dict[str, str]:
    """The texts that shall be in place. Raises RefusedError, ConfigError, or ReadError for foreign files."""
    if params["state"] == "reverted":
        texts = files.previous()
        if not texts:
            raise RefusedError(
                f"state: found no files in {files.copy} to go back to; accepted: a host with an earlier change"
            )
        return texts
    cluster = Cluster(*(params[key] for key in ("config", "nodes", "partitions", "nodesets", "cgroup")))
    texts, there = render(cluster), files.read()
    if there.get("slurm.conf", HEADER).startswith(HEADER) or params["adopt"] == "drop":
        return texts
    if params["adopt"] == "keep":
        return render(slurm_plan.kept(cluster, there, version))
    lost = slurm_plan.yaml_lines(slurm_plan.missing(slurm_plan.diff(there, texts, version)))
    if lost:
        raise RefusedError(
            "slurm.conf on this host was not written by this module, and the data lacks some of it. Put this into the"
            " inventory, or choose keep or drop for adopt (head_adopt):\n" + "\n".join(lost)
        )
    return texts


def refuse_losses(plan: slurm_plan.Plan, accepted: int) -> None:
    """RefusedError when more running jobs would end than are accepted."""
    if len(plan.jobs_at_risk) > accepted:
        jobs = "; ".join(map(str, plan.jobs_at_risk))
        raise RefusedError(
            f"the change would end running jobs: found {len(plan.jobs_at_risk)} ({jobs}); accepted: max_jobs_at_risk"
            f" {accepted}. Drain their nodes and wait, or accept more."
        )


def run_module(module: AnsibleModule, run: Runner) -> dict[str, Any]:
    """The whole of it; what it gives back is the result."""
    params = module.params
    controller = Controller(run, params["timeout"])
    files = ConfigFiles(params["path"], params["state_path"], FILES)
    installed = controller.version() if module.get_bin_path("slurmctld", opt_dirs=["/usr/sbin"]) else ""
    version = installed or NEWEST
    check_keys(params, version)
    there = files.read()
    texts = wanted(params, files, version)
    changes = slurm_plan.diff(files.previous() if files.pending else there, texts, version)
    live = look(run, controller, files, installed)
    names = slurm_plan.node_names(texts, version)
    plan = slurm_plan.make(changes, live, names)
    differ = bool(changes) or files.pending
    result: dict[str, Any] = {
        "changed": (differ or plan.action != "none") and params["state"] != "planned",
        "plan": slurm_plan.as_data(plan),
        "validated": "none",
        "commands": controller.commands,
        "diff": differences(params["path"], there, texts) if differ else [],
    }
    if not result["changed"]:
        return result
    refuse_losses(plan, params["max_jobs_at_risk"])
    if params["validate"] and installed and differ:
        result["validated"] = validate(run, texts, [*names, *slurm_plan.controllers(texts, version)])
    if module.check_mode:
        return result
    try:
        follow(controller, files, texts if differ else there, plan, live)
    except NotTakenError as error:
        # The copy is what was in use before these files only when this run, or a killed one, has written them.
        if not files.pending:
            end = "no file was changed, so none comes back"
        else:
            end = go_back(controller, files, live) if params["rollback"] else "the new files stay, as asked"
        raise RefusedError(f"the cluster did not take the configuration: {error}. Then {end}.") from error
    return result


def differences(folder: str, before: Mapping[str, str], after: Mapping[str, str]) -> list[dict[str, str]]:
    """The files that differ, as Ansible shows them."""
    return [
        {
            "before_header": os.path.join(folder, name),
            "after_header": os.path.join(folder, name),
            "before": before.get(name, ""),
            "after": after.get(name, ""),
        }
        for name in FILES
        if before.get(name) != after.get(name)
    ]


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "config": {"type": "dict"},
            "nodes": {"type": "list", "elements": "dict"},
            "partitions": {"type": "dict", "default": {}},
            "nodesets": {"type": "dict", "default": {}},
            "cgroup": {"type": "dict", "default": {}},
            "state": {"type": "str", "choices": ["present", "planned", "reverted"], "default": "present"},
            "adopt": {"type": "str", "choices": ["fail", "keep", "drop"], "default": "fail"},
            "validate": {"type": "bool", "default": True},
            "rollback": {"type": "bool", "default": True},
            "max_jobs_at_risk": {"type": "int", "default": 0},
            "path": {"type": "path", "default": "/etc/slurm"},
            "state_path": {"type": "path", "default": "/var/lib/aicluster"},
            "timeout": {"type": "int", "default": 60},
        },
        required_if=[("state", "present", ("config", "nodes")), ("state", "planned", ("config", "nodes"))],
        supports_check_mode=True,
    )
    try:
        result = run_module(module, module_runner(module))
    except ConfigError as error:
        module.fail_json(msg=str(error), findings=error.findings)
    except (RefusedError, ReadError, ScontrolError, NotTakenError, CommandError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
