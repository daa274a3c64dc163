# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Containers on the hosts of molecule/containers. enroot is a double there, the SPANK plugin one of this repository."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ..e2e import play
from ..e2e.cluster import Cluster, Machine, wait_for

IS_DOUBLE = "ENROOT_PACKAGES" not in os.environ
only_the_double = pytest.mark.skipif(not IS_DOUBLE, reason="looks at what only the double of enroot has")

UBUNTU = "registry-1.docker.io#library/ubuntu:24.04"


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Cluster:
    return Cluster(request.config.getoption("ansible_inventory"))


def node(cluster: Cluster) -> Machine:
    return cluster.nodes[0]


def as_user(cluster: Cluster, command: str, machine: Machine | None = None) -> str:
    """What the cluster's user gets to see who is logged in."""
    return (machine or cluster.head).output(f"runuser -l {cluster.user} -c {shlex.quote(f'timeout 60 {command}')}")


def containers(cluster: Cluster, machine: Machine | None = None) -> list[str]:
    return as_user(cluster, "enroot list", machine).split()


@pytest.fixture
def clean(cluster: Cluster) -> Iterator[None]:
    """The test leaves no container behind."""
    yield
    for name in containers(cluster):
        as_user(cluster, f"enroot remove -f -- {name}")


Ask = Callable[..., dict[str, dict[str, Any]]]


@pytest.fixture
def ask(cluster: Cluster) -> Ask:
    """Runs enroot_container on a group of hosts at once; the results by host."""

    def run(hosts: str, *options: str, **values: Any) -> dict[str, dict[str, Any]]:
        argv = play.command("ansible", hosts, "-i", cluster.inventory, "-m", "aicluster.slurm.enroot_container")
        words = json.dumps({"user": cluster.user, **values})
        report = play.run([*argv, "-b", "-a", words, *options])
        return {host: result for host, _task, result in play.results(report)}

    return run


# --- what the role has done -------------------------------------------------------------------------------------------


def test_enroot_came_with_what_it_needs(cluster: Cluster) -> None:
    for machine in (cluster.head, node(cluster)):
        shown = machine.output("dpkg-query -W -f '${Package} ${db:Status-Status}\n' enroot jq")
        assert shown.splitlines() == ["enroot installed", "jq installed"], machine.name


def test_settings(cluster: Cluster) -> None:
    uid = cluster.head.output(f"id -u {cluster.user}")
    home = cluster.head.output(f"getent passwd {cluster.user} | cut -d: -f6")
    for machine in (cluster.head, node(cluster)):
        shown = as_user(cluster, "enroot info", machine)
        assert f"ENROOT_RUNTIME_PATH=/run/enroot/user-{uid}\n" in shown + "\n"
        assert f"ENROOT_DATA_PATH={home}/.local/share/enroot\n" in shown + "\n"
        assert "ENROOT_REMAP_ROOT=yes\n" in shown + "\n"
        assert machine.output("stat -c '%a %U' /run/enroot /run/pyxis").splitlines() == ["1777 root", "755 root"]
    assert home.startswith(cluster.head.facts["shared_path"])


def test_folders_come_back_at_boot(cluster: Cluster) -> None:
    node(cluster).output("rm -rf /run/enroot && systemd-tmpfiles --create --boot")
    assert node(cluster).output("stat -c %a /run/enroot") == "1777"


def test_the_plugin_takes_its_option(cluster: Cluster) -> None:
    assert cluster.as_user("srun -t1 --mark=by-me printenv MARK") == "seen-by-me"
    assert cluster.as_user("srun -t1 printenv MARK || echo unmarked").splitlines()[-1] == "unmarked"
    assert "required /usr/local/lib/aicluster/spank/spank_mark.so seen-" in cluster.head.output(
        "cat /etc/slurm/plugstack.conf"
    )


