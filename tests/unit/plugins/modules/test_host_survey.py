# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.aicluster.slurm.plugins.module_utils import host_survey as survey
from ansible_collections.aicluster.slurm.plugins.module_utils.command import Result
from ansible_collections.aicluster.slurm.plugins.modules import host_survey

ACCOUNT = {"user": "cluster", "uid": 10000, "group": "cluster", "gid": 10000}
DPKG = "slurmctld installed 22.05.8-4+deb12u3\nslurmd not-installed \nslurm-client config-files 22.05.8-4+deb12u3\n"
POLICY = "slurm-client:\n  Installed: (none)\n  Candidate: 24.11.5-4\n  Version table:\n     24.11.5-4 500\n"


# --- pure -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("127.0.0.1 localhost node1", ["node1"]),
        ("::1 node1 ip6-localhost", ["node1"]),
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
    names = ["node1.example.org", "node1", "localhost"]
    assert survey.loopback_names(f"127.0.0.1 localhost\n{line}\n", names) == found


def test_installed_packages() -> None:
    assert survey.installed_packages(DPKG) == {"slurmctld": "22.05.8-4+deb12u3"}
    assert survey.installed_packages("") == {}


@pytest.mark.parametrize(
    ("text", "version"), [(POLICY, "24.11.5-4"), ("slurm-client:\n  Candidate: (none)\n", ""), ("", "")]
)
def test_candidate_version(text: str, version: str) -> None:
    assert survey.candidate_version(text) == version


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
    assert survey.account_conflicts(survey.Account(**ACCOUNT), users, groups) == found  # type: ignore[arg-type]


def test_mounts() -> None:
    mounts = "proc /proc proc rw 0 0\n10.0.0.2:/data /data nfs4 rw 0 0\n"
    assert survey.is_mounted("/data", mounts)
    assert not survey.is_mounted("/dat", mounts)


# --- looking ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "found"),
    [
        (
            {"/proc/filesystems": "nodev\tcgroup2\nnodev\tnfs4\nnodev\tnfsd\n", "max_user_namespaces": "100"},
            {"nfs": True, "nfsd": True, "cgroup_v2": True, "user_namespaces": True},
        ),
        (
            {
                "dep": "kernel/fs/nfs/nfs.ko: kernel/x.ko\n",
                "builtin": "kernel/fs/nfsd/nfsd.ko\n",
                "max_user_namespaces": "100",
                "clone": "0",
            },
            {"nfs": True, "nfsd": True, "cgroup_v2": False, "user_namespaces": False},
        ),
        (
            {"max_user_namespaces": "0", "clone": "1"},
            {"nfs": False, "nfsd": False, "cgroup_v2": False, "user_namespaces": False},
        ),
    ],
)
def test_kernel(files: dict[str, str], found: dict[str, bool]) -> None:
    assert survey.kernel_abilities(lambda path: next((files[k] for k in files if path.endswith(k)), "")) == found


def test_gpus(tmp_path: Path) -> None:
    for name, vendor, kind in (
        ("0000:01:00.0", "0x10de", "0x030200"),
        ("0000:02:00.0", "0x10de", "0x030000"),
        ("0000:03:00.0", "0x1002", "0x120000"),
        ("0000:04:00.0", "0x10de", "0x040300"),
        ("0000:05:00.0", "0x8086", "0x030000"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "vendor").write_text(vendor + "\n")
        (tmp_path / name / "class").write_text(kind + "\n")
    found = survey.gpus(lambda argv: Result(list(argv), 0, "", ""), survey.read_file, str(tmp_path))
    assert found["counted"] == {"NVIDIA": 2, "AMD": 1}
    assert survey.gpus(lambda argv: Result(list(argv), 0, "", ""), survey.read_file, "/nowhere")["counted"] == {}


def ran(*outputs: tuple[list[str], str]) -> Callable[[Sequence[str]], Result]:
    """A runner that answers exactly these commands, in their order."""
    left = list(outputs)

    def run(argv: Sequence[str]) -> Result:
        expected, text = left.pop(0)
        assert list(argv) == expected
        return Result(expected, 0, text, "")

    return run


def test_versions() -> None:
    asked = [*survey.DPKG, "slurmctld", "slurmd", "slurm-client"]
    assert survey.slurm_versions(ran((asked, DPKG)), True) == "22.05"
    assert survey.slurm_versions(ran((asked, ""), (survey.POLICY, POLICY)), True) == "24.11"
    assert survey.slurm_versions(ran((asked, "")), False) == ""


def test_packages() -> None:
    text = "slurm-smd installed 25.05.1-1\nslurm-smd-slurmd config-files 25.05\n"
    assert survey.matching_packages(ran(([*survey.DPKG, "slurm-smd*"], text)), ["slurm-smd*"]) == ["slurm-smd"]
    assert survey.matching_packages(ran(), []) == []


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


def test_resolver() -> None:
    assert survey.addresses("localhost") == ["127.0.0.1"]
    assert "localhost" in survey.names("127.0.0.1")
    with pytest.raises(OSError, match=r".*"):
        survey.addresses("no.such.host.invalid")


def test_ports() -> None:
    with socket.socket() as listening, socket.socket() as closed:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        closed.bind(("127.0.0.1", 0))  # nobody listens: it refuses
        ports = [each.getsockname()[1] for each in (listening, closed)]
        targets = [survey.Target("127.0.0.1", port) for port in ports]
        assert survey.unreachable(targets, 2) == []
        # A network that has no way, and one for examples that nobody answers in (RFC 5737)
        lost = survey.unreachable([*targets, survey.Target("255.255.255.255", 22)], 0.5)
    assert [text.split(" (")[0] for text in lost] == ["255.255.255.255 port 22"]


# --- the module -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("check", [False, True])
def test_module(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, check: bool
) -> None:
    for name in ("dpkg-query", "apt-cache"):
        (tmp_path / name).touch(mode=0o755)
    steps = [
        ([*survey.DPKG, "slurmctld", "slurmd", "slurm-client"], ""),
        (survey.POLICY, POLICY),
        ([*survey.DPKG, "slurm-smd*"], ""),
    ]
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(host_survey, "module_runner", lambda _module: ran(*steps))
    arguments: dict[str, Any] = {
        "_ansible_check_mode": check,
        "sent": time.time() - 100,
        "paths": [str(tmp_path)],
        "share": str(tmp_path),
        "account": ACCOUNT,
        "packages": ["slurm-smd*"],
        "resolve": {"localhost": "127.0.0.1"},
        "connect": [{"host": "255.255.255.255", "port": 22}],
        "full": True,
    }
    with patch_module_args(arguments), pytest.raises(SystemExit) as end:
        host_survey.main()
    result = json.loads(capsys.readouterr().out)
    assert end.value.code == 0
    assert result["changed"] is False
    found = result["survey"]
    assert set(found) == {
        *(
            "addresses",
            "ahead",
            "architecture",
            "conflicts",
            "cpus",
            "disks",
            "gpus",
            "kernel",
            "loopback",
            "memory_mb",
        ),
        *("names", "packages", "python", "share", "slurm", "uid", "unreachable"),
    }
    assert 100 <= found["ahead"] < 130
    assert found["slurm"] == "24.11"
    assert found["disks"][str(tmp_path)]["size_gb"] > 0
    assert found["share"] == {"mounted": False, "hides": ["apt-cache", "dpkg-query"]}
    assert found["addresses"] == {"localhost": ["127.0.0.1"]}
    assert len(found["unreachable"]) == 1
