"""`citadel storage` below a root of its own; on real mounts and in its unit: test_storage_machine.py."""

import json
import os
import pty
import subprocess

import pytest

from program import CITADEL, environment, error_json, run, run_json

MODELS = "mnt/citadel-models"


@pytest.fixture
def image(tmp_path):
    """A machine below a directory, whose accounts are whoever runs the test."""
    me = f"{os.getuid()}:{os.getgid()}::/:/bin/false"
    (tmp_path / "etc/citadel").mkdir(parents=True)
    (tmp_path / "etc/passwd").write_text(f"citadel:x:{me}\ncitadel-gateway:x:{me}\n")
    configure(tmp_path)
    return tmp_path


def configure(image, **more):
    config = {"storage": {"require_mounts": False}, "models": {"phi3": {"engine": "sim"}}, **more}
    (image / "etc/citadel/citadel.yaml").write_text(json.dumps(config))


def storage(image, *words, **more):
    return run("storage", *words, "--root", image, cwd=image, **more)


def tree(top):
    """Every path with its mode, and where links lead."""
    return {
        str(p.relative_to(top)): (p.lstat().st_mode, os.readlink(p) if p.is_symlink() else None)
        for p in sorted(top.rglob("*"))
    }


def test_setup_makes_everything_once(image):
    before = tree(image)
    planned = storage(image, "setup", "--dry-run")
    assert planned.returncode == 0 and tree(image) == before
    done = storage(image, "setup")
    assert (done.returncode, done.stderr) == (0, "")
    assert planned.stdout.splitlines() == [
        x.replace("made ", "would make ").replace("linked ", "would link ") for x in done.stdout.splitlines()
    ]
    assert os.readlink(image / "opt/citadel/models") == "/mnt/citadel-models/active"
    assert (image / MODELS / "cache/phi3").stat().st_mode & 0o7777 == 0o700
    made = tree(image)
    again = storage(image, "setup")
    assert again.returncode == 0 and again.stdout.startswith("nothing to do: ")
    assert tree(image) == made
    assert storage(image, "verify").returncode == 0


def test_verify_tells_what_differs_and_repair_mends_it(image):
    storage(image, "setup")
    (image / "opt/citadel/models").unlink()
    (image / MODELS / "cache/phi3").chmod(0o777)
    before = tree(image)
    done = storage(image, "verify")
    assert done.returncode == 3 and tree(image) == before
    assert f"{image}/opt/citadel/models is missing" in done.stdout
    code, told = run_json("storage", "verify", "--root", image, cwd=image)
    assert code == 3
    assert {(f["fault"], f["path"]) for f in told["findings"]} == {
        ("link", f"{image}/opt/citadel/models"),
        ("rights", f"{image}/{MODELS}/cache/phi3"),
    }
    refused = storage(image, "repair")
    assert refused.returncode == 1 and "--force" in refused.stderr
    assert refused.stdout.count("will ") == 2 and tree(image) == before
    assert storage(image, "repair", "--dry-run").returncode == 0 and tree(image) == before
    assert storage(image, "repair", "--force").returncode == 0
    assert storage(image, "verify").returncode == 0


@pytest.mark.parametrize("answer, mended", [("y\n", True), ("n\n", False), ("\n", False), ("yess\n", False)])
def test_a_person_is_asked_first(image, answer, mended):
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [CITADEL, "storage", "repair", "--root", image],
        cwd=image,
        env=environment(),
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
    )
    os.write(ours, answer.encode())
    child.communicate(timeout=60)
    os.close(theirs)
    os.close(ours)
    assert (child.returncode == 0) == mended
    assert (image / MODELS / "active").is_dir() == mended


def test_nothing_is_written_below_a_mount_point_without_a_mount(image):
    configure(image, storage={})
    (image / MODELS).mkdir(parents=True)
    done = storage(image, "setup")
    assert done.returncode == 75
    assert f"nothing is mounted at {image}/{MODELS}" in done.stderr
    assert f"warning: nothing is mounted at {image}/mnt/citadel-backup" in done.stderr
    assert list((image / MODELS).iterdir()) == []
    assert (image / "var/lib/citadel/models").is_dir()
    done = storage(image, "setup", "--json")
    assert error_json(done)["id"] == "storage.not-mounted"
    assert [f["degraded"] for f in json.loads(done.stdout)["left"]] == [False, True]


def test_what_is_in_the_way_is_told_and_kept(image):
    (image / "opt/citadel/models").mkdir(parents=True)
    (image / "opt/citadel/models/weights").write_text("precious")
    (image / "opt/citadel/logs").write_text("a file")
    done = storage(image, "setup")
    assert done.returncode == 1
    assert "opt/citadel/models should be the link to the active models, and is: a directory" in done.stderr
    assert "opt/citadel/logs should be a directory" in done.stderr
    assert (image / "opt/citadel/models/weights").read_text() == "precious"
    assert (image / MODELS / "active").is_dir()


def test_cleanup_takes_back_what_is_empty(image):
    before = set(tree(image))
    storage(image, "setup")
    (image / MODELS / "cache/phi3/kernel").write_text("x")
    assert storage(image, "cleanup").returncode == 1
    shown = storage(image, "cleanup", "--dry-run").stdout
    done = storage(image, "cleanup", "--force")
    assert done.returncode == 0
    assert shown.replace("will remove", "removed") == done.stdout
    left = set(tree(image)) - before
    assert f"{MODELS}/cache/phi3/kernel" in left
    assert not {f"{MODELS}/active", "opt/citadel/models", "opt/citadel/logs/models"} & left
    assert storage(image, "setup").returncode == 0


def test_an_account_that_is_missing_is_named(image):
    (image / "etc/passwd").write_text("")
    done = storage(image, "setup")
    assert done.returncode == 4
    assert "there is no account 'citadel'" in done.stderr and "systemd-sysusers" in done.stderr


def test_a_model_is_not_started_on_a_disk_that_is_not_mounted(tmp_path):
    paths = {part: str(tmp_path / part) for part in ("models", "logs", "state", "run")}
    config = {"paths": paths, "models": {"phi3": {"engine": "vllm"}}}
    (tmp_path / "citadel.yaml").write_text(json.dumps(config))
    (tmp_path / "models").mkdir()
    done = run("run", "phi3", "-c", tmp_path / "citadel.yaml")
    assert done.returncode == 75
    assert f"nothing is mounted at {tmp_path}/models" in done.stderr
    assert list((tmp_path / "models").iterdir()) == []
