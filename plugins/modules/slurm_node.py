#!/usr/bin/python
# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The state of nodes in a running Slurm."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slurm_node
short_description: The state of nodes in a running Slurm
version_added: 0.1.0
author: aicluster.slurm contributors (@aicluster)
description:
  - Drains, resumes, reboots and describes nodes that slurmctld knows, and waits until their jobs are done.
  - Asks slurmctld once for all nodes, changes those that differ, and asks again whether they are as wanted.
  - Leaves a node alone that somebody else took out of service, see O(force_reason).
  - C(slurm.conf) wins when slurmctld starts again, over weights and features that were set here. What has to last goes
    there, see M(aicluster.slurm.slurm_config).
requirements:
  - Slurm 22.05 or later; its commands on this host, and the right to change nodes (root or SlurmUser)
options:
  name:
    description:
      - The nodes, as a host list such as V(rack[0-1]n[01-16],login).
      - Nothing changes when one of them is not there, unless O(state=present) or O(state=absent).
    type: str
    required: true
  state:
    description:
      - V(drained) has no new jobs start. Those that run go on, see O(wait).
      - V(resumed) brings nodes back that are drained, down or failing. On a node that is in service it does nothing.
      - V(idle) is V(resumed) for nodes without jobs, without the seconds in which V(resumed) shows a node as not
        responding.
      - V(down) takes nodes out at once. B(Their jobs end). Where ReturnToService is 2 in C(slurm.conf), Slurm brings a
        node back by itself as soon as it responds.
      - V(rebooted) drains nodes, reboots each when its last job has ended, and brings it back. It takes RebootProgram
        in C(slurm.conf). A node that is about to reboot is left alone, every other one reboots at each run.
      - V(powered_down) and V(powered_up) take SuspendProgram and ResumeProgram in C(slurm.conf).
      - V(present) makes a dynamic node (state CLOUD) where no node has that name, with the hardware of the line
        C(NodeName=DEFAULT) in C(slurm.conf). It takes MaxNodeCount there, and C(cloud) in PrivateData with Slurm 22.05.
      - V(absent) deletes dynamic nodes. Those in C(slurm.conf) are refused.
      - Not given, the state stays.
    type: str
    choices: [drained, resumed, down, idle, rebooted, powered_down, powered_up, present, absent]
  reason:
    description:
      - Why, for V(drained) and V(down), which need it, and V(rebooted).
      - One line without a quote at its ends, which Slurm would drop. C(aicluster:) is put before it, to tell what this
        collection did from what others did.
    type: str
  weight:
    description: The higher, the later a node gets jobs.
    type: int
  features:
    description: The features of the nodes, all of them active. An empty list takes all away.
    type: list
    elements: str
  comment:
    description: A line about the node. An empty one takes it away.
    type: str
  extra:
    description: A further line about the node. An empty one takes it away.
    type: str
  wait:
    description:
      - Go on when no job is left on the nodes. With O(state=absent) the nodes are deleted after that, with
        O(state=rebooted) they may still be rebooting.
      - Jobs keep coming to nodes that are in service.
    type: bool
    default: false
  wait_timeout:
    description: Seconds after which O(wait) fails and lists the jobs.
    type: int
    default: 3600
  force_reason:
    description:
      - Change the state also of nodes that somebody else took out of service, and overwrite their Reason.
      - A node is somebody else's when it is drained, failing or down with a Reason that neither this collection nor
        slurmctld wrote. What slurmctld drained is left alone too, unless it shall return to service.
      - Such nodes are in RV(kept), with a warning.
    type: bool
    default: false
attributes:
  check_mode:
    description: Can run in check mode and tell what it would change.
    support: full
  diff_mode:
    description: Shows the nodes before and after.
    support: full
  idempotent:
    description: Changes nothing when all is as wanted; V(rebooted) reboots at each run.
    support: partial
  platform:
    description: The platform.
    platforms: posix
    support: full
"""

EXAMPLES = r"""
- name: Drain two racks and wait for their jobs
  aicluster.slurm.slurm_node:
    name: rack[0-1]n[01-16]
    state: drained
    reason: new switches
    wait: true
    wait_timeout: 86400

- name: Bring them back, except for those that somebody else drained meanwhile
  aicluster.slurm.slurm_node:
    name: rack[0-1]n[01-16]
    state: resumed

- name: Reboot every node as soon as its jobs allow it
  aicluster.slurm.slurm_node:
    name: rack[0-1]n[01-16]
    state: rebooted
    reason: new kernel

- name: Describe a node
  aicluster.slurm.slurm_node:
    name: rack0n01
    weight: 50
    features: [a100, nvlink]
    comment: on loan
"""

RETURN = r"""
before:
  description: The nodes as they were found, by name; those that were not there are not here.
  type: dict
  returned: success
  sample:
    node1: {state: IDLE, reason: "", weight: 1, features: [], comment: "", extra: ""}
