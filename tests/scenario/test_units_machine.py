"""Our units under the real systemd: a generation is put in place as a deployment does, and the machine
does what it says, inside the sandbox and over a reboot.

A drop-in stands for `citadel monitor`, and what has no verb yet is wanted all the same."""

import json
import re
import shutil

import pytest

import machine
from program import TOP

pytestmark = pytest.mark.xdist_group("machine")

PROBE = TOP / "build/tests/sandbox_probe"
CACHE = "/mnt/citadel-models/cache"


def probe(name, other, **more):
    command = ["/opt/probe", name, other]
    return {"engine": "command", "command": command, "kind": "chat", "residency": "manual", **more}


CONFIG = {
    "storage": {"require_mounts": False},
    "backup": {"verify": "daily 07:00"},
    "models": {
        "quick": {"engine": "sim", "port": 12000},
        "lazy": {"engine": "sim", "port": 12001, "residency": "on-demand"},
        "narrow": probe("narrow", "quick", port=12002),
        "wide": probe("wide", "quick", port=12003, tensor_parallel=2),
        "failing": {
            "engine": "command",
            "command": ["/bin/false"],
            "kind": "chat",
            "port": 12004,
            "residency": "manual",
            "restart_limit": 2,
            "restart_delay": "100ms",
        },
    },
}


def deploy(here, number, config, **env):
    """Puts a generation in place: a directory, and one rename."""
    units = [*(f"{name}={value}" for name, value in env.items()), f"{here.bin}/citadel", "units"]
    top = f"/etc/citadel/generations/{number}"
    here.write_json(f"{top}/config.yaml", config)
    here.run("env", *units, "-q", "-c", f"{top}/config.yaml", "--write", f"{top}/units")
    here.sh(f"sed -i 's/^# Nothing starts it.*/WantedBy=citadel-ai.target/' {top}/units/*")
    here.run("ln", "-sfn", f"generations/{number}", "/etc/citadel/next")
    here.run("mv", "-T", "/etc/citadel/next", "/etc/citadel/current")
    here.run("systemctl", "daemon-reload")


def stand_in(here, name, command, *lines):
    """For a service whose verb is not there yet; in the sandbox of its unit."""
    text = "\n".join(["[Service]", *lines, "ExecStart=", f"ExecStart={command}", ""])
    here.write(f"/etc/systemd/system/citadel-{name}.service.d/test.conf", text)


@pytest.fixture(scope="module", params=machine.SUITES)
def here(request):
    if why := machine.why_not():
        pytest.skip(why)
    with machine.Machine(request.param, "units") as booted:
        shutil.copy(PROBE, booted.root / "opt/probe")
        stand_in(booted, "monitor", "/bin/sleep infinity", "Type=exec", "WatchdogSec=0")
        booted.run("systemd-sysusers")
        booted.run("systemd-tmpfiles", "--create")
        booted.run("mkdir", "/mnt/citadel-models")
        deploy(booted, 1, CONFIG)
        yield booted


def completes(here, port):
    asked = '{"model": "quick", "messages": [{"role": "user", "content": "hello"}]}'
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    return here.run("curl", "-sS", "--fail", "--json", asked, url).stdout


def test_systemd_has_read_every_unit_without_a_word(here):
    said = here.journal()
    assert "citadel-generator" not in said
    assert not [line for line in said.splitlines() if "citadel" in line and "ignoring" in line]
    listed = here.run("systemctl", "list-unit-files", "citadel-*", "--no-legend").stdout
    assert "citadel-quick.service" in listed and "citadel-backup-verify.timer" in listed
    assert here.show("citadel-quick", "UnitFileState") == {"UnitFileState": "generated"}


def test_all_of_it_starts_and_stops_as_one(here):
    here.run("systemctl", "start", "citadel-ai.target")
    here.is_in_state("citadel-quick", "active")
    assert "chat.completion" in completes(here, 12000)
    assert here.show("citadel-lazy", "ActiveState") == {"ActiveState": "inactive"}
    assert here.show("citadel-backup-verify.timer", "ActiveState") == {"ActiveState": "active"}
    here.run("systemctl", "stop", "citadel-ai.target")
    assert here.show("citadel-quick", "ActiveState", "Result") == {
        "ActiveState": "inactive",
        "Result": "success",
    }
    assert here.show("citadel-backup-verify.timer", "ActiveState") == {"ActiveState": "inactive"}


