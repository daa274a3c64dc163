# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/variables.md, every variable of every role, from the argument_specs; --check tells whether it is up to date."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "variables.md"
ROLES = ("cluster", "common", "nfs", "head", "nodes", "gpu", "delivery", "preflight")

HEAD = """\
<!--
SPDX-FileCopyrightText: aicluster.slurm contributors
SPDX-License-Identifier: GPL-3.0-or-later
Written by `.venv/bin/python scripts/variables.py` from roles/*/meta/argument_specs.yml: change those, and run it.
-->
# Variables

All variables of all roles. Where no default stands, the text tells what counts when nothing is said.
They belong into `group_vars/all.yml` beside the inventory; those of a single host behind its name, or into `host_vars`.
On the command line `ansible-doc -t role aicluster.slurm.ROLE` has the same.
"""

# C(x), V(x), O(x), M(x) and the like, with \\) for a bracket inside; see Ansible's "markup" of documentation.
MARKUP = re.compile(r"\b(?:[CVOMPEB]|RV)\((?:main:)?((?:[^\\)]|\\.)*)\)")


def markdown(text: str | list[str]) -> str:
    """A description as one line of Markdown that can stand in a table."""
    joined = " ".join(" ".join(text).split() if isinstance(text, list) else text.split())
    return MARKUP.sub(lambda match: "`" + re.sub(r"\\(.)", r"\1", match[1]) + "`", joined).replace("|", "\\|")


def default_of(option: Mapping[str, Any]) -> str:
    """The default as YAML has it; required ones say so."""
    if option.get("required"):
        return "required"
    if "default" not in option:
        return ""
    value = option["default"]
    return f"`{value if isinstance(value, str) and value else json.dumps(value)}`"


def type_of(option: Mapping[str, Any]) -> str:
    """The type, and what a list is made of."""
    elements = option.get("elements")
    return f"{option['type']} of {elements}" if elements else str(option["type"])


def rows(options: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """A row for each option, and under it those of its own options."""
    for name, option in options.items():
        meaning = markdown(option["description"])
        if option.get("choices"):
            meaning += f" One of {', '.join(f'`{choice}`' for choice in option['choices'])}."
        yield f"| `{prefix}{name}` | {type_of(option)} | {default_of(option)} | {meaning} |"
        inner = "[]." if option["type"] == "list" else "."
        yield from rows(option.get("options") or {}, f"{prefix}{name}{inner}")


def options_of(specs: Mapping[str, Any]) -> dict[str, Any]:
    """The options of all entry points of a role that are meant for people."""
    found: dict[str, Any] = {}
    for entry in specs.values():
        found |= {name: option for name, option in (entry.get("options") or {}).items() if not name.startswith("__")}
    return found


def first(specs: Mapping[str, Any]) -> Mapping[str, Any]:
    """The entry point that tells what the role is: `main`, or what stands in its place."""
    spec: Mapping[str, Any] = next(iter(specs.values()))
    return spec


def specs_of(role: str) -> dict[str, Any]:
    """A role's argument specs, by entry point."""
    loaded = yaml.safe_load((ROOT / "roles" / role / "meta" / "argument_specs.yml").read_text())
    specs: dict[str, Any] = loaded["argument_specs"]
    return specs


def page() -> str:
    """The whole page."""
    strangers = {path.parents[1].name for path in ROOT.glob("roles/*/meta/argument_specs.yml")} ^ set(ROLES)
    if strangers:
        sys.exit(f"scripts/variables.py: ROLES: found {', '.join(sorted(strangers))} in one place only")
    parts = [HEAD, "| role | what it does |\n|---|---|"]
    parts += [f"| [{role}](#{role}) | {markdown(first(specs_of(role))['short_description'])} |" for role in ROLES]
    for role in ROLES:
        specs = specs_of(role)
        parts += [f"\n## {role}\n", markdown(first(specs)["description"]) + "\n"]
        parts += ["| variable | type | default | meaning |\n|---|---|---|---|", *rows(options_of(specs))]
    return "\n".join(parts) + "\n"


def main() -> None:
    """Write the page, or say whether it has to be written anew."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail when the page is not as it would be")
    if not parser.parse_args().check:
        PAGE.write_text(page())
    elif not PAGE.exists() or PAGE.read_text() != page():
        sys.exit("docs/variables.md is not what the argument specs say: run `.venv/bin/python scripts/variables.py`")


if __name__ == "__main__":
    main()
