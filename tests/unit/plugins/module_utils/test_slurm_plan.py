# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.aicluster.slurm.plugins.module_utils import slurm_files, slurm_plan
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_files import Change
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_plan import LOST_BY, Job, Live, Plan

OLD, NEW = "22.05.8", "24.11.5"
BASE = """\
ClusterName=lab
SlurmctldHost=head
StateSaveLocation=/var/spool/slurmctld
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
NodeName=n[1-3] CPUs=4 Gres=gpu:fake:2
PartitionName=main Nodes=n[1-3] MaxTime=60 Default=YES
PartitionName=long Nodes=ALL
"""
GRES = "AutoDetect=off\nNodeName=n[1-3] Name=gpu Type=fake File=/dev/gpu[0-1]\n"
FILES = {"slurm.conf": BASE, "gres.conf": GRES, "cgroup.conf": "ConstrainCores=yes\n"}
NODES = ["n1", "n2", "n3"]

GPU_JOB = Job("1", "ann", "main", ("n1", "n2"), gres=True)
CPU_JOB = Job("2", "bob", "long", ("n2",), gres=False)
N3_JOB = Job("3", "eve", "long", ("n3",), gres=False)
ADDED = BASE.replace("NodeName=n[1-3]", "NodeName=n[1-4]")
REMOVED = BASE.replace("NodeName=n[1-3]", "NodeName=n[1-2]").replace("Nodes=n[1-3]", "Nodes=n[1-2]")


def between(before: dict[str, str], after: dict[str, str], version: str = OLD) -> list[Change]:
    return slurm_files.diff(slurm_files.read(before, version), slurm_files.read(after, version))


def changes(
    slurm: str = BASE, gres: str = GRES, cgroup: str = FILES["cgroup.conf"], version: str = OLD
) -> list[Change]:
    return between(FILES, {"slurm.conf": slurm, "gres.conf": gres, "cgroup.conf": cgroup}, version)


def plan(
    found: list[Change],
    version: str = OLD,
    active: bool = True,
    applied: bool = True,
    jobs: tuple[Job, ...] = (GPU_JOB, CPU_JOB),
    unfinished: tuple[str, ...] = (),
) -> Plan:
    return slurm_plan.make(found, Live(version, active, applied, jobs, unfinished), NODES)


def ids(found: list[Change], version: str = OLD) -> list[str]:
    return [job.id for job in plan(found, version).jobs_at_risk]


# --- make -------------------------------------------------------------------------------------------------------------

NEEDS_RESTART_ON_OLD = {
    "node added": ADDED,
    "node removed": REMOVED,
    "CPUs": BASE.replace("CPUs=4", "CPUs=8"),
    "Gres": BASE.replace("gpu:fake:2", "gpu:fake:1"),
    "SelectTypeParameters": BASE.replace("CR_Core_Memory", "CR_Core"),
}


@pytest.mark.parametrize("text", NEEDS_RESTART_ON_OLD.values(), ids=NEEDS_RESTART_ON_OLD)
def test_restart_on_the_old_and_reconfigure_on_the_new(text: str) -> None:
    assert plan(changes(text), OLD).action == "restart"
    assert plan(changes(text, version=NEW), NEW).action == "reconfigure"
    assert plan(changes(text), OLD).slurmd == []


@pytest.mark.parametrize("version", [OLD, NEW])
def test_what_every_version_takes_at_reconfigure(version: str) -> None:
    found = changes(BASE.replace("MaxTime=60", "MaxTime=90"), version=version)
    assert plan(found, version) == Plan(found, "reconfigure", [], [])


@pytest.mark.parametrize("version", [OLD, NEW])
def test_a_change_for_slurmd_of_every_node(version: str) -> None:
    found = changes(BASE + "SlurmdPort=7000\n", version=version)
    assert plan(found, version)[1:3] == ("restart", NODES)


@pytest.mark.parametrize("version", [OLD, NEW])
def test_a_change_for_slurmd_of_one_node(version: str) -> None:
    lines = "NodeName=n[1-2] CPUs=4 Gres=gpu:fake:2\nNodeName=n3 CPUs=4 Gres=gpu:fake:2 Port=7000\n"
    found = changes(BASE.replace("NodeName=n[1-3] CPUs=4 Gres=gpu:fake:2\n", lines), version=version)
    assert plan(found, version)[1:3] == ("reconfigure", ["n3"])


