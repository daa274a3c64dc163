# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import random
import re
import time
from pathlib import Path
from typing import Callable

import pytest
from ansible_collections.aicluster.slurm.plugins.module_utils.hostlist import (
    MAX_LENGTH,
    MAX_NAMES,
    MAX_NUMBER,
    HostlistError,
    expand,
    fold,
    fold_sorted,
    natural_key,
)
from ClusterShell.NodeSet import NodeSet, NodeSetParseError
from hypothesis import given, settings
from hypothesis import strategies as st

# The same cases in every run: a failure is a change of the code, not of the dice.
CASES = settings(derandomize=True, max_examples=1000, deadline=None)

PREFIXES = ("n", "node-", "rack1n", "rack2n", "10.0.0.", "fe80::", "/dev/nvidia", "")
NUMBERS = st.integers(0, 120).map(str)
NUMBERED = st.builds(
    lambda prefix, digits, width: prefix + digits.zfill(width), st.sampled_from(PREFIXES), NUMBERS, st.integers(1, 4)
)
PLAIN = st.sampled_from(("login", "n1-ib", "n2.example.org", "n", "ü7", "a_b", "n01x"))
NAMES: st.SearchStrategy[list[str]] = st.lists(st.one_of(NUMBERED, PLAIN), max_size=40)


# --- against the answers of the real scontrol -------------------------------------------------------------------------

FIXTURES = Path(__file__).parents[2] / "fixtures"

# Lists that both versions read alike, and that are refused here: it is a misreading, or too much.
STRICTER = {
    "n[1, 2]": "both read n1 and n02",
    "n[1 -2]": "both read n01 and n02",
    "n[ 1-2]": "both read n01 and n02",
    "n[1-]": "both read n1, as if the range were one number",
    "n1]": "both keep the bracket in the name",
    "n18446744073709551615": "both read it, but scontrol crashes on a range that ends there",
    "n18446744073709551616": "both read another number",
    "n[99999999999999999999]": "both read another number",
    "n[1-65536],m": "65537 names",
    "n[1-300]m[1-300]": "90000 names",
}


def recorded(version: str) -> dict[str, str | None]:
    """Return what scontrol printed for each list of a recording, None where it refused the list."""
    answers: dict[str, str | None] = {}
    for line in (FIXTURES / f"hostnames_{version}.txt").read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            text, status, names, error = line.split("\t")
            answers[text.replace("\\t", "\t")] = None if error or status != "0" else names
    return answers


OLD, NEW = recorded("22.05"), recorded("24.11")


def test_the_recordings_are_of_the_same_lists() -> None:
    assert list(OLD) == list(NEW)
    assert len(OLD) > 100
    assert STRICTER.keys() <= OLD.keys()


@pytest.mark.parametrize("text", OLD)
def test_expand_is_what_scontrol_prints(text: str) -> None:
    if OLD[text] is None or NEW[text] is None or text in STRICTER:
        with pytest.raises(HostlistError):
            expand(text)
        return
    # Both take it: then they must agree, and so must we.
    assert OLD[text] == NEW[text]
    names = expand(text)
    printed = " ".join(names) if len(names) <= 100 else f"#{len(names)} {names[0]} {names[-1]}"
    assert printed == NEW[text]


# --- expand -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("n[1-2]x", "host list 'n[1-2]x': found 'x' after the last bracket of 'n[1-2]x'; accepted: a name that ends"),
        ("ab,n[1", "host list 'ab,n[1': found '[' at character 5; accepted: a pair of brackets, not nested"),
        ("n1]", "found ']' at character 3"),
        ("n\x07", r"found '\x07' at character 2; accepted: printable characters"),
        ("n1\u00a0n2", r"found '\xa0' at character 3"),
        ("n[1,2-a]", "found '2-a' in '[1,2-a]'; accepted: numbers and ranges without blanks, such as [1-9,12]"),
        ("n[]", "found '' in '[]'"),
        ("n[\u0967-\u0968]", "found '\u0967-\u0968' in"),
        ("n[3-1]", "found '3-1' in '[3-1]'; accepted: a range that goes up"),
        (f"n[{MAX_NUMBER + 1}]", f"accepted: numbers up to {MAX_NUMBER}"),
        (f"n{MAX_NUMBER + 1}", f"found the number {MAX_NUMBER + 1}; accepted: up to {MAX_NUMBER}"),
        ("n[1-9" + "9" * 5000 + "]", "found '1-9999"),
        ("n" * (MAX_LENGTH + 1), f"accepted: 1 to {MAX_LENGTH} printable characters"),
    ],
)
def test_expand_says_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(HostlistError, match=re.escape(message)) as caught:
        expand(text)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "text",
    ["n[1-99999999999999]", "a[1-65536]b[1-65536]c[1-65536]", "n[1-40000],m[1-40000]", ",".join(["n[1-9999]"] * 7)],
)
def test_expand_refuses_more_names_than_a_cluster_has_without_making_them(text: str) -> None:
    start = time.process_time()
    with pytest.raises(HostlistError, match=f"accepted: up to {MAX_NAMES} names in all"):
        expand(text)
    assert time.process_time() - start < 1


