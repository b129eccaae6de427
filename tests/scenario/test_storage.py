"""`citadel storage` below a root of its own; on real mounts and in its unit: test_storage_machine.py."""

import json
import os
import pathlib
import pty
import re
import shutil
import subprocess
import time

import checkpoints
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


def test_models_of_an_image_are_those_of_the_image(image):
    configure(image, models={"openchat": {"path": "openchat", "port": 12000}})
    assert storage(image, "setup").returncode == 0
    c = checkpoints.config("OpenChat-3.5")
    checkpoints.write(image / MODELS / "active/openchat", c, checkpoints.llama_like(c))
    _, told = run_json("doctor", "--root", image, cwd=image)
    (found,) = [f for f in told["findings"] if (f["check"], f["subject"]) == ("models", "openchat")]
    assert found["found"] == f"whole, in {image}/opt/citadel/models/openchat"
    assert "16.7 GiB" in run("plan", "--root", image, cwd=image).stdout


def test_a_link_from_the_top_is_right_on_the_machine_itself(image):
    paths = {name: f"{image}/{name}" for name in ("root", "models", "state", "run", "logs", "backup", "generations")}
    accounts = {"user": "nobody", "group": "nogroup", "gateway_user": "daemon"}
    configure(image, paths=paths, service=accounts)

    def faults():
        _, told = run_json("storage", "verify", "-c", image / "etc/citadel/citadel.yaml", cwd=image)
        return [f for f in told["findings"] if f["fault"] == "link"]

    (image / "root").mkdir()
    (missing,) = faults()
    up = "../" * len((image / "root").parts[1:])
    assert missing["wanted"] == f"{up}{str(image)[1:]}/models/active"
    for target in (f"{image}/models/active", missing["wanted"]):
        (image / "root/models").unlink(missing_ok=True)
        (image / "root/models").symlink_to(target)
        assert faults() == []
    (image / "root/models").unlink()
    (image / "root/models").symlink_to("/mnt")
    assert [f["found"] for f in faults()] == ["/mnt"]


def test_setup_makes_everything_once(image):
    before = tree(image)
    planned = storage(image, "setup", "--dry-run")
    assert planned.returncode == 0 and tree(image) == before
    done = storage(image, "setup")
    assert (done.returncode, done.stderr) == (0, "")
    assert planned.stdout.splitlines() == [
        x.replace("made ", "would make ").replace("linked ", "would link ") for x in done.stdout.splitlines()
    ]
    assert os.readlink(image / "opt/citadel/models") == "../../mnt/citadel-models/active"
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
    assert refused.returncode == 1 and "the same with -y" in refused.stderr
    assert refused.stdout.count("will ") == 2 and tree(image) == before
    assert storage(image, "repair", "--dry-run").returncode == 0 and tree(image) == before
    code, told = run_json("storage", "repair", "--dry-run", "--root", image, cwd=image)
    assert (code, told["dry_run"], told["left"]) == (0, True, [])
    assert {f["fault"] for f in told["changes"]} == {"link", "rights"} and tree(image) == before
    done = storage(image, "repair", "--json")
    assert (done.returncode, json.loads(done.stdout)) == (1, told) and tree(image) == before
    error = json.loads(done.stderr)
    assert "with --json nobody is asked" in error["message"] and error["fix"] == "the same with -y"
    assert storage(image, "repair", "--force").returncode == 0
    assert storage(image, "verify").returncode == 0


def put_in_the_way(image):
    """A file, a pipe, and links that lead nowhere, where directories should be."""
    storage(image, "setup")
    state = image / "var/lib/citadel/gateway"
    logs = image / "opt/citadel/logs"
    cache = image / MODELS / "cache/phi3"
    backups = image / "opt/citadel/backups"
    for path in (state, logs, cache, backups):
        shutil.rmtree(path)
    state.write_text("")
    logs.symlink_to("nowhere")
    cache.symlink_to("nowhere")
    os.mkfifo(backups)
    return {
        str(state): "a file",
        str(logs): "a symbolic link that leads nowhere",
        str(cache): "a symbolic link that leads nowhere",
        str(backups): "a device, pipe or socket",
    }


def test_what_is_in_the_way_is_told_before_anything_is_done(image):
    want = put_in_the_way(image)
    before = tree(image)
    for words in (("repair", "--dry-run"), ("setup", "--dry-run"), ("repair", "--force"), ("setup",)):
        done = storage(image, *words)
        assert done.returncode == 1 and tree(image) == before and done.stdout == "", done
        for path, found in want.items():
            assert f"{path} should be a directory, and is: {found}\n" in done.stderr
        assert done.stderr.count("try: look at it, move it away, then `citadel storage setup`") == len(want)
    _, told = run_json("storage", "verify", "--root", image, cwd=image)
    assert {f["path"]: f["found"] for f in told["findings"]} == want


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
    shown = storage(image, "cleanup", "--dry-run").stdout
    refused = storage(image, "cleanup")
    assert (refused.returncode, refused.stdout) == (1, shown)
    refused = storage(image, "cleanup", "--json")
    told = json.loads(refused.stdout)
    assert refused.returncode == 1 and told["dry_run"]
    assert [f"will remove {path}" for path in told["paths"]] == shown.splitlines()
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


