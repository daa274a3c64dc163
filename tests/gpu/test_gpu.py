# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""GPUs that are found, handed out, lost and found again, on the hosts of molecule/gpu. The tests build on each other.

nvidia-smi is a double there, and the device files belong to no driver.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from ..e2e import play
from ..e2e.cluster import Cluster, Machine, wait_for

DOUBLE = "/etc/nvidia-smi-double"
FIXTURES = play.ROOT / "tests/unit/fixtures/gpu"
LOST = "0000:b1:00.0"

MIG = "gpu:1g.10gb:8,gpu:4g.40gb:1,gpu:2g.20gb:1"


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Cluster:
    return Cluster(request.config.getoption("ansible_inventory"))


def node(cluster: Cluster, name: str) -> Machine:
    return next(machine for machine in cluster.machines if machine.name == name)


def is_old(cluster: Cluster) -> bool:
    return cluster.head.output("sinfo --version").split()[-1] < "23"


def lives(cluster: Cluster) -> dict[str, str]:
    """Which start of its daemon each host is in; a reconfigure, which may change the process, does not count."""
    show = "systemctl show --property=InvocationID --value"
    found = {machine.name: machine.output(f"{show} slurmd") for machine in cluster.nodes}
    return {**found, "head": cluster.head.output(f"{show} slurmctld")}


def said(report: dict[str, Any]) -> str:
    return "\n".join(str(result["msg"]) for _host, _task, result in play.results(report) if "msg" in result)


def state(cluster: Cluster, name: str) -> tuple[str, str, str]:
    """Gres, State and Reason of a node; 24.11 keeps a Reason that counts no more."""
    shown = cluster.slurm_nodes()[name]
    reason = shown.get("Reason", "").split(" [")[0] if "DRAIN" in shown["State"] else ""
    return shown["Gres"], shown["State"], reason


# --- found ------------------------------------------------------------------------------------------------------------


def test_nodes_offer_what_nvidia_smi_lists(cluster: Cluster) -> None:
    shown = {name: shown["Gres"] for name, shown in cluster.slurm_nodes().items()}
    mig = f"{MIG},gpu:a100:1" if is_old(cluster) else f"gpu:a100:1,{MIG}"
    assert shown == {"node1": "gpu:a100:4", "node2": mig, "node3": "(null)"}


def test_both_files_say_the_same(cluster: Cluster) -> None:
    lines = cluster.head.output("cat /etc/slurm/gres.conf").splitlines()
    assert "NodeName=node1 Name=gpu Type=a100 File=/dev/nvidia[0-3] Flags=nvidia_gpu_env" in lines
    assert sum("Type=1g.10gb" in line for line in lines) == (1 if is_old(cluster) else 8)


@pytest.mark.parametrize(
    ("host", "kind"), [("node1", "a100"), ("node2", "1g.10gb"), ("node2", "4g.40gb"), ("node2", "a100")]
)
def test_a_job_gets_the_type_that_it_asks_for(cluster: Cluster, host: str, kind: str) -> None:
    job = shlex.quote("echo $(hostname) $SLURM_STEP_GPUS")
    name, gpus = cluster.as_user(f"srun -w {host} -t1 --gres=gpu:{kind}:1 sh -c {job}").split()
    assert (name, gpus.isdigit()) == (host, True)


@pytest.mark.parametrize(("host", "kind"), [("node1", "a100"), ("node2", "1g.10gb")])
def test_two_jobs_at_once_get_different_devices(cluster: Cluster, host: str, kind: str) -> None:
    marks = node(cluster, host).output("mktemp -d")
    node(cluster, host).output(f"chmod 1777 {marks}")
    both = f"[ $(ls {marks} | wc -l) = 2 ]"
    job = f"touch {marks}/$SLURM_JOB_ID; until {both}; do sleep 0.2; done; echo $SLURM_STEP_GPUS"
    srun = f"srun -w {host} -n1 -t1 --mem=100 --gres=gpu:{kind}:1 sh -c {shlex.quote(job)}"
    first, second = cluster.as_user(f"{srun} & {srun} & wait").split()
    assert first != second


def test_a_node_without_gpus_runs_jobs(cluster: Cluster) -> None:
    """Prolog and Epilog are set for all nodes, and fail where they find no script."""
    assert cluster.as_user("srun -w node3 -t1 hostname") == "node3"


# --- the floor --------------------------------------------------------------------------------------------------------


