# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.aicluster.slurm.plugins.module_utils import enroot
from ansible_collections.aicluster.slurm.plugins.module_utils.enroot import EnrootError, Image, Origin, Wish

DIGEST = "sha256:" + "0123456789abcdef" * 4
HUB = "registry-1.docker.io#"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("ubuntu", f"{HUB}library/ubuntu:latest"),
        ("docker://ubuntu:20.04", f"{HUB}library/ubuntu:20.04"),
        ("docker.io#ubuntu:20.04", f"{HUB}library/ubuntu:20.04"),
        ("index.docker.io/library/ubuntu:20.04", f"{HUB}library/ubuntu:20.04"),
        ("alice/tool:1", f"{HUB}alice/tool:1"),
        ("nvcr.io#nvidia/tensorflow:22.02-tf2-py3", "nvcr.io#nvidia/tensorflow:22.02-tf2-py3"),
        ("docker://nvcr.io/nvidia/tensorflow:22.02-tf2-py3", "nvcr.io#nvidia/tensorflow:22.02-tf2-py3"),
        ("docker://$oauthtoken@nvcr.io#nvidia/tf:1", "nvcr.io#nvidia/tf:1"),
        ("me@example.org@r.example.org:5000#a/b", "r.example.org:5000#a/b:latest"),
        ("localhost:5000/a/b:1", "localhost:5000#a/b:1"),
        (f"ubuntu@{DIGEST}", f"{HUB}library/ubuntu@{DIGEST}"),
        (f"nvcr.io#nvidia/tf:1@{DIGEST}", f"nvcr.io#nvidia/tf@{DIGEST}"),
    ],
)
def test_images_of_registries(text: str, key: str) -> None:
    image = enroot.parse_image(text)
    source = text if text.startswith("docker://") else f"docker://{text}"
    assert image == Image(source, key, False)
    # The key is itself a name of the image, so that what is noted can be typed.
    assert enroot.parse_image(key).key == key


def test_images_of_files() -> None:
    assert enroot.parse_image("/data/a b.sqsh") == Image("/data/a b.sqsh", "/data/a b.sqsh", True)
    assert enroot.parse_image("/data/image").is_file


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a.sqsh",
        "./a.sqsh",
        "Ubuntu",
        "ubuntu:",
        "ubuntu:a b",
        "ubuntu\nx",
        "dockerd://ubuntu",
        "http://r/a",
        "r.io#",
        "#a",
        "@ubuntu",
        "a//b",
        "ubuntu@sha256:12",
        "r.io:x#a",
        "u ser@r.io#a",
    ],
)
def test_what_is_no_image(text: str) -> None:
    with pytest.raises(EnrootError, match=r"^image: found .*; accepted: \[docker://\]"):
        enroot.parse_image(text)


def test_names_of_containers() -> None:
    assert enroot.container_name("my box") == "my box"
    assert enroot.container_name("-x") == "-x"
    assert enroot.container_name("box", pyxis=True) == enroot.container_name("pyxis_box", pyxis=True) == "pyxis_box"
    for name in ("", "a/b", ".", "..", ".hidden", "a\nb", "ä" * 120):
        with pytest.raises(EnrootError, match="accepted: a name without a slash"):
            enroot.container_name(name)


def test_two_registries_share_no_file() -> None:
    names = {enroot.file_name(enroot.parse_image(text)) for text in ("a.io#x/y:1", "b.io#x/y:1", "b.io#x/y:2", "x/y:1")}
    assert len(names) == 4
    assert "a.io+x+y+1.sqsh" in names
    assert not any(set("/:#@") & set(name) for name in names)


def test_info() -> None:
    text = "Enroot version: 4.1.2\nConfig file: /etc/x\n\nEnvironment variables:\n  ENROOT_DATA_PATH=/d/a b=c\n"
    assert enroot.parse_info(text) == {"ENROOT_DATA_PATH": "/d/a b=c"}
    assert enroot.parse_info("") == {}


def test_processes() -> None:
    text = (
        "NAME        PID   COMM  STATE  STARTED  TIME   MNTNS       USERNS      COMMAND\n"
        "my box      123   sh    Ss+    10:00    00:01  4026532246  4026532245  sh -c sleep 9\n"
        "            4567  sleep S+     10:00    00:01  4026532246  4026532245  sleep 9\n"
        "pyxis_idle                                                               \n"
        "<unknown>   89    sh    Ss+    10:00    00:01  4026532246  4026532245  sh\n"
    )
    assert enroot.parse_processes(text) == {"my box": [123, 4567], "pyxis_idle": [], "<unknown>": [89]}
    assert enroot.parse_processes("") == {}


