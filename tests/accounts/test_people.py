# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""People come, change and go. The tests of this file build on each other."""

from __future__ import annotations

from typing import Any

import pytest

from ..e2e.cluster import wait_for
from ..e2e.play import ROOT, SITE
from .conftest import KEYS, Lab, Run

PASSWORD = "quite-a-Secret-7"
PROXY = "http://proxy.invalid:3128"


def people(lab: Lab, **changes: dict[str, Any]) -> dict[str, Any]:
    """The variables: four people, some with other fields than at first."""
    users: dict[str, dict[str, Any]] = {
        "ada": {"uid": 20001, "group": "lab", "comment": "Ada L", "authorized_keys": [lab.keys["ada"]]},
        "bob": {
            "uid": 20002,
            "authorized_keys": [lab.keys["bob"]],
            "authorized_keys_exclusive": False,
            "password": PASSWORD,
        },
        "eve": {"uid": 20003, "home": "/home/eve", "authorized_keys": [lab.keys["eve"]]},
        "fedml": {"uid": 20004, "hosts": ["head"]},
    }
    return {
        "common_users": [{"name": name, **user, **changes.get(name, {})} for name, user in users.items()],
        "cluster_proxy": PROXY,
        "cluster_no_proxy": ["10.99.0.0/16"],
    }


@pytest.fixture(scope="module")
def first(lab: Lab) -> Run:
    """The run that brings them, while every list of processes is kept."""
    # The key of munge comes to the node in this run.
    lab.host("node1").output(
        "head -c 1024 /dev/urandom > /tmp/key && install -o munge -g munge -m 0400 /tmp/key /etc/munge/munge.key"
        " && rm /tmp/key && systemctl restart munge"
    )
    with lab.sampled():
        run = lab.play(people(lab), "-vvv", "--diff")
    assert run.rc == 0, run.said
    return run


def test_no_secret_is_told(lab: Lab, first: Run) -> None:
    assert "user ada is not there" in first.said
    assert lab.told(PASSWORD, first) == []
    key = lab.cluster.head.output("base64 --wrap=0 /etc/munge/munge.key")
    assert lab.host("node1").output("base64 --wrap=0 /etc/munge/munge.key") == key
    assert key[:60] not in first.said
    for private in ("ada", "bob"):
        secret = lab.cluster.head.output(f"sed -n 2p /root/keys/{private}")
        assert secret not in first.said


@pytest.mark.usefixtures("first")
def test_they_are_the_same_everywhere(lab: Lab) -> None:
    for name, expected in (("ada", "uid=20001(ada) gid=20000(lab)"), ("bob", "uid=20002(bob) gid=10000(cluster)")):
        assert {machine.output(f"id {name}").partition(" groups")[0] for machine in lab.cluster.machines} == {expected}
    there = {machine.name: machine.shell.run("getent passwd fedml").rc for machine in lab.cluster.machines}
    assert there == {"head0": 0, "node1": 2, "nfs0": 2}
    # Homes on the share are made by its server, others by each host.
    assert lab.host("node1").output("stat -c '%U %G %a' /data/home/ada") == "ada lab 700"
    assert lab.host("node1").output("stat -c '%U %a' /home/eve") == "eve 700"


@pytest.mark.usefixtures("first")
def test_they_come_in_by_their_keys(lab: Lab) -> None:
    assert lab.login("ada", "nfs0", "ada") == (0, "ada")
    assert lab.login("ada", "nfs0", "bob")[0] == 255
    # In a home that the node shares with everybody, a key of one's own counts only where that was said.
    for user in ("ada", "bob"):
        home = f"/data/home/{user}"
        lab.cluster.head.output(
            f"install -d -o {user} -m 0700 {home}/.ssh && echo '{lab.keys['own']}' > {home}/.ssh/authorized_keys"
            f" && chown {user} {home}/.ssh/authorized_keys"
        )
    assert lab.login("ada", "nfs0", "own")[0] == 255
    assert lab.login("bob", "nfs0", "own") == (0, "bob")
    assert lab.login("bob", "nfs0", "bob") == (0, "bob")


