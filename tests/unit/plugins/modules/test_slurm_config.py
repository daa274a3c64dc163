# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.aicluster.slurm.plugins.module_utils.command import Result
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_conf import HEADER, ConfigError
from ansible_collections.aicluster.slurm.plugins.modules.slurm_config import RefusedError, run_module

OPTIONS: dict[str, Any] = {
    "config": {"ClusterName": "lab", "SlurmctldHost": ["head(10.0.0.1)"]},
    "nodes": [{"NodeName": "n1", "NodeAddr": "10.0.0.11", "CPUs": 4}, {"NodeName": "n2", "NodeAddr": "10.0.0.12"}],
    "partitions": {"main": {"Nodes": "ALL", "MaxTime": "60"}},
    "nodesets": {},
    "cgroup": {"ConstrainCores": True},
    "state": "present",
    "adopt": "fail",
    "validate": False,
    "rollback": True,
    "max_jobs_at_risk": 0,
    "timeout": 0,
}
SHORTER: dict[str, Any] = {"partitions": {"main": {"Nodes": "ALL", "MaxTime": "30"}}}
ONE_NODE: dict[str, Any] = {"nodes": OPTIONS["nodes"][:1]}
FOREIGN = """\
ClusterName=lab
SlurmctldHost=head(10.0.0.1)
MailProg=/bin/mail
NodeName=n[1-2]
PartitionName=main Nodes=ALL
"""


def did(words: str, rc: int = 0, stdout: str = "", stderr: str = "") -> Result:
    """A command that is expected, by the words it begins with, and how it ends."""
    return Result(words.split(), rc, stdout, stderr)


def nodes(**states: str) -> Result:
    """Each node's state as the JSON of 22.05 has it."""
    common: dict[str, Any] = {
        "reason": "", "reason_set_by_user": "slurm", "reason_changed_at": 0, "weight": 1, "features": "",
        "active_features": "", "comment": "", "extra": "", "boot_time": 1, "gres": "", "slurmd_version": "22.05.8",
    }  # fmt: skip
    records = [
        {**common, "name": name, "state": text.split("+")[0].lower(), "state_flags": text.split("+")[1:]}
        for name, text in states.items()
    ]
    return did("sinfo --all --json", stdout=json.dumps({"nodes": records}))


VERSION = did("slurmctld -V", stdout="slurm-wlm 22.05.8\n")
ACTIVE, INACTIVE = did("systemctl is-active --quiet slurmctld"), did("systemctl is-active --quiet slurmctld", rc=3)
MATCH = did("scontrol show config", stdout="HASH_VAL                = Match\n")
DIFFERENT = did("scontrol show config", stdout="HASH_VAL                = Different Ours=0x1 Slurmctld=0x2\n")
QUEUE = did("squeue --noheader")
JOBS = did("squeue --noheader", stdout="5|ann|main|n2|N/A\n")
LIVE = (VERSION, ACTIVE, MATCH, QUEUE)
PING, SILENT = did("scontrol ping"), did("scontrol ping", rc=1)
RESTART, RECONFIGURE = did("systemctl restart slurmctld"), did("scontrol reconfigure")
ANEW = (RESTART, PING, RECONFIGURE, PING)
BOTH = nodes(n1="IDLE", n2="IDLE")
RECONFIGURED = (BOTH, RECONFIGURE, PING, BOTH)


class FakeModule:
    """What run_module asks of an AnsibleModule."""

    def __init__(self, params: dict[str, Any], check_mode: bool, installed: bool) -> None:
        self.params = params
        self.check_mode = check_mode
        self.installed = installed

    def get_bin_path(self, name: str, opt_dirs: Sequence[str] = ()) -> str | None:
        assert (name, opt_dirs) == ("slurmctld", ["/usr/sbin"])
        return "/usr/sbin/slurmctld" if self.installed else None


