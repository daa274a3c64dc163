# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A controller on which the module slurm_config runs: folders, and each command that it is expected to run there."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.aicluster.slurm.plugins.module_utils import slurm_plan
from ansible_collections.aicluster.slurm.plugins.module_utils.command import CommandError, Result
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_apply import NotTakenError
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_case import RefusedError
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_conf import ConfigError
from ansible_collections.aicluster.slurm.plugins.modules.slurm_config import run_module

OPTIONS: dict[str, Any] = {
    "config": {"ClusterName": "lab", "SlurmctldHost": ["head(10.0.0.1)"]},
    "nodes": [{"NodeName": "n1", "NodeAddr": "10.0.0.11", "CPUs": 4}, {"NodeName": "n2", "NodeAddr": "10.0.0.12"}],
    "partitions": {"main": {"Nodes": "ALL", "MaxTime": "60"}},
    "nodesets": {},
    "cgroup": {"ConstrainCores": True},
    "gres": [],
    "plugstack": [],
    "files": {},
    "state": "present",
    "adopt": "fail",
    "validate": False,
    "rollback": True,
    "max_jobs_at_risk": 0,
    "jobs": {},
    "away": [],
    "followers": [],
    "followed": False,
    "timeout": 0,
    "store": None,
    "store_read": None,
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
        "active_features": "", "comment": "", "extra": "", "boot_time": 1, "slurmd_start_time": 1, "gres": "",
        "slurmd_version": "22.05.8",
    }  # fmt: skip
    records = [
        {**common, "name": name, "state": text.split("+")[0].lower(), "state_flags": text.split("+")[1:]}
        for name, text in states.items()
    ]
    return did("sinfo --all --json", stdout=json.dumps({"nodes": records}))


def partitions(state: str = "UP", limit: str = "01:00:00") -> Result:
    said = f"PartitionName=main MaxTime={limit} Nodes=n[1-2] State={state} TotalCPUs=8 \n"
    return did("scontrol --all --oneliner show partitions", stdout=said)


def within(result: Result) -> Result:
    """The same command, asked with the configuration that is in use."""
    return result._replace(argv=["env", *result.argv])


VERSION = did("slurmctld -V", stdout="slurm-wlm 22.05.8\n")
ACTIVE, INACTIVE = did("systemctl is-active --quiet slurmctld"), did("systemctl is-active --quiet slurmctld", rc=3)
MATCH = did("scontrol show config", stdout="HASH_VAL                = Match\n")
DIFFERENT = did("scontrol show config", stdout="HASH_VAL                = Different Ours=0x1 Slurmctld=0x2\n")
BROKEN = did("scontrol show config", rc=1, stderr="fatal: Unable to process configuration file")
QUEUE = (did(" ".join(slurm_plan.JOBS)), did(" ".join(slurm_plan.JOBS_TRES)))
JOBS = (QUEUE[0]._replace(stdout="5|ann|main|n2|N/A\n"), QUEUE[1])
LIVE = (VERSION, ACTIVE, MATCH)
PING, SILENT = did("scontrol ping"), did("scontrol ping", rc=1)
RESET = did("systemctl reset-failed slurmctld")
RESTART, RECONFIGURE = did("systemctl restart slurmctld"), did("scontrol reconfigure")
ANEW = (RESET, RESTART, PING, RECONFIGURE, PING)
BOTH = nodes(n1="IDLE", n2="IDLE")
BEFORE = (BOTH, partitions())
"""What is asked before the files change."""
AFTER = (partitions(), BOTH)
BACK = (*ANEW, partitions(), BOTH, BOTH)
"""A rollback: nothing is spoiled, and every node responds."""
RECONFIGURED = (*BEFORE, RECONFIGURE, PING, *AFTER)
RESTARTED = (*BEFORE, *ANEW, *AFTER)
REGISTRATIONS = [
    did("sdiag", stdout=f"\tMESSAGE_NODE_REGISTRATION_STATUS        ( 1002) count:{count}      ave_time:9\n")
    for count in range(3)
]
DESCRIBED = (*BEFORE, REGISTRATIONS[0], RECONFIGURE, PING, *REGISTRATIONS[1:], *AFTER)
"""Lines of nodes change, so that each has to register before it counts as valid."""
DESCRIBED_ANEW = (*BEFORE, *ANEW[:-2], REGISTRATIONS[0], *ANEW[-2:], *REGISTRATIONS[1:], *AFTER)


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
            words = list(argv)
            if words[:2] == ["env", f"SLURM_CONF={self.folder}/state/slurm/used/slurm.conf"]:
                del words[1]
            assert words[: len(result.argv)] == result.argv
            look(list(argv))
            return result

        paths = {"path": str(self.etc), "state_path": str(self.folder / "state")}
        module: Any = FakeModule({**OPTIONS, **paths, **options}, check_mode, installed)
        try:
            result = run_module(module, run)
        except (CommandError, ConfigError, NotTakenError, RefusedError):
            assert left == []
            raise
        assert left == []
        return result

    def deploy(self, **options: Any) -> dict[str, Any]:
        return self.use(VERSION, INACTIVE, *ANEW, *AFTER, **options)

    def text(self) -> str:
        return (self.etc / "slurm.conf").read_text(encoding="utf-8")

    def copy(self, link: str) -> str:
        return (self.folder / "state" / "slurm" / link / "slurm.conf").read_text(encoding="utf-8")

    def state(self) -> dict[str, str]:
        """Every file and its text."""
        return {
            str(path.relative_to(self.folder)): path.read_text(encoding="utf-8")
            for path in sorted(self.folder.rglob("*"))
            if path.is_file()
        }

    def texts(self) -> dict[str, str]:
        return {path.name: path.read_text(encoding="utf-8") for path in self.etc.iterdir()}

    def put(self, text: str) -> None:
        self.etc.mkdir(exist_ok=True)
        (self.etc / "slurm.conf").write_text(text, encoding="utf-8")

    @property
    def pending(self) -> bool:
        return (self.folder / "state" / "slurm" / "pending").exists()