def test_gateway_and_monitor_are_there_before_the_models_and_after_them(here):
    here.run("systemctl", "start", "citadel-ai.target")
    here.is_in_state("citadel-quick", "active")
    keepers = ("citadel-gateway", "citadel-monitor")

    def at(unit, when):
        return int(here.show(unit, when)[when])

    for keeper in keepers:
        assert at(keeper, "ActiveEnterTimestampMonotonic") <= at(
            "citadel-quick", "InactiveExitTimestampMonotonic"
        )
    # They are nobody's to take down, and take nobody down.
    here.run("systemctl", "stop", "citadel-models.target")
    assert here.show("citadel-quick", "ActiveState") == {"ActiveState": "inactive"}
    for keeper in keepers:
        assert here.show(keeper, "ActiveState") == {"ActiveState": "active"}
    here.run("systemctl", "start", "citadel-models.target")
    here.run("systemctl", "stop", *keepers, "citadel-gateway.socket")
    assert here.show("citadel-quick", "ActiveState") == {"ActiveState": "active"}
    here.run("systemctl", "start", *keepers)
    here.run("systemctl", "stop", "citadel-ai.target")
    for keeper in keepers:
        assert at(keeper, "InactiveEnterTimestampMonotonic") >= at(
            "citadel-quick", "InactiveEnterTimestampMonotonic"
        )


def test_without_storage_no_model_starts(here):
    stand_in(here, "storage", "/bin/false")
    here.run("systemctl", "daemon-reload")
    done = here.run("systemctl", "start", "citadel-quick", check=False)
    assert done.returncode != 0
    assert here.show("citadel-quick", "ActiveState") == {"ActiveState": "inactive"}
    here.run("rm", "/etc/systemd/system/citadel-storage.service.d/test.conf")
    here.run("systemctl", "daemon-reload")
    here.run("systemctl", "reset-failed", "citadel-storage")


def told(here, name):
    """What the probe has found as the engine of a model: by group, what it tried and what came of it."""
    here.run("systemctl", "start", f"citadel-{name}", check=False)  # the probe ends, and never serves
    here.run("systemctl", "stop", f"citadel-{name}")
    path = here.root / CACHE[1:] / name / "told"
    assert path.exists(), here.journal(f"citadel-{name}")
    found = {}
    for group, what, how in re.findall(r"^(\S+) (.*): (.*)$", path.read_text(), re.M):
        found.setdefault(group, {})[what] = how
    return found


@pytest.mark.parametrize("name", ["narrow", "wide"])
def test_an_engine_can_do_what_it_must_and_no_more(here, name):
    here.run("systemctl", "start", "citadel-quick")  # there is something to be reached
    found = told(here, name)
    asked = here.run("curl", "-sS", "--unix-socket", "/run/citadel/models/quick/control.sock", "http://x/state")
    assert json.loads(asked.stdout)["phase"] == "ready"
    here.run("systemctl", "stop", "citadel-quick")
    assert {what: how for what, how in found["may"].items() if how != "done"} == {}
    assert {what for what, how in found["must-not"].items() if how == "done"} == set()
    # Only workers that share a model need these.
    assert set(found["workers-may"].values()) == {"done" if name == "wide" else "Operation not permitted"}


def test_the_budget_ends_a_model_that_always_fails(here):
    here.run("systemctl", "start", "--no-block", "citadel-failing")

    def given_up():
        return here.show("citadel-failing", "Result")["Result"] == "start-limit-hit" or (
            here.show("citadel-failing", "ActiveState", "NRestarts")
            == {"ActiveState": "failed", "NRestarts": "2"}
        )

    here.until(given_up, "the end of the budget")
    here.run("systemctl", "reset-failed", "citadel-failing")


def test_after_an_emergency_nothing_starts(here):
    here.run("touch", "/run/citadel/emergency")
    here.run("systemctl", "start", "citadel-quick")
    assert here.show("citadel-quick", "ActiveState", "ConditionResult") == {
        "ActiveState": "inactive",
        "ConditionResult": "no",
    }
    here.run("rm", "/run/citadel/emergency")


