# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import grp
import json
import os
import pwd
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.aicluster.slurm.plugins.module_utils import (
    command,
    munge,
    noted,
    packages,
    people,
    slurmd,
    ssh,
)
from ansible_collections.aicluster.slurm.plugins.module_utils import host_survey as survey
from ansible_collections.aicluster.slurm.plugins.module_utils.command import NOT_THERE, Result
from ansible_collections.aicluster.slurm.plugins.module_utils.packages import Package
from ansible_collections.aicluster.slurm.plugins.modules import host_survey
from module_arguments import module_arguments

ACCOUNT: dict[str, Any] = {
    "user": "cluster",
    "uid": 10000,
    "group": "cluster",
    "gid": 10000,
    "home": "/data/home/cluster",
    "shell": "/bin/bash",
}
HARDWARE = (
    "NodeName=n1 CPUs=2 Boards=1 SocketsPerBoard=1 CoresPerSocket=2 ThreadsPerCore=1 RealMemory=7950\nUpTime=0-0\n"
)


# --- pure -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("127.0.0.1 localhost node1", ["node1"]),
        ("::1 node1 ip6-localhost", ["node1", "ip6-localhost"]),
        ("127.0.0.2\tnode1.example.org node1 # own", ["node1.example.org", "node1"]),
        # Ours to remove, see role common
        ("127.0.1.1 node1", []),
        ("10.0.0.1 node1", []),
        ("# 127.0.0.1 node1", []),
        ("127.0.0.1 localhost", []),
        ("nonsense node1", []),
        ("", []),
    ],
)
def test_loopback_names(line: str, found: list[str]) -> None:
    assert survey.loopback_names(f"127.0.0.1 localhost\n{line}\n") == found


# The files of Debian 12, Debian 13 before its release, Ubuntu 24.04, and of somebody else.
@pytest.mark.parametrize(
    ("os_release", "debian_version", "found"),
    [
        ('NAME="Debian GNU/Linux"\nVERSION_ID="12"\nID=debian\n', "12.12\n", ("Debian", "12.12", "12")),
        ('ID=debian\nVERSION_ID="13"\n', "trixie/sid\n", ("Debian", "13", "13")),
        ('NAME="Ubuntu"\nID=ubuntu\nVERSION_ID="24.04"\n', "trixie/sid\n", ("Ubuntu", "24.04", "24")),
        ('NAME="Rocky Linux"\nID="rocky"\nVERSION_ID="9.4"\n', "", ("Rocky Linux", "9.4", "9")),
        ("", "", ("unknown", "unknown", "unknown")),
    ],
)
def test_distribution(os_release: str, debian_version: str, found: tuple[str, ...]) -> None:
    assert tuple(survey.distribution(os_release, debian_version).values()) == found


def test_distribution_is_what_ansible_says() -> None:
    gathered = subprocess.run(
        ["ansible", "localhost", "-c", "local", "-m", "setup", "-a", "gather_subset=!all,!min,distribution"],
        env={**os.environ, "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.json", "ANSIBLE_LOAD_CALLBACK_PLUGINS": "1"},
        capture_output=True,
        check=True,
        text=True,
    )
    theirs = json.loads(gathered.stdout)["plays"][0]["tasks"][0]["hosts"]["localhost"]["ansible_facts"]
    ours = survey.distribution(survey.read_file("/etc/os-release"), survey.read_file("/etc/debian_version"))
    assert {key: theirs[f"ansible_{key}"] for key in ours} == ours


# As ip 6.1 prints it, without what is not read.
ADDRESSES = """[
{"ifname":"lo","flags":["LOOPBACK","UP"],"addr_info":[{"family":"inet","local":"127.0.0.1","prefixlen":8}]},
{"ifname":"eth0","flags":["BROADCAST","UP"],"addr_info":[{"family":"inet","local":"10.0.0.11"},{"family":"inet","local":"10.0.0.12"}]},
{"ifname":"eth1","flags":["BROADCAST"],"addr_info":[]},{}]"""
ROUTE = '[{"dst":"8.8.8.8","gateway":"10.0.0.1","dev":"eth0","prefsrc":"10.0.0.11","flags":[],"uid":0,"cache":[]}]'


