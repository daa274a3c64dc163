# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the pages say is true of the tree: commands run, links lead somewhere, variables and make targets exist.

The word after ``` says what a block is: `sh` is run here, those of a page one after the other as a person would type
them, in a copy of the checkout without any host; `console` is an example, of a session on a cluster for instance.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

ROOT = Path(__file__).parents[2]
TOOLS = Path(sys.executable).parent
PAGES = sorted([ROOT / "README.md", ROOT / "molecule" / "README.md", *(ROOT / "docs").glob("*.md")])
KINDS = ("console", "ini", "mermaid", "python", "sh", "text", "yaml")
# What the playbooks stand on, and what commands of the pages look at.
TREE = ("ansible.cfg", "collections", "inventories", "meta", "playbooks", "plugins", "roles", "site.yml")
PROMPT = re.compile(r"^\S*\$ ", re.MULTILINE)
PREFIXES = "cluster|common|nfs|head|nodes|gpu|delivery|preflight"


class Block(NamedTuple):
    """A block of code."""

    kind: str
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    """Every block between fences; a fence may be indented, as in a list."""
    found = []
    text = page.read_text()
    for match in re.finditer(r"^( *)```(.*)\n((?:.*\n)*?)\1```$", text, re.MULTILINE):
        body = re.sub(rf"^{match[1]}", "", match[3], flags=re.MULTILINE)
        found.append(Block(match[2], body, text.count("\n", 0, match.start()) + 1))
    return found


def prose(page: Path) -> str:
    """The page without its blocks."""
    return re.sub(r"^( *)```(.*)\n((?:.*\n)*?)\1```$", "", page.read_text(), flags=re.MULTILINE)


def variables() -> set[str]:
    """The variables of all roles."""
    found = {"cluster_compute_hosts"}
    for path in ROOT.glob("roles/*/meta/argument_specs.yml"):
        for entry in yaml.safe_load(path.read_text())["argument_specs"].values():
            found |= set(entry.get("options") or {})
    return found


def named_files() -> set[str]:
    """Names of modules, filters and documents, which look like variables."""
    paths = [*ROOT.glob("plugins/*/*.py"), *ROOT.glob("roles/*/tasks/*.yml")]
    return {path.stem for path in paths}


def anchors(page: Path) -> set[str]:
    """What a link may name behind #: the headings, as GitHub writes them."""
    heads = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def links(page: Path) -> Iterator[str]:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if not re.match(r"https?:", target):
            yield target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
class TestPage:
    def test_every_block_says_what_it_is(self, page: Path) -> None:
        assert {block.kind for block in blocks(page)} <= set(KINDS)
        assert not [block for block in blocks(page) if block.kind == "console" and not PROMPT.search(block.text)]
        # An indented block cannot say it.
        assert not re.search(r"\n\n {4,}(?![-*\d ])\S", prose(page))

    def test_links_lead_somewhere(self, page: Path) -> None:
        broken = []
        for link in links(page):
            path, _hash, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            if not target.exists() or (anchor and anchor not in anchors(target)):
                broken.append(link)
        assert not broken

    def test_variables_exist(self, page: Path) -> None:
        text = page.read_text()
        named = set(re.findall(rf"(?<![\w./-])((?:{PREFIXES})_[a-z_]+)\b(?![./(])", text))
        named |= {key for block in blocks(page) if block.kind == "yaml" for key in keys(block.text)}
        assert not named - variables() - named_files()

    def test_make_targets_exist(self, page: Path) -> None:
        targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
        assert (
            set(re.findall(r"(?:`|^ *|&& )(?:[A-Z]+=\S+ )*make ([a-z-]+)", page.read_text(), re.MULTILINE)) <= targets
        )

    def test_paths_exist(self, page: Path) -> None:
        named = re.findall(
            r"(?:`|-playbook )((?:docs|inventories|molecule|playbooks|plugins|roles|scripts|tests)/[\w./-]+)",
            page.read_text(),
        )
        assert [path for path in named if not (ROOT / path).exists()] == []

    def test_full_names_exist(self, page: Path) -> None:
        named = set(re.findall(r"(?<![/\w])aicluster\.slurm\.([a-z_]+)\b", page.read_text()))
        playbooks = {path.stem for path in ROOT.glob("playbooks/*.yml")}
        roles = {path.name for path in ROOT.glob("roles/*")}
        assert not named - named_files() - playbooks - roles


def test_the_list_of_variables_has_names_as_people_write_them() -> None:
    assert not re.findall(r"`main:|\b[CVOMPEB]\(|\bRV\(", (ROOT / "docs" / "variables.md").read_text())


def keys(text: str) -> set[str]:
    """The variables of ours that a YAML block sets at its top."""
    loaded = yaml.safe_load(text)
    names = loaded if isinstance(loaded, dict) else {}
    return {str(name) for name in names if re.match(rf"({PREFIXES})_", str(name))}


@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(block.kind == "sh" for block in blocks(page))], ids=lambda page: page.name
)
def test_commands_run(page: Path, tmp_path: Path) -> None:
    for name in TREE:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tmp_path / name, symlinks=True)
        else:
            shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".cache").symlink_to(ROOT / ".cache")
    script = "\n".join(block.text for block in blocks(page) if block.kind == "sh")
    settings = {"PATH": f"{TOOLS}:{os.environ['PATH']}", "HOME": str(tmp_path), "ANSIBLE_NOCOLOR": "1"}
    # As where the collection is installed, for what is typed in a folder elsewhere.
    settings["ANSIBLE_COLLECTIONS_PATH"] = f"{tmp_path}/collections:{ROOT}/.cache/collections"
    settings |= {name: value for name, value in os.environ.items() if name.startswith(("LANG", "LC_"))}
    done = subprocess.run(
        ["bash", "-euxo", "pipefail", "-c", script],
        cwd=tmp_path,
        env=settings,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
