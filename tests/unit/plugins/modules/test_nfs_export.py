# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible_collections.aicluster.slurm.plugins.module_utils import exports, ganesha, nfs_servers
from ansible_collections.aicluster.slurm.plugins.module_utils.command import Result
from ansible_collections.aicluster.slurm.plugins.module_utils.nfs_servers import HEADER
from ansible_collections.aicluster.slurm.plugins.modules import nfs_export
from module_arguments import module_arguments

RW = "rw,root_squash,sync,no_subtree_check"
RO = "ro,root_squash,sync,no_subtree_check"
ADD = ("exportfs", "-a")
BUS = ("org.ganesha.nfsd", "/org/ganesha/nfsd/ExportMgr", "org.ganesha.nfsd.exportmgr")
SHOW = ("busctl", "--system", "--json=short", "call", *BUS, "ShowExports")

Effect = Callable[[], object]


class Step(NamedTuple):
    """A command that is expected, how it ends, and what it changes on the host."""

    argv: tuple[str, ...]
    rc: int = 0
    stdout: str = ""
    stderr: str = ""
    effect: Effect = lambda: None


class Host:
    """A storage server whose files are in a folder of the test, and runs of the whole module on it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.etc = folder / "etc"
        self.drop = self.etc / "exports.d"
        self.drop.mkdir(parents=True)
        self.ours = self.drop / "aicluster.exports"
        self.etab = folder / "etab"
        self.path = str(folder / "data")
        Path(self.path).mkdir()
        self.monkeypatch = monkeypatch
        self.capsys = capsys
        self.programs = {"exportfs"}

    def let_in(self, **options: str) -> Effect:
        """The server's table gets to have these clients of the path; `_` stands for a dot."""
        clients = {host.replace("_", "."): words for host, words in options.items()}
        return lambda: self.etab.write_text(
            "".join(f"{self.path}\t{host}({words})\n" for host, words in clients.items())
        )

    def judge(self, rc: int = 0, stderr: str = "") -> Step:
        return Step(("unshare", "--mount", "sh", "-c", nfs_servers._JUDGE, "sh", "FILE"), rc, stderr=stderr)

    def add(self, **clients: str) -> Step:
        return Step(ADD, effect=self.let_in(**clients))

    def fail(self, stderr: str, **clients: str) -> Step:
        """What adds these clients and complains."""
        return Step(ADD, 1, stderr=stderr, effect=self.let_in(**clients))

    def remove(self, client: str, **left: str) -> Step:
        return Step(("exportfs", "-u", f"{client}:{self.path}"), effect=self.let_in(**left))

    def text(self, **clients: str) -> str:
        """Our file with these clients of the path."""
        return HEADER + "".join(f"{self.path} {host.replace('_', '.')}({words})\n" for host, words in clients.items())

    def run(self, *steps: Step, check: bool = False, **options: Any) -> dict[str, Any]:
        left = list(steps)
        warnings: list[str] = []

        def runner(argv: Sequence[str]) -> Result:
            assert left, f"unexpected: {argv}"
            step = left.pop(0)
            # The file to judge has another name each time.
            assert list(argv) == [argv[-1] if word == "FILE" else word for word in step.argv]
            step.effect()
            return Result(list(argv), step.rc, step.stdout, step.stderr)

        def kernel(run: Any, path: str, exclusive: bool) -> nfs_servers.Kernel:
            return nfs_servers.Kernel(run, path, exclusive, etc=str(self.etc), state=str(self.folder))

        def server(run: Any, path: str) -> nfs_servers.Ganesha:
            return nfs_servers.Ganesha(run, path, etc=str(self.etc), sleep=lambda _seconds: None)

        with self.monkeypatch.context() as patch:
            programs = self.folder / "bin"
            programs.mkdir(exist_ok=True)
            for name in nfs_export.PROGRAMS.values():
                (programs / name).unlink(missing_ok=True)
            for name in self.programs:
                (programs / name).touch(mode=0o755)
            patch.setenv("PATH", str(programs))
            patch.setattr("ansible.module_utils.common.process.is_executable", lambda file: str(programs) in file)
            patch.setattr(nfs_export, "module_runner", lambda _module: runner)
            patch.setattr(AnsibleModule, "warn", lambda _module, text: warnings.append(text))
            patch.setattr(nfs_export, "Kernel", kernel)
            patch.setattr(nfs_export, "Ganesha", server)
            arguments = {"path": self.path, "_ansible_check_mode": check, **options}
            with module_arguments(arguments), pytest.raises(SystemExit) as end:
                nfs_export.main()
        assert left == []
        result: dict[str, Any] = json.loads(self.capsys.readouterr().out)
        assert end.value.code == int(result.get("failed", False))
        return {**result, "warnings": warnings}


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Host:
    return Host(tmp_path, monkeypatch, capsys)