def test_the_account_of_the_models_may_start_our_units_and_no_others(here):
    command = ("systemctl", "--no-ask-password")
    here.run("systemctl", "reset-failed", "citadel-quick.service")  # starts of before count
    here.run(*command, "start", "citadel-quick.service", user="citadel")
    here.run(*command, "restart", "citadel-quick.service", user="citadel")
    here.run(*command, "stop", "citadel-quick.service", user="citadel")
    here.run(*command, "reset-failed", "citadel-quick.service", user="citadel", check=False)
    for unit, verb in (("systemd-journald.service", "restart"), ("citadel-quick.service", "kill")):
        assert here.run(*command, verb, unit, user="citadel", check=False).returncode != 0
    here.run("useradd", "--system", "somebody")
    done = here.run(*command, "start", "citadel-quick.service", user="somebody", check=False)
    assert done.returncode != 0


def test_the_next_generation_is_one_rename_away(here):
    before = here.show("citadel-quick", "TimeoutStopUSec")
    models = {name: model for name, model in CONFIG["models"].items() if name != "lazy"}
    models["quick"] = {**models["quick"], "drain_timeout": "5s"}
    deploy(here, 2, {**CONFIG, "models": models})
    assert here.show("citadel-lazy", "LoadState") == {"LoadState": "not-found"}
    assert here.show("citadel-quick", "TimeoutStopUSec") != before
    deploy(here, 3, CONFIG)
    assert here.show("citadel-quick", "TimeoutStopUSec") == before
    assert here.show("citadel-lazy", "LoadState") == {"LoadState": "loaded"}


def test_a_generation_with_a_unit_that_cannot_be_read_is_none(here):
    deploy(here, 4, CONFIG)
    here.run("ln", "-sf", "/etc/passwd", "/etc/citadel/generations/4/units/citadel-lazy.service")
    here.run("systemctl", "daemon-reload")
    assert here.show("citadel-quick", "LoadState") == {"LoadState": "not-found"}
    assert "citadel-lazy.service" in here.run("journalctl", "-o", "cat", "--no-pager").stdout
    deploy(here, 5, CONFIG)
    assert here.show("citadel-quick", "LoadState") == {"LoadState": "loaded"}


def test_paths_are_told_as_they_are(here):
    strange = '/srv/a b/50% $HOME "q"'
    deploy(here, 6, {**CONFIG, "paths": {"state": strange, "logs": f"{strange}/logs"}})
    shown = here.run("busctl", "get-property", "-j", "org.freedesktop.systemd1",
                     "/org/freedesktop/systemd1/unit/citadel_2dquick_2eservice",
                     "org.freedesktop.systemd1.Service", "ReadWritePaths").stdout
    assert f"{strange}/models/quick" in json.loads(shown)["data"]
    deploy(here, 7, CONFIG)


def test_a_model_leases_the_gpus_that_it_was_planned_on(here):
    """With a made-up driver; what opens device files comes with real ones."""
    gpus = "/var/lib/citadel/models/wide/gpus"
    shutil.copy(TOP / "build/sim/libnvidia-ml.so.1", here.root / "usr/lib/x86_64-linux-gnu")
    here.run("install", "-d", "-o", "citadel", gpus)
    here.write(f"{gpus}/gpus", "gpu NVIDIA L40S\ncount 3\n")
    here.write(
        "/etc/systemd/system/citadel-wide.service.d/test.conf",
        f"[Service]\nEnvironment=CITADEL_FAKE_NVML={gpus}\n",
    )
    model = {"engine": "sim", "port": 12005, "tensor_parallel": 2, "gpus": [2, 1]}
    deploy(here, 8, {**CONFIG, "models": {"wide": model}}, CITADEL_FAKE_NVML=gpus)
    here.run("chown", "-R", "citadel", gpus)  # root has just looked
    (command,) = re.findall(r"--gpus (\S+)", here.run("systemctl", "cat", "citadel-wide").stdout)
    allowed = here.run("systemctl", "show", "citadel-wide", "--property=DeviceAllow").stdout
    assert "/dev/nvidia1 rw" in allowed and "/dev/nvidia2 rw" in allowed
    assert "/dev/nvidia0" not in allowed
    here.run("systemctl", "start", "citadel-wide")
    lease = json.loads(here.run("cat", "/run/citadel/leases/wide.json").stdout)
    assert sorted(part["uuid"] for part in lease["gpus"]) == sorted(command.split(","))
    here.run("systemctl", "stop", "citadel-wide")
    here.run("rm", "-r", "/etc/systemd/system/citadel-wide.service.d")
    deploy(here, 9, CONFIG)


def test_it_comes_back_with_the_machine(here):
    here.reboot()
    here.is_in_state("citadel-quick", "active")
    assert "chat.completion" in completes(here, 12000)
    assert here.show("citadel-ai.target", "ActiveState") == {"ActiveState": "active"}