@pytest.mark.usefixtures("first")
def test_root_without_a_password_for_the_group_that_was_named(lab: Lab) -> None:
    assert lab.login("ada", "nfs0", "ada", "sudo", "-n", "whoami") == (0, "root")
    rc, said = lab.login("bob", "nfs0", "bob", "sudo", "-n", "whoami")
    assert (rc, "password is required" in said) == (1, True)
    assert lab.host("node1").output("stat -c %a /etc/sudoers.d/90-aicluster") == "440"


@pytest.mark.usefixtures("first")
def test_a_job_from_the_file_to_the_result(lab: Lab) -> None:
    """As somebody works from outside: in by scp, a job, and out by scp."""
    head = lab.cluster.head
    head.output("printf '#!/bin/sh\nhostname; cat input\n' > /root/job.sh && echo 42 > /root/input")
    scp = f"scp -q -F none -o BatchMode=yes -o IdentitiesOnly=yes -i {KEYS}/ada"
    head.output(f"{scp} /root/job.sh /root/input ada@head0:")
    rc, job = lab.login("ada", "head0", "ada", "sbatch --parsable --output=result job.sh")
    assert rc == 0, job
    state = f"scontrol show job {job} | grep -o JobState=.*"
    ended = wait_for(lambda: head.output(state).split()[0], lambda text: text == "JobState=COMPLETED", 60)
    assert ended == "JobState=COMPLETED"
    head.output(f"{scp} ada@head0:result /root/result")
    assert head.output("cat /root/result").split() == ["node1", "42"]


@pytest.mark.usefixtures("first")
def test_a_node_refuses_who_has_no_job_there(lab: Lab) -> None:
    rc, said = lab.login("ada", "node1", "ada")
    assert rc != 0
    assert "pam_slurm_adopt: you have no active jobs on this node" in said


@pytest.mark.usefixtures("first")
def test_adoption_is_switched_off_and_on_while_the_node_works(lab: Lab) -> None:
    node = lab.host("node1")
    off = lab.play({**people(lab), "nodes_adopt": False}, "--limit", "node1", playbook=SITE)
    assert off.rc == 0, off.said
    assert lab.login("ada", "node1", "ada") == (0, "ada")
    stack = node.output("cat /etc/pam.d/sshd")
    assert "@include common-session" in stack.splitlines()
    assert "aicluster" not in stack
    on = lab.play(people(lab), "--limit", "node1", playbook=SITE)
    assert on.rc == 0, on.said
    assert "no active jobs on this node" in lab.login("ada", "node1", "ada")[1]


def test_pam_of_a_node_has_what_adoption_needs(lab: Lab) -> None:
    node, head = lab.host("node1"), lab.cluster.head
    stack = node.output("cat /etc/pam.d/sshd").splitlines()
    assert [line for line in stack if line.startswith(("account", "-account"))][-1].split()[1:3] == [
        "required",
        "pam_slurm_adopt.so",
    ]
    assert "@include common-session" not in stack
    assert "pam_systemd" not in node.output("cat /etc/pam.d/aicluster-session | grep -v '^#'")
    assert "aicluster" not in head.output("cat /etc/pam.d/sshd")
    # The stack as a whole works: the cluster's user is exempt.
    assert head.output(f"cd / && runuser -u {lab.cluster.user} -- ssh -o BatchMode=yes node1 hostname") == "node1"


@pytest.mark.usefixtures("first")
def test_the_password_is_the_one(lab: Lab) -> None:
    compare = """perl -e 'chomp($_ = <STDIN>); print crypt($ARGV[0], $_) eq $_ ? "same" : "another"'"""
    for machine in lab.cluster.machines:
        assert machine.output(f"getent shadow bob | cut -d: -f2 | {compare} {PASSWORD}") == "same"


