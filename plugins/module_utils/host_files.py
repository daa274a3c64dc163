# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Folders, files and blocks of lines on a host: as they are, and as they should be. Nothing is ever half written."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import re
import stat
import tempfile
from dataclasses import dataclass
from typing import NamedTuple, Sequence, Union

from ansible_collections.aicluster.slurm.plugins.module_utils.command import Runner, require
from ansible_collections.aicluster.slurm.plugins.module_utils.config_files import read_whole, write_whole

ROOT = "root"


@dataclass(frozen=True)
class Folder:
    """A folder; those above it are made like it where they lack, with the rights of root."""

    path: str
    owner: str = ROOT
    group: str = ROOT
    mode: int = 0o755
    once: bool = False
    """Whether group and mode are its owner's to change. One that is still root's was left half made."""


@dataclass(frozen=True)
class File:
    """A file that is ours as a whole."""

    path: str
    content: str
    owner: str = ROOT
    group: str = ROOT
    mode: int = 0o644
    validate: tuple[str, ...] = ()
    """A command that judges the text before it takes its place; the path of a draft is its last argument."""


@dataclass(frozen=True)
class Link:
    """A symbolic link."""

    path: str
    target: str


@dataclass(frozen=True)
class Block:
    """Lines in a file that belongs to somebody else, between two lines that name us."""

    path: str
    content: str
    name: str
    without: str = ""
    """A regular expression: lines outside the block that match it go."""
    keep: str = ""
    """A regular expression: lines of the block as it is that match it stay. The block is then sorted."""
    in_place_of: str = ""
    """A line that the block stands for, and that comes back when it goes. A file without it gets no block."""


@dataclass(frozen=True)
class Absent:
    """A file that must not be."""

    path: str


Wanted = Union[Folder, File, Link, Block, Absent]


class Difference(NamedTuple):
    """Something that is not as it should be."""

    wanted: Wanted
    before: str
    """The text, or what describes a folder; empty for what is not there."""
    after: str


# --- Pure -------------------------------------------------------------------------------------------------------------


def with_block(text: str, block: Block) -> str:
    """The text with the block's lines where the block was, else at its end; an empty block goes."""
    begin, end = f"# BEGIN {block.name}", f"# END {block.name}"
    lines, instead = text.splitlines(), [block.in_place_of] if block.in_place_of else []
    if begin in lines and end in lines[lines.index(begin) :]:
        first, last = lines.index(begin), lines.index(end, lines.index(begin))
        head, old, tail = lines[:first], lines[first + 1 : last], lines[last + 1 :]
    elif not instead:
        head, old, tail = lines, [], []
    elif block.in_place_of in lines:
        at = lines.index(block.in_place_of)
        head, old, tail = lines[:at], [], lines[at + 1 :]
    else:
        return text
    if block.without:
        head, tail = ([line for line in part if not re.search(block.without, line)] for part in (head, tail))
    content = block.content.splitlines()
    if block.keep:
        content = sorted({*content, *(line for line in old if re.search(block.keep, line))})
    ours = [begin, *content, end] if content else instead
    return "".join(line + "\n" for line in [*head, *ours, *tail])


def with_lines(text: str, without: str, instead: str) -> str:
    """The text with another line in the place of each that matches a regular expression."""
    return "".join(f"{instead if re.search(without, line) else line}\n" for line in text.splitlines())


def rights(owner: str, group: str, mode: int) -> str:
    """Owner, group and mode as a line."""
    return f"{owner} {group} {mode:04o}\n"


# --- Looking ----------------------------------------------------------------------------------------------------------


def differences(wanted: Sequence[Wanted]) -> list[Difference]:
    """What is not as it should be, in the order of `wanted`. Raises OSError and ValueError."""
    found = []
    blocks: dict[str, str] = {}
    for each in wanted:
        before, after = _before_and_after(each, blocks)
        if before != after:
            found.append(Difference(each, before, after))
    return found


