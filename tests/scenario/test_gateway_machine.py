"""`citadel gateway` as citadel-gateway.service behind its socket, in the sandbox of its unit, under the real
systemd: nobody is refused while it is started anew, and no stream is cut."""

import json

import pytest

import machine
from test_units_machine import deploy, stand_in

pytestmark = pytest.mark.xdist_group("machine")

SIM = {"engine": "sim", "extra_args": ["--sim-token-rate", "0"]}
SLOW = {"engine": "sim", "extra_args": ["--sim-token-rate", "20"]}
CONFIG = {
    "storage": {"require_mounts": False, "smart": False},
    "backup": {"enabled": False},
    "monitor": {"health_interval": "1s"},
    "gateway": {"listen": ["0.0.0.0", "/run/citadel/gateway/api.sock"]},
    "models": {
        "quick": {**SIM, "port": 12000},
        "slow": {**SLOW, "port": 12001},
        "lazy": {**SIM, "port": 12002, "residency": "manual"},
        "kept": {**SIM, "port": 12003, "residency": "manual"},
    },
}
URL = "http://127.0.0.1:8000"
WORDS = 60  # at twenty a second: longer than a restart takes


@pytest.fixture(scope="module", params=machine.SUITES)
def here(request):
    if why := machine.why_not():
        pytest.skip(why)
    with machine.Machine(request.param, "gateway") as booted:
        booted.run("mkdir", "-p", "/mnt/citadel-models", "/mnt/citadel-backup")
        stand_in(booted, "gpu", "/bin/true", "ExecStop=")
        booted.run("systemd-sysusers")
        booted.run("systemd-tmpfiles", "--create")
        deploy(booted, 1, CONFIG)
        booted.run("systemctl", "start", "citadel-ai.target")
        for name in ("gateway", "monitor", "quick", "slow"):
            booted.is_in_state(f"citadel-{name}", "active")
        yield booted


def citadel(here, *words, **more):
    return here.run(f"{here.bin}/citadel", *words, "-c", "/etc/citadel/current/config.yaml", **more)


def complete(here, model, **more):
    asked = json.dumps({"model": model, "prompt": "hello", **more})
    return here.run("curl", "-sS", "--json", asked, f"{URL}/v1/completions").stdout


def stream(here):
    """One that goes on for a while."""
    asked = json.dumps({"model": "slow", "prompt": "hello", "stream": True, "ignore_eos": True, "max_tokens": WORDS})
    started = here.start("curl", "-sSN", "--json", asked, f"{URL}/v1/completions")
    assert started.stdout.readline().startswith("data:")
    return started


def is_whole(started):
    said = started.stdout.read()
    return "[DONE]" in said and "error" not in said


def pid(here):
    return here.show("citadel-gateway", "MainPID")["MainPID"]


def states(here):
    listed = json.loads(here.run("curl", "-sS", f"{URL}/v1/models").stdout)["data"]
    return {m["id"]: m["state"] for m in listed}


def test_it_answers_from_within_its_sandbox(here):
    assert "choices" in complete(here, "quick")
    assert here.show("citadel-gateway", "User") == {"User": "citadel-gateway"}
    assert states(here)["quick"] == "ready"
    why = json.loads(citadel(here, "why", "gateway", "--json").stdout)
    assert (why["state"], why["well"], why["fix"]) == ("ready", True, None)


def test_a_model_that_is_needed_is_brought(here):
    here.until(lambda: states(here)["lazy"] == "stopped", "the monitor has told of it")
    assert "choices" in complete(here, "lazy")
    assert here.show("citadel-lazy", "ActiveState") == {"ActiveState": "active"}
    citadel(here, "hold", "kept", "--reason", "not yet")
    assert "not yet" in complete(here, "kept")


def test_nobody_is_refused_while_it_is_started_anew(here):
    """Requests one after the other, on a connection each, over two restarts."""
    script = (
        f"for i in $(seq 200); do curl -sS -o /dev/null -w '%{{http_code}}\\n' {URL}/v1/models || echo refused; done"
    )
    asking = here.start("sh", "-c", script)
    before = pid(here)
    asking.stdout.readline()
    for _ in range(2):
        here.run("systemctl", "restart", "citadel-gateway")
    assert pid(here) != before
    assert set(asking.stdout.read().split()) == {"200"}


def test_a_socket_that_is_a_file_stays_over_its_restarts(here):
    path = "/run/citadel/gateway/api.sock"
    before = here.run("stat", "-c", "%F %a %U %G %i", path).stdout
    assert before.startswith("socket 660 citadel-gateway citadel-gateway ")
    here.run("systemctl", "restart", "citadel-gateway")
    assert "quick" in here.run("curl", "-sS", "--unix-socket", path, "http://localhost/v1/models").stdout
    assert here.run("stat", "-c", "%F %a %U %G %i", path).stdout == before


def test_the_monitor_tells_of_the_machine_from_within_its_sandbox(here):
    for page, name in (
        ("system", "citadel_system_cpu_seconds_total"),
        ("system", "citadel_system_memory_available_bytes"),
        ("storage", "citadel_storage_free_bytes"),
        ("gpu", "citadel_gpus_readable"),
    ):
        here.until(lambda: name in here.run("curl", "-sS", f"{URL}/metrics/{page}").stdout, f"{name} is told")


def test_a_stream_is_completed_before_it_ends(here):
    """Who comes meanwhile waits at the socket, and is answered by the next one."""
    started, before = stream(here), pid(here)
    restarting = here.start("systemctl", "restart", "citadel-gateway")
    here.until(lambda: here.show("citadel-gateway", "ActiveState")["ActiveState"] == "deactivating", "it ends")
    assert "choices" in complete(here, "quick")
    assert pid(here) not in (before, "0")
    restarting.stdout.read()
    assert is_whole(started)


def test_another_configuration_cuts_no_stream(here):
    before, started = pid(here), stream(here)
    aliased = {**CONFIG, "gateway": {**CONFIG["gateway"], "aliases": {"gpt": "quick"}}}
    deploy(here, 1, aliased)
    here.run("systemctl", "reload", "citadel-gateway")
    assert "choices" in complete(here, "gpt")
    assert is_whole(started) and pid(here) == before


def test_one_that_hangs_is_ended_and_started_anew(here):
    before = pid(here)
    here.run("kill", "-STOP", before)
    here.until(lambda: pid(here) not in (before, "0"), "its watchdog has seen to it", patience_s=120)
    assert "choices" in complete(here, "quick")
