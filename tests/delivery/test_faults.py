# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A self-test that cannot fail proves nothing: each of them has to find the fault that is planted for it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from ansible_collections.aicluster.slurm.plugins.plugin_utils import selftest

from ..e2e.cluster import Cluster, wait_for
from .conftest import PATH, SelfTest, node, planted, scripts

PACKAGES = "/data/environments/ml/lib/python3*/site-packages"


@pytest.fixture(autouse=True)
def idle(cluster: Cluster) -> None:
    """Every test begins with nodes that take jobs at once."""
    nodes = len(cluster.nodes)
    states = wait_for(lambda: cluster.head.output("sinfo -hN -o %T").split(), lambda found: found == ["idle"] * nodes)
    assert states == ["idle"] * nodes


def test_a_node_with_another_folder_at_the_place_of_the_share(cluster: Cluster, tests: SelfTest) -> None:
    tests.prepare("share", "array")
    # The jobs' folder is made anew for each run, so the other folder lies over the one above it.
    cover = f"mount -t tmpfs -o mode=1777 tmpfs {PATH} && mkdir -m 1777 {PATH}/run && cp -a /tmp/selftest {PATH}/"
    node2 = node(cluster, "node2")
    node2.output(f"cp -a {PATH}/selftest /tmp/")
    with planted(node2, cover, f"umount -l {PATH}; rm -rf /tmp/selftest"):
        rows = tests.run()
    assert {name: row["verdict"] for name, row in rows.items()} == {"share": "fail", "array": "fail"}
    assert any("node2 cannot write to the share" in line for line in rows["share"]["lines"])
    assert any("the tasks 1 2 3 4 were asked for" in line for line in rows["array"]["lines"])


def test_a_full_share(cluster: Cluster, tests: SelfTest) -> None:
    tests.prepare("share")
    node1 = node(cluster, "node1")
    plant = (
        f"cp -a {PATH}/selftest /tmp/ && mount -t tmpfs -o mode=1777,size=2m tmpfs {PATH} && mkdir -m 1777 {PATH}/run"
    )
    with planted(node1, f"{plant} && cp -a /tmp/selftest {PATH}/", f"umount -l {PATH}; rm -rf /tmp/selftest"):
        # What the first node prints stays with its full disk, so the job is sent to the other one first.
        row = tests.run()["share"]
    assert row["verdict"] == "fail"


@contextmanager
def full_everywhere(cluster: Cluster) -> Iterator[None]:
    """On no host there is room for a byte more."""
    over = f"cp -a {PATH}/selftest /tmp/ && mount -t tmpfs -o mode=0777,size=256k tmpfs {PATH}"
    fill = (
        f"cp -a /tmp/selftest {PATH}/ && install -d -o {cluster.user} {PATH}/run; ! head -c 1M /dev/zero >{PATH}/fill"
    )
    with ExitStack() as stack:
        for machine in cluster.machines:
            gone = f"umount -l {PATH}; rm -rf /tmp/selftest"
            stack.enter_context(planted(machine, f"{over} && {fill}", gone))
        yield


def test_a_share_that_is_full_as_a_whole(cluster: Cluster, tests: SelfTest) -> None:
    tests.prepare("nodes", "share", "array", "gpus", "mpirun")
    look = shlex.join(["sh", "-c", scripts()["__delivery_look_storage"], "sh", cluster.user, "/data", PATH])
    with full_everywhere(cluster):
        storage = selftest.storage_row(selftest.read_storage(cluster.head.output(look)), "/data")
        rows = tests.run()
    assert (storage["verdict"], "No space left" in storage["reason"]) == ("fail", True)
    told = {name: f"{row['reason']} {' '.join(row['lines'])}" for name, row in rows.items()}
    assert {row["verdict"] for row in rows.values()} <= {"fail", "not run"}
    assert {name: text for name, text in told.items() if "o space left" not in text} == {}


