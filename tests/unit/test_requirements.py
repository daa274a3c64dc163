# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the collection needs is named in several files, each for another tool; here they have to agree."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]


def collections(file: str) -> dict[str, str]:
    listed: list[dict[str, str]] = yaml.safe_load((ROOT / file).read_text())["collections"]
    return {each["name"]: each["version"] for each in listed}


def packages(file: str) -> set[str]:
    return set(re.findall(r"^([\w-]+)", (ROOT / file).read_text(), re.MULTILINE))


@pytest.fixture
def galaxy() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "galaxy.yml").read_text())
    return loaded


def test_requirements_for_a_checkout_are_those_of_the_collection(galaxy: dict[str, Any]) -> None:
    assert collections("requirements.yml") == galaxy["dependencies"]


def test_every_dependency_is_pinned_for_the_tests(galaxy: dict[str, Any]) -> None:
    assert set(galaxy["dependencies"]) <= set(collections("collections/requirements.yml"))


def test_an_execution_environment_gets_what_the_plugins_import(galaxy: dict[str, Any]) -> None:
    environment = yaml.safe_load((ROOT / "meta" / "execution-environment.yml").read_text())
    listed = environment["dependencies"]["python"]
    assert any(listed in line.split() for line in galaxy["manifest"]["directives"])
    assert packages(listed) == {"jmespath", "netaddr"}
    assert packages(listed) <= packages("requirements.txt")
