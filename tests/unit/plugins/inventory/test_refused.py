# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A file that the plugin refuses, as Ansible's own tools take it: never for an inventory that looks empty."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]
TOOLS = Path(sys.executable).parent
BAD = "hosts: {n1: {addres: 10.0.0.1}}\n"
SAYS = "found the key 'addres', meant address?"


def run(tool: str, path: Path, *arguments: str, config: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(config or ROOT / "ansible.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"),
        "ANSIBLE_LOG_PATH": "/dev/null",
        "ANSIBLE_NOCOLOR": "1",
    }
    argv = [str(TOOLS / tool), "-i", str(path), *arguments]
    return subprocess.run(argv, cwd=path.parent, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def plain_cfg(tmp_path: Path) -> Path:
    """An ansible.cfg that has the plugin, and nothing of what ours has besides."""
    file = tmp_path / "plain.cfg"
    file.write_text("[inventory]\nenable_plugins = aicluster.slurm.cluster, auto, yaml, ini\n")
    return file


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("cluster.yml", BAD, SAYS),
        ("cluster.yml", "", "top level: found None; accepted: a mapping with one of hosts"),
        ("cluster.yml", "hosts: {n1: \n", "cluster.yml: YAML parsing failed"),
        ("hosts.json", '{"c01": {"ipv4": "10.0.0.1", "groups": ["mster"]}}', "found the key 'mster', meant master?"),
        ("hosts.json", '{"c01": {"ipv4": "10.0.0.1", "groups": ["master"]},}', "found no JSON"),
        ("lab.yml", "plugin: aicluster.slurm.cluster\n" + BAD, SAYS),
    ],
)
def test_a_refused_file_ends_the_command_with_one_message(tmp_path: Path, name: str, text: str, says: str) -> None:
    (tmp_path / name).write_text(text)
    done = run("ansible-inventory", tmp_path / name, "--graph")
    assert (done.returncode, done.stdout) == (1, "")
    assert says in done.stderr
    assert done.stderr.count("[ERROR]") == 1
    assert "Traceback" not in done.stderr
    assert "Failed to parse inventory" not in done.stderr


@pytest.mark.parametrize("text", [BAD, "scontrol: ./denied\n", ""])
def test_no_setting_is_needed_for_that(tmp_path: Path, plain_cfg: Path, text: str) -> None:
    (tmp_path / "cluster.yml").write_text(text)
    done = run("ansible", tmp_path / "cluster.yml", "all", "-m", "ansible.builtin.ping", config=plain_cfg)
    assert done.returncode == 1
    assert "cluster.yml: " in done.stderr


def test_a_good_file_beside_it_does_not_hide_it(tmp_path: Path) -> None:
    folder = tmp_path / "inventory"
    folder.mkdir()
    (folder / "a-hosts").write_text("good\n")
    (folder / "cluster.yml").write_text(BAD)
    done = run("ansible-inventory", folder, "--graph")
    assert done.returncode == 1
    assert SAYS in done.stderr


def test_who_says_so_goes_on(tmp_path: Path, plain_cfg: Path) -> None:
    plain_cfg.write_text(plain_cfg.read_text() + "any_unparsed_is_failed = false\n")
    (tmp_path / "lab.yml").write_text("plugin: aicluster.slurm.cluster\n" + BAD)
    (tmp_path / "good").write_text("good\n")
    done = run("ansible-inventory", tmp_path / "good", "-i", "lab.yml", "--graph", config=plain_cfg)
    assert (done.returncode, "good" in done.stdout) == (0, True)
    assert SAYS in done.stderr


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("cluster.yml", "all: {children: {nodes: {hosts: {n1: }}, empty: }}\n"),
        ("hosts.json", '{"nodes": {"hosts": {"n1": {}}}}'),
        ("cluster.yml", "plugin: ansible.builtin.constructed\n"),
    ],
)
def test_what_is_for_another_plugin_is_left_to_it(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    done = run("ansible-inventory", tmp_path / name, "--graph")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "constructed" in text or "n1" in done.stdout
