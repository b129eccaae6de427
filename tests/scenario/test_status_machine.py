"""What is deployed under the real systemd, and the file on the desk says something else: it is shown, stopped,
started, and left alone all the same."""

import json

import pytest

import machine
from test_apply import citadel, current, model, write

pytestmark = pytest.mark.xdist_group("machine")


def configuration(*names, **more):
    ports = {"one": 12000, "two": 12001, "three": 12002}
    return {
        "storage": {"require_mounts": False, "smart": False},
        "backup": {"enabled": False},
        "gateway": {"enabled": False},
        "monitor": {"enabled": False},
        "models": {name: model(ports[name], **more.get(name, {})) for name in names},
    }


@pytest.fixture(scope="module", params=machine.SUITES)
def booted(request):
    if why := machine.why_not():
        pytest.skip(why)
    with machine.Machine(request.param, "status") as booted:
        booted.run("mkdir", "-p", "/mnt/citadel-models", "/mnt/citadel-backup")
        yield booted


@pytest.fixture
def here(booted):
    """One and two are deployed and run; the file has one and three."""
    write(booted, configuration("one", "two"))
    citadel(booted, "start", check=False)
    citadel(booted, "apply", "-y")
    write(booted, configuration("one", "three"))
    return booted


def services(here, *words):
    return {s["name"]: s for s in json.loads(citadel(here, "status", "--json", *words).stdout)["services"]}


def pids(here, name):
    return here.sh(f"cat /sys/fs/cgroup/citadel.slice/citadel-models.slice/citadel-{name}.service/cgroup.procs 2>/dev/null || :").split()


def test_what_is_deployed_is_shown_and_what_is_not(here):
    seen = services(here)
    told = {name: (s["state"], s["deployed"], s["asked_for"]) for name, s in seen.items() if s["kind"] == "model"}
    assert told == {
        "one": ("ready", True, True),
        "two": ("ready", True, False),
        "three": ("stopped", False, True),
    }
    assert seen["two"]["address"] == "127.0.0.1:12001"
    shown = here.sh(f"COLUMNS=500 {here.bin}/citadel status")
    rows = {line.split()[0]: line for line in shown.splitlines() if line}
    assert "/etc/citadel/citadel.yaml asks for it no more" in rows["two"]
    assert "not deployed" in rows["three"] and "try: citadel plan" in rows["three"]
    assert citadel(here, "status", "two").returncode == citadel(here, "health", "two").returncode == 0


def test_all_is_stopped_and_each_is_started_by_its_name(here):
    assert pids(here, "two")
    citadel(here, "stop", "all")
    assert pids(here, "one") == pids(here, "two") == []
    assert {s["state"] for s in services(here).values()} <= {"stopped", "ready"}
    citadel(here, "start", "two")
    assert services(here, "two")["two"]["state"] == "ready" and pids(here, "one") == []
    assert "answers chat completions" in citadel(here, "logs", "two", "--no-follow").stdout
    assert json.loads(citadel(here, "why", "two", "--json").stdout)["state"] == "ready"
    done = citadel(here, "start", "three", check=False)
    assert done.returncode == 4 and "three is in /etc/citadel/citadel.yaml, and not deployed" in done.stderr
    assert "try: citadel plan" in done.stderr


def test_what_nobody_has_deployed_is_stopped_with_the_rest(here):
    """As what a deployment has left that was killed between the rename and its orders."""
    write(here, configuration("one"))
    citadel(here, "apply", "-y")
    here.run("systemd-run", "--unit=citadel-two", "--slice=citadel-models.slice", "sleep", "infinity")
    here.run("systemd-run", "--unit=citadel-backup-now", "sleep", "infinity")
    seen = services(here)
    assert (seen["two"]["state"], seen["two"]["deployed"], seen["two"]["asked_for"]) == ("ready", False, False)
    assert "backup-now" not in seen  # is no service
    citadel(here, "stop", "models")
    assert pids(here, "two") == [] and "two" not in services(here)
    here.run("systemctl", "stop", "citadel-backup-now")


def test_a_stopped_model_that_the_file_lacks_stays_so_over_a_switch(here):
    number = current(here)
    write(here, configuration("one", "two", two={"drain_timeout": "7s"}))
    citadel(here, "apply", "-y")
    assert current(here) != number
    citadel(here, "stop", "two")
    here.sh("rm -f /etc/citadel/resting/citadel-two.service")  # as systemctl stops it, which the monitor writes down
    write(here, configuration("one"))
    done = citadel(here, "generations", "switch", str(number), "-y")
    assert current(here) == number and pids(here, "two") == [], done.stderr
    assert services(here)["two"]["stopped_by"] == "root"