def clients(*hosts: str, options: Sequence[str] = ("rw",)) -> list[dict[str, Any]]:
    return [{"host": host, "options": list(options)} for host in hosts]


# --- the kernel's server ----------------------------------------------------------------------------------------------


def test_a_new_export(host: Host) -> None:
    result = host.run(host.judge(), host.add(**{"10_0_0_1": RW}), clients=clients("10.0.0.1"))
    assert (result["changed"], result["server"], result["validated"]) == (True, "kernel", "deep")
    assert result["commands"] == [list(ADD)]
    assert (result["before"], result["after"]) == ([], [{"host": "10.0.0.1", "options": RW.split(",")}])
    assert host.ours.read_text() == host.text(**{"10_0_0_1": RW}) == result["diff"]["after"]
    assert result["diff"]["before"] == ""

    again = host.run(clients=clients("10.0.0.1"))
    assert (again["changed"], again["commands"], again["before"]) == (False, [], result["after"])


def test_the_same_in_other_words_is_no_change(host: Host) -> None:
    host.ours.write_text(host.text(**{"10_0_0_0/8": RW}))
    host.let_in(**{"10_0_0_0/8": RW + ",wdelay,hide,acl,anonuid=65534,sec=sys,rw,root_squash,no_all_squash"})()
    same = clients("10.1.2.3/255.0.0.0", options=["ro", "sync", "rw", "sec=unix", "hide", "no_subtree_check"])
    assert host.run(clients=same)["changed"] is False


def test_other_clients_go_and_other_paths_stay(host: Host) -> None:
    other = f"/other n9({RO})\n"
    host.ours.write_text(host.text(**{"10_0_0_1": RW, "fd00::1": RW}) + other)
    host.let_in(**{"10_0_0_1": RW, "fd00::1": RW, "10_0_0_7": RO})()
    result = host.run(
        host.judge(),
        host.remove("10.0.0.7", **{"10_0_0_1": RW, "fd00::1": RW}),
        host.remove("[fd00::1]", **{"10_0_0_1": RW}),
        host.add(**{"10_0_0_1": RW, "10_0_0_2": RW}),
        clients=clients("10.0.0.2", "10.0.0.1"),
    )
    assert result["changed"]
    assert host.ours.read_text() == HEADER + other + host.text(**{"10_0_0_1": RW, "10_0_0_2": RW})[len(HEADER) :]


def test_a_client_more(host: Host) -> None:
    host.ours.write_text(host.text(**{"10_0_0_1": RW}))
    host.let_in(**{"10_0_0_1": RW, "10_0_0_7": RO})()
    added = host.add(**{"10_0_0_1": RW, "10_0_0_2": RO, "10_0_0_7": RO})
    result = host.run(host.judge(), added, clients=clients("10.0.0.2", options=[]), exclusive=False)
    assert [client["host"] for client in result["after"]] == ["10.0.0.1", "10.0.0.2"]


def test_one_client_less(host: Host) -> None:
    host.ours.write_text(host.text(**{"10_0_0_1": RW, "10_0_0_2": RW}))
    host.let_in(**{"10_0_0_1": RW, "10_0_0_2": RW, "10_0_0_7": RO})()
    result = host.run(
        host.judge(),
        host.remove("10.0.0.2", **{"10_0_0_1": RW, "10_0_0_7": RO}),
        host.add(**{"10_0_0_1": RW, "10_0_0_7": RO}),
        clients=clients("10.0.0.2"),
        state="absent",
    )
    assert [client["host"] for client in result["after"]] == ["10.0.0.1"]


def test_no_export_any_more(host: Host) -> None:
    host.ours.write_text(host.text(**{"10_0_0_1": RW}))
    host.let_in(**{"10_0_0_1": RW, "10_0_0_7": RO})()
    result = host.run(host.remove("10.0.0.1", **{"10_0_0_7": RO}), host.remove("10.0.0.7"), host.add(), state="absent")
    assert (result["changed"], result["after"]) == (True, [])
    assert not host.ours.exists()
    assert host.run(state="absent")["changed"] is False