def test_addresses() -> None:
    assert survey.ipv4_addresses(ADDRESSES) == ["10.0.0.11", "10.0.0.12"]
    assert survey.ipv4_addresses("") == []


def test_facts() -> None:
    answers = {"systemd-detect-virt": (0, "docker\n"), "ip": (0, "")}

    def run(argv: Sequence[str]) -> Result:
        rc, text = answers[argv[0]]
        text = {"address": ADDRESSES, "route": ROUTE}.get(argv[3], text) if argv[0] == "ip" else text
        return Result(list(argv), rc, text, "")

    found = survey.facts(run, lambda _path: "")
    assert found["all_ipv4_addresses"] == ["10.0.0.11", "10.0.0.12"]
    assert found["default_ipv4"] == {"address": "10.0.0.11"}
    assert found["virtualization_tech_guest"] == ["container", "docker"]
    # A machine without a way out, and without ip.
    nothing = survey.facts(lambda argv: Result(list(argv), 1, "", ""), lambda _path: "")
    assert (nothing["all_ipv4_addresses"], nothing["default_ipv4"]) == ([], {})
    assert nothing["virtualization_tech_guest"] == []


@pytest.mark.parametrize(
    ("package", "version"), [("22.05.8-4+deb12u3", "22.05"), ("1:24.11.5-4", "24.11"), ("", ""), ("x", "")]
)
def test_slurm_version(package: str, version: str) -> None:
    assert survey.slurm_version(package) == version


def test_compute_capabilities() -> None:
    text = "NVIDIA H100 80GB HBM3, 9.0\nNVIDIA H100 80GB HBM3, 9.0\nTesla C2075, 2.0\nunknown, [N/A]\n"
    assert survey.compute_capabilities(text) == {"NVIDIA H100 80GB HBM3": "9.0", "Tesla C2075": "2.0"}


@pytest.mark.parametrize(("text", "found"), [("MemTotal:       16384000 kB\nMemFree: 1 kB\n", 16000), ("", 0)])
def test_memory(text: str, found: int) -> None:
    assert survey.memory_mb(text) == found


@pytest.mark.parametrize(
    ("users", "groups", "found"),
    [
        ({}, {}, []),
        ({"cluster": 10000}, {"cluster": 10000}, []),
        ({"bob": 10000}, {"bob": 10000}, ["user bob with the id 10000", "group bob with the id 10000"]),
        ({"cluster": 1000}, {}, ["user cluster with the id 1000"]),
        ({"cluster": 10000}, {"cluster": 7}, ["group cluster with the id 7"]),
        ({"cluster": 7, "bob": 10000}, {}, ["user bob with the id 10000", "user cluster with the id 7"]),
    ],
)
def test_account_conflicts(users: dict[str, int], groups: dict[str, int], found: list[str]) -> None:
    assert survey.account_conflicts(survey.Account(**ACCOUNT), users, groups) == found


PASSWD = "root:x:0:0:root:/root:/bin/bash\ncluster:x:10000:10000::/data/home/cluster:/bin/bash\n"
GROUP = "root:x:0:\ncluster:x:10000:bob\n"


@pytest.mark.parametrize(
    ("passwd", "group", "shadow", "there"),
    [
        (PASSWD, GROUP, "cluster:!:20000::::::\n", True),
        (PASSWD, GROUP, "cluster:$y$j9T$hash:20000::::::\n", False),
        (PASSWD.replace("/data", ""), GROUP, "cluster:!:20000::::::\n", False),
        (PASSWD.replace("10000:10000", "10000:100"), GROUP, "cluster:!:20000::::::\n", False),
        (PASSWD, "root:x:0:\n", "cluster:!:20000::::::\n", False),
        ("", "", "", False),
    ],
)
def test_account_is_there(passwd: str, group: str, shadow: str, there: bool) -> None:
    assert survey.account_is_there(survey.Account(**ACCOUNT), passwd, group, shadow) is there


