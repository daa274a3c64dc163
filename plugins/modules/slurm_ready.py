#!/usr/bin/python
# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Whether a cluster works."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slurm_ready
short_description: Whether a cluster works
version_added: 0.1.0
author: aicluster.slurm contributors (@aicluster)
description:
  - Waits until nodes answer, then runs short jobs on those of them that are idle, and one on each type of GPU.
  - A busy cluster is no broken cluster. A job that cannot start at once says nothing, and a node that
    somebody drained answers.
requirements:
  - Slurm's commands on a host that slurmctld lets ask, and runuser(1)
options:
  nodes:
    description: The nodes that have to answer.
    type: list
    elements: str
    required: true
  gpus:
    description: Types of GPUs, as in C(gpu:TYPE:COUNT).
    type: list
    elements: str
    default: []
  user:
    description: Who runs the jobs. Root may do more than users may.
    type: str
    required: true
  timeout:
    description: Seconds after which nodes that do not answer are given up.
    type: int
    default: 60
attributes:
  check_mode:
    description: Looks at the nodes once, waits for none and runs no job.
    support: full
  diff_mode:
    description: Changes nothing.
    support: none
  idempotent:
    description: Changes nothing.
    support: full
  platform:
    description: The platform.
    platforms: posix
    support: full
"""

EXAMPLES = r"""
- name: See whether two nodes and their GPUs work
  aicluster.slurm.slurm_ready:
    nodes: [node1, node2]
    gpus: [nvidia_h100_80gb_hbm3]
    user: cluster
"""

RETURN = r"""
states:
  description: What sinfo says of all nodes, a line C(NAME STATE REASON) each.
  type: list
  elements: str
  returned: success
  sample: [node1 idle none]
members:
  description: The nodes in the partitions that the user may use, a line C(NAME STATE PARTITION) each.
  type: list
  elements: str
  returned: success
  sample: [node1 idle main*]
silent:
  description: Nodes of Slurm that do not answer, with their states.
  type: dict
  returned: success
  sample: {node7: "down*"}
ran:
  description: What ran a job.
  type: list
  elements: str
  returned: success
  sample: ["main: node1, node2", a GPU nvidia_h100_80gb_hbm3]
"""

from typing import Sequence

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.aicluster.slurm.plugins.module_utils import slurm_ready
from ansible_collections.aicluster.slurm.plugins.module_utils.command import Result, module_runner


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "nodes": {"type": "list", "elements": "str", "required": True},
            "gpus": {"type": "list", "elements": "str", "default": []},
            "user": {"type": "str", "required": True},
            "timeout": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    params, run = module.params, module_runner(module)

    def as_user(argv: Sequence[str]) -> Result:
        # Anywhere that the user may be.
        return run(["runuser", "-u", params["user"], "--", "env", "--chdir=/", *argv])

    nodes = [] if module.check_mode else params["nodes"]
    gpus = [] if module.check_mode else params["gpus"]
    try:
        look = slurm_ready.wait_for_nodes(run, as_user, nodes, 0 if module.check_mode else params["timeout"])
        ran = slurm_ready.run_jobs(as_user, slurm_ready.jobs(look.members, nodes, gpus))
    except slurm_ready.NotReadyError as error:
        module.fail_json(msg=str(error))
    known = [line.split()[0] for line in look.states if line.strip()]
    silent = slurm_ready.silent_nodes(look.states, known)
    module.exit_json(changed=False, states=look.states, members=look.members, silent=silent, ran=ran)


if __name__ == "__main__":
    main()