@pytest.mark.usefixtures("first")
def test_language_time_and_proxy(lab: Lab) -> None:
    for machine in lab.cluster.machines:
        assert machine.output("date +%Z") == "JST"
        assert machine.output("grep -c ^no_proxy= /etc/environment") == "1"
        listed = machine.output("sed -n 's/^no_proxy=//p' /etc/environment").split(",")
        assert len(set(listed)) == len(listed)
        address = machine.output("getent hosts node1").split()[0]
        assert {"localhost", "127.0.0.1", "node1", "head0", "nfs0", address, "10.99.0.0/16"} <= set(listed)
        assert machine.output("apt-config dump Acquire::http::Proxy").split()[1] == f'"{PROXY}";'
    said = lab.login("ada", "nfs0", "ada", "sh -c 'echo $HTTP_PROXY $LANG $LC_TIME; locale'")[1]
    assert said.startswith(f"{PROXY} C.UTF-8 en_GB.UTF-8")
    assert "Cannot set" not in said


@pytest.mark.usefixtures("first")
def test_a_second_run_changes_nothing(lab: Lab) -> None:
    run = lab.play(people(lab))
    assert (run.rc, run.changed) == (0, 0), run.said


@pytest.mark.usefixtures("first")
def test_a_number_that_owns_files_stays(lab: Lab) -> None:
    run = lab.play(people(lab, ada={"uid": 20011}))
    assert run.rc == 2
    assert "user ada: found /data/home/ada" in run.said
    assert "with the number 20001; accepted: that number, or nothing that it owns" in run.said
    assert lab.host("node1").output("id -u ada") == "20001"


@pytest.mark.usefixtures("first")
@pytest.mark.parametrize("password", ["short1", "12345678"])
def test_a_weak_password_is_refused_before_anything_changes(lab: Lab, password: str) -> None:
    variables = {"common_admin_user": "boss", "common_admin_password": password, "preflight_full": False}
    run = lab.play(variables, playbook=str(ROOT / "playbooks" / "preflight.yml"))
    assert run.rc == 2
    assert "boss: password: found" in run.said
    assert f"found {password}" not in run.said


@pytest.mark.usefixtures("first")
def test_a_home_is_its_owners_once_it_is_made(lab: Lab) -> None:
    head = lab.cluster.head
    head.output("chmod 0750 /data/home/ada && touch /data/home/ada/thesis && chown ada:lab /data/home/ada/thesis")
    run = lab.play(people(lab, ada={"group": "cluster"}))
    assert run.rc == 0, run.said
    assert head.output("id -gn ada") == "cluster"
    # What is on the share may not be changed by root of every host, so nobody tries.
    assert head.output("stat -c '%G %a' /data/home/ada") == "lab 750"
    assert head.output("stat -c %G /data/home/ada/thesis") == "lab"
    head.output("chmod 0700 /data/home/ada")
    back = lab.play(people(lab))
    assert back.rc == 0, back.said
    assert head.output("id -gn ada") == "lab"


@pytest.mark.usefixtures("first")
def test_who_is_new_on_one_host_has_a_home_at_once(lab: Lab) -> None:
    variables = people(lab)
    variables["common_users"].append({"name": "newton", "uid": 20005, "hosts": ["head"]})
    run = lab.play(variables, "--limit", "head0")
    assert run.rc == 0, run.said
    assert lab.host("nfs0").output("stat -c '%u %a' /data/home/newton") == "20005 700"
    variables["common_users"][-1]["state"] = "absent"
    gone = lab.play(variables, "--limit", "head0")
    assert gone.rc == 0, gone.said


@pytest.mark.usefixtures("first")
def test_a_process_of_somebody_who_goes_holds_up_nobody_else(lab: Lab) -> None:
    nfs = lab.host("nfs0")
    nfs.output("runuser -u eve -- setsid sleep 600 >/dev/null 2>&1 &")
    run = lab.play(people(lab, eve={"state": "absent"}, ada={"comment": "Ada Lovelace"}))
    assert run.rc == 0, run.said
    said = " ".join(run.said.split())
    assert "user eve has the processes " in said
    assert "(sleep) on nfs0, so the account is locked" in said
    for machine in lab.cluster.machines:
        assert machine.output("getent passwd ada | cut -d: -f5") == "Ada Lovelace"
        assert machine.shell.run("getent passwd eve").rc == (0 if machine.name == "nfs0" else 2)
        assert machine.shell.run("test -e /etc/ssh/authorized_keys.d/eve").rc == 1
    assert nfs.output("getent shadow eve | cut -d: -f8") == "1"
    nfs.output("pkill -u eve sleep")
    again = lab.play(people(lab))
    assert again.rc == 0, again.said