class Host:
    """A controller's folders, and runs of the module there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.etc = folder / "etc"

    def use(
        self,
        *steps: Result,
        check_mode: bool = False,
        installed: bool = True,
        look: Callable[[list[str]], object] = lambda _argv: None,
        **options: Any,
    ) -> dict[str, Any]:
        """Every step has to be taken, and no other command."""
        left = list(steps)

        def run(argv: Sequence[str]) -> Result:
            assert left, f"unexpected: {argv}"
            result = left.pop(0)
            assert list(argv)[: len(result.argv)] == result.argv
            look(list(argv))
            return result

        paths = {"path": str(self.etc), "state_path": str(self.folder / "state")}
        module: Any = FakeModule({**OPTIONS, **paths, **options}, check_mode, installed)
        try:
            result = run_module(module, run)
        except RefusedError:
            assert left == []
            raise
        assert left == []
        return result

    def deploy(self, **options: Any) -> dict[str, Any]:
        return self.use(VERSION, INACTIVE, *ANEW, BOTH, **options)

    def text(self) -> str:
        return (self.etc / "slurm.conf").read_text(encoding="utf-8")

    def state(self) -> dict[str, str]:
        """Every file and its text."""
        return {
            str(path.relative_to(self.folder)): path.read_text(encoding="utf-8")
            for path in sorted(self.folder.rglob("*"))
            if path.is_file()
        }

    def put(self, text: str) -> None:
        self.etc.mkdir()
        (self.etc / "slurm.conf").write_text(text, encoding="utf-8")

    @property
    def pending(self) -> bool:
        return (self.folder / "state" / "slurm_config.pending").exists()


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_first_deploy(host: Host) -> None:
    result = host.deploy()
    assert result["changed"]
    assert result["plan"]["action"] == "start"
    assert result["plan"]["nodes"]["added"] == ["n1", "n2"]
    assert result["commands"] == [RESTART.argv, RECONFIGURE.argv]
    assert [entry["before"] for entry in result["diff"]] == ["", "", ""]
    assert sorted(os.listdir(host.etc)) == ["cgroup.conf", "gres.conf", "slurm.conf"]
    assert host.text().startswith(HEADER)
    assert not host.pending


def test_no_change(host: Host) -> None:
    host.deploy()
    before = host.state()
    result = host.use(*LIVE)
    assert not result["changed"]
    assert (result["plan"]["action"], result["plan"]["changes"], result["diff"]) == ("none", [], [])
    assert (result["commands"], result["validated"]) == ([], "none")
    assert host.state() == before


def test_a_change(host: Host) -> None:
    host.deploy()
    result = host.use(*LIVE, *RECONFIGURED, **SHORTER)
    assert result["plan"]["changes"] == [
        {"kind": "partition", "name": "main", "key": "MaxTime", "before": "60", "after": "30"}
    ]
    assert (result["changed"], result["commands"]) == (True, [RECONFIGURE.argv])
    assert [entry["after_header"] for entry in result["diff"]] == [str(host.etc / "slurm.conf")]
    assert "MaxTime=30" in host.text()
    assert not host.use(*LIVE, **SHORTER)["changed"]


def test_a_comment_by_hand_is_left(host: Host) -> None:
    host.deploy()
    (host.etc / "slurm.conf").write_text(host.text() + "# by hand\n", encoding="utf-8")
    assert not host.use(*LIVE)["changed"]
    assert host.text().endswith("# by hand\n")


def test_files_that_are_not_in_use(host: Host) -> None:
    host.deploy()
    before = host.state()
    result = host.use(VERSION, ACTIVE, DIFFERENT, QUEUE, BOTH, *ANEW, BOTH)
    assert (result["changed"], result["plan"]["action"], result["diff"]) == (True, "restart", [])
    assert host.state() == before


@pytest.mark.parametrize("options", [{"check_mode": True}, {"state": "planned"}])
def test_a_preview_writes_nothing(host: Host, options: dict[str, Any]) -> None:
    host.deploy()
    before = host.state()
    result = host.use(*LIVE, **options, **SHORTER)
    assert result["changed"] is bool("check_mode" in options)
    assert result["plan"]["action"] == "reconfigure"
    assert len(result["diff"]) == 1
    assert (result["commands"], host.state()) == ([], before)


def test_a_preview_without_slurm(host: Host) -> None:
    result = host.use(check_mode=True, installed=False, validate=True)
    assert (result["changed"], result["plan"]["action"], result["validated"]) == (True, "start", "none")
    assert host.state() == {}


# --- jobs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("check_mode", [False, True])
def test_too_many_jobs_at_risk(host: Host, check_mode: bool) -> None:
    host.deploy()
    before = host.state()
    with pytest.raises(RefusedError, match=r"found 1 \(5 of ann on n2\); accepted: max_jobs_at_risk 0"):
        host.use(VERSION, ACTIVE, MATCH, JOBS, check_mode=check_mode, **ONE_NODE)
    assert host.state() == before
    planned = host.use(VERSION, ACTIVE, MATCH, JOBS, state="planned", **ONE_NODE)
    assert planned["plan"]["jobs_at_risk"] == ["5 of ann on n2"]


def test_accepted_jobs_at_risk(host: Host) -> None:
    host.deploy()
    result = host.use(VERSION, ACTIVE, MATCH, JOBS, BOTH, *ANEW, nodes(n1="IDLE"), max_jobs_at_risk=1, **ONE_NODE)
    assert result["plan"]["nodes"]["removed"] == ["n2"]
    assert "n2" not in host.text()


# --- validation -------------------------------------------------------------------------------------------------------

PREPARED = (did("chmod 755"), did("chown -R slurm"))


def test_slurm_judges_the_new_files_first(host: Host) -> None:
    host.deploy()
    judged: list[Any] = []

    def look(argv: list[str]) -> None:
        if argv[0] == "unshare":
            folder = Path(argv[-1])
            judged.extend([folder, (folder / "slurm.conf").read_text(), (folder / "hosts").read_text()])
            assert "MaxTime=60" in host.text()

    result = host.use(*LIVE, *PREPARED, did("unshare"), *RECONFIGURED, look=look, validate=True, **SHORTER)
    assert result["validated"] == "deep"
    folder, conf, hosts = judged
    assert "MaxTime=30" in conf
    assert f"StateSaveLocation={folder}/state" in conf
    assert [line.split()[1] for line in hosts.splitlines()] == ["localhost", "n1", "n2", "head"]
    assert not folder.exists()


def test_what_slurm_refuses_is_not_written(host: Host) -> None:
    host.deploy()
    before = host.state()
    refused = did("unshare", rc=98, stdout="slurmctld: fatal: no good\n")
    with pytest.raises(ConfigError, match=r"^Slurm refuses the configuration \(deep check\): fatal: no good$"):
        host.use(*LIVE, *PREPARED, refused, validate=True, **SHORTER)
    assert host.state() == before


def test_unknown_keys(host: Host) -> None:
    with pytest.raises(ConfigError) as caught:
        host.use(
            VERSION,
            config={**OPTIONS["config"], "Nonsense": 1},
            nodes=[{**OPTIONS["nodes"][0], "CPU": 1}],
            partitions={"main": {"Nodes": "ALL", "MaxTme": 1}},
            cgroup={"TLSType": 1},
        )
    assert [text.split(":")[0] for text in caught.value.findings] == [
        "slurm.conf",
        "cgroup.conf",
        "node n1",
        "partition main",
    ]


# --- rollback and reverting -------------------------------------------------------------------------------------------


def test_the_old_files_come_back(host: Host) -> None:
    host.deploy()
    before = host.text()
    with pytest.raises(RefusedError, match=r"n2.*Then the old files are back and in use\.$"):
        host.use(
            *LIVE, BOTH, RECONFIGURE, PING, nodes(n1="IDLE", n2="IDLE+INVALID_REG"), *ANEW, BOTH, **SHORTER
        )  # fmt: skip
    assert host.text() == before
    assert not host.pending
    assert not host.use(*LIVE)["changed"]


def test_a_slurmctld_that_dies_while_nodes_are_read(host: Host) -> None:
    host.deploy()
    before = host.text()
    dead = did("sinfo", rc=1, stderr="slurm_load_node: Unable to contact slurm controller (connect failure)")
    with pytest.raises(RefusedError, match=r"Unable to contact.*Then the old files are back and in use\.$"):
        host.use(*LIVE, BOTH, RECONFIGURE, PING, dead, *ANEW, BOTH, **SHORTER)
    assert host.text() == before


def test_a_rollback_that_fails_is_tried_again(host: Host) -> None:
    host.deploy()
    before = host.text()
    broken = did("systemctl restart slurmctld", rc=1)
    with pytest.raises(RefusedError, match=r"Then the old files are back, but "):
        host.use(*LIVE, BOTH, did("scontrol reconfigure", rc=1), broken, **SHORTER)
    assert host.text() == before
    assert host.pending
    assert host.use(VERSION, ACTIVE, MATCH, QUEUE, BOTH, *ANEW, BOTH)["plan"]["action"] == "restart"
    assert not host.pending


def test_without_rollback(host: Host) -> None:
    host.deploy()
    with pytest.raises(RefusedError, match=r"Then the new files stay, as asked\.$"):
        host.use(*LIVE, BOTH, did("scontrol reconfigure", rc=1), rollback=False, **SHORTER)
    assert "MaxTime=30" in host.text()
    assert host.pending
    # The next run compares with what is in use, and finishes.
    result = host.use(*LIVE, *RECONFIGURED, **SHORTER)
    assert [change["key"] for change in result["plan"]["changes"]] == ["MaxTime"]
    assert not host.pending


def test_a_first_deploy_that_fails(host: Host) -> None:
    with pytest.raises(RefusedError, match="there was no configuration before, so slurmctld is stopped"):
        host.use(VERSION, INACTIVE, did("systemctl restart slurmctld", rc=1), did("systemctl stop slurmctld"))
    assert os.listdir(host.etc) == []


def test_a_failed_start_of_unchanged_files_brings_nothing_back(host: Host) -> None:
    host.deploy()
    host.use(*LIVE, *RECONFIGURED, **SHORTER)
    before = host.state()
    with pytest.raises(RefusedError, match=r"Then no file was changed, so none comes back\.$"):
        host.use(VERSION, INACTIVE, did("systemctl restart slurmctld", rc=1), **SHORTER)
    assert host.state() == before


def test_reverted(host: Host) -> None:
    with pytest.raises(RefusedError, match=r"^state: found no files in "):
        host.use(VERSION, state="reverted", config=None, nodes=None)
    host.deploy()
    before = host.text()
    host.use(*LIVE, *RECONFIGURED, **SHORTER)
    result = host.use(*LIVE, *RECONFIGURED, state="reverted", config=None, nodes=None)
    assert result["plan"]["changes"][0]["after"] == "60"
    assert host.text() == before


# --- adoption ---------------------------------------------------------------------------------------------------------


def test_foreign_files_are_not_lost(host: Host) -> None:
    host.put(FOREIGN + "NodeName=old CPUs=2\nPartitionName=x Nodes=old MaxTime=1:00\n")
    before = host.state()
    with pytest.raises(RefusedError) as caught:
        host.use(VERSION)
    assert str(caught.value).split("\n", 1)[1].splitlines() == [
        "cluster_config:",
        '  MailProg: "/bin/mail"',
        "nodes of the inventory:",
        "  old:",
        '    NodeAddr: "old"',
        '    CPUs: "2"',
        "cluster_partitions:",
        "  x:",
        '    Nodes: "old"',
        '    MaxTime: "1:00"',
    ]
    assert host.state() == before


@pytest.mark.parametrize(("adopt", "there"), [("keep", True), ("drop", False)])
def test_foreign_files_that_are_kept_or_dropped(host: Host, adopt: str, there: bool) -> None:
    host.put(FOREIGN)
    host.use(*LIVE, BOTH, *ANEW, BOTH, adopt=adopt)
    assert ("MailProg=/bin/mail" in host.text()) is there
    assert (host.folder / "state/previous/slurm.conf").read_text(encoding="utf-8") == FOREIGN


def test_foreign_files_of_which_nothing_is_lost(host: Host) -> None:
    host.put(FOREIGN.replace("MailProg=/bin/mail\n", ""))
    host.use(*LIVE, BOTH, *ANEW, BOTH)
    assert host.text().startswith(HEADER)