def test_a_gres_line_without_nodes_is_for_all_of_them() -> None:
    before, after = ({"gres.conf": f"Name=gpu Type={kind} File=/dev/gpu0\n"} for kind in ("a", "b"))
    assert plan(between(before, after))[1:3] == ("restart", NODES)


@pytest.mark.parametrize(("version", "expected"), [(OLD, ("restart", ["n3"])), (NEW, ("reconfigure", []))])
def test_gres_lines_that_come_or_go_whole_for_a_node_that_stays(version: str, expected: tuple[str, list[str]]) -> None:
    with_line, without = {"gres.conf": GRES}, {"gres.conf": GRES.replace("n[1-3]", "n[1-2]")}
    for found in (between(with_line, without, version), between(without, with_line, version)):
        assert [(change.name, change.key) for change in found] == [("n3", "")]
        assert plan(found, version)[1:3] == expected


def test_gres_lines_that_come_whole_need_what_their_keys_need() -> None:
    line = "NodeName=n1 Name=fpga Count=2\n"
    assert plan(between({}, {"gres.conf": line}))[1:3] == ("reconfigure", [])
    assert plan(between({}, {"gres.conf": line.replace("Count", "cores")}))[1:3] == ("restart", [])
    assert plan(between({}, {"gres.conf": "AutoDetect=off\n"}))[1:3] == ("reconfigure", [])
    assert plan(between({}, {"gres.conf": "Name=gpu Type=a File=/dev/gpu0\n"}))[1:3] == ("restart", NODES)


def test_the_gres_line_of_a_node_that_comes_or_goes() -> None:
    before, after = FILES, {**FILES, "slurm.conf": ADDED, "gres.conf": GRES.replace("n[1-3]", "n[1-4]")}
    came, went = between(before, after), between(after, before)
    assert slurm_plan.make(came, Live(OLD, True, True), [*NODES, "n4"]).slurmd == []
    assert plan(went).slurmd == []


def test_a_cgroup_key_for_slurmd() -> None:
    assert plan(changes(cgroup="ConstrainCores=yes\nCgroupPlugin=cgroup/v2\n"))[1:3] == ("reconfigure", NODES)


@pytest.mark.parametrize("version", [OLD, NEW])
@pytest.mark.parametrize("name", ["plugstack.conf", "topology.conf"])
def test_another_file_is_taken_at_reconfigure(version: str, name: str) -> None:
    found = between(FILES, {**FILES, name: "required x.so\n"}, version)
    assert plan(found, version) == Plan(found, "reconfigure", [], [])
    assert plan(between({**FILES, name: "required x.so\n"}, FILES, version), version).action == "reconfigure"


@pytest.mark.parametrize("version", [OLD, NEW])
def test_down_nodes_are_taken_at_reconfigure(version: str) -> None:
    found = changes(BASE + "DownNodes=n1 State=DOWN\n", version=version)
    assert [(change.name, change.key) for change in found] == [("n1", "Reason"), ("n1", "State")]
    assert plan(found, version)[1:4] == ("reconfigure", [], [])


@pytest.mark.parametrize(
    ("version", "active", "applied", "action"),
    [
        (OLD, True, True, "none"),
        (NEW, True, True, "none"),
        (OLD, True, False, "restart"),
        (NEW, True, False, "reconfigure"),
        (OLD, False, False, "start"),
        (NEW, False, False, "start"),
    ],
)
def test_without_changes(version: str, active: bool, applied: bool, action: str) -> None:
    assert plan([], version, active, applied) == Plan([], action, [], [])


@pytest.mark.parametrize(("version", "action"), [(OLD, "restart"), (NEW, "reconfigure")])
def test_a_small_change_to_what_nobody_knows(version: str, action: str) -> None:
    found = changes(BASE.replace("MaxTime=60", "MaxTime=90"), version=version)
    assert plan(found, version, applied=False).action == action


def test_an_inactive_one_starts() -> None:
    assert plan(changes(ADDED), active=False, jobs=()).action == "start"