def test_mounts() -> None:
    mounts = "proc /proc proc rw 0 0\n/dev/sda /data ext4 rw 0 0\n10.0.0.2:/d\\040e /data nfs4 rw 0 0\n"
    assert survey.mount_at("/data", mounts) == ("10.0.0.2:/d e", "nfs4")
    assert survey.mount_at("/dat", mounts) == ("", "")


# --- looking ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "found"),
    [
        (
            {"/proc/filesystems": "nodev\tnfs4\nnodev\tnfsd\n", "max_user_namespaces": "100"},
            {"nfs": True, "nfsd": True, "user_namespaces": True},
        ),
        (
            {
                "dep": "kernel/fs/nfs/nfsv4.ko.xz: kernel/x.ko\n",
                "builtin": "kernel/fs/nfsd/nfsd.ko\n",
                "max_user_namespaces": "100",
                "clone": "0",
            },
            {"nfs": True, "nfsd": True, "user_namespaces": False},
        ),
        (
            {"max_user_namespaces": "0", "clone": "1"},
            {"nfs": False, "nfsd": False, "user_namespaces": False},
        ),
    ],
)
def test_kernel(files: dict[str, str], found: dict[str, bool]) -> None:
    abilities = survey.kernel_abilities(lambda path: next((files[k] for k in files if path.endswith(k)), ""))
    assert {key: abilities[key] for key in found} == found


@pytest.mark.parametrize(
    ("controllers", "found"),
    [("cpuset cpu io memory hugetlb pids\n", True), ("cpuset cpu io pids\n", False), ("", False)],
)
def test_cgroups_that_confine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, controllers: str, found: bool) -> None:
    monkeypatch.setattr(survey, "_CGROUPS", str(tmp_path))
    assert survey.kernel_abilities(survey.read_file)["cgroup_v2"] is False  # hybrid, or version 1
    (tmp_path / "cgroup.procs").touch()
    (tmp_path / "cgroup.controllers").write_text(controllers, encoding="utf-8")
    assert survey.kernel_abilities(survey.read_file)["cgroup_v2"] is found


def test_accounts_that_a_directory_only_tells_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    ada = pwd.struct_passwd(("ada", "x", 10000, 100, "", "/", ""))
    physics = grp.struct_group(("physics", "x", 10000, []))
    monkeypatch.setattr(pwd, "getpwuid", {10000: ada}.__getitem__)
    monkeypatch.setattr(grp, "getgrgid", {10000: physics}.__getitem__)
    users, groups = survey.users_and_groups(survey.Account(**ACCOUNT))
    assert (users["ada"], users["root"]) == (10000, 0)
    assert (groups["physics"], groups["root"]) == (10000, 0)


