# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.aicluster.slurm.plugins.plugin_utils.scripts import ScriptsError, files_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tree/sub").mkdir(parents=True)
    (tmp_path / "tree/sub/run.sh").write_text("hello")
    (tmp_path / "one.sh").write_text("one")
    return tmp_path


def paths(folder: Path, *items: dict[str, Any], groups: tuple[str, ...] = ("nodes",), share: bool = False) -> list[str]:
    return [item["path"] for item in files_of(items, groups, "/data", share, folder)]


def test_a_file_and_a_tree(folder: Path) -> None:
    items: list[dict[str, Any]] = [
        {"src": "one.sh", "dest": "/opt/one.sh", "mode": "0700"},
        {"src": "tree", "dest": "/opt/lab/", "owner": 5},
    ]
    file, *tree = files_of(items, ["nodes"], "/data", False, folder)
    assert file == {"path": "/opt/one.sh", "content": base64.b64encode(b"one").decode(), "mode": "0700"}
    assert [item["path"] for item in tree] == ["/opt/lab", "/opt/lab/sub", "/opt/lab/sub/run.sh"]
    assert {item["owner"] for item in tree} == {"5"}


def test_each_host_gets_what_its_groups_get(folder: Path) -> None:
    items: list[dict[str, Any]] = [
        {"src": "one.sh", "dest": "/opt/a", "hosts": ["head"]},
        {"src": "one.sh", "dest": "/opt/b"},
    ]
    assert paths(folder, *items) == ["/opt/b"]
    assert paths(folder, *items, groups=("head", "nodes")) == ["/opt/a", "/opt/b"]


def test_the_share_gets_its_files_once(folder: Path) -> None:
    items: list[dict[str, Any]] = [
        {"src": "one.sh", "dest": "/data/a"},
        {"dest": "/database"},
        {"dest": "/data/b", "state": "absent"},
    ]
    assert paths(folder, *items, share=True) == ["/data/a", "/data/b"]
    assert paths(folder, *items) == ["/database"]


@pytest.mark.parametrize(
    "item", [{"src": "none.sh", "dest": "/opt/a"}, {"src": "one.sh", "dest": "a"}, {"dest": "/a", "hosts": ["all"]}]
)
def test_bad_input(folder: Path, item: dict[str, Any]) -> None:
    with pytest.raises(ScriptsError, match="delivery_scripts"):
        paths(folder, item)
