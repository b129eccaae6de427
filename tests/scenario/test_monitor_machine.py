"""`citadel monitor` as citadel-monitor.service, in the sandbox of its unit, under the real systemd: what it
hears of units by signals, and what polkit lets it do."""

import json
import select

import pytest

import machine
from test_units_machine import deploy, stand_in

pytestmark = pytest.mark.xdist_group("machine")

# The breaker rests for thirty delays: three seconds, six, twelve.
FAILS = {
    "engine": "command",
    "command": ["/bin/false"],
    "kind": "chat",
    "restart_limit": 2,
    "restart_delay": "100ms",
    "residency": "manual",
}
CONFIG = {
    "storage": {"require_mounts": False},
    "gateway": {"enabled": False},
    "monitor": {"health_interval": "1s"},
    "models": {
        "quick": {"engine": "sim", "port": 12000},
        "failing": {**FAILS, "port": 12001},
        "other": {**FAILS, "port": 12002},
        "taken": {"engine": "sim", "port": 12003, "residency": "manual"},
        "slow": {"engine": "sim", "port": 12004, "residency": "manual", "extra_args": ["--sim-load-time", "5"]},
    },
}
CACHE = "/mnt/citadel-models/cache"
ASK = "http://localhost"


@pytest.fixture(scope="module", params=machine.SUITES)
def here(request):
    if why := machine.why_not():
        pytest.skip(why)
    with machine.Machine(request.param, "monitor") as booted:
        stand_in(booted, "storage", "/bin/true")
        booted.run("systemd-sysusers")
        booted.run("systemd-tmpfiles", "--create")
        deploy(booted, 1, CONFIG)
        booted.run(f"{booted.bin}/citadel", "storage", "setup", "-c", "/etc/citadel/current/config.yaml")
        booted.run("systemctl", "start", "citadel-ai.target")
        booted.is_in_state("citadel-monitor", "active")
        booted.is_in_state("citadel-quick", "active")
        yield booted


def citadel(here, *words, **more):
    return here.run(f"{here.bin}/citadel", *words, "-c", "/etc/citadel/current/config.yaml", **more)


def events(here):
    return json.loads(citadel(here, "events", "-n", "10000", "--json").stdout)


def wait(here, event, service, after=0, text=""):
    """How many events there are with the first of these behind `after`."""

    def told():
        for i, e in enumerate(events(here)):
            if i >= after and e["event"] == event and e["service"] == service and text in e["text"]:
                return i + 1
        return 0

    return here.until(told, f"{event} of {service}")


def ask(here, path, *words, user=None):
    words = ["curl", "-sS", "--unix-socket", "/run/citadel/monitor/control.sock", *words, ASK + path]
    return json.loads(here.run(*words, user=user).stdout)


def record(here, name):
    return json.loads(here.run("cat", f"/var/lib/citadel/models/{name}/record.json").stdout)


def test_it_watches_systemd_from_within_its_sandbox(here):
    assert ask(here, "/state")["by"] == "systemd"
    told = {s["name"]: s for s in ask(here, "/services")["services"]}
    assert told["quick"]["state"] == "ready" and told["quick"]["healthy"]
    wait(here, "service.ready", "quick")
    assert here.show("citadel-monitor", "User") == {"User": "citadel"}
    why = json.loads(citadel(here, "why", "monitor", "--json").stdout)
    assert (why["state"], why["well"], why["fix"]) == ("ready", True, None)


def loaded(here, heard, sentinel):
    """Units that systemd has loaded since, and before that one."""
    here.run("systemd-run", f"--unit={sentinel}", "true")
    names = iter(lambda: json.loads(heard.stdout.readline())["payload"]["data"][0], f"{sentinel}.service")
    return list(names)


def test_who_looks_has_systemd_load_nothing(here):
    """What rests is forgotten by systemd. If a look loaded it, that were news to who watches, who would look again,
    for ever."""
    match = "type='signal',interface='org.freedesktop.systemd1.Manager',member='UnitNew'"
    heard = here.start("stdbuf", "-oL", "busctl", "monitor", "--json=short", f"--match={match}")
    try:
        here.until(lambda: here.run("true") and select.select([heard.stdout], [], [], 0)[0], "busctl listens")
        count = len(events(here))
        citadel(here, "restart", "quick")
        wait(here, "service.ready", "quick", count)
        shown = json.loads(citadel(here, "status", "--json").stdout)["services"]
        assert {"quick", "slow", "taken", "monitor"} <= {s["name"] for s in shown}
        assert [name for name in loaded(here, heard, "sentinel") if name.startswith("citadel-")] == []
    finally:
        here.end(heard)


