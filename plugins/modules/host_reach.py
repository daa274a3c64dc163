#!/usr/bin/python
# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What a host reaches, in one go."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_reach
short_description: What a host reaches, names, ports and packages, in one go
version_added: 0.1.0
author: aicluster.slurm contributors (@aicluster)
description:
  - Tries everything at once and changes nothing. What it means is decided by the role C(preflight).
options:
  resolve:
    description: Names that are resolved, to the addresses that they should have.
    type: dict
    default: {}
  connect:
    description: Ports that have to be reachable.
    type: list
    elements: dict
    default: []
    suboptions:
      host:
        description: An address.
        type: str
        required: true
      port:
        description: A TCP port.
        type: int
        required: true
attributes:
  check_mode:
    description: Can run in check mode and tell the same.
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
- name: See whether the controller can be reached
  aicluster.slurm.host_reach:
    resolve: {head0: 10.0.0.3}
    connect:
      - {host: 10.0.0.3, port: 6817}
  register: reach
"""

RETURN = r"""
reach:
  description:
    - C(addresses) by name, C(names) by address, the C(unreachable) ports, and C(slurm), the release that apt would
      install.
  type: dict
  returned: success
"""

from functools import partial

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.aicluster.slurm.plugins.module_utils import host_reach
from ansible_collections.aicluster.slurm.plugins.module_utils.command import module_runner
from ansible_collections.aicluster.slurm.plugins.module_utils.host_survey import in_time, slurm_version

RESOLVE_SECONDS = 3.0
CONNECT_SECONDS = 3.0


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "resolve": {"type": "dict", "default": {}},
            "connect": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {"host": {"type": "str", "required": True}, "port": {"type": "int", "required": True}},
            },
        },
        supports_check_mode=True,
    )
    resolve, run = module.params["resolve"], module_runner(module)
    policy = run(host_reach.POLICY).stdout if module.get_bin_path(host_reach.POLICY[0]) else ""
    targets = [host_reach.Target(each["host"], each["port"]) for each in module.params["connect"]]
    module.exit_json(
        changed=False,
        reach={
            "addresses": in_time({name: partial(host_reach.addresses, name) for name in resolve}, RESOLVE_SECONDS),
            "names": in_time({each: partial(host_reach.names, each) for each in resolve.values()}, RESOLVE_SECONDS),
            "unreachable": host_reach.unreachable(targets, CONNECT_SECONDS),
            "slurm": slurm_version(host_reach.candidate_version(policy)),
        },
    )


if __name__ == "__main__":
    main()