def test_a_test_that_somebody_cancels(tests: SelfTest) -> None:
    tests.prepare("nodes", "array")
    tests.plan[0]["script"] = "#!/bin/bash\nscancel $SLURM_JOB_ID; sleep 50\n"
    rows = tests.run()
    assert (rows["nodes"]["verdict"], rows["nodes"]["reason"]) == ("not run", "somebody cancelled it")
    assert rows["array"]["verdict"] == "pass"


def test_mpi_that_is_not_there(cluster: Cluster, tests: SelfTest) -> None:
    tests.prepare("mpirun", "pmix", "federated")
    plant, remove = f"cd {PACKAGES} && mv mpi4py away", f"cd {PACKAGES} && mv away mpi4py"
    with planted(cluster.head, plant, remove):
        rows = tests.run()
    assert {row["verdict"] for row in rows.values()} <= {"fail", "skipped"}
    assert rows["mpirun"]["verdict"] == rows["federated"]["verdict"] == "fail"
    assert any("mpi4py" in line for line in rows["mpirun"]["lines"])


def test_a_model_that_is_wrong(cluster: Cluster, tests: SelfTest) -> None:
    tests.prepare("federated")
    sample = f"{PATH}/samples/fedavg.py"
    # One round of one step is no training.
    less = "SAMPLES, ROUNDS, LOCAL_STEPS, RATE = 400, 1, 1, 0.1"
    plant = f"cp -a {sample} /tmp/ && sed -i 's/^SAMPLES, .*/{less}/' {sample}"
    with planted(cluster.head, plant, f"cp -a /tmp/fedavg.py {sample}"):
        row = tests.run()["federated"]
    assert row["verdict"] == "fail"
    assert any("the optimum is" in line for line in row["lines"])


def test_gpus_that_no_step_is_given(cluster: Cluster, tests: SelfTest) -> None:
    tests.prepare("gpus")
    wrapper = '#!/bin/bash\nargs=("$@")\nexec /usr/bin/srun "${args[@]/--gres=gpu:1/--gres=none}"\n'
    plant = f"printf %s {shlex.quote(wrapper)} > /usr/local/bin/srun && chmod 755 /usr/local/bin/srun"
    with planted(node(cluster, "node1"), plant, "rm /usr/local/bin/srun"):
        row = tests.run()["gpus_node1"]
    assert row["verdict"] == "fail"
    assert any("2 steps at once were given 0 different GPUs" in line for line in row["lines"])


def test_a_node_that_runs_tasks_elsewhere(cluster: Cluster, tests: SelfTest) -> None:
    tests.prepare("nodes")
    wrapper = '#!/bin/bash\nexec /usr/bin/srun --nodes=1 --ntasks=1 "$@"\n'
    plant = f"printf %s {shlex.quote(wrapper)} > /usr/local/bin/srun && chmod 755 /usr/local/bin/srun"
    with planted(node(cluster, "node1"), plant, "rm /usr/local/bin/srun"):
        row = tests.run()["nodes"]
    assert row["verdict"] == "fail"
    assert any("asked for node1 node2, a task ran on node1" in line for line in row["lines"])


# Stands for srun with pyxis: the container sees the folder that it is given, or nothing of it.
CONTAINER = """#!/bin/bash
for word; do [[ $word != --container-mounts=* ]] || mounts=${word#*=}; done
[[ "$*" == *--container-image=some/image* && $mounts == *:/workspace ]] || exit 99
%s
"""


