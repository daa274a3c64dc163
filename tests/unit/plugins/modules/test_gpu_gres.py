# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.aicluster.slurm.plugins.module_utils.command import NOT_THERE, Result
from ansible_collections.aicluster.slurm.plugins.module_utils.gpu_nvidia import (
    FIELDS,
    PROCESSES,
    TOPOLOGY,
    query_argv,
)
from ansible_collections.aicluster.slurm.plugins.module_utils.gres_local import BEGIN, END
from ansible_collections.aicluster.slurm.plugins.modules import gpu_gres
from module_arguments import module_arguments

GpuHost = Callable[[str], Any]
Run = Callable[..., dict[str, Any]]

ALL = query_argv(FIELDS)
MAIN_PID = "systemctl show --property=MainPID --value slurmd"
SLURMD = "slurmd -V"
NOT_INSTALLED = Result([], NOT_THERE, "", "slurmd: not installed")
H100 = "nvidia_h100_80gb_hbm3"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The whole module on a host of the fixtures."""

    def run(host: Any, check: bool = False, **options: Any) -> dict[str, Any]:
        monkeypatch.setattr(gpu_gres, "bounded_runner", lambda _seconds: host)
        arguments = {"_ansible_check_mode": check, "root": str(host.root), **options}
        with module_arguments(arguments), pytest.raises(SystemExit) as end:
            gpu_gres.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert end.value.code == int(result.get("failed", False))
        return result

    return run


# --- gathered ---------------------------------------------------------------------------------------------------------


def test_eight_gpus(run: Run, gpu_host: GpuHost) -> None:
    """Types and cores are those that slurmd itself found on such a host."""
    host = gpu_host("h100x8")
    begin = time.process_time()  # of this process alone, whatever else the machine does
    result = run(host)
    assert time.process_time() - begin < 1
    assert host.calls == [ALL, list(TOPOLOGY)]
    assert (result["changed"], result["commands"], result["findings"]) == (False, [], [])
    assert result["node_gres"] == f"gpu:{H100}:8"
    assert result["lines"] == [
        "AutoDetect=off",
        f"Name=gpu Type={H100} File=/dev/nvidia[0-3] Cores=0-55 Flags=nvidia_gpu_env",
        f"Name=gpu Type={H100} File=/dev/nvidia[4-7] Cores=56-111 Flags=nvidia_gpu_env",
    ]
    first = result["devices"][0]
    assert {key: first[key] for key in ("bus_id", "type", "numa_node", "cores", "links", "mig")} == {
        "bus_id": "0000:18:00.0",
        "type": H100,
        "numa_node": 0,
        "cores": "0-55",
        "links": None,
        "mig": None,
    }


def test_mig_types_stand_apart(run: Run, gpu_host: GpuHost) -> None:
    host = gpu_host("a100-mig")
    host.answers = {SLURMD: NOT_INSTALLED}
    result = run(host, types="short")
    assert result["node_gres"] == "gpu:a100:1,gpu:1g.10gb:8,gpu:4g.40gb:1,gpu:2g.20gb:1"
    assert (
        "Name=gpu Type=4g.40gb MultipleFiles=/dev/nvidia0,/dev/nvidia-caps/nvidia-cap12,/dev/nvidia-caps/nvidia-cap13"
        " Flags=nvidia_gpu_env" in result["lines"]
    )
    host.answers = {SLURMD: Result([], 0, "slurm-wlm 22.05.8\n", "")}
    old = run(host, types="short")
    assert old["node_gres"] == "gpu:1g.10gb:8,gpu:4g.40gb:1,gpu:2g.20gb:1,gpu:a100:1"
    assert len(old["lines"]) == 5
    assert "Name=gpu Type=4g.40gb File=/dev/nvidia-caps/nvidia-cap13 Flags=nvidia_gpu_env" in old["lines"]


def test_amd(run: Run, gpu_host: GpuHost) -> None:
    result = run(gpu_host("mi300x"))
    assert result["lines"] == [
        "AutoDetect=off",
        "Name=gpu Type=amd_instinct_mi300x_oam File=/dev/dri/renderD[128,136,144,152] Cores=0-3 Flags=amd_gpu_env",
        "Name=gpu Type=amd_instinct_mi300x_oam File=/dev/dri/renderD[160,168,176,184] Cores=4-7 Flags=amd_gpu_env",
    ]
    assert result["findings"] == []


def test_amd_in_a_desktop(run: Run, gpu_host: GpuHost) -> None:
    host = gpu_host("amd-desktop")
    result = run(host)
    assert (result["node_gres"], result["findings"]) == ("gpu:amd_gfx1100:1", [])
    assert run(host, integrated=True)["node_gres"] == "gpu:amd_gfx1100:1,gpu:amd_gfx1036:1"
    # What was taken in once and is left out now is no loss, also where it was all that there was.
    for further in ({}, {"ignore": ["0000:03:00.0"]}):
        before = run(host, integrated=True, **further)
        expected = {"gres": before["gres"], "devices": before["devices"]}
        assert run(host, expected=expected, **further)["missing"] == []
    alone = run(host, ignore=["0000:03:00.0"])
    assert (alone["node_gres"], alone["findings"]) == (
        "",
        ["0000:10:00.0: AMD gfx1036 is part of a processor, and left out"],
    )


def test_parts_are_those_of_the_gpus_that_stay(run: Run, gpu_host: GpuHost) -> None:
    result = run(gpu_host("h100x8"), ignore=["0000:18:00.0", "/dev/nvidia7"], shards=4)
    assert result["node_gres"] == f"gpu:{H100}:6,shard:24"
    assert [line.split(" Flags")[0] for line in result["lines"]] == [
        "AutoDetect=off",
        f"Name=gpu Type={H100} File=/dev/nvidia[1-3] Cores=0-55",
        f"Name=gpu Type={H100} File=/dev/nvidia[4-6] Cores=56-111",
        "Name=shard Count=24",
    ]
    assert run(gpu_host("mi300x"), shards=2)["node_gres"] == "gpu:amd_instinct_mi300x_oam:8,shard:16"


def test_another_number_of_parts_is_no_drift(run: Run, gpu_host: GpuHost) -> None:
    before = run(gpu_host("l40s"), shards=8)
    nothing: list[dict[str, Any]] = []
    for known in (before["devices"], nothing):
        expected = {"gres": before["gres"], "devices": known}
        after = run(gpu_host("l40s"), shards=4, expected=expected)
        assert (after["node_gres"], after["drift"], after["missing"]) == ("gpu:nvidia_l40s:1,shard:4", [], [])


def test_a_card_without_a_driver_is_a_finding(run: Run, gpu_host: GpuHost) -> None:
    result = run(gpu_host("card-without-driver"))
    assert (result["gres"], result["lines"]) == ([], [])
    assert result["findings"] == [
        "0000:1a:00.0: a card of nvidia (PCI device 2330) with no driver",
        "0000:1b:00.0: a card of nvidia (PCI device 2330) with driver vfio-pci, which does not list it",
    ]


def test_a_host_without_gpus(run: Run, gpu_host: GpuHost) -> None:
    result = run(gpu_host("none"))
    assert (result["gres"], result["node_gres"], result["findings"]) == ([], "", [])


def test_ignored_devices_are_neither_devices_nor_findings(run: Run, gpu_host: GpuHost) -> None:
    assert run(gpu_host("h100x8"), ignore=["0000:18:00.0", "/dev/nvidia7"])["node_gres"] == f"gpu:{H100}:6"


def test_ignored_cards_are_no_findings(run: Run, gpu_host: GpuHost) -> None:
    assert run(gpu_host("card-without-driver"), ignore=["0000:1B:00.0"])["findings"] == [
        "0000:1a:00.0: a card of nvidia (PCI device 2330) with no driver"
    ]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mismatch", {}, "failed (rc=18): Failed to initialize NVML: Driver/library version mismatch"),
        ("garbage", {}, "found the line '<html>502 Bad Gateway</html>'"),
        (
            "fermi",
            {"min_compute_capability": "3.0"},
            "0000:03:00.0 (Quadro 2000): compute capability: found 2.1; accepted: 3.0 or more, or an entry in ignore",
        ),
        ("l40s", {"type_names": {"NVIDIA L40S": "48g"}}, "gpu_gres[0]: type: found '48g'"),
        ("l40s", {"mps": 100, "shards": 4}, "mps: found one together with shards"),
        ("a100-mig", {"shards": 4}, "mps, shards: found one of them with MIG instances"),
        ("mi300x", {"mps": 100}, "mps: found 100 with 0000:05:00.0 (AMD Instinct MI300X OAM), 0000:26:00.0"),
        ("l40s", {"mig": {"all": "x"}}, "mig: all: found 'x'"),
    ],
)
def test_failures_name_what_was_found(run: Run, gpu_host: GpuHost, name: str, options: Any, message: str) -> None:
    result = run(gpu_host(name), **options)
    assert result["failed"]
    assert message in result["msg"]


def test_a_card_at_the_floor_passes(run: Run, gpu_host: GpuHost) -> None:
    assert run(gpu_host("fermi"), min_compute_capability="2.1", types="short")["node_gres"] == "gpu:quadro_2000:1"
    assert "failed" not in run(gpu_host("fermi"), min_compute_capability="3.0", ignore=["0000:03:00.0"])


def test_a_tool_that_hangs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho waiting\nexec sleep 60\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    begin = time.monotonic()
    with module_arguments({"timeout": 1, "root": str(tmp_path)}), pytest.raises(SystemExit):
        gpu_gres.main()
    assert time.monotonic() - begin < 5
    message = json.loads(capsys.readouterr().out)["msg"]
    assert message.startswith("gpu_gres: `nvidia-smi --query-gpu=index")
    assert message.endswith("failed (rc=124): no answer within 1 s")


# --- drift ------------------------------------------------------------------------------------------------------------


def test_drift_from_what_was_there(run: Run, gpu_host: GpuHost) -> None:
    before = run(gpu_host("h100x8"))
    host = gpu_host("h100x8")
    rows = [line for line in (host.folder / "query.csv").read_text().splitlines()[1:] if "3A:00" not in line]
    host.answers = {" ".join(ALL): Result(ALL, 0, "\n".join(rows), "")}
    result = run(host, expected={"gres": before["gres"], "devices": before["devices"]})
    assert result["drift"] == [f"gpu:{H100}: expected 8, found 7: 0000:3a:00.0 missing"]
    assert result["missing"] == ["0000:3a:00.0"]
    assert result["findings"] == [
        "0000:3a:00.0: a card of nvidia (PCI device 2330) with driver nvidia, which does not list it"
    ]


def test_an_ignored_device_is_not_missing(run: Run, gpu_host: GpuHost) -> None:
    before = run(gpu_host("mix"))
    result = run(gpu_host("mix"), ignore=["0000:17:00.0"], expected={"gres": [], "devices": before["devices"]})
    assert result["missing"] == []


def test_drift_from_a_declaration(run: Run, gpu_host: GpuHost) -> None:
    declared = [{"type": "nvidia_l40s", "files": ["/dev/nvidia[0-1]"]}]
    result = run(gpu_host("l40s"), expected={"gres": declared})
    assert result["drift"] == ["gpu:nvidia_l40s: expected 2, found 1"]
    assert result["missing"] == ["1 gpu:nvidia_l40s"]


def test_drift_from_slurmctld(run: Run, gpu_host: GpuHost) -> None:
    shown = (Path(__file__).parents[2] / "fixtures/slurm-24.11/scontrol_show_nodes_o.txt").read_text(encoding="utf-8")
    line = next(line for line in shown.splitlines() if line.startswith("NodeName=tx-n1 "))
    host = gpu_host("l40s")
    host.answers = {"scontrol --oneliner show node tx-n1": Result([], 0, line, "")}
    result = run(host, node="tx-n1")
    assert result["drift"] == ["gpu:a100: slurmctld has 4, found 0", "gpu:nvidia_l40s: slurmctld has 0, found 1"]
    host.answers = {"scontrol --oneliner show node n9": Result([], 1, "", "Node n9 not found")}
    assert "Node n9 not found" in run(host, node="n9")["msg"]


# --- a local gres.conf ------------------------------------------------------------------------------------------------

LINE = "Name=gpu Type=l40s File=/dev/nvidia0 Flags=nvidia_gpu_env"


@pytest.fixture
def local(gpu_host: GpuHost) -> Any:
    """A host whose slurmd reads its own files and does not run."""
    host = gpu_host("l40s")
    host.answers = {MAIN_PID: Result([], 0, "0\n", "")}
    (host.root / "etc/slurm").mkdir(parents=True)
    (host.root / "etc/default").mkdir()
    (host.root / "etc/slurm/gres.conf").write_text("# mine\n")
    return host


def test_a_local_file_comes_and_goes(run: Run, local: Any) -> None:
    path = local.root / "etc/slurm/gres.conf"
    wanted = "\n".join(["# mine", BEGIN, "AutoDetect=off", LINE, END, ""])
    preview = run(local, check=True, state="present", types="short")
    assert (preview["changed"], path.read_text()) == (True, "# mine\n")
    assert [(entry["before"], entry["after"]) for entry in preview["diff"]] == [("# mine\n", wanted)]
    assert run(local, state="present", types="short")["changed"]
    assert path.read_text() == wanted
    assert path.stat().st_mode & 0o777 == 0o644
    assert not run(local, state="present", types="short")["changed"]
    calls = len(local.calls)
    assert run(local, state="absent")["changed"]
    assert path.read_text() == "# mine\n"
    assert not run(local, state="absent")["changed"]
    assert len(local.calls) == calls, "removing lines asks no tool"


def test_autodetect_by_version(run: Run, local: Any) -> None:
    local.answers[SLURMD] = Result([], 0, "slurm-wlm 24.11.5\n", "")
    assert run(local, autodetect="auto")["lines"][0] == "AutoDetect=nvidia"
    local.answers[SLURMD] = Result([], 0, "slurm-wlm 22.05.8\n", "")
    assert run(local, autodetect="auto")["lines"][0] == "AutoDetect=off"
    plugins = local.root / "usr/lib/x86_64-linux-gnu/slurm-wlm"
    plugins.mkdir(parents=True)
    (plugins / "gpu_nvml.so").touch()
    assert run(local, autodetect="auto")["lines"][0] == "AutoDetect=nvml"


@pytest.mark.parametrize("where", ["running", "set up"])
def test_a_file_that_slurmd_would_not_read_is_refused(run: Run, local: Any, where: str) -> None:
    options = "-N n1 --conf-server head:6817"
    if where == "running":
        local.answers[MAIN_PID] = Result([], 0, "7\n", "")
        (local.root / "proc/7").mkdir(parents=True)
        (local.root / "proc/7/cmdline").write_text(f"/usr/sbin/slurmd {options}".replace(" ", "\0"))
    else:
        (local.root / "etc/default/slurmd").write_text(f'SLURMD_OPTIONS="{options}"\n')
    result = run(local, state="present")
    assert "state: found a slurmd with --conf-server, which does not read /etc/slurm/gres.conf" in result["msg"]
    assert (local.root / "etc/slurm/gres.conf").read_text() == "# mine\n"


def test_an_option_in_a_comment_does_not_count(run: Run, local: Any) -> None:
    (local.root / "etc/default/slurmd").write_text("# --conf-server head:6817\n")
    assert run(local, state="present")["changed"]


# --- MIG --------------------------------------------------------------------------------------------------------------

CARD = "00000000:C1:00.0"
ONE = "--id=0000:c1:00.0"
ON = ["nvidia-smi", ONE, "--multi-instance-gpu=1"]
CUT = ["nvidia-smi", "mig", ONE, "-cgi", "3g.20gb,3g.20gb", "-C"]
LAYOUT = {"all": "3g.20gb:2"}


class A100:
    """A card without MIG mode, and what it becomes with CUT."""

    def __init__(self, host: Any, works: bool = True) -> None:
        self.host = host
        self.works = works
        self.root = host.root
        self.calls: list[list[str]] = []
        self.users = ""
        caps = self.root / "proc/driver/nvidia-caps"
        caps.mkdir(parents=True)
        lines = [f"gpu0/gi{gi}/{ci}access {3 + 9 * gi + bool(ci)}\n" for gi in (1, 2) for ci in ("", "ci0/")]
        (caps / "mig-minors").write_text("".join(lines))

    def __call__(self, argv: Any) -> Result:
        self.calls.append(list(argv))
        cut = self.works and CUT in self.calls
        instances = "".join(
            f"<mig_device><index>{gi - 1}</index><gpu_instance_id>{gi}</gpu_instance_id>"
            "<compute_instance_id>0</compute_instance_id></mig_device>"
            for gi in (1, 2)
        )
        answers = {
            " ".join(ALL): f"0, GPU-0, {CARD}, NVIDIA A100-PCIE-40GB, 40960, 535, {'En' if cut else 'Dis'}abled, 8.0\n",
            " ".join(PROCESSES): self.users,
            " ".join(ON): "",
            " ".join(CUT): "",
            SLURMD: "slurm-wlm 24.11.5\n",
            "nvidia-smi -L": "GPU 0: NVIDIA A100-PCIE-40GB (UUID: GPU-0)\n"
            "  MIG 3g.20gb  Device 0: (UUID: MIG-0)\n  MIG 3g.20gb  Device 1: (UUID: MIG-1)\n",
            "nvidia-smi -q -x": f'<log><gpu id="{CARD}"><mig_devices>{instances}</mig_devices>'
            "<uuid>GPU-0</uuid></gpu></log>",
        }
        return Result(list(argv), 0, answers[" ".join(argv)], "")


def test_a_layout_is_only_planned_unless_asked(run: Run, gpu_host: GpuHost) -> None:
    host = A100(gpu_host("l40s"))
    result = run(host, mig=LAYOUT)
    assert (result["changed"], result["commands"]) == (False, [])
    assert result["mig"] == ["0000:c1:00.0: MIG: found none, wanted 3g.20gb:2"]
    assert host.calls == [ALL]


def test_a_layout_is_applied(run: Run, gpu_host: GpuHost) -> None:
    host = A100(gpu_host("l40s"))
    preview = run(host, check=True, mig=LAYOUT, mig_apply=True)
    assert (preview["changed"], preview["commands"], host.calls) == (True, [ON, CUT], [ALL])
    assert preview["diff"][0]["after"] == "0000:c1:00.0: MIG: found none, wanted 3g.20gb:2\n"
    result = run(host, mig=LAYOUT, mig_apply=True)
    assert (result["changed"], result["commands"]) == (True, [ON, CUT])
    assert result["node_gres"] == "gpu:nvidia_a100_3g.20gb:2"
    after = [ALL, ["nvidia-smi", "-L"], ["nvidia-smi", "-q", "-x"], ["slurmd", "-V"]]
    assert host.calls[1:] == [ALL, list(PROCESSES), ON, CUT, *after]
    assert not run(host, mig=LAYOUT, mig_apply=True)["changed"]


def test_a_layout_for_a_lost_card_is_no_mistake(run: Run, gpu_host: GpuHost) -> None:
    """Else the node would not be drained, but the run would end."""
    kind = {"type": "nvidia_a100-pcie-40gb", "mig": None}
    before = [
        {"bus_id": f"0000:{bus}:00.0", "uuid": f"GPU-{number}", **kind} for number, bus in enumerate(["c1", "d1"])
    ]
    result = run(A100(gpu_host("l40s")), mig={"0000:D1:00.0": "3g.20gb:2"}, expected={"devices": before})
    assert (result["mig"], result["missing"]) == ([], ["0000:d1:00.0"])


def test_a_card_in_use_is_left_alone(run: Run, gpu_host: GpuHost) -> None:
    host = A100(gpu_host("l40s"))
    host.users = f"{CARD}, 4711, python\n"
    result = run(host, mig=LAYOUT, mig_apply=True)
    assert (
        "mig: found processes on the cards: 00000000:C1:00.0, 4711, python; accepted: cards that nothing uses"
        in result["msg"]
    )
    assert (result["commands"], host.calls) == ([], [ALL, list(PROCESSES)])


def test_a_mode_that_waits_for_a_reset(run: Run, gpu_host: GpuHost) -> None:
    host = A100(gpu_host("l40s"), works=False)
    result = run(host, mig=LAYOUT, mig_apply=True)
    assert "also after the commands; the card may need a reset or a reboot to change its mode" in result["msg"]
    assert result["commands"] == [ON, CUT]
