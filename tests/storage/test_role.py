# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role nfs with a server that is made from nothing, and what it refuses."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.aicluster.slurm.plugins.plugin_utils import selftest

from ..e2e import play
from .conftest import Storage
from .test_ganesha import cat, succeeds, write

COLLECTIONS = f"{play.ROOT}/collections:{play.ROOT}/.cache/collections"
GANESHA = {"nfs_service": "ganesha", "nfs_mount": False}


class Site:
    """The two hosts as storage server and node of a cluster."""

    def __init__(self, folder: Path, storages: dict[str, Storage]) -> None:
        self.folder = folder
        self.storages = storages
        self.servers: tuple[str, ...] = ("ganesha",)

    def play(self, *arguments: str, **variables: Any) -> dict[str, Any]:
        """The report on one run of the role; AssertionError with what it said. Who is no server is a node."""
        hosts = {
            name: {"ansible_connection": "community.docker.docker", "ansible_docker_host": storage.container}
            for name, storage in self.storages.items()
        }
        members = {"nfs": self.servers, "nodes": [name for name in hosts if name not in self.servers]}
        groups = {group: {"hosts": dict.fromkeys(names)} for group, names in members.items()}
        playbook = [{"hosts": "all", "become": True, "gather_facts": False, "roles": ["aicluster.slurm.nfs"]}]
        inventory = {"all": {"hosts": hosts, "vars": variables, "children": groups}}
        (self.folder / "hosts.yml").write_text(yaml.safe_dump(inventory))
        (self.folder / "play.yml").write_text(yaml.safe_dump(playbook))
        (self.folder / "ansible.cfg").touch()
        settings = {"ANSIBLE_CONFIG": str(self.folder / "ansible.cfg"), "ANSIBLE_COLLECTIONS_PATH": COLLECTIONS}
        argv = play.command("ansible-playbook", "-i", "hosts.yml", "play.yml", "--diff", *arguments)
        return play.run(argv, self.folder, **settings)


@pytest.fixture
def site(tmp_path: Path, storages: dict[str, Storage]) -> Site:
    return Site(tmp_path, storages)


def test_a_share_and_a_path_beside_it(site: Site, ganesha: Storage, client: Storage) -> None:
    ganesha.output("systemctl stop nfs-ganesha; rm -rf /etc/ganesha/exports.d /etc/ganesha/ganesha.conf /data/*")
    variables = {
        **GANESHA,
        "nfs_mode": "0751",
        "nfs_folders": [{"path": "/data/sets", "owner": "4711", "group": "4711", "mode": "0755"}],
        "nfs_exports": [{"path": "/data/sets", "clients": [{"host": "*", "options": ["ro"]}]}],
    }
    foretold = play.changes(site.play("--check", **variables))
    assert not ganesha.machine.shell.file("/data/home").exists
    assert play.changes(site.play(**variables)) == foretold

    assert ganesha.output("stat -c '%a %u' /data /data/home /data/home/cluster") == "751 0\n755 0\n700 10000"
    client.output(f"timeout 60 sh -c 'until {write(ganesha, '/data/home/cluster/mine', 10000)}; do sleep 1; done'")
    assert ganesha.output("stat -c %u /data/home/cluster/mine") == "10000"
    # root of a client is nobody here, and may not look into a home.
    assert not succeeds(client, cat(ganesha, "/data/home/cluster/mine"))
    assert not succeeds(client, write(ganesha, "/data/sets/new", 4711))

    assert play.changes(site.play(**variables)) == set()


def test_the_self_test_sees_what_the_server_exports(ganesha: Storage) -> None:
    texts = yaml.safe_load((play.ROOT / "roles/delivery/vars/main.yml").read_text())

    def row(share: str) -> dict[str, Any]:
        look = shlex.join(["sh", "-c", texts["__delivery_look_storage"], "sh", "nobody", share, "/tmp"])
        return selftest.storage_row(selftest.read_storage(ganesha.output(look)), share)

    assert row("/data")["verdict"] == "pass"
    # A file that the server did not read.
    ganesha.write("/etc/ganesha/exports.d/late.conf", "EXPORT { Export_Id = 99; Path = /data/late; }")
    try:
        late = row("/data/late")
    finally:
        ganesha.output("rm /etc/ganesha/exports.d/late.conf")
    assert (late["verdict"], "does not export it" in late["reason"]) == ("fail", True)


def test_a_new_node_is_let_in_although_the_server_is_not_in_the_run(
    site: Site, ganesha: Storage, client: Storage
) -> None:
    ganesha.export("/data", "192.0.2.1")
    assert not succeeds(client, write(ganesha, "/data/home/cluster/new", 10000))
    changes = play.changes(site.play("--limit=kernel", **GANESHA))
    assert changes == {("kernel", "aicluster.slurm.nfs : Export the share, and what else is to be exported")}
    client.output(write(ganesha, "/data/home/cluster/new", 10000))


def test_storage_that_is_there_already(site: Site, kernel: Storage) -> None:
    # Both hosts have the volume of the scenario at /data.
    site.play()
    assert "/data\t" not in kernel.output("cat /var/lib/nfs/etab")
    drop_in = kernel.output("cat /etc/systemd/system/slurmd.service.d/storage.conf")
    assert drop_in.endswith("[Unit]\nRequiresMountsFor=/data")


