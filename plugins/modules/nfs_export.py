#!/usr/bin/python
# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)

"""An exported path, by the kernel's NFS server or by NFS-Ganesha."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nfs_export
short_description: An exported path, by the kernel's NFS server or by NFS-Ganesha
version_added: 0.1.0
author: aicluster.slurm contributors (@aicluster)
description:
  - Exports a path to clients, each with its options, or stops doing so.
  - The kernel's exports are in a file of their own, C(/etc/exports.d/aicluster.exports), those of NFS-Ganesha in a file
    for each path under C(/etc/ganesha/exports.d), which C(ganesha.conf) has to include with a line C(%dir). Files of
    others are read, as exportfs(8) reads them, and left alone.
  - Exportfs judges the new file before it is put in place, in a mount namespace of its own where the rights allow it.
  - The server adds and removes what differs, and is never asked to read everything anew, so that no other export
    vanishes because of a line that somebody else broke. Then every client has to be in the server's own table;
    otherwise the old exports come back.
  - A run that is killed in between is finished by the next one.
requirements:
  - exportfs (nfs-kernel-server), or NFS-Ganesha 4.3 or later with busctl (systemd)
options:
  path:
    description: The folder to export. NFS-Ganesha shows it to NFS 4 under the same path, as the kernel does.
    type: path
    required: true
  clients:
    description:
      - Who may mount it. With O(state=absent) whom to remove, and nobody given means everybody.
      - Needed with O(state=present).
    type: list
    elements: dict
    default: []
    suboptions:
      host:
        description:
          - An address, a network, a name, a name with wildcards, a netgroup such as V(@rack1), or V(*).
          - A name has to resolve. Without that the server would leave the client out, and say nothing.
        type: str
        required: true
      options:
        description:
          - Options of exports(5), each a word of its own. What is not said is as exports(5) has it, V(ro), V(sync),
            V(root_squash), V(secure) and V(no_subtree_check) among that.
          - NFS-Ganesha has V(ro), V(rw), V(root_squash), V(no_root_squash), V(all_squash), V(secure), V(insecure),
            V(sec), V(anonuid) and V(anongid); of the others it takes the defaults.
        type: list
        elements: str
        default: []
  state:
    description: Whether the path is exported to these clients.
    type: str
    choices: [present, absent]
    default: present
  server:
    description: Which server exports the path. V(auto) takes what is installed, and of both the one that runs.
    type: str
    choices: [auto, kernel, ganesha]
    default: auto
  exclusive:
    description:
      - Whether clients of the path that are not among O(clients) are removed.
      - Clients in files of others stay in any case; a warning names them.
    type: bool
    default: true
  allow_world:
    description: Whether everybody may have V(rw) with V(no_root_squash), which makes anyone root of the path.
    type: bool
    default: false
attributes:
  check_mode:
    description: Can run in check mode and tell what it would change, also on a host without a server or the path.
    support: full
  diff_mode:
    description: Shows the file before and after.
    support: full
  idempotent:
    description: Changes nothing when the file is as wanted and the server has what it says.
    support: full
  platform:
    description: The platform.
    platforms: debian
    support: full
"""

EXAMPLES = r"""
- name: Export the share to two nodes, and to be read to a third
  aicluster.slurm.nfs_export:
    path: /data
    clients:
      - {host: 10.0.0.11, options: [rw]}
      - {host: 10.0.0.12, options: [rw]}
      - {host: 10.0.0.99}

- name: Add a client, and leave the others
  aicluster.slurm.nfs_export:
    path: /data
    clients:
      - {host: node3, options: [rw, sec=krb5p]}
    exclusive: false

- name: Stop exporting a path
  aicluster.slurm.nfs_export:
    path: /scratch
    state: absent
"""

RETURN = r"""
server:
  description: The server that was asked, V(kernel) or V(ganesha).
  type: str
  returned: success
  sample: kernel
before:
  description: The clients of the path in our file before, each with its C(host) and canonical C(options).
  type: list
  elements: dict
  returned: success
  sample: [{host: 10.0.0.11, options: [rw, root_squash, sync, no_subtree_check]}]
after:
  description: The clients of the path in our file now.
  type: list
  elements: dict
  returned: success
others:
  description: Exports of the path in files of others, with C(file), C(line), C(host) and C(options).
  type: list
  elements: dict
  returned: success
  sample: [{file: /etc/exports, line: 3, host: 10.9.0.1, options: [ro, root_squash, sync, no_subtree_check]}]
validated:
  description: V(deep) where exportfs judged the new file before it was put in place, otherwise V(none).
  type: str
  returned: success
  sample: deep
commands:
  description: The commands that changed something, in order.
  type: list
  elements: list
  returned: success
  sample: [[exportfs, -a]]
"""