def test_written_but_not_in_use(host: Host) -> None:
    # As a run that was killed leaves it, or somebody's `exportfs -ua`.
    host.ours.write_text(host.text(**{"10_0_0_1": RW}))
    result = host.run(host.judge(), host.add(**{"10_0_0_1": RW}), clients=clients("10.0.0.1"))
    assert (result["changed"], result["commands"]) == (True, [list(ADD)])
    assert result["diff"]["before"] == result["diff"]["after"]


def test_names_are_known_by_their_canonical_name(host: Host) -> None:
    resolved = Step(("getent", "ahosts", "n1"), stdout="10.0.0.1     STREAM n1.lab\n10.0.0.1     DGRAM\n")
    host.run(resolved, host.judge(), host.add(n1_lab=RW), clients=clients("n1"))
    assert host.ours.read_text() == host.text(n1=RW)
    assert host.run(resolved, clients=clients("n1"))["changed"] is False


def test_a_name_that_does_not_resolve(host: Host) -> None:
    host.ours.write_text(host.text(**{"10_0_0_1": RW}))
    result = host.run(Step(("getent", "ahosts", "n9"), rc=2), clients=clients("10.0.0.1", "n9"))
    assert result["msg"] == (
        "nfs_export: clients: found n9, which does not resolve; accepted: a name in /etc/hosts or DNS"
    )
    assert host.ours.read_text() == host.text(**{"10_0_0_1": RW})


def test_what_exportfs_refuses_is_not_put_in_place(host: Host) -> None:
    refused = host.judge(98, 'exportfs: /etc/exports:2: unknown keyword "xprtsec=tls"\n\n')
    result = host.run(refused, clients=clients("10.0.0.1", options=["xprtsec=tls"]))
    assert result["msg"] == (f'nfs_export: exportfs refuses it: exportfs: {host.ours}:2: unknown keyword "xprtsec=tls"')
    assert not host.ours.exists()


def test_what_exportfs_only_complains_about_is_refused_too(host: Host) -> None:
    refused = host.judge(0, "exportfs: Failed to resolve n1\n")
    resolved = Step(("getent", "ahosts", "n1"), stdout="10.0.0.1     STREAM n1\n")
    assert "Failed to resolve n1" in host.run(resolved, refused, clients=clients("n1"))["msg"]


@pytest.mark.parametrize("stderr", ["exportfs: Failed to stat it\n", ""])
def test_the_old_exports_come_back(host: Host, stderr: str) -> None:
    host.ours.write_text(old := host.text(**{"10_0_0_1": RO}))
    host.let_in(**{"10_0_0_1": RO, "10_0_0_9": RO})()
    result = host.run(
        host.judge(1),  # no right to a namespace
        host.remove("10.0.0.9", **{"10_0_0_1": RO}),
        host.fail(stderr, **{"10_0_0_1": RW, "10_0_0_2": RW}),
        host.remove("10.0.0.2", **{"10_0_0_1": RW}),
        host.add(**{"10_0_0_1": RO}),
        clients=clients("10.0.0.1", "10.0.0.2", "10.0.0.3"),
    )
    reason = "exportfs: Failed to stat it" if stderr else f"it does not export {host.path} to 10.0.0.3 as wanted"
    assert result["msg"] == f"nfs_export: the server did not take the exports: {reason}. The old ones are back."
    assert host.ours.read_text() == old


def test_complaints_about_the_lines_of_others(host: Host) -> None:
    (host.etc / "exports").write_text("/nope n1(ro)\n/x n1(rw, ro)\n/y n1(ro)\n")
    said = (
        "exportfs: /etc/exports [1]: Neither 'subtree_check' or 'no_subtree_check' specified for export \"n1:/nope\".\n"
        "  Assuming default behaviour ('no_subtree_check').\n"
        "  NOTE: this default has changed since nfs-utils version 1.0.x\n\n"
        "exportfs: Failed to stat /nope: No such file or directory\n"
    )
    result = host.run(host.judge(), host.fail(said, **{"10_0_0_1": RW}), clients=clients("10.0.0.1"))
    assert result["changed"]
    assert result["warnings"] == [
        f"{host.etc}/exports: line 2: found 'n1(rw,'; accepted: client(option,option) without blanks. exportfs ignores"
        " the file from there on.",
        "exportfs: Failed to stat /nope: No such file or directory",
    ]


