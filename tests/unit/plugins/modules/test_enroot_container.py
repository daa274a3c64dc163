# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module as a whole, on the double of enroot."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

DOUBLE = Path(__file__).parents[4] / "tests/doubles/enroot"
MAIN = """
import json, sys
from module_arguments import module_arguments
from ansible_collections.aicluster.slurm.plugins.modules import enroot_container
with module_arguments(json.load(sys.stdin)):
    enroot_container.main()
"""
HUB = "registry-1.docker.io"
UBUNTU = f"{HUB}#library/ubuntu:20.04"


class Host:
    """A host with enroot, and runs of the whole module on it, each a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.tool = self.bin / "enroot"
        shutil.copy(DOUBLE, self.tool)
        self.home = folder / "home"
        self.home.mkdir()
        self.registry = folder / "registry"
        self.data = self.home / ".local/share/enroot"
        self.images = folder / "images"
        self.images.mkdir()
        self.image(f"{HUB}/library/ubuntu:20.04", "focal")
        self.image("nvcr.io/nvidia/tf:1", "tf")
        self.environment = {
            "HOME": str(self.home),
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join(sys.path),
            "ENROOT_DOUBLE": str(self.registry),
            "ENROOT_DOUBLE_CONF": str(folder / "enroot.conf"),
            "XDG_RUNTIME_DIR": str(folder / "run"),
        }

    def image(self, name: str, content: str) -> Path:
        path = self.registry / f"{name}.tar"
        path.parent.mkdir(parents=True, exist_ok=True)
        (text := self.folder / "content").write_text(content)
        with tarfile.open(path, "w") as tar:
            tar.add(text, "content")
        return path

    def run(self, check: bool = False, **options: Any) -> dict[str, Any]:
        """The result; with a failed run its message in `msg`."""
        done = subprocess.run(
            [sys.executable, "-c", MAIN],
            input=json.dumps({**options, "_ansible_check_mode": check}),
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        result: dict[str, Any] = json.loads(done.stdout or json.dumps({"msg": done.stderr}))
        return result

    def fails(self, **options: Any) -> str:
        result = self.run(**options)
        assert result.get("failed"), result
        return str(result["msg"])

    @property
    def imports(self) -> list[str]:
        lines = self.registry / "imports"
        return lines.read_text().split("\n")[:-1] if lines.exists() else []

    def content(self, name: str) -> str:
        return (self.data / name / "content").read_text()

    def all(self) -> list[str]:
        """Everything in the store but the locks, the unfinished among it."""
        return sorted(path.name for path in self.data.glob("*") if not path.name.endswith(".lock")) + sorted(
            path.name for path in self.images.glob("*") if not path.name.endswith(".lock")
        )


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_present_and_again(host: Host) -> None:
    result = host.run(name="box", image="ubuntu:20.04", pyxis=True)
    assert (result["changed"], result["name"], result["image"]) == (True, "pyxis_box", UBUNTU)
    assert result["digest"].startswith("sha256:")
    assert result["path"] == str(host.data / "pyxis_box")
    assert [command[1] for command in result["commands"]] == ["import", "create"]
    assert result["diff"]["before"] == ""
    assert f"image: {UBUNTU}" in result["diff"]["after"]
    assert host.content("pyxis_box") == "focal"
    again = host.run(name="pyxis_box", image="docker://docker.io#library/ubuntu:20.04", pyxis=True)
    assert (again["changed"], again["commands"], again["digest"]) == (False, [], result["digest"])
    assert (len(host.imports), host.all()) == (1, ["pyxis_box"])


def test_another_image_is_never_taken_silently(host: Host) -> None:
    host.run(name="box", image="ubuntu:20.04")
    said = host.fails(name="box", image="nvcr.io#nvidia/tf:1")
    assert said.startswith(f"enroot_container: box: found a container of {UBUNTU}; wanted: nvcr.io#nvidia/tf:1")
    assert host.content("box") == "focal"
    assert host.run(name="box", image="nvcr.io#nvidia/tf:1", on_image_change="keep")["changed"] is False
    assert host.run(name="box", image="nvcr.io#nvidia/tf:1", on_image_change="recreate")["changed"]
    assert (host.content("box"), host.all()) == ("tf", ["box"])


def test_a_container_of_somebody_elses_making(host: Host) -> None:
    (host.data / "box").mkdir(parents=True)
    assert "of an image that nobody noted" in host.fails(name="box", image="ubuntu:20.04")
    assert host.run(name="box")["changed"] is False


def test_a_new_image_behind_the_tag(host: Host) -> None:
    before = host.run(name="box", image="ubuntu:20.04")
    host.image(f"{HUB}/library/ubuntu:20.04", "newer")
    assert host.run(name="box", image="ubuntu:20.04")["changed"] is False
    after = host.run(name="box", image="ubuntu:20.04", force=True)
    assert after["digest"] != before["digest"]
    assert host.content("box") == "newer"


def test_from_a_file(host: Host) -> None:
    path = str(host.image("nvcr.io/nvidia/tf:1", "one"))
    assert host.run(name="box", image=path)["changed"]
    assert host.run(name="box", image=path)["changed"] is False
    host.image("nvcr.io/nvidia/tf:1", "two and longer")
    assert "an older state of" in host.fails(name="box", image=path)
    assert host.run(name="box", image=path, on_image_change="recreate")["changed"]
    assert (host.content("box"), host.imports) == ("two and longer", [])
    assert "No such file or directory" in host.fails(name="new", image="/no/such.sqsh")


def test_many_hosts_import_once(host: Host) -> None:
    with ThreadPoolExecutor() as pool:
        jobs = [
            pool.submit(host.run, name=f"box{number % 2}", image="ubuntu:20.04", images_path=str(host.images))
            for number in range(6)
        ]
        results = [job.result() for job in jobs]
    assert [result.get("msg") for result in results] == [None] * 6
    assert len(host.imports) == 1
    assert host.all() == ["box0", "box1", f"{HUB}+library+ubuntu+20.04.sqsh", f"{HUB}+library+ubuntu+20.04.sqsh.json"]


def test_only_the_image(host: Host) -> None:
    options: dict[str, Any] = {"image": "ubuntu:20.04", "images_path": str(host.images), "state": "imported"}
    assert host.run(check=True, **options)["changed"]
    result = host.run(**options)
    assert (result["changed"], result["path"]) == (True, str(host.images / f"{HUB}+library+ubuntu+20.04.sqsh"))
    assert host.run(**options)["changed"] is False
    assert host.run(**{**options, "force": True})["changed"]
    assert host.run(**{**options, "state": "absent"})["changed"]
    assert (host.run(**{**options, "state": "absent"})["changed"], host.all()) == (False, [])


def test_absent(host: Host) -> None:
    host.run(name="-a box", image="ubuntu:20.04")
    result = host.run(name="-a box", state="absent")
    assert (result["changed"], result["commands"]) == (True, [["enroot", "remove", "-f", "--", "-a box"]])
    assert host.run(name="-a box", state="absent")["changed"] is False
    assert host.all() == []


def test_a_container_in_use_stays(host: Host) -> None:
    host.run(name="box", image="ubuntu:20.04")
    (host.data / "box/.double-pid").write_text("4711\n")
    assert "box: found processes in it: 4711" in host.fails(name="box", state="absent")
    assert "4711" in host.fails(name="box", image="nvcr.io#nvidia/tf:1", on_image_change="recreate")
    # It was known before an import, which would have taken long and left what nobody sees.
    assert (host.content("box"), len(host.imports), host.all()) == ("focal", 1, ["box"])
    assert host.run(name="box", state="absent", force=True)["changed"]


def test_check_mode(host: Host) -> None:
    result = host.run(check=True, name="box", image="ubuntu:20.04")
    assert (result["changed"], result["commands"], host.imports, host.all()) == (True, [], [], [])
    host.run(name="box", image="ubuntu:20.04")
    assert host.run(check=True, name="box", state="absent")["diff"]["after"] == ""
    assert host.content("box") == "focal"
    host.tool.unlink()
    assert host.run(check=True, name="box", image="ubuntu:20.04")["msg"] == "no enroot on this host yet"
    assert "found none on this host" in host.fails(name="box", image="ubuntu:20.04")


# --- what goes wrong --------------------------------------------------------------------------------------------------


def test_a_private_image(host: Host) -> None:
    (host.registry / "nvcr.io/nvidia/tf:1.private").write_text("KEY")
    assert "the registry refuses: no credentials" in host.fails(name="box", image="nvcr.io#nvidia/tf:1")
    (config := host.home / ".config/enroot").mkdir(parents=True)
    (config / ".credentials").write_text("machine nvcr.io login $oauthtoken password KEY\n")
    result = host.run(name="box", image="nvcr.io#nvidia/tf:1")
    assert result["changed"]
    assert "KEY" not in json.dumps(result)


def test_no_such_image_and_no_registry(host: Host) -> None:
    host.run(name="box", image="ubuntu:20.04")
    said = host.fails(name="box", image="ubuntu:none", on_image_change="recreate")
    assert "the registry has no such image or tag" in said
    # The old one is there until the new one is.
    assert (host.content("box"), host.all()) == ("focal", ["box"])
    assert "the registry cannot be reached" in host.fails(name="b", image="127.0.0.1:1#nope")


def test_an_import_that_ends_in_the_middle(host: Host) -> None:
    host.tool.unlink()
    host.tool.write_text(
        '#!/bin/sh\nif [ "$1" = import ]; then echo half > "$3"; echo "No space left on device" >&2;'
        f' exit 1; fi\nexec {DOUBLE} "$@"\n'
    )
    host.tool.chmod(0o755)
    for images in (None, str(host.images)):
        assert "the disk is full" in host.fails(name="box", image="ubuntu:20.04", images_path=images)
        assert host.all() == []


def tarred(path: Path, **entry: Any) -> None:
    """An image of one entry, called like the note of the origin."""
    with tarfile.open(path, "w") as tar:
        member = tarfile.TarInfo(".aicluster.json")
        for key, value in entry.items():
            setattr(member, key, value)
        tar.addfile(member)


def test_a_link_in_an_image_leads_nowhere(host: Host) -> None:
    """What is noted in the container is written with the rights of the user, on the host."""
    (victim := host.home / ".bashrc").write_text("mine\n")
    tarred(host.registry / "nvcr.io/nvidia/tf:1.tar", type=tarfile.SYMTYPE, linkname=str(victim))
    assert host.run(name="box", image="nvcr.io#nvidia/tf:1")["changed"]
    assert victim.read_text() == "mine\n"
    assert host.run(name="box", image="nvcr.io#nvidia/tf:1")["changed"] is False


def test_a_container_that_cannot_be_noted_goes(host: Host) -> None:
    """As on a disk that the container has filled: else gigabytes would stay under a name that nobody sees."""
    tarred(host.registry / "nvcr.io/nvidia/tf:1.tar", type=tarfile.DIRTYPE, mode=0o755)
    assert "directory" in host.fails(name="box", image="nvcr.io#nvidia/tf:1").lower()
    assert host.all() == []


def test_an_image_that_cannot_be_noted_goes(host: Host) -> None:
    note = host.images / "nvcr.io+nvidia+tf+1.sqsh.json"
    note.mkdir()
    options: dict[str, Any] = {"image": "nvcr.io#nvidia/tf:1", "images_path": str(host.images), "state": "imported"}
    assert "directory" in host.fails(**options).lower()
    assert host.all() == [note.name]


def test_a_creation_that_was_killed(host: Host) -> None:
    aside = host.data / ".aicluster-box"
    aside.mkdir(parents=True)
    (aside / "half").write_text("")
    assert host.run(name="box", image="ubuntu:20.04")["changed"]
    assert host.all() == ["box"]
    assert not (host.data / "box/half").exists()


def test_a_file_that_is_no_image(host: Host) -> None:
    (host.folder / "x.sqsh").write_text("no tar")
    assert "the file is no squashfs image" in host.fails(name="box", image=str(host.folder / "x.sqsh"))
    assert host.all() == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": "a/b", "image": "x"}, "name: found 'a/b'"),
        ({"name": "a", "image": "X"}, "image: found 'X'"),
        ({}, "name: found none"),
        ({"image": "x", "images_path": "/i"}, "name: found none; accepted: a name with state present"),
        ({"image": "x", "images_path": "i", "state": "imported"}, "images_path: found i"),
        ({"name": "a", "image": "x", "user": "nobody-of-that-name"}, "user: found nobody-of-that-name"),
    ],
)
def test_bad_input(host: Host, options: dict[str, Any], said: str) -> None:
    assert said in host.fails(**options)


@pytest.mark.skipif(os.getuid() != 0, reason="only root becomes others")
def test_another_user(host: Host) -> None:
    account = pwd.getpwnam("nobody")
    for path in (host.folder, *host.folder.parents[:3]):
        path.chmod(0o755)
    (store := host.folder / "store").mkdir()
    os.chown(store, account.pw_uid, account.pw_gid)
    host.environment |= {"ENROOT_DATA_PATH": f"{store}/data", "ENROOT_CACHE_PATH": f"{store}/cache"}
    host.environment |= {"ENROOT_RUNTIME_PATH": f"{store}/run"}
    result = host.run(name="box", image="ubuntu:20.04", user="nobody")
    assert result.get("changed"), result
    assert {path.stat().st_uid for path in store.rglob("*")} == {account.pw_uid}
    assert "found a container of" in host.fails(name="box", image="nvcr.io#nvidia/tf:1", user="nobody")
