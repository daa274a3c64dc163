# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from xml.etree import ElementTree

import pytest
from ansible_collections.aicluster.slurm.plugins.module_utils.command import CommandError, Result
from ansible_collections.aicluster.slurm.plugins.module_utils.gpu import (
    Device,
    Found,
    GpuError,
    Mig,
    plain_bus_id,
)
from ansible_collections.aicluster.slurm.plugins.module_utils.gpu_nvidia import (
    FIELDS,
    LIST,
    LOG,
    TOPOLOGY,
    Layout,
    follow,
    links_of,
    parse_layout,
    parse_list,
    parse_log,
    parse_query,
    parse_topology,
    plan_layout,
    query_argv,
    read,
    users,
)
from ansible_collections.aicluster.slurm.plugins.module_utils.sysfs import Tree, read_cards

GpuHost = Callable[[str], Any]
ALL = query_argv(FIELDS)


def find(host: Any) -> Found:
    tree = Tree(str(host.root))
    return read(host, tree, read_cards(tree))


# --- reading ----------------------------------------------------------------------------------------------------------


def test_eight_cards_take_two_commands(gpu_host: GpuHost) -> None:
    host = gpu_host("h100x8")
    found = find(host)
    assert host.calls == [ALL, list(TOPOLOGY)]
    assert found.findings == []
    assert [device.file for device in found.devices] == [f"/dev/nvidia{number}" for number in range(8)]
    assert found.devices[0] == Device(
        vendor="nvidia",
        bus_id="0000:18:00.0",
        name="NVIDIA H100 80GB HBM3",
        uuid="GPU-6944fa2c-3ae5-e9f0-b06e-797869cb0282",
        file="/dev/nvidia0",
        memory_mb=81559,
        driver="570.86.15",
        compute_capability="9.0",
        mig_capable=True,
    )


def test_cards_come_in_the_order_of_their_bus_ids(gpu_host: GpuHost) -> None:
    assert [(device.bus_id, device.file) for device in find(gpu_host("mix")).devices] == [
        ("0000:17:00.0", "/dev/nvidia1"),
        ("0000:65:00.0", "/dev/nvidia0"),
    ]


def test_one_card_has_no_links(gpu_host: GpuHost) -> None:
    host = gpu_host("l40s")
    assert find(host).devices[0].mig_capable is False
    assert host.calls == [ALL]


def test_an_old_driver_is_asked_without_what_it_does_not_know(gpu_host: GpuHost) -> None:
    host = gpu_host("old-driver")
    assert [device.compute_capability for device in find(host).devices] == [""]
    assert host.calls == [ALL, query_argv(FIELDS[:-1])]


def test_mig_instances_have_the_numbers_of_the_device_files(gpu_host: GpuHost) -> None:
    host = gpu_host("a100-mig")
    cards = find(host).devices
    assert host.calls == [ALL, list(LIST), list(LOG), list(TOPOLOGY)]
    assert [(card.file, card.mig and len(card.mig)) for card in cards] == [
        ("/dev/nvidia1", 7),
        ("/dev/nvidia0", 3),
        ("/dev/nvidia2", None),
    ]
    assert cards[1].mig is not None
    # GPU instance 2 of the card with minor 0: 3 + 9 * 2.
    assert cards[1].mig[1] == Mig(
        "2g.20gb",
        "MIG-3f5a1e0c-0000-5000-8000-000000000002",
        ("/dev/nvidia0", "/dev/nvidia-caps/nvidia-cap21", "/dev/nvidia-caps/nvidia-cap22"),
    )


def test_mig_mode_without_an_instance_is_a_finding(gpu_host: GpuHost) -> None:
    host = gpu_host("a100-mig")
    rows = "0, GPU-0, 00000000:07:00.0, NVIDIA A100-SXM4-80GB, 81920, 535.216.01, Enabled, 8.0\n"
    host.answers = {
        " ".join(ALL): Result(ALL, 0, rows, ""),
        "nvidia-smi -L": Result([], 0, "GPU 0: NVIDIA A100-SXM4-80GB (UUID: GPU-0)\n", ""),
        "nvidia-smi -q -x": Result([], 0, '<log><gpu id="00000000:07:00.0"><uuid>GPU-0</uuid></gpu></log>', ""),
    }
    found = find(host)
    assert found.devices[0].mig == ()
    assert found.findings == ["0000:07:00.0: MIG mode is on and there is no instance, so no job can use this card"]


