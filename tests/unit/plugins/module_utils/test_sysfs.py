# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.aicluster.slurm.plugins.module_utils.sysfs import (
    Tree,
    fold_numbers,
    near_cores,
    parse_cpus,
    read_cards,
    read_cores,
)

FIXTURES = Path(__file__).parents[2] / "fixtures/gpu"

GpuHost = Callable[[str], Any]


@pytest.mark.parametrize(
    ("text", "numbers", "folded"),
    [
        ("0-3,8-11", (0, 1, 2, 3, 8, 9, 10, 11), "0-3,8-11"),
        ("5", (5,), "5"),
        ("0,2,1", (0, 2, 1), "0-2"),
        ("", (), ""),
    ],
)
def test_lists_of_cpus(text: str, numbers: tuple[int, ...], folded: str) -> None:
    assert parse_cpus(text) == numbers
    assert fold_numbers(numbers) == folded


def test_cores_have_the_numbers_of_slurm_and_hwloc(gpu_host: GpuHost) -> None:
    """The system numbers the CPUs of the two sockets in turns; cores.txt is what hwloc makes of the same tree."""
    recorded = (FIXTURES / "two-sockets/cores.txt").read_text(encoding="utf-8")
    expected = [set(parse_cpus(text)) for text in re.findall(r"^Core L#\d+ CPUs ([0-9,-]+)$", recorded, re.MULTILINE)]
    assert len(expected) == 16
    assert [set(core.cpus) for core in read_cores(Tree(str(gpu_host("two-sockets").root)))] == expected


def test_a_card_is_near_to_its_whole_socket(gpu_host: GpuHost) -> None:
    tree = Tree(str(gpu_host("two-sockets").root))
    cores, cards = read_cores(tree), read_cards(tree)
    # Each card is near to one of the two NUMA nodes of its socket.
    assert [(card.numa_node, len(card.cpus), near_cores(cores, card.cpus)) for card in cards] == [
        (0, 8, "0-7"),
        (3, 8, "8-15"),
    ]


def test_cores_that_say_nothing_are_left_out(gpu_host: GpuHost) -> None:
    cores = read_cores(Tree(str(gpu_host("two-sockets").root)))
    assert near_cores(cores, range(32)) is None
    assert near_cores(cores, ()) is None
    one_socket = [core for core in cores if core.socket == cores[0].socket]
    assert near_cores(one_socket, one_socket[0].cpus) is None


def test_cpus_that_are_off_have_no_number(gpu_host: GpuHost) -> None:
    host = gpu_host("two-sockets")
    (host.root / "sys/devices/system/cpu/online").write_text("1-15,17-31\n")
    cores = read_cores(Tree(str(host.root)))
    assert len(cores) == 15
    assert cores[0].cpus != {0, 16}


def test_a_kernel_without_topology_has_one_core_a_cpu(tmp_path: Path) -> None:
    (tmp_path / "sys/devices/system/cpu").mkdir(parents=True)
    (tmp_path / "sys/devices/system/cpu/online").write_text("0-1\n")
    assert [set(core.cpus) for core in read_cores(Tree(str(tmp_path)))] == [{0}, {1}]


def test_only_cards_that_slurm_could_hand_out_count(gpu_host: GpuHost) -> None:
    cards = read_cards(Tree(str(gpu_host("card-without-driver").root)))
    assert [(card.bus_id, card.vendor, card.device, card.driver) for card in cards] == [
        ("0000:1a:00.0", "nvidia", "2330", ""),
        ("0000:1b:00.0", "nvidia", "2330", "vfio-pci"),
    ]


def test_graphics_inside_an_intel_processor_are_no_card(gpu_host: GpuHost) -> None:
    cards = read_cards(Tree(str(gpu_host("intel-max").root)))
    assert [(card.bus_id, card.numa_node) for card in cards] == [("0000:4d:00.0", None)]


def test_what_is_not_there_is_empty(tmp_path: Path) -> None:
    tree = Tree(str(tmp_path))
    assert (tree.text("/a"), tree.number("/a"), tree.names("/a"), tree.link("/a")) == ("", None, [], "")
    assert (read_cores(tree), read_cards(tree)) == ([], [])
