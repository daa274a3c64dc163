# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Jobs have what they asked for, and no more: cgroup v2 of real kernels."""

from __future__ import annotations

import shlex

from ..e2e import play
from ..e2e.cluster import Machine
from .conftest import Lab

# What opening each of the fake GPUs gives: ENXIO where the job may (there is no driver), EPERM where it may not.
OPEN = """
import errno, os
for number in range(2):
    try:
        os.open(f"/dev/fakegpu{number}", os.O_RDWR)
    except OSError as error:
        print(number, errno.errorcode[error.errno])
"""


def test_auto_chose_it(lab: Lab) -> None:
    config = lab.config()
    assert (config["ProctrackType"], config["TaskPlugin"]) == ("proctrack/cgroup", "task/cgroup,task/affinity")
    for node in lab.nodes:
        assert node.output("stat -fc %T /sys/fs/cgroup") == "cgroup2fs"


def test_hardware_is_that_of_the_machine(lab: Lab) -> None:
    shown = lab.slurm_nodes()
    seen = {}
    for node in lab.nodes:
        said = dict(pair.split("=", 1) for pair in node.output("slurmd -C | head -n 1").split())
        wanted = [said[key] for key in ("CPUs", "SocketsPerBoard", "CoresPerSocket", "ThreadsPerCore")]
        found = [shown[node.node][key] for key in ("CPUTot", "Sockets", "CoresPerSocket", "ThreadsPerCore")]
        assert (node.name, found) == (node.name, wanted)
        # What is left is the reserve of so small a machine.
        assert int(said["RealMemory"]) - int(shown[node.node]["RealMemory"]) == 256
        seen[node.name] = found
    assert seen == {"node1": ["2", "1", "2", "1"], "node2": ["2", "2", "1", "1"]}


# The group of this process or the next one above that has the controller.
CPUSET = (
    "cd /sys/fs/cgroup$(cut -d : -f 3 /proc/self/cgroup); until test -e cpuset.cpus.effective; do cd ..; done;"
    " pwd; cat cpuset.cpus.effective"
)


def test_a_job_of_one_cpu_sees_one(lab: Lab) -> None:
    for node in lab.nodes:
        assert node.output("nproc") == "2"
        assert lab.job(f"-w {node.node} --cpus-per-task=1", "nproc") == "1"
        # Not by affinity alone, which a program may widen again.
        group, cpus = lab.job(f"-w {node.node} --cpus-per-task=1", CPUSET).splitlines()
        assert "/job_" in group
        assert cpus in ("0", "1")


def test_a_job_that_takes_too_much_memory_is_killed_and_nobody_else(lab: Lab) -> None:
    other = lab.submit("-w node1 --cpus-per-task=1 --mem=100", "sleep 1000")
    lab.await_job(other, "RUNNING")
    daemons = alive(lab.machine("node1"))
    greedy = shlex.quote("held = b'x' * (300 << 20); print('took it')")
    killed = lab.head.shell.run(lab.srun("-w node1 --cpus-per-task=1 --mem=100", f"python3 -c {greedy}"))
    assert killed.rc != 0
    assert "took it" not in killed.stdout
    assert "oom" in killed.stderr.lower(), killed.stderr
    assert lab.job_state(other) == "RUNNING"
    assert alive(lab.machine("node1")) == daemons
    lab.head.output(f"scancel {other}")
    # As much as it asked for, a job may take.
    assert lab.job("-w node1 --mem=100", "python3 -c 'held = bytes(40 << 20); print(len(held))'") == str(40 << 20)


def alive(node: Machine) -> str:
    """The processes of the daemons."""
    return node.output("systemctl show --property=MainPID --value slurmd munge ssh")


def test_a_job_opens_only_the_devices_that_it_asked_for(lab: Lab) -> None:
    python = f"python3 -c {shlex.quote(OPEN)}"
    assert lab.job("-w node1", python).splitlines() == ["0 EPERM", "1 EPERM"]
    assert lab.job("-w node1 --gres=gpu:2", python).splitlines() == ["0 ENXIO", "1 ENXIO"]
    given, *opened = lab.job("-w node1 --gres=gpu:1", f"echo $SLURM_STEP_GPUS; {python}").splitlines()
    assert opened == [f"{number} {'ENXIO' if str(number) == given else 'EPERM'}" for number in range(2)]


def test_a_tool_that_lists_gpus_shows_those_of_the_job(lab: Lab) -> None:
    """By a double that lists the device files that it can open; a device without a driver, as here, counts."""
    folder = "/data/home/cluster/double"
    text = (play.ROOT / "tests/doubles/nvidia-smi").read_text(encoding="utf-8")
    write = f"mkdir -p {folder} && printf %s {shlex.quote(text)} >{folder}/nvidia-smi && chmod +x {folder}/nvidia-smi"
    lab.job("-w node1", f"{write} && printf '/dev/fakegpu%d\\n' 0 1 >{folder}/devices.txt")
    show = f"NVIDIA_SMI_DOUBLE={folder} {folder}/nvidia-smi -L"
    lines = [lab.job(f"-w node1 --gres=gpu:{count}", show).splitlines() for count in range(3)]
    assert [len(listed) for listed in lines] == [0, 1, 2], lines


def test_users_may_make_namespaces_and_overlays(lab: Lab) -> None:
    """As enroot does it, in a job."""
    overlay = """
        cd $(mktemp -d) && mkdir lower upper work merged && echo below >lower/file &&
        mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work none merged && echo above >merged/file &&
        cat lower/file upper/file
    """
    assert lab.job("-w node1", f"unshare --user --map-root-user --mount sh -c {shlex.quote(overlay)}") == "below\nabove"