def test_others_export_the_path_too(host: Host) -> None:
    (host.etc / "exports").write_text(f"# theirs\n{host.path}/. 10.9.0.1(rw) *(ro)\n")
    (host.drop / ".hidden.exports").write_text(f"{host.path} 10.9.0.2(rw)\n")
    (host.drop / "no").write_text(f"{host.path} 10.9.0.3(rw)\n")
    host.let_in(**{"10_9_0_1": RW, "*": RO})()
    left = {"10_9_0_1": RW, "*": RO, "10_0_0_1": RW}
    result = host.run(host.judge(), host.add(**left), clients=clients("10.0.0.1"))
    name = str(host.etc / "exports")
    assert result["others"] == [
        {"file": name, "line": 2, "host": "10.9.0.1", "options": RW.split(",")},
        {"file": name, "line": 2, "host": "*", "options": RO.split(",")},
    ]
    assert result["warnings"] == [f"{host.path} is exported by others too: 10.9.0.1 by {name}, * by {name}"]


def test_others_have_the_client_with_other_options(host: Host) -> None:
    (host.drop / "site.exports").write_text(f"{host.path} 10.0.0.1(ro)\n")
    result = host.run(clients=clients("10.0.0.1"))
    assert result["msg"] == (
        f"nfs_export: clients: found 10.0.0.1 in {host.drop}/site.exports (line 1) too, with other options: {RO};"
        " accepted: one place for a client"
    )


def test_our_file_broken_by_a_human(host: Host) -> None:
    host.ours.write_text(f"/a n1({RW})\n/b n2(rw\n")
    result = host.run(clients=clients("10.0.0.1"))
    assert result["msg"] == (
        f"nfs_export: {host.ours}: line 2: found 'n2(rw'; accepted: client(option,option) without blanks."
        " Mend this file, or remove it."
    )


def test_check_mode_changes_nothing(host: Host) -> None:
    host.ours.write_text(old := host.text(**{"10_0_0_1": RO}))
    result = host.run(host.judge(), clients=clients("10.0.0.1"), check=True)
    assert (result["changed"], result["commands"], result["validated"]) == (True, [], "deep")
    assert result["diff"]["after"] == host.text(**{"10_0_0_1": RW})
    assert host.ours.read_text() == old


def test_check_mode_before_there_is_a_server(host: Host) -> None:
    host.programs = set()
    result = host.run(clients=clients("10.0.0.1"), check=True)
    assert (result["changed"], result["msg"]) == (True, "no NFS server on this host yet")
    assert host.run(state="absent", check=True)["changed"] is False
    assert host.run(clients=clients("10.0.0.1"))["msg"].startswith(
        "nfs_export: server: found no NFS server; accepted: "
    )
    assert "found no ganesha;" in host.run(clients=clients("10.0.0.1"), server="ganesha")["msg"]


def test_of_two_servers_the_one_that_runs(host: Host) -> None:
    host.programs = {"exportfs", "ganesha.nfsd"}
    asked = Step(("systemctl", "is-active", "--quiet", "nfs-ganesha"), rc=3)
    result = host.run(asked, host.judge(), host.add(**{"10_0_0_1": RW}), clients=clients("10.0.0.1"))
    assert result["server"] == "kernel"


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("world", ["*", "0.0.0.0/0", "::/0", "*.*"])
def test_the_world_as_root(host: Host, world: str) -> None:
    options = clients("10.0.0.1") + clients(world, options=["rw", "no_root_squash"])
    assert "with rw and no_root_squash, which makes everybody root here" in host.run(clients=options)["msg"]
    added = host.add(**{"10_0_0_1": RW, world.replace(".", "_"): "rw,no_root_squash,sync,no_subtree_check"})
    assert host.run(host.judge(), added, clients=options, allow_world=True)["changed"]


