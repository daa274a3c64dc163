# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The site of the modules, the inventory plugin and the roles, as antsibull-docs writes them: see scripts/docs."""

from __future__ import annotations

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

project = "aicluster.slurm"
author = "aicluster.slurm contributors"
extensions = ["sphinx_antsibull_ext"]
pygments_style = "ansible"
html_theme = "alabaster"
html_theme_options = {"page_width": "70rem", "description": "A Slurm cluster from an Ansible inventory"}
html_copy_source = False
html_show_sphinx = False
# A reference that leads nowhere ends the build.
nitpicky = True

ANSIBLE = "https://docs.ansible.com/projects/ansible/latest/"
ELSEWHERE = {
    "action_plugins": "plugins/action.html",
    "ansible_collections.ansible.builtin.setup_module": "collections/ansible/builtin/setup_module.html",
    "ansible_configuration_settings": "reference_appendices/config.html",
    "common_return_values": "reference_appendices/common_return_values.html",
}
"""What our pages refer to in Ansible's own: a table, so that the build needs no network."""


def ansible_page(
    _app: Sphinx, _env: BuildEnvironment, node: pending_xref, content: nodes.TextElement
) -> nodes.reference | None:
    """The link for a reference that Sphinx did not find, when it is one of Ansible's."""
    target = node["reftarget"]
    if node["reftype"] == "envvar" and target.startswith("ANSIBLE_"):
        page: str | None = f"reference_appendices/config.html#envvar-{target}"
    else:
        page = ELSEWHERE.get(target)
    return nodes.reference("", "", content, internal=False, refuri=ANSIBLE + page) if page else None


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("missing-reference", ansible_page)