# --- fold -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "folded"),
    [
        ("", ""),
        ("n1", "n1"),
        ("n1 n2", "n[1-2]"),
        ("n3 n1 n2", "n[3,1-2]"),
        ("n3 n2 n1", "n[3,2,1]"),
        ("n1 n1 n2", "n[1,1-2]"),
        ("n1 n2 login n3", "n[1-2],login,n3"),
        ("n n1", "n,n1"),
        ("n8 n9 n10 n11", "n[8-11]"),
        ("n08 n09 n10 n12", "n[08-10,12]"),
        ("n10 n09", "n[10,09]"),
        ("n1 n01 n2 n02", "n1,n01,n2,n02"),
        ("n9 n010", "n9,n010"),
        ("n0 n00", "n0,n00"),
        ("n98 n99 n100", "n[98-100]"),
        ("n099 n100 n1000", "n[099-100,1000]"),
        ("rack0n1 rack0n2 rack1n1", "rack0n[1-2],rack1n1"),
        ("10.0.0.9 10.0.0.4 10.0.0.5 10.0.1.7", "10.0.0.[9,4-5],10.0.1.7"),
        ("/dev/nvidia0 /dev/nvidia1 /dev/dri/renderD128", "/dev/nvidia[0-1],/dev/dri/renderD128"),
        ("n1-ib n2-ib", "n1-ib,n2-ib"),
        ("7 8", "[7-8]"),
        (f"n{MAX_NUMBER - 1} n{MAX_NUMBER}", f"n[{MAX_NUMBER - 1}-{MAX_NUMBER}]"),
    ],
)
def test_fold(names: str, folded: str) -> None:
    assert fold(names.split()) == folded
    assert expand(folded) == names.split()


@pytest.mark.parametrize("name", ["", "a,b", "a b", "a[1]", "a]", "a\n", "a\x00", "n" * (MAX_LENGTH + 1)])
@pytest.mark.parametrize("function", [fold, fold_sorted])
def test_fold_refuses_what_is_not_one_name(function: Callable[[list[str]], str], name: str) -> None:
    with pytest.raises(HostlistError, match="accepted: 1 to 255 printable characters but blanks, commas and brackets"):
        function(["n1", name])


def test_fold_refuses_numbers_and_amounts_that_slurm_cannot_read() -> None:
    with pytest.raises(HostlistError, match="found the number"):
        fold([f"n{MAX_NUMBER + 1}"])
    with pytest.raises(HostlistError, match=f"more than {MAX_NAMES} names"):
        fold(f"n{number}" for number in range(MAX_NAMES + 1))


def test_fold_keeps_the_pairs_of_names_and_addresses() -> None:
    numbers = list(range(1, 200))
    random.Random(7).shuffle(numbers)
    pairs = [(f"node{number}", f"10.0.{number % 3}.{number * 7 % 251}") for number in numbers]
    names, addresses = zip(*pairs)
    assert list(zip(expand(fold(names)), expand(fold(addresses)))) == pairs


@CASES
@given(NAMES)
def test_expand_undoes_fold(names: list[str]) -> None:
    assert expand(fold(names)) == names


@CASES
@given(st.lists(st.text(st.characters(exclude_categories=("Cc", "Cs", "Z")), min_size=1, max_size=8), max_size=8))
def test_expand_undoes_fold_of_any_text(texts: list[str]) -> None:
    try:
        folded = fold(texts)
    except HostlistError:
        assert any(set(text) & set("[],") for text in texts)
    else:
        assert expand(folded) == texts


