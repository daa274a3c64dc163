#!/usr/bin/python
# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Many files and folders on a host, in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
module: delivery_files
short_description: Many files and folders on a host, in one call
version_added: 0.1.0
author: aicluster.slurm contributors (@aicluster)
description:
  - Makes sure that files and folders are there with their content, mode and owner. A file appears whole or not at all.
  - Remembers what it delivered, so that what is not wanted any more can be removed.
options:
  files:
    description: The files and folders, folders before what is in them.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description: Where.
        type: path
        required: true
      state:
        description: What it is.
        type: str
        choices: [file, directory, absent]
        default: file
      content:
        description: The content of a file, in Base64.
        type: str
        default: ""
      mode:
        description: The mode, as an octal number in quotes.
        type: str
        default: "0755"
      owner:
        description: The owner, by name or number.
        type: str
        default: "0"
      group:
        description: The group, by name or number.
        type: str
        default: "0"
  prune:
    description:
      - Whether files that an earlier call delivered and that are not among O(files) now are removed.
      - A folder goes only when it is empty.
    type: bool
    default: false
  manifest:
    description: The file that remembers what was delivered.
    type: path
    default: /var/lib/aicluster/delivered.json
  user:
    description:
      - The account that writes, where root may not, such as on storage of somebody else. Owners are not set then.
    type: str
    default: ""
attributes:
  check_mode:
    description: Can run in check mode and tell what it would change.
    support: full
  diff_mode:
    description: Names each file that differs, and in what.
    support: full
  idempotent:
    description: Changes nothing when everything is as wanted.
    support: full
  platform:
    description: The platform.
    platforms: posix
    support: full
"""

EXAMPLES = r"""
- name: Deliver a folder with a script
  aicluster.slurm.delivery_files:
    files:
      - {path: /opt/lab, state: directory}
      - {path: /opt/lab/hello.sh, content: "{{ lookup('ansible.builtin.file', 'hello.sh') | b64encode }}"}
    prune: true
"""

RETURN = r"""
changes:
  description: What differed, each with its C(path) and C(what) (C(new), C(content), C(mode), C(owner), C(remove)).
  type: list
  elements: dict
  returned: success
  sample: [{path: /opt/lab/hello.sh, what: content}]
"""

import json
import os
import pwd
from contextlib import contextmanager
from typing import Any, Iterator, Mapping

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.aicluster.slurm.plugins.module_utils import delivered
from ansible_collections.aicluster.slurm.plugins.module_utils.config_files import write_whole
from ansible_collections.aicluster.slurm.plugins.module_utils.delivered import Change, DeliveryError


def deliver(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Make the files as wanted; what the module returns."""
    # The folders above them are open to all, whatever the umask of who came in.
    os.umask(0o022)
    wanted = [delivered.wanted_of(item) for item in params["files"]]
    before = delivered.read_manifest(params["manifest"])
    gone = delivered.no_longer_wanted(before, wanted)
    own = not params["user"] and os.geteuid() == 0
    done: list[Change] = []
    with _rights_of(params["user"]):
        todo = delivered.changes(wanted + (gone if params["prune"] else []), own)
    # First, so that a run that ends in the middle leaves nothing that a later one does not know.
    new = [change.wanted.path for change in todo if change.what == delivered.NEW]
    if not check_mode:
        _remember(params["manifest"], {*before, *new})
    with _rights_of(params["user"]):
        for change in todo:
            # What is in a folder goes before the folder, so whether it is empty is seen only now.
            if not check_mode and not delivered.is_ours(change):
                continue
            if not check_mode:
                delivered.apply(change, own)
            done.append(change)
    there = [item.path for item in wanted if item.state != delivered.ABSENT]
    there += [] if params["prune"] else [item.path for item in gone]
    if not check_mode:
        _remember(params["manifest"], set(there))
    lines = "".join(f"{change.wanted.path}: {change.what}\n" for change in done)
    return {
        "changed": bool(done),
        "changes": [{"path": change.wanted.path, "what": change.what} for change in done],
        "diff": {"before": "", "after": lines},
    }


def _remember(manifest: str, paths: set[str]) -> None:
    if paths != set(delivered.read_manifest(manifest)):
        os.makedirs(os.path.dirname(manifest), mode=0o755, exist_ok=True)
        write_whole(manifest, json.dumps(sorted(paths), indent=1) + "\n")


@contextmanager
def _rights_of(name: str) -> Iterator[None]:
    """With the rights of this account, where there is a name; DeliveryError."""
    if not name:
        yield
        return
    try:
        account = pwd.getpwnam(name)
    except KeyError:
        raise DeliveryError(f"user: found {name}, which this host does not know") from None
    os.setegid(account.pw_gid)
    os.seteuid(account.pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "files": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "path": {"type": "path", "required": True},
                    "state": {"type": "str", "choices": ["file", "directory", "absent"], "default": "file"},
                    "content": {"type": "str", "default": ""},
                    "mode": {"type": "str", "default": "0755"},
                    "owner": {"type": "str", "default": "0"},
                    "group": {"type": "str", "default": "0"},
                },
            },
            "prune": {"type": "bool", "default": False},
            "manifest": {"type": "path", "default": "/var/lib/aicluster/delivered.json"},
            "user": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    try:
        result = deliver(module.params, module.check_mode)
    except DeliveryError as error:
        module.fail_json(msg=f"delivery_files: {error}")
    except OSError as error:
        module.fail_json(msg=f"delivery_files: {delivered.explain(error)}")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
