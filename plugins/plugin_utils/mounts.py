# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What of systemd has mounts wait for their servers when a machine starts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

NETWORK = {"ceph", "cifs", "glusterfs", "lustre", "nfs", "nfs4", "smb3"}
"""File systems that systemd takes for ones of the network without being told (systemd.mount(5), _netdev)."""
FOLDER = "/etc/systemd/system"
OURS = "# Written by Ansible (aicluster.slurm): changes made here are lost at the next run."


def escaped(path: str) -> str:
    """A path as it stands in the name of a unit (systemd-escape(1) --path)."""
    plain = "/".join(part for part in path.split("/") if part)
    other = re.sub(
        r"[^A-Za-z0-9:_./]|^\.", lambda found: "".join(f"\\x{byte:02x}" for byte in found[0].encode()), plain
    )
    return other.replace("/", "-") or "-"


def mount_waits(mounts: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    """The files by which each mount over the network waits for its server, however long that takes.

    Each has a service before it that mounts it. TimeoutSec= of the mount itself would count for unmounting, too, and a
    shutdown would wait for a server that is gone; JobTimeoutSec= ends the wait of those who need the mount, and not the
    mounting.
    """
    files = []
    for mount in mounts:
        path, options = str(mount["path"]), set(mount.get("options") or ())
        # One without nofail would hold up logins meanwhile, and one that is mounted when it is used whoever uses it.
        waits = "nofail" in options and "x-systemd.automount" not in options
        if waits and (mount["fstype"] in NETWORK or "_netdev" in options):
            name = escaped(path)
            service = f"aicluster-mount-{name}.service"
            drop_in = f"{OURS}\n[Unit]\nWants={service}\nAfter={service}\n"
            files.append({"path": f"{FOLDER}/{name}.mount.d/wait.conf", "content": drop_in})
            files.append({"path": f"{FOLDER}/{service}", "content": _service(path)})
    return files


def _service(path: str) -> str:
    quoted = path.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f"""\
{OURS}
[Unit]
Description=Mount {path.replace("%", "%%")} as soon as its server answers
Wants=network-online.target
After=network-online.target remote-fs-pre.target
RequiresMountsFor={str(PurePosixPath(path).parent).replace("%", "%%")}

[Service]
Type=oneshot
TimeoutStartSec=infinity
# A file system of FUSE leaves a process behind.
KillMode=process
ExecStart=/bin/sh -c 'until mountpoint --quiet "$$1" || mount "$$1"; do sleep 10; done' sh "{quoted}"
"""