def test_the_slurmd_of_a_new_node_has_read_nothing_yet() -> None:
    found = changes(ADDED.replace("[1-4]", "[1-4] Port=7000"))
    assert slurm_plan.make(found, Live(OLD, True, True, (), ("n4",)), [*NODES, "n4"]).slurmd == NODES


@pytest.mark.parametrize(
    ("before", "after", "states"),
    [
        ("", " State=drain", {"main": "DRAIN"}),
        (" State=DOWN", "", {"main": "UP"}),
        (" State=DOWN", " State=DOWN MaxTime=90", {}),
    ],
)
def test_states_of_partitions_that_the_change_is_about(before: str, after: str, states: dict[str, str]) -> None:
    old, new = (
        {**FILES, "slurm.conf": BASE.replace(" Default=YES", f" Default=YES{state}")} for state in (before, after)
    )
    assert plan(between(old, new)).partition_states == states
    # One that comes or goes has no state that could be kept.
    assert plan(changes(BASE + "PartitionName=new Nodes=n1 State=DOWN\n")).partition_states == {}


def test_a_slurmd_that_has_not_restarted_yet_still_has_to() -> None:
    assert plan([], unfinished=("n2", "gone")) == Plan([], "none", ["n2"], [])
    found = changes(BASE + "SlurmdPort=7000\n")
    assert plan(found, unfinished=("n2",)).slurmd == NODES


DATABASE = BASE + "AccountingStorageType=accounting_storage/slurmdbd\n"


@pytest.mark.parametrize(
    ("before", "after", "version", "active", "expected"),
    [
        (BASE, DATABASE, NEW, True, ("restart", True)),
        (BASE, DATABASE.replace("AccountingS", "accountings"), NEW, True, ("restart", True)),
        (BASE, DATABASE, "23.11.4", True, ("restart", True)),
        (BASE, DATABASE, "23.02.7", True, None),
        (BASE, DATABASE, OLD, True, None),
        (BASE, DATABASE, NEW, False, None),
        (DATABASE, BASE, NEW, True, None),
        (DATABASE, DATABASE + "AccountingStorageHost=db\n", NEW, True, None),
        (DATABASE, BASE + "AccountingStorageType=slurmdbd\n", NEW, True, None),
        (BASE, BASE + "AccountingStorageType=accounting_storage/none\n", NEW, True, None),
    ],
    ids=["comes", "spelling", "first version", "before", "old", "start", "goes", "stays", "short", "none"],
)
def test_a_database_gives_the_cluster_another_id(
    before: str, after: str, version: str, active: bool, expected: tuple[str, bool] | None
) -> None:
    found = plan(between({"slurm.conf": before}, {"slurm.conf": after}, version), version, active)
    assert (found.action, found.new_cluster_id) == (expected or (found.action, False))


# --- jobs at risk -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "anew"),
    [
        (changes(BASE.replace("CPUs=4", "CPUs=8")), True),
        (changes(gres=GRES.replace("[0-1]", "0")), True),
        (changes(ADDED), False),
        (changes(REMOVED), False),
        (changes(BASE.replace("MaxTime=60", "MaxTime=30")), False),
    ],
    ids=["hardware", "devices", "added", "removed", "partition"],
)
def test_nodes_that_are_described_anew(found: list[Change], anew: bool) -> None:
    assert slurm_plan.describes_anew(found, OLD) is anew
    assert not slurm_plan.describes_anew(found, NEW)


def test_jobs_of_a_removed_node() -> None:
    assert plan(changes(REMOVED), jobs=(GPU_JOB, CPU_JOB, N3_JOB)).jobs_at_risk == [N3_JOB]


def test_jobs_of_a_removed_partition() -> None:
    assert ids(changes(BASE.replace("PartitionName=long Nodes=ALL\n", ""))) == ["2"]


def test_of_changed_gpus_only_jobs_with_gpus() -> None:
    assert ids(changes(BASE.replace("gpu:fake:2", "gpu:fake:1"))) == ["1"]
    assert plan(changes(BASE.replace("gpu:fake:2", "gpu:fake:1")), jobs=(N3_JOB,)).jobs_at_risk == []


