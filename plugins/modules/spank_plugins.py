#!/usr/bin/python
# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)

"""SPANK plugins, built for the very Slurm of a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: spank_plugins
short_description: SPANK plugins, built for the very Slurm of a host
version_added: 0.1.0
author: aicluster.slurm contributors (@aicluster)
description:
  - Builds plugins from their source with C(make), because Slurm loads only what was built against its own release, and
    builds them again when the source or Slurm's version has changed.
  - A plugin that Slurm does not load never takes the place of one that it does. Every plugin is loaded first, by a
    C(srun) with a configuration of its own, and the cluster notices nothing of that.
  - What is no longer wanted stays, because a C(plugstack.conf) that still names it would end every job.
requirements:
  - make, a C compiler, the headers of Slurm (libslurm-dev), and srun (slurm-client)
options:
  plugins:
    description: The plugins.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: What C(make) leaves, without C(.so).
        type: str
        required: true
      source:
        description: The archive with the source, a file of this host or a URL. C(make) runs in its folder.
        type: str
        required: true
      sha256:
        description: The archive's checksum. Needed for a URL.
        type: str
        default: ""
      options:
        description: Arguments of the plugin, with which it is loaded as a test.
        type: list
        elements: str
        default: []
  path:
    description: The folder of the built plugins.
    type: path
    required: true
attributes:
  check_mode:
    description: Can run in check mode and tell what it would build, also on a host without Slurm.
    support: full
  diff_mode:
    description: Names the plugins with checksum and Slurm's version, before and after.
    support: full
  idempotent:
    description: Builds nothing when source and Slurm are as before.
    support: full
  platform:
    description: The platform.
    platforms: posix
    support: full
"""

EXAMPLES = r"""
- name: Build pyxis
  aicluster.slurm.spank_plugins:
    path: /usr/local/lib/aicluster/spank
    plugins:
      - name: spank_pyxis
        source: /root/pyxis-0.24.0.tar.gz
"""

RETURN = r"""
built:
  description: The plugins that were built, or would be.
  type: list
  elements: str
  returned: success
  sample: [spank_pyxis]
slurm:
  description: The version of Slurm.
  type: str
  returned: success
  sample: slurm-wlm 22.05.8
"""

import hashlib
import json
import os
import re
import shutil
import tarfile
import tempfile
from typing import Any, Mapping

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import open_url
from ansible_collections.aicluster.slurm.plugins.module_utils.command import (
    CommandError,
    Result,
    Runner,
    module_runner,
    require,
)

# What Slurm reads of a cluster that is none, to load one plugin.
CONF = "ClusterName=test\nSlurmctldHost=localhost\nPlugStackConfig={folder}/plugstack.conf\nAuthType=auth/munge\n"


class BuildError(Exception):
    """A plugin that cannot be; the text says which one, and why."""


def checksum(path: str) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def fetch(url: str, target: str) -> None:
    """Download a file."""
    with open(target, "wb") as file:
        shutil.copyfileobj(open_url(url), file)


def unpack(archive: str, folder: str) -> str:
    """The folder of the source in it. Raises BuildError for an archive that would write elsewhere."""
    with tarfile.open(archive) as tar:
        for member in tar.getmembers():
            target = os.path.normpath(os.path.join(folder, member.name))
            if not (target + "/").startswith(folder + "/") or member.issym() or member.islnk() or member.isdev():
                raise BuildError(f"found {member.name} in the archive; accepted: files and folders, below its top")
        tar.extractall(folder)
    entries = os.listdir(folder)
    inner = os.path.join(folder, entries[0])
    return inner if len(entries) == 1 and os.path.isdir(inner) else folder