# --- fold_sorted and natural_key --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "folded"),
    [
        ("", ""),
        ("n10 n9 n2 n1 n9", "n[1-2,9-10]"),
        ("rack2n1 rack10n1 rack2n2", "rack2n[1-2],rack10n1"),
        ("10.0.0.10 10.0.0.9 9.0.0.1", "9.0.0.1,10.0.0.[9-10]"),
        ("n2 login n1", "login,n[1-2]"),
        ("n02 n2 n01 n1", "n01,n1,n02,n2"),
    ],
)
def test_fold_sorted(names: str, folded: str) -> None:
    assert fold_sorted(names.split()) == folded


@CASES
@given(NAMES, st.randoms(use_true_random=False))
def test_fold_sorted_is_canonical(names: list[str], dice: random.Random) -> None:
    shuffled = names + names[:3]
    dice.shuffle(shuffled)
    assert fold_sorted(shuffled) == fold_sorted(names)
    assert expand(fold_sorted(names)) == sorted(set(names), key=natural_key)


def test_natural_key_counts_digits_as_numbers() -> None:
    names = ["n2", "n10", "n1", "n01", "a", "n1x10", "n1x9", "1", "n"]
    assert sorted(names, key=natural_key) == ["1", "a", "n", "n01", "n1", "n1x9", "n1x10", "n2", "n10"]


# --- against ClusterShell ---------------------------------------------------------------------------------------------
# NodeSet is a set: where order and duplicates do not count it must agree. The names leave out what is a host list to us
# and an operator or a group to it (the last test here).


@CASES
@given(NAMES)
def test_clustershell_reads_what_fold_writes(names: list[str]) -> None:
    assert set(NodeSet(fold(names), resolver=None)) == set(names)
    assert set(NodeSet(fold_sorted(names), resolver=None)) == set(names)


@CASES
@given(st.lists(NUMBERED, max_size=40))
def test_expand_reads_what_clustershell_writes(names: list[str]) -> None:
    nodes = NodeSet.fromlist(names, resolver=None)
    # The last number only: it would else write rack[1-2]n1, which Slurm 22.05 cannot read.
    nodes.fold_axis = (-1,)
    assert set(expand(str(nodes))) == set(names)


@pytest.mark.parametrize(
    ("text", "ours", "theirs"),
    [
        # A list has an order and duplicates, a set has not.
        ("n[3,1-2]", ["n3", "n1", "n2"], ["n1", "n2", "n3"]),
        ("n[1-2],n[2-3]", ["n1", "n2", "n2", "n3"], ["n1", "n2", "n3"]),
        # Slurm runs the first of three brackets before the second.
        ("a[1-2]b[1-2]c1", None, ["a1b1c1", "a1b2c1", "a2b1c1", "a2b2c1"]),
        ("a[1-2]b[1-2]c[1]", ["a1b1c1", "a2b1c1", "a1b2c1", "a2b2c1"], ["a1b1c1", "a1b2c1", "a2b1c1", "a2b2c1"]),
        # ClusterShell only: text after brackets, steps, set operators, blanks in brackets.
        ("n[1-2]-ib", None, ["n1-ib", "n2-ib"]),
        ("n[1-5/2]", None, ["n1", "n3", "n5"]),
        ("n[1-3]!n2", None, ["n1", "n3"]),
        ("n[1, 2]", None, ["n1", "n2"]),
        # Slurm only: numbers of one range with a padding that its end does not have, empty items, operators as letters.
        ("n[8-0010]", ["n8", "n9", "n10"], None),
        ("n1,,n2", ["n1", "n2"], None),
        ("n1!n1", ["n1!n1"], []),
    ],
)
def test_where_clustershell_differs(text: str, ours: list[str] | None, theirs: list[str] | None) -> None:
    if ours is None:
        with pytest.raises(HostlistError):
            expand(text)
    else:
        assert expand(text) == ours
    if theirs is None:
        with pytest.raises(NodeSetParseError):
            NodeSet(text, resolver=None)
    else:
        assert list(NodeSet(text, resolver=None)) == theirs


# --- cost -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["sorted", "shuffled"])
def test_ten_thousand_names_cost_little(order: str) -> None:
    names = [f"node{number:05d}" for number in range(10000)]
    if order == "shuffled":
        random.Random(1).shuffle(names)
    start = time.process_time()
    folded = fold(names)
    folding = time.process_time() - start
    start = time.process_time()
    assert expand(folded) == names
    expanding = time.process_time() - start
    # Each takes some 0.03 s; the bound allows for a slow machine, and not for a quadratic step.
    assert max(folding, expanding) < 0.5