import os
from typing import Any, Mapping

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.aicluster.slurm.plugins.module_utils import exports, ganesha, nfs_servers
from ansible_collections.aicluster.slurm.plugins.module_utils.command import Runner, module_runner
from ansible_collections.aicluster.slurm.plugins.module_utils.exports import ExportsError, Settings
from ansible_collections.aicluster.slurm.plugins.module_utils.nfs_servers import Ganesha, Kernel, Server

PROGRAMS = {"kernel": "exportfs", "ganesha": "ganesha.nfsd"}


def clients_of(params: Mapping[str, Any], server: str) -> dict[str, Settings]:
    """The clients by host, checked; ExportsError for what is none."""
    clients: dict[str, Settings] = {}
    for client in params["clients"]:
        try:
            host = exports.check_host(client["host"])
            settings = exports.settings_of(client["options"])
            if server == "ganesha":
                settings = ganesha.check(host, settings)
        except ExportsError as error:
            raise ExportsError(f"clients: {client['host']}: {error}") from None
        if clients.setdefault(host, settings) != settings:
            raise ExportsError(f"clients: found {host} twice, with other options; accepted: once")
    return clients


def check(params: Mapping[str, Any], clients: Mapping[str, Settings], check_mode: bool) -> None:
    """Refuse what cannot be exported; ExportsError."""
    path = params["path"]
    if not path.startswith("/") or os.path.normpath(path) != path:
        raise ExportsError(f"path: found {path}; accepted: an absolute path without a slash at its end")
    if params["state"] == "absent":
        return
    if not clients:
        raise ExportsError("clients: found none; accepted: one or more, or state absent")
    if not params["allow_world"]:
        nfs_servers.refuse_world(clients)
    if not check_mode and not os.path.isdir(path):
        raise ExportsError(f"path: found {path}, which is no folder; accepted: a folder that is there")


def make_server(name: str, run: Runner, params: Mapping[str, Any]) -> Server:
    """The server, asked for the path."""
    if name == "ganesha":
        return Ganesha(run, params["path"])
    exclusive = params["exclusive"] if params["state"] == "present" else not params["clients"]
    return Kernel(run, params["path"], exclusive)


def manage(
    server: Server, params: Mapping[str, Any], clients: Mapping[str, Settings], check_mode: bool
) -> dict[str, Any]:
    """Make the exports as wanted; what the module returns."""
    wanted = nfs_servers.after(server.own, clients, params["state"] == "present", params["exclusive"])
    plan = server.plan(wanted)
    validated = "none"
    if plan.changes:
        validated = server.validate(plan)
        if not check_mode:
            server.apply(plan)
    return {
        "changed": plan.changes,
        "before": nfs_servers.views(server.own),
        "after": nfs_servers.views(wanted),
        "others": [other._asdict() for other in server.others],
        "validated": validated,
        "commands": server.commands,
        "diff": {"before_header": plan.file, "after_header": plan.file, "before": plan.before, "after": plan.after},
    }


def run_module(module: AnsibleModule, run: Runner) -> dict[str, Any]:
    """The whole of it; what it gives back is the result."""
    params = module.params
    installed = [name for name, program in PROGRAMS.items() if module.get_bin_path(program, opt_dirs=["/usr/sbin"])]
    name = nfs_servers.detect(run, installed) if params["server"] == "auto" else params["server"]
    clients = clients_of(params, name)
    check(params, clients, module.check_mode)
    if name not in installed:
        if not module.check_mode:
            raise ExportsError(
                f"server: found no {name or 'NFS server'}; accepted: nfs-kernel-server or nfs-ganesha-vfs installed"
            )
        return {
            "changed": params["state"] == "present",
            "before": [],
            "after": nfs_servers.views(clients if params["state"] == "present" else {}),
            "others": [],
            "validated": "none",
            "commands": [],
            "msg": "no NFS server on this host yet",
        }
    server = make_server(name, run, params)
    try:
        result = manage(server, params, clients, module.check_mode)
    finally:
        for warning in server.warnings:
            module.warn(warning)
    if server.others:
        seen = ", ".join(f"{other.host} by {other.file}" for other in server.others)
        module.warn(f"{params['path']} is exported by others too: {seen}")
    return {"server": name, **result}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "clients": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "host": {"type": "str", "required": True},
                    "options": {"type": "list", "elements": "str", "default": []},
                },
            },
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "server": {"type": "str", "choices": ["auto", "kernel", "ganesha"], "default": "auto"},
            "exclusive": {"type": "bool", "default": True},
            "allow_world": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    try:
        result = run_module(module, module_runner(module))
    except (ExportsError, OSError) as error:
        module.fail_json(msg=f"nfs_export: {error}")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
