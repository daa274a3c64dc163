# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who reaches whom, by real sshd, as the cluster's user and without asking for anything."""

from __future__ import annotations

from .conftest import Lab

ALLOWED = {
    ("head0", "head0"),
    ("head0", "node1"),
    ("head0", "nfs0"),
    ("node1", "node1"),
    ("node1", "nfs0"),
    ("nfs0", "nfs0"),
    ("nfs0", "head0"),
    ("nfs0", "node1"),
}


def reach(lab: Lab, origin: str, target: str) -> tuple[int, str]:
    """The exit code and what was said."""
    done = lab.host(origin).shell.run(
        f"cd / && runuser -u {lab.cluster.user} -- ssh -o BatchMode=yes -o ConnectTimeout=20 {target} hostname"
    )
    return done.rc, (done.stdout + done.stderr).strip()


def test_pairs(lab: Lab) -> None:
    names = [machine.name for machine in lab.cluster.machines]
    found = {(origin, target): reach(lab, origin, target) for origin in names for target in names}
    assert {pair: said for pair, said in found.items() if pair in ALLOWED} == {
        (origin, target): (0, target) for origin, target in ALLOWED
    }
    refused = {pair: said for pair, said in found.items() if pair not in ALLOWED}
    assert list(refused) == [("node1", "head0")]
    rc, said = refused["node1", "head0"]
    # The host is known: it is the key that is refused.
    assert rc == 255
    assert "Permission denied" in said


def test_each_host_has_a_key_of_its_own_off_the_share(lab: Lab) -> None:
    found = {}
    for machine in lab.cluster.machines:
        path = f"/etc/ssh/cluster/key_{machine.name}"
        assert machine.output(f"stat -c '%U %a' {path}") == f"{lab.cluster.user} 400"
        assert machine.output(f"findmnt -no TARGET -T {path}") == "/"
        found[machine.name] = machine.output(f"ssh-keygen -lf {path}.pub").split()[1]
    assert len(set(found.values())) == len(found)
    admitted = lab.host("node1").output(f"cat /etc/ssh/authorized_keys.d/{lab.cluster.user}")
    assert sorted(line.split()[-1] for line in admitted.splitlines() if line.startswith("from=")) == [
        "key_head0",
        "key_nfs0",
        "key_node1",
    ]


def test_a_key_is_of_no_use_elsewhere(lab: Lab) -> None:
    """The head's key, carried to the node, lets nobody in to the storage server."""
    head, node = lab.host("head0"), lab.host("node1")
    private = head.output("cat /etc/ssh/cluster/key_head0")
    node.output(f"install -m 0600 /dev/null /root/stolen && echo '{private}' > /root/stolen")
    done = node.shell.run(
        f"ssh -F none -i /root/stolen -o IdentitiesOnly=yes -o BatchMode=yes {lab.cluster.user}@nfs0 id"
    )
    node.output("rm /root/stolen")
    assert done.rc == 255
    assert "Permission denied" in done.stderr


def test_no_password_lets_anybody_in(lab: Lab) -> None:
    done = lab.cluster.head.shell.run(
        "ssh -F none -o PubkeyAuthentication=no -o PreferredAuthentications=password,keyboard-interactive"
        " -o NumberOfPasswordPrompts=0 root@node1 id"
    )
    assert done.rc == 255
    assert "Permission denied (publickey)" in done.stderr


def test_every_pair_on_demand_and_lines_of_hosts_that_are_away_stay(lab: Lab) -> None:
    files = "/etc/ssh/ssh_known_hosts /etc/ssh/authorized_keys.d/cluster"
    node, head = lab.host("node1"), lab.host("head0")
    before = node.output(f"cat {files}")
    # Of the storage server nothing is known in this run but what it was asked as the server of the share.
    limited = lab.play({"common_ssh_mesh": "all"}, "--limit", "node1,head0")
    assert limited.rc == 0, limited.said
    assert reach(lab, "node1", "head0") == (0, "head0")
    assert node.output(f"cat {files}") == before
    # The node is away: what the head knows of it, and lets it do, stays.
    known = head.output(f"cat {files}")
    alone = lab.play({"common_ssh_mesh": "all"}, "--limit", "head0")
    assert alone.rc == 0, alone.said
    assert head.output(f"cat {files}") == known
    assert "key_node1" in known
    back = lab.play({})
    assert back.rc == 0, back.said
    assert reach(lab, "node1", "head0")[0] == 255
    assert "key_node1" not in head.output(f"cat {files}")


def test_keys_are_made_anew_on_demand(lab: Lab) -> None:
    def fingerprints() -> dict[str, str]:
        return {
            machine.name: machine.output(f"ssh-keygen -lf /etc/ssh/cluster/key_{machine.name}.pub").split()[1]
            for machine in lab.cluster.machines
        }

    before = fingerprints()
    admitted = lab.host("node1").output(f"cat /etc/ssh/authorized_keys.d/{lab.cluster.user}")
    preview = lab.play({"common_ssh_new_keys": True}, "--check")
    assert (preview.rc, fingerprints()) == (0, before), preview.printed
    run = lab.play({"common_ssh_new_keys": True})
    assert run.rc == 0, run.printed
    after = fingerprints()
    assert not set(before.values()) & set(after.values())
    now = lab.host("node1").output(f"cat /etc/ssh/authorized_keys.d/{lab.cluster.user}")
    assert len(now.splitlines()) == len(admitted.splitlines())
    test_pairs(lab)
    again = lab.play({})
    assert (again.rc, again.changed, fingerprints()) == (0, 0, after), again.printed
    # The log of a run ends with its recap.
    assert "PLAY RECAP" in "".join(again.logged.splitlines(keepends=True)[-len(lab.cluster.machines) - 3 :])
