# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.aicluster.slurm.plugins.module_utils.command import Result
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_failures import cause_of, explain

FIXTURES = Path(__file__).parents[2] / "fixtures"
DOWN_22 = (FIXTURES / "slurm-22.05" / "sinfo_ctld_down.json").read_text(encoding="utf-8")
MUNGE_DOWN = (
    "sinfo: error: If munged is up, restart with --num-threads=10\n"
    'sinfo: error: Munge encode failed: Failed to access "/run/munge/munge.socket.2": No such file or directory'
    " (Did you start munged?)\n"
    "slurm_load_node error: Protocol authentication error\n"
)


@pytest.mark.parametrize(
    ("rc", "stdout", "stderr", "said", "general"),
    [
        (1, "", "slurm_update error: Unable to contact slurm controller (connect failure)", "slurmctld does not", True),
        (1, "", MUNGE_DOWN, "munged does not run on this host", True),
        # 22.05 exits with 0.
        (0, DOWN_22, MUNGE_DOWN, "munged does not run on this host", True),
        (1, "", "slurm_load_node error: Protocol authentication error", "compare /etc/munge/munge.key", True),
        (1, "", "slurm_load_partitions: Zero Bytes were transmitted or received", "compare /etc/munge/munge.key", True),
        (1, "", "slurm_update error: Invalid user id", "no right", True),
        (1, "", "scontrol_reboot_nodes error: Permission denied", "no right", True),
        (1, "", "scontrol: fatal: Unable to process configuration file", "no valid slurm.conf", True),
        (1, "", "scontrol: fatal: Could not establish a configuration source", "no valid slurm.conf", True),
        (1, "", "scontrol: error: RebootProgram isn't defined", "no RebootProgram", True),
        (1, "", "Error creating node(s): Unable to add node, node table is full", "MaxNodeCount", True),
        (1, "", "delete_node nodename=n1: Requested nodes are busy", "drain it and wait", False),
        (1, "", "slurm_update error: Invalid node state specified", "state does not allow it", False),
    ],
)
def test_causes(rc: int, stdout: str, stderr: str, said: str, general: bool) -> None:
    result = Result(["scontrol", "x"], rc, stdout, stderr)
    cause = cause_of(result)
    assert cause
    assert said in cause.words
    assert cause.general == general
    assert explain(result).startswith(f"{cause.words}: `scontrol x` failed")
    assert stderr.splitlines()[-1] in explain(result)


@pytest.mark.parametrize(
    "result",
    [Result(["scontrol"], 1, "", "something new"), Result(["sinfo"], 0, '{"comment": "Permission denied"}', "")],
)
def test_an_unknown_failure_has_no_cause(result: Result) -> None:
    assert cause_of(result) is None
    assert explain(result).startswith(f"`{result.argv[0]}` failed")
