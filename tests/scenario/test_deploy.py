"""A deployment in phases under the real systemd, as an operator types it: each proven, and undone when it
fails."""

import json

import pytest

import machine
from test_apply import citadel, completes, current, model, stand_in, write

pytestmark = pytest.mark.xdist_group("machine")


def configuration(**models):
    few = {
        "one": model(12000, priority=60),
        "two": model(12001),
        "three": model(12002, residency="on-demand"),
    }
    return {
        "storage": {"require_mounts": False, "smart": False},
        "backup": {"enabled": False},
        "models": {**few, **models},
    }


def deploy(here, *words, **more):
    return citadel(here, "deploy", *words, **more)


def phases(here):
    return {p["phase"]: p for p in json.loads(deploy(here, "status", "--json").stdout)["phases"]}


def state(here, unit):
    return here.show(f"citadel-{unit}", "ActiveState")["ActiveState"]


@pytest.fixture(scope="module", params=machine.SUITES)
def booted(request):
    if why := machine.why_not():
        pytest.skip(why)
    with machine.Machine(request.param, "deploy") as it:
        it.run("mkdir", "-p", "/mnt/citadel-models", "/mnt/citadel-backup")
        yield it


@pytest.fixture
def here(booted):
    """Nothing is deployed."""
    write(booted, configuration())
    deploy(booted, "rollback", "--force")
    assert current(booted) == 0
    return booted


def test_phase_by_phase(here):
    deploy(here, "phase1", "-y")
    assert state(here, "storage.service") == state(here, "gpu.service") == "active"
    assert not completes(here, 12000) and state(here, "models.target") == "inactive"
    done = deploy(here, "phase2", "two", "-y")
    assert "phase2 is done: two answers" in done.stdout
    assert completes(here, 12001) and not completes(here, 12000)
    done = deploy(here, "phase3", "-y")
    assert "3 answer, 0 failed, 0 wait for memory" in done.stdout
    assert "three answers" in done.stderr
    assert completes(here, 12000) and completes(here, 12001) and not completes(here, 12002)
    assert state(here, "gateway.service") == "inactive"
    deploy(here, "phase4", "-y")
    for unit in ("models.target", "ai.target", "gateway.socket", "gateway.service"):
        assert state(here, unit) == "active"
    asked = '{"model": "one", "prompt": "hello"}'
    assert "choices" in here.run("curl", "-sS", "--json", asked, "http://127.0.0.1:8000/v1/completions").stdout
    assert [p["well"] for p in phases(here).values()] == [True] * 4
    told = deploy(here, "status").stdout
    assert told.count("done") == 4 and "infrastructure" in told and "root" in told


def test_the_test_model_is_asked_for_or_chosen(here):
    deploy(here, "phase1", "-y")
    assert "two answers" in deploy(here, "phase2", "--test-model", "two", "-y").stdout
    assert "answers" in deploy(here, "phase2", "-y").stdout
    done = deploy(here, "phase2", "none-such", "-y", check=False)
    assert done.returncode == 4 and "there is no model 'none-such' to try" in done.stderr


def test_a_phase_comes_after_the_one_before(here):
    done = deploy(here, "phase3", check=False)
    assert done.returncode == 1
    assert "phase2 (one model) was not done yet" in done.stderr
    assert "try: citadel deploy phase2; or the same with --anyway" in done.stderr
    assert not completes(here, 12000)


def test_what_is_proven_is_what_the_first_phase_has_made(here):
    deploy(here, "phase1", "-y")
    write(here, configuration(two=model(12001, max_model_len=1024)))
    for words in (["phase2", "one"], ["phase3", "--anyway"], ["phase4", "--anyway"]):
        done = deploy(here, *words, "-y", check=False)
        assert done.returncode == 1 and "are others than those of generation" in done.stderr
        assert "try: citadel deploy phase1" in done.stderr
        assert state(here, "one.service") == "inactive"


def test_a_model_is_no_file(here):
    deploy(here, "phase1", "-y")
    here.sh(f"cd /tmp && touch two && {here.bin}/citadel deploy phase2 two -y && rm two")
    assert completes(here, 12001)


def test_nobody_is_asked_where_nobody_sits(here):
    done = deploy(here, "phase1", check=False)
    assert done.returncode != 0 and "there is no terminal to ask at" in done.stderr
    assert "try: the same with -y" in done.stderr and current(here) == 0


def test_a_test_model_that_fails_is_stopped(here):
    write(here, configuration(two=model(12001, "--no-such-flag")))
    deploy(here, "phase1", "-y")
    done = deploy(here, "phase2", "two", "-y", check=False)
    assert done.returncode == 1
    assert "--no-such-flag" in done.stderr and "try: citadel logs two" in done.stderr
    assert state(here, "two.service") in ("inactive", "failed")
    assert not phases(here)[2]["well"] and "--no-such-flag" in phases(here)[2]["text"]
    assert state(here, "storage.service") == "active"


def test_one_that_fails_stops_no_other(here):
    write(here, configuration(one=model(12000, "--no-such-flag", priority=60)))
    deploy(here, "phase1", "-y")
    deploy(here, "phase2", "two", "-y")
    done = deploy(here, "phase3", "-y", check=False)
    assert done.returncode == 1 and "2 answer, 1 failed, 0 wait for memory" in done.stderr
    assert "one is left out" in done.stderr
    assert completes(here, 12001) and state(here, "one.service") in ("inactive", "failed")


def test_infrastructure_that_fails_leaves_nothing(here):
    stand_in(here, "gpu", ["ExecStart=", "ExecStart=/bin/false"])
    done = deploy(here, "phase1", "-y", check=False)
    here.run("rm", "-r", "/etc/systemd/system/citadel-gpu.service.d")
    here.run("systemctl", "daemon-reload")
    assert done.returncode == 1 and "citadel-gpu.service" in done.stderr
    assert current(here) == 0 and state(here, "storage.service") == "inactive"


def test_rollback_stops_all_and_starts_nothing_at_boot(here):
    for words in (["phase1"], ["phase2", "two"], ["phase3"], ["phase4"]):
        deploy(here, *words, "-y")
    done = deploy(here, "rollback", "--force")
    assert "Nothing is deployed" in done.stdout
    for unit in ("one.service", "two.service", "storage.service", "ai.target"):
        assert state(here, unit) == "inactive", here.journal(f"citadel-{unit}")
    assert not here.sh("ls /etc/sysusers.d /etc/tmpfiles.d /etc/polkit-1/rules.d | grep citadel || :").strip()
    here.reboot()
    assert not completes(here, 12001) and state(here, "two.service") == "inactive"
    deploy(here, "phase1", "-y")
    deploy(here, "phase2", "two", "-y")
    assert completes(here, 12001)


def test_validate_is_the_doctor(here):
    told = json.loads(deploy(here, "validate", "--json", check=False).stdout)
    asked = json.loads(citadel(here, "doctor", "--json", check=False).stdout)
    assert [f["check"] for f in told["findings"]] == [f["check"] for f in asked["findings"]]


def test_its_other_name(here):
    assert "phase1" in here.run(f"{here.bin}/citadel-deploy", "status").stdout
