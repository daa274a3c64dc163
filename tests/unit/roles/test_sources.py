# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Role preflight: files of the control host that a later role would miss, packages of enroot and sources of plugins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .conftest import Values

PLUGINS = [
    {"name": "mark", "source": "mark.tar.gz"},
    {"name": "there", "source": "there.tar.gz"},
    {"name": "far", "source": "https://example.org/far.tar.gz"},
    {"name": "packaged"},
]
PACKAGES = [{"file": "enroot.deb"}, {"file": "there.tar.gz"}, {"name": "enroot"}, {"url": "https://example.org/x.deb"}]


@pytest.mark.parametrize(
    ("said", "missing"),
    [
        ({}, []),
        ({"nodes_spank_plugins": PLUGINS[1:]}, []),
        ({"nodes_spank_plugins": PLUGINS}, ["mark.tar.gz"]),
        ({"nodes_containers": "true", "nodes_containers_packages": PACKAGES[1:]}, []),
        ({"nodes_containers": True, "nodes_containers_packages": PACKAGES}, ["enroot.deb"]),
        (
            {"nodes_containers": True, "nodes_containers_packages": PACKAGES, "nodes_spank_plugins": PLUGINS},
            ["enroot.deb", "mark.tar.gz"],
        ),
        # Without containers nobody installs them.
        ({"nodes_containers": False, "nodes_containers_packages": PACKAGES, "nodes_spank_plugins": PLUGINS[1:]}, []),
    ],
)
def test_what_the_control_host_lacks(
    role_value: Values, tmp_path: Path, said: dict[str, Any], missing: list[str]
) -> None:
    (tmp_path / "there.tar.gz").touch()
    found = role_value("preflight", "__preflight_not_here", inventory_dir=str(tmp_path), **said)
    assert found == [str(tmp_path / name) for name in missing]


def test_an_inventory_that_is_no_file_has_the_folder_of_the_playbook(role_value: Values, tmp_path: Path) -> None:
    said = {"inventory_dir": None, "playbook_dir": str(tmp_path), "nodes_spank_plugins": PLUGINS[:1]}
    assert role_value("preflight", "__preflight_not_here", **said) == [str(tmp_path / "mark.tar.gz")]


def test_files_in_a_home_are_found(role_value: Values, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mark.tar.gz").touch()
    plugins = [{"name": "mark", "source": "~/mark.tar.gz"}, {"name": "other", "source": "~/other.tar.gz"}]
    found = role_value("preflight", "__preflight_not_here", inventory_dir="/none", nodes_spank_plugins=plugins)
    assert found == [str(tmp_path / "other.tar.gz")]
