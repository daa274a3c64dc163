# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.aicluster.slurm.plugins.module_utils import ganesha
from ansible_collections.aicluster.slurm.plugins.module_utils.exports import ExportsError, Settings, settings_of
from ansible_collections.aicluster.slurm.plugins.module_utils.ganesha import Export
from hypothesis import given
from hypothesis import strategies as st

TEXT = """# ours
EXPORT {
    Export_Id = 7;
    Path = "/data/a b";
    Pseudo = "/data/a b";
    Access_Type = None;
    FSAL {
        Name = VFS;
    }
    CLIENT {
        Clients = 10.0.0.11, node2;
        Access_Type = RW;
        Squash = No_Root_Squash;
        PrivilegedPort = true;
        SecType = sys;
        Anonymous_Uid = 65534;
        Anonymous_Gid = 65534;
    }
    CLIENT {
        Clients = 10.0.0.0/8;
        Access_Type = RO;
        Squash = All_Squash;
        PrivilegedPort = false;
        SecType = krb5, krb5p;
        Anonymous_Uid = 99;
        Anonymous_Gid = 65534;
    }
    CLIENT {
        Clients = *;
        Access_Type = RW;
        Squash = No_Root_Squash;
        PrivilegedPort = true;
        SecType = sys;
        Anonymous_Uid = 65534;
        Anonymous_Gid = 65534;
    }
}
"""
ROOT = settings_of(["rw", "no_root_squash"])
ALL = settings_of(["ro", "all_squash", "insecure", "sec=krb5:krb5p", "anonuid=99"])
EXPORT = Export(7, "/data/a b", {"*": ROOT, "node2": ROOT, "10.0.0.0/8": ALL, "10.0.0.11": ROOT})


def test_an_export_and_its_text() -> None:
    # The narrow client stands before the wide one, although the two sides of it say the same.
    assert ganesha.render(EXPORT, "# ours\n") == TEXT
    assert ganesha.parse(TEXT) == EXPORT


def test_any_configuration() -> None:
    text = """
    # CRIT
    NFS_CORE_PARAM { Protocols = 3,4; NFS_Port=2049; } LOG { COMPONENTS { ALL = EVENT; } }
    %include "/etc/ganesha/more.conf"
    %dir /etc/ganesha/exports.d
    export{export_id=3;path='/it"s'; FSAL{name=VFS;} client { Clients = 10.0.0.0/8, *.lab, @net, fe80::1; } }
    EXPORT { Path = "/a\\"b"; }
    """
    assert ganesha.read(text)[1] == ["/etc/ganesha/exports.d"]
    assert ganesha.exports(text) == [Export(3, '/it"s', {}), Export(0, '/a"b', {})]
    export = ganesha.read(text)[0][2]
    assert export.blocks[1].values == {"clients": ["10.0.0.0/8", "*.lab", "@net", "fe80::1"]}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("EXPORT { Path = /a", "line 1: found the end of the file"),
        ("EXPORT {\n Path /a; }", "line 2: found '/a'"),
        ("EXPORT {\n Path = ; }", "line 2: found ';'"),
        ("EXPORT }", "line 1: found '}'"),
        ("}", "line 1: found '}'"),
        ("Path = /a;", "line 1: found '='"),
        ('EXPORT {\n Path = "/a; }', "line 2: found '\"'; accepted: a closed quote"),
    ],
)
def test_configurations_that_are_none(text: str, said: str) -> None:
    with pytest.raises(ExportsError) as error:
        ganesha.read(text)
    assert str(error.value).startswith(said)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "LOG { }",
        "EXPORT { }",
        TEXT.replace("Export_Id = 7", "Export_Id = x"),
        TEXT.replace("= RW;", "= rw;", 1),
        TEXT.replace("Squash = No_Root_Squash", "Squash = Root", 1),
        TEXT.replace("        SecType = sys;\n", "", 1),
        TEXT + TEXT,
    ],
)
def test_files_that_are_not_ours(text: str) -> None:
    with pytest.raises(ExportsError, match="accepted: the file as it was written"):
        ganesha.parse(text)


@pytest.mark.parametrize(
    "options", [["async"], ["subtree_check"], ["fsid=0"], ["crossmnt"], ["mp"], ["sec=sys", "rw", "sec=krb5", "ro"]]
)
def test_options_that_ganesha_lacks(options: list[str]) -> None:
    with pytest.raises(ExportsError, match=r"^n1: found .*; accepted with NFS-Ganesha: ro, rw, root_squash"):
        ganesha.check("n1", settings_of(options))


@pytest.mark.parametrize("host", ["1node", "::/0", "0.0.0.0/0", "2001:db8::/128", "a b"])
def test_clients_that_ganesha_cannot_read(host: str) -> None:
    with pytest.raises(ExportsError, match="found a client that NFS-Ganesha cannot read"):
        ganesha.check(host, settings_of([]))


@pytest.mark.parametrize(
    "host", ["*", "n1", "n1.lab", "10.0.0.0/24", "2001:db8::/32", "fe80::1", "@net", "*.lab", "n[1-3]"]
)
def test_clients_that_it_can(host: str) -> None:
    assert ganesha.check(host, ROOT) == ROOT


def test_who_squashes_all_squashes_root() -> None:
    assert ganesha.check("*", settings_of(["all_squash", "no_root_squash"])) == settings_of(["all_squash"])


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/data", "data"),
        ("/data/sets", "data-sets"),
        ("/data-sets", "data_2dsets"),
        ("/data_sets", "data_5fsets"),
        ("/dä ta", "d_c3_a4_20ta"),
        ("/", "root"),
    ],
)
def test_a_file_for_each_path(path: str, name: str) -> None:
    assert ganesha.file_name(path) == f"aicluster-{name}.conf"


def test_a_path_that_no_file_can_hold() -> None:
    with pytest.raises(ExportsError, match=r"^path: found '/a\"b'; accepted with NFS-Ganesha: "):
        ganesha.render(Export(1, '/a"b', {}))


def test_free_id() -> None:
    assert ganesha.free_id({}) == 1
    assert ganesha.free_id({0: "/", 1: "/a", 3: "/b"}) == 2


WORDS = st.sampled_from(
    ["ro", "rw", "all_squash", "no_root_squash", "insecure", "sec=sys:krb5", "anonuid=5", "anongid=7"]
)
CLIENTS = st.dictionaries(
    st.sampled_from(["n1", "10.0.0.1", "10.0.0.0/8", "fe80::/10", "*.lab", "@g", "*"]),
    st.lists(WORDS, max_size=5).map(settings_of),
    min_size=1,
)


@given(CLIENTS)
def test_what_is_written_is_read(clients: dict[str, Settings]) -> None:
    checked = {host: ganesha.check(host, settings) for host, settings in clients.items()}
    assert ganesha.parse(ganesha.render(Export(9, "/p", checked), "# x\n")) == Export(9, "/p", checked)
