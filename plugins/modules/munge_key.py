#!/usr/bin/python
# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The cluster's munge key on a host, and a munged that uses it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: munge_key
short_description: The cluster's munge key, in use
version_added: 0.1.0
author: aicluster.slurm contributors (@aicluster)
description:
  - Makes sure that a host has the given munge key, that only munge can read it, and that a running munged uses it.
  - munged reads its key only when it starts, so a new key comes with a restart. A run that is killed in between leaves
    a mark, so that the next run restarts.
requirements:
  - The package munge and systemd
options:
  content:
    description: The key in Base64, 32 to 1024 bytes when decoded; see munged(8).
    type: str
    required: true
  path:
    description: The key file.
    type: path
    default: /etc/munge/munge.key
attributes:
  check_mode:
    description: Can run in check mode and tell what it would change, also on a host without munge.
    support: full
  diff_mode:
    description: Says what differs, and never shows a key.
    support: full
  idempotent:
    description: Changes nothing when the key is in place and munged runs.
    support: full
  platform:
    description: The platform.
    platforms: posix
    support: full
"""

EXAMPLES = r"""
- name: Read the key of the first head
  ansible.builtin.slurp:
    src: /etc/munge/munge.key
  delegate_to: "{{ groups['head'][0] }}"
  run_once: true
  no_log: true
  register: key

- name: Use that key on every host
  aicluster.slurm.munge_key:
    content: "{{ key.content }}"
"""

RETURN = r"""
commands:
  description: The commands that changed something, in order.
  type: list
  elements: list
  returned: success
  sample: [[systemctl, restart, munge]]
"""

import pwd

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.aicluster.slurm.plugins.module_utils import munge
from ansible_collections.aicluster.slurm.plugins.module_utils.command import CommandError, module_runner


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "content": {"type": "str", "required": True, "no_log": True},
            "path": {"type": "path", "default": munge.KEY, "no_log": False},
        },
        supports_check_mode=True,
    )
    content, path = module.params["content"], module.params["path"]
    # Before the first real run there is no munged here, or no key on the host that makes it.
    preview = module.check_mode and not (content and module.get_bin_path("munged", opt_dirs=["/usr/sbin"]))
    try:
        if preview:
            outcome = munge.Outcome(["no munge"], [])
        else:
            outcome = munge.use_key(
                module_runner(module), path, munge.decode(content), pwd.getpwnam(munge.USER), module.check_mode
            )
    except (ValueError, OSError, KeyError, CommandError) as error:
        module.fail_json(msg=f"munge_key: {error}")
    module.exit_json(
        changed=bool(outcome.found),
        commands=outcome.commands,
        diff={
            "before": "".join(text + "\n" for text in outcome.found),
            "after": "the cluster's key, in use\n" if outcome.found else "",
        },
    )


if __name__ == "__main__":
    main()
