#!/usr/bin/python
# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The ssh key of this host's cluster user, made once."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_key
short_description: The ssh key of this host's cluster user, made once
version_added: 0.1.0
author: aicluster.slurm contributors (@aicluster)
description:
  - Makes an ed25519 key named C(key_) and the host's name, which only O(owner) can read. A key that is there is never
    replaced; where its public half is gone, that is worked out again, and one of another user is given to O(owner). The
    private key does not leave the host.
  - It lies off the share, because on a shared home every host could use the keys of all.
options:
  folder:
    description: Where the key lies.
    type: path
    default: /etc/ssh/cluster
  owner:
    description: The user who uses it.
    type: str
    required: true
attributes:
  check_mode:
    description: Can run in check mode and tell whether it would make a key, or give one to the owner.
    support: full
  diff_mode:
    description: Says what of the key was not there, and who had it.
    support: full
  facts:
    description: Sets C(cluster_ssh_key) with C(path) and C(public), and C(ssh_host_key_ed25519_public).
    support: full
  idempotent:
    description: Changes nothing when there is a key that the owner can use.
    support: full
  platform:
    description: The platform.
    platforms: posix
    support: full
"""

EXAMPLES = r"""
- name: Have a key of this host's own
  aicluster.slurm.cluster_key:
    owner: cluster
"""

RETURN = r"""
commands:
  description: The commands that changed something, in order.
  type: list
  elements: list
  returned: success
  sample: [[ssh-keygen, -q, -t, ed25519, -N, '', -C, key_node1, -f, /etc/ssh/cluster/.new/key_node1]]
"""

import os
import pwd
import shutil

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.aicluster.slurm.plugins.module_utils import ssh
from ansible_collections.aicluster.slurm.plugins.module_utils.command import (
    CommandError,
    Runner,
    module_runner,
    require,
)
from ansible_collections.aicluster.slurm.plugins.module_utils.config_files import read_whole, write_whole


def make(run: Runner, folder: str, name: str, account: pwd.struct_passwd) -> list[str]:
    """Make the key aside and move it in place: a run that is killed leaves no half of a pair; the command."""
    os.makedirs(folder, mode=0o755, exist_ok=True)
    aside = os.path.join(folder, ".new")
    shutil.rmtree(aside, ignore_errors=True)
    os.mkdir(aside, mode=0o700)
    made = os.path.join(aside, name)
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", made]
    require(run(command))
    os.chmod(made, 0o400)
    os.chown(made, account.pw_uid, account.pw_gid)
    os.chmod(f"{made}.pub", 0o644)
    os.replace(made, os.path.join(folder, name))
    # Last, because it is what tells that there is a key.
    os.replace(f"{made}.pub", os.path.join(folder, f"{name}.pub"))
    os.rmdir(aside)
    return command


def complete(run: Runner, path: str) -> list[str]:
    """Write the public key of a private one; the command."""
    command = ["ssh-keygen", "-y", "-f", path]
    kind, public = [*require(run(command)).stdout.split(), "none", ""][:2]
    if kind != "ssh-ed25519":
        raise ValueError(f"{path}: found a key of the kind {kind}; accepted: ssh-ed25519, or no such file")
    write_whole(f"{path}.pub", f"{kind} {public} {os.path.basename(path)}\n", 0o644)
    return command


def give(path: str, account: pwd.struct_passwd) -> None:
    """Let this user, and no other, use a key. Raises OSError."""
    os.chmod(os.path.dirname(path), ssh.FOLDER_MODE)
    os.chown(path, account.pw_uid, account.pw_gid)
    os.chmod(path, ssh.KEY_MODE)


def owner(name: str, check_mode: bool) -> pwd.struct_passwd | None:
    """The account; None in a preview of a host where the real run makes it. Raises KeyError."""
    try:
        return pwd.getpwnam(name)
    except KeyError:
        if check_mode:
            return None
        raise


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "folder": {"type": "path", "default": ssh.FOLDER},
            "owner": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    folder, name = module.params["folder"], f"key_{os.uname().nodename.split('.')[0]}"
    commands = []
    try:
        run, account = module_runner(module), owner(module.params["owner"], module.check_mode)
        private = ssh.private_key(read_whole, folder)
        lacking = "cluster_ssh_key" not in ssh.facts(read_whole, folder)
        found = [f"no {os.path.basename(private)}.pub" if private else f"no {name}"] if lacking else []
        if private:
            found += ssh.unusable(private, account.pw_uid) if account else [f"{private}: no {module.params['owner']}"]
        if found and account and not module.check_mode:
            if lacking:
                commands.append(complete(run, private) if private else make(run, folder, name, account))
            give(private or os.path.join(folder, name), account)
        facts = ssh.facts(read_whole, folder, account.pw_uid if account else None)
    except (KeyError, ValueError, OSError, CommandError) as error:
        module.fail_json(msg=f"cluster_key: {error}")
    module.exit_json(
        changed=bool(found),
        commands=commands,
        ansible_facts=facts,
        diff={"before": "".join(f"{each}\n" for each in found), "after": ""},
    )


if __name__ == "__main__":
    main()
