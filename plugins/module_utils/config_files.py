# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Configuration files of one folder: written whole, with the ones before them kept, and a mark until they are in use.

The order makes a killed run harmless: first the copy of what is in use, then the mark, then the files, and when the
daemons use them the mark goes. Whoever finds the mark knows that the copy is what the daemons run with.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import Mapping, Sequence


class ConfigFiles:
    """The files `names` of a folder, written in that order: the last one names what the others have to be there for."""

    def __init__(self, folder: str, state: str, names: Sequence[str]) -> None:
        self.folder = folder
        self.names = tuple(names)
        self.copy = os.path.join(state, "previous")
        self._mark = os.path.join(state, "slurm_config.pending")

    @property
    def pending(self) -> bool:
        """Whether files were written that the daemons do not use yet."""
        return os.path.exists(self._mark)

    def read(self) -> dict[str, str]:
        """The texts of the files that exist."""
        return _read(self.folder, self.names)

    def previous(self) -> dict[str, str]:
        """The texts of the copy; none before the first write."""
        return _read(self.copy, self.names)

    def write(self, texts: Mapping[str, str]) -> None:
        """Put the texts in place, and take away files that are not among them. Needs `used` when the daemons follow."""
        there = self.read()
        if texts == there and not self.pending:
            return
        if not self.pending:
            os.makedirs(os.path.dirname(self._mark), mode=0o755, exist_ok=True)
            self._keep(there)
            write_whole(self._mark, "")
        os.makedirs(self.folder, mode=0o755, exist_ok=True)
        for name in self.names:
            if name not in texts and name in there:
                os.unlink(os.path.join(self.folder, name))
            elif name in texts and texts[name] != there.get(name):
                write_whole(os.path.join(self.folder, name), texts[name])

    def used(self) -> None:
        """The daemons run with the files that are in place."""
        if self.pending:
            os.unlink(self._mark)

    def _keep(self, texts: Mapping[str, str]) -> None:
        """Copy what is in use; the old copy stays whole until the new one is."""
        aside = self.copy + ".new"
        shutil.rmtree(aside, ignore_errors=True)
        os.makedirs(aside, mode=0o755)
        for name, text in texts.items():
            write_whole(os.path.join(aside, name), text)
        shutil.rmtree(self.copy, ignore_errors=True)
        os.rename(aside, self.copy)


def _read(folder: str, names: Sequence[str]) -> dict[str, str]:
    texts = {}
    for name in names:
        path = os.path.join(folder, name)
        if os.path.exists(path):
            with open(path, encoding="utf-8", errors="surrogateescape") as file:
                texts[name] = file.read()
    return texts


def write_whole(path: str, text: str) -> None:
    """Readable for all, on the disk before it takes the old one's place."""
    handle, aside = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".aicluster-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
            os.fchmod(file.fileno(), 0o644)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException:
        os.unlink(aside)
        raise