def test_the_breaker_opens_and_tries(here):
    here.run("systemctl", "start", "citadel-failing", check=False)
    at = wait(here, "breaker.open", "failing", 0, "it failed 2 times in a row; it is tried again in 3s")
    assert record(here, "failing")["hold"]["by"] == "the breaker"
    at = wait(here, "breaker.trial", "failing", at)
    # systemd may have started it once more before that was heard.
    at = wait(here, "breaker.open", "failing", at, "times in a row")
    stopped = citadel(here, "stop", "failing")
    assert stopped.returncode == 0 and record(here, "failing")["wanted"]["state"] == "stopped"
    # While another is tried, and tried again, it is not.
    here.run("systemctl", "start", "citadel-other", check=False)
    last = wait(here, "breaker.open", "other", at)
    last = wait(here, "breaker.trial", "other", last)
    last = wait(here, "breaker.open", "other", last)
    last = wait(here, "breaker.trial", "other", last)
    tried = [e for e in events(here)[at:] if e["event"] == "breaker.trial" and e["service"] == "failing"]
    assert tried == []
    citadel(here, "stop", "other")


def test_killed_it_comes_back_and_nobody_else_has_noticed(here):
    here.is_in_state("citadel-quick", "active")
    before = here.show("citadel-quick", "MainPID")
    monitor = here.show("citadel-monitor", "MainPID")["MainPID"]
    count = len(events(here))
    here.run("kill", "-KILL", monitor)
    wait(here, "monitor.started", None, count)
    here.is_in_state("citadel-monitor", "active")
    assert here.show("citadel-quick", "MainPID") == before
    assert ask(here, "/state")["lost"] is None


def test_what_systemctl_stops_is_a_wish(here):
    count = len(events(here))
    here.run("systemctl", "stop", "citadel-quick")
    at = wait(here, "wish.stopped", "quick", count)
    assert record(here, "quick")["wanted"]["state"] == "stopped"
    assert ask(here, "/ensure/quick", "-X", "POST")["id"] == "run.held"
    here.run("systemctl", "start", "citadel-quick")
    wait(here, "wish.started", "quick", at)
    assert record(here, "quick")["wanted"]["state"] == "started"


def test_a_restart_is_no_wish(here):
    count = len(events(here))
    here.run("systemctl", "restart", "citadel-quick")
    wait(here, "service.ready", "quick", count)
    assert "wish.stopped" not in [e["event"] for e in events(here)[count:]]


def test_what_lacked_its_port_is_started_when_that_is_free(here):
    script = "import signal,socket; s=socket.create_server(('127.0.0.1', 12003)); signal.pause()"
    here.run("systemd-run", "--unit=taker", "--service-type=exec", "python3", "-c", script)
    here.until(lambda: ":2EE3 " in here.run("cat", "/proc/net/tcp").stdout, "a listener on port 12003")
    here.run("systemctl", "start", "citadel-taken", check=False)
    at = wait(here, "service.not-now", "taken")
    here.run("systemctl", "stop", "taker")
    at = wait(here, "lifecycle.again", "taken", at)
    wait(here, "service.ready", "taken", at)
    here.is_in_state("citadel-taken", "active")


def test_what_loads_is_left_alone(here):
    count = len(events(here))
    here.run("systemctl", "start", "citadel-slow")
    wait(here, "service.ready", "slow", count)
    told = {e["event"] for e in events(here)[count:] if e["service"] == "slow"}
    assert told <= {"service.starting", "service.ready"}, told


def pids(here, *names):
    return [here.show(f"citadel-{name}", "MainPID")["MainPID"] for name in names]


