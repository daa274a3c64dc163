# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A disk with something on it: refused as long as nobody wrote down its name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ..e2e import play
from .conftest import Lab

pytestmark = pytest.mark.whole

PARTITION = "/dev/disk/by-id/virtio-used-part1"
SHARE = {"cluster_shared_path": "/second", "cluster_home_base": "/home", "nfs_service": "none", "nfs_device": PARTITION}
# One partition with a file system of another kind, and a file.
USED = f"""
test -e {PARTITION} || printf 'label: gpt\\nstart=1MiB\\n' | sfdisk --quiet /dev/disk/by-id/virtio-used
udevadm settle
wipefs --quiet --all {PARTITION} && mkfs.vfat {PARTITION} >/dev/null && mount {PARTITION} /mnt &&
echo 'somebody needs this' >/mnt/precious && umount /mnt
"""
SUM = f"sha256sum <{PARTITION}"


@pytest.fixture(name="fstab")
def used(lab: Lab) -> Iterator[str]:
    """The disk as somebody left it; fstab, and afterwards both as they were."""
    lab.server.output(USED)
    # With its last line end.
    before = lab.server.output("cat /etc/fstab; echo .").removesuffix(".")
    yield before
    lab.server.output(f"if mountpoint --quiet /second; then umount /second; fi; printf %s '{before}' >/etc/fstab")
    lab.server.output("systemctl daemon-reload")


def test_it_is_refused_and_its_data_intact(lab: Lab, fstab: str) -> None:
    before = lab.server.output(SUM)
    with pytest.raises(AssertionError, match="nfs_device: found vfat on") as refused:
        lab.storage("nfs0", **SHARE)
    assert f"nfs_device_confirm {PARTITION}, which ends everything on it" in str(refused.value)
    with pytest.raises(AssertionError, match="nfs_device: found vfat on"):
        lab.storage("nfs0", **SHARE, nfs_device_confirm="/dev/disk/by-id/virtio-used")
    assert lab.server.output(SUM) == before
    assert lab.server.output(f"mount -o ro {PARTITION} /mnt; cat /mnt/precious; umount /mnt") == "somebody needs this"
    assert lab.server.output("cat /etc/fstab; echo .") == f"{fstab}."


@pytest.mark.parametrize(("kind", "checked"), [("ext4", 2), ("xfs", 0)])
def test_with_its_name_it_is_formatted_and_mounted_by_it(lab: Lab, fstab: str, kind: str, checked: int) -> None:
    confirmed: dict[str, Any] = {**SHARE, "nfs_device_confirm": PARTITION, "nfs_device_fstype": kind}
    lab.storage("nfs0", **confirmed)
    name = lab.server.output(f"blkid --match-tag PARTUUID --output value {PARTITION}")
    line = f"PARTUUID={name} /second {kind} defaults,nofail,x-systemd.device-timeout=15min 0 {checked}\n"
    assert lab.server.output("cat /etc/fstab; echo .") == f"{fstab}{line}."
    assert lab.server.output("findmnt --noheadings --output FSTYPE,SOURCE /second").split() == [kind, "/dev/vdb1"]
    # What is there is taken as it is then.
    lab.server.output("echo kept >/second/kept")
    assert play.changes(lab.storage("nfs0", **confirmed)) == set()
    assert lab.server.output("cat /second/kept") == "kept"