after:
  description: The nodes as they are now; in check mode, as they would be.
  type: dict
  returned: success
  sample:
    node1: {state: IDLE+DRAIN, reason: "aicluster: new switches", weight: 1, features: [], comment: "", extra: ""}
kept:
  description: Nodes that were left alone because somebody else took them out of service, with the Reason.
  type: dict
  returned: success
  sample: {node7: bad fan}
commands:
  description: The commands that changed something, or would in check mode, in order.
  type: list
  elements: list
  returned: always
  sample: [[scontrol, update, NodeName=node1, State=DRAIN, "Reason=aicluster: new switches"]]
jobs:
  description: The jobs that are left on the nodes.
  type: list
  elements: dict
  returned: when O(wait) fails
  sample: [{id: "12", user: alice, state: RUNNING, partition: main, nodes: node1}]
"""

import re
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.aicluster.slurm.plugins.module_utils import scontrol, slurm_failures, slurm_node
from ansible_collections.aicluster.slurm.plugins.module_utils.command import (
    CommandError,
    Result,
    Runner,
    module_runner,
    require,
)
from ansible_collections.aicluster.slurm.plugins.module_utils.hostlist import HostlistError, expand, fold_sorted
from ansible_collections.aicluster.slurm.plugins.module_utils.scontrol import Job, Node, ScontrolError
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_node import Wanted

PAUSE = 2
"""Seconds between two looks at the jobs."""


class NodeError(Exception):
    """The nodes are not as wanted; carries what the module returns with that."""

    def __init__(self, message: str, **facts: Any) -> None:
        super().__init__(message)
        self.facts = facts


def wanted_of(params: dict[str, Any]) -> Wanted:
    """The module's options, checked. Raises ScontrolError."""
    state, reason = params["state"], params["reason"]
    if reason is not None:
        if state not in ("drained", "down", "rebooted"):
            raise ScontrolError(f"reason: found one with state {state}; accepted with drained, down and rebooted")
        reason = slurm_node.check_reason(reason)
    for option in ("comment", "extra"):
        slurm_node.check_text(option, params[option] or "")
    if params["weight"] is not None and not 0 <= params["weight"] < 2**32 - 1:
        raise ScontrolError(f"weight: found {params['weight']}; accepted: 0 to {2**32 - 2}")
    for feature in params["features"] or []:
        if not re.fullmatch(r"[^\s,\x00-\x1f\x7f]+", feature):
            raise ScontrolError(f"features: found {feature!r}; accepted: words without commas")
    return Wanted(
        state=state,
        reason=reason or (scontrol.MARK + "reboot" if state == "rebooted" else ""),
        weight=params["weight"],
        features=None if params["features"] is None else tuple(params["features"]),
        comment=params["comment"],
        extra=params["extra"],
        force_reason=params["force_reason"],
    )


class Nodes:
    """Some nodes of a running Slurm and how they have to be; keeps the commands that changed something.

    Its methods raise CommandError, ScontrolError and NodeError.
    """

    def __init__(self, run: Runner, names: list[str], wanted: Wanted) -> None:
        self.run = run
        self.names = names
        self.wanted = wanted
        self.commands: list[list[str]] = []
        self.version = scontrol.parse_version(require(run(["scontrol", "--version"])).stdout)

    def read(self) -> dict[str, Node]:
        """Those of the nodes that are there, by name; NodeError where others have to be."""
        there = scontrol.read_nodes(self.run, self.version)
        missing = [name for name in self.names if name not in there]
        if missing and self.wanted.state not in ("present", "absent"):
            # 22.05 does not show dynamic nodes that are powered down.
            raise NodeError(f"name: slurmctld shows no {fold_sorted(missing)}; accepted: nodes that it shows")
        return {name: there[name] for name in self.names if name in there}

    def plan(self, there: dict[str, Node]) -> dict[str, list[list[str]]]:
        """The commands by node, for the nodes that differ."""
        plan = {name: slurm_node.commands(self.wanted, name, there.get(name)) for name in self.names}
        return {name: argvs for name, argvs in plan.items() if argvs}

    def check_creation(self) -> None:
        """22.05 does not show what it has made, so that it could never be found to be there."""
        if self.version < (23, 2):
            config = require(self.run(["scontrol", "show", "config"])).stdout
            if not re.search(r"^PrivateData\s*=.*\bcloud\b", config, re.MULTILINE):
                raise ScontrolError("state: present takes `cloud` in PrivateData of slurm.conf with this Slurm")

    def apply(self, plan: dict[str, list[list[str]]]) -> dict[str, Node]:
        """Run the plan and return the nodes as they are then; NodeError where they are not as wanted."""
        failed: dict[str, Result] = {}
        for name, argvs in plan.items():
            for argv in argvs:
                self.commands.append(argv)
                result = self.run(argv)
                if result.rc != 0:
                    cause = slurm_failures.cause_of(result)
                    if cause and cause.general:
                        raise CommandError(result)
                    failed[name] = result
                    break
        # The state says more than an exit code: a command can fail after a change, and succeed without one.
        there = self.read()
        left = [name for name in self.plan(there) if name in plan]
        if left:
            raise NodeError("; ".join(f"{name}: {self._complaint(failed.get(name), there.get(name))}" for name in left))
        return there

    @staticmethod
    def _complaint(failed: Result | None, node: Node | None) -> str:
        """Why a node is not as wanted after all."""
        if failed:
            return slurm_failures.explain(failed)
        if node is None:
            return "slurmctld took the command, and does not show the node"
        return f"slurmctld took the command, and the node is {node.state} {node.current_reason}".rstrip()

    def wait(self, names: list[str], timeout: int) -> None:
        """Wait until no job is left on these nodes; a slurmctld that is away for a while does not end it."""
        end = time.monotonic() + timeout
        while names:
            late = time.monotonic() >= end
            result = self.run(scontrol.jobs_argv(names))
            cause = slurm_failures.cause_of(result)
            if late or not (cause and cause.general):
                jobs = scontrol.parse_jobs(require(result).stdout)
                if not jobs:
                    return
                if late:
                    listed = ", ".join(map(str, jobs))
                    raise NodeError(f"wait: after {timeout} s jobs are left: {listed}", jobs=[*map(Job._asdict, jobs)])
            time.sleep(PAUSE)


