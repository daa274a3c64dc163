# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest
from ansible_collections.aicluster.slurm.plugins.plugin_utils import report
from ansible_collections.aicluster.slurm.plugins.plugin_utils.selftest import Look, NodeView, row

NODE = NodeView("n1", "IDLE", True, "", False, 8, 16384, 2, "gpu:a100:2")
CLUSTER = {"cluster": "lab <1>", "when": "2030-01-02 03:04 UTC", "fingerprint": "x"}


def a_report(*rows: dict[str, Any], last: dict[str, Any] | None = None) -> dict[str, Any]:
    declared = {"n1": {"hardware": {"cpus": 8}, "gpus": [{"type": "a100", "files": ["/dev/nvidia[0-1]"]}]}}
    stored = {"n1": {"cpus": 8, "memory_mb": 17000, "gres": [{"name": "gpu", "type": "a100", "count": 2}]}}
    seen = Look([NODE], {"main": ["n1"]}, [], "slurm-wlm 24.11.5", report=last or {})
    return report.make_report(seen, list(rows), CLUSTER, declared, stored)


class Verdicts(HTMLParser):
    """What the page shows, by test."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: dict[str, str] = {}
        self.links: list[str] = []
        self._test = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self._test = values.get("data-test") or ""
        self.links += [value or "" for key, value in attrs if key in ("src", "href")]
        assert tag != "script"

    def handle_data(self, data: str) -> None:
        if self._test:
            self.found[self._test], self._test = data, ""


@pytest.mark.parametrize(
    ("verdicts", "whole"),
    [
        (["pass", "skipped"], "pass"),
        (["pass", "fail", "not run"], "fail"),
        (["pass", "not run"], "not run"),
        (["skipped"], "not run"),
        ([], "not run"),
    ],
)
def test_the_whole_is_as_good_as_its_worst_part(verdicts: list[str], whole: str) -> None:
    assert report.verdict_of([row("a", "a", verdict) for verdict in verdicts]) == whole


def test_a_drained_node_is_named_but_no_failure() -> None:
    rows = [row("a", "a", "pass"), row("node_n2", "node n2", "not run", "drained")]
    assert report.verdict_of(rows) == "pass"
    assert report.bad_rows(rows) == []
    assert a_report(*rows)["counts"]["not run"] == 1


def test_the_page_shows_what_the_data_say_and_needs_nothing_else() -> None:
    failed = {
        **row("b", "test <b>", "fail", "it & more"),
        "lines": ["FAIL: <x>"],
        "output": "log",
        "job": "7",
        "nodes": "n1",
    }
    made = a_report(row("a", "a", "pass"), failed)
    page = report.render_html(made)
    shown = Verdicts(page)
    assert shown.found == {"whole": "fail", "a": "pass", "b": "fail"}
    assert shown.links == ["data:,"]
    assert "FAIL: &lt;x&gt;" in page
    assert "lab <1>" not in page


def test_bad_rows_tell_job_node_and_lines() -> None:
    failed = {**row("b", "test", "fail", "it broke"), "lines": ["FAIL: x"], "job": "7", "nodes": "n1"}
    assert report.bad_rows([failed]) == ["test: fail (job 7 on n1): it broke", "    FAIL: x"]


def test_nodes_as_declared_found_and_in_slurm() -> None:
    node = a_report()["nodes"][0]
    assert node["declared"] == {"cpus": 8, "memory_mb": None, "gpus": "gpu:a100 /dev/nvidia[0-1]"}
    assert node["found"]["gpus"] == "gpu:a100:2"
    assert node["slurm"]["gpus"] == "gpu:a100:2"


def test_what_differs_from_the_last_report() -> None:
    measured = {"what": "read", "where": "n1", "number": 100.0, "unit": "MiB/s"}
    last = a_report({**row("a", "a", "pass"), "measured": [measured]}, row("old", "old", "pass"))
    slow = {**row("a", "a", "fail"), "measured": [{**measured, "number": 10.0}]}
    now = a_report(slow, row("new", "new", "pass"), last=last)
    assert now["last"] == CLUSTER["when"]
    assert now["differences"] == [
        "verdict: pass → fail",
        "test a: pass → fail",
        "test new: new",
        "test old: no longer there",
        "read on n1: 100 → 10 MiB/s",
    ]
    assert a_report(last=a_report())["differences"] == []


def test_the_bars_are_as_long_as_the_numbers() -> None:
    measured = [{"what": "read", "where": "n1", "number": number, "unit": "MiB/s"} for number in (50.0, 100.0)]
    page = report.render_html(a_report({**row("a", "a", "pass"), "measured": measured}))
    assert 'width="165.0"' in page
    assert 'width="330.0"' in page
