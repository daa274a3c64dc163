# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Role delivery: what the storage server is asked, on files in a folder and with doubles of its programs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.aicluster.slurm.plugins.plugin_utils import selftest

TEXTS = yaml.safe_load((Path(__file__).parents[3] / "roles/delivery/vars/main.yml").read_text(encoding="utf-8"))


def row(folder: Path, files: dict[str, str], exported: str = "") -> dict[str, Any]:
    """What the report says of /data, on a server with these files under /etc that exports these lines."""
    for name, text in files.items():
        path = folder / "etc" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    programs = {"exportfs": f"echo '{exported}'", "busctl": "exit 1", "runuser": "exit 0"}
    for name, does in programs.items():
        program = folder / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\n{does}\n")
        program.chmod(0o755)
    look = TEXTS["__delivery_look_storage"].replace("/etc/", f"{folder}/etc/")
    done = subprocess.run(
        ["sh", "-c", look, "sh", "cluster", "/data", "/data/delivery"],
        env={"PATH": f"{folder}/bin:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return selftest.storage_row(selftest.read_storage(done.stdout), "/data")


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"exports": "/data2 *(rw)\n/data/x *(rw)\n/srv/data *(rw)\n"},
        {"exports": "# /data *(rw)\n/srv *(rw) # not /data\n", "exports.d/lab.exports": ""},
        {"exports.d/lab.exports": "/data/x *(rw,mp=/data,sync)\n"},
        {"ganesha/exports.d/x.conf": 'EXPORT {\n  Path = "/data/x";\n  Pseudo = "/data2";\n}\n'},
    ],
)
def test_a_share_that_nobody_exports_is_no_fault(tmp_path: Path, files: dict[str, str]) -> None:
    said = row(tmp_path, files)
    assert (said["verdict"], "nothing exports /data" in said["reason"]) == ("skipped", True)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("exports", "/data2 *(rw)\n  /data *(rw) # ours\n"),
        ("exports", "/data/ *(rw)\n"),
        ("exports.d/lab.exports", '"/data"\t*(rw)\n'),
        ("ganesha/exports.d/data.conf", 'EXPORT {\n  Path = "/data";\n}\n'),
        ("ganesha/ganesha.conf", "EXPORT{Path=/data;}\n"),
    ],
)
def test_a_share_that_a_file_names_has_to_be_exported(tmp_path: Path, name: str, text: str) -> None:
    said = row(tmp_path, {name: text, "exports.d/other.exports": "/data2 *(rw)\n"}, "/data2 *(rw)")
    assert (said["verdict"], said["reason"]) == (
        "fail",
        f"{tmp_path}/etc/{name} names /data, but the server does not export it",
    )
    assert row(tmp_path, {}, "/data  *(rw)")["verdict"] == "pass"