@pytest.mark.parametrize("key", ["StateSaveLocation", "statesavelocation"])
def test_all_jobs_when_the_state_moves(key: str) -> None:
    assert ids(changes(BASE.replace("StateSaveLocation=/var/spool/slurmctld", f"{key}=/elsewhere"))) == ["1", "2"]
    assert ids(changes(BASE.replace("ClusterName=lab", "ClusterName=other"))) == ["1", "2"]


@pytest.mark.parametrize("version", [OLD, NEW])
@pytest.mark.parametrize("lower", LOST_BY)
def test_all_jobs_when_slurmd_loses_sight_of_them(lower: str, version: str) -> None:
    before, after = ({**FILES, "slurm.conf": BASE + f"{lower}={value}\n"} for value in ("/a", "/b"))
    found = between(before, after, version)
    assert (len(found), ids(found, version)) == (1, ["1", "2"])
    # Said for the first time it may be what already is.
    assert ids(between(FILES, after, version), version) == []


@pytest.mark.parametrize(
    "text",
    [
        ADDED,
        BASE.replace("CPUs=4", "CPUs=8"),
        BASE.replace("MaxTime=60", "MaxTime=1"),
        BASE.replace("CR_Core_Memory", "CR_Core"),
        BASE + "DownNodes=n2\n",
        BASE + "NodeSet=main Nodes=n1\n",
    ],
)
def test_no_job_of_other_changes(text: str) -> None:
    assert ids(changes(text)) == []
    assert ids(between({**FILES, "slurm.conf": BASE + "NodeSet=main Nodes=n1\n"}, FILES)) == []


def test_a_job_is_named_once() -> None:
    assert ids(changes(REMOVED.replace("n[1-2]", "n3").replace("=lab", "=other"))) == ["1", "2"]


def test_parse_jobs() -> None:
    text = (
        "7|ann|main|n[1-2]|gres/gpu:2\n8|bob|long|n3|N/A\n9|bob|long||N/A\n10|x|y|n1|(null)\n11|x|y|n1|\n"
        "12|x|y|n1|N/A\n\nodd line\n"
    )
    # What was asked for with --gpus, and with --gpus-per-task: Slurm has had both ways to write it.
    tres = (
        f"{'7':20}{'N/A':100}{'N/A':100}{'N/A':100}\n"
        f"{'8':20}{'N/A':100}{'N/A':100}{'N/A':100}\n"
        f"{'10':20}{'gres:gpu:2':100}{'N/A':100}{'N/A':100}\n"
        f"{'11':20}{'N/A':100}{'N/A':100}{'gres/gpu=1':100}\n\n"
    )
    found = slurm_plan.parse_jobs(text, tres)
    assert found == [
        Job("7", "ann", "main", ("n1", "n2"), gres=True),
        Job("8", "bob", "long", ("n3",), gres=False),
        Job("10", "x", "y", ("n1",), gres=True),
        Job("11", "x", "y", ("n1",), gres=True),
        Job("12", "x", "y", ("n1",), gres=False),
    ]
    assert str(found[0]) == "7 of ann on n[1-2]"


# --- what is shown ----------------------------------------------------------------------------------------------------


def test_as_data() -> None:
    found = changes(REMOVED.replace("MaxTime=60", "MaxTime=1") + "SlurmdPort=7000\n")
    data = slurm_plan.as_data(plan(found, jobs=(N3_JOB, Job("4", "eve", "main", ("n10", "n3", "n2"), gres=False))))
    assert data["nodes"] == {"added": [], "changed": [], "removed": ["n3"]}
    assert data["action"] == "restart"
    assert data["daemons"] == [
        {"daemon": "slurmctld", "do": "restart", "hosts": []},
        {"daemon": "slurmd", "do": "restart", "hosts": NODES},
    ]
    assert data["jobs_at_risk"] == ["3 of eve on n3", "4 of eve on n[10,3,2]"]
    assert data["nodes_at_risk"] == ["n2", "n3", "n10"]
    wanted = {"kind": "partition", "name": "main", "key": "MaxTime", "before": "60", "after": "1"}
    assert wanted in data["changes"]
    assert slurm_plan.as_data(plan([]))["daemons"] == []


