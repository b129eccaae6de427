"""The shim under the real systemd: what it tells, and what systemd makes of it."""

import pytest

import machine

pytestmark = pytest.mark.xdist_group("machine")

UNIT = """
[Unit]
StartLimitIntervalSec=0

[Service]
Type=notify
ExecStart={bin}/citadel run %N -c /etc/citadel.yaml
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
        booted.write_json("/etc/citadel.yaml", {"models": models})
        for name in models:
            booted.write(f"/etc/systemd/system/{name}.service", UNIT.replace("{bin}", booted.bin))
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
    here.run("systemctl", "start", "quick")
    assert "chat.completion" in completes(here, "quick")
    assert len(pids(here, "quick")) > 2  # shim, server, engine core
    here.run("systemctl", "stop", "quick")
    assert here.show("quick", "ActiveState", "Result") == {"ActiveState": "inactive", "Result": "success"}
    assert pids(here, "quick") == []


def test_a_load_that_progresses_outlives_the_limit_of_the_start(here):
    here.run("systemctl", "start", "slow")  # 8 s of loading; TimeoutStartSec=3
    assert "chat.completion" in completes(here, "slow")
    assert here.show("slow", "NRestarts") == {"NRestarts": "0"}
    here.run("systemctl", "stop", "slow")


def test_what_will_never_work_is_not_started_again(here):
    done = here.run("systemctl", "start", "wrong", check=False)
    assert done.returncode != 0
    shown = here.show("wrong", "ActiveState", "ExecMainStatus", "NRestarts")
    assert shown == {"ActiveState": "failed", "ExecMainStatus": "64", "NRestarts": "0"}
    assert "--no-such-flag" in here.journal("wrong")


def test_what_does_not_work_now_is_left_to_who_knows_when(here):
    done = here.run("systemctl", "start", "held", check=False)
    assert done.returncode != 0
    shown = here.show("held", "ActiveState", "ExecMainStatus", "NRestarts")
    assert shown == {"ActiveState": "failed", "ExecMainStatus": "75", "NRestarts": "0"}
    assert f"{port('held')}" in here.journal("held")


@pytest.mark.parametrize("who", ["shim", "engine"])
def test_a_crash_is_started_again_and_leaves_nothing(here, who):
    here.run("systemctl", "start", "crashing")
    before = pids(here, "crashing")
    main = here.show("crashing", "MainPID")["MainPID"]
    victim = main if who == "shim" else next(pid for pid in before if pid != main)
    restarts = int(here.show("crashing", "NRestarts")["NRestarts"])
    here.run("kill", "-KILL", victim)

    def is_back():
        shown = here.show("crashing", "ActiveState", "NRestarts")
        return shown == {"ActiveState": "active", "NRestarts": str(restarts + 1)}

    here.until(is_back, "a second start")
    assert "chat.completion" in completes(here, "crashing")
    assert not set(before) & set(pids(here, "crashing"))
    here.run("systemctl", "stop", "crashing")
    assert pids(here, "crashing") == []


def test_a_frozen_shim_is_ended_by_the_watchdog(here):
    here.run("systemctl", "start", "quick")
    main = here.show("quick", "MainPID")["MainPID"]
    here.run("kill", "-STOP", main)

    def is_back():
        shown = here.show("quick", "ActiveState", "NRestarts")
        return shown == {"ActiveState": "active", "NRestarts": "1"}

    here.until(is_back, "the watchdog's restart")
    assert main not in pids(here, "quick")
    here.run("systemctl", "stop", "quick")