@pytest.mark.parametrize("before", ["", "<?xml version='1.0'?>\n<nvidia_smi_log>"])
def test_a_lost_card_leaves_the_instances_of_the_others(gpu_host: GpuHost, before: str) -> None:
    """What the tools print then is no log, whether they give up or go on."""
    host = gpu_host("a100-mig")
    whole = find(gpu_host("a100-mig")).devices
    lost = "Unable to determine the device handle for gpu 0000:0f:00.0: Unknown Error\n"
    query = (host.folder / "query.csv").read_text().splitlines()
    rows = [line for line in query[1:] if "0F:00.0" not in line]
    cards = {line.split(", ")[1]: line.split(", ")[2] for line in rows}
    trees = {gpu.attrib["id"]: gpu for gpu in ElementTree.parse(host.folder / "log.xml").getroot().iter("gpu")}
    host.answers = {
        " ".join(ALL): Result(ALL, 15, lost + "\n".join(rows), ""),
        "nvidia-smi -L": Result([], 15, (host.folder / "list.txt").read_text() + lost, ""),
        "nvidia-smi -q -x": Result([], 15, before + lost, ""),
        **{
            f"nvidia-smi -q -x --id={bus_id}": Result(
                [], 0, f"<log>{ElementTree.tostring(trees[bus_id], encoding='unicode')}</log>", ""
            )
            for bus_id in cards.values()
        },
    }
    found = find(host)
    assert found.devices == [device for device in whole if device.bus_id != "0000:0f:00.0"]
    assert found.findings == [f"0000:0f:00.0: nvidia-smi: {lost.strip()}"]


def test_a_mig_instance_without_device_files(gpu_host: GpuHost) -> None:
    host = gpu_host("a100-mig")
    (host.root / "proc/driver/nvidia-caps/mig-minors").write_text("config 1\n")
    with pytest.raises(GpuError, match="mig-minors: found no gpu1/gi7/ci0; accepted: a line"):
        find(host)


def test_lists_that_contradict_each_other(gpu_host: GpuHost) -> None:
    host = gpu_host("a100-mig")
    host.answers = {"nvidia-smi -L": Result([], 0, "", "")}
    with pytest.raises(GpuError, match="nvidia-smi lists 0 MIG instances with -L and 7 with -q -x"):
        find(host)


@pytest.mark.parametrize(
    ("name", "others", "finding"),
    [
        (
            "lost-newer",
            3,
            "0000:0b:00.0: nvidia-smi: Unable to determine the device handle for GPU1: 0000:0B:00.0: Unknown Error",
        ),
        (
            "lost-older",
            3,
            "0000:0b:00.0: nvidia-smi: Unable to determine the device handle for GPU 0000:0B:00.0: Unknown Error",
        ),
        ("lost-value", 1, "0000:0b:00.0: nvidia-smi: GPU is lost"),
    ],
)
def test_a_card_that_fell_off_the_bus_leaves_the_others(
    gpu_host: GpuHost, name: str, others: int, finding: str
) -> None:
    found = find(gpu_host(name))
    assert len(found.devices) == others
    assert "0000:0b:00.0" not in [device.bus_id for device in found.devices]
    assert found.findings == [finding]


def test_an_older_driver_is_asked_card_by_card(gpu_host: GpuHost) -> None:
    host = gpu_host("lost-older")
    find(host)
    single = [query_argv(FIELDS, f"0000:{bus}:00.0") for bus in ("0a", "0b", "41", "42")]
    assert host.calls == [ALL, *single, list(TOPOLOGY)]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mismatch", r"failed \(rc=18\): Failed to initialize NVML: Driver/library version mismatch / NVML library"),
        ("garbage", "nvidia-smi: found the line '<html>502 Bad Gateway</html>'; accepted: index, uuid"),
    ],
)
def test_other_failures_are_said_in_the_words_of_the_tool(gpu_host: GpuHost, name: str, said: str) -> None:
    with pytest.raises((CommandError, GpuError), match=said):
        find(gpu_host(name))


@pytest.mark.parametrize("name", ["none", "no-driver", "mi300x", "card-without-driver"])
def test_hosts_without_nvidia_gpus(gpu_host: GpuHost, name: str) -> None:
    assert find(gpu_host(name)) == Found([], [])


def test_a_tool_without_its_driver_fails_where_there_are_cards(gpu_host: GpuHost) -> None:
    host = gpu_host("mismatch")
    said = "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver."
    host.answers = {" ".join(ALL): Result(ALL, 9, said, "")}
    with pytest.raises(CommandError, match="couldn't communicate"):
        find(host)


