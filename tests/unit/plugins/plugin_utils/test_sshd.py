# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.aicluster.slurm.plugins.plugin_utils import sshd


def line(keyword: str, value: str, match: str = "") -> dict[str, str]:
    return {"file": "/etc/ssh/sshd_config.d/00-site.conf", "keyword": keyword, "value": value, "match": match}


def test_passwords_that_others_let_in() -> None:
    asked = [line("PasswordAuthentication", "yes"), line("KbdInteractiveAuthentication", "no")]
    assert sshd.sshd_findings(asked, ["ada"], passwords=True) == []
    (found,) = sshd.sshd_findings(asked, ["ada"], passwords=False)
    assert found == (
        "/etc/ssh/sshd_config.d/00-site.conf: found `PasswordAuthentication yes`, to count before common_ssh_password:"
        f" false; accepted: {sshd.AFTER}"
    )
    assert sshd.sshd_findings([line("PasswordAuthentication", "yes", "Address 10.0.0.0/8")], [], passwords=False) == []


def test_keys_that_would_not_count() -> None:
    # Outside of a block it is the default, over which ours counts.
    assert sshd.sshd_findings([line("AuthorizedKeysFile", "none")], ["ada"], passwords=False) == []
    (found,) = sshd.sshd_findings([line("AuthorizedKeysFile", "none", "User a*,!al")], ["ada", "al"], passwords=True)
    assert found == (
        "/etc/ssh/sshd_config.d/00-site.conf: found `AuthorizedKeysFile none` behind `Match User a*,!al`, to count"
        f" before the keys of ada; accepted: {sshd.AFTER}"
    )


@pytest.mark.parametrize(
    ("criteria", "meets"),
    [
        ("all", True),
        ("User ada", True),
        ('user "ada,bob"', True),
        ("User bob", False),
        ("User !ada,*", False),
        ("Group users", False),
        ("Group users User ad?", True),
    ],
)
def test_whom_a_block_is_for(criteria: str, meets: bool) -> None:
    assert sshd.meets(criteria, "ada") is meets
