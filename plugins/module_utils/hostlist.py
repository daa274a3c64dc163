# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Slurm's host list expressions: ``rack[0-1]n[01-16],login`` to names and back.

Sources: slurm.conf(5) NodeName and scontrol(1) ``show hostnames`` of Slurm 22.05.8 and 24.11.5, whose recorded
answers are in tests/unit/fixtures. Where the two differ, the stricter one holds, so that what is taken here means the
same on both.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable
from typing import List, Tuple, Union

# Slurm refuses a longer range; here it bounds the whole expression, because a cluster cannot have more nodes either.
MAX_NAMES = 65536
# Slurm counts in an unsigned long: above this it prints another name, and scontrol crashes on a range that ends there.
MAX_NUMBER = 2**64 - 2
# DNS ends at 253; it also keeps int() away from absurd input.
MAX_LENGTH = 255

_NAME = r"[^\[\],\s\x00-\x1f\x7f]+"
_IS_NAME = re.compile(_NAME).fullmatch
# What separates names, an item (group 1), or a character that fits nowhere (group 2): no text is left out.
_PIECES = re.compile(r"[ \t\n,]+|((?:" + _NAME + r"|\[[^\[\]]*\])+)|(.)", re.DOTALL)
_BRACKETS = re.compile(r"\[([^\]]*)\]")
_RANGE = re.compile(rf"([0-9]{{1,{MAX_LENGTH}}})(?:-([0-9]{{1,{MAX_LENGTH}}}))?")
_DIGITS = re.compile(r"([0-9]+)")

NaturalKey = Tuple[List[Union[int, str]], str]


class HostlistError(ValueError):
    """A host list, or a name for one, that Slurm would refuse or read as something else."""


def expand(text: str) -> list[str]:
    """Return the names that ``text`` stands for, in Slurm's order, with duplicates.

    Names are separated by commas or blanks; empty items are skipped, and an empty text is no name. A range takes its
    zero padding from its first number. Of several brackets the last runs fastest, then the first, then the second:
    this is how Slurm counts, and what pairs NodeName with NodeAddr.

    Raises HostlistError for anything that not both Slurm versions read alike and for some that both misread: text
    after the last bracket, blanks in brackets, a range without an end, a lone bracket, numbers above MAX_NUMBER; and
    for more than MAX_NAMES names.
    """
    names: list[str] = []
    for piece in _PIECES.finditer(text):
        item, stray = piece.groups()
        if stray:
            accepted = "a pair of brackets, not nested" if stray in "[]" else "printable characters without blanks"
            raise _error(text, stray, f"at character {piece.start() + 1}", accepted)
        if item:
            names += _expand_item(text, item, MAX_NAMES - len(names))
    return names


def fold(names: Iterable[str]) -> str:
    """Return the names as a list that keeps their order and duplicates: ``expand(fold(names)) == list(names)``.

    Names that follow each other and differ in their last digits only share brackets. Digits with text after them
    (``n1-ib``) are left as they are, because Slurm 22.05 takes brackets at the end only.

    Raises HostlistError for a name that cannot stand in a host list, and for more than MAX_NAMES of them.
    """
    return _join(map(_split, names))


def fold_sorted(names: Iterable[str]) -> str:
    """Return the canonical list of a set of names: each once, in natural order, folded. Raises as ``fold`` does."""
    unique = {name: _split(name) for name in names}
    return _join(unique[name] for name in sorted(unique, key=natural_key))


def natural_key(name: str) -> NaturalKey:
    """Return a sort key that counts digits as numbers (n2 before n10), and is different for different names."""
    parts: list[int | str] = list(_DIGITS.split(name))
    parts[1::2] = map(int, parts[1::2])
    return parts, name