@contextmanager
def playing(machine: Machine, fixture: str) -> Iterator[None]:
    """The double plays another query on this host."""
    query = shlex.quote((FIXTURES / fixture / "query.csv").read_text(encoding="utf-8"))
    machine.output(f"cp {DOUBLE}/query.csv {DOUBLE}/kept; printf %s {query} > {DOUBLE}/query.csv")
    try:
        yield
    finally:
        machine.output(f"mv {DOUBLE}/kept {DOUBLE}/query.csv")


Prepare = Callable[..., dict[str, Any]]


@pytest.fixture
def prepare(cluster: Cluster, tmp_path: Path) -> Prepare:
    """Plays the role's first part on node1, as a preview unless something else is asked."""
    role = {"ansible.builtin.import_role": {"name": "aicluster.slurm.gpu", "tasks_from": "prepare"}}

    def prepare(*arguments: str, host: str = "node1") -> dict[str, Any]:
        playbook = [{"hosts": host, "gather_facts": False, "become": True, "tasks": [role]}]
        (tmp_path / "play.yml").write_text(yaml.safe_dump(playbook))
        argv = ["-i", cluster.inventory, str(tmp_path / "play.yml"), *(arguments or ["--check"])]
        return play.run(play.command("ansible-playbook", *argv))

    return prepare


def test_a_card_below_the_floor_is_refused(cluster: Cluster, prepare: Prepare) -> None:
    with playing(node(cluster, "node1"), "fermi"), pytest.raises(AssertionError) as failure:
        prepare()
    assert "0000:03:00.0 (Quadro 2000): compute capability: found 2.1; accepted: 3.0 or more" in str(failure.value)


def test_a_card_at_the_floor_is_not(cluster: Cluster, prepare: Prepare) -> None:
    with playing(node(cluster, "node1"), "kepler"):
        report = prepare()
    assert f"gpu:a100: expected 4, found 0: 0000:17:00.0, 0000:31:00.0, {LOST}, 0000:ca:00.0 missing" in said(report)
    # It was a preview.
    assert state(cluster, "node1") == ("gpu:a100:4", "IDLE", "")


# --- MIG --------------------------------------------------------------------------------------------------------------


def test_cards_in_use_are_not_repartitioned(cluster: Cluster, prepare: Prepare) -> None:
    machine = node(cluster, "node2")
    before = state(cluster, "node2")
    machine.output(f"echo '00000000:0F:00.0, 4711, python' > {DOUBLE}/processes.csv")
    try:
        with pytest.raises(AssertionError) as failure:
            prepare("-e", '{"gpu_mig": {"0000:0f:00.0": "1g.10gb:7"}, "gpu_mig_apply": true}', host="node2")
    finally:
        machine.output(f"rm {DOUBLE}/processes.csv")
    assert "node2: gpu_mig: gpu_gres: mig: found processes on the cards: 00000000:0F:00.0, 4711, python" in str(
        failure.value
    )
    # It was drained, and is back.
    assert wait_for(lambda: state(cluster, "node2"), lambda shown: shown == before) == before


def test_a_node_with_half_a_layout_stays_drained(cluster: Cluster, prepare: Prepare) -> None:
    """The double plays no command that changes a card, so that the first one fails."""
    before = state(cluster, "node2")
    with pytest.raises(AssertionError) as failure:
        prepare("-e", '{"gpu_mig": {"0000:0f:00.0": "1g.10gb:7"}, "gpu_mig_apply": true}', host="node2")
    said = "-dci; the node stays drained, because the cards were changed by then: nvidia-smi mig --id=0000:0f:00.0 -dci"
    assert said in str(failure.value)
    assert state(cluster, "node2")[1:] == ("IDLE+DRAIN", "aicluster: GPU: MIG layout")
    cluster.head.output("scontrol update nodename=node2 state=resume")
    assert wait_for(lambda: state(cluster, "node2"), lambda shown: shown == before) == before


# --- lost and found again ---------------------------------------------------------------------------------------------


def lose(machine: Machine) -> None:
    """A GPU falls off the bus."""
    machine.output(f"cp {DOUBLE}/query.csv {DOUBLE}/whole && sed -i /B1:00.0/d {DOUBLE}/query.csv && rm /dev/nvidia2")


def find_again(machine: Machine) -> None:
    machine.output(f"mv {DOUBLE}/whole {DOUBLE}/query.csv && mknod -m 666 /dev/nvidia2 c 240 2")


