# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files and folders of the control host that are delivered to hosts, or once to the share."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

GROUPS = ("nfs", "head", "nodes")


class ScriptsError(ValueError):
    """Bad input, in one line."""


def files_of(
    scripts: Sequence[Mapping[str, Any]], groups: Sequence[str], share: str, on_share: bool, folder: Path
) -> list[dict[str, Any]]:
    """What goes to a host with these groups, or to the share, as the module delivery_files takes it."""
    found: list[dict[str, Any]] = []
    for item in scripts:
        dest = str(item.get("dest") or "")
        if not dest.startswith("/"):
            raise ScriptsError(f"delivery_scripts: dest: found {dest!r}; accepted: an absolute path")
        dest = str(PurePosixPath(dest))
        hosts = item.get("hosts") or GROUPS
        strange = set(hosts) - set(GROUPS) - {"gpu"}
        if strange:
            raise ScriptsError(
                f"delivery_scripts: {dest}: hosts: found {', '.join(sorted(strange))}; accepted: nfs, head, nodes, gpu"
            )
        # What lies on the share is there for all hosts at once.
        if (dest == share or dest.startswith(share.rstrip("/") + "/")) != on_share:
            continue
        if on_share or set(hosts) & set(groups):
            found += _items(item, dest, folder)
    return found


def _items(item: Mapping[str, Any], dest: str, folder: Path) -> Iterator[dict[str, Any]]:
    rights = {key: str(item[key]) for key in ("owner", "group") if item.get(key) is not None}
    mode = str(item.get("mode") or "0755")
    if item.get("state") == "absent":
        yield {"path": dest, "state": "absent"}
        return
    if not item.get("src"):
        yield {"path": dest, "state": "directory", "mode": mode, **rights}
        return
    source = folder / item["src"]
    if not source.exists():
        raise ScriptsError(f"delivery_scripts: src: found no {source}; accepted: a file or folder of the control host")
    if source.is_file():
        yield _file(source, dest, mode, rights)
        return
    yield {"path": dest, "state": "directory", "mode": "0755", **rights}
    for path in sorted(source.rglob("*")):
        if "__pycache__" in path.parts:
            continue
        target = f"{dest}/{path.relative_to(source).as_posix()}"
        if path.is_dir():
            yield {"path": target, "state": "directory", "mode": "0755", **rights}
        else:
            yield _file(path, target, mode, rights)


def _file(source: Path, dest: str, mode: str, rights: Mapping[str, str]) -> dict[str, Any]:
    return {"path": dest, "content": base64.b64encode(source.read_bytes()).decode(), "mode": mode, **rights}