def test_a_plugin_that_does_not_load_stays_out(cluster: Cluster) -> None:
    make = "printf 'spank_mark.so:\\n\\tcc -shared -o $@ bad.c\\n' > Makefile"
    node(cluster).output(
        f"mkdir -p /tmp/bad && cd /tmp/bad && echo 'int x;' > bad.c && {make} && tar -czf /tmp/bad.tgz *"
    )
    options = {"path": "/usr/local/lib/aicluster/spank", "plugins": [{"name": "spank_mark", "source": "/tmp/bad.tgz"}]}
    argv = play.command("ansible", "nodes", "-i", cluster.inventory, "-m", "aicluster.slurm.spank_plugins", "-b")
    with pytest.raises(AssertionError, match=r"spank_mark: Slurm does not load it: .*symbol missing"):
        play.run([*argv, "-a", json.dumps(options)])
    assert cluster.as_user("srun -t1 --mark=x printenv MARK") == "seen-x"


# --- the module -------------------------------------------------------------------------------------------------------


@only_the_double
@pytest.mark.usefixtures("clean")
def test_made_on_one_host_and_seen_by_all(cluster: Cluster, ask: Ask) -> None:
    made = ask("nodes", name="box", image="ubuntu:24.04", pyxis=True)["node1"]
    assert (made["changed"], made["image"]) == (True, UBUNTU)
    assert containers(cluster) == containers(cluster, node(cluster)) == ["pyxis_box"]
    assert ask("head", name="box", image="docker.io#library/ubuntu:24.04", pyxis=True)["head0"]["changed"] is False
    with pytest.raises(
        AssertionError, match=r"pyxis_box: found a container of registry-1.docker.io#library/ubuntu:24.04"
    ):
        ask("head", name="box", image="nvcr.io#nvidia/private:1", pyxis=True)
    # Nothing of it belongs to root: on a share that squashes root it would not be there.
    assert cluster.head.output(f"find {made['path']} ! -user {cluster.user}") == ""
    assert ask("nodes", name="pyxis_box", state="absent")["node1"]["changed"]


@only_the_double
@pytest.mark.usefixtures("clean")
def test_all_hosts_at_once_import_once(cluster: Cluster, ask: Ask) -> None:
    count = "cat /etc/enroot-double/imports | wc -l"
    before = [int(machine.output(count)) for machine in cluster.machines]
    results = ask("all", name="together", image="ubuntu:24.04")
    assert sorted(result["changed"] for result in results.values()) == [False, True]
    assert sum(int(machine.output(count)) for machine in cluster.machines) == sum(before) + 1
    assert containers(cluster) == ["together"]


@only_the_double
@pytest.mark.usefixtures("clean")
def test_a_private_image_after_the_login(cluster: Cluster, ask: Ask) -> None:
    with pytest.raises(AssertionError, match="the registry refuses"):
        ask("nodes", name="private", image="nvcr.io#nvidia/private:1")
    cluster.head.output("echo nvapi-test-1234 > /tmp/key && chmod 644 /tmp/key")
    as_user(cluster, "nvcrlogin < /tmp/key")
    assert as_user(cluster, "stat -c '%a' ~/.config/enroot/.credentials") == "600"
    assert ask("nodes", name="private", image="nvcr.io#nvidia/private:1")["node1"]["changed"]


@only_the_double
@pytest.mark.usefixtures("clean")
def test_two_users_with_the_same_name(cluster: Cluster, ask: Ask) -> None:
    home = Path(cluster.head.output(f"getent passwd {cluster.user} | cut -d: -f6")).parent / "second"
    for machine in (cluster.head, node(cluster)):
        machine.output(f"id second || useradd -u 20011 -m -d {home} -s /bin/bash second")
    made = {
        user: ask("nodes", name="own", image="ubuntu:24.04", user=user)["node1"] for user in (cluster.user, "second")
    }
    assert all(result["changed"] for result in made.values())
    for user, result in made.items():
        assert cluster.head.output(f"find {result['path']} ! -user {user}") == "", user
    assert ask("nodes", name="own", state="absent", user="second")["node1"]["changed"]
    assert cluster.head.output("runuser -l second -c 'enroot list'") == ""
    assert containers(cluster) == ["own"]


