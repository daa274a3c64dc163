#!/usr/bin/python
# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What a host is and has, in one go."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_survey
short_description: What a host is and has, in one go
version_added: 0.1.0
author: aicluster.slurm contributors (@aicluster)
description:
  - Looks at everything that the roles need to know of a host, and changes nothing. What it means is decided by them.
  - Sets those of Ansible's facts that the roles read; see M(ansible.builtin.setup) for more.
options:
  paths:
    description: Paths whose volumes are measured.
    type: list
    elements: path
    default: []
  share:
    description: Where the shared storage is, or will be mounted.
    type: path
    default: /data
  state_path:
    description: The folder of the node store, for a head; empty for a host that is none.
    type: str
    default: ""
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
      home:
        description: The home.
        type: path
        required: true
      shell:
        description: The login shell.
        type: path
        required: true
  packages:
    description: What is asked about packages.
    type: dict
    default: {}
    suboptions:
      needed:
        description: Packages, as for M(aicluster.slurm.host_packages).
        type: list
        elements: str
        default: []
      perhaps:
        description: Packages of which it is not known yet whether they are needed; only whether they are there is told.
        type: list
        elements: str
        default: []
      held:
        description: Patterns of packages that must not change their version by themselves.
        type: list
        elements: str
        default: []
      hold:
        description: Whether these are held.
        type: bool
        default: true
      strangers:
        description: Patterns of packages that are looked for.
        type: list
        elements: str
        default: []
attributes:
  check_mode:
    description: Can run in check mode and tell the same.
    support: full
  diff_mode:
    description: Changes nothing.
    support: none
  facts:
    description: Sets C(distribution), C(distribution_version), C(distribution_major_version), C(hostname),
      C(all_ipv4_addresses), C(default_ipv4) with its C(address), C(virtualization_tech_guest) of a container,
      C(ssh_host_key_ed25519_public), and C(cluster_ssh_key), see M(aicluster.slurm.host_users).
    support: full
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
    paths: [/, /var/lib]
    account: {user: cluster, uid: 10000, group: cluster, gid: 10000, home: /home/cluster, shell: /bin/bash}
  register: survey
"""

RETURN = r"""
survey:
  description:
    - C(architecture), C(python), C(cpus), C(memory_mb), C(disks) (C(size_gb) and C(free_gb) by path; a path that does
      not answer is left out), C(kernel), C(gpus).
    - C(packages) with those C(there) of the needed ones and of those that perhaps are, what is C(lacking) (not there,
      left half done, or held and not held where it should be otherwise), and the C(strangers) that are installed.
    - C(munge), the SHA-256 of the key that munged runs with; empty where it does not run, or others can read the key.
    - C(account), whether it is there as it has to be, and C(conflicts) with it.
    - C(groups), their numbers by name.
    - C(jobs), the numbers of Slurm's jobs that run on the host, whatever a controller knows of them.
    - C(people), whether M(aicluster.slurm.host_users) has made others.
    - C(sshd_drop_ins), whether sshd reads C(/etc/ssh/sshd_config.d), or is not there yet.
    - C(sshd_earlier), what others set for sshd that the cluster may set, too, and that counts before its file there,
      each with C(file), C(keyword), C(value), and C(match), the criteria of its block.
    - C(cloud_init), whether it is there, and so may write C(/etc/hosts) when the machine starts.
    - C(locale), the file that C(/etc/default/locale) is or leads to.
    - C(slurm) with its C(release), and where slurmd is installed C(slurmd) with how C(slurmd -C) ended, what it said,
      and the C(version).
    - C(share) with C(source) and C(fstype) where something is mounted, else what a mount would hide.
    - C(head), for a head, whether slurmctld is C(running) there, the C(generation) of its configuration (0 where there
      never was more than one head), the C(store) of nodes, and the C(key_time) of the munge key, in seconds since 1970.
    - C(noted), the digests of those notes of M(aicluster.slurm.host_files) that still count, by name.
    - C(loopback), the names that C(/etc/hosts) puts on a loopback address.
    - C(ahead), how many seconds this clock is ahead of the control host's, at least and at most; the longer asking
      took, the less is known.
    - C(uid) is who this ran as, C(login) who became that by sudo(8).
  type: dict
  returned: success