def views(nodes: dict[str, Node]) -> dict[str, dict[str, Any]]:
    """What the module returns of nodes."""
    return {
        name: {
            "state": node.state,
            "reason": node.current_reason,
            "weight": node.weight,
            "features": list(node.features),
            "comment": node.comment,
            "extra": node.extra,
        }
        for name, node in nodes.items()
    }


def manage(nodes: Nodes, wait_timeout: int | None, check_mode: bool) -> dict[str, Any]:
    """Make the nodes as wanted; what the module returns. Without a timeout it does not wait for jobs."""
    wanted = nodes.wanted
    before = nodes.read()
    plan = nodes.plan(before)
    if wanted.state == "present" and len(before) < len(nodes.names):
        nodes.check_creation()
    if check_mode:
        nodes.commands += [argv for argvs in plan.values() for argv in argvs]
        after = slurm_node.expected(wanted, nodes.names, before)
    else:
        if wait_timeout is not None and wanted.state == "absent":
            nodes.wait(list(before), wait_timeout)
        after = nodes.apply(plan) if plan else before
        if wait_timeout is not None:
            nodes.wait(list(after), wait_timeout)
    return {
        "changed": bool(plan),
        "before": views(before),
        "after": views(after),
        "kept": {name: node.current_reason for name, node in before.items() if slurm_node.is_kept(wanted, node)},
        "commands": nodes.commands,
        "diff": {
            when: views({name: there[name] for name in plan if name in there})
            for when, there in (("before", before), ("after", after))
        },
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {
                "type": "str",
                "choices": [
                    "drained",
                    "resumed",
                    "down",
                    "idle",
                    "rebooted",
                    "powered_down",
                    "powered_up",
                    "present",
                    "absent",
                ],
            },
            "reason": {"type": "str"},
            "weight": {"type": "int"},
            "features": {"type": "list", "elements": "str"},
            "comment": {"type": "str"},
            "extra": {"type": "str"},
            "wait": {"type": "bool", "default": False},
            "wait_timeout": {"type": "int", "default": 3600},
            "force_reason": {"type": "bool", "default": False},
        },
        required_if=[("state", "drained", ["reason"]), ("state", "down", ["reason"])],
        supports_check_mode=True,
    )
    run = module_runner(module)
    timeout = module.params["wait_timeout"] if module.params["wait"] else None
    facts: dict[str, Any] = {"commands": []}
    try:
        names = list(dict.fromkeys(expand(module.params["name"])))
        if not names:
            raise ScontrolError("name: found no node; accepted: a host list")
        wanted = wanted_of(module.params)
        if module.check_mode and not module.get_bin_path("scontrol"):
            module.exit_json(changed=False, before={}, after={}, kept={}, msg="no Slurm on this host yet", **facts)
        nodes = Nodes(run, names, wanted)
        facts["commands"] = nodes.commands
        result = manage(nodes, timeout, module.check_mode)
    except (HostlistError, ScontrolError) as error:
        module.fail_json(msg=f"slurm_node: {error}", **facts)
    except NodeError as error:
        module.fail_json(msg=f"slurm_node: {error}", **facts, **error.facts)
    except CommandError as error:
        module.fail_json(msg=f"slurm_node: {slurm_failures.explain(error.result)}", **facts)
    for name, reason in result["kept"].items():
        module.warn(f"{name} was left alone, somebody else took it out of service: {reason}")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