def _before_and_after(wanted: Wanted, blocks: dict[str, str]) -> tuple[str, str]:
    """`blocks` has the texts of files as blocks before this one leave them."""
    path = wanted.path
    if isinstance(wanted, Absent):
        return (read_whole(path) or "empty\n" if os.path.lexists(path) else ""), ""
    if isinstance(wanted, Block):
        before = blocks[path] if path in blocks else read_whole(path)
        blocks[path] = with_block(before, wanted)
        return before, blocks[path]
    if isinstance(wanted, Link):
        target = os.readlink(path) if os.path.islink(path) else ""
        return (f"link to {target}\n" if target else read_whole(path)), f"link to {wanted.target}\n"
    if os.path.lexists(path) and os.path.isdir(path) != isinstance(wanted, Folder):
        kind = "a folder" if os.path.isdir(path) else "no folder"
        raise ValueError(f"{path}: found {kind}; accepted: {'a folder' if isinstance(wanted, Folder) else 'a file'}")
    text, there = (wanted.content, os.path.exists(path)) if isinstance(wanted, File) else ("", os.path.isdir(path))
    after = rights(*_numbers(wanted), wanted.mode) + text
    if not there:
        return "", after
    status = os.stat(path)
    if isinstance(wanted, Folder) and wanted.once:
        if status.st_uid == uid(wanted.owner):
            return after, after
        if status.st_uid:  # root's is one half made
            owner = f"accepted: {uid(wanted.owner)}, or all of it given to that uid by hand"
            raise ValueError(f"{path}: found the owner {status.st_uid}; {owner}")
    before = rights(str(status.st_uid), str(status.st_gid), stat.S_IMODE(status.st_mode))
    return before + (read_whole(path) if isinstance(wanted, File) else ""), after


def _numbers(wanted: Folder | File) -> tuple[str, str]:
    return str(uid(wanted.owner)), str(gid(wanted.group))


def uid(name: str) -> int:
    """The number of a user, given by name or number. Raises ValueError."""
    if name.isdigit():
        return int(name)
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        raise ValueError(f"owner: found {name!r}, whom this host does not know; accepted: a user or a number") from None


def gid(name: str) -> int:
    """The number of a group, given by name or number. Raises ValueError."""
    if name.isdigit():
        return int(name)
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise ValueError(
            f"group: found {name!r}, which this host does not know; accepted: a group or a number"
        ) from None


# --- Writing ----------------------------------------------------------------------------------------------------------


def validate(run: Runner, found: Sequence[Difference]) -> None:
    """Have drafts judged before anything is written. Raises CommandError."""
    for difference in found:
        wanted = difference.wanted
        if isinstance(wanted, File) and wanted.validate:
            with tempfile.NamedTemporaryFile("w", encoding="utf-8", errors="surrogateescape") as draft:
                draft.write(wanted.content)
                draft.flush()
                require(run([*wanted.validate, draft.name]))


def refuse_dangling(found: Sequence[Difference]) -> None:
    """Refuse links that would lead to nothing, such as to a time zone that nobody knows. Raises ValueError."""
    for wanted in (each.wanted for each in found):
        if isinstance(wanted, Link) and not os.path.exists(os.path.join(os.path.dirname(wanted.path), wanted.target)):
            raise ValueError(f"{wanted.path}: found no {wanted.target}; accepted: a target that is there")


def write(difference: Difference) -> None:
    """Make it be as it should be. Raises OSError."""
    wanted = difference.wanted
    if isinstance(wanted, Absent):
        os.unlink(wanted.path)
    elif isinstance(wanted, Link):
        os.makedirs(os.path.dirname(wanted.path), mode=0o755, exist_ok=True)
        aside = f"{wanted.path}.aicluster"
        if os.path.lexists(aside):
            os.unlink(aside)
        os.symlink(wanted.target, aside)
        os.replace(aside, wanted.path)
    elif isinstance(wanted, Folder):
        os.makedirs(wanted.path, mode=0o755, exist_ok=True)
        os.chown(wanted.path, uid(wanted.owner), gid(wanted.group))
        os.chmod(wanted.path, wanted.mode)
    else:
        os.makedirs(os.path.dirname(wanted.path), mode=0o755, exist_ok=True)
        if isinstance(wanted, File):
            write_whole(wanted.path, wanted.content, wanted.mode, uid(wanted.owner), gid(wanted.group))
        else:
            _rewrite(wanted.path, difference.after)


def _rewrite(path: str, text: str) -> None:
    """Change the text of somebody else's file, which keeps its owner and mode."""
    status = os.stat(path) if os.path.exists(path) else None
    numbers = (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) if status else (0o644, 0, 0)
    try:
        write_whole(path, text, *numbers)
    except OSError as error:
        # A container engine mounts its /etc/hosts, and what is mounted cannot be replaced.
        if error.errno != errno.EBUSY:
            raise
        with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
