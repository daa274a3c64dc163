#!/usr/bin/python
# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The cluster's munge key on a host, and a munged that uses it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: munge_key
short_description: The cluster's munge key, in use
version_added: 0.1.0
author: aicluster.slurm contributors (@aicluster)
description:
  - Makes sure that a host has the given munge key, that only munge can read it, and that a running munged uses it.
  - munged reads its key only when it starts, so a new key comes with a restart. A run that is killed in between leaves a
    mark, so that the next run restarts.
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

import base64
import binascii
import os
import pwd
import stat
import tempfile
from typing import List, Optional

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.aicluster.slurm.plugins.module_utils.command import CommandError, module_runner, require

MODE = 0o400
USER = "munge"


def decode(text: str) -> bytes:
    """The key's bytes; ValueError for text that is no key."""
    try:
        key = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError("content: found text that is not Base64; accepted: a munge key in Base64") from None
    if not 32 <= len(key) <= 1024:
        raise ValueError("content: found a key of {0} bytes; accepted: 32 to 1024 bytes".format(len(key)))
    return key


def read_key(path: str) -> Optional[bytes]:
    """What is in the file, None where there is none."""
    if not os.path.exists(path):
        return None
    with open(path, "rb") as file:
        return file.read()


def rights_differ(path: str) -> bool:
    """Whether others than munge could read the file, or munge could not."""
    status = os.stat(path)
    return stat.S_IMODE(status.st_mode) != MODE or status.st_uid != pwd.getpwnam(USER).pw_uid


def write_key(path: str, key: bytes) -> None:
    """Put the key in place atomically; at no moment can anybody else read it."""
    account = pwd.getpwnam(USER)
    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path))
    with os.fdopen(handle, "wb") as file:
        file.write(key)
        os.fchown(file.fileno(), account.pw_uid, account.pw_gid)
        os.fchmod(file.fileno(), MODE)
    os.replace(temporary, path)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "content": {"type": "str", "required": True, "no_log": True},
            "path": {"type": "path", "default": "/etc/munge/munge.key", "no_log": False},
        },
        supports_check_mode=True,
    )
    path = module.params["path"]
    mark = os.path.join(os.path.dirname(path), ".restart-munge")
    run = module_runner(module)
    commands: List[List[str]] = []
    if module.check_mode and not module.get_bin_path("munged", opt_dirs=["/usr/sbin"]):
        module.exit_json(changed=True, commands=commands, diff={"before": "no munge\n", "after": "the cluster's key, in use\n"})
    try:
        key = decode(module.params["content"])
        wrong_key = read_key(path) != key
        wrong_rights = not wrong_key and rights_differ(path)
        stale = wrong_key or os.path.exists(mark)
        stopped = not stale and run(["systemctl", "is-active", "--quiet", "munge"]).rc != 0
        if not module.check_mode:
            if stale:
                with open(mark, "w", encoding="utf-8"):
                    pass
            if wrong_key or wrong_rights:
                write_key(path, key)
            if stale or stopped:
                commands.append(["systemctl", "restart", "munge"])
                require(run(commands[-1]))
            if stale:
                os.unlink(mark)
    except (ValueError, OSError, KeyError, CommandError) as error:
        module.fail_json(msg="munge_key: {0}".format(error), commands=commands)
    found = {
        "another key": wrong_key,
        "other rights than {0} {1:04o}".format(USER, MODE): wrong_rights,
        "munged runs with another key": stale,
        "munged does not run": stopped,
    }
    before = "".join(text + "\n" for text, true in found.items() if true)
    module.exit_json(changed=any(found.values()), commands=commands, diff={"before": before, "after": ""})


if __name__ == "__main__":
    main()
