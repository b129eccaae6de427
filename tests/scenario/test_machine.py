"""The shim under the real systemd: what it tells, what systemd makes of it, and what we say of that."""

import json

import pytest

import machine

pytestmark = pytest.mark.xdist_group("machine")

UNIT = """
[Unit]
StartLimitIntervalSec=10
StartLimitBurst=5
ConditionPathExists=!/run/kept-down

[Service]
Type=notify
ExecStart={bin}/citadel run {name} -c /etc/citadel/citadel.yaml
Restart=always
RestartSec=1
RestartPreventExitStatus=64 75
KillMode=mixed
TimeoutStartSec=3
WatchdogSec=8
Delegate=no
"""

MODELS = {
    "quick": {"extra_args": ["--sim-load-time", "1"]},
    "slow": {"extra_args": ["--sim-load-time", "8"]},
    "wrong": {"extra_args": ["--no-such-flag"]},
    "held": {"extra_args": ["--sim-fault", "port-taken"]},
    "crashing": {"extra_args": ["--sim-load-time", "1", "--sim-control"]},
}


@pytest.fixture(scope="module", params=machine.SUITES)
def here(request):
    if why := machine.why_not():
        pytest.skip(why)
    with machine.Machine(request.param, "shim") as booted:
        models = {
            name: {"engine": "sim", "port": 12000 + i, "start_stall_limit": "10s", **more}
            for i, (name, more) in enumerate(MODELS.items())
        }
        booted.write_json("/etc/citadel/citadel.yaml", {"models": models})
        for name in models:
            unit = UNIT.replace("{bin}", booted.bin).replace("{name}", name)
            booted.write(f"/etc/systemd/system/citadel-{name}.service", unit)
        booted.run("systemctl", "daemon-reload")
        yield booted


def port(name):
    return 12000 + list(MODELS).index(name)


def completes(here, name):
    asked = '{"model": "%s", "messages": [{"role": "user", "content": "hello"}]}' % name
    url = f"http://127.0.0.1:{port(name)}/v1/chat/completions"
    return here.run("curl", "-sS", "--fail", "--json", asked, url).stdout


def pids(here, unit):
    """Every process of a unit."""
    group = here.show(unit, "ControlGroup")["ControlGroup"]
    return here.sh(f"cat /sys/fs/cgroup{group}/cgroup.procs 2>/dev/null || :").split()


def test_a_start_ends_when_the_model_answers(here):
    here.run("systemctl", "start", "citadel-quick")
    assert "chat.completion" in completes(here, "quick")
    assert len(pids(here, "citadel-quick")) > 2  # shim, server, engine core
    here.run("systemctl", "stop", "citadel-quick")
    assert here.show("citadel-quick", "ActiveState", "Result") == {"ActiveState": "inactive", "Result": "success"}
    assert pids(here, "citadel-quick") == []


def test_a_load_that_progresses_outlives_the_limit_of_the_start(here):
    here.run("systemctl", "start", "citadel-slow")  # 8 s of loading; TimeoutStartSec=3
    assert "chat.completion" in completes(here, "slow")
    assert here.show("citadel-slow", "NRestarts") == {"NRestarts": "0"}
    here.run("systemctl", "stop", "citadel-slow")


def test_what_will_never_work_is_not_started_again(here):
    done = here.run("systemctl", "start", "citadel-wrong", check=False)
    assert done.returncode != 0
    shown = here.show("citadel-wrong", "ActiveState", "ExecMainStatus", "NRestarts")
    assert shown == {"ActiveState": "failed", "ExecMainStatus": "64", "NRestarts": "0"}
    assert "--no-such-flag" in here.journal("citadel-wrong")


def test_what_does_not_work_now_is_left_to_who_knows_when(here):
    done = here.run("systemctl", "start", "citadel-held", check=False)
    assert done.returncode != 0
    shown = here.show("citadel-held", "ActiveState", "ExecMainStatus", "NRestarts")
    assert shown == {"ActiveState": "failed", "ExecMainStatus": "75", "NRestarts": "0"}
    assert f"{port('held')}" in here.journal("citadel-held")


@pytest.mark.parametrize("who", ["shim", "engine"])
def test_a_crash_is_started_again_and_leaves_nothing(here, who):
    here.run("systemctl", "start", "citadel-crashing")
    before = pids(here, "citadel-crashing")
    main = here.show("citadel-crashing", "MainPID")["MainPID"]
    victim = main if who == "shim" else next(pid for pid in before if pid != main)
    restarts = int(here.show("citadel-crashing", "NRestarts")["NRestarts"])
    here.run("kill", "-KILL", victim)

    def is_back():
        shown = here.show("citadel-crashing", "ActiveState", "NRestarts")
        return shown == {"ActiveState": "active", "NRestarts": str(restarts + 1)}

    here.until(is_back, "a second start")
    assert "chat.completion" in completes(here, "crashing")
    assert not set(before) & set(pids(here, "citadel-crashing"))
    here.run("systemctl", "stop", "citadel-crashing")
    assert pids(here, "citadel-crashing") == []


