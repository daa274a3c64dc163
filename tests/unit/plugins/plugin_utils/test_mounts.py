# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.aicluster.slurm.plugins.plugin_utils.mounts import escaped, mount_waits

DATA = {"path": "/data", "fstype": "nfs", "options": ["nfsvers=4.2", "_netdev", "nofail"]}


@pytest.mark.parametrize(
    ("path", "wanted"),
    # As systemd-escape --path of systemd 252 prints them.
    [
        ("/", "-"),
        ("/data", "data"),
        ("/data/slurm//ctld/", "data-slurm-ctld"),
        ("/srv/my-share", r"srv-my\x2dshare"),
        ("/.snap/a.b", r"\x2esnap-a.b"),
        ("/a b/ü", r"a\x20b-\xc3\xbc"),
    ],
)
def test_escaped(path: str, wanted: str) -> None:
    assert escaped(path) == wanted


def test_what_is_written() -> None:
    drop_in, service = mount_waits([DATA])
    assert drop_in["path"] == "/etc/systemd/system/data.mount.d/wait.conf"
    assert service["path"] == "/etc/systemd/system/aicluster-mount-data.service"
    for word in ("Wants", "After"):
        assert f"\n{word}=aicluster-mount-data.service\n" in drop_in["content"]
    # It would count for unmounting, too.
    assert "TimeoutSec" not in drop_in["content"]
    assert "\nTimeoutStartSec=infinity\n" in service["content"]
    assert "\nRequiresMountsFor=/\n" in service["content"]


@pytest.mark.parametrize(
    ("mount", "waits"),
    [
        ({"path": "/state", "fstype": "nfs4", "options": ["nofail"]}, True),
        ({"path": "/scratch", "fstype": "beegfs", "options": ["_netdev", "nofail"]}, True),
        # systemd takes it for a local one, which comes before the network.
        ({"path": "/scratch", "fstype": "beegfs", "options": ["nofail"]}, False),
        ({"path": "/local", "fstype": "ext4", "options": ["defaults", "nofail"]}, False),
        # The machine is not to go on without it; nobody could log in.
        ({"path": "/state", "fstype": "nfs4", "options": None}, False),
        ({"path": "/state", "fstype": "nfs4", "options": ["_netdev"]}, False),
        ({"path": "/state", "fstype": "nfs4", "options": ["nofail", "x-systemd.automount"]}, False),
    ],
)
def test_only_mounts_over_the_network_wait(mount: dict[str, Any], waits: bool) -> None:
    assert len(mount_waits([mount])) == 2 * waits


def test_a_mount_below_another_one_comes_after_it() -> None:
    files = mount_waits([DATA, {**DATA, "path": "/data/state"}])
    assert [Path(file["path"]).name for file in files][2:] == ["wait.conf", "aicluster-mount-data-state.service"]
    assert "\nRequiresMountsFor=/data\n" in files[-1]["content"]


def test_it_tries_until_it_is_mounted(tmp_path: Path) -> None:
    """As systemd would run it, with tools that fail twice."""
    tools = {
        "mountpoint": "exit 1",
        "mount": f'echo "$*" >> {tmp_path}/tried; test "$(wc -l < {tmp_path}/tried)" -ge 3',
        "sleep": "exit 0",
    }
    for name, script in tools.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    content = mount_waits([{**DATA, "path": "/my data"}])[1]["content"]
    (line,) = [line for line in content.splitlines() if line.startswith("ExecStart=")]
    command = line.removeprefix("ExecStart=").replace("$$", "$")
    began = time.monotonic()
    path = f"{tmp_path}:{os.environ['PATH']}"
    subprocess.run(["sh", "-c", command], env={"PATH": path}, check=True, timeout=20)
    assert (tmp_path / "tried").read_text().splitlines() == ["/my data"] * 3
    assert time.monotonic() - began < 10
