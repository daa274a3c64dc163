# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
from dataclasses import replace

import pytest
from ansible_collections.aicluster.slurm.plugins.module_utils.accounts import User, parse
from ansible_collections.aicluster.slurm.plugins.module_utils.homes import amiss, mounted, on_this_host

MOUNTS = """/dev/sda1 / ext4 rw 0 0
nfs0:/data /data nfs4 rw 0 0
tank/home /home zfs rw 0 0
/dev/sdb1 /data/local ext4 rw 0 0
systemd-1 /mnt autofs rw 0 0
nfs0:/b /b\\040c nfs rw 0 0
nfs0:/x /cover nfs4 rw 0 0
tmpfs /cover tmpfs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "here"),
    [
        ("/srv/ada", True),
        ("/home/ada", True),
        ("/data", False),
        ("/data/home/ada", False),
        ("/database/ada", True),
        ("/data/local/ada", True),
        ("/mnt/ada", False),
        ("/b c/ada", False),
        ("/cover/ada", True),
    ],
)
def test_on_which_host_a_folder_is(path: str, here: bool) -> None:
    assert on_this_host(path, mounted(MOUNTS)) is here
    assert on_this_host(path, {}) is True


def test_nobody_looks_for_a_home_behind_a_server_that_may_be_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    def stuck(path: str) -> bool:
        raise AssertionError(f"looked at {path}")

    monkeypatch.setattr(os.path, "isdir", stuck)
    found = parse("ada:x:20001:20000::/nowhere/ada:/bin/bash\n", "lab:x:20000:\n", "")
    there = User("ada", 20001, "lab", "/nowhere/ada")
    assert amiss([replace(there, create_home=False)], found, {}, "") == ([], [])
    assert amiss([there], found, {"ada": 20001}, "nfs0:/x /nowhere nfs4 rw 0 0\n") == ([], [])
    # What the list says of who is locked counts when the lock is taken off.
    assert amiss([replace(there, state="locked", home="/elsewhere")], found, {}, "") == ([], [])
