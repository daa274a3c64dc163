# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The variables of roles, as Ansible itself makes them out of their defaults, vars and what an inventory says."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

ROLES = Path(__file__).parents[3] / "roles"

# ansible-core trusts templates one by one since 2.19; before it has no such argument, and trusts all of a file.
TRUSTED = dict.fromkeys({"trusted_as_template"} & signature(DataLoader.load_from_file).parameters.keys(), True)

Values = Callable[..., Any]
"""The value of a variable of a role: role and name, then what the inventory and the run say."""


@pytest.fixture(scope="session")
def role_value() -> Values:
    def value(role: str, name: str, **said: Any) -> Any:
        loader = DataLoader()
        files = [
            path
            for each in ("cluster", role)
            for folder in ("defaults", "vars")
            for path in sorted((ROLES / each / folder).rglob("*.yml"))
        ]
        variables: dict[str, Any] = {"inventory_hostname": "n1", "groups": {"head": ["n0"], "nodes": ["n1"]}}
        for path in files:
            variables.update(loader.load_from_file(str(path), **TRUSTED))
        variables.update(said)
        variables["hostvars"] = dict.fromkeys(("n0", "n1"), variables)
        return Templar(loader, variables).template(variables[name])

    return value
