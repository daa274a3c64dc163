# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Other wishes than those of the scenario: folders, owners, lock files, a node to build on, a web server, no room."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from ..e2e import play
from ..e2e.cluster import Cluster, wait_for
from .conftest import PATH, deliver, planted

BASE = "/data/environments"


def wish(**wanted: Any) -> tuple[str, str]:
    return "-e", json.dumps({"delivery_selftest": "never", **wanted})


def test_a_folder_its_owner_and_the_one_file_that_changed(cluster: Cluster, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "bin").mkdir(parents=True)
    (tree / "bin/train.sh").write_text("#!/bin/sh\ncat $(dirname $0)/../settings\n")
    (tree / "settings").write_text("rate 1\n")
    item = {"src": str(tree), "owner": cluster.user, "group": cluster.user, "mode": "0750"}
    scripts = [{**item, "dest": "/opt/tree", "hosts": ["nodes"]}, {**item, "dest": "/data/tree"}]
    deliver(cluster, tmp_path, *wish(delivery_scripts=scripts))
    seen = "stat -c '%a %U %G %i' /opt/tree/bin/train.sh"
    before = [machine.output(seen) for machine in cluster.nodes]
    assert [text.split()[:3] for text in before] == [["750", cluster.user, cluster.user]] * 2
    assert cluster.head.shell.run("test -e /opt/tree").rc == 1
    run = "srun -N2 sh -c '/opt/tree/bin/train.sh; /data/tree/bin/train.sh'"
    assert cluster.as_user(run).splitlines() == ["rate 1"] * 4

    (tree / "settings").write_text("rate 2\n")
    played = deliver(cluster, tmp_path, *wish(delivery_scripts=scripts))
    assert {(host, task.rpartition(" : ")[2]) for host, task in play.changes(played)} == {
        ("head0", "Deliver files to the share"),
        ("node1", "Deliver files to the host"),
        ("node2", "Deliver files to the host"),
    }
    assert cluster.as_user(run).splitlines() == ["rate 2"] * 4
    # The same file, and not one like it.
    assert [machine.output(seen) for machine in cluster.nodes] == before
    deliver(cluster, tmp_path, *wish(delivery_prune=True))
    assert all(machine.shell.run("test -e /opt/tree || test -e /data/tree").rc == 1 for machine in cluster.machines)