class Workshop:
    """Builds plugins on this host."""

    def __init__(self, run: Runner, path: str) -> None:
        self._run = run
        self.path = path
        with tempfile.TemporaryDirectory(prefix="aicluster-") as folder:
            self.slurm = require(self._srun(folder, [], "-V")).stdout.strip()

    def _srun(self, folder: str, plugstack: list[str], option: str) -> Result:
        """srun with a configuration of its own in that folder: even -V wants one, and a fresh host has none."""
        with open(os.path.join(folder, "plugstack.conf"), "w", encoding="utf-8") as file:
            file.write(" ".join(plugstack) + "\n")
        with open(os.path.join(folder, "slurm.conf"), "w", encoding="utf-8") as file:
            file.write(CONF.format(folder=folder))
        return self._run(["env", f"SLURM_CONF={folder}/slurm.conf", "srun", option])

    def file(self, name: str, suffix: str = ".so") -> str:
        """A file of a plugin."""
        return os.path.join(self.path, name + suffix)

    def noted(self, name: str) -> dict[str, str]:
        """From what the plugin that is there was built."""
        try:
            with open(self.file(name, ".json"), encoding="utf-8") as file:
                note: dict[str, str] = json.load(file)
        except (OSError, ValueError):
            return {}
        return note if os.path.exists(self.file(name)) else {}

    def wanted(self, plugin: Mapping[str, Any]) -> dict[str, str]:
        """What a plugin that is there has to be built from."""
        return {"sha256": plugin["sha256"] or checksum(plugin["source"]), "slurm": self.slurm}

    def build(self, plugin: Mapping[str, Any]) -> None:
        """Build it, load it, and only then put it in place."""
        name = plugin["name"]
        with tempfile.TemporaryDirectory(prefix="aicluster-") as folder:
            archive, sources = plugin["source"], os.path.join(folder, "source")
            if "://" in archive:
                archive = os.path.join(folder, "archive")
                fetch(plugin["source"], archive)
            found = checksum(archive)
            if plugin["sha256"] and found != plugin["sha256"]:
                raise BuildError(f"{plugin['source']}: found the checksum {found}; accepted: {plugin['sha256']}")
            os.mkdir(sources)
            top = unpack(archive, sources)
            require(self._run(["make", "-C", top]))
            result = os.path.join(top, f"{name}.so")
            if not os.path.exists(result):
                raise BuildError(f"make left no {name}.so")
            self.load(result, plugin["options"])
            os.makedirs(self.path, mode=0o755, exist_ok=True)
            shutil.copyfile(result, self.file(name, ".new"))
            os.chmod(self.file(name, ".new"), 0o644)
        os.replace(self.file(name, ".new"), self.file(name))
        with open(self.file(name, ".json"), "w", encoding="utf-8") as file:
            json.dump({"sha256": found, "slurm": self.slurm}, file)

    def load(self, plugin: str, options: list[str]) -> None:
        """Have srun load it, required. Raises BuildError."""
        result = self._srun(os.path.dirname(plugin), ["required", plugin, *options], "--help")
        complaints = [line for line in result.stderr.splitlines() if re.search(r"error:|spank:", line)]
        if result.rc != 0 or complaints:
            raise BuildError(f"Slurm does not load it: {' / '.join(complaints) or result.stderr.strip()}")


def check(plugins: list[dict[str, Any]]) -> None:
    """Refuse what cannot be built. Raises BuildError."""
    for plugin in plugins:
        if not re.fullmatch(r"[A-Za-z0-9_-]+", plugin["name"]):
            raise BuildError(f"plugins: found the name {plugin['name']!r}; accepted: letters, digits, - and _")
        if "://" in plugin["source"] and not plugin["sha256"]:
            raise BuildError(
                f"plugins: {plugin['name']}: found a URL without sha256; accepted: a URL with it, or a file"
            )


def lines(notes: Mapping[str, Mapping[str, str]]) -> str:
    """One side of the diff."""
    return "".join(f"{name}: {note['sha256']} for {note['slurm']}\n" for name, note in sorted(notes.items()) if note)


def manage(workshop: Workshop, plugins: list[dict[str, Any]], check_mode: bool) -> dict[str, Any]:
    """The plugins as wanted; what the module returns."""
    before = {plugin["name"]: workshop.noted(plugin["name"]) for plugin in plugins}
    wanted = {plugin["name"]: workshop.wanted(plugin) for plugin in plugins}
    to_build = [plugin for plugin in plugins if before[plugin["name"]] != wanted[plugin["name"]]]
    if not check_mode:
        for plugin in to_build:
            try:
                workshop.build(plugin)
            except (BuildError, CommandError, OSError, tarfile.TarError) as error:
                raise BuildError(f"{plugin['name']}: {error}") from None
    return {
        "changed": bool(to_build),
        "built": [plugin["name"] for plugin in to_build],
        "slurm": workshop.slurm,
        "diff": {"before": lines(before), "after": lines(wanted)},
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "plugins": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "source": {"type": "str", "required": True},
                    "sha256": {"type": "str", "default": ""},
                    "options": {"type": "list", "elements": "str", "default": []},
                },
            },
            "path": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    plugins = module.params["plugins"]
    try:
        check(plugins)
        sources = [plugin["source"] for plugin in plugins if not plugin["sha256"]]
        if module.check_mode and not (module.get_bin_path("srun") and all(map(os.path.exists, sources))):
            names = [plugin["name"] for plugin in plugins]
            module.exit_json(changed=bool(names), built=names, slurm="", msg="no Slurm or no source here yet")
        outcome = manage(Workshop(module_runner(module), module.params["path"]), plugins, module.check_mode)
    except (BuildError, CommandError, OSError) as error:
        module.fail_json(msg=f"spank_plugins: {error}")
    module.exit_json(**outcome)


if __name__ == "__main__":
    main()
