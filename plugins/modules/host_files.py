#!/usr/bin/python
# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Files of a host, and the daemons that run by them, in one go."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_files
short_description: Files of a host and the daemons that run by them, in one go
version_added: 0.1.0
author: aicluster.slurm contributors (@aicluster)
description:
  - Takes everything that a step wants on a host at once, because what costs is to reach a host, not what is done there.
  - Each file is written whole and takes the old one's place at once. A daemon is restarted only when a file has changed
    that it reads when it starts. A run that is killed in between leaves a mark under C(/run/aicluster), so that the
    next one restarts it.
requirements:
  - systemd, where O(services) are given
options:
  folders:
    description: Folders that have to be there.
    type: list
    elements: dict
    default: []
    suboptions:
      path: &path
        description: The absolute path.
        type: path
        required: true
      owner: &owner
        description: A name or a number.
        type: str
        default: root
      group: &group
        description: A name or a number.
        type: str
        default: root
      mode:
        description: In octal.
        type: str
        default: "0755"
      once:
        description:
          - Whether group and mode are given when the folder is made, and then left to its owner. One that is still
            root's counts as not made, and one of somebody else is refused.
        type: bool
        default: false
  files:
    description: Files that are ours as a whole; the folders above them are made where they lack.
    type: list
    elements: dict
    default: []
    suboptions:
      path: *path
      content:
        description: The text.
        type: str
        required: true
      owner: *owner
      group: *group
      mode:
        description: In octal.
        type: str
        default: "0644"
      validate:
        description:
          - A command that judges the text before anything is written; the path of a draft is its last argument.
          - In check mode it is left out where it is not installed yet.
        type: list
        elements: str
        default: []
      like:
        description: A file of the host. Its lines come behind O(files[].content), as they are at each run.
        type: path
      without:
        description: A regular expression. A line of O(files[].like) that matches it is replaced by O(files[].instead).
        type: str
        default: $.
      instead:
        description: A line.
        type: str
        default: ""
  links:
    description: Symbolic links.
    type: list
    elements: dict
    default: []
    suboptions:
      path: *path
      target:
        description: Where it leads, to something that is there.
        type: str
        required: true
  blocks:
    description: Lines in files that are somebody else's, between two comments that name the block.
    type: list
    elements: dict
    default: []
    suboptions:
      path: *path
      content:
        description: The lines; without any the block goes.
        type: str
        required: true
      name:
        description: What the comments name.
        type: str
        default: aicluster.slurm
      without:
        description: A regular expression. Lines outside the block that match it go.
        type: str
        default: ""
      keep:
        description: A regular expression. Lines that are in the block and match it stay, and its lines are sorted.
        type: str
        default: ""
      in_place_of:
        description:
          - A line that the block stands for, and that comes back when the block goes. A file without it gets no block.
        type: str
        default: ""
  absent:
    description:
      - Files that must not be there, unless O(files) has them. A unit of systemd is stopped and disabled before its
        file goes.
    type: list
    elements: path
    default: []
  services:
    description:
      - Units of systemd that run and are enabled, unless O(services[].managed) is false; a masked one is unmasked.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The unit; without a kind it is a service.
        type: str
        required: true
      reads:
        description: Files that it reads only when it starts.
        type: list
        elements: path
        default: []
      restarted:
        description: Whether to restart it anyway.
        type: bool
        default: false
      reload:
        description: Whether it reads its files anew when it is told to, so that it need not be restarted.
        type: bool
        default: false
      managed:
        description: Whether it has to run. Else it only hears of the files that it reads, where it runs.
        type: bool
        default: true
  note:
    description:
      - Have the host note when all is as it should be. M(aicluster.slurm.host_survey) tells which notes still count, so
        that a run which asks for the same leaves this call out.
    type: dict
    suboptions:
      name:
        description: What tells it from others.
        type: str
        required: true
      digest:
        description: What tells whether the same is asked for.
        type: str
        required: true
attributes:
  check_mode:
    description: Can run in check mode and tell what it would change, also on a host without the units.
    support: full
  diff_mode:
    description: Shows what it changes.
    support: full
  idempotent:
    description: Changes nothing when everything is as it should be.
    support: full
  platform:
    description: The platform.
    platforms: posix
    support: full
"""

EXAMPLES = r"""
- name: Know the others, and run chrony with a server of our own
  aicluster.slurm.host_files:
    blocks:
      - path: /etc/hosts
        content: 10.0.0.1 head0
    files:
      - path: /etc/chrony/sources.d/head.sources
        content: |
          server head0 iburst
    services:
      - name: chrony
        reads: [/etc/chrony/sources.d/head.sources]
"""

RETURN = r"""
paths:
  description: What was not as it should be.
  type: list
  elements: str
  returned: success
  sample: [/etc/hosts]
commands:
  description: The commands that changed units, in order.
  type: list
  elements: list
  returned: success
  sample: [[systemctl, restart, chrony.service]]
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.aicluster.slurm.plugins.module_utils import noted
from ansible_collections.aicluster.slurm.plugins.module_utils import services as units
from ansible_collections.aicluster.slurm.plugins.module_utils.command import CommandError, module_runner, require
from ansible_collections.aicluster.slurm.plugins.module_utils.config_files import read_whole
from ansible_collections.aicluster.slurm.plugins.module_utils.host_files import (
    Absent,
    Block,
    Difference,
    File,
    Folder,
    Link,
    Wanted,
    differences,
    refuse_dangling,
    validate,
    with_lines,
    write,
)

