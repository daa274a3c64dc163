# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The share, by the kernel's NFS server and clients."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ..e2e.cluster import Machine
from .conftest import ADDRESSES, Lab

# A host of its own beside node1 on the cluster's network, with an address that no inventory knows.
STRANGER = """
ip netns add stranger && ip link add link lan name macvlan0 netns stranger type macvlan mode bridge &&
ip -n stranger address add 10.77.0.99/24 dev macvlan0 && ip -n stranger link set macvlan0 up
"""
# What is exported, and by which files.
EXPORTS = "exportfs -s; cat /etc/exports /etc/exports.d/*"
USERS = "head0,node1,node2"


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
    source, path = "10.77.0.10:/srv/further", "/mnt/further"
    mount = {"source": source, "path": path, "fstype": "nfs", "options": ["_netdev", "nofail"]}
    with exported(lab, "/srv/further", node), lab.mounts_put_back(node, path=path):
        before = node.output("cat /etc/fstab")
        lab.server.output("echo there >/srv/further/file")
        lab.storage("node2", cluster_mounts=[mount])
        assert node.output(f"findmnt --noheadings --output FSTYPE,SOURCE {path}").split() == ["nfs4", source]
        assert node.output(f"cat {path}/file") == "there"
        assert node.output("cat /etc/fstab") == f"{before}\n{source} {path} nfs _netdev,nofail 0 0"
        # The share is as it was.
        assert lab.job("-w node2", "ls -d /data/home/cluster") == "/data/home/cluster"


@pytest.mark.whole
def test_a_share_of_somebody_else(lab: Lab) -> None:
    """nfs_external: it is mounted and seen to be one on all hosts, and nothing is exported by us."""
    path, source = "/filer", "10.77.0.10:/srv/filer"
    asked = {"cluster_shared_path": path, "nfs_external": {"server": "10.77.0.10", "path": "/srv/filer"}}
    node = lab.machine("node2")
    with exported(lab, "/srv/filer", *lab.slurm_hosts), lab.mounts_put_back(*lab.slurm_hosts, path=path):
        exports = lab.server.output(EXPORTS)
        # root is nobody there: only the filer can make homes on it.
        commands = "install -d -m 0755 /srv/filer/home && install -d -o 10000 -g 10000 -m 0700 /srv/filer/home/cluster"
        with pytest.raises(AssertionError, match=f"head0: /filer/home/cluster: found .*10.77.0.10 that is: {commands}"):
            lab.storage(USERS, **asked)
        lab.server.output(commands)
        lab.storage(USERS, **asked)
        for machine in lab.slurm_hosts:
            found = machine.output(f"findmnt --noheadings --output FSTYPE,SOURCE --mountpoint {path}").split()
            assert found == ["nfs4", source]
            assert machine.output("tail -n 1 /etc/fstab") == f"{source} {path} nfs nfsvers=4.2,hard,_netdev,nofail 0 0"
        assert lab.server.output(EXPORTS) == exports
        assert lab.server.output("ls -A /srv/filer/home/cluster") == "", "the marker is still there"

        # By its name it is the share, and it is not.
        node.output(f"mount -t tmpfs -o mode=0777 {source} {path}")
        node.output(f"install -d -o 10000 -g 10000 {path}/home/cluster")
        other = "node2: cluster_shared_path: found another file system at /filer than on head0"
        with pytest.raises(AssertionError, match=other):
            lab.storage(USERS, **asked)


@contextmanager
def exported(lab: Lab, path: str, *machines: Machine) -> Iterator[None]:
    """What the server exports by somebody else's hand, until it starts again."""
    clients = [f"{ADDRESSES[machine.name]}:{path}" for machine in machines]
    lab.server.output(f"mkdir -p {path} && exportfs -o rw,sync,root_squash,no_subtree_check {' '.join(clients)}")
    try:
        yield
    finally:
        lab.server.output(f"for client in {' '.join(clients)}; do exportfs -u $client; done; rm -r {path}")
