# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.aicluster.slurm.plugins.module_utils import sshd

INCLUDE = "Include /etc/ssh/sshd_config.d/*.conf\n"


@pytest.mark.parametrize(
    ("text", "reads"),
    [
        ("", True),
        ("# x\nInclude /etc/ssh/sshd_config.d/*.conf\nPort 22\n", True),
        ("  include /etc/ssh/first.conf /etc/ssh/sshd_config.d/*.conf\n", True),
        # As sshd_config(5) has it, too: without a folder it is /etc/ssh, quotes, an equals sign, other patterns.
        ("Include sshd_config.d/*.conf # ours\n", True),
        ('Include "/etc/ssh/sshd_config.d/*"\n', True),
        ("Include=/etc/ssh/sshd_config.d/[0-9]*.conf\n", True),
        ("Include /etc/ssh/sshd_config.d/50-*.conf\n", False),
        ('Include "/etc/ssh/sshd_config.d/*.conf\n', False),
        ("Port 22\n#Include /etc/ssh/sshd_config.d/*.conf\n", False),
        ("Port 22\nMatch User ada\n  Include /etc/ssh/sshd_config.d/*.conf\n", False),
    ],
)
def test_whether_sshd_reads_what_others_write(text: str, reads: bool) -> None:
    assert sshd.reads_drop_ins(text) is reads


def earlier(tmp_path: Path, main: str, drop_ins: dict[str, str]) -> list[tuple[str, ...]]:
    """File, keyword, value and criteria of each line."""
    for name, text in drop_ins.items():
        (tmp_path / name).write_text(text)

    def read(path: str) -> str:
        return main if path == sshd.CONFIG else Path(path).read_text(encoding="utf-8")

    return [(Path(line.pop("file")).name, *line.values()) for line in sshd.earlier(read, str(tmp_path))]


def test_what_comes_before_ours_counts(tmp_path: Path) -> None:
    yes = "PasswordAuthentication yes\n"
    drop_ins = dict.fromkeys(("50-cloud-init.conf", sshd.OURS, "00-site.conf", "00-site.conf.bak", ".0.conf"), yes)
    found = earlier(tmp_path, f"{yes}{INCLUDE}ChallengeResponseAuthentication yes\n", drop_ins)
    assert found == [
        ("sshd_config", "PasswordAuthentication", "yes", ""),
        ("00-site.conf", "PasswordAuthentication", "yes", ""),
    ]


def test_lines_as_sshd_reads_them(tmp_path: Path) -> None:
    text = (
        '#PasswordAuthentication yes\nport 22\n challengeresponseauthentication="yes" # why\n'
        "Match User ada,b*\n\tAuthorizedKeysFile .ssh/authorized_keys /etc/keys/%u\n"
    )
    assert earlier(tmp_path, INCLUDE, {"00-site.conf": text}) == [
        ("00-site.conf", "KbdInteractiveAuthentication", "yes", ""),
        ("00-site.conf", "AuthorizedKeysFile", ".ssh/authorized_keys /etc/keys/%u", "User ada,b*"),
    ]


def test_without_sshd() -> None:
    assert sshd.earlier(lambda _path: "", "/nowhere") == []
