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

import base64
import os
import pwd
import stat
import tempfile
from typing import NamedTuple

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.aicluster.slurm.plugins.module_utils.command import (
    CommandError,
    Runner,
    module_runner,
    require,
)

MODE = 0o400
USER = "munge"
IS_ACTIVE = ["systemctl", "is-active", "--quiet", "munge"]
RESTART = ["systemctl", "restart", "munge"]


class Outcome(NamedTuple):
    """What was not as wanted, and the commands that changed it."""

    found: list[str]
    commands: list[list[str]]


def decode(text: str) -> bytes:
    """The key's bytes; ValueError, without the text, for what is no key."""
    try:
        key = base64.b64decode("".join(text.split()), validate=True)
    except ValueError:  # binascii.Error among them
        raise ValueError("content: found text that is not Base64; accepted: a munge key in Base64") from None
    if not 32 <= len(key) <= 1024:
        raise ValueError(f"content: found a key of {len(key)} bytes; accepted: 32 to 1024 bytes")
    return key


def read_key(path: str) -> bytes | None:
    """What is in the file, None where there is none."""
    if not os.path.exists(path):
        return None
    with open(path, "rb") as file:
        return file.read()


def rights_differ(path: str, account: pwd.struct_passwd) -> bool:
    """Whether others than munge could read the file, or munge could not."""
    status = os.stat(path)
    return stat.S_IMODE(status.st_mode) != MODE or status.st_uid != account.pw_uid


def write_key(path: str, key: bytes, account: pwd.struct_passwd) -> None:
    """Put the key in place atomically; at no moment can anybody else read it."""
    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path))
    with os.fdopen(handle, "wb") as file:
        file.write(key)
        os.fchown(file.fileno(), account.pw_uid, account.pw_gid)
        os.fchmod(file.fileno(), MODE)
    os.replace(temporary, path)


def use_key(run: Runner, path: str, key: bytes, account: pwd.struct_passwd, check_mode: bool) -> Outcome:
    """Put the key in place and have munged use it.

    The mark stands from before the key changes until munged was restarted. Raises OSError and CommandError.
    """
    mark = os.path.join(os.path.dirname(path), ".restart-munge")
    wrong_key = read_key(path) != key
    wrong_rights = not wrong_key and rights_differ(path, account)
    stale = wrong_key or os.path.exists(mark)
    stopped = not stale and run(IS_ACTIVE).rc != 0
    states = {
        "another key": wrong_key,
        f"other rights than {account.pw_name} {MODE:04o}": wrong_rights,
        "munged runs with another key": stale,
        "munged does not run": stopped,
    }
    found = [text for text, true in states.items() if true]
    if check_mode:
        return Outcome(found, [])
    if stale:
        with open(mark, "w", encoding="utf-8"):
            pass
    if wrong_key or wrong_rights:
        write_key(path, key, account)
    commands = [RESTART] if stale or stopped else []
    for command in commands:
        require(run(command))
    if stale:
        os.unlink(mark)
    return Outcome(found, commands)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "content": {"type": "str", "required": True, "no_log": True},
            "path": {"type": "path", "default": "/etc/munge/munge.key", "no_log": False},
        },
        supports_check_mode=True,
    )
    content, path = module.params["content"], module.params["path"]
    # Before the first real run there is no munged here, or no key on the host that makes it.
    preview = module.check_mode and not (content and module.get_bin_path("munged", opt_dirs=["/usr/sbin"]))
    try:
        if preview:
            outcome = Outcome(["no munge"], [])
        else:
            outcome = use_key(module_runner(module), path, decode(content), pwd.getpwnam(USER), module.check_mode)
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
