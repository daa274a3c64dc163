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
  - Files that a person broke by hand are put right from the copy of what is in use; what was in them is kept beside it.
  - Where slurmdbd comes to a cluster of Slurm 23.11 or later that had none, slurmctld is stopped and the id that it had
    made up for the cluster removed, because it would end with a mismatch otherwise.
  - A run that is killed in between is finished by the next one. While another run changes the files, this one waits.
  - Of several controllers this one takes over from one that controls the cluster and is out of reach, because that one
    would go on with its own files.
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
  gres:
    description:
      - Further lines of C(gres.conf), each with keys as gres.conf(5) spells them, before those that follow from
        the C(Gres) records of O(nodes). One that holds nothing but C(AutoDetect) counts for all nodes; without such a
        line devices are not detected.
    type: list
    elements: dict
    default: []
  plugstack:
    description:
      - Lines of C(plugstack.conf), C(required) or C(optional), the plugin and its arguments, see spank(8).
      - An include is refused, because nodes that fetch their configuration do not get what it leads to.
    type: list
    elements: str
    default: []
  files:
    description:
      - Further files that Slurm reads beside C(slurm.conf), such as C(topology.conf), with their text, by name. A file
        without a value is removed, and so is one that an earlier run wrote and that is no longer here.
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
      - What to do with keys, nodes and partitions that are in files which this module did not write when it came, and
        that are not in the data.
      - V(fail) prints them as variables to paste into the inventory, V(keep) keeps them in the files, V(drop) removes
        them. What was kept on the first run counts on later ones, too, until it is in the data or dropped.
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
  jobs:
    description:
      - The numbers of the jobs that run on each node, by what the node itself tells.
      - slurmctld knows none of them where it would begin without a state, or the node is new to it, and Slurm ends what
        it does not know. Each of these counts as a job at risk.
    type: dict
    default: {}
  path:
    description: The folder of Slurm's configuration files.
    type: path
    default: /etc/slurm
  store:
    description:
      - The node store, what is known of the nodes from this run on, for C(nodes.json) in O(state_path).
      - With O(state=present) it is written first, because it is true whatever becomes of the configuration.
    type: dict
  store_read:
    description:
      - The node store as it was read before O(nodes) were put together. Where C(nodes.json) has changed since then,
        another run has made nodes known that O(nodes) may lack, and nothing is changed.
    type: dict
  state_path:
    description: The folder for the files that were in use before, and the mark of files that are not in use yet.
    type: path
    default: /var/lib/aicluster
  away:
    description:
      - Nodes that are known to be off, however slurmctld sees them still. Nobody waits for them to respond again.
      - Of a machine that loses its power slurmctld learns after C(SlurmdTimeout).
    type: list
    elements: str
    default: []
  followers:
    description:
      - The hostnames of the heads that this run reaches. Where one of them is a controller no more, the run ends its
        slurmctld. One of any other host that still answers would go on to control the cluster, so the module refuses to
        take that host out of C(SlurmctldHost).
    type: list
    elements: str
    default: []
  followed:
    description:
      - Whether further heads follow this one, by M(aicluster.slurm.slurm_config_copy). Then the result has what they
        need.
      - Of several controllers in C(SlurmctldHost) this one leaves what is in use in C(StateSaveLocation), too, for
        heads that are away; and also where they had it before, when it moves or one controller alone is left.
    type: bool
    default: false
  timeout:
    description: Seconds that slurmctld has to answer, and then the nodes to respond.
    type: int
    default: 60