"""

import os
import platform
import time
from functools import partial

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.aicluster.slurm.plugins.module_utils import (
    host_survey,
    munge,
    noted,
    packages,
    people,
    ssh,
    sshd,
)
from ansible_collections.aicluster.slurm.plugins.module_utils.command import lenient_runner
from ansible_collections.aicluster.slurm.plugins.module_utils.host_survey import disk_size, in_time, read_file

DISK_SECONDS = 5.0
ACCOUNTS = ("/etc/passwd", "/etc/group", "/etc/shadow")


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "paths": {"type": "list", "elements": "path", "default": []},
            "share": {"type": "path", "default": "/data"},
            "state_path": {"type": "str", "default": ""},
            "account": {
                "type": "dict",
                "required": True,
                "options": {
                    "user": {"type": "str", "required": True},
                    "uid": {"type": "int", "required": True},
                    "group": {"type": "str", "required": True},
                    "gid": {"type": "int", "required": True},
                    "home": {"type": "path", "required": True},
                    "shell": {"type": "path", "required": True},
                },
            },
            "packages": {
                "type": "dict",
                "default": {},
                "options": {
                    "needed": {"type": "list", "elements": "str", "default": []},
                    "perhaps": {"type": "list", "elements": "str", "default": []},
                    "held": {"type": "list", "elements": "str", "default": []},
                    "hold": {"type": "bool", "default": True},
                    "strangers": {"type": "list", "elements": "str", "default": []},
                },
                "apply_defaults": True,
            },
        },
        supports_check_mode=True,
    )
    began = time.time()
    params, run = module.params, lenient_runner(module)

    try:
        head = host_survey.head(run, read_file, params["state_path"]) if params["state_path"] else {}
    except ValueError as error:
        module.fail_json(msg=str(error))
    share, account = params["share"], host_survey.Account(**params["account"])
    # Where there is no dpkg nothing is found; that the distribution is none of ours is said by role preflight.
    there = packages.parse(run(packages.QUERY).stdout)
    installed, asked = packages.installed(there), params["packages"]
    lacking = packages.lacking(there, asked["needed"], asked["held"], asked["hold"])
    wanted = [*asked["needed"], *asked["perhaps"]]
    not_there = {*lacking, *packages.missing(wanted, there)}
    source, fstype = host_survey.mount_at(share, read_file("/proc/self/mounts"))
    users, groups = host_survey.users_and_groups(account)
    module.exit_json(
        changed=False,
        ansible_facts={**host_survey.facts(run, read_file), **ssh.facts(read_file, owner=account.uid)},
        survey={
            "architecture": platform.machine(),
            "python": platform.python_version(),
            "uid": os.geteuid(),
            "login": os.environ.get("SUDO_USER", ""),
            "cpus": os.cpu_count() or 0,
            "memory_mb": host_survey.memory_mb(read_file("/proc/meminfo")),
            "disks": in_time({path: partial(disk_size, path) for path in params["paths"]}, DISK_SECONDS),
            "kernel": host_survey.kernel_abilities(read_file),
            "gpus": host_survey.gpus(run, read_file),
            "slurm": host_survey.slurm(run, installed),
            "packages": {
                "there": [name for name in wanted if name not in not_there],
                "lacking": lacking,
                "strangers": packages.matching(installed, asked["strangers"]),
            },
            "munge": munge.key_in_use(run),
            "sshd_drop_ins": sshd.reads_drop_ins(read_file(sshd.CONFIG)),
            "sshd_earlier": sshd.earlier(read_file),
            "cloud_init": os.path.exists(host_survey.CLOUD_HOSTS),
            "locale": os.path.realpath(host_survey.LOCALE),
            "conflicts": host_survey.account_conflicts(account, users, groups),
            "groups": groups,
            "jobs": host_survey.jobs(read_file),
            "people": bool(people.recorded(read_file(people.RECORD)).keys() - {account.user}),
            "account": host_survey.account_is_there(account, *map(read_file, ACCOUNTS)),
            # Nobody looks into what is mounted: a dead server would hold that up for ever.
            "share": {"source": source, "fstype": fstype, "hides": [] if source else host_survey.entries(share)},
            "head": head,
            "noted": noted.standing(run),
            "loopback": host_survey.loopback_names(read_file("/etc/hosts")),
            # For the action plugin
            "times": [began, time.time()],
        },
    )


if __name__ == "__main__":
    main()
