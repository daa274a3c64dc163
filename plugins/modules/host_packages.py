#!/usr/bin/python
# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Packages that a host needs, and those that keep their version, in one transaction."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_packages
short_description: Packages that a host needs, and those that keep their version
version_added: 0.1.0
author: aicluster.slurm contributors (@aicluster)
description:
  - Installs what is missing in one transaction, without recommended packages, and holds (or no longer holds) the
    packages that must not change their version by themselves; see apt-mark(8).
  - Upgrades a package that is there only with O(upgrade=all). Finishes first what a killed dpkg has left half done.
  - Needs no python3-apt on the host, and in check mode no package lists.
requirements:
  - apt and dpkg
options:
  name:
    description:
      - The packages, as apt-get(8) takes them; C(name=version) for a certain version.
      - The absolute path of a package on the host stands for the name and the version in it.
    type: list
    elements: str
    default: []
  hold:
    description: Whether the installed packages that match O(held) are held.
    type: bool
    default: true
  held:
    description: Patterns of package names (fnmatch).
    type: list
    elements: str
    default: []
  not_started:
    description:
      - Services that do not start when a package that is installed now brings them. On Debian packages start what they
        bring, configured or not.
    type: list
    elements: str
    default: []
  upgrade:
    description:
      - V(all) brings every package that is not held to its newest version, and removes none.
      - V(ask) tells only what that would change, with new package lists. In check mode the lists stay as they are.
    type: str
    choices: [none, ask, all]
    default: none
attributes:
  check_mode:
    description: Can run in check mode and tell what it would install and hold.
    support: full
  diff_mode:
    description: Shows the packages that come, with their versions, and those that are held.
    support: full
  idempotent:
    description: Changes nothing when the packages are there and held.
    support: full
  platform:
    description: The platform.
    platforms: debian
    support: full
"""

EXAMPLES = r"""
- name: Have munge, and keep the version of Slurm
  aicluster.slurm.host_packages:
    name: [munge, slurmd]
    held: ["slurm*", "libslurm*"]

- name: Have the newest of everything else
  aicluster.slurm.host_packages:
    held: ["slurm*", "libslurm*"]
    upgrade: all
"""

RETURN = r"""
missing:
  description: The packages that were not there.
  type: list
  elements: str
  returned: success
installed:
  description: The packages that are there now, or would be.
  type: list
  elements: str
  returned: success
upgradable:
  description: With O(upgrade=ask), and with V(all) in check mode, the packages that an upgrade would change or bring.
  type: list
  elements: str
  returned: success
  sample: [linux-image-amd64]
slurmd:
  description:
    - What slurmd, which may have come with them, says of the hardware, as M(aicluster.slurm.host_survey) tells it. To
      ask it afterwards would be a round trip more. Empty where it is not installed.
  type: dict
  returned: success
commands:
  description: The commands that changed something, in order.
  type: list
  elements: list
  returned: success
  sample: [[apt-mark, hold, slurmd]]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.aicluster.slurm.plugins.module_utils import packages, slurmd
from ansible_collections.aicluster.slurm.plugins.module_utils.command import (
    CommandError,
    lenient_runner,
    module_runner,
)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "list", "elements": "str", "default": []},
            "hold": {"type": "bool", "default": True},
            "held": {"type": "list", "elements": "str", "default": []},
            "not_started": {"type": "list", "elements": "str", "default": []},
            "upgrade": {"type": "str", "choices": ["none", "ask", "all"], "default": "none"},
        },
        supports_check_mode=True,
    )
    params, run = module.params, module_runner(module, {"DEBIAN_FRONTEND": "noninteractive"})
    commands: list[list[str]] = []
    upgradable: list[str] = []
    try:
        before = after = packages.query(run)
        broken = packages.broken(before)
        if broken and not module.check_mode:
            commands.append(packages.REPAIR)
            packages.repair(run)
            after = packages.query(run)
        names = packages.known_as(run, params["name"])
        lacking = packages.missing(names.values(), after)
        missing = [each for each, name in names.items() if name in lacking]
        if missing and not module.check_mode:
            with packages.not_started(run, params["not_started"]):
                commands += packages.install(run, missing, packages.lists_are_fresh())
            after = packages.query(run)
        unlike = packages.unlike(after, params["held"], params["hold"])
        if unlike:
            commands.append(["apt-mark", "hold" if params["hold"] else "unhold", "--", *unlike])
            if not module.check_mode:
                packages.mark(run, commands[-1])
        # Last: what is held stays as it is.
        if params["upgrade"] != "none" and not module.check_mode and not packages.lists_are_fresh():
            commands.append(packages.UPDATE)
            packages.refresh(run)
        if params["upgrade"] == "all" and not module.check_mode:
            commands.append(packages.UPGRADE)
            packages.upgrade(run)
            after = packages.query(run)
        elif params["upgrade"] != "none":
            upgradable = packages.upgradable(run)
        hardware = slurmd.said(lenient_runner(module))
    except (ValueError, OSError, CommandError) as error:
        module.fail_json(msg=f"host_packages: {error}")
    module.exit_json(
        # A name that packages provide without bearing it is never there; apt does nothing for it the second time.
        changed=before != after
        or bool(unlike or broken)
        or (module.check_mode and bool(missing))
        or (params["upgrade"] == "all" and bool(upgradable)),
        missing=missing,
        installed=params["name"],
        upgradable=upgradable,
        slurmd=hardware,
        commands=commands,
        diff={
            "before": "",
            "after": "".join(
                [
                    *(f"{name} {after[name].version}\n" for name in packages.newer(before, after)),
                    *(f"{name}\n" for name in upgradable if params["upgrade"] == "all"),
                    *(f"{name}\n" for name in missing if module.check_mode),
                    *(f"{name} {'held' if params['hold'] else 'no longer held'}\n" for name in unlike),
                ]
            ),
        },
    )


if __name__ == "__main__":
    main()
