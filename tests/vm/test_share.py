# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The share, by the kernel's NFS server and clients."""

from __future__ import annotations

import json

import pytest

from .conftest import Lab

# A host of its own beside node1 on the cluster's network, with an address that no inventory knows.
STRANGER = """
ip netns add stranger && ip link add link lan name macvlan0 netns stranger type macvlan mode bridge &&
ip -n stranger address add 10.77.0.99/24 dev macvlan0 && ip -n stranger link set macvlan0 up
"""


def test_every_client_has_mounted_it(lab: Lab) -> None:
    for machine in lab.slurm_hosts:
        [mount] = json.loads(machine.output("findmnt --json --mountpoint /data"))["filesystems"]
        assert (mount["fstype"], mount["source"]) == ("nfs4", "10.77.0.10:/data")
        assert {"rw", "vers=4.2", "hard"} <= set(mount["options"].split(","))


def test_the_server_has_not(lab: Lab) -> None:
    [mount] = json.loads(lab.server.output("findmnt --json --mountpoint /data"))["filesystems"]
    assert (mount["fstype"], mount["source"]) == ("ext4", "/dev/vdc")


def test_a_file_of_one_node_is_read_on_another(lab: Lab) -> None:
    lab.job("-w node1", "hostname > /data/home/cluster/seen")
    assert lab.job("-w node2", "cat /data/home/cluster/seen") == "node1"


def test_root_is_squashed(lab: Lab) -> None:
    node = lab.machine("node1")
    assert "Permission denied" in node.shell.run("touch /data/by-root").stderr
    assert "Permission denied" in node.shell.run("ls /data/home/cluster").stderr


def test_a_host_outside_the_inventory_is_refused(lab: Lab) -> None:
    node = lab.machine("node1")
    node.output(STRANGER)
    try:
        # It reaches the server, which lets it in nowhere.
        node.output("ip netns exec stranger bash -c '</dev/tcp/10.77.0.10/2049'")
        mount = "mount -t nfs -o nfsvers=4.2,retry=0 10.77.0.10:/data /mnt"
        refused = node.shell.run(f"ip netns exec stranger timeout 120 {mount}")
        assert refused.rc == 32
        assert "reason given by server" in refused.stderr or "access denied" in refused.stderr, refused.stderr
    finally:
        node.output("ip netns delete stranger")


def test_the_device_is_in_fstab_by_its_name(lab: Lab) -> None:
    """It has no partition, so there is no PARTUUID."""
    lines = lab.server.output("cat /etc/fstab").splitlines()
    uuid = lab.server.output("blkid --match-tag UUID --output value /dev/disk/by-id/virtio-blank")
    # As scripts/vm_guest left them.
    assert lines[:2] == ["# The line of an installer", "tmpfs   /tmp  tmpfs\tnosuid,nodev   0 0"]
    options = "defaults,nofail,x-systemd.device-timeout=15min"
    assert lines[2:] == [f"UUID={uuid} /data ext4 {options} 0 2"]


@pytest.mark.whole
def test_a_further_export_is_mounted_on_a_node(lab: Lab) -> None:
    """As of a file server that nobody here looks after."""
    node = lab.machine("node2")
    lab.server.output("mkdir -p /srv/further && echo there >/srv/further/file")
    lab.server.output("exportfs -o ro,sync,no_subtree_check 10.77.0.22:/srv/further")
    before = node.output("cat /etc/fstab")
    source, path = "10.77.0.10:/srv/further", "/mnt/further"
    mount = {"source": source, "path": path, "fstype": "nfs", "options": ["_netdev", "nofail"]}
    try:
        lab.storage("node2", cluster_mounts=[mount])
        assert node.output(f"findmnt --noheadings --output FSTYPE,SOURCE {path}").split() == ["nfs4", source]
        assert node.output(f"cat {path}/file") == "there"
        assert node.output("cat /etc/fstab") == f"{before}\n{source} {path} nfs _netdev,nofail 0 0"
        # The share is as it was.
        assert lab.job("-w node2", "ls -d /data/home/cluster") == "/data/home/cluster"
    finally:
        node.output("umount /mnt/further; sed -i '\\|/mnt/further|d' /etc/fstab")
        node.output("rm -r /etc/systemd/system/*mnt-further* && systemctl daemon-reload")
        lab.server.output("exportfs -u 10.77.0.22:/srv/further")
