# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Units of systemd as they are and as they should be (systemctl(1), org.freedesktop.systemd1(5)).

A mark under /run stands from before a file changes that a daemon reads until that daemon was restarted. So the next run
finishes what a killed one began, and a boot, which starts the daemon with the new file, clears the mark.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Iterable, Mapping, NamedTuple, Sequence

from ansible_collections.aicluster.slurm.plugins.module_utils.command import Runner, require

MARKS = "/run/aicluster"
RELOAD = ["systemctl", "daemon-reload"]
# What changes unit files here is followed by one RELOAD, in the place of one each.
ENABLE = ["systemctl", "--no-reload", "enable"]
MASKED = {
    "masked": ["systemctl", "--no-reload", "unmask"],
    "masked-runtime": ["systemctl", "--no-reload", "unmask", "--runtime"],
}
ENVIRONMENT = {"SYSTEMCTL_SKIP_SYSV": "1"}
"""For all commands here: where Debian has an init script beside a unit, enabling it would take half a second for
links that systemd does not read."""
PROPERTIES = ("Id", "LoadState", "ActiveState", "UnitFileState", "NeedDaemonReload")
UNIT_FOLDERS = ("/etc/systemd/system/", "/usr/local/lib/systemd/system/")


@dataclass(frozen=True)
class Service:
    """A unit that runs, and is enabled unless nothing can be (`static`); what is not `managed` need not."""

    name: str
    reads: tuple[str, ...] = ()
    """Files that it reads only when it starts."""
    restarted: bool = False
    """Whether it has to be restarted anyway."""
    reload: bool = False
    """Whether it reads its files anew when it is told to; one that refuses them then runs on with the old ones."""
    managed: bool = True
    """Else it only hears of the files that it reads, where it runs."""

    @property
    def unit(self) -> str:
        """The name with its kind."""
        return self.name if "." in self.name else f"{self.name}.service"


class Unit(NamedTuple):
    """What systemd says of a unit."""

    there: bool
    active: bool
    file_state: str
    """UnitFileState: enabled, disabled, static, masked … (systemctl(1), is-enabled)."""
    outdated: bool
    """Whether its file has changed since systemd has read it."""


ABSENT = Unit(False, False, "", False)


class Step(NamedTuple):
    """Something that is not as it should be, and the command that changes it."""

    finding: str
    command: list[str]


def show(services: Sequence[Service]) -> list[str]:
    """The command that tells about all of them at once."""
    names = [service.unit for service in services]
    return ["systemctl", "show", "--property=" + ",".join(PROPERTIES), "--", *names]


def parse(services: Sequence[Service], text: str) -> dict[str, Unit]:
    """The units by the names that were asked for; systemctl answers in that order, and names an alias by its target."""
    blocks = [dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in text.split("\n\n")]
    blocks = [block for block in blocks if block]
    if len(blocks) != len(services):
        raise ValueError(f"systemctl show: found {len(blocks)} answers to {len(services)} questions")
    return {
        service.name: Unit(
            there=block.get("LoadState") != "not-found",
            active=block.get("ActiveState") in ("active", "activating", "reloading"),
            file_state=block.get("UnitFileState", ""),
            outdated=block.get("NeedDaemonReload") == "yes",
        )
        for service, block in zip(services, blocks)
    }


def stale(service: Service, changed: Iterable[str], marks: str) -> bool:
    """Whether it runs, if at all, with a file that is not the one in place."""
    return service.restarted or bool(set(service.reads) & set(changed)) or os.path.exists(mark(service, marks))


def mark(service: Service, marks: str) -> str:
    """The file that stands while the service has to be restarted."""
    return os.path.join(marks, f"{service.unit}.restart")


def steps(services: Sequence[Service], units: Mapping[str, Unit], changed: Sequence[str], marks: str) -> list[Step]:
    """What makes the services be as they should be, once the paths in `changed` have been written."""
    found = []
    for service in services:
        unit = units.get(service.name, ABSENT)
        if service.managed and unit.file_state in MASKED:
            found.append(Step(f"{service.name} is masked", [*MASKED[unit.file_state], service.unit]))
        if service.managed and (unit.file_state in ("disabled", *MASKED) or not unit.there):
            found.append(Step(f"{service.name} is not enabled", [*ENABLE, service.unit]))
    if found or any(unit.outdated for unit in units.values()) or any(path.startswith(UNIT_FOLDERS) for path in changed):
        found.append(Step("systemd has not read the units", RELOAD))
    for service in services:
        unit = units.get(service.name, ABSENT)
        if not service.managed and not unit.active:
            continue
        if stale(service, changed, marks) and service.reload and unit.active and not service.restarted:
            found.append(Step(f"{service.name} runs with older files", ["systemctl", "reload", service.unit]))
        elif stale(service, changed, marks):
            # Without it systemd refuses the sixth start within ten seconds.
            found.append(Step("", ["systemctl", "reset-failed", service.unit]))
            found.append(Step(f"{service.name} runs with older files", ["systemctl", "restart", service.unit]))
        elif not unit.active:
            found.append(Step(f"{service.name} does not run", ["systemctl", "start", service.unit]))
    return found


def end(gone: Iterable[str]) -> list[list[str]]:
    """The commands that stop and disable units, before their files, which are among those that go, are gone."""
    names = [os.path.basename(path) for path in gone if path.startswith(UNIT_FOLDERS)]
    return [["systemctl", "disable", "--now", name] for name in names if name.endswith(".service")]


def keep_marks(services: Sequence[Service], changed: Sequence[str], marks: str) -> None:
    """Before the paths in `changed` are written: note which services have to be restarted."""
    for service in services:
        if stale(service, changed, marks):
            os.makedirs(marks, mode=0o755, exist_ok=True)
            with open(mark(service, marks), "w", encoding="utf-8"):
                pass


def carry_out(run: Runner, planned: Sequence[Step], services: Sequence[Service], marks: str) -> None:
    """Take the steps; then no service has to be restarted any more. Raises CommandError."""
    for step in planned:
        result = run(step.command)
        if step.finding:  # a unit that has not failed cannot be reset
            require(result)
    for service in services:
        if os.path.exists(mark(service, marks)):
            os.unlink(mark(service, marks))