attributes:
  check_mode:
    description: Can run in check mode and give back the plan, also on a host without Slurm.
    support: full
  diff_mode:
    description: Shows the files before and after, without passwords.
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
    takes_over:
      description: The host out of reach that controls the cluster, from which this one takes over; empty otherwise.
      type: str
    daemons:
      description: Each C(daemon) that has something to C(do), and the C(hosts) where, by node name.
      type: list
      elements: dict
    jobs_at_risk:
      description: The running jobs that the change would end.
      type: list
      elements: str
    nodes_at_risk:
      description: The nodes on which these jobs run.
      type: list
      elements: str
    overrides_lost:
      description: >-
        What an admin set by scontrol and the change undoes, with C(kind), C(name) and C(key), and its value C(now) and
        C(then). Known only where RV(validated) is V(deep).
      type: list
      elements: dict
  sample:
    changes: [{kind: partition, name: main, key: MaxTime, before: INFINITE, after: "1-00:00:00"}]
    nodes: {added: [], changed: [], removed: []}
    action: reconfigure
    takes_over: ""
    daemons: [{daemon: slurmctld, do: reconfigure, hosts: []}]
    jobs_at_risk: []
    nodes_at_risk: []
    overrides_lost: []
validated:
  description: How Slurm judged the files, V(deep) or V(syntax); V(none) where nothing was to be judged.
  type: str
  returned: success
  sample: deep
files:
  description: The files that are in use now, by name.
  type: dict
  returned: with O(followed)
store:
  description: The text of the node store, C(nodes.json).
  type: str
  returned: with O(followed)
kept:
  description: The text of the note of what was kept of foreign files; empty where nothing was.
  type: str
  returned: with O(followed)
generation:
  description: The number of this configuration, which grows with each change; 0 where there is one controller.
  type: int
  returned: with O(followed)
commands:
  description: The commands that changed something, in order.
  type: list
  elements: list
  returned: success
  sample: [[scontrol, reconfigure]]
"""

import os
from typing import Any, Mapping

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.aicluster.slurm.plugins.module_utils import (
    slurm_files,
    slurm_generations,
    slurm_keys,
    slurm_overrides,
    slurm_plan,
    slurm_validate,
)
from ansible_collections.aicluster.slurm.plugins.module_utils.command import (
    CommandError,
    Runner,
    module_runner,
    require,
)
from ansible_collections.aicluster.slurm.plugins.module_utils.config_files import ConfigFiles, alone
from ansible_collections.aicluster.slurm.plugins.module_utils.scontrol import ScontrolError
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_apply import Controller, NotTakenError
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_case import (
    Case,
    RefusedError,
    check_keys,
    make_case,
    state_location,
)
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_conf import ConfigError
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_conf_reader import ReadError
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_live import NoAnswerError, Note
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_refusals import (
    refuse_losses,
    refuse_strangers,
    refuse_two_clusters,
)
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_rollout import Rollout

NEWEST = "24.11"
"""The version whose keys count in a preview on a host without Slurm."""


def overrides(case: Case, verdict: slurm_validate.Verdict) -> list[dict[str, str]]:
    """What an admin set by scontrol, and will be gone; nothing where Slurm was not asked what it will be."""
    found = []
    for kind, then in ((slurm_keys.PARTITION, verdict.partitions), (slurm_keys.NODE, verdict.nodes)):
        if then and case.running.active and case.plan.changes:
            shown = require(case.running.ask(["scontrol", "--all", "--oneliner", "show", f"{kind}s"]))
            found += slurm_overrides.lost(kind, shown.stdout, then, case.plan.changes)
    if case.running.shown and case.plan.action != "none":
        found += slurm_overrides.lost_logging(case.running.shown, case.wanted.value, case.plan.changes)
    return [override._asdict() for override in found]


def differences(folder: str, before: Mapping[str, str], after: Mapping[str, str]) -> list[dict[str, str]]:
    """The files that differ, as Ansible shows them; the plan tells that a password does."""
    return [
        _difference(
            os.path.join(folder, name), *(slurm_plan.shown_text(text.get(name, "")) for text in (before, after))
        )
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    ]


def _difference(header: str, before: str, after: str) -> dict[str, str]:
    return {"before_header": header, "after_header": header, "before": before, "after": after}


def readable_secrets(configuration: slurm_files.Configuration) -> list[str]:
    """Warnings of a password in slurm.conf; that of accounting is slurmdbd's own (slurm.conf(5), JobCompPass)."""
    return [
        f"slurm.conf: {key}: found a password, which every user of the cluster can read there; accepted with this"
        " warning. slurmdbd, which has its password in a file of its own, keeps the jobs, too"
        for key in ("JobCompPass",)
        if configuration.value(key)
    ]