def test_a_reload_takes_up_what_it_can_and_restarts_the_rest(here):
    quick = {**CONFIG["models"]["quick"], "stall_limit": "90s"}
    changed = {
        **CONFIG,
        "log_level": "warning",
        "monitor": {"health_interval": "2s"},
        "models": {**CONFIG["models"], "quick": quick},
    }
    monitor, before = pids(here, "monitor", "quick")
    count = len(events(here))
    deploy(here, 2, changed)
    answer = json.loads(citadel(here, "reload", "--json").stdout)
    told = {s["name"]: s for s in answer["services"]}
    assert [told[name]["did"] for name in ("monitor", "quick", "failing")] == ["reload", "restart", "nothing"]
    paths = [o["path"] for o in told["quick"]["options"]]
    assert paths == ["models.quick.stall_limit"] and not answer["deployed"]["differs"]
    wait(here, "monitor.reloaded", None, count)
    here.is_in_state("citadel-monitor", "active", "running")
    after = pids(here, "monitor", "quick")
    assert after[0] == monitor and after[1] != before


def test_systemctl_reloads_or_says_why_not(here):
    before = pids(here, "monitor", "quick")
    count = len(events(here))
    deploy(here, 1, CONFIG)
    here.run("systemctl", "reload", "citadel-monitor")
    wait(here, "monitor.reloaded", None, count)
    assert here.run("systemctl", "reload", "citadel-quick", check=False).returncode != 0
    assert "quick reads models.quick.stall_limit only when it starts" in here.journal("citadel-quick")
    here.is_in_state("citadel-quick", "active", "running")
    assert pids(here, "monitor", "quick") == before
    assert "quick: was restarted" in citadel(here, "reload", "quick").stdout
    assert here.run("systemctl", "reload", "citadel-quick").returncode == 0


def test_all_stopped_as_one_is_nobodys_wish(here):
    count = len(events(here))
    here.run("systemctl", "stop", "citadel-models.target")
    wait(here, "service.stopped", "quick", count)
    here.run("systemctl", "start", "citadel-models.target")
    wait(here, "service.ready", "quick", count)
    assert "wish.stopped" not in [e["event"] for e in events(here)[count:] if e["service"] == "quick"]


def test_a_bus_that_hangs_keeps_nobody_waiting(here):
    """A new monitor, which has to connect to it; nothing is asked of systemd meanwhile, not even by us."""
    bus = here.show("dbus", "MainPID")["MainPID"]
    monitor = here.show("citadel-monitor", "MainPID")["MainPID"]
    curl = ["curl", "-sS", "--retry", "30", "--retry-delay", "1", "--retry-all-errors", "--max-time", "5"]
    here.inside("kill", "-STOP", bus)
    try:
        here.inside("kill", "-KILL", monitor)
        told = here.inside(*curl, "--unix-socket", "/run/citadel/monitor/control.sock", f"{ASK}/state").stdout
        assert json.loads(told)["pid"] != int(monitor) and json.loads(told)["services"] == 0, told
        for _ in range(3):
            took = here.inside(*curl, "-o", "/dev/null", "-w", "%{time_total}", "http://127.0.0.1:8001/health").stdout
            assert float(took) < 5, took
    finally:
        here.inside("kill", "-CONT", bus)
    here.until(lambda: ask(here, "/state")["services"], "services are seen again")
    assert ask(here, "/state")["lost"] is None


def health(here):
    words = ["curl", "-s", "-w", "\n%{http_code}", "http://127.0.0.1:8001/health"]
    body, status = here.run(*words).stdout.rsplit("\n", 1)
    return status, json.loads(body)["problems"]


def test_health_and_why(here):
    count = len(events(here))
    here.until(lambda: health(here) == ("200", []), "all is well, since the others are stopped")
    assert citadel(here, "health").returncode == 0
    citadel(here, "start", "--no-wait", "failing")
    wait(here, "breaker.open", "failing", count)
    status, (problem,) = health(here)
    assert status == "503" and problem["of"] == "failing" and "2 times in a row" in problem["what"]
    done = citadel(here, "health", check=False)
    assert done.returncode == 3 and problem["what"] in done.stdout
    models = here.run("curl", "-s", "http://127.0.0.1:8001/metrics/models").stdout
    assert 'citadel_model_ready{model="quick"} 1' in models
    assert 'citadel_model_healthy{model="failing"} 0' in models
    told = json.loads(citadel(here, "why", "failing", "--json").stdout)
    assert told["monitor"] and not told["well"]
    citadel(here, "stop", "failing")
    told = json.loads(citadel(here, "why", "failing", "--json").stdout)
    assert told["well"] and "has stopped it" in told["wrong"]
