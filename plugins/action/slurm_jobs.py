# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs the module slurm_jobs again and again until its jobs are done, and shows what happens meanwhile."""

from __future__ import annotations

import secrets
from typing import Any

from ansible.plugins.action import ActionBase

WAIT = 10
"""Seconds after which something is shown also when nothing happened."""


class ActionModule(ActionBase):
    """The controller's side of the module of the same name."""

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        """Go on until the module says that all is done, or fails."""
        super().run(tmp, task_vars)
        host = (task_vars or {}).get("inventory_hostname", "")
        arguments = {**self._task.args, "run": secrets.token_hex(8), "wait": WAIT}
        while True:
            result: dict[str, Any] = self._execute_module(module_args=arguments, task_vars=task_vars)
            for event in result.pop("events", []):
                self._display.display(f"  {host}: {event}")
            if result.get("failed") or result.get("unreachable") or result.get("done", True):
                return result