def test_rows_and_warnings() -> None:
    rows, findings = parse_query("WARNING: infoROM is corrupted at gpu 0000:18:00.0\n0, GPU-0\n\n", FIELDS[:2])
    assert [(row.number, row.uuid, row.memory) for row in rows] == [("0", "GPU-0", "")]
    assert findings == ["nvidia-smi: WARNING: infoROM is corrupted at gpu 0000:18:00.0"]


def test_an_index_that_is_no_number(gpu_host: GpuHost) -> None:
    host = gpu_host("l40s")
    host.answers = {" ".join(ALL): Result(ALL, 0, "x, GPU-0, 00000000:C1:00.0, L40S, 1, 1, N/A, 8.9\n", "")}
    with pytest.raises(GpuError, match="index: found 'x'"):
        find(host)


@pytest.mark.parametrize(
    "text", ["", "<gpu", "<log><gpu><uuid>1</uuid></gpu></log>", '<log><gpu id="0000:01:00.0"></gpu></log>']
)
def test_a_log_that_cannot_be_read(text: str) -> None:
    with pytest.raises(GpuError, match="found text that cannot be read"):
        parse_log(text)


def test_lists_of_other_versions() -> None:
    text = (
        "GPU 0: A100-SXM4-40GB (UUID: GPU-5d5ba0d6)\n"
        "  MIG 1c.3g.20gb Device 0: (UUID: MIG-GPU-5d5ba0d6/2/0)\n"
        "  MIG 1g.5gb+me  Device  1: (UUID: MIG-b)\n"
    )
    assert parse_list(text) == {"GPU-5d5ba0d6": [("1c.3g.20gb", "MIG-GPU-5d5ba0d6/2/0"), ("1g.5gb+me", "MIG-b")]}


@pytest.mark.parametrize(
    ("text", "plain"),
    [("00000000:4E:00.0", "0000:4e:00.0"), ("0000:4e:00.0", "0000:4e:00.0"), ("00010000:01:00.0", "10000:01:00.0")],
)
def test_bus_ids(text: str, plain: str) -> None:
    assert plain_bus_id(text) == plain


def test_what_is_no_bus_id() -> None:
    with pytest.raises(GpuError, match="found ''; accepted: such as"):
        plain_bus_id("")


# --- links ------------------------------------------------------------------------------------------------------------


def test_links_that_differ_by_pair(gpu_host: GpuHost) -> None:
    assert [device.links for device in find(gpu_host("v100x4")).devices] == [
        "-1,1,1,2",
        "1,-1,2,1",
        "1,2,-1,1",
        "2,1,1,-1",
    ]


@pytest.mark.parametrize("name", ["h100x8", "rtx4090x8", "a100-mig"])
def test_links_that_are_alike_are_left_out(gpu_host: GpuHost, name: str) -> None:
    assert {device.links for device in find(gpu_host(name)).devices} == {None}


def test_a_matrix_with_network_cards() -> None:
    text = (
        "\t\x1b[4mGPU0\tGPU1\tNIC0\tCPU Affinity\x1b[0m\n"
        "GPU0\t X \tNV4\tPIX\t0-7\n"
        "GPU1\tNV4\t X \tSYS\t0-7\n"
        "NIC0\tPIX\tSYS\t X \n"
    )
    assert parse_topology(text) == {"0": {"0": 0, "1": 4}, "1": {"0": 4, "1": 0}}


def test_no_matrix_is_no_link() -> None:
    assert parse_topology("") == {}
    assert links_of({}, ["0", "1"]) == [None, None]


# --- MIG --------------------------------------------------------------------------------------------------------------


def card(number: int, *profiles: str, mode: bool = True, capable: bool = True) -> Device:
    made = Device("nvidia", f"0000:0{number}:00.0", "A100", f"GPU-{number}", f"/dev/nvidia{number}", 1, "535", "8.0")
    instances = tuple(Mig(profile, "", ()) for profile in profiles) if mode else None
    return made._replace(mig=instances, mig_capable=capable)


def smi(*words: str) -> list[str]:
    return ["nvidia-smi", *words]


PLAIN, EMPTY, SEVEN = card(0, mode=False), card(0), card(0, *["1g.10gb"] * 7)
ONE = "--id=0000:00:00.0"
ON, OFF = smi(ONE, "--multi-instance-gpu=1"), smi(ONE, "--multi-instance-gpu=0")
CLEAR = [smi("mig", ONE, "-dci"), smi("mig", ONE, "-dgi")]
CUT = smi("mig", ONE, "-cgi", ",".join(["1g.10gb"] * 7), "-C")