PATH = {"type": "path", "required": True}
RIGHTS = {"owner": {"type": "str", "default": "root"}, "group": {"type": "str", "default": "root"}}
TEXT = {"type": "str", "required": True}


def octal(text: str) -> int:
    """A mode. Raises ValueError."""
    try:
        return int(text, 8)
    except ValueError:
        raise ValueError(f"mode: found {text!r}; accepted: an octal number such as 0644") from None


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "folders": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "path": PATH,
                    **RIGHTS,
                    "mode": {"type": "str", "default": "0755"},
                    "once": {"type": "bool", "default": False},
                },
            },
            "files": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "path": PATH,
                    "content": TEXT,
                    **RIGHTS,
                    "mode": {"type": "str", "default": "0644"},
                    "validate": {"type": "list", "elements": "str", "default": []},
                    "like": {"type": "path"},
                    "without": {"type": "str", "default": "$."},
                    "instead": {"type": "str", "default": ""},
                },
            },
            "links": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {"path": PATH, "target": TEXT},
            },
            "blocks": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "path": PATH,
                    "content": TEXT,
                    "name": {"type": "str", "default": "aicluster.slurm"},
                    "without": {"type": "str", "default": ""},
                    "keep": {"type": "str", "default": ""},
                    "in_place_of": {"type": "str", "default": ""},
                },
            },
            "absent": {"type": "list", "elements": "path", "default": []},
            "services": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "name": TEXT,
                    "reads": {"type": "list", "elements": "path", "default": []},
                    "restarted": {"type": "bool", "default": False},
                    "reload": {"type": "bool", "default": False},
                    "managed": {"type": "bool", "default": True},
                },
            },
            "note": {"type": "dict", "options": {"name": TEXT, "digest": TEXT}},
        },
        supports_check_mode=True,
    )
    params, run = module.params, module_runner(module, units.ENVIRONMENT)
    note = None if module.check_mode else params["note"]
    looked_at = [each["path"] for kind in ("folders", "files", "links", "blocks") for each in params[kind]]
    looked_at += [*(each["like"] for each in params["files"] if each["like"]), *params["absent"]]
    try:
        stamped = noted.stamps(looked_at) if note else {}
        wanted: list[Wanted] = [Folder(**{**each, "mode": octal(each["mode"])}) for each in params["folders"]]
        wanted += [_file(module, each) for each in params["files"]]
        wanted += [Link(**each) for each in params["links"]]
        wanted += [Block(**each) for each in params["blocks"]]
        # Last: a block that goes may have named the file.
        ours = {each["path"] for each in params["files"]}
        wanted += [Absent(path) for path in params["absent"] if path not in ours]
        services = [units.Service(**{**each, "reads": tuple(each["reads"])}) for each in params["services"]]
        found = differences(wanted)
        validate(run, found)
        if not module.check_mode:  # where the real run may have installed it before
            refuse_dangling(found)
        paths = [each.wanted.path for each in found]
        states = units.parse(services, require(run(units.show(services))).stdout) if services else {}
        ending = units.end([each.wanted.path for each in found if isinstance(each.wanted, Absent)])
        planned = units.steps(services, states, paths, units.MARKS)
        if note and (found or planned):
            noted.drop(note["name"])
        if not module.check_mode:
            units.keep_marks(services, paths, units.MARKS)
            for command in ending:
                require(run(command))
            for each in found:
                write(each)
            units.carry_out(run, planned, services, units.MARKS)
        if note and found:
            # Later than the last change of ours, and before the last look.
            time.sleep(noted.TICK)
            stamped = noted.stamps(looked_at)
            note = None if differences(wanted) else note
        if note and not any(service.restarted for service in services):
            noted.keep(note["name"], note["digest"], stamped, [service.name for service in services if service.managed])
    except (ValueError, OSError, CommandError) as error:
        module.fail_json(msg=f"host_files: {error}")
    findings = [step.finding for step in planned if step.finding]
    module.exit_json(
        changed=bool(found or planned),
        paths=paths,
        commands=[*ending, *(step.command for step in planned)],
        diff=[*map(_diff, found), *([_services_diff(findings)] if findings else [])],
    )


def _file(module: AnsibleModule, params: dict[str, Any]) -> File:
    like = with_lines(read_whole(params["like"]), params["without"], params["instead"]) if params["like"] else ""
    return File(
        params["path"],
        params["content"] + like,
        params["owner"],
        params["group"],
        octal(params["mode"]),
        tuple(_there(module, params["validate"])),
    )


def _there(module: AnsibleModule, command: list[str]) -> list[str]:
    """The command, but nothing in a preview of a host that lacks it."""
    there = not module.check_mode or not command or module.get_bin_path(command[0], opt_dirs=["/usr/sbin", "/sbin"])
    return command if there else []


def _diff(difference: Difference) -> dict[str, str]:
    path = difference.wanted.path
    return {"before_header": path, "after_header": path, "before": difference.before, "after": difference.after}


def _services_diff(findings: list[str]) -> dict[str, str]:
    before = "".join(f"{text}\n" for text in findings)
    return {"before_header": "services", "after_header": "services", "before": before, "after": ""}


if __name__ == "__main__":
    main()
