# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The double of enroot says what the true one was recorded to say, line by line, and plays nothing else."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DOUBLE = ROOT / "tests/doubles/enroot"
TRANSCRIPT = ROOT / "tests/unit/fixtures/enroot-4.1.2/transcript.txt"
# The numbers of the extraction are of the image, and this one is another.
OF_THE_IMAGE = re.compile(r"^(Parallel unsquashfs: Using|created|\d+ inodes).*", re.MULTILINE)


class Host:
    """A host with one user, whose folders are in one of the test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.home.mkdir()
        self.registry = folder / "double"
        self.conf = folder / "enroot.conf"
        self.conf.write_text("")
        self.image(self.home / "tiny.sqsh")

    def image(self, path: Path) -> None:
        """An image without a shell in it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        (release := self.folder / "os-release").write_text("PRETTY_NAME=tiny\n")
        with tarfile.open(path, "w") as tar:
            tar.add(release, "etc/os-release")

    def run(self, *arguments: str, **environment: str) -> tuple[int, str]:
        """rc, and all that it says."""
        done = subprocess.run(
            [DOUBLE, *arguments],
            cwd=self.home,
            env={
                "PATH": os.environ["PATH"],
                "LC_ALL": "C",
                "HOME": str(self.home),
                "ENROOT_DOUBLE": str(self.registry),
                "ENROOT_DOUBLE_CONF": str(self.conf),
                "XDG_RUNTIME_DIR": str(self.folder / "run"),
                **environment,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def recorded() -> Iterator[tuple[list[str], str, int]]:
    """Command, output and exit code of each step."""
    steps = re.findall(r"^\$ (.*)\n((?:(?!\$ |#|rc=).*\n)*)rc=(\d+)$", TRANSCRIPT.read_text(), re.MULTILINE)
    for command, output, rc in steps:
        yield shlex.split(command.split("  #")[0]), output, int(rc)


def test_the_recording_step_by_step(host: Host) -> None:
    played = 0
    for argv, output, rc in recorded():
        if argv[0] == "srun":
            # What pyxis does for it.
            if any("--container-image" in word for word in argv):
                assert host.run("create", "-n", "pyxis_my", "tiny.sqsh")[0] == 0
            continue
        assert argv[0] == "enroot"
        if played == 0:
            # The first one is of a user without a place for run-time files; root would have one.
            (closed := host.folder / "closed").write_text("")
            ended, said = host.run("list", ENROOT_RUNTIME_PATH=f"{closed}/enroot")
            assert (ended, said.split(":")[:2]) == (rc, ["mkdir", f" cannot create directory '{closed}'"])
            assert output.split(":")[0] == "mkdir"
        else:
            ended, said = host.run(*argv[1:])
            said = said.replace(str(host.home), "/home/alice")
            clean = [OF_THE_IMAGE.sub("", text).split() for text in (said, output)]
            assert (ended, clean[0]) == (rc, clean[1]), argv
        played += 1
    assert played == 13


def test_a_call_that_nobody_recorded(host: Host) -> None:
    for argv in (["bundle", "x"], ["create", "tiny.sqsh"], ["remove", "box"], [], ["exec", "1", "id"], ["nonsense"]):
        assert host.run(*argv)[0] == 99, argv


def test_the_first_setting_wins(host: Host) -> None:
    drop = host.folder / "enroot.conf.d"
    drop.mkdir()
    host.conf.write_text(f"# a comment\nENROOT_DATA_PATH {host.home}/$(echo first)\nENROOT_DATA_PATH /nowhere\n")
    (drop / "a.conf").write_text("ENROOT_DATA_PATH /nowhere\nENROOT_REMAP_ROOT yes\n")
    said = host.run("info")[1]
    assert f"  ENROOT_DATA_PATH={host.home}/first\n" in said
    assert "  ENROOT_REMAP_ROOT=yes\n" in said
    assert f"  ENROOT_DATA_PATH={host.home}/env\n" in host.run("info", ENROOT_DATA_PATH=f"{host.home}/env")[1]
    host.conf.write_text("ENROOT_DATA_PATH $(\n")
    assert host.run("list") == (1, f"Invalid configuration file: {host.conf}\n")


def test_registries(host: Host) -> None:
    host.image(host.registry / "nvcr.io/nvidia/tf:1.tar")
    host.image(host.registry / "registry-1.docker.io/library/ubuntu:latest.tar")
    (host.registry / "nvcr.io/nvidia/tf:1.private").write_text("KEY")
    refused = host.run("digest", "--", "docker://nvcr.io#nvidia/tf:1")
    assert (refused[0], refused[1].splitlines()[-1]) == (
        1,
        "[ERROR] URL https://nvcr.io/v2/nvidia/tf/manifests/1 returned error code: 401 Unauthorized",
    )
    (config := host.home / ".config/enroot").mkdir(parents=True)
    (config / ".credentials").write_text("machine nvcr.io login $oauthtoken password KEY\n")
    assert "\nsha256:" in host.run("digest", "--", "docker://nvcr.io/nvidia/tf:1")[1]
    assert "error code: 404 Not Found" in host.run("import", "docker://nvcr.io#nvidia/tf:2")[1]
    assert host.run("import", "docker://ubuntu")[0] == 0
    assert (host.home / "ubuntu+latest.sqsh").exists()
    # There is no --force for import.
    rc, said = host.run("import", "docker://ubuntu")
    assert (rc, said.splitlines()[-1]) == (1, f"[ERROR] File already exists: {host.home}/ubuntu+latest.sqsh")
