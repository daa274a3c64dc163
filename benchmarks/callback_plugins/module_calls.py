# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Counts the module calls of a run, by the host that they ran on, and times the tasks.

A module call is each result of a task whose action ran code on a host: items of a loop singly, facts and retries
included; what only the control host does (assert, debug, set_fact, includes) is none. Writes JSON to the file that
MODULE_CALLS_REPORT names.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

LOCAL = {
    "assert",
    "debug",
    "fail",
    "set_fact",
    "validate_argument_spec",
    "include_tasks",
    "include_role",
    "meta",
    "pause",
}
"""Actions that run no code on a host."""


class CallbackModule(CallbackBase):  # type: ignore[misc] # ansible-core carries no types
    """Counts and times."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "module_calls"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()
        self.began: list[tuple[str, float]] = []

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:  # noqa: ARG002 Ansible's interface
        """A task begins, and the one before has ended."""
        self.began.append((str(task), time.monotonic()))

    def _count(self, result: Any) -> None:
        task = result._task
        action = task.action.rpartition(".")[2]
        looped = "results" in result._result and task.loop is not None
        if action in LOCAL or looped or result._result.get("skipped"):
            return
        # What the worker made of delegate_to: the result itself names the address alone.
        delegated = result._task_fields.get("delegate_to")
        self.calls[delegated or result._host.get_name()] += int(result._result.get("attempts", 1))

    v2_runner_on_ok = v2_runner_on_unreachable = v2_runner_item_on_ok = v2_runner_item_on_failed = _count

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:  # noqa: ARG002 Ansible's interface
        """A failed call is one, too."""
        self._count(result)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """The end."""
        ends = [began for _task, began in self.began[1:]] + [time.monotonic()]
        seconds = sorted(
            ((round(end - began, 2), task) for (task, began), end in zip(self.began, ends, strict=True)), reverse=True
        )
        changed = {host: stats.summarize(host)["changed"] for host in sorted(stats.processed)}
        report = {"calls": dict(self.calls), "changed": changed, "tasks": len(self.began), "slowest": seconds[:10]}
        Path(os.environ["MODULE_CALLS_REPORT"]).write_text(json.dumps(report), encoding="utf-8")
