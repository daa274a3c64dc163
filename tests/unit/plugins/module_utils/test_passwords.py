# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.aicluster.slurm.plugins.module_utils import passwords
from ansible_collections.aicluster.slurm.plugins.module_utils.passwords import BUCKETS, Pair, recorded, unchanged

PAIRS = {f"user{number}": Pair(f"secret-{number}", f"$y$hash{number}") for number in range(40)}
RECORD = recorded(PAIRS, set(), "")


def test_all_are_known_again() -> None:
    assert unchanged(PAIRS, RECORD) == set(PAIRS)
    assert recorded(PAIRS, set(PAIRS), RECORD) == RECORD
    assert len(RECORD.splitlines()) == BUCKETS
    assert unchanged({}, RECORD) == set()
    assert recorded({}, set(), RECORD) == ""


@pytest.mark.parametrize(
    "pair", [Pair("another", "$y$hash7"), Pair("secret-7", "$y$another"), Pair("secret-8", "$y$hash7")]
)
def test_another_password_on_either_side_is_seen(pair: Pair) -> None:
    now = {**PAIRS, "user7": pair}
    known = unchanged(now, RECORD)
    assert "user7" not in known
    # Those of the other buckets are not looked at again.
    assert len(known) > len(PAIRS) / 2
    record = recorded(now, known, RECORD)
    assert len({*record.splitlines()} & {*RECORD.splitlines()}) == BUCKETS - 1
    assert unchanged(now, record) == set(now)


def test_who_comes_and_goes() -> None:
    more = {**PAIRS, "ada": Pair("secret-ada", "$y$ada")}
    assert "ada" not in unchanged(more, RECORD)
    without = {name: pair for name, pair in PAIRS.items() if name != "user7"}
    assert unchanged(without, RECORD) < set(without)


@pytest.mark.parametrize("record", ["", "nonsense\n", "1 2\n", RECORD.replace("\n", "x\n")])
def test_a_record_that_is_none_says_nothing(record: str) -> None:
    assert unchanged(PAIRS, record) == set()


def test_nothing_of_a_password_can_be_read() -> None:
    assert "secret" not in RECORD
    assert "hash" not in RECORD
    # The same passwords have another record on each host.
    assert recorded(PAIRS, set(), "") != RECORD


def test_as_many_hashes_as_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    digest = passwords._digest

    def counted(salt: str, members: dict[str, Pair]) -> str:
        asked.append(salt)
        return digest(salt, members)

    monkeypatch.setattr(passwords, "_digest", counted)
    assert unchanged(PAIRS, RECORD) == set(PAIRS)
    assert len(asked) == BUCKETS