class _Bracket:
    """Names of one prefix that follow each other, as the ranges in one pair of brackets."""

    def __init__(self, prefix: str, digits: str) -> None:
        self._prefix = prefix
        self._spans = [[digits, digits]]
        self._narrow, self._wide = _widths(digits)
        self._last = int(digits or 0)

    def take(self, prefix: str, digits: str) -> bool:
        """Add the name PREFIX + DIGITS if it can stand in these brackets."""
        # A name without digits stands alone.
        if prefix != self._prefix or not digits or not self._spans[0][0]:
            return False
        # Brackets have one padding: n1 and n01 never share them, n9 and n10 do.
        narrow, wide = _widths(digits)
        narrow, wide = max(narrow, self._narrow), min(wide, self._wide)
        if narrow > wide:
            return False
        self._narrow, self._wide = narrow, wide
        number = int(digits)
        if number == self._last + 1:
            self._spans[-1][1] = digits
        else:
            self._spans.append([digits, digits])
        self._last = number
        return True

    def __str__(self) -> str:
        spans = [first if first == last else f"{first}-{last}" for first, last in self._spans]
        if spans[1:] or "-" in spans[0]:
            return f"{self._prefix}[{','.join(spans)}]"
        return self._prefix + spans[0]


def _join(names: Iterable[tuple[str, str]]) -> str:
    """Fold names that are split already."""
    brackets: list[_Bracket] = []
    for count, (prefix, digits) in enumerate(names, start=1):
        if count > MAX_NAMES:
            raise HostlistError(f"host list: found more than {MAX_NAMES} names; accepted: up to {MAX_NAMES}")
        if not (brackets and brackets[-1].take(prefix, digits)):
            brackets.append(_Bracket(prefix, digits))
    return ",".join(map(str, brackets))


def _widths(digits: str) -> tuple[int, int]:
    """Return the paddings, from narrowest to widest, that print the number of ``digits`` just so."""
    padded = len(digits) > 1 and digits[0] == "0"
    return (len(digits) if padded else 1), len(digits)


def _split(name: str) -> tuple[str, str]:
    """Return a name as what stands before its last digits, and these digits. Raises HostlistError."""
    if not _IS_NAME(name) or len(name) > MAX_LENGTH:
        accepted = f"1 to {MAX_LENGTH} printable characters but blanks, commas and brackets"
        raise HostlistError(f"host name {_short(name)!r}; accepted: {accepted}")
    prefix = name.rstrip("0123456789")
    digits = name[len(prefix) :]
    if len(digits) > 19 and int(digits) > MAX_NUMBER:
        raise HostlistError(f"host name {name!r}: found the number {digits}; accepted: up to {MAX_NUMBER}")
    return prefix, digits


def _expand_item(text: str, item: str, room: int) -> list[str]:
    """Return the names of one item of ``text``; at most ``room``."""
    parts = _BRACKETS.split(item)
    literals, bodies = parts[0::2], parts[1::2]
    if bodies and literals[-1]:
        raise _error(text, literals[-1], f"after the last bracket of {_short(item)!r}", "a name that ends there")
    if not room:
        raise _error(text, item, "after so many names", f"up to {MAX_NAMES} names in all")
    if not bodies:
        return ["".join(_split(item))]
    sets: list[list[str]] = []
    for body in bodies:
        sets.append(_numbers(text, body, room // math.prod(map(len, sets))))
    names: list[str] = []
    for numbers in itertools.product(*reversed(sets[:-1])):
        head = "".join(itertools.chain.from_iterable(zip(literals, reversed(numbers)))) + literals[-2]
        names += [head + number for number in sets[-1]]
    return names


def _numbers(text: str, body: str, room: int) -> list[str]:
    """Return the numbers between a pair of brackets, as written out; at most ``room``."""
    numbers: list[str] = []
    within = f"in {_short('[' + body + ']')!r}"
    for span in body.split(","):
        match = _RANGE.fullmatch(span)
        if not match:
            raise _error(text, span, within, "numbers and ranges without blanks, such as [1-9,12] or [01-16]")
        width = len(match[1])
        first, last = int(match[1]), int(match[2] or match[1])
        if first > last:
            raise _error(text, span, within, "a range that goes up")
        if last > MAX_NUMBER:
            raise _error(text, span, within, f"numbers up to {MAX_NUMBER}")
        if last - first >= room - len(numbers):
            raise _error(text, span, within, f"up to {MAX_NAMES} names in all")
        numbers += [str(number).zfill(width) for number in range(first, last + 1)]
    return numbers


def _error(text: str, found: str, where: str, accepted: str) -> HostlistError:
    return HostlistError(f"host list {_short(text)!r}: found {_short(found)!r} {where}; accepted: {accepted}")


def _short(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."