@pytest.fixture
def wheels(cluster: Cluster) -> Iterator[dict[str, str]]:
    """Three versions of a package, in a folder of the share; a line of a lock file for each."""
    lines = {}
    cluster.head.output("install -d /data/wheels")
    for version in ("1.0", "2.0", "3.0"):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            folder = f"labtools-{version}.dist-info"
            archive.writestr("labtools.py", f"VERSION = '{version}'\n")
            archive.writestr(f"{folder}/METADATA", f"Metadata-Version: 2.1\nName: labtools\nVersion: {version}\n")
            archive.writestr(f"{folder}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            archive.writestr(f"{folder}/RECORD", "")
        text = base64.b64encode(packed.getvalue()).decode()
        name = f"/data/wheels/labtools-{version}-py3-none-any.whl"
        cluster.head.output(f"echo {text} | base64 -d >{name}")
        lines[version] = f"labtools=={version} --hash=sha256:{hashlib.sha256(packed.getvalue()).hexdigest()}\n"
    yield lines
    cluster.head.output(f"rm -rf /data/wheels {BASE}/locked {BASE}/.builds/locked-* {BASE}/.builds/other-*")


def locked(folder: Path, line: str, name: str = "locked") -> dict[str, Any]:
    """An environment of a lock file, which a certain node has to build without a package index."""
    lock = folder / f"{name}.lock"
    lock.write_text(line)
    return {
        "name": name,
        "lock": str(lock),
        "pip_options": ["--require-hashes", "--no-index", "--find-links=/data/wheels"],
        "imports": ["labtools"],
        "sbatch_options": ["--nodelist=node2"],
    }


def test_a_lock_file_and_a_job_that_runs_while_the_environment_changes(
    cluster: Cluster, wheels: dict[str, str], tmp_path: Path
) -> None:
    def install(version: str) -> set[str]:
        deliver(cluster, tmp_path, *wish(delivery_environments=[locked(tmp_path, wheels[version])]))
        return set(cluster.as_user(f"ls -d {BASE}/.builds/locked-*").split())

    def version() -> list[str]:
        say = "import labtools; print(labtools.VERSION)"
        return cluster.as_user(f"srun -N2 {BASE}/locked/bin/python -c '{say}'").split()

    [first] = install("1.0")
    assert version() == ["1.0", "1.0"]
    assert "with /usr/bin/python3 on node2" in cluster.head.output(f"cat {PATH}/build/environment-locked.out")
    # It imports after the environment was replaced, in itself and in a Python that it starts: both are the old one.
    late = (
        "import os, subprocess, sys, time\n"
        "while not os.path.exists('/data/wheels/go'): time.sleep(0.5)\n"
        "import labtools\n"
        "child = subprocess.check_output([sys.executable, '-c', 'import labtools; print(labtools.VERSION)'])\n"
        "print(labtools.VERSION, child.decode())\n"
    )
    cluster.head.output(f"echo {base64.b64encode(late.encode()).decode()} | base64 -d >/data/wheels/late.py")
    wrap = f"--wrap '{BASE}/locked/bin/python /data/wheels/late.py'"
    job = cluster.as_user(f"cd ~ && sbatch --parsable -t5 -w node1 -o late.log {wrap}").strip()
    state = f"scontrol show job -o {job}"
    wait_for(lambda: cluster.head.output(state), lambda text: "JobState=RUNNING" in text)

    assert first in install("2.0")
    assert version() == ["2.0", "2.0"]
    # One with a wrong checksum is not built; the other one is, and what the job runs out of is still there.
    bad = locked(tmp_path, f"{wheels['2.0'].split(':')[0]}:{'0' * 64}\n", "other")
    with pytest.raises(AssertionError, match=r"environment other: fail") as failed:
        deliver(cluster, tmp_path, *wish(delivery_environments=[bad, locked(tmp_path, wheels["3.0"])]))
    assert "environment locked" not in str(failed.value)
    assert "DO NOT MATCH THE HASHES" in cluster.head.output(f"cat {PATH}/build/environment-other.out")
    assert version() == ["3.0", "3.0"]
    assert cluster.head.shell.run(f"test -e {first} && ! test -e {BASE}/other").rc == 0
    cluster.head.output("touch /data/wheels/go")
    ended = wait_for(lambda: cluster.head.output(state), lambda text: "JobState=COMPLETED" in text)
    assert "JobState=COMPLETED" in ended
    assert cluster.as_user("cat ~/late.log").split() == ["1.0", "1.0"]
    # Nothing runs out of it any more.
    assert first not in install("2.0")
    assert version() == ["2.0", "2.0"]


def test_a_data_set_of_a_web_server_and_one_that_it_does_not_have(cluster: Cluster, tmp_path: Path) -> None:
    head = cluster.head
    serve = "python3 -m http.server --directory /data/web 8731"
    start = f"mkdir -p /data/web && echo 1,2 >/data/web/set.csv && systemd-run --collect --unit=web {serve}"
    sha256 = hashlib.sha256(b"1,2\n").hexdigest()
    url = f"http://{head.name}:8731"
    sets = [
        {"name": "missing", "src": f"{url}/other.csv", "sha256": sha256},
        {"name": "served", "src": f"{url}/set.csv", "sha256": sha256},
    ]
    gone = "systemctl stop web; rm -rf /data/web /data/datasets/served /data/datasets/.served.stamp"
    with planted(head, start, gone):
        with pytest.raises(AssertionError, match=r"data set missing: fail(?s:.*)404"):
            deliver(cluster, tmp_path, *wish(delivery_datasets=sets))
        assert cluster.as_user("srun -N2 cat /data/datasets/served").split() == ["1,2", "1,2"]
        assert head.output("ls -A /data/datasets").split() == [".served.stamp", "served"]


def test_an_environment_for_which_there_is_no_room(cluster: Cluster, tmp_path: Path) -> None:
    small = "/data/small"
    mount = f"mkdir -p {small} && mount -t tmpfs -o mode=1777,size=1m tmpfs {small}"
    item = {"name": "ml", "requirements": ["numpy"]}
    with ExitStack() as stack:
        for machine in cluster.machines:
            stack.enter_context(planted(machine, mount, f"umount -l {small}"))
        with pytest.raises(AssertionError, match=r"environment ml: fail(?s:.*)No space left"):
            deliver(cluster, tmp_path, *wish(delivery_environments=[item], delivery_environments_path=small))
        left = {machine.name: machine.output(f"ls -A {small}/.builds 2>/dev/null || true") for machine in cluster.nodes}
    assert set(left.values()) == {""}
    cluster.head.output(f"rmdir {small}")
