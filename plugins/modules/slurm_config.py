#!/usr/bin/python
# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Slurm's configuration on a controller, from data."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slurm_config
short_description: Slurm's configuration from data
version_added: 0.1.0
author: aicluster.slurm contributors (@aicluster)
description:
  - Renders C(slurm.conf), C(gres.conf) and C(cgroup.conf) from data in a stable order, with folded host lists.
  - Checks the data, and the result with Slurm's own parser, before anything changes.
  - When a file changed, restarts slurmctld, waits until it answers, and has the compute nodes fetch the new files
    (configless slurmd). When slurmctld does not answer, the old files come back and the task fails.
  - A run that is killed between writing and applying leaves a mark, so that the next run applies.
requirements:
  - Slurm 22.05 or later with systemd on the controller
options:
  config:
    description:
      - Keys of C(slurm.conf) as slurm.conf(5) spells them. A key without a value is left out.
      - A list is joined with commas, a map is rendered as C(NAME=VALUE) pairs, or as C(NAME) where the value is true.
      - C(GresTypes) comes from the nodes where it is not given.
    type: dict
    required: true
  nodes:
    description:
      - Every compute node with its keys of C(slurm.conf). C(NodeName) and C(NodeAddr) are needed.
      - C(Gres) is text, or a list of records with C(name), C(type), C(count), C(files), C(cores), C(links) and
        C(flags), from which C(gres.conf) follows too.
    type: list
    elements: dict
    required: true
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
  path:
    description: The folder of Slurm's configuration files.
    type: path
    default: /etc/slurm
  state_path:
    description: The folder for the mark of a configuration that is written and not yet applied.
    type: path
    default: /var/lib/aicluster
  timeout:
    description: Seconds that slurmctld has to answer after a restart.
    type: int
    default: 60
attributes:
  check_mode:
    description: Can run in check mode and tell what it would change, also on a host without Slurm.
    support: full
  diff_mode:
    description: Shows the files before and after.
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
"""

RETURN = r"""
files:
  description: The files that differ from what is wanted.
  type: list
  elements: str
  returned: success
  sample: [slurm.conf]
action:
  description: What is done about it, V(none), V(start) or V(restart) of slurmctld.
  type: str
  returned: success
  sample: restart
commands:
  description: The commands that changed something, in order.
  type: list
  elements: list
  returned: success
  sample: [[systemctl, restart, slurmctld]]
"""

import os
import shutil
import tempfile
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.aicluster.slurm.plugins.module_utils.command import (
    CommandError,
    Runner,
    module_runner,
    require,
)
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_conf import Cluster, ConfigError, render

WRITE_ORDER = ("cgroup.conf", "gres.conf", "slurm.conf")
"""slurm.conf comes last: whoever sees the new one finds the files that it needs."""


def read_files(folder: str) -> dict[str, str]:
    """The files that exist, by name."""
    texts = {}
    for name in WRITE_ORDER:
        path = os.path.join(folder, name)
        if os.path.exists(path):
            with open(path, encoding="utf-8", errors="surrogateescape") as file:
                texts[name] = file.read()
    return texts


def write_files(module: AnsibleModule, folder: str, texts: dict[str, str | None]) -> None:
    """Write each text atomically, readable for all; a text of None removes the file."""
    os.makedirs(folder, mode=0o755, exist_ok=True)
    for name in (name for name in WRITE_ORDER if name in texts):
        path, text = os.path.join(folder, name), texts[name]
        if text is None:
            if os.path.exists(path):
                os.unlink(path)
            continue
        handle, temporary = tempfile.mkstemp(dir=module.tmpdir)
        with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
        module.atomic_move(temporary, path)
        os.chmod(path, 0o644)


def check_syntax(module: AnsibleModule, run: Runner, texts: dict[str, str]) -> None:
    """Have Slurm's own parser read the candidate: scontrol parses the file in SLURM_CONF before it does anything."""
    scontrol = module.get_bin_path("scontrol")
    if not scontrol:  # check mode on a host that has no Slurm yet
        return
    folder = tempfile.mkdtemp(dir=module.tmpdir)
    try:
        for name, text in texts.items():
            with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                file.write(text)
        require(
            run(["env", "SLURM_CONF=" + os.path.join(folder, "slurm.conf"), scontrol, "show", "hostnames", "localhost"])
        )
    finally:
        shutil.rmtree(folder)


