# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is shown while jobs run."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible.plugins.action import ActionBase
from ansible_collections.aicluster.slurm.plugins.action.slurm_jobs import ActionModule


class Action(ActionModule):
    """The action with a module that gives these answers, one a call."""

    def __init__(self, *answers: dict[str, Any]) -> None:
        self.answers = list(answers)
        self.calls: list[dict[str, Any]] = []
        self.shown: list[str] = []
        self._task = SimpleNamespace(args={"user": "cluster"})
        self._display = SimpleNamespace(display=self.shown.append)

    def _execute_module(self, module_args: dict[str, Any], **_more: Any) -> dict[str, Any]:
        self.calls.append(module_args)
        return self.answers.pop(0)


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ActionBase, "run", lambda *_arguments: {})


def test_what_happens_is_shown_as_it_happens() -> None:
    action = Action(
        {"done": False, "events": ["job 7 waits"], "quiet": False},
        {"done": False, "events": ["job 7 waits, 10 s"], "quiet": True},
        {"done": False, "events": ["job 7 waits, 30 s"], "quiet": True},
        {"done": True, "events": ["job 7: pass"], "quiet": False, "rows": [1], "changed": False},
    )
    result = action.run(task_vars={"inventory_hostname": "head0"})
    assert action.shown == [
        "  head0: job 7 waits",
        "  head0: job 7 waits, 10 s",
        "  head0: job 7 waits, 30 s",
        "  head0: job 7: pass",
    ]
    # Silence lasts longer each time, and one run is gone on with.
    assert [call["wait"] for call in action.calls] == [10, 10, 20, 40]
    assert len({call["run"] for call in action.calls}) == 1
    assert result == {"done": True, "rows": [1], "changed": False}


@pytest.mark.parametrize("end", [{"failed": True, "msg": "x"}, {"unreachable": True}, {"skipped": True}])
def test_it_ends_with_what_the_module_says(end: dict[str, Any]) -> None:
    action = Action({**end})
    assert action.run(task_vars={"inventory_hostname": "head0"}) == end
    assert len(action.calls) == 1