@pytest.mark.parametrize("options", [["rw"], ["ro", "no_root_squash"], ["rw", "no_root_squash", "all_squash"]])
def test_the_world_without_its_root(host: Host, options: list[str]) -> None:
    words = ",".join(exports.words_of(exports.settings_of(options)))
    assert host.run(host.judge(), host.add(**{"*": words}), clients=clients("*", options=options))["changed"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "clients: found none"),
        ({"path": "data", "clients": clients("n1")}, "accepted: an absolute path"),
        ({"path": "/data/", "clients": clients("n1")}, "accepted: an absolute path"),
        ({"path": "/no/such/folder", "clients": clients("n1")}, "which is no folder"),
        ({"clients": clients("300.0.0.1")}, "clients: 300.0.0.1: found '300.0.0.1'"),
        (
            {"clients": clients("n1", options=["bogus"])},
            "clients: n1: found 'bogus'; accepted: an option of exports(5)",
        ),
        ({"clients": clients("n1") + clients("n1", options=[])}, "found n1 twice"),
        ({"clients": [{"options": ["rw"]}]}, "missing required arguments: host"),
    ],
)
def test_bad_input_runs_nothing(host: Host, options: dict[str, Any], said: str) -> None:
    result = host.run(**options)
    assert result["failed"]
    assert said in result["msg"]


# --- NFS-Ganesha ------------------------------------------------------------------------------------------------------