def shared_state(configuration: slurm_files.Configuration) -> str:
    """Where several controllers have their state; empty for one alone."""
    return str(configuration.value("StateSaveLocation") or "") if len(configuration.controllers) > 1 else ""


def for_the_others(module: AnsibleModule, texts: Mapping[str, str], location: str, before: str) -> dict[str, Any]:
    """What further heads have to take over; with several controllers it is left at `location`, too. NotTakenError.

    Where they had their state `before` it is left as well: a head that is away looks there when it comes back.
    """
    folder = module.params["state_path"]
    generation = slurm_generations.own(folder, texts)
    changed = False
    warnings = []
    if location:
        try:
            left = slurm_generations.published(location, slurm_generations.own_key(folder))
            changed = not generation.same(left)
            number = max(generation.number, left.number if left else 0) + changed
            generation = generation._replace(number=number)
            if not module.check_mode:
                if changed:
                    slurm_generations.publish(location, slurm_generations.make_key(folder), generation)
                slurm_generations.keep_number(folder, number)
        except OSError as error:
            raise NotTakenError(
                f"StateSaveLocation: found {error}; accepted: a folder of slurm's on the share"
            ) from error
    if before not in ("", location) and not module.check_mode:
        if not location:
            generation = generation._replace(number=generation.number + 1)
            slurm_generations.keep_number(folder, generation.number)
        try:
            slurm_generations.publish(before, slurm_generations.make_key(folder), generation)
        except OSError as error:
            warnings.append(f"heads that are away do not learn where slurmctld's state is now: {error}")
    told = {"files": texts, "store": generation.store, "kept": generation.kept, "generation": generation.number}
    return {"changed": changed, "warnings": warnings, **(told if module.params["followed"] else {})}


def keep_store(module: AnsibleModule) -> list[dict[str, str]]:
    """Keep what is known of the nodes; what that changes, as Ansible shows it. Raises RefusedError and OSError."""
    params = module.params
    path = os.path.join(params["state_path"], slurm_generations.STORE)
    if params["store_read"] is not None and Note(path).read() not in (params["store_read"], params["store"]):
        raise RefusedError(
            f"{path}: found what another run has written since this one read it; accepted: this run again"
        )
    if params["store"] is None or params["state"] != "present":
        return []
    texts = slurm_generations.keep_store(params["state_path"], params["store"], not module.check_mode)
    return [_difference(path, *texts)] if texts[0] != texts[1] else []


def run_module(module: AnsibleModule, run: Runner) -> dict[str, Any]:
    """Follow the plan, and tell further heads; what it gives back is the result."""
    known = keep_store(module)
    result, texts, case = configure(module, run)
    result.update(changed=result["changed"] or bool(known), diff=[*known, *result["diff"]])
    now, before = shared_state(case.wanted), shared_state(case.in_use)
    if module.params["state"] != "planned" and (module.params["followed"] or before not in ("", now)):
        told = for_the_others(module, texts, now, before)
        changed, warnings = result["changed"] or told["changed"], [*result["warnings"], *told["warnings"]]
        result.update(told, changed=changed, warnings=warnings)
    return result


