# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs the module host_survey, and holds the clock there against the one here."""

from __future__ import annotations

import time
from typing import Any

from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):  # type: ignore[misc] # ansible-core carries no types
    """The controller's side of the module of the same name."""

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        """What the module says; of its times, how far its clock is ahead."""
        super().run(tmp, task_vars)
        sent = time.time()
        result: dict[str, Any] = self._execute_module(task_vars=task_vars)
        if "survey" in result:
            began, ended = result["survey"].pop("times")
            # It began after it was sent and ended before the answer was here.
            result["survey"]["ahead"] = [round(ended - time.time(), 1), round(began - sent, 1)]
        return result
