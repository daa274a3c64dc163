# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The acceptance report: what the cluster is, what was tested and how that ended; as data, and as a page of HTML."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import Any

from ansible_collections.aicluster.slurm.plugins.module_utils.jobs import FAIL, GOOD, NOT_RUN, PASS, PRESENT, SKIPPED
from ansible_collections.aicluster.slurm.plugins.plugin_utils.selftest import Look, NodeView

ORDER = (PASS, PRESENT, SKIPPED, NOT_RUN, FAIL)
"""Verdicts, the best first."""


def make_report(
    look: Look,
    rows: Sequence[Mapping[str, Any]],
    cluster: Mapping[str, Any],
    declared: Mapping[str, Mapping[str, Any]],
    stored: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """The report as data. `declared` and `stored` are what the inventory says of a node and what was found on it."""
    report = {
        **cluster,
        "slurm": look.version,
        "verdict": verdict_of(rows),
        "counts": {verdict: sum(row["verdict"] == verdict for row in rows) for verdict in ORDER},
        "nodes": [_node(node, declared.get(node.name, {}), stored.get(node.name, {})) for node in look.nodes],
        "tests": [dict(row) for row in rows],
        "measured": [item for row in rows for item in row["measured"]],
    }
    return {**report, "last": look.report.get("when", ""), "differences": differences(look.report, report)}


def verdict_of(rows: Iterable[Mapping[str, Any]]) -> str:
    """One word for all tests; a test that was not run is no pass. A node that somebody drained is only named."""
    verdicts = {row["verdict"] for row in rows if not _is_drained(row)}
    if FAIL in verdicts:
        return FAIL
    return NOT_RUN if NOT_RUN in verdicts or PASS not in verdicts else PASS


def bad_rows(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """For each test that somebody has to look after what it is, why, and the lines that tell."""
    lines = []
    for row in rows:
        if row["verdict"] not in GOOD and not _is_drained(row):
            where = f" (job {row['job']} on {row['nodes'] or 'no node'})" if row["job"] else ""
            lines.append(f"{row['title']}: {row['verdict']}{where}: {row['reason']}")
            lines += [f"    {line}" for line in row["lines"]]
    return lines


def _is_drained(row: Mapping[str, Any]) -> bool:
    return row["verdict"] == NOT_RUN and str(row["name"]).startswith("node_")


def _node(node: NodeView, declared: Mapping[str, Any], stored: Mapping[str, Any]) -> dict[str, Any]:
    hardware = declared.get("hardware") or {}
    return {
        "name": node.name,
        "state": node.state,
        "reason": node.reason,
        "declared": {
            "cpus": hardware.get("cpus"),
            "memory_mb": hardware.get("memory_mb"),
            "gpus": _gpus(declared.get("gpus")),
        },
        "found": {
            "cpus": stored.get("cpus"),
            "memory_mb": stored.get("memory_mb"),
            "gpus": _gpus(stored.get("gres")),
        },
        "slurm": {"cpus": node.cpus, "memory_mb": node.memory_mb, "gpus": node.gres or None},
    }


def _gpus(groups: Any) -> str | None:
    """GPUs of a declaration or a finding, in words."""
    words = []
    for group in groups or []:
        name = f"{group.get('name') or 'gpu'}:{group['type']}" if group.get("type") else str(group.get("name") or "gpu")
        count = group.get("count")
        words.append(f"{name}:{count}" if count else f"{name} {','.join(group.get('files') or [])}")
    return ", ".join(words) or None


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs from an earlier report, in lines."""
    if not before:
        return []
    lines = [
        f"{key}: {before.get(key)} → {now[key]}"
        for key in ("slurm", "verdict")
        if before.get(key) not in (None, now[key])
    ]
    lines += _compared(before, now, "nodes", "node", lambda node: f"{node['state']}, {_hardware(node['slurm'])}")
    lines += _compared(before, now, "tests", "test", lambda row: str(row["verdict"]))
    old = {(item["what"], item["where"]): item["number"] for item in before.get("measured", [])}
    for item in now["measured"]:
        number = old.get((item["what"], item["where"]))
        # Less is within what the same storage gives from one day to the next.
        if number and not 0.5 <= item["number"] / number <= 2:
            lines.append(f"{item['what']} on {item['where']}: {number:g} → {item['number']:g} {item['unit']}")
    return lines


def _compared(
    before: Mapping[str, Any], now: Mapping[str, Any], key: str, word: str, text: Callable[[Mapping[str, Any]], str]
) -> list[str]:
    old = {item["name"]: text(item) for item in before.get(key, [])}
    new = {item["name"]: text(item) for item in now[key]}
    lines = [f"{word} {name}: {old[name]} → {new[name]}" for name in new if name in old and old[name] != new[name]]
    lines += [f"{word} {name}: new" for name in new if name not in old]
    return lines + [f"{word} {name}: no longer there" for name in old if name not in new]


def _hardware(values: Mapping[str, Any]) -> str:
    memory = f"{values['memory_mb'] / 1024:.0f} GiB" if values.get("memory_mb") else None
    words = [f"{values['cpus']} CPUs" if values.get("cpus") else None, memory, values.get("gpus")]
    return ", ".join(word for word in words if word) or "-"


# --- The page ---------------------------------------------------------------------------------------------------------

_STYLE = """
:root { color-scheme: light dark; --line: #8886; --pass: #1a7f37; --fail: #cf222e; --other: #9a6700; --bar: #4078c0; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; }
h1 { margin-bottom: 0; } h2 { margin-top: 2rem; } p.sub { margin-top: 0; opacity: .8; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem .35rem 0; border-bottom: 1px solid var(--line); }
.verdict { font-weight: 600; white-space: nowrap; color: var(--other); }
.verdict.pass { color: var(--pass); } .verdict.fail { color: var(--fail); }
.big { font-size: 1.4rem; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; font-size: .85rem; margin: .3rem 0; }
td { overflow-wrap: anywhere; }
svg { width: 100%; height: auto; } svg rect { fill: var(--bar); }
svg text { font: 13px system-ui, sans-serif; fill: currentColor; }
@media (max-width: 40rem) {
  thead { display: none; }
  tr { display: block; padding: .5rem 0; border-bottom: 1px solid var(--line); }
  td { display: block; border: 0; padding: .1rem 0; }
  td[data-head]::before { content: attr(data-head) ": "; opacity: .7; }
}
@media print {
  :root { color-scheme: light; } body { font-size: 11px; max-width: none; padding: 0; }
  tr, svg { break-inside: avoid; } h2 { break-after: avoid; }
}
"""


def render_html(report: Mapping[str, Any]) -> str:
    """The page. It needs nothing but itself."""
    name = escape(str(report["cluster"]))
    facts = [f"Slurm {_version(report['slurm'])}", f"{len(report['nodes'])} nodes", str(report["when"])]
    parts = [
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        # Without it a browser asks the server for a picture.
        '<link rel="icon" href="data:,">',
        f"<title>{name}: {escape(report['verdict'])}</title>\n<style>{_STYLE}</style>\n</head>\n<body>",
        f'<h1>{name}</h1>\n<p class="sub">{escape(", ".join(facts))}</p>',
        f'<p class="big">{_verdict(report["verdict"], "whole")} {escape(_counts(report["counts"]))}</p>',
        _tests(report["tests"]),
        _bars(report["measured"]),
        _nodes(report["nodes"]),
        _changes(report),
        "</body>\n</html>\n",
    ]
    return "\n".join(part for part in parts if part)


def _version(text: str) -> str:
    return text.replace("slurm-wlm", "").replace("slurm", "").strip()


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)


def _verdict(verdict: str, test: str) -> str:
    kind = verdict if verdict in (PASS, FAIL) else "other"
    return f'<span class="verdict {kind}" data-test="{escape(test)}">{escape(verdict)}</span>'


def _tests(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = []
    for row in rows:
        more = [escape(row["reason"])] if row["reason"] else []
        if row["lines"]:
            more.append(f"<pre>{escape(chr(10).join(row['lines']))}</pre>")
        if row["output"]:
            more.append(f"<details><summary>log</summary><pre>{escape(row['output'])}</pre></details>")
        where = " ".join(word for word in (row["job"] and f"job {row['job']}", row["nodes"]) if word)
        cells = [
            ("", _verdict(row["verdict"], row["name"])),
            ("", f"{escape(row['title'])}{''.join(f'<div>{text}</div>' for text in more)}"),
            ("ran", f"{row['seconds']:g} s" if row["seconds"] else ""),
            ("where", escape(where)),
        ]
        lines.append(_row(cells))
    return f"<h2>Tests</h2>\n{_table(['verdict', 'test', 'time', 'where'], lines)}"


def _nodes(nodes: Sequence[Mapping[str, Any]]) -> str:
    lines = []
    for node in nodes:
        state = escape(node["state"] + (f": {node['reason']}" if node["reason"] else ""))
        cells = [("", escape(node["name"])), ("state", state)]
        cells += [(word, escape(_hardware(node[key]))) for word, key in _KINDS]
        lines.append(_row(cells))
    heads = ["node", "state", *(word for word, _key in _KINDS)]
    return f"<h2>Nodes</h2>\n{_table(heads, lines)}"


_KINDS = (("declared", "declared"), ("found", "found"), ("in Slurm", "slurm"))


def _table(heads: Iterable[str], lines: Iterable[str]) -> str:
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{chr(10).join(lines)}\n</tbody>\n</table>"


def _row(cells: Iterable[tuple[str, str]]) -> str:
    shown = [(f' data-head="{head}"' if head and text else "", text) for head, text in cells]
    return f"<tr>{''.join(f'<td{head}>{text}</td>' for head, text in shown)}</tr>"


def _changes(report: Mapping[str, Any]) -> str:
    if not report["last"]:
        return "<h2>Since the last report</h2>\n<p>This is the first one.</p>"
    lines = [f"<li>{escape(line)}</li>" for line in report["differences"]] or ["<li>nothing differs</li>"]
    return f"<h2>Since the last report ({escape(report['last'])})</h2>\n<ul>\n{chr(10).join(lines)}\n</ul>"


def _bars(measured: Sequence[Mapping[str, Any]]) -> str:
    """A bar for each number, as SVG."""
    if not measured:
        return ""
    longest = max(item["number"] for item in measured) or 1
    height = 24
    lines = []
    for number, item in enumerate(measured):
        y = number * height
        label = f"{item['where']} {item['what']}"
        value = f"{item['number']:g} {item['unit']}"
        width = max(1, 330 * item["number"] / longest)
        lines.append(
            f'<text x="0" y="{y + 16}">{escape(label)}</text>'
            f'<rect x="190" y="{y + 4}" width="{width:.1f}" height="{height - 8}"/>'
            f'<text x="{196 + width:.1f}" y="{y + 16}">{escape(value)}</text>'
        )
    label = "Bandwidth of the share, by node"
    return (
        f'<h2>The share</h2>\n<svg viewBox="0 0 640 {len(measured) * height}" role="img" aria-label="{label}">\n'
        f"{chr(10).join(lines)}\n</svg>"
    )