@only_the_double
@pytest.mark.usefixtures("clean")
def test_a_full_disk(cluster: Cluster, ask: Ask) -> None:
    """A true one: a file system without room, as the store of the user."""
    store = "/mnt/small"
    node(cluster).output(f"mkdir -p {store} && mount -t tmpfs -o size=8k,mode=1777 none {store}")
    setting = f"ENROOT_DATA_PATH {store}/data"
    node(cluster).output(f"cp -a /etc/enroot/enroot.conf /tmp/ && echo {setting} >> /etc/enroot/enroot.conf")
    try:
        with pytest.raises(AssertionError, match="the disk is full"):
            ask("nodes", name="big", image="ubuntu:24.04")
        assert node(cluster).output(f"ls {store}/data") == ""
    finally:
        node(cluster).output(f"cp -a /tmp/enroot.conf /etc/enroot/ && umount {store}")


# --- delivery.yml -----------------------------------------------------------------------------------------------------

# Stands for srun with pyxis, which is not here: of a container it knows the image, and the folder that it is given.
SRUN = """#!/bin/bash
for word; do
    case $word in
        --container-image=ubuntu:24.04) image=found ;;
        --container-mounts=*:/workspace) mounts=${word#*=} ;;
        --container-*) exit 99 ;;
    esac
done
[[ $image ]] && id -u > "${mounts%:*}/container"
"""


@only_the_double
def test_delivery_brings_images_once_and_tests_a_container(cluster: Cluster, tmp_path: Path) -> None:
    def deliver(**wanted: Any) -> dict[str, Any]:
        extra = {"delivery_packages": [], "delivery_report_path": str(tmp_path / "report"), **wanted}
        playbook = str(play.ROOT / "playbooks/delivery.yml")
        return play.run(play.command("ansible-playbook", "-i", cluster.inventory, "-e", json.dumps(extra), playbook))

    def imports() -> int:
        return int(cluster.head.output("cat /etc/enroot-double/imports | wc -l"))

    before = imports()
    machine, text = node(cluster), shlex.quote(SRUN)
    machine.output(f"printf %s {text} > /usr/local/bin/srun && chmod 755 /usr/local/bin/srun")
    try:
        deliver(delivery_images=["ubuntu:24.04"], delivery_selftest_only=["container"])
    finally:
        machine.output("rm /usr/local/bin/srun")
    tested = {row["name"]: row for row in json.loads((tmp_path / "report.json").read_text())["tests"]}
    assert tested["container"]["verdict"] == "pass", tested["container"]
    assert imports() == before + 1
    files = "find /data/images -name '*.sqsh' -size +0 -printf '%u\\n'"
    assert as_user(cluster, files).splitlines() == as_user(cluster, files, machine).splitlines() == [cluster.user]

    assert play.changes(deliver(delivery_images=["ubuntu:24.04"], delivery_selftest="never")) == set()
    assert imports() == before + 1
    # One that cannot be had is named, and without pyxis the test says so.
    with pytest.raises(AssertionError, match=r"no-such-image/manifests/1.*404"):
        deliver(delivery_images=["ubuntu:24.04", "no-such-image:1"], delivery_selftest="never")
    with pytest.raises(AssertionError, match=r"a job in a container: fail(?s:.*)container-image"):
        deliver(delivery_images=["ubuntu:24.04"], delivery_selftest="always", delivery_selftest_only=["container"])


# --- users ------------------------------------------------------------------------------------------------------------


def test_commands_are_there_on_every_host(cluster: Cluster) -> None:
    for machine in (cluster.head, node(cluster)):
        for name in ("sbuild.sh", "srun.sh", "nvcrlogin"):
            assert as_user(cluster, f"{name} --help", machine).startswith(f"usage: {name}\n".rstrip()), machine.name


@pytest.mark.usefixtures("clean")
def test_the_epilog_takes_what_the_job_left(cluster: Cluster) -> None:
    store = "$(getent passwd $(id -un) | cut -d: -f6)/.local/share/enroot"
    job = f"cd {store} && mkdir pyxis_$SLURM_JOB_ID.0 pyxis_mine pyxis_{{}}.0".format("999999")
    as_user(cluster, f"srun -t1 sh -c {shlex.quote(job)}")
    assert wait_for(lambda: containers(cluster), lambda found: len(found) < 3) == [
        "pyxis_999999.0",
        "pyxis_mine",
    ]
    assert "DRAIN" not in cluster.slurm_nodes()[node(cluster).node]["State"]


