"""The monitor beside deployments, both real, under the real systemd: what a deployment stops is nobody's wish,
and what a person stops between two is his."""

import json

import pytest

import machine
from test_apply import apply, citadel, completes, model, pid, write
from test_monitor_machine import ask, events, record, wait

pytestmark = pytest.mark.xdist_group("machine")

LONG = '{"model": "one", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 48, "ignore_eos": true}'


def configuration(**models):
    few = {
        "one": model(12000, "--sim-token-rate", "4"),  # a long answer takes twelve seconds
        "two": model(12001),
        "three": model(12002, residency="on-demand"),
    }
    return {
        "storage": {"require_mounts": False, "smart": False},
        "backup": {"enabled": False},
        "monitor": {"health_interval": "1s"},
        "gateway": {"enabled": False},
        "models": {**few, **models},
    }


CHANGED = {
    "one": model(12000, "--sim-token-rate", "4", max_model_len=2048),
    "two": model(12001, max_model_len=2048),
}


@pytest.fixture(scope="module", params=machine.SUITES)
def booted(request):
    if why := machine.why_not():
        pytest.skip(why)
    with machine.Machine(request.param, "watched") as it:
        it.run("mkdir", "-p", "/mnt/citadel-models", "/mnt/citadel-backup")
        apply(it, configuration())
        it.is_in_state("citadel-monitor", "active")
        yield it


@pytest.fixture
def here(booted):
    """Two run and are watched, as they were deployed first."""
    apply(booted, configuration())
    for name in ("one", "two"):
        booted.until(lambda: told(booted, name)["state"] == "ready", f"{name} is seen to be ready")
    return booted


def told(here, name):
    return next(s for s in ask(here, "/services")["services"] if s["name"] == name)


def wishes(here, after):
    return [e for e in events(here)[after:] if e["event"].startswith("wish.")]


def ask_for_long(here):
    """A request that keeps `one` from ending for more than the three seconds that a stop is given to be a restart."""
    url = "http://127.0.0.1:12000/v1/chat/completions"
    asked = here.start("curl", "-sS", "--json", LONG, url)

    def runs():
        (seen,) = json.loads(citadel(here, "status", "one", "--json").stdout)["services"]
        return seen["model"]["running"] >= 1

    here.until(runs, "the long request runs")
    return asked


def test_what_apply_stops_while_another_drains_is_nobodys_wish(here):
    count, before, at = len(events(here)), pid(here, "two"), "InactiveEnterTimestampMonotonic"
    asked = ask_for_long(here)
    apply(here, configuration(**CHANGED))
    assert "chat.completion" in asked.communicate()[0]
    wait(here, "service.ready", "one", count)
    ended = [int(here.show(f"citadel-{name}", at)[at]) for name in ("one", "two")]
    assert ended[0] - ended[1] > 3_500_000, ended
    assert wishes(here, count) == [] and pid(here, "two") != before
    assert completes(here, 12000) and completes(here, 12001)


def test_nor_what_a_deployment_that_is_killed_leaves_stopped(here):
    count = len(events(here))
    asked = ask_for_long(here)
    write(here, configuration(**CHANGED))
    going = here.start(f"{here.bin}/citadel", "apply", "-y")
    wait(here, "service.stopped", "two", count)
    here.run("systemctl", "kill", "-s", "KILL", "citadel_apply-*")
    going.communicate()
    assert "chat.completion" in asked.communicate()[0]
    wait(here, "service.stopped", "one", count)
    count = len(events(here))
    here.run("kill", "-KILL", here.show("citadel-monitor", "MainPID")["MainPID"])
    wait(here, "monitor.started", None, count)  # nor for one that comes new
    apply(here, configuration(**CHANGED))
    assert completes(here, 12000) and completes(here, 12001)
    assert [e["service"] for e in events(here) if e["event"] == "wish.stopped"] == []


def test_what_phases_start_and_stop_is_there_on_demand(here):
    count = len(events(here))
    citadel(here, "deploy", "phase1", "-y")
    citadel(here, "deploy", "phase2", "two", "-y")
    assert "three answers" in citadel(here, "deploy", "phase3", "-y").stderr
    citadel(here, "deploy", "phase4", "-y")
    at = wait(here, "service.stopped", "three", count)
    answer = ask(here, "/ensure/three", "-X", "POST")
    assert "id" not in answer, answer
    wait(here, "service.ready", "three", at)
    assert completes(here, 12002) and wishes(here, count) == []
    citadel(here, "stop", "three")


def test_what_a_person_stops_after_a_deployment_is_his_wish(here):
    count = len(events(here))
    here.run("systemctl", "stop", "citadel-two")
    wait(here, "wish.stopped", "two", count)
    assert record(here, "two")["wanted"]["state"] == "stopped"
    assert ask(here, "/ensure/two", "-X", "POST")["id"] == "run.held"
    citadel(here, "start", "two")
