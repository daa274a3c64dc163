# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Upgrades of packages (common_upgrade): a node has no job meanwhile. That hosts restart is shown by tests/vm."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..e2e.cluster import Machine, wait_for
from ..e2e.play import SITE
from .conftest import Lab

NAME = "aicluster-sample"
OFFER = "/srv/offer"
BUILD = """
set -e
folder=$(mktemp -d)
mkdir -p $folder/DEBIAN {offer}
printf 'Package: {name}\\nVersion: {version}\\nArchitecture: all\\nMaintainer: x <x@example.org>\\nDescription: x\\n' \
    > $folder/DEBIAN/control
cd {offer}
file={name}_{version}_all.deb
dpkg-deb --build $folder $file
dpkg-deb --field $file > Packages
echo "Filename: ./$file" >> Packages
stat -c 'Size: %s' $file >> Packages
sha256sum $file | sed 's/ .*//; s/^/SHA256: /' >> Packages
"""


@pytest.fixture
def outdated(lab: Lab) -> Iterator[Machine]:
    """A node with a package of which there is a newer one; nothing is known of that yet."""
    node = lab.host("node1")
    for version in ("1.0", "2.0"):
        node.output(BUILD.format(name=NAME, version=version, offer=OFFER))
    node.output(f"dpkg --install {OFFER}/{NAME}_1.0_all.deb")
    node.output(f"echo 'deb [trusted=yes] file:{OFFER} ./' > /etc/apt/sources.list.d/offer.list")
    node.output("rm -rf /var/lib/apt/lists/*")
    yield node
    node.output(f"dpkg --purge {NAME} && rm -r {OFFER} /etc/apt/sources.list.d/offer.list")


def version(node: Machine, package: str) -> str:
    return node.output(f"dpkg-query --show --showformat='${{Version}}' {package}")


def test_a_node_is_upgraded_after_its_jobs_and_comes_back(lab: Lab, outdated: Machine) -> None:
    head = lab.cluster.head
    slurm = version(outdated, "slurmd")
    job = lab.cluster.as_user("sbatch --parsable -w node1 -o /dev/null --wrap 'sleep 15'").strip()
    running = wait_for(lambda: head.output(f"squeue -h -j {job} -o %T"), lambda state: state == "RUNNING")
    assert running == "RUNNING"
    run = lab.play({"common_upgrade": True}, "--limit", "node1", playbook=SITE)
    assert run.rc == 0, run.said
    assert "JobState=COMPLETED" in head.output(f"scontrol show job {job}")
    assert (version(outdated, NAME), version(outdated, "slurmd")) == ("2.0", slurm)
    assert wait_for(lambda: head.output("sinfo -h -n node1 -o %T"), lambda state: state == "idle") == "idle"
    again = lab.play({"common_upgrade": True}, "--limit", "node1", playbook=SITE)
    assert (again.rc, again.changed) == (0, 0), again.said


def test_a_job_that_does_not_end_keeps_its_node(lab: Lab, outdated: Machine) -> None:
    head = lab.cluster.head
    job = lab.cluster.as_user("sbatch --parsable -w node1 -o /dev/null --wrap 'sleep 600'").strip()
    wait_for(lambda: head.output(f"squeue -h -j {job} -o %T"), lambda state: state == "RUNNING")
    run = lab.play({"common_upgrade": True, "common_reboot_timeout": 1}, "--limit", "node1", playbook=SITE)
    assert run.rc == 2
    assert "jobs are left" in run.said
    assert version(outdated, NAME) == "1.0"
    assert "DRAIN" not in head.output("scontrol show node node1")
    lab.cluster.as_user(f"scancel {job}")


def test_the_machine_that_ansible_runs_on_does_not_restart(lab: Lab) -> None:
    """A container has the kernel of the machine that runs the tests, and so its number of this start."""
    node = lab.host("node1")
    node.output("touch /run/reboot-required")
    try:
        run = lab.play({"common_reboot": True}, "--limit", "node1", playbook=SITE)
    finally:
        node.output("rm /run/reboot-required")
    assert (run.rc, run.changed) == (0, 0), run.said
    assert "node1: a restart is due (/run/reboot-required), and Ansible runs there" in run.said