def test_storage_that_is_not_ours(site: Site, storages: dict[str, Storage]) -> None:
    # Both hosts are nodes, and have the volume of the scenario at /data. The first one writes for all.
    site.servers = ()
    homes = {"cluster_home_base": "/data/home"}
    filer, other = storages["ganesha"], storages["kernel"]
    for storage in storages.values():
        storage.output(
            "id cluster 2>/dev/null || useradd --uid 10000 --no-create-home --home-dir /data/home/cluster cluster"
        )
    filer.output("rm -rf /data/home")
    commands = "install -d -m 0755 /data/home && install -d -o 10000 -g 10000 -m 0700 /data/home/cluster"
    with pytest.raises(
        AssertionError, match=f"ganesha: /data/home/cluster: found .* On its server that is: {commands}"
    ):
        site.play(**homes)
    # root may be nobody on the clients, so it is the filer that has to do it.
    assert not filer.machine.shell.file("/data/home").exists
    filer.output(commands)
    played = site.play(**homes)
    assert [
        task for _host, task, result in play.results(played) if "Export the share" in task and "skipped" not in result
    ] == []
    assert filer.output("ls -A /data/home/cluster") == ""
    assert play.changes(site.play(**homes)) == set()

    other.output("mount -t tmpfs tmpfs /data")
    try:
        with pytest.raises(
            AssertionError, match="kernel: cluster_shared_path: found another file system at /data than on ganesha"
        ):
            site.play(**homes)
    finally:
        other.output("umount /data")
    assert filer.output("ls -A /data/home/cluster") == ""


def test_mounts_beside_the_share(site: Site, kernel: Storage, ganesha: Storage) -> None:
    before = kernel.output("printf '# by hand\nnone\t/nowhere  tmpfs noauto\t0 0\n' >/etc/fstab; cat /etc/fstab")
    mounts = [{"path": "/mnt/fast", "source": "tmpfs", "fstype": "tmpfs", "options": ["size=1m", "nosuid"]}]
    variables: dict[str, Any] = {"nfs_service": "none", "cluster_mounts": mounts}
    try:
        site.play(**variables)
        assert kernel.output("findmnt -no SOURCE,FSTYPE /mnt/fast").split() == ["tmpfs", "tmpfs"]
        assert "nosuid" in kernel.output("findmnt -no OPTIONS /mnt/fast")
        assert kernel.output("cat /etc/fstab") == f"{before}\ntmpfs /mnt/fast tmpfs size=1m,nosuid 0 0"
        assert play.changes(site.play(**variables)) == set()
        # It is for those who run jobs, and for heads.
        assert not ganesha.machine.shell.file("/mnt/fast").exists
    finally:
        kernel.output("umount /mnt/fast; sed -i /fast/d /etc/fstab")


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        (
            {"nfs_service": "none", "cluster_shared_path": "/srv"},
            "kernel: cluster_shared_path: found another file system at",
        ),
        ({"nfs_service": "kernel"}, "ganesha: nfs_service: found a kernel without an NFS server"),
        (
            {**GANESHA, "nfs_mount": True},
            "kernel: cluster_shared_path: found .* mounted at /data; accepted: .*:/data, or",
        ),
        (
            {**GANESHA, "nfs_mount": True, "cluster_shared_path": "/nowhere"},
            "kernel: nfs_mount: found a kernel that cannot mount NFS",
        ),
        (
            # Where the module of these tests lies.
            {**GANESHA, "nfs_mount": True, "cluster_shared_path": "/opt"},
            "kernel: cluster_shared_path: found modules where .*:/opt would be mounted; accepted: an empty folder",
        ),
        (
            {"nfs_external": {"server": "filer"}},
            "nfs_external: found .*filer.*; accepted: a server and a path",
        ),
        (
            {"nfs_external": {"server": "filer", "path": "/vol/x"}},
            "kernel: cluster_shared_path: found .* mounted at /data; accepted: filer:/vol/x, or nothing yet",
        ),
    ],
)
def test_storage_that_cannot_be(site: Site, variables: dict[str, Any], said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        site.play(**variables)


def test_a_device_with_something_on_it(site: Site, ganesha: Storage) -> None:
    ganesha.output("apt-get install -q -y --no-install-recommends dosfstools && truncate -s 64M /var/disk")
    ganesha.output("mkfs.vfat /var/disk && printf precious | dd of=/var/disk bs=1 seek=1M conv=notrunc")
    before = ganesha.output("sha256sum /var/disk; cat /etc/fstab")
    variables = {"nfs_service": "none", "nfs_device": "/var/disk"}
    said = r"ganesha: nfs_device: found vfat.*; accepted: .*nfs_device_confirm /var/disk:67108864"
    with pytest.raises(AssertionError, match=said):
        site.play(**variables)
    with pytest.raises(AssertionError, match="which is no block device"):
        site.play(**variables, nfs_device_confirm="/var/disk:67108864")
    assert ganesha.output("sha256sum /var/disk; cat /etc/fstab") == before


def test_a_device_that_cannot_be_read_is_not_taken_for_an_empty_one(site: Site, ganesha: Storage) -> None:
    ganesha.output("truncate -s 1M /var/unread; cp /bin/false /usr/local/sbin/wipefs")
    try:
        with pytest.raises(AssertionError, match="Look at the device: "):
            site.play(nfs_service="none", nfs_device="/var/unread")
    finally:
        ganesha.output("rm /usr/local/sbin/wipefs /var/unread")