@pytest.mark.parametrize(
    ("device", "wanted", "commands"),
    [
        (PLAIN, "1g.10gb:7", [ON, CUT]),
        # None that is listed: there can be GPU instances without a compute instance.
        (EMPTY, "1g.10gb:7", [*CLEAR, CUT]),
        (card(0, "3g.40gb"), "1g.10gb:7", [*CLEAR, CUT]),
        (SEVEN, "", [*CLEAR, OFF]),
        (EMPTY, None, [*CLEAR, OFF]),
        (EMPTY, "1g.10gb:1,3g.40gb", [*CLEAR, smi("mig", ONE, "-cgi", "3g.40gb,1g.10gb", "-C")]),
        (EMPTY, ["1g.10gb+me:1"], [*CLEAR, smi("mig", ONE, "-cgi", "1g.10gb+me", "-C")]),
    ],
)
def test_layout_in_a_safe_order(device: Device, wanted: Any, commands: list[list[str]]) -> None:
    assert [plan.commands for plan in plan_layout([device], {"all": wanted})] == [commands]


@pytest.mark.parametrize(
    ("device", "layout"),
    [
        (SEVEN, {"all": "1g.10gb:7"}),
        (PLAIN, {"all": ""}),
        (SEVEN, {}),
        (card(0, "1g.10gb"), {"all": ["1g.10gb+me:1"]}),
        (card(0, mode=False, capable=False), {"all": "1g.10gb:7"}),
        (card(0, mode=False)._replace(vendor="amd"), {"all": "1g.10gb:7"}),
    ],
)
def test_a_layout_that_is_there_needs_nothing(device: Device, layout: dict[str, Any]) -> None:
    assert plan_layout([device], layout) == []


def test_a_card_of_its_own_comes_before_all() -> None:
    layout = {"all": "1g.10gb:7", "gpu-1": ""}
    assert [plan.words for plan in plan_layout([PLAIN, card(1, "1g.10gb")], layout)] == [
        "0000:00:00.0: MIG: found none, wanted 1g.10gb:7",
        "0000:01:00.0: MIG: found 1g.10gb:1, wanted none",
    ]


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ({"/dev/nvidia9": ""}, "mig: found '/dev/nvidia9'; accepted: all, or a bus id"),
        ({"all": "seven"}, "mig: all: found 'seven'; accepted: profiles with numbers"),
        ({"all": "1g.10gb:0"}, "found '1g.10gb:0'"),
        ({"/dev/nvidia1": "1g.10gb"}, "mig: /dev/nvidia1: found a card without MIG"),
    ],
)
def test_layouts_that_are_refused(layout: dict[str, Any], message: str) -> None:
    with pytest.raises(GpuError, match=message):
        plan_layout([PLAIN, card(1, mode=False, capable=False)], layout)


def test_a_layout_of_a_card_that_is_gone_waits_for_it() -> None:
    layout = {"0000:09:00.0": "1g.10gb:7", "00000000:00:00.0": "1g.10gb:7"}
    assert [plan.bus_id for plan in plan_layout([PLAIN], layout, ["0000:09:00.0"])] == ["0000:00:00.0"]


@pytest.mark.parametrize("what", ["compute", "GPU"])
def test_nothing_to_remove_is_no_failure(what: str) -> None:
    follow(lambda argv: Result(list(argv), 6, f"No {what} instances found: Not Found\n", ""), CLEAR[0])


def test_a_command_that_fails() -> None:
    said = "Unable to create a GPU instance on GPU  0 using profile 9: Insufficient Resources"
    with pytest.raises(CommandError, match="Insufficient Resources"):
        follow(lambda argv: Result(list(argv), 19, said, ""), CUT)


def test_a_mode_that_waits_for_a_reset_is_said_in_the_words_of_the_tool() -> None:
    said = "Warning: MIG mode is in pending enable state for GPU 00000000:00:00.0:In use by another client\nAll done.\n"
    with pytest.raises(GpuError, match=r"pending enable state .* / All done.; the card needs a reset or a reboot"):
        follow(lambda argv: Result(list(argv), 0, said, ""), ON)


def test_layouts_add_up() -> None:
    assert parse_layout("1g.10gb,1g.10gb:2", "mig") == {"1g.10gb": 3}


def test_users_are_those_of_the_cards_that_change() -> None:
    lines = "00000000:00:00.0, 1, python\n00000000:07:00.0, 2, python\n"

    def run(argv: Sequence[str]) -> Result:
        return Result(list(argv), 0, lines, "")

    assert users(run, [Layout("0000:00:00.0", "", [])]) == ["00000000:00:00.0, 1, python"]
