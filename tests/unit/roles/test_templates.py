# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every template of roles and playbooks is one that Jinja can read, also those that no scenario comes to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
FILES = sorted(
    path for folder in ("roles", "playbooks", "inventories", "molecule") for path in (ROOT / folder).rglob("*.yml")
)
CONDITIONS = ("when", "that", "until", "failed_when", "changed_when")


def texts(value: Any) -> Iterator[str]:
    """Every text in the data of a file; conditions as Ansible evaluates them."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key in CONDITIONS:
                conditions = item if isinstance(item, list) else [item]
                yield from (f"{{{{ {condition} }}}}" for condition in conditions if isinstance(condition, str))
            else:
                yield from texts(item)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_yaml(path: Path) -> None:
    # Tags such as !unsafe make no difference here.
    class Loader(yaml.SafeLoader):
        pass

    Loader.add_multi_constructor("!", lambda loader, _tag, node: loader.construct_scalar(node))
    environment = jinja2.Environment(extensions=["jinja2.ext.do"], autoescape=False)
    for text in texts(yaml.load(path.read_text(encoding="utf-8"), Loader)):
        environment.parse(text)


@pytest.mark.parametrize("path", sorted(ROOT.glob("roles/*/templates/**/*.j2")), ids=lambda path: path.name)
def test_file(path: Path) -> None:
    jinja2.Environment(autoescape=False).parse(path.read_text(encoding="utf-8"))
