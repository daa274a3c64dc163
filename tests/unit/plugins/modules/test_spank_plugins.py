# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module on a host where make and srun are scripts: what it builds, when, and what it puts in place."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

MAIN = """
import json, sys
from module_arguments import module_arguments
from ansible_collections.aicluster.slurm.plugins.modules import spank_plugins
with module_arguments(json.load(sys.stdin)):
    spank_plugins.main()
"""
# Copies the source to be the plugin, and notes that it was called.
MAKE = '#!/bin/sh\ncd "$2" && echo made >> "$0.calls" && cat source.c > spank_x.so\n'
# Like the true one: wants a configuration for everything, and ends with 1 when a required plugin does not load.
SRUN = """#!/bin/sh
[ -e "$SLURM_CONF" ] || { echo 'srun: fatal: Could not establish a configuration source' >&2; exit 1; }
if [ "$1" = -V ]; then cat "$0.version"; exit; fi
[ "$1" = --help ] || exit 99
while read -r how plugin options; do
    [ "$how" = required ] || continue
    if grep -q bad "$plugin"; then
        echo "srun: error: spank: $plugin: Incompatible plugin version" >&2
        exit 1
    fi
    echo "$options" > "$0.options"
done < "$(sed -n 's/^PlugStackConfig=//p' "$SLURM_CONF")"
"""


class Host:
    """A host with Slurm, and runs of the whole module on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir()
        for name, text in (("make", MAKE), ("srun", SRUN)):
            (self.bin / name).write_text(text)
            (self.bin / name).chmod(0o755)
        self.version("slurm-wlm 22.05.8")
        self.path = folder / "lib"
        self.archive = folder / "x.tar.gz"
        self.source("good 1")

    def version(self, text: str) -> None:
        (self.bin / "srun.version").write_text(text + "\n")

    def source(self, text: str, name: str = "x-1.0/source.c") -> None:
        (file := self.folder / "source.c").write_text(text)
        with tarfile.open(self.archive, "w:gz") as tar:
            tar.add(file, name)

    def run(self, check: bool = False, **plugin: Any) -> dict[str, Any]:
        """The result for one plugin."""
        wanted = [{"name": "spank_x", "source": str(self.archive), **plugin}]
        done = subprocess.run(
            [sys.executable, "-c", MAIN],
            input=json.dumps({"plugins": wanted, "path": str(self.path), "_ansible_check_mode": check}),
            env={"PATH": f"{self.bin}:{os.environ['PATH']}", "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=False,
        )
        result: dict[str, Any] = json.loads(done.stdout or json.dumps({"msg": done.stderr}))
        return result

    @property
    def built(self) -> int:
        calls = self.bin / "make.calls"
        return len(calls.read_text().splitlines()) if calls.exists() else 0

    @property
    def plugin(self) -> str:
        return (self.path / "spank_x.so").read_text()


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_built_once(host: Host) -> None:
    result = host.run(options=["a=1", "b"])
    assert (result["changed"], result["built"], result["slurm"]) == (True, ["spank_x"], "slurm-wlm 22.05.8")
    assert (host.plugin, (host.path / "spank_x.so").stat().st_mode & 0o777) == ("good 1", 0o644)
    assert (host.bin / "srun.options").read_text() == "a=1 b\n"
    assert (host.run()["changed"], host.built) == (False, 1)


def test_built_anew_for_another_slurm_and_another_source(host: Host) -> None:
    host.run()
    host.version("slurm-wlm 24.11.5")
    assert host.run()["built"] == ["spank_x"]
    host.source("good 2")
    assert host.run()["built"] == ["spank_x"]
    assert (host.plugin, host.built, host.run()["changed"]) == ("good 2", 3, False)


def test_a_plugin_that_does_not_load_changes_nothing(host: Host) -> None:
    host.run()
    host.source("bad")
    said = host.run()["msg"]
    assert said.startswith("spank_plugins: spank_x: Slurm does not load it: srun: error: spank: ")
    assert said.endswith("Incompatible plugin version")
    assert host.plugin == "good 1"


def test_a_source_that_does_not_build(host: Host) -> None:
    (host.bin / "make").write_text("#!/bin/sh\necho 'spank.h: No such file' >&2; exit 2\n")
    assert "spank_x: `make -C " in host.run()["msg"]
    (host.bin / "make").write_text("#!/bin/sh\n")
    assert host.run()["msg"] == "spank_plugins: spank_x: make left no spank_x.so"
    assert not host.path.exists()


def test_checksums(host: Host) -> None:
    host.run(sha256="")
    digest = json.loads((host.path / "spank_x.json").read_text())["sha256"]
    assert host.run(sha256=digest)["changed"] is False
    assert f"found the checksum {digest}; accepted: 12" in host.run(sha256="12")["msg"]
    assert "found a URL without sha256" in host.run(source="https://example.org/x.tgz")["msg"]


@pytest.mark.parametrize("name", ["../evil", "/tmp/../../evil"])
def test_an_archive_that_writes_elsewhere(host: Host, name: str) -> None:
    host.source("good", name)
    assert "accepted: files and folders, below its top" in host.run()["msg"]
    assert host.built == 0


def test_check_mode(host: Host) -> None:
    assert (host.run(check=True)["changed"], host.built) == (True, 0)
    host.run()
    assert host.run(check=True)["changed"] is False
    (host.bin / "srun").unlink()
    assert host.run(check=True)["msg"] == "no Slurm or no source here yet"


def test_bad_names(host: Host) -> None:
    assert "plugins: found the name '../x'" in host.run(name="../x")["msg"]