# --- runs -------------------------------------------------------------------------------------------------------------


def test_containers_without_a_source_are_refused(cluster: Cluster) -> None:
    with pytest.raises(
        AssertionError, match=r"head0: nodes_containers_packages: found none, with nodes_containers: true"
    ):
        play.site(cluster.inventory, "-e", json.dumps({"nodes_containers_packages": []}))


def test_another_run_changes_nothing_and_a_setting_only_its_file(cluster: Cluster) -> None:
    change = ["-e", json.dumps({"nodes_containers_config": {"ENROOT_MOUNT_HOME": True}})]
    seen = play.changes(play.site(cluster.inventory, "--check", *change))
    task = "aicluster.slurm.nodes : Write what enroot and the commands of users read"
    assert seen == {("head0", task), ("node1", task)}


def serve_enroot(cluster: Cluster, version: str) -> str:
    """Make another version of the package, and offer it on the loopback of each host; its checksum."""
    cluster.head.output(
        f"mkdir -p /data/web && cd /tmp && sed -i s/^Version.*/Version:\\ {version}/ enroot/DEBIAN/control"
        f" && dpkg-deb --root-owner-group --build enroot /data/web/{version}.deb"
    )
    server = "python3 -m http.server --bind 127.0.0.1 --directory /data/web 8099"
    for machine in (cluster.head, node(cluster)):
        machine.output(f"systemctl is-active web || systemd-run --unit=web {server}")
    return cluster.head.output(f"sha256sum /data/web/{version}.deb").split()[0]


def have_enroot(cluster: Cluster, **package: str) -> set[tuple[str, str]]:
    """Deploy with enroot of another source; what changed."""
    return play.changes(play.site(cluster.inventory, "-e", json.dumps({"nodes_containers_packages": [package]})))


def enroot_versions(cluster: Cluster) -> list[str]:
    """What is installed on head and node."""
    return [machine.output("dpkg-query -W -f '${Version}' enroot") for machine in (cluster.head, node(cluster))]


INSTALLED = {(host, "aicluster.slurm.nodes : Install enroot and what it needs") for host in ("head0", "node1")}


@only_the_double
def test_a_package_by_its_address(cluster: Cluster) -> None:
    """A newer one; it stays installed."""
    digest, url = serve_enroot(cluster, "4.1.2-2"), "http://127.0.0.1:8099/4.1.2-2.deb"
    with pytest.raises(AssertionError, match=r"checksum"):
        have_enroot(cluster, url=url, sha256="0" * 64)
    assert enroot_versions(cluster) == ["4.1.2-1~double"] * 2
    assert have_enroot(cluster, url=url, sha256=digest) >= INSTALLED
    assert enroot_versions(cluster) == ["4.1.2-2"] * 2
    assert have_enroot(cluster, url=url, sha256=digest) == set()


@only_the_double
def test_a_package_of_a_repository(cluster: Cluster) -> None:
    """By its name any version is right that is there; a version is asked for as apt takes it."""
    digest = serve_enroot(cluster, "4.1.2-3")
    cluster.head.output(
        "cd /data/web && { dpkg-deb --field 4.1.2-3.deb; stat --format='Size: %s' 4.1.2-3.deb;"
        f" echo Filename: ./4.1.2-3.deb; echo SHA256: {digest}; }} > Packages"
    )
    for machine in (cluster.head, node(cluster)):
        machine.output(
            "echo 'deb [trusted=yes allow-insecure=yes] http://127.0.0.1:8099 ./' > /etc/apt/sources.list.d/web.list"
        )
    before = enroot_versions(cluster)
    assert have_enroot(cluster, name="enroot") == set()
    assert enroot_versions(cluster) == before
    assert have_enroot(cluster, name="enroot=4.1.2-3") >= INSTALLED
    assert enroot_versions(cluster) == ["4.1.2-3"] * 2
    assert have_enroot(cluster, name="enroot=4.1.2-3") == set()
    with pytest.raises(AssertionError, match=r"Version '9' for 'enroot' was not found"):
        have_enroot(cluster, name="enroot=9")
