# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""nfs_export on a real exportfs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .conftest import Storage

OURS = "/etc/exports.d/aicluster.exports"
THEIRS = "/etc/exports.d/site.exports"
RO = ["ro", "sec=sys"]
STEADY = "grep -q '^/srv/steady.192.0.2.9' /var/lib/nfs/etab"


def exported(kernel: Storage, path: str) -> dict[str, str]:
    """Each client of a path with the first of its options, as exportfs has it."""
    lines = [line.partition("\t") for line in kernel.output("cat /var/lib/nfs/etab").splitlines()]
    return {rest.split("(")[0]: rest.split("(")[1].split(",")[0] for found, _tab, rest in lines if found == path}


@pytest.fixture(autouse=True)
def steady(kernel: Storage) -> Iterator[None]:
    """Somebody else's export, which is there all the time."""
    kernel.output(
        "exportfs -ua; rm -rf /etc/exports.d; mkdir -p /etc/exports.d /srv/steady /srv/c '/srv/a b'; : >/etc/exports"
    )
    kernel.write(THEIRS, "/srv/steady 192.0.2.9(rw,no_subtree_check)")
    kernel.output("exportfs -ra")
    with kernel.watched(STEADY):
        yield


def test_add_change_remove(kernel: Storage) -> None:
    foretold = kernel.export("/srv/c", "10.0.0.1", "10.0.0.0/8", check=True)
    assert (foretold["changed"], foretold["validated"]) == (True, "deep")
    assert exported(kernel, "/srv/c") == {}

    added = kernel.export("/srv/c", "10.0.0.1", "10.0.0.0/8")
    assert (added["changed"], added["validated"]) == (True, "deep")
    assert added["diff"] == foretold["diff"]
    assert exported(kernel, "/srv/c") == {"10.0.0.1": "rw", "10.0.0.0/8": "rw"}
    assert kernel.export("/srv/c", "10.0.0.1", "10.0.0.0/8")["changed"] is False

    kernel.export("/srv/c", "10.0.0.1", "2001:db8::1", "2001:db8:1::/48", words=RO)
    assert exported(kernel, "/srv/c") == {"10.0.0.1": "ro", "2001:db8::1": "ro", "2001:db8:1::/48": "ro"}
    kernel.export("/srv/c", "10.0.0.2", exclusive=False)
    kernel.export("/srv/c", "10.0.0.1", "2001:db8:1::/48", state="absent")
    assert exported(kernel, "/srv/c") == {"2001:db8::1": "ro", "10.0.0.2": "rw"}

    kernel.export("/srv/a b", "*", words=RO)
    assert exported(kernel, "/srv/a\\040b") == {"*": "ro"}
    assert kernel.export("/srv/a b", "*", words=RO)["changed"] is False
    kernel.export("/srv/c", state="absent")
    assert exported(kernel, "/srv/c") == {}
    kernel.export("/srv/a b", state="absent")
    assert not kernel.machine.shell.file(OURS).exists


def test_names(kernel: Storage) -> None:
    own = kernel.output("getent ahosts $(hostname) | awk 'NR == 1 { print $3 }'")
    assert kernel.export("/srv/c", kernel.output("hostname"))["changed"]
    assert exported(kernel, "/srv/c") == {own: "rw"}
    assert kernel.export("/srv/c", kernel.output("hostname"))["changed"] is False


@pytest.mark.parametrize(
    ("hosts", "words", "said"),
    [
        (["10.0.0.1", "nosuch.invalid"], ["rw"], "found nosuch.invalid, which does not resolve"),
        (["10.0.0.1", "10.0.0.0/33"], ["rw"], "found '10.0.0.0/33'"),
        (["10.0.0.1"], ["rw", "bogus"], "found 'bogus'; accepted: an option of exports"),
        # Our parser lets it pass, and no exportfs does.
        (["10.0.0.1"], ["reexport=nonsense"], "exportfs refuses it: "),
        (["*"], ["rw", "no_root_squash"], "which makes everybody root here"),
    ],
)
def test_bad_among_good(kernel: Storage, hosts: list[str], words: list[str], said: str) -> None:
    kernel.export("/srv/c", "10.0.0.1")
    before = kernel.output(f"cat {OURS} /var/lib/nfs/etab")
    with pytest.raises(AssertionError, match=said):
        kernel.export("/srv/c", *hosts, words=words)
    assert kernel.output(f"cat {OURS} /var/lib/nfs/etab") == before


def test_a_file_that_a_human_broke(kernel: Storage) -> None:
    # Read anew, this file would end /srv/steady: it comes behind the error.
    kernel.write(THEIRS, "/srv/x 192.0.2.8(rw, sync)\n/srv/steady 192.0.2.9(rw,no_subtree_check)")
    kernel.write("/etc/exports", '"/srv/c 10.9.9.9(rw)')
    result = kernel.export("/srv/c", "10.0.0.1")
    assert result["changed"]
    assert f"{THEIRS}: line 1: found '192.0.2.8(rw,'" in str(result["warnings"])
    assert kernel.export("/srv/c", "10.0.0.2")["changed"]
    assert exported(kernel, "/srv/c") == {"10.0.0.2": "rw"}
    kernel.export("/srv/c", state="absent")
    assert exported(kernel, "/srv/c") == {}


def test_our_file_that_a_human_broke(kernel: Storage) -> None:
    kernel.export("/srv/c", "10.0.0.1")
    kernel.output(f"sed -i 's/)$//' {OURS}")
    with pytest.raises(AssertionError, match="Mend this file, or remove it"):
        kernel.export("/srv/c", "10.0.0.2")
    assert exported(kernel, "/srv/c") == {"10.0.0.1": "rw"}


def test_an_export_that_no_file_has(kernel: Storage) -> None:
    # `exportfs -r` would end it.
    kernel.output("mkdir -p /srv/by-hand; exportfs -i -o ro,no_subtree_check 10.7.7.7:/srv/by-hand")
    kernel.export("/srv/c", "10.0.0.1")
    assert exported(kernel, "/srv/by-hand") == {"10.7.7.7": "ro"}


def test_a_server_that_does_not_take_it(kernel: Storage) -> None:
    kernel.export("/srv/c", "10.0.0.1")
    before = kernel.output(f"cat {OURS} /var/lib/nfs/etab")
    # Its table cannot be written, so nothing comes of it; the judging has a table of its own.
    kernel.output("mount --bind -o ro /var/lib/nfs /var/lib/nfs && mount -o remount,bind,ro /var/lib/nfs")
    try:
        with pytest.raises(AssertionError, match=r"did not take the exports: .* The old ones are back"):
            kernel.export("/srv/c", "10.0.0.1", "10.0.0.2")
    finally:
        kernel.output("umount /var/lib/nfs")
    assert kernel.output(f"cat {OURS} /var/lib/nfs/etab") == before


def test_a_run_that_was_killed(kernel: Storage) -> None:
    kernel.export("/srv/c", "10.0.0.1")
    kernel.output("exportfs -u 10.0.0.1:/srv/c")
    assert kernel.export("/srv/c", "10.0.0.1")["changed"]
    assert exported(kernel, "/srv/c") == {"10.0.0.1": "rw"}