@pytest.mark.parametrize(
    ("does", "verdict", "says"),
    [
        ('id -u > "${mounts%:*}/container"', "pass", ""),
        ("exit 0", "fail", "the container did not write to the folder"),
        ("echo 'pyxis: failed to import docker image' >&2; exit 1", "fail", "pyxis: failed to import"),
    ],
)
def test_containers(cluster: Cluster, tests: SelfTest, does: str, verdict: str, says: str) -> None:
    tests.prepare("container", image="some/image")
    plant = f"printf %s {shlex.quote(CONTAINER % does)} > /usr/local/bin/srun && chmod 755 /usr/local/bin/srun"
    with ExitStack() as stack:
        for machine in cluster.nodes:
            stack.enter_context(planted(machine, plant, "rm /usr/local/bin/srun"))
        row = tests.run()["container"]
    assert row["verdict"] == verdict
    assert says in " ".join(row["lines"])


def test_a_drained_node_is_reported_and_not_waited_for(cluster: Cluster, tests: SelfTest) -> None:
    tests.prepare("nodes")
    head = cluster.head
    with planted(
        head,
        "scontrol update nodename=node2 state=drain reason='planted fault'",
        "scontrol update nodename=node2 state=resume",
    ):
        rows = tests.run(queue_seconds=600)
        assert rows["nodes"]["verdict"] == "not run"
        assert rows["nodes"]["waited"] < 120
        assert head.output("squeue -h") == ""
        # A test that is planned now leaves the node out, and names it.
        tests.prepare("nodes")
        assert tests.run()["nodes"]["verdict"] == "pass"
        assert [row["verdict"] for row in selftest.node_rows(tests.look())] == ["not run"]


def test_a_full_queue_is_waited_for(cluster: Cluster, tests: SelfTest) -> None:
    tests.prepare("nodes")
    cluster.as_user("sbatch --exclusive -N2 -t1 -D / -o /dev/null --wrap 'sleep 8'")
    row = tests.run()["nodes"]
    assert row["verdict"] == "pass"
    assert row["waited"] >= 5


def test_a_queue_that_stays_full_is_reported(cluster: Cluster, tests: SelfTest) -> None:
    tests.prepare("nodes")
    job = cluster.as_user("sbatch --parsable --exclusive -N2 -t2 -D / -o /dev/null --wrap 'sleep 100'").strip()
    try:
        row = tests.run(queue_seconds=3)["nodes"]
    finally:
        cluster.as_user(f"scancel {job}")
    assert row["verdict"] == "not run"
    assert "in the queue" in row["reason"]


def test_a_share_that_the_cluster_user_cannot_write(cluster: Cluster) -> None:
    look = shlex.join(["sh", "-c", scripts()["__delivery_look_storage"], "sh", cluster.user, "/data", PATH])
    with planted(cluster.head, f"chmod 0555 {PATH}", f"chmod 0755 {PATH}"):
        row = selftest.storage_row(selftest.read_storage(cluster.head.output(look)), "/data")
    assert (row["verdict"], "Permission denied" in row["reason"]) == ("fail", True)
    row = selftest.storage_row(selftest.read_storage(cluster.head.output(look)), "/data")
    assert row["verdict"] in ("pass", "skipped")


def test_a_node_that_dies_in_the_middle(cluster: Cluster, tests: SelfTest) -> None:
    tests.prepare("nodes", "array")
    slow = {**tests.plan[0], "script": "#!/bin/bash\nsrun sleep 50\n", "seconds": 60}
    tests.plan = [slow, *tests.plan[1:]]
    node2 = node(cluster, "node2")
    # Stopped and not killed: what a machine that hangs, or whose network is gone, looks like from outside.
    node2.output("sh -c '(sleep 8; systemctl kill --signal=STOP slurmd; pkill -STOP slurmstepd) >/dev/null 2>&1 &'")
    try:
        rows = tests.run()
    finally:
        node2.output("pkill -CONT slurmstepd; systemctl kill --signal=CONT slurmd")
    assert rows["nodes"]["verdict"] == "fail"
    assert "node2" in rows["nodes"]["nodes"] + rows["nodes"]["reason"]
    assert rows["nodes"]["seconds"] < 300
    # The next one had its turn all the same, whether or not there was a node for it.
    assert set(rows) == {"nodes", "array"}