def test_origins() -> None:
    origin = Origin("r#a:1", DIGEST)
    assert enroot.load_origin(enroot.dump_origin(origin)) == origin
    for text in ("", "{}", "[]", "nonsense", '{"image": "a"}'):
        assert enroot.load_origin(text) is None


# --- what errors mean -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stderr", "words"),
    [
        (
            "[INFO] Querying registry\n[ERROR] URL https://nvcr.io/v2/a returned error code: 401 Unauthorized",
            "the registry refuses: no credentials, wrong ones, or no right to this image (enroot: URL https://nvcr.io/v2/a"
            " returned error code: 401 Unauthorized)",
        ),
        ("[ERROR] URL https://r/v2/a returned error code: 429 Too Many Requests", "the registry was asked too often"),
        ("[ERROR] URL https://r/v2/a returned error code: 404 Not Found", "the registry has no such image or tag"),
        ("[ERROR] File already exists: /home/alice/.local/share/enroot/box", "the name is taken"),
        ("Write failed because No space left on device\nFATAL ERROR: x", "the disk is full"),
        # errno of a limit of 0 namespaces, which is no full disk
        (
            "enroot-mksquashovlfs: failed to create user namespace: No space left on device",
            "this host lets users make no namespaces",
        ),
        (
            "curl: (7) Failed to connect to 127.0.0.1 port 1 after 0 ms: Couldn't connect to server",
            "the registry cannot be reached",
        ),
        (
            "mkdir: cannot create directory '/run/enroot': Permission denied",
            "the user may not write where enroot keeps",
        ),
        ("[ERROR] Invalid image format: /x", "the file is no squashfs image"),
    ],
)
def test_errors_in_words(stderr: str, words: str) -> None:
    said = enroot.explain(1, stderr + "\n")
    assert said.startswith(words)
    assert stderr.splitlines()[0].replace("[ERROR] ", "") in said or "INFO" in stderr


def test_errors_that_nobody_foresaw() -> None:
    assert enroot.explain(3, "[WARN] a\n[ERROR] b\n") == "enroot: b"
    assert enroot.explain(3, "") == "enroot: no word, exit code 3"


# --- what to do -------------------------------------------------------------------------------------------------------

A, B, FILE = enroot.parse_image("a"), enroot.parse_image("b"), enroot.parse_image("/x.sqsh")


@pytest.mark.parametrize(
    ("wish", "exists", "origin", "step"),
    [
        (Wish("n", A, "present"), False, None, "create"),
        (Wish("n", A, "present"), True, Origin(A.key, DIGEST), "nothing"),
        (Wish("n", None, "present"), True, None, "nothing"),
        (Wish("n", A, "present", force=True), True, Origin(A.key, DIGEST), "replace"),
        (Wish("n", None, "present", force=True), True, Origin(A.key, DIGEST), "nothing"),
        (Wish("n", B, "present", "keep"), True, Origin(A.key, DIGEST), "nothing"),
        (Wish("n", B, "present", "recreate"), True, Origin(A.key, DIGEST), "replace"),
        (Wish("n", A, "present", "recreate"), True, None, "replace"),
        (Wish("n", FILE, "present"), True, Origin(FILE.key, "now"), "nothing"),
        (Wish("n", FILE, "present", "recreate"), True, Origin(FILE.key, "before"), "replace"),
        (Wish("n", None, "absent"), True, None, "remove"),
        (Wish("n", A, "absent"), False, None, "nothing"),
    ],
)
def test_steps(wish: Wish, exists: bool, origin: Origin | None, step: str) -> None:
    assert enroot.decide(wish, exists, origin, "now") == step


@pytest.mark.parametrize(
    ("wish", "exists", "origin", "said"),
    [
        (Wish("n", None, "present"), False, None, "n: there is no such container"),
        (Wish("n", B, "present"), True, Origin(A.key, ""), f"n: found a container of {A.key}; wanted: {B.key}"),
        (Wish("n", A, "present"), True, None, "n: found a container of an image that nobody noted"),
        (
            Wish("n", FILE, "present"),
            True,
            Origin(FILE.key, "old"),
            "n: found a container of an older state of /x.sqsh",
        ),
    ],
)
def test_never_another_image_silently(wish: Wish, exists: bool, origin: Origin | None, said: str) -> None:
    with pytest.raises(EnrootError) as caught:
        enroot.decide(wish, exists, origin, "now")
    assert str(caught.value).startswith(said)


def test_environment_of_another_user() -> None:
    mine = {"HOME": "/root", "XDG_RUNTIME_DIR": "/run/user/0", "https_proxy": "http://p", "TMPDIR": "/tmp/user/0"}
    assert enroot.users_environment("al", "/home/al", mine.items()) == {
        "HOME": "/home/al",
        "USER": "al",
        "LOGNAME": "al",
        "https_proxy": "http://p",
    }
