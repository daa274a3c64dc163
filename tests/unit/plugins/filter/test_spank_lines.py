# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.aicluster.slurm.plugins.filter.spank_lines import spank_lines


@pytest.mark.parametrize(
    ("plugin", "line"),
    [
        ({"name": "spank_a", "source": "a.tgz"}, "optional /lib/spank_a.so"),
        ({"name": "spank_a", "required": True, "options": ["x=1", "y"]}, "required /lib/spank_a.so x=1 y"),
        ({"name": "spank_a", "path": "/usr/lib/a.so"}, "optional /usr/lib/a.so"),
    ],
)
def test_spank_lines(plugin: dict[str, Any], line: str) -> None:
    assert spank_lines([plugin], "/lib") == [line]


def test_order() -> None:
    assert spank_lines([{"name": "b"}, {"name": "a"}], "/l") == ["optional /l/b.so", "optional /l/a.so"]
    assert spank_lines([], "/l") == []
