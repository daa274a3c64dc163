# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.aicluster.slurm.plugins.module_utils import slurm_keys
from hypothesis import given, settings
from hypothesis import strategies as st

VERSIONS = ("22.05", "24.11")
KINDS = ("slurm.conf", "node", "partition", "nodeset", "downnodes", "gres.conf", "cgroup.conf")
# The first key of a line, which the recorded lines have in place; FastSchedule parses, and is refused only then.
FIRST_KEYS = {"node": {"nodename"}, "gres.conf": {"nodename"}}
LINES = {"nodename", "partitionname", "nodeset", "downnodes"}


def recorded(version: str) -> dict[str, dict[str, str]]:
    """What Slurm's own parser says of each key it knows, by the kind of line (see record_keys.sh)."""
    path = Path(__file__).parents[2] / "fixtures" / f"keys_{version}.txt"
    found: dict[str, dict[str, str]] = {kind: {} for kind in KINDS}
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            kind, key, verdict = line.split("\t")
            found[kind][key] = verdict
    return found


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_table_has_just_the_keys_that_slurm_itself_knows(version: str, kind: str) -> None:
    real = set(recorded(version)[kind]) - LINES
    assert set(slurm_keys.known(version, kind)) - FIRST_KEYS.get(kind, set()) == real


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_table_has_just_the_defunct_keys_of_slurm_itself(version: str, kind: str) -> None:
    real = {key for key, verdict in recorded(version)[kind].items() if verdict == "defunct"}
    defunct = {key for key, entry in slurm_keys.known(version, kind).items() if entry.defunct}
    assert defunct - {"fastschedule"} == real


def test_records_are_of_real_size() -> None:
    sizes = {version: [len(keys) for keys in recorded(version).values()] for version in VERSIONS}
    assert sizes == {"22.05": [225, 24, 42, 2, 2, 12, 23], "24.11": [232, 25, 45, 2, 2, 12, 22]}


@pytest.mark.parametrize("version", [(22, 5), (24, 11)])
def test_every_key_with_a_rule_is_a_key(version: slurm_keys.Version) -> None:
    tables = slurm_keys._TABLES[version]
    for kind, groups in slurm_keys._RESTART[version].items():
        for daemons, keys in groups:
            assert set(daemons.split()) <= {"slurmctld", "slurmd"}
            assert set(keys.lower().split()) <= set(tables[kind])
    everywhere = {key for table in tables.values() for key in table}
    assert set(slurm_keys._DEFUNCT[version].lower().split()) <= everywhere
    assert set(slurm_keys._REPEATABLE[version].lower().split()) <= set(tables["slurm.conf"])


@pytest.mark.parametrize("version", [(22, 5), (24, 11)])
def test_no_key_has_two_rules(version: slurm_keys.Version) -> None:
    for groups in slurm_keys._RESTART[version].values():
        keys = [key for _daemons, names in groups for key in names.lower().split()]
        assert sorted(keys) == sorted(set(keys))


@pytest.mark.parametrize(
    ("version", "kind", "key", "daemons"),
    [
        ("22.05", "slurm.conf", "SelectTypeParameters", {"slurmctld"}),
        ("22.05", "slurm.conf", "SelectType", {"slurmctld", "slurmd"}),
        ("22.05", "slurm.conf", "GresTypes", {"slurmctld", "slurmd"}),
        ("22.05", "slurm.conf", "MaxNodeCount", {"slurmctld"}),
        ("22.05", "slurm.conf", "CoreSpecPlugin", {"slurmd"}),
        ("22.05", "slurm.conf", "AccountingStorageType", {"slurmctld"}),
        ("22.05", "slurm.conf", "SlurmdTimeout", set()),
        ("22.05", "slurm.conf", "JobSubmitPlugins", set()),
        ("22.05", "node", "NodeName", {"slurmctld"}),
        ("22.05", "node", "CPUs", {"slurmctld"}),
        ("22.05", "node", "Gres", {"slurmctld"}),
        ("22.05", "node", "NodeAddr", set()),
        ("22.05", "node", "Weight", set()),
        ("22.05", "partition", "MaxTime", set()),
        ("22.05", "gres.conf", "Type", {"slurmctld", "slurmd"}),
        ("22.05", "cgroup.conf", "ConstrainCores", set()),
        ("24.11", "slurm.conf", "SelectTypeParameters", set()),
        ("24.11", "slurm.conf", "GresTypes", set()),
        ("24.11", "slurm.conf", "AccountingStorageType", set()),
        ("24.11", "slurm.conf", "AuthType", {"slurmctld", "slurmd"}),
        ("24.11", "slurm.conf", "SlurmctldPort", {"slurmctld"}),
        ("24.11", "node", "NodeName", set()),
        ("24.11", "node", "Port", {"slurmd"}),
        ("24.11", "gres.conf", "Cores", {"slurmctld"}),
    ],
)
def test_restart(version: str, kind: str, key: str, daemons: set[str]) -> None:
    assert slurm_keys.known(version, kind)[key.lower()].restart == daemons


@pytest.mark.parametrize(
    ("version", "table"),
    [
        ("20.11.9", "22.05"),
        ("22.05", "22.05"),
        ("22.05.8", "22.05"),
        ("23.11.10", "22.05"),
        ("24.05.1", "22.05"),
        ("24.11.0-rc1", "24.11"),
        ("25.05.3", "24.11"),
        ("26.05", "24.11"),
    ],
)
def test_newest_table_that_is_not_newer(version: str, table: str) -> None:
    for kind in KINDS:
        assert slurm_keys.known(version, kind) is slurm_keys.known(table, kind)