# --- usage, clean -----------------------------------------------------------------------------------


def age(path, days):
    then = time.time() - days * 86400
    os.utime(path, (then, then))


def test_usage_counts_each_area_and_tells_what_it_could_not(image):
    storage(image, "setup")
    (image / MODELS / "active/phi3").mkdir()
    (image / MODELS / "active/phi3/weights").write_bytes(b"x" * 1_000_000)
    (image / MODELS / "active/loop").symlink_to("..")
    code, areas = run_json("storage", "usage", "--root", image, cwd=image)
    assert code == 0
    active = {a["area"]: a for a in areas}["active"]
    assert active["files"] == 2 and 1_000_000 <= active["bytes"] < 1_100_000
    assert 0 < active["percent"] < 100
    shown = storage(image, "usage").stdout
    assert "active" in shown and "OF ITS DISK" in shown


def test_clean_only_shows_without_a_terminal(image):
    storage(image, "setup")
    old, live = image / "opt/citadel/logs/models/phi3.log.1", image / "opt/citadel/logs/models/phi3.log"
    for log in (old, live):
        log.write_text("x")
        age(log, 100)
    done = storage(image, "clean")
    assert done.returncode == 1 and old.exists()
    assert "will remove 1 file" in done.stdout and done.stderr.endswith("try: the same with -y\n")
    assert storage(image, "clean", "--dry-run", "--force").returncode == 0 and old.exists()
    done = storage(image, "clean", "-y")
    assert "removed 1 file" in done.stdout
    assert not old.exists() and live.exists()


def test_clean_leaves_what_somebody_has_open(image):
    storage(image, "setup")
    log = image / "opt/citadel/logs/models/phi3.log.1"
    log.write_text("x")
    age(log, 100)
    words = ("storage", "clean", "--root", image)
    with open(log):
        code, told = run_json(*words, "--force", cwd=image)
        assert (code, told["dry_run"]) == (0, False)
        assert [f["outcome"] for f in told["files"]] == ["open"] and log.exists()
    code, told = run_json(*words, cwd=image)
    assert (code, told["dry_run"], [f["outcome"] for f in told["files"]]) == (1, True, ["found"]) and log.exists()
    code, told = run_json(*words, "--force", cwd=image)
    assert (code, [f["outcome"] for f in told["files"]]) == (0, ["removed"])
    assert not log.exists()


def test_clean_takes_an_age_for_all(image):
    storage(image, "setup")
    log = image / "opt/citadel/logs/models/phi3.log.1"
    log.write_text("x")
    age(log, 2)
    assert "would remove 0 files" in storage(image, "clean").stdout
    assert "will remove 1 file" in storage(image, "clean", "--older-than", "1d").stdout
    done = storage(image, "clean", "--older-than", "5m")
    assert done.returncode == 64 and "5m is less than an hour" in done.stderr


def test_a_tree_of_any_kind_is_walked(image):
    """100,000 files, names with anything in them, links in circles: counted, shown harmlessly, removed."""
    storage(image, "setup")
    logs = image / "opt/citadel/logs/models"
    strange = ["new\nline.log.1", "\x1b[31mred.log.1", "-rf.log.1", " .log.1", "ü.log.1", "$(id).log.1"]
    many = 100_000
    for i in range(0, many, 1000):
        folder = logs / f"{i}"
        folder.mkdir()
        for k in range(1000):
            os.close(os.open(folder / f"{k}.log.1", os.O_CREAT | os.O_WRONLY))
    for name in strange:
        (logs / name).write_text("x")
        age(logs / name, 100)
    (logs / "circle").symlink_to(".")
    (logs / "away.log.1").symlink_to("/etc/passwd")
    _, areas = run_json("storage", "usage", "--root", image, cwd=image)
    assert {a["area"]: a["files"] for a in areas}["logs"] == many + len(strange) + 2
    done = storage(image, "clean", "--force")
    assert f"removed {len(strange)} files" in done.stdout and "\x1b" not in done.stdout
    assert len(done.stdout.splitlines()) == len(strange) + 2
    assert (logs / "away.log.1").is_symlink() and pathlib.Path("/etc/passwd").exists()


# --- prereq, health ----------------------------------------------------------------------------------


def test_prerequisites_are_told_with_what_mends_them(image):
    configure(image, storage={"minimum_free": "1PiB"})
    code, checks = run_json("storage", "prereq", "--root", image, cwd=image)
    assert code == 3
    wrong = {c["check"]: c for c in checks if not c["ok"]}
    assert {"model storage", "free space", "directories"} <= set(wrong)
    assert not wrong["backup storage"]["required"]
    assert all(c["fix"] for c in wrong.values())
    configure(image, storage={"minimum_free": 0, "require_mounts": False})
    storage(image, "setup")
    done = storage(image, "prereq")
    assert done.returncode == 0, done.stdout


SMARTCTL = """#!/bin/sh
printf '{"model_name": "Disk of the test", "smart_status": {"passed": %s}, "temperature": {"current": 40}}' "$PASSED"
exit 8
"""