def test_the_nodes_of_a_plan() -> None:
    text = ADDED.replace("CPUs=4 Gres=gpu:fake:2", "CPUs=8 RealMemory=9").replace("n[1-4]", "n[2-4]")
    data = slurm_plan.as_data(plan(changes(text.replace("Nodes=n[1-3]", "Nodes=n[2-3]"))))
    assert data["nodes"] == {"added": ["n4"], "changed": ["n2", "n3"], "removed": ["n1"]}


def test_as_text() -> None:
    found = changes(REMOVED + "SlurmdPort=7000\n")
    lost = [{"kind": "partition", "name": "main", "key": "MaxTime", "now": "02:00:00", "then": "01:00:00"}]
    assert slurm_plan.as_text(plan(found, jobs=(N3_JOB,)), lost).splitlines() == [
        "slurmctld: restart",
        "slurmd: restart on n[1-3]",
        "job at risk: 3 of eve on n3",
        "set by scontrol, and lost: partition main MaxTime: 02:00:00 -> 01:00:00",
        *map(str, found),
    ]
    assert slurm_plan.as_text(plan([]), []) == "slurmctld: none\n"


@pytest.mark.parametrize(
    "line",
    [
        "JobCompPass=s3cret",
        'StoragePass = "s3cret and more"',
        "JobCompParams=host=db,password=s3cret",
        "password = s3cret",
        "api_token=s3cret",
    ],
)
def test_a_text_is_shown_without_passwords(line: str) -> None:
    shown = slurm_plan.shown_text(f"ClusterName=lab\n{line}\nMaxJobCount=9\n")
    assert "s3cret" not in shown
    assert shown.count("[not shown]") == 1
    assert shown.startswith("ClusterName=lab\n")
    assert shown.endswith("\nMaxJobCount=9\n")


def test_passwords_are_not_shown() -> None:
    found = [
        *between({"slurm.conf": BASE + "JobCompPass=old1\n"}, {"slurm.conf": BASE + "JobCompPass=new1\n"}),
        *between({"slurm.conf": BASE}, {"slurm.conf": BASE + "jobcomppass=new1\n"}),
    ]
    data = slurm_plan.as_data(plan(found))
    assert [(each["before"], each["after"]) for each in data["changes"]] == [
        ("[not shown]", "[not shown]"),
        ("", "[not shown]"),
    ]
    text = slurm_plan.as_text(plan(found), [])
    assert "jobcomppass: nothing -> [not shown]" in text
    assert not any(word in text for word in ("old1", "new1"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("JobCompPass=a\\#s3cret\n", "JobCompPass=[not shown]\n"),
        ("StorageUser=slurm storagepass = s3cret # mine\n", "StorageUser=slurm storagepass = [not shown] # mine\n"),
        ('#StoragePass="a s3cret"\nStorageHost=db\n', "#StoragePass=[not shown]\nStorageHost=db\n"),
        ("JobCompPass=\nJobCompPassport=1\n", "JobCompPass=\nJobCompPassport=1\n"),
    ],
)
def test_a_diff_shows_no_passwords(text: str, shown: str) -> None:
    assert slurm_plan.shown_text(text) == shown
    found = between({"slurm.conf": BASE}, {"slurm.conf": BASE, "slurmdbd.conf": text})
    assert "s3cret" not in slurm_plan.as_text(plan(found), [])
    assert "s3cret" not in str(slurm_plan.as_data(plan(found)))


@pytest.mark.parametrize("key", ["StateSaveLocation", "statesavelocation"])
def test_no_job_when_the_state_can_be_copied(key: str) -> None:
    found = changes(BASE.replace("StateSaveLocation=/var/spool/slurmctld", f"{key}=/elsewhere"))
    live = Live(NEW, True, True, (GPU_JOB, CPU_JOB), state_can_move=True)
    made = slurm_plan.make(found, live, NODES)
    assert (made.jobs_at_risk, made.state_from, made.action) == ([], "/var/spool/slurmctld", "restart")
    assert slurm_plan.make(found, live._replace(state_can_move=False), NODES).state_from == ""
    # Another name of the cluster is another state.
    renamed = changes(BASE.replace("ClusterName=lab", "ClusterName=other"))
    assert slurm_plan.make(renamed, live, NODES).jobs_at_risk == [GPU_JOB, CPU_JOB]
