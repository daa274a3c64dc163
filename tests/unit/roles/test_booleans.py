# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The text "false", which INI files and `-e NAME=false` give, is as good as false."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROLES = Path(__file__).parents[3] / "roles"
# What a module or a play takes as it is: an option has a type.
AS_IT_IS = r"""(?:hold|prune|integrated|preflight_full): (?:"\{\{ NAME \}\}"|false)$"""
AS_A_BOOLEAN = r"\bNAME(?: \| default\((?:true|false)\))?\s*\| bool\b"
# In a message, or as an attribute of what a filter turns into booleans afterwards.
IN_WORDS = r"NAME(?:: |, | is |', default)"


def booleans() -> set[str]:
    specs = (yaml.safe_load(path.read_text(encoding="utf-8")) for path in ROLES.glob("*/meta/argument_specs.yml"))
    options = [spec["options"] for each in specs for spec in each["argument_specs"].values() if "options" in spec]
    return {name for each in options for name, option in each.items() if option.get("type") == "bool"}


def uses(name: str) -> Iterator[tuple[Path, str]]:
    for path in sorted(ROLES.glob("*/[tvd]*/**/*.yml")):
        for line in path.read_text(encoding="utf-8").splitlines():
            text = line.split(" # ")[0].strip()
            declared = path.parent.name == "defaults" and text.startswith(f"{name}:")
            if re.search(rf"\b{name}\b", text) and not text.startswith("#") and not declared:
                yield path, text


def test_there_are_some() -> None:
    assert {"common_ssh_password", "head_compute", "nfs_mount"} <= booleans()


@pytest.mark.parametrize("name", sorted(booleans()))
def test_it_is_read_as_one(name: str) -> None:
    found = [
        f"{path.relative_to(ROLES)}: {text}"
        for path, text in uses(name)
        if not any(re.search(form.replace("NAME", name), text) for form in (AS_IT_IS, AS_A_BOOLEAN, IN_WORDS))
    ]
    assert found == []