def test_gpus(tmp_path: Path) -> None:
    for name, vendor, kind in (
        ("0000:01:00.0", "0x10de", "0x030200"),
        ("0000:02:00.0", "0x10de", "0x030000"),
        ("0000:03:00.0", "0x1002", "0x120000"),
        ("0000:04:00.0", "0x10de", "0x040300"),
        # A card, and what is part of a processor
        ("0000:05:00.0", "0x8086", "0x038000"),
        ("0000:00:02.0", "0x8086", "0x030000"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "vendor").write_text(vendor + "\n")
        (tmp_path / name / "class").write_text(kind + "\n")
    found = survey.gpus(lambda argv: Result(list(argv), 0, "", ""), survey.read_file, str(tmp_path))
    assert found["counted"] == {"NVIDIA": 2, "AMD": 1, "Intel": 1}
    assert survey.gpus(lambda argv: Result(list(argv), 0, "", ""), survey.read_file, "/nowhere")["counted"] == {}


@pytest.mark.parametrize(
    ("vendor", "files", "driver"),
    [
        ("0x10de", ["nvidia0"], True),
        ("0x10de", ["nvidiactl"], False),
        ("0x1002", ["kfd"], True),
        ("0x1002", ["dri/renderD128"], False),
        ("0x8086", ["dri/renderD128"], True),
        ("0x8086", ["dri/card0"], False),
        ("0x8086", [], False),
    ],
)
def test_a_driver_has_device_files(tmp_path: Path, vendor: str, files: list[str], driver: bool) -> None:
    card, dev = tmp_path / "pci" / "0000:05:00.0", tmp_path / "dev"
    card.mkdir(parents=True)
    (card / "vendor").write_text(vendor)
    (card / "class").write_text("0x038000")
    dev.mkdir()
    for name in files:
        (dev / name).parent.mkdir(exist_ok=True)
        (dev / name).touch()
    found = survey.gpus(lambda argv: Result(list(argv), 0, "", ""), survey.read_file, str(card.parent), str(dev))
    assert found["driver"] is driver


def ran(*outputs: tuple[list[str], str]) -> Callable[[Sequence[str]], Result]:
    """A runner that answers exactly these commands, in their order."""
    left = list(outputs)

    def run(argv: Sequence[str]) -> Result:
        expected, text = left.pop(0)
        assert list(argv) == expected
        return Result(expected, 0, text, "")

    return run


def without_slurmd(argv: Sequence[str]) -> Result:
    return Result(list(argv), NOT_THERE, "", "")


def test_slurm() -> None:
    slurmctld = {"slurmctld": Package("hold", "installed", "22.05.8-4+deb12u3")}
    assert survey.slurm(without_slurmd, slurmctld) == {"release": "22.05", "slurmd": {}}
    assert survey.slurm(without_slurmd, {}) == {"release": "", "slurmd": {}}
    there = {"slurmd": Package("install", "installed", "24.11.5-4")}
    found = survey.slurm(ran((slurmd.HARDWARE, HARDWARE), (slurmd.VERSION, "slurm-wlm 24.11.5\n")), there)
    assert found["release"] == "24.11"
    assert found["slurmd"] == {"rc": 0, "stdout": HARDWARE, "stderr": "", "version": "24.11.5"}


def test_a_slurmd_that_cannot_tell_the_hardware() -> None:
    def broken(argv: Sequence[str]) -> Result:
        return Result(list(argv), 1, "", "slurmd: error: hwloc\n")

    assert slurmd.said(broken) == {"rc": 1, "stdout": "", "stderr": "slurmd: error: hwloc\n", "version": ""}


def test_what_does_not_answer_in_time_is_left_out() -> None:
    def fail() -> None:
        raise OSError

    begin = time.monotonic()
    found = survey.in_time({"one": lambda: 1, "late": lambda: time.sleep(5), "bad": fail}, 0.2)
    assert found == {"one": 1}
    assert time.monotonic() - begin < 3


def test_disk_size(tmp_path: Path) -> None:
    found = survey.disk_size(str(tmp_path))
    assert found["size_gb"] >= found["free_gb"] > 0
    assert survey.disk_size(str(tmp_path / "not" / "yet"))["size_gb"] == found["size_gb"]


def test_entries(tmp_path: Path) -> None:
    assert survey.entries(str(tmp_path / "none")) == []
    for name in "gfedcba":
        (tmp_path / name).touch()
    assert survey.entries(str(tmp_path)) == ["a", "b", "c", "d", "e"]


def test_jobs(tmp_path: Path) -> None:
    lines = {
        "12": "slurmstepd: [7.batch]\0node1\0",
        "13": "slurmstepd: [7.0]",
        "14": "slurmstepd: [31.extern]",
        "15": "/usr/sbin/slurmd\0-D\0",
        "16": "grep\0slurmstepd: [9.0]\0",
        "self": "slurmstepd: [8.0]",
    }
    for name, line in lines.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "cmdline").write_text(line)
    (tmp_path / "17").mkdir()  # it has ended meanwhile
    assert survey.jobs(survey.read_file, str(tmp_path)) == [7, 31]