class Controller:
    """slurmctld of this host, driven by systemctl and scontrol; keeps the commands that changed something."""

    def __init__(self, run: Runner, timeout: int) -> None:
        self.run = run
        self.timeout = timeout
        self.commands: list[list[str]] = []

    def is_active(self) -> bool:
        """Whether systemd sees the daemon running."""
        return self.run(["systemctl", "is-active", "--quiet", "slurmctld"]).rc == 0

    def change(self, argv: list[str]) -> None:
        """Run a command that changes something and has to succeed."""
        self.commands.append(argv)
        require(self.run(argv))

    def wait(self) -> None:
        """Wait until the daemon answers; CommandError when it does not in time."""
        end = time.monotonic() + self.timeout
        while True:
            result = self.run(["scontrol", "ping"])
            if result.rc == 0:
                return
            if time.monotonic() > end:
                raise CommandError(result)
            time.sleep(0.5)

    def restart(self) -> None:
        """Restart with the files in place; 22.05 needs a reconfigure after it, or each slurmd keeps the old ones."""
        self.change(["systemctl", "restart", "slurmctld"])
        self.wait()
        self.change(["scontrol", "reconfigure"])


def apply(
    module: AnsibleModule, controller: Controller, before: dict[str, str], after: dict[str, str], mark: str
) -> None:
    """Write, restart, and put the old files back when the controller does not come up with the new ones."""
    folder = module.params["path"]
    os.makedirs(os.path.dirname(mark), mode=0o755, exist_ok=True)
    with open(mark, "w", encoding="utf-8"):
        pass
    write_files(module, folder, {name: text for name, text in after.items() if before.get(name) != text})
    try:
        controller.restart()
    except CommandError:
        if "slurm.conf" in before:
            write_files(module, folder, {name: before.get(name) for name in WRITE_ORDER})
            controller.restart()
            os.unlink(mark)
        raise
    os.unlink(mark)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "config": {"type": "dict", "required": True},
            "nodes": {"type": "list", "elements": "dict", "required": True},
            "partitions": {"type": "dict", "default": {}},
            "nodesets": {"type": "dict", "default": {}},
            "cgroup": {"type": "dict", "default": {}},
            "path": {"type": "path", "default": "/etc/slurm"},
            "state_path": {"type": "path", "default": "/var/lib/aicluster"},
            "timeout": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    params: dict[str, Any] = module.params
    run = module_runner(module)
    controller = Controller(run, params["timeout"])
    mark = os.path.join(params["state_path"], "slurm_config.pending")
    try:
        after = render(
            Cluster(params["config"], params["nodes"], params["partitions"], params["nodesets"], params["cgroup"])
        )
        before = read_files(params["path"])
        differing = [name for name in WRITE_ORDER if before.get(name) != after[name]]
        if differing:
            check_syntax(module, run, after)
        action = "restart" if differing or os.path.exists(mark) else "none" if controller.is_active() else "start"
        if action != "none" and not module.check_mode:
            apply(module, controller, before, after, mark)
    except ConfigError as error:
        module.fail_json(msg=str(error), findings=error.findings)
    except CommandError as error:
        module.fail_json(msg=str(error), commands=controller.commands)
    module.exit_json(
        changed=action != "none",
        files=differing,
        action=action,
        commands=controller.commands,
        diff=[
            {
                "before_header": os.path.join(params["path"], name),
                "after_header": os.path.join(params["path"], name),
                "before": before.get(name, ""),
                "after": after[name],
            }
            for name in differing
        ],
    )


if __name__ == "__main__":
    main()