@pytest.mark.usefixtures("first")
def test_who_leaves_the_list_is_named_and_no_other_key_lets_them_in(lab: Lab) -> None:
    variables = people(lab)
    variables["common_users"] = [each for each in variables["common_users"] if each["name"] != "ada"]
    run = lab.play(variables)
    assert (run.rc, "user ada was made here and is not in the list any more" in run.said) == (0, True), run.said
    assert lab.login("ada", "nfs0", "ada") == (0, "ada")
    assert lab.login("ada", "nfs0", "own")[0] == 255
    back = lab.play(people(lab))
    assert back.rc == 0, back.said


@pytest.mark.usefixtures("first")
def test_groups_of_the_system_are_refused_before_anything_changes(lab: Lab) -> None:
    variables = people(lab) | {
        "common_groups": [{"name": "sudo", "gid": 27, "state": "absent"}],
        "preflight_full": False,
        "preflight_levels": {"cpu": "fail"},
        "preflight_minima": {"nodes": {"cpus": 1000}},
    }
    run = lab.play(variables, playbook=str(ROOT / "playbooks" / "preflight.yml"))
    assert run.rc == 2
    # In one report with what else is wrong.
    assert "nfs0, head0, node1: common_groups: sudo: gid: found 27; accepted: 1000 or more" in run.said
    assert "node1: CPUs: found" in run.said
    assert "node1: common_users: ada: found the group lab, which is not there" not in run.said


@pytest.fixture(scope="module")
def changed(lab: Lab, first: Run) -> Run:
    """Ada has another key, bob is locked while his job runs, eve is gone."""
    assert first.rc == 0
    assert lab.login("bob", "head0", "bob", "cd /tmp && sbatch -o /dev/null --wrap 'sleep 600'")[0] == 0
    wait_for(lambda: lab.cluster.head.output("squeue -h -u bob -o %T"), lambda text: text == "RUNNING")
    run = lab.play(
        people(lab, ada={"authorized_keys": [lab.keys["ada-new"]]}, bob={"state": "locked"}, eve={"state": "absent"})
    )
    assert run.rc == 0, run.said
    return run


@pytest.mark.usefixtures("changed")
def test_a_removed_key_is_refused_at_the_next_login(lab: Lab) -> None:
    rc, said = lab.login("ada", "nfs0", "ada")
    assert rc == 255
    assert "Permission denied" in said
    assert lab.login("ada", "nfs0", "ada-new") == (0, "ada")


def test_who_is_locked_stays_out_and_the_jobs_are_named(lab: Lab, changed: Run) -> None:
    assert "of bob, who is no longer let in, is RUNNING node1" in changed.said
    for key in ("bob", "own"):
        assert lab.login("bob", "nfs0", key)[0] == 255
    assert lab.cluster.head.output("squeue -h -u bob -o %T") == "RUNNING"
    assert lab.host("node1").output("stat -c %U /data/home/bob") == "bob"
    lab.cluster.head.output("scancel -u bob")


@pytest.mark.usefixtures("changed")
def test_who_is_gone_leaves_the_home(lab: Lab) -> None:
    for machine in lab.cluster.machines:
        assert machine.shell.run("getent passwd eve").rc == 2
        assert machine.output("stat -c %u /home/eve") == "20003"
    assert lab.login("eve", "nfs0", "eve")[0] == 255


@pytest.mark.usefixtures("changed")
def test_who_was_locked_comes_back_with_the_password(lab: Lab) -> None:
    run = lab.play(people(lab, ada={"authorized_keys": [lab.keys["ada-new"]]}, eve={"state": "absent"}))
    assert run.rc == 0, run.said
    assert lab.login("bob", "nfs0", "bob") == (0, "bob")
    assert "another password" not in run.said
