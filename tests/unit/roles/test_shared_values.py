# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What roles share stands once, in role cluster: the folder of SPANK plugins, slurm's uid, what containers are."""

from __future__ import annotations

from .conftest import ROLES, Values

FOLDER = "/usr/local/lib/aicluster/spank"


def test_the_head_names_plugins_where_the_nodes_build_them(role_value: Values) -> None:
    plugins = {"nodes_spank_plugins": [{"name": "mark", "source": "mark.tar.gz"}]}
    shared = role_value("nodes", "__cluster_spank_folder")
    assert role_value("nodes", "__nodes_spank_archives", **plugins) == [f"{shared}/source/mark.tar.gz"]
    (line,) = role_value("head", "__head_cluster_plugstack", __head_host="n0", __head_here=True, **plugins)
    assert f"{shared}/mark.so" in str(line)


def test_the_server_gives_the_state_to_the_user_slurm(role_value: Values) -> None:
    (folder,) = role_value("nfs", "__nfs_state", cluster_config={})
    assert (str(folder["owner"]), str(folder["group"]), folder["mode"]) == ("64030", "64030", "0700")


def test_no_role_writes_them_itself() -> None:
    texts = {path: path.read_text() for path in ROLES.glob("*/*/**/*.yml") if path.parent.name != "meta"}
    for word in (FOLDER, "64030", "virtualization_tech_guest"):
        assert [path.relative_to(ROLES).parts[0] for path, text in texts.items() if word in text] == ["cluster"], word
