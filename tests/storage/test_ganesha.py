# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""nfs_export on a running NFS-Ganesha, seen from a client over the wire."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .conftest import Storage

OURS = "/etc/ganesha/exports.d/aicluster-data-c.conf"
THEIRS = "/etc/ganesha/exports.d/site.conf"
STEADY = """
EXPORT {
    Export_Id = 1; Path = /data/steady; Pseudo = /data/steady; Access_Type = RO; SecType = sys; FSAL { Name = VFS; }
}
"""


@pytest.fixture(scope="module", autouse=True)
def steady(ganesha: Storage, client: Storage) -> Iterator[None]:
    """Somebody else's export, from which the client reads all the time."""
    ganesha.output("rm -rf /data/c /data/d /etc/ganesha/exports.d/*")
    ganesha.output("mkdir -p /data/steady /data/c /data/d; echo steady >/data/steady/file; echo data >/data/c/file")
    ganesha.output("chmod 777 /data/c")
    ganesha.write(THEIRS, STEADY)
    ganesha.output("systemctl restart nfs-ganesha")
    client.output(f"timeout 30 sh -c 'until {cat(ganesha, '/data/steady/file')} 2>&1; do sleep 0.5; done' >/dev/null")
    with client.watched(cat(ganesha, "/data/steady/file")):
        yield


def cat(server: Storage, path: str) -> str:
    """A command that prints an exported file."""
    return f'timeout 20 nfs-cat "nfs://{server.address}{path}?version=4"'


def write(server: Storage, path: str, uid: int = 0) -> str:
    """A command that writes a file."""
    return f'timeout 20 nfs-cp /etc/hostname "nfs://{server.address}{path}?version=4&uid={uid}&gid={uid}"'


def succeeds(client: Storage, command: str) -> bool:
    """Whether the client's command succeeds."""
    return bool(client.machine.shell.run(command).rc == 0)


def test_add_change_remove(ganesha: Storage, client: Storage) -> None:
    assert ganesha.export("/data/c", client.address, check=True)["changed"]
    assert not succeeds(client, cat(ganesha, "/data/c/file"))

    assert ganesha.export("/data/c", client.address)["changed"]
    assert client.output(cat(ganesha, "/data/c/file")) == "data"
    assert ganesha.export("/data/c", client.address)["changed"] is False
    client.output(write(ganesha, "/data/c/by-root"))
    assert ganesha.output("stat -c %u /data/c/by-root") == "65534"

    ganesha.export("/data/c", client.address, words=["ro"])
    assert not succeeds(client, write(ganesha, "/data/c/again"))
    assert client.output(cat(ganesha, "/data/c/file")) == "data"

    ganesha.export("/data/c", client.address, words=["rw", "all_squash", "anonuid=4711", "anongid=4712"])
    client.output(write(ganesha, "/data/c/by-anyone", uid=1234))
    assert ganesha.output("stat -c %u:%g /data/c/by-anyone") == "4711:4712"

    ganesha.export("/data/c", "192.0.2.1")
    assert not succeeds(client, cat(ganesha, "/data/c/file"))
    ganesha.export("/data/c", f"{client.address}/24", exclusive=False)
    assert client.output(cat(ganesha, "/data/c/file")) == "data"

    assert ganesha.export("/data/c", state="absent")["changed"]
    assert not succeeds(client, cat(ganesha, "/data/c/file"))
    assert not ganesha.machine.shell.file(OURS).exists
    assert ganesha.export("/data/c", state="absent")["changed"] is False


def test_the_narrow_client_counts(ganesha: Storage, client: Storage) -> None:
    ganesha.export("/data/c", "*", words=["ro"])
    ganesha.export("/data/c", client.address, exclusive=False)
    client.output(write(ganesha, "/data/c/narrow"))
    ganesha.export("/data/c", state="absent")


@pytest.mark.parametrize(
    ("hosts", "said"),
    [
        (["nosuch.invalid"], "found nosuch.invalid, which does not resolve"),
        (["10.0.0.0/33"], "found '10.0.0.0/33'"),
        # What our check lets pass, and its scanner does not: a word of its language.
        (["yes"], "did not take the export|does not resolve"),
    ],
)
def test_bad_among_good(ganesha: Storage, client: Storage, hosts: list[str], said: str) -> None:
    ganesha.export("/data/c", client.address)
    before = ganesha.output(f"cat {OURS}")
    with pytest.raises(AssertionError, match=said):
        ganesha.export("/data/c", client.address, *hosts)
    assert client.output(cat(ganesha, "/data/c/file")) == "data"
    assert ganesha.output(f"cat {OURS}") == before


def test_an_update_that_fails(ganesha: Storage, client: Storage) -> None:
    ganesha.export("/data/c", client.address)
    before = ganesha.output(f"cat {OURS}")
    # A name that resolves here, and is a word of the server's language.
    ganesha.output("cp /etc/hosts /tmp/hosts; echo 192.0.2.7 yes >>/etc/hosts")
    try:
        with pytest.raises(AssertionError, match=r"did not take the export: .* The old one is back"):
            ganesha.export("/data/c", client.address, "yes", words=["ro"])
        with pytest.raises(AssertionError, match="did not take the export"):
            ganesha.export("/data/d", client.address, "yes")
    finally:
        ganesha.output("cat /tmp/hosts >/etc/hosts")
    assert ganesha.output(f"cat {OURS}") == before
    client.output(write(ganesha, "/data/c/still-writable"))
    assert not succeeds(client, cat(ganesha, "/data/d/file"))


def test_a_file_that_a_human_broke(ganesha: Storage, client: Storage) -> None:
    ganesha.write(THEIRS, "EXPORT { Export_Id = 1; Path = /data/steady")
    try:
        result = ganesha.export("/data/c", client.address, words=["ro"])
    finally:
        ganesha.write(THEIRS, STEADY)
    assert f"{THEIRS}: line 2: found the end of the file" in str(result["warnings"])
    assert not succeeds(client, write(ganesha, "/data/c/again"))
    assert client.output(cat(ganesha, "/data/c/file")) == "data"