class Server(Host):
    """The same with NFS-Ganesha."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        super().__init__(folder, monkeypatch, capsys)
        self.programs = {"ganesha.nfsd"}
        self.main = self.etc / "ganesha.conf"
        self.main.write_text(f"%dir {self.drop}\n")
        self.ours = self.drop / ganesha.file_name(self.path)
        self.aside = str(self.etc / ".aicluster.new")

    def block(self, number: int, *hosts: str, options: Sequence[str] = ("rw",)) -> str:
        export = ganesha.Export(number, self.path, {host: exports.settings_of(options) for host in hosts})
        return ganesha.render(export, HEADER)

    def show(self, **paths: int) -> Step:
        """What it exports: `data` is the path."""
        rows = [[0, "/"], *([number, self.path if name == "data" else f"/{name}"] for name, number in paths.items())]
        return Step(SHOW, stdout=json.dumps({"type": "(tt)a(qs)", "data": [[1, 2], rows]}))

    def call(self, method: str, *arguments: str, rc: int = 0, stdout: str = 's "1 exports"', stderr: str = "") -> Step:
        signature = "q" if method == "RemoveExport" else "ss"
        return Step(("busctl", "--system", "call", *BUS, method, signature, *arguments), rc, stdout, stderr)

    def load(self, method: str, number: int, rc: int = 0, stdout: str = 's "1 exports"', stderr: str = "") -> Step:
        return self.call(method, self.aside, f"EXPORT(Export_Id={number})", rc=rc, stdout=stdout, stderr=stderr)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Server:
    return Server(tmp_path, monkeypatch, capsys)


def test_ganesha_adds(server: Server) -> None:
    (server.drop / "theirs.conf").write_text('EXPORT { Export_Id = 1; Path = "/theirs"; }')
    loaded = server.load("AddExport", 3)
    result = server.run(
        server.show(theirs=1, live=2), loaded, server.show(theirs=1, live=2, data=3), clients=clients("10.0.0.1")
    )
    assert (result["changed"], result["server"]) == (True, "ganesha")
    assert result["commands"] == [list(loaded.argv)]
    assert server.ours.read_text() == server.block(3, "10.0.0.1") == result["diff"]["after"]
    assert not Path(server.aside).exists()
    again = server.run(server.show(theirs=1, live=2, data=3), clients=clients("10.0.0.1"))
    assert (again["changed"], again["commands"]) == (False, [])


def test_ganesha_updates(server: Server) -> None:
    server.ours.write_text(server.block(3, "10.0.0.1"))
    result = server.run(
        server.show(data=3),
        server.load("UpdateExport", 3, rc=1, stderr="Call failed: another admin operation, try again later"),
        server.load("UpdateExport", 3),
        server.show(data=3),
        clients=clients("10.0.0.1", "10.0.0.2"),
    )
    assert [client["host"] for client in result["after"]] == ["10.0.0.1", "10.0.0.2"]
    assert server.ours.read_text() == server.block(3, "10.0.0.1", "10.0.0.2")


def test_ganesha_removes(server: Server) -> None:
    server.ours.write_text(server.block(3, "10.0.0.1"))
    result = server.run(server.show(data=3), server.call("RemoveExport", "3"), state="absent")
    assert (result["changed"], result["after"]) == (True, [])
    assert not server.ours.exists()
    assert server.run(server.show(), state="absent")["changed"] is False


def test_ganesha_lost_the_export(server: Server) -> None:
    server.ours.write_text(server.block(3, "10.0.0.1"))
    loaded = server.load("AddExport", 3)
    assert server.run(server.show(), loaded, server.show(data=3), clients=clients("10.0.0.1"))["changed"]


@pytest.mark.parametrize(
    ("rc", "stdout", "stderr"),
    [(1, "", "Call failed: Error while parsing it"), (0, 's "1 exports updated. Errors found: client n9"', "")],
)
def test_ganesha_keeps_the_old_export(server: Server, rc: int, stdout: str, stderr: str) -> None:
    server.ours.write_text(old := server.block(3, "10.0.0.1"))
    result = server.run(
        server.show(data=3),
        server.load("UpdateExport", 3, rc, stdout, stderr),
        server.call("UpdateExport", str(server.ours), "EXPORT(Export_Id=3)"),
        clients=clients("10.0.0.2"),
    )
    said = stderr or stdout
    assert result["msg"] == f"nfs_export: the server did not take the export: {said}. The old one is back."
    assert server.ours.read_text() == old
    assert not Path(server.aside).exists()


def test_ganesha_takes_a_bad_export_away(server: Server) -> None:
    result = server.run(
        server.show(),
        server.load("AddExport", 1, stdout='s "1 exports added. Errors found: x"'),
        server.show(data=1),
        server.call("RemoveExport", "1"),
        clients=clients("10.0.0.2"),
    )
    assert result["failed"]
    assert not server.ours.exists()


def test_ganesha_that_does_not_run(server: Server) -> None:
    result = server.run(
        Step(SHOW, rc=1, stderr="Call failed: The name is not activatable"), clients=clients("10.0.0.1")
    )
    assert (result["changed"], result["commands"]) == (True, [])
    assert result["warnings"] == ["NFS-Ganesha does not run; it reads the export when it starts"]
    assert server.ours.read_text() == server.block(1, "10.0.0.1")
    assert server.run(Step(SHOW, rc=1), clients=clients("10.0.0.1"))["changed"] is False


def test_ganesha_resolves_names_first(server: Server) -> None:
    result = server.run(server.show(), Step(("getent", "ahosts", "n9"), rc=2), clients=clients("n9"))
    assert "found n9, which does not resolve" in result["msg"]


def test_ganesha_with_a_file_that_a_human_broke(server: Server) -> None:
    (server.drop / "theirs.conf").write_text("EXPORT { Export_Id = 1")
    server.ours.write_text("EXPORT { nonsense")
    loaded = server.load("AddExport", 1)
    result = server.run(server.show(), loaded, server.show(data=1), clients=clients("10.0.0.1"))
    assert result["changed"]
    assert [warning.split(": ")[0] for warning in result["warnings"]] == [
        str(server.ours),
        f"{server.drop}/theirs.conf",
    ]
    assert "NFS-Ganesha does not start with it" in result["warnings"][1]


@pytest.mark.parametrize("text", ["", "%dir /elsewhere\n", "EXPORT {"])
def test_ganesha_without_our_folder(server: Server, text: str) -> None:
    server.main.write_text(text)
    result = server.run(server.show(), clients=clients("10.0.0.1"))
    said = "line 1: found the end" if "{" in text else f"found no line `%dir {server.drop}`"
    assert result["msg"].startswith(f"nfs_export: {server.main}: {said}")
    assert not server.ours.exists()
    # What a preview says of a host whose configuration comes with the same run.
    assert server.run(server.show(), clients=clients("10.0.0.1"), check=True)["changed"]


def test_ganesha_with_exports_in_its_main_file(server: Server) -> None:
    server.main.write_text(f'EXPORT {{ Export_Id = 1; Path = "/x"; }}\n%dir "{server.drop}/"\n')
    loaded = server.load("AddExport", 2)
    assert server.run(server.show(), loaded, server.show(data=2), clients=clients("10.0.0.1"))["changed"]


def test_ganesha_where_others_export_the_path(server: Server) -> None:
    (server.drop / "theirs.conf").write_text(f'EXPORT {{ Export_Id = 1; Path = "{server.path}"; }}')
    assert f"in {server.drop}/theirs.conf too" in server.run(clients=clients("10.0.0.1"))["msg"]


def test_ganesha_lacks_an_option(server: Server) -> None:
    result = server.run(clients=clients("10.0.0.1", options=["rw", "async"]))
    assert "accepted with NFS-Ganesha: ro, rw" in result["msg"]
