"""--root DIR: what runs with it makes nothing outside DIR, whatever links lead out of it."""

import os
import pathlib

import pytest

from program import error_json, run
from up import Up

CONFIG = """\
gateway: {enabled: false}
monitor: {enabled: false}
models: {a: {engine: command, command: [/nowhere], port: 18999, path: a}}
"""
RUN, LOGS = "run/citadel", "opt/citadel/logs"


@pytest.fixture
def place(tmp_path):
    """A root with one model, and an empty directory beside it."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "etc/citadel").mkdir(parents=True)
    (root / "opt/citadel/models/a").mkdir(parents=True)
    (root / "etc/citadel/citadel.yaml").write_text(CONFIG)
    outside.mkdir()
    return root, outside


def link(at, target):
    at.parent.mkdir(parents=True, exist_ok=True)
    at.symlink_to(target)


@pytest.mark.parametrize("path", ["run", RUN, RUN + "/notify", LOGS, "opt/citadel/logs/models"])
def test_a_link_out_of_the_root_ends_a_start(place, path):
    root, outside = place
    link(root / path, outside)
    done = run("up", "--root", str(root))
    assert done.returncode == 64
    assert str(root / path) in done.stderr
    assert f"a link on the way leads out of --root {root}" in done.stderr
    assert os.listdir(outside) == []


def groups():
    """The control groups of supervisors on this machine."""
    return set(pathlib.Path("/sys/fs/cgroup").rglob("citadel-*"))


def test_no_control_groups_are_made_outside_the_root(place):
    root, outside = place
    up = Up(None, "--root", str(root))
    try:
        up.wait_for("^containment: (namespace|subreaper): ")
        up.wait_for("a: failed")
        assert not [g for g in groups() if g.name.startswith(f"citadel-{up.process.pid}-")]
    finally:
        up.end()
    done = run("up", "--root", str(root), "--containment", "cgroup")
    assert done.returncode == 77
    assert f"control groups are not below --root {root}" in done.stderr


def test_a_link_within_the_root_is_followed(place):
    root, outside = place
    (root / "elsewhere").mkdir()
    link(root / RUN, "../elsewhere")
    up = Up(None, "--root", str(root))
    try:
        up.wait_for("a: failed")
        assert (root / "elsewhere/control.sock").is_socket()
    finally:
        up.end()
    assert os.listdir(outside) == []


def test_a_spoilt_file_hides_nothing_that_is_deployed(place):
    root, _ = place
    here = ["--root", str(root)]
    assert run("apply", "-y", *here).returncode == 0
    (root / "etc/citadel/citadel.yaml").write_text(CONFIG + "no_such: {}\n")
    done = run("apply", "-y", *here)
    assert done.returncode == 64 and "no_such" in done.stderr
    done = run("generations", *here)
    assert done.returncode == 0 and "citadel apply" in done.stdout
    assert "no_such" in done.stderr
    assert f"what is deployed is used instead: {root}/etc/citadel/current/config.yaml" in done.stderr
    done = run("diff", "1", *here)  # of two that are deployed
    assert done.returncode == 0 and "no_such" in done.stderr
    assert run("generations", "switch", "1", "-y", *here).returncode == 0
    done = run("generations", *here, "-c", str(root / "etc/citadel/citadel.yaml"))
    assert done.returncode == 64  # a file that is named is the one that is meant


def test_a_root_that_is_not_there_and_a_plan_that_is_not_there(place, tmp_path):
    root, _ = place
    done = run("status", "--root", "nonexistent", "--json", cwd=tmp_path)
    assert error_json(done)["fix"].startswith("name a directory that is there")
    for name, why in ((tmp_path / "none", "No such file or directory"), (tmp_path, "Is a directory")):
        error = error_json(run("apply", str(name), "--root", str(root), "--json"))
        assert error["message"] == f"cannot read '{name}': {why}"
        assert error["fix"] == "citadel plan --json > plan.json; citadel apply plan.json"
    error = error_json(run("storage", "recover", "/dev/sda", "--root", str(root), "--json"))
    assert error["fix"] == "citadel storage recover /dev/sda, without --root"
