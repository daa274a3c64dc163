# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Configuration files of one folder, and what is known of their past: which were in use, and which are not yet.

Beside the files there is a folder with copies, each whole, under links that change at once: `used`, what the daemons
were last seen to run with; `previous`, what they ran with before that; `edited`, what a person had written into the
files and nobody used. The order makes a killed run harmless: first the copies, then the mark that the files are not in
use yet, then the files, and when the daemons use them the links move and the mark goes.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
import time
from typing import Iterable, Iterator, Mapping

USED, PREVIOUS, EDITED = "used", "previous", "edited"

_ASIDE = ".aicluster-"

# As `tempfile` names them.
_LEFT = re.compile(r"\.aicluster-[a-z0-9_]{8}")
_ABANDONED = 60
"""Seconds after which nobody is at work any more on what is written aside."""

PATIENCE = 600.0
"""Seconds that a change waits for another one; slurmctld and the nodes have a minute each to follow one."""


class ConfigFiles:
    """The files of a folder that are managed: `names`, and further ones that were written before or are asked for."""

    def __init__(self, folder: str, state: str, names: Iterable[str], further: Iterable[str] = ()) -> None:
        self.folder = folder
        self.state = state
        self._mark = os.path.join(state, "pending")
        # slurm.conf, the last one, names what the others have to be there for.
        before = {*_names(self.path(USED)), *_names(self.path(PREVIOUS))}
        self.names = tuple(dict.fromkeys([*sorted({*further, *before} - set(names)), *names]))

    @property
    def pending(self) -> bool:
        """Whether files were written that the daemons do not use yet."""
        return os.path.exists(self._mark)

    def path(self, link: str) -> str:
        """The folder of a copy, which need not be there."""
        return os.path.join(self.state, link)

    def read(self) -> dict[str, str]:
        """The texts of the files that exist."""
        return _read(self.folder, self.names)

    def used(self) -> dict[str, str]:
        """What the daemons were last seen to run with; nothing before the first change."""
        return _read(self.path(USED), _names(self.path(USED)))

    def previous(self) -> dict[str, str]:
        """What they ran with before that; what they run with, while files are in place that they do not use yet."""
        return self.used() if self.pending else _read(self.path(PREVIOUS), _names(self.path(PREVIOUS)))

    def write(self, texts: Mapping[str, str], in_use: Mapping[str, str]) -> None:
        """Put the texts in place, and take away managed files that are not among them.

        `in_use` is what the daemons run with. Needs `take` when the daemons follow.
        """
        there = self.read()
        os.makedirs(self.state, mode=0o755, exist_ok=True)
        if self.used() != in_use or not os.path.islink(self.path(USED)):
            self._point(USED, self._copy(in_use))
        if there != in_use and not self.pending:
            self._point(EDITED, self._copy(there))
        write_whole(self._mark, "")
        os.makedirs(self.folder, mode=0o755, exist_ok=True)
        for name in self.names:
            if name not in texts and name in there:
                os.unlink(os.path.join(self.folder, name))
            elif name in texts and texts[name] != there.get(name):
                write_whole(os.path.join(self.folder, name), texts[name])

    def take(self) -> None:
        """The daemons run with the files that are in place."""
        there = self.read()
        if there != self.used():
            self._point(PREVIOUS, os.readlink(self.path(USED)))
            self._point(USED, self._copy(there))
        if self.pending:
            os.unlink(self._mark)
        self._clean()

    def _copy(self, texts: Mapping[str, str]) -> str:
        """Copy texts into a folder of their own; its name."""
        folder = tempfile.mkdtemp(prefix="copy-", dir=self.state)
        os.chmod(folder, 0o755)
        for name, text in texts.items():
            write_whole(os.path.join(folder, name), text)
        return os.path.basename(folder)

    def _point(self, link: str, copy: str) -> None:
        """Have a link lead to a copy, at once."""
        aside = self.path(f"{link}.new")
        if os.path.lexists(aside):
            os.unlink(aside)
        os.symlink(copy, aside)
        os.replace(aside, self.path(link))

    def _clean(self) -> None:
        """Remove the copies that no link leads to, and what killed runs left half written."""
        linked = {os.path.basename(os.path.realpath(self.path(link))) for link in (USED, PREVIOUS, EDITED)}
        for name in os.listdir(self.state):
            if name.startswith("copy-") and name not in linked:
                shutil.rmtree(self.path(name))
        for folder in (self.folder, self.state):
            for name in os.listdir(folder):
                if name.startswith(_ASIDE):
                    os.unlink(os.path.join(folder, name))


@contextlib.contextmanager
def alone(folder: str, seconds: float = PATIENCE) -> Iterator[None]:
    """One change at a time of what is in a folder, which need not be there yet.

    Else a second run would take the work of the first one for that of a run that was killed, and finish it. Raises
    TimeoutError after `seconds`. The lock ends with its process, and is no file.
    """
    if not os.path.isdir(folder):
        yield
        return
    handle, end = os.open(folder, os.O_RDONLY), time.monotonic() + seconds
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= end:
                    raise TimeoutError(
                        f"{folder}: found another run that changes it, for {seconds:g} s now; accepted: this run again"
                        " once that one has ended"
                    ) from None
                time.sleep(0.2)
        yield
    finally:
        os.close(handle)


def install(folder: str, state_path: str, texts: Mapping[str, str]) -> None:
    """Have the files that are in use on another controller, whatever was here."""
    files = ConfigFiles(folder, os.path.join(state_path, "slurm"), sorted(texts, key=lambda name: name == "slurm.conf"))
    files.write(texts, files.used() or files.read())
    files.take()


def _names(folder: str) -> list[str]:
    """What is in a folder, which need not be there."""
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []


def _read(folder: str, names: Iterable[str]) -> dict[str, str]:
    """The texts of those of the files that exist, by name."""
    paths = {name: os.path.join(folder, name) for name in names}
    return {name: read_whole(path) for name, path in paths.items() if os.path.isfile(path)}


def read_whole(path: str) -> str:
    """A file's text, empty where there is none; bytes that are no UTF-8 survive `write_whole`."""
    if not os.path.exists(path):
        return ""
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


def write_whole(path: str, text: str, mode: int = 0o644, uid: int = -1, gid: int = -1) -> None:
    """On the disk before it takes the old one's place; readable for all, and ours, unless told otherwise."""
    handle, aside = tempfile.mkstemp(dir=os.path.dirname(path), prefix=_ASIDE)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
            os.fchown(file.fileno(), uid, gid)
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException:
        os.unlink(aside)
        raise
    _tidy(os.path.dirname(path))


def _tidy(folder: str) -> None:
    """Remove what killed runs left half written in a folder; a write does not fail for what cannot go."""
    with contextlib.suppress(OSError):
        for path in (os.path.join(folder, name) for name in os.listdir(folder or ".") if _LEFT.fullmatch(name)):
            if os.path.isfile(path) and os.stat(path).st_mtime < time.time() - _ABANDONED:
                os.unlink(path)