def configure(module: AnsibleModule, run: Runner) -> tuple[dict[str, Any], Mapping[str, str], Case]:
    """The plan and what came of it, as the result, with the files that are in use then, and the case."""
    params = module.params
    state = os.path.join(params["state_path"], "slurm")
    controller = Controller(run, params["timeout"], bool(module.get_bin_path("slurmctld", opt_dirs=["/usr/sbin"])))
    files = ConfigFiles(params["path"], state, slurm_files.NAMES, map(str, params["files"]))
    restarts = Note(os.path.join(state, "restarts.json"))
    version = controller.version() if controller.installed else NEWEST
    check_keys(params, version)
    host = slurm_validate.hostname()
    kept = Note(os.path.join(params["state_path"], slurm_generations.KEPT))
    noted = kept.read()
    case = make_case(params, run, controller, files, restarts.read(), noted, version, host)
    plan = case.plan
    controller.among(case.wanted.controllers, host)
    refuse_two_clusters(case, host, params["followers"])
    acts = case.differ or plan.action != "none"
    result: dict[str, Any] = {
        "changed": acts and params["state"] != "planned",
        "plan": {**slurm_plan.as_data(plan), "overrides_lost": []},
        "validated": "none",
        "commands": controller.commands,
        "warnings": readable_secrets(case.wanted),
        "diff": [],
    }
    follows = params["state"] != "planned" and not module.check_mode
    if not acts:
        if follows and case.kept != noted:
            kept.write(case.kept)
        return result, case.there, case
    if params["state"] != "planned":
        refuse_losses(plan, params["max_jobs_at_risk"])
        refuse_strangers(case, params["jobs"], params["max_jobs_at_risk"])
    texts = case.texts if case.differ else case.there
    if params["validate"] and controller.installed and case.differ:
        verdict = slurm_validate.check(run, texts, [*case.wanted.nodes, *case.wanted.controllers])
        result["validated"] = verdict.depth
        result["plan"]["overrides_lost"] = overrides(case, verdict)
    result["diff"] = [
        *differences(files.folder, case.there, texts),
        _difference("plan", "", slurm_plan.as_text(plan, result["plan"]["overrides_lost"])),
    ]
    if not follows:
        return result, texts, case
    if case.kept:
        # Before the files: once they are ours, nothing else tells what was not in the data.
        os.makedirs(state, mode=0o755, exist_ok=True)
        kept.write(case.kept)
    partitions = Note(os.path.join(state, "partitions.json"))
    rollout = Rollout(controller, files, restarts, partitions, params["away"], case.in_use.controllers, host)
    rollout.carry_out(plan, texts, case.running, state_location(case.wanted), params["rollback"])
    if not case.kept:
        kept.write({})
    return result, texts, case


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "config": {"type": "dict"},
            "nodes": {"type": "list", "elements": "dict"},
            "partitions": {"type": "dict", "default": {}},
            "nodesets": {"type": "dict", "default": {}},
            "cgroup": {"type": "dict", "default": {}},
            "gres": {"type": "list", "elements": "dict", "default": []},
            "plugstack": {"type": "list", "elements": "str", "default": []},
            "files": {"type": "dict", "default": {}},
            "state": {"type": "str", "choices": ["present", "planned", "reverted"], "default": "present"},
            "adopt": {"type": "str", "choices": ["fail", "keep", "drop"], "default": "fail"},
            "validate": {"type": "bool", "default": True},
            "rollback": {"type": "bool", "default": True},
            "max_jobs_at_risk": {"type": "int", "default": 0},
            "jobs": {"type": "dict", "default": {}},
            "path": {"type": "path", "default": "/etc/slurm"},
            "store": {"type": "dict"},
            "store_read": {"type": "dict"},
            "state_path": {"type": "path", "default": "/var/lib/aicluster"},
            "away": {"type": "list", "elements": "str", "default": []},
            "followers": {"type": "list", "elements": "str", "default": []},
            "followed": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 60},
        },
        required_if=[("state", "present", ("config", "nodes")), ("state", "planned", ("config", "nodes"))],
        supports_check_mode=True,
    )
    try:
        with alone(module.params["path"]):
            result = run_module(module, module_runner(module))
    except ConfigError as error:
        module.fail_json(msg=str(error), findings=error.findings)
    except RefusedError as error:
        module.fail_json(msg=str(error), **error.facts)
    except (ReadError, ScontrolError, NoAnswerError, NotTakenError, CommandError, TimeoutError) as error:
        module.fail_json(msg=str(error))
    for warning in result.pop("warnings"):
        module.warn(warning)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