def test_disks_are_asked_and_what_they_say_is_kept(image):
    storage(image, "setup")
    tool = image / "bin/smartctl"
    tool.parent.mkdir()
    tool.write_text(SMARTCTL)
    tool.chmod(0o755)
    path = f"{tool.parent}:{os.environ['PATH']}"
    code, told = run_json("storage", "health", "--root", image, cwd=image, PATH=path, PASSED="true")
    kept = json.loads((image / "var/lib/citadel/storage/health.json").read_text())
    assert kept == told and code == 0
    if not told["disks"]:
        pytest.skip("no disk is to be seen here")
    assert {d["state"] for d in told["disks"]} == {"good"}
    assert told["disks"][0]["temperature_celsius"] == 40
    done = storage(image, "health", PATH=path, PASSED="false")
    assert done.returncode == 3 and "it says that it is about to fail" in done.stdout
    done = storage(image, "health", PATH="/nowhere")
    assert done.returncode == 0 and "smartmontools" in done.stdout


# --- recover -----------------------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path):
    """An ext4 on a loop device, mounted; gone with the test."""
    if os.geteuid() != 0 or not shutil.which("mkfs.ext4"):
        pytest.skip("only root can mount a disk")
    file, point = tmp_path / "disk", tmp_path / "point"
    with open(file, "wb") as f:
        f.truncate(16 << 20)
    subprocess.run(["mkfs.ext4", "-q", file], check=True)
    point.mkdir()
    loop = subprocess.run(["losetup", "-f", "--show", file], capture_output=True, text=True)
    if loop.returncode != 0:
        pytest.skip("no loop devices here")
    device = loop.stdout.strip()
    try:
        subprocess.run(["mount", device, point], check=True)
        (point / "precious").write_text("weights")
        yield device, point
    finally:
        subprocess.run(["umount", "-q", "-l", point])
        subprocess.run(["losetup", "-d", device])


def test_recovery_unmounts_checks_and_mounts(disk):
    device, point = disk
    done = run("storage", "recover", point, "--dry-run")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        f"{device}, ext4, mounted at {point}",
        f"1. umount {point}",
        f"2. e2fsck -f -p {device}",
        f"3. mount {point}",
    ]
    assert run("storage", "recover", point).returncode == 1  # nobody to ask
    assert os.path.ismount(point)
    done = run("storage", "recover", point, "--force")
    assert done.returncode == 0, done.stderr
    assert re.search(r"\d+/4096 files", done.stderr)  # e2fsck's own words
    assert os.path.ismount(point) and (point / "precious").read_text() == "weights"


def test_recovery_tells_who_uses_it_and_does_nothing(disk):
    device, point = disk
    with open(point / "precious"):
        code, told = run_json("storage", "recover", device, "--dry-run")
        assert code == 0
        assert (os.getpid(), True) in [(u["pid"], told["mounted"]) for u in told["users"]]
        done = run("storage", "recover", device, "--force")
        assert done.returncode == 75 and f"is in use by {os.getpid()}" in done.stderr
    assert os.path.ismount(point)


@pytest.mark.xdist_group("machine")  # a machine that boots meanwhile is elsewhere, too
def test_recovery_never_checks_what_is_mounted_elsewhere(disk):
    """In a namespace of its own, where no /proc/self/mountinfo of ours tells of it."""
    device, point = disk
    script = f"mount --make-rprivate /; echo ready; read line; umount {point}"
    why = subprocess.run(["unshare", "-m", "true"], stderr=subprocess.PIPE, text=True)
    if why.returncode:  # as where / is no mount point
        pytest.skip(why.stderr.strip())
    other = subprocess.Popen(
        ["unshare", "-m", "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout.readline() == "ready\n"
    done = run("storage", "recover", point, "--force")
    assert done.returncode == 75 and "is still in use" in done.stderr
    other.communicate("\n", timeout=60)
    subprocess.run(["mount", device, point], check=True)
    assert run("storage", "recover", point, "--force").returncode == 0


def test_recovery_mends_what_is_damaged(disk):
    device, point = disk
    subprocess.run(["umount", point], check=True)
    with open(device, "r+b") as raw:  # the first group's descriptor: its bitmaps
        raw.seek(4096)
        raw.write(b"\x00" * 64)
    done = run("storage", "recover", device, "--force")
    assert not os.path.ismount(point)  # it was not, and nobody said where
    if done.returncode == 0:
        subprocess.run(["mount", device, point], check=True)
        assert (point / "precious").read_text() == "weights"
    else:
        assert "not all could be mended" in done.stderr and "e2fsck by hand" in done.stderr


@pytest.mark.parametrize("what", ["/", "/etc", "/dev/null", "no/such/place"])
def test_recovery_refuses_what_is_no_disk_of_its_own(what):
    done = run("storage", "recover", what, "--force")
    assert done.returncode in (4, 64)
    assert "runs from" in done.stderr or "is no disk" in done.stderr


def test_recovery_is_not_for_an_image(image):
    assert storage(image, "recover", "/dev/null").returncode == 64