def test_a_frozen_shim_is_ended_by_the_watchdog(here):
    here.run("systemctl", "start", "citadel-quick")
    main = here.show("citadel-quick", "MainPID")["MainPID"]
    here.run("kill", "-STOP", main)

    def is_back():
        shown = here.show("citadel-quick", "ActiveState", "NRestarts")
        return shown == {"ActiveState": "active", "NRestarts": "1"}

    here.until(is_back, "the watchdog's restart")
    assert main not in pids(here, "citadel-quick")
    here.run("systemctl", "stop", "citadel-quick")


# ---- our own words for it ----


def citadel(here, *words, **more):
    return here.run(f"{here.bin}/citadel", *words, **more)


def seen(here, name):
    shown = json.loads(citadel(here, "status", name, "--json").stdout)
    return shown["services"][0]


def test_services_of_systemd_are_started_shown_and_stopped(here):
    citadel(here, "start", "quick")
    assert "chat.completion" in completes(here, "quick")
    shown = seen(here, "quick")
    assert shown["state"] == "ready" and shown["healthy"] and shown["pid"] > 1
    assert shown["model"]["phase"] == "ready"
    assert shown["address"] == f"127.0.0.1:{port('quick')}"
    assert "quick" in citadel(here, "status").stdout
    citadel(here, "stop", "quick")
    assert seen(here, "quick")["state"] == "stopped"
    assert pids(here, "citadel-quick") == []


@pytest.mark.parametrize(
    "name, code, part, state",
    [("wrong", 1, "--no-such-flag", "failed"), ("held", 75, "something else listens", "not-now")],
)
def test_a_start_that_fails_tells_why(here, name, code, part, state):
    done = citadel(here, "start", name, check=False)
    assert done.returncode == code, done.stderr
    assert part in done.stderr and f"citadel logs {name}" in done.stderr
    shown = seen(here, name)
    assert shown["state"] == state and part in shown["reason"]


def test_a_start_forgets_failures_of_before(here):
    for _ in range(6):  # systemd's own limit is five starts in ten seconds
        done = citadel(here, "start", "wrong", check=False)
        assert "too often" not in done.stderr and "--no-such-flag" in done.stderr


def test_a_start_that_starts_nothing_is_none(here):
    here.run("touch", "/run/kept-down")
    done = citadel(here, "start", "quick", check=False)
    here.run("rm", "/run/kept-down")
    assert done.returncode == 1, done
    assert "quick: it does not run: a condition of its unit does not hold" in done.stderr
    assert "systemctl status citadel-quick.service" in done.stderr


def test_the_models_are_none_of_the_others(here):
    here.write("/etc/systemd/system/citadel-monitor.service", "[Service]\nExecStart=sleep infinity\n")
    here.run("systemctl", "daemon-reload")
    citadel(here, "start", "quick", "monitor")
    citadel(here, "stop", "models")
    assert seen(here, "quick")["state"] == "stopped"
    assert seen(here, "monitor")["state"] == "ready"
    citadel(here, "stop", "all")
    assert seen(here, "monitor")["state"] == "stopped"


def test_a_restart_is_another_process(here):
    citadel(here, "start", "quick")
    before = seen(here, "quick")["pid"]
    citadel(here, "restart", "quick")
    assert seen(here, "quick")["pid"] != before
    citadel(here, "stop", "quick")


def test_another_user_may_look_and_not_touch(here):
    citadel(here, "start", "quick")
    assert "quick" in citadel(here, "status", user="nobody").stdout
    done = citadel(here, "stop", "quick", user="nobody", check=False)
    assert done.returncode == 77, done.stderr
    assert "the same with sudo" in done.stderr
    citadel(here, "stop", "quick")


def test_logs_are_those_of_the_journal(here):
    citadel(here, "start", "quick")
    shown = citadel(here, "logs", "quick", "-n", "1000").stdout.splitlines()
    assert any(line.endswith("quick: ready: answers chat completions") for line in shown), shown
    assert len(citadel(here, "logs", "quick", "-n", "3").stdout.splitlines()) == 3
    assert citadel(here, "logs", "quick", "-n", "3", "--json").stdout.startswith("{")
    lately = citadel(here, "logs", "models", "--since", "1h").stdout.splitlines()
    assert any(" quick: " in line and line.endswith("ready: answers chat completions") for line in lately)
    assert [line[:19] for line in lately] == sorted(line[:19] for line in lately)
    assert len(citadel(here, "logs", "all", "--since", "1h", "-n", "2").stdout.splitlines()) == 2
    assert "nothing of quick in that time" in citadel(here, "logs", "quick", "--since", "1ms").stderr
    follow = here.start(f"{here.bin}/citadel", "logs", "quick", "-f", "-n", "0")
    citadel(here, "stop", "quick")
    assert "quick: ended" in next(line for line in follow.stdout if "ended" in line)
    here.end(follow)
    done = citadel(here, "logs", "quick", user="nobody")
    assert done.stdout == "" and "systemd-journal" in done.stderr


def test_without_the_bus_it_is_said(here):
    here.run("systemctl", "stop", "dbus.socket", "dbus.service", check=False)
    done = here.inside(f"{here.bin}/citadel", "status")
    assert done.returncode == 1 and "system bus" in done.stderr, done.stderr
    here.inside("systemctl", "start", "dbus.socket")
