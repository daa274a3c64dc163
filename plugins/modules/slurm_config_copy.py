#!/usr/bin/python
# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Slurm's configuration on the heads that do not control the cluster now."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slurm_config_copy
short_description: Slurm's configuration on a further head
version_added: 0.1.0
author: aicluster.slurm contributors (@aicluster)
description:
  - Has the files that M(aicluster.slurm.slurm_config) put in use on the head that controls the cluster, on another one.
  - On a backup controller slurmctld restarts for them, which disturbs nobody while it waits; it runs afterwards.
options:
  files:
    description: The text of each file, by name, as RV(aicluster.slurm.slurm_config#module:files) has them.
    type: dict
    required: true
  store:
    description: The text of the node store, C(nodes.json).
    type: str
    default: ""
  kept:
    description:
      - The text of the note of what was kept of foreign files, as RV(aicluster.slurm.slurm_config#module:kept) has it.
    type: str
    default: ""
  generation:
    description: The number of this configuration.
    type: int
    default: 0
  key:
    description: The key by which the heads know their own configuration on the share; empty where there is none.
    type: str
    default: ""
  controllers:
    description: The hosts in C(SlurmctldHost), in their order. Where this host is not among them it runs no slurmctld.
    type: list
    elements: str
    default: []
  path:
    description: The folder of Slurm's configuration files.
    type: path
    default: /etc/slurm
  state_path:
    description: The folder for the files that were in use before.
    type: path
    default: /var/lib/aicluster
  timeout:
    description: Seconds that slurmctld has to answer.
    type: int
    default: 60
attributes:
  check_mode:
    description: Can run in check mode and tell what it would change.
    support: full
  diff_mode:
    description: Shows the files before and after, without passwords.
    support: full
  idempotent:
    description: Changes nothing when the files are as wanted and slurmctld runs.
    support: full
  platform:
    description: The platform.
    platforms: debian
    support: full
"""

EXAMPLES = r"""
- name: Have the second head follow
  aicluster.slurm.slurm_config_copy:
    files: "{{ configured.files }}"
    store: "{{ configured.store }}"
    kept: "{{ configured.kept }}"
    generation: "{{ configured.generation }}"
    controllers: [head0, head1]
  delegate_to: head1
"""

RETURN = r"""
commands:
  description: The commands that changed something, in order.
  type: list
  elements: list
  returned: success
  sample: [[systemctl, restart, slurmctld]]
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.aicluster.slurm.plugins.module_utils import slurm_generations, slurm_plan
from ansible_collections.aicluster.slurm.plugins.module_utils.command import CommandError, Runner, module_runner
from ansible_collections.aicluster.slurm.plugins.module_utils.config_files import ConfigFiles, alone, install
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_apply import Controller, NotTakenError
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_validate import hostname


def run_module(module: AnsibleModule, run: Runner) -> dict[str, Any]:
    """The whole of it; what it gives back is the result."""
    params = module.params
    folder, texts = params["state_path"], params["files"]
    own = slurm_generations.own(folder, texts)
    wanted = own._replace(number=params["generation"], store=params["store"], kept=params["kept"])
    files = ConfigFiles(params["path"], os.path.join(folder, "slurm"), sorted(texts))
    there = files.read()
    differ = there != texts or files.used() != texts or files.pending
    controller = Controller(run, params["timeout"])
    controller.among(params["controllers"], hostname())
    # A backup of 22.05 that gave control back may run on and answer nobody.
    controls = hostname() in params["controllers"]
    starts = controls and (differ or not controller.is_active() or not controller.answers())
    # One that was among them would still take over, with what it knows from before.
    ends = not controls and controller.is_active()
    late = own != wanted or slurm_generations.own_key(folder) != params["key"]
    if not module.check_mode:
        if differ:
            install(params["path"], folder, texts)
        if late:
            os.makedirs(folder, mode=0o755, exist_ok=True)
            slurm_generations.take(folder, wanted)
            slurm_generations.keep_key(folder, params["key"])
        if ends:
            controller.end()
        if starts:
            controller.start()
    return {
        "changed": differ or late or starts or ends,
        "commands": controller.commands,
        "diff": [
            {
                "before_header": os.path.join(params["path"], name),
                "after_header": os.path.join(params["path"], name),
                "before": slurm_plan.shown_text(there.get(name, "")),
                "after": slurm_plan.shown_text(texts.get(name, "")),
            }
            for name in sorted({*there, *texts})
            if there.get(name) != texts.get(name)
        ],
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "files": {"type": "dict", "required": True},
            "store": {"type": "str", "default": ""},
            "kept": {"type": "str", "default": ""},
            "generation": {"type": "int", "default": 0},
            "key": {"type": "str", "default": "", "no_log": True},
            "controllers": {"type": "list", "elements": "str", "default": []},
            "path": {"type": "path", "default": "/etc/slurm"},
            "state_path": {"type": "path", "default": "/var/lib/aicluster"},
            "timeout": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    try:
        with alone(module.params["path"]):
            result = run_module(module, module_runner(module))
    except (NotTakenError, CommandError, OSError) as error:
        module.fail_json(msg=f"slurm_config_copy: {error}")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