def test_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(munge, "key_time", lambda: 1.5)

    def run(argv: Sequence[str]) -> Result:
        return Result(list(argv), 3, "inactive\n", "")

    assert survey.head(run, survey.read_file, str(tmp_path)) == {
        "running": False,
        "generation": 0,
        "store": {},
        "key_time": 1.5,
    }
    (tmp_path / "nodes.json").write_text('{"nodes": {"n1": {}}}\n')
    (tmp_path / "generation").write_text("7\n")
    found = survey.head(lambda argv: Result(list(argv), 0, "active\n", ""), survey.read_file, str(tmp_path))
    assert found == {"running": True, "generation": 7, "store": {"nodes": {"n1": {}}}, "key_time": 1.5}
    (tmp_path / "nodes.json").write_text("no JSON")
    with pytest.raises(
        ValueError, match=r"nodes\.json: found no JSON \(Expecting value.*accepted: what a run of these"
    ):
        survey.head(run, survey.read_file, str(tmp_path))


# --- the module -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("check", [False, True])
def test_module(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, check: bool
) -> None:
    def run(argv: Sequence[str]) -> Result:
        assert argv[0].startswith("/"), "found where it is installed"
        return Result(list(argv), 1, "", "")

    monkeypatch.setattr(command, "module_runner", lambda _module: run)
    there = {"enroot": Package("install", "installed", "4.1.2-1")} if check else {}
    monkeypatch.setattr(packages, "parse", lambda _text: there)
    monkeypatch.setattr(survey, "CLOUD_HOSTS", str(tmp_path / ("file" if check else "none")))
    monkeypatch.setattr(noted, "FOLDER", str(tmp_path / "noted"))
    monkeypatch.setattr(people, "RECORD", str(tmp_path / "file"))
    monkeypatch.setattr(survey, "LOCALE", str(tmp_path / "locale"))
    monkeypatch.setattr(ssh, "facts", lambda _read, owner: {"key_of": owner})
    monkeypatch.setattr(munge, "key_time", lambda: 1.5)
    (tmp_path / "locale").symlink_to("file" if check else "none")
    (tmp_path / "file").write_text(f"{ACCOUNT['user']} 10000\n" + "ada 20001\n" * check)
    arguments: dict[str, Any] = {
        "_ansible_check_mode": check,
        "paths": [str(tmp_path)],
        "share": str(tmp_path),
        "state_path": str(tmp_path) if check else "",
        "account": ACCOUNT,
        "packages": {"needed": ["munge"], "perhaps": ["enroot", "pyxis"], "strangers": ["slurm-smd*"]},
    }
    before = time.time()
    with module_arguments(arguments), pytest.raises(SystemExit) as end:
        host_survey.main()
    result = json.loads(capsys.readouterr().out)
    assert end.value.code == 0
    assert result["changed"] is False
    assert result["ansible_facts"]["distribution"] == "Debian"
    assert result["ansible_facts"]["key_of"] == ACCOUNT["uid"]
    found = result["survey"]
    assert (found["people"], found["cloud_init"]) == (check, check)
    assert set(found) == {
        *("account", "architecture", "cloud_init", "conflicts", "cpus", "disks", "gpus", "groups", "head"),
        *("jobs", "kernel", "locale", "login", "loopback", "memory_mb", "munge", "noted", "packages", "people"),
        *("python", "share", "slurm", "sshd_drop_ins", "sshd_earlier", "times", "uid"),
    }
    began, ended = found["times"]
    assert before <= began <= ended <= time.time()
    assert found["account"] is False
    assert found["head"] == ({"running": False, "generation": 0, "store": {}, "key_time": 1.5} if check else {})
    assert found["munge"] == ""
    # Debian's link leads nowhere before there is a locale.
    assert found["locale"] == str(tmp_path / ("file" if check else "none"))
    # What may be needed is told where it is there, and is not missed where it is not.
    assert found["packages"] == {"there": list(there), "lacking": ["munge"], "strangers": []}
    assert found["disks"][str(tmp_path)]["size_gb"] > 0
    assert found["share"] == {"source": "", "fstype": "", "hides": ["file", "locale"]}
