# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Role common: what is kept of a run that failed, and what is not."""

from __future__ import annotations

import json

import pytest

from .conftest import Values

CHANGES = [
    {"kind": "slurm", "name": "", "key": "JobCompPass", "before": "", "after": "[not shown]"},
    {"kind": "slurm", "name": "", "key": "SlurmdTimeout", "before": "300", "after": "301"},
    {"kind": "acct_gather.conf", "name": "", "key": "", "before": "", "after": "ProfileInfluxDBPass=mine\n"},
]


def kept(role_value: Values, failed: str) -> str:
    return str(
        role_value("common", "__common_kept", __cluster_failed=failed, __head_configured={"plan": {"changes": CHANGES}})
    )


def test_the_plan_is_kept_with_the_names_of_what_changes(role_value: Values) -> None:
    told = json.loads(kept(role_value, "Configure Slurm: no"))
    assert told["failed"] == "Configure Slurm: no"
    assert told["plan"]["changes"][:2] == CHANGES[:2]
    assert "mine" not in json.dumps(told)


@pytest.mark.parametrize(
    "secret",
    ["password=mine", "password: mine", '{"password": "mine"}', "{'db_token': 'mine'}", "munge_key = mine", "Key=mine"],
)
def test_secrets_are_not_kept(role_value: Values, secret: str) -> None:
    text = kept(role_value, f"Read it: found {secret}")
    assert json.loads(text)["failed"].startswith("Read it: found ")
    assert "mine" not in text
    assert "[not shown]" in text