@pytest.mark.parametrize("version", ["", "slurm 24.11", "24", "x.y"])
def test_no_version(version: str) -> None:
    with pytest.raises(ValueError, match=r"Slurm version: found .*; accepted: a version such as 24\.11\.5"):
        slurm_keys.known(version, "node")


def test_repeatable_keys() -> None:
    assert slurm_keys.repeatable("22.05.8") == {"slurmctldhost"}
    assert "prolog" in slurm_keys.repeatable("24.11.5")


def test_nearest_key() -> None:
    assert slurm_keys.nearest("22.05.8", "slurm.conf", "slurmdtimeot") == "SlurmdTimeout"
    assert slurm_keys.nearest("22.05.8", "node", "RealMem") == "RealMemory"
    assert slurm_keys.nearest("22.05.8", "node", "xyzzy") is None


@pytest.mark.parametrize(
    ("version", "kind", "key", "message"),
    [
        (
            "22.05.8",
            "slurm.conf",
            "SlurmdTimeot",
            "HERE: found the unknown key SlurmdTimeot; accepted: a key of slurm.conf(5), such as SlurmdTimeout",
        ),
        (
            "24.11.5",
            "node",
            "Sokets",
            "HERE: found the unknown key Sokets; accepted: a key of slurm.conf(5) for a NodeName line, such as Sockets",
        ),
        ("24.11.5", "cgroup.conf", "xyzzy", "HERE: found the unknown key xyzzy; accepted: a key of cgroup.conf(5)"),
        # What another version knows is no typing error.
        (
            "22.05.8",
            "partition",
            "PowerDownOnIdle",
            "HERE: found the key PowerDownOnIdle, which Slurm 22.05 does not know; accepted: no such key",
        ),
        (
            "24.11.5",
            "slurm.conf",
            "PowerPlugin",
            "HERE: found the key PowerPlugin, which is defunct in Slurm 24.11; accepted: no such key",
        ),
        ("22.05.8", "slurm.conf", "powerplugin", None),
        ("22.05.8", "slurm.conf", "SLURMDTIMEOUT", None),
        # Between the tables, and after them, Slurm itself has to judge what may be new.
        ("23.11.1", "partition", "PowerDownOnIdle", None),
        (
            "23.11.1",
            "slurm.conf",
            "SlurmdTimeot",
            "HERE: found the unknown key SlurmdTimeot; accepted: a key of slurm.conf(5), such as SlurmdTimeout",
        ),
        ("26.05.0", "slurm.conf", "SomethingNew", None),
    ],
)
def test_findings(version: str, kind: str, key: str, message: str | None) -> None:
    assert slurm_keys.findings(version, kind, "HERE", [key]) == ([] if message is None else [message])


def test_one_finding_a_key() -> None:
    assert len(slurm_keys.findings("22.05.8", "slurm.conf", "HERE", ["Foo1", "ClusterName", "Foo2"])) == 2


def key(form: str) -> slurm_keys.Key:
    return slurm_keys.Key("Key", form, frozenset(), False)


@pytest.mark.parametrize(
    ("form", "text", "value"),
    [
        ("text", "5", "5"),
        ("bool", "Yes", True),
        ("bool", "up", True),
        ("bool", "0", False),
        ("u16", "65535", 65535),
        ("u16", "0x1F", 31),
        ("u16", "010", 8),
        ("u16", "0", 0),
        ("u16", " +7", 7),
        ("u16", "", 0),
        ("u16", "infinite", "INFINITE"),
        ("u32", "2K", 2048),
        ("u64", "18446744073709551615", 2**64 - 1),
        ("float", "98.5", 98.5),
        ("float", "100", 100),
        ("float", "Unlimited", "UNLIMITED"),
    ],
)
def test_values(form: str, text: str, value: object) -> None:
    found = slurm_keys.parse_value(key(form), text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("form", "text", "accepted"),
    [
        ("bool", "on", "YES or NO"),
        ("bool", "", "YES or NO"),
        ("u16", "65536", "a number below 65536, or UNLIMITED"),
        ("u16", "-1", "a number below 65536, or UNLIMITED"),
        ("u16", "1k", "a number below 65536, or UNLIMITED"),
        ("u16", "08", "a number below 65536, or UNLIMITED"),
        ("u16", "0x", "a number below 65536, or UNLIMITED"),
        ("u16", "5 ", "a number below 65536, or UNLIMITED"),
        ("u32", "1M", "a number below 4294967296, or UNLIMITED"),
        ("u64", "9" * 10_000, "a number below 18446744073709551616, or UNLIMITED"),
        ("float", "1,5", "a number, or UNLIMITED"),
    ],
)
def test_refused_values(form: str, text: str, accepted: str) -> None:
    with pytest.raises(ValueError, match=f"^{accepted}$"):
        slurm_keys.parse_value(key(form), text)


@settings(max_examples=1_000, derandomize=True, deadline=None)
@given(form=st.sampled_from(["text", "bool", "u16", "u32", "u64", "float"]), text=st.text(max_size=60))
def test_any_value_is_a_value_or_refused(form: str, text: str) -> None:
    try:
        slurm_keys.parse_value(key(form), text)
    except ValueError as error:
        assert "or" in str(error)  # noqa: PT017  # garbage need not be an error