def test_gpus_with_other_bus_ids_are_not_lost(cluster: Cluster, prepare: Prepare) -> None:
    """As after a network card was put beside them."""
    machine = node(cluster, "node1")
    machine.output(f"cp {DOUBLE}/query.csv {DOUBLE}/kept && sed -i 's/00000000:/00000001:/' {DOUBLE}/query.csv")
    try:
        report = prepare()
    finally:
        machine.output(f"mv {DOUBLE}/kept {DOUBLE}/query.csv")
    assert play.changes(report) == set()
    assert "missing" not in said(report)


def test_a_lost_gpu_drains_the_node(cluster: Cluster) -> None:
    machine = node(cluster, "node1")
    lose(machine)
    before = lives(cluster)
    report = play.site(cluster.inventory)
    assert f"WARNING: node1: gpu:a100: expected 4, found 3: {LOST} missing" in said(report)
    assert play.changes(report) == {
        ("node1", "aicluster.slurm.gpu : Drain a node that has lost GPUs"),
        (
            "node1",
            "aicluster.slurm.gpu : Have the devices there before slurmd, and look at them before and after each job",
        ),
        ("head0", "aicluster.slurm.head : Configure Slurm"),
    }
    assert state(cluster, "node1") == ("gpu:a100:3", "IDLE+DRAIN", f"aicluster: GPU: {LOST} missing")
    after = lives(cluster)
    # 22.05 takes a lower count only when it starts.
    assert (before.pop("head") != after.pop("head")) == is_old(cluster)
    assert before == after


def test_it_is_drained_once(prepare: Prepare) -> None:
    assert play.changes(prepare()) == set()


def test_a_job_that_meets_a_lost_gpu_is_refused_by_the_prolog(cluster: Cluster) -> None:
    machine = node(cluster, "node1")
    prolog = "/etc/slurm/job.d/50-aicluster-gpu.sh"
    machine.output(f"env -i SLURM_JOB_GPUS=0 {prolog}")
    machine.output("mv /dev/nvidia1 /dev/away")
    try:
        refused = machine.shell.run(f"env -i SLURM_JOB_GPUS=0 {prolog}")
        assert (refused.rc, refused.stderr.strip()) == (1, "aicluster: GPU: /dev/nvidia1 is missing")
        # A job without GPUs is none of its business.
        machine.output(f"env -i {prolog}")
    finally:
        machine.output("mv /dev/away /dev/nvidia1")


def test_a_gpu_that_is_back_brings_the_node_back(cluster: Cluster) -> None:
    machine = node(cluster, "node1")
    find_again(machine)
    before = lives(cluster)
    play.site(cluster.inventory)
    back = wait_for(lambda: state(cluster, "node1")[:2], lambda shown: shown == ("gpu:a100:4", "IDLE"))
    assert back == ("gpu:a100:4", "IDLE")
    assert cluster.as_user("srun -w node1 -t1 --gres=gpu:a100:4 sh -c 'echo $SLURM_STEP_GPUS'") == "0,1,2,3"
    after = lives(cluster)
    before.pop("head"), after.pop("head")
    assert before == after


def test_a_lost_gpu_is_accepted_for_good(cluster: Cluster, prepare: Prepare) -> None:
    machine = node(cluster, "node1")
    lose(machine)
    accepted = ["-e", "gpu_on_missing=accept"]
    try:
        play.site(cluster.inventory, *accepted)
        # Not drained, and three are the whole from now on, also where the next loss drains.
        shown = wait_for(lambda: state(cluster, "node1"), lambda found: found[1] == "IDLE")
        assert shown == ("gpu:a100:3", "IDLE", "")
        report = prepare()
        assert play.changes(report) == set()
        assert "missing" not in said(report)
    finally:
        find_again(machine)
        play.site(cluster.inventory)
    back = wait_for(lambda: state(cluster, "node1"), lambda found: found[1] == "IDLE")
    assert back == ("gpu:a100:4", "IDLE", "")


def test_slurmd_waits_for_the_devices(cluster: Cluster) -> None:
    machine = node(cluster, "node1")
    machine.output("rm /dev/nvidia3")
    late = "sleep 3; mknod -m 666 /dev/nvidia3 c 240 3"
    machine.output(f"systemd-run --quiet sh -c '{late}'; systemctl restart slurmd; test -e /dev/nvidia3")
    assert wait_for(lambda: state(cluster, "node1")[:2], lambda shown: shown[1] == "IDLE") == ("gpu:a100:4", "IDLE")
