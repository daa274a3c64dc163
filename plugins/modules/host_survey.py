#!/usr/bin/python
# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What a host is and has, for the role preflight."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_survey
short_description: What a host is and has, for a check before a cluster is made
version_added: 0.1.0
author: aicluster.slurm contributors (@aicluster)
description:
  - Looks at everything in one go and changes nothing. What it means is decided by the role C(preflight).
options:
  sent:
    description: The time on the control host when this was asked, in seconds since 1970.
    type: float
    required: true
  paths:
    description: Paths whose volumes are measured.
    type: list
    elements: path
    default: []
  share:
    description: Where the shared storage is, or will be mounted.
    type: path
    default: /data
  account:
    description: The account that the cluster will have.
    type: dict
    required: true
    suboptions:
      user:
        description: The name.
        type: str
        required: true
      uid:
        description: Its number.
        type: int
        required: true
      group:
        description: The group.
        type: str
        required: true
      gid:
        description: Its number.
        type: int
        required: true
  packages:
    description: Patterns of packages that are looked for.
    type: list
    elements: str
    default: []
  names:
    description: Names of this host, which may not be on a loopback address.
    type: list
    elements: str
    default: []
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
  full:
    description: Whether to ask apt for the version of Slurm where none is installed.
    type: bool
    default: false
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
- name: Look at the host
  aicluster.slurm.host_survey:
    sent: "{{ now().timestamp() }}"
    paths: [/, /var/lib]
    account: {user: cluster, uid: 10000, group: cluster, gid: 10000}
    connect:
      - {host: 10.0.0.3, port: 6817}
  register: survey
"""

RETURN = r"""
survey:
  description:
    - C(architecture), C(python), C(cpus), C(memory_mb), C(disks) (C(size_gb) and C(free_gb) by path; a path that does
      not answer is left out), C(kernel), C(gpus), C(slurm) (its release), C(packages), C(conflicts) with the account,
      C(share), C(loopback) (own names there), C(addresses) by name, C(names) by address, C(unreachable) ports.
    - C(ahead) is how many seconds this clock is ahead of the control host's; it includes the time that asking took.
    - C(uid) is who this ran as.
  type: dict
  returned: success
"""

import grp
import os
import platform
import pwd
import time
from functools import partial
from typing import Sequence

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.aicluster.slurm.plugins.module_utils import host_survey
from ansible_collections.aicluster.slurm.plugins.module_utils.command import Result, module_runner
from ansible_collections.aicluster.slurm.plugins.module_utils.host_survey import disk_size, in_time, read_file

DISK_SECONDS = 5.0
RESOLVE_SECONDS = 3.0
CONNECT_SECONDS = 3.0


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "sent": {"type": "float", "required": True},
            "paths": {"type": "list", "elements": "path", "default": []},
            "share": {"type": "path", "default": "/data"},
            "account": {
                "type": "dict",
                "required": True,
                "options": {
                    "user": {"type": "str", "required": True},
                    "uid": {"type": "int", "required": True},
                    "group": {"type": "str", "required": True},
                    "gid": {"type": "int", "required": True},
                },
            },
            "packages": {"type": "list", "elements": "str", "default": []},
            "names": {"type": "list", "elements": "str", "default": []},
            "resolve": {"type": "dict", "default": {}},
            "connect": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {"host": {"type": "str", "required": True}, "port": {"type": "int", "required": True}},
            },
            "full": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    # Before anything that takes time.
    ahead = time.time() - module.params["sent"]
    params, resolve, run = module.params, module.params["resolve"], module_runner(module)

    def run_if_there(argv: Sequence[str]) -> Result:
        return run(argv) if module.get_bin_path(argv[0]) else Result(list(argv), 127, "", "")

    share, mounts = params["share"], read_file("/proc/self/mounts")
    mounted = host_survey.is_mounted(share, mounts)
    users = {entry.pw_name: entry.pw_uid for entry in pwd.getpwall()}
    groups = {entry.gr_name: entry.gr_gid for entry in grp.getgrall()}
    module.exit_json(
        changed=False,
        survey={
            "ahead": round(ahead, 1),
            "architecture": platform.machine(),
            "python": platform.python_version(),
            "uid": os.geteuid(),
            "cpus": os.cpu_count() or 0,
            "memory_mb": host_survey.memory_mb(read_file("/proc/meminfo")),
            "disks": in_time({path: partial(disk_size, path) for path in params["paths"]}, DISK_SECONDS),
            "kernel": host_survey.kernel_abilities(read_file),
            "gpus": host_survey.gpus(run_if_there, read_file),
            "slurm": host_survey.slurm_versions(run_if_there, params["full"]),
            "packages": host_survey.matching_packages(run_if_there, params["packages"]),
            "conflicts": host_survey.account_conflicts(host_survey.Account(**params["account"]), users, groups),
            "share": {"mounted": mounted, "hides": [] if mounted else host_survey.entries(share)},
            "loopback": host_survey.loopback_names(read_file("/etc/hosts"), params["names"]),
            "addresses": in_time({name: partial(host_survey.addresses, name) for name in resolve}, RESOLVE_SECONDS),
            "names": in_time({each: partial(host_survey.names, each) for each in resolve.values()}, RESOLVE_SECONDS),
            "unreachable": host_survey.unreachable(
                [host_survey.Target(each["host"], each["port"]) for each in params["connect"]], CONNECT_SECONDS
            ),
        },
    )


if __name__ == "__main__":
    main()
