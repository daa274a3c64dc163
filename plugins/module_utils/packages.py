# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Packages of Debian and its kin: which are there, and the commands that bring and hold the others.

Sources: dpkg-query(1), dpkg-deb(1), apt-get(8), apt-mark(8), as of dpkg 1.21 and apt 2.6.
"""

from __future__ import annotations

import fnmatch
import os
import re
import time
from contextlib import contextmanager
from typing import Callable, Iterable, Iterator, Mapping, NamedTuple, Sequence

from ansible_collections.aicluster.slurm.plugins.module_utils.command import Result, Runner, require

QUERY = [
    "dpkg-query",
    "--show",
    "--showformat=${Package} ${Architecture} ${db:Status-Want} ${db:Status-Status} ${Version}\\n",
]
IN_FILE = ["dpkg-deb", "--show", "--showformat=${Package}=${Version}\\n", "--"]
REPAIR = ["dpkg", "--configure", "-a"]
LISTS = "/var/lib/apt/lists"
FRESH_SECONDS = 3600
_LOCK_SECONDS = 300
_APT = ["apt-get", "--quiet", "--yes", f"--option=DPkg::Lock::Timeout={_LOCK_SECONDS}"]
UPDATE = [*_APT, "update"]
# What an admin wrote into a configuration file stays; nobody is there to be asked.
_CHANGE = [
    *_APT,
    "--option=Dpkg::Options::=--force-confdef",
    "--option=Dpkg::Options::=--force-confold",
    "--no-install-recommends",
]
INSTALL = [*_CHANGE, "install"]
# A new kernel is a new package; none goes.
UPGRADE = [*_CHANGE, "--with-new-pkgs", "upgrade"]
SIMULATE = [*_APT, "--no-install-recommends", "--with-new-pkgs", "--simulate", "upgrade"]
# The scripts of packages have systemd read its units, and so it knows of a mask; of its end somebody has to tell it.
MASK = ["systemctl", "--runtime", "--no-reload", "mask", "--"]
UNMASK = ["systemctl", "--runtime", "unmask", "--"]
# What apt-get 2.6 and dpkg 1.21 say of it.
_LOCKED = re.compile("Could not get lock|lock was locked by another process|is locked by another process")
HALF = ("half-installed", "unpacked", "half-configured", "triggers-awaited", "triggers-pending")
"""States of a package that a killed dpkg leaves."""


class Package(NamedTuple):
    """A package as dpkg knows it."""

    want: str
    """install, hold, deinstall, purge."""
    status: str
    """installed, config-files, not-installed, or one of HALF."""
    version: str


def parse(text: str) -> dict[str, Package]:
    """The packages by name, from what QUERY prints; one that is there for several architectures counts once."""
    found: dict[str, Package] = {}
    for line in text.splitlines():
        name, _architecture, want, status, *version = line.split()
        package = Package(want, status, "".join(version))
        if name not in found or package.status == "installed":
            found[name] = package
    return found


def missing(wanted: Iterable[str], there: Mapping[str, Package]) -> list[str]:
    """Those of the wanted packages (`name`, `name=version`, `name:architecture`) that are not installed as wanted."""
    found = []
    for each in dict.fromkeys(wanted):
        match = re.fullmatch(r"([^=:]+)(?::[^=]+)?(?:=(.+))?", each)
        package = there.get(match[1]) if match else None
        version = match[2] if match else None
        installed = package is not None and package.status == "installed"
        if not installed or (version and not fnmatch.fnmatchcase(package.version if package else "", version)):
            found.append(each)
    return found


def installed(there: Mapping[str, Package]) -> dict[str, Package]:
    """Those that are installed."""
    return {name: package for name, package in there.items() if package.status == "installed"}


def matching(there: Iterable[str], patterns: Sequence[str]) -> list[str]:
    """The names that match one of the patterns (fnmatch)."""
    return sorted(name for name in there if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns))


def unlike(there: Mapping[str, Package], patterns: Sequence[str], hold: bool) -> list[str]:
    """The installed packages that match a pattern and are not held, or are while they should not be."""
    want = "install" if hold else "hold"
    return matching((name for name, package in installed(there).items() if package.want == want), patterns)


def broken(there: Mapping[str, Package]) -> list[str]:
    """The packages that a killed dpkg has left half done."""
    return sorted(name for name, package in there.items() if package.status in HALF)


def newer(before: Mapping[str, Package], after: Mapping[str, Package]) -> list[str]:
    """The packages that came, or have another version."""
    nothing = Package("", "", "")
    return sorted(name for name, package in after.items() if package.version != before.get(name, nothing).version)


def lacking(there: Mapping[str, Package], needed: Iterable[str], held: Sequence[str], hold: bool) -> list[str]:
    """What host_packages would see to: missing, left half done, or not held where it should be (or the other way)."""
    return list(dict.fromkeys([*missing(needed, there), *broken(there), *unlike(there, held, hold)]))


# --- Doing ------------------------------------------------------------------------------------------------------------


def query(run: Runner) -> dict[str, Package]:
    """All packages of this host. Raises CommandError."""
    return parse(require(run(QUERY)).stdout)


def known_as(run: Runner, wanted: Iterable[str]) -> dict[str, str]:
    """What dpkg knows the wanted packages as: one that is a file (an absolute path) has name and version in it.

    A file that is not there stays as it is. Raises CommandError.
    """
    return {
        each: require(run([*IN_FILE, each])).stdout.strip() if each.startswith("/") and os.path.exists(each) else each
        for each in wanted
    }


def lists_are_fresh(folder: str = LISTS, seconds: float = FRESH_SECONDS) -> bool:
    """Whether the package lists were fetched a short while ago."""
    names = (
        [name for name in os.listdir(folder) if "_Packages" in name or "_InRelease" in name]
        if os.path.isdir(folder)
        else []
    )
    # apt sets a list's time to that of the mirror; the folder's is that of the last update.
    return bool(names) and time.time() - os.stat(folder).st_mtime < seconds


def install(
    run: Runner, names: Sequence[str], fresh: bool, sleep: Callable[[float], None] = time.sleep
) -> list[list[str]]:
    """Install packages with what they depend on, with the newest lists where the ones here do not do.

    Returns the commands. Raises CommandError.
    """
    commands = []
    if fresh:
        commands.append([*INSTALL, "--", *names])
        if run(commands[-1]).rc == 0:
            return commands
    commands += [UPDATE, [*INSTALL, "--", *names]]
    require(_patiently(run, UPDATE, sleep))
    require(run(commands[-1]))
    return commands


def refresh(run: Runner, sleep: Callable[[float], None] = time.sleep) -> None:
    """Fetch the package lists. Raises CommandError."""
    require(_patiently(run, UPDATE, sleep))


def upgradable(run: Runner) -> list[str]:
    """The packages that UPGRADE would change or bring, by the lists that are here. Raises CommandError."""
    lines = require(run(SIMULATE)).stdout.splitlines()
    return sorted({line.split()[1] for line in lines if line.startswith("Inst ")})


def upgrade(run: Runner, sleep: Callable[[float], None] = time.sleep) -> None:
    """Bring what is not held to its newest version. Raises CommandError."""
    require(_patiently(run, UPGRADE, sleep))


def repair(run: Runner, sleep: Callable[[float], None] = time.sleep) -> None:
    """Finish what a killed dpkg has left half done. Raises CommandError."""
    require(_patiently(run, REPAIR, sleep))


def mark(run: Runner, command: Sequence[str], sleep: Callable[[float], None] = time.sleep) -> None:
    """Hold packages or let them go; apt-mark knows no time-out for dpkg's lock. Raises CommandError."""
    require(_patiently(run, command, sleep))


@contextmanager
def not_started(run: Runner, services: Sequence[str]) -> Iterator[None]:
    """Within it no package starts these services: they are masked until then, or until the next boot."""
    if services:
        require(run([*MASK, *services]))
    try:
        yield
    finally:
        if services:
            require(run([*UNMASK, *services]))


def _patiently(run: Runner, command: Sequence[str], sleep: Callable[[float], None]) -> Result:
    """Run a command that waits for no lock; another apt may hold it, after a boot, or for a run that was killed."""
    end = time.monotonic() + _LOCK_SECONDS
    while True:
        result = run(command)
        if result.rc == 0 or not _LOCKED.search(result.stderr) or time.monotonic() > end:
            return result
        sleep(2)
