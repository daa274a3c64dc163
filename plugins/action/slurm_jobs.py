# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs the module slurm_jobs again and again until its jobs are done, and shows what happens meanwhile."""

from __future__ import annotations

import secrets
from typing import Any

from ansible.plugins.action import ActionBase

FIRST, LONGEST = 10, 60
"""Seconds after which something is shown also when nothing happened; twice as long each time, up to the longest."""


class ActionModule(ActionBase):  # type: ignore[misc] # ansible-core carries no types
    """The controller's side of the module of the same name."""

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        """Go on until the module says that all is done, or fails."""
        super().run(tmp, task_vars)
        host = (task_vars or {}).get("inventory_hostname", "")
        name, wait = secrets.token_hex(8), FIRST
        while True:
            arguments = {**self._task.args, "run": name, "wait": wait}
            result: dict[str, Any] = self._execute_module(module_args=arguments, task_vars=task_vars)
            wait = min(2 * wait, LONGEST) if result.pop("quiet", False) else FIRST
            for event in result.pop("events", []):
                self._display.display(f"  {host}: {event}")
            if result.get("failed") or result.get("unreachable") or result.get("done", True):
                return result
