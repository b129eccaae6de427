"""`citadel apply` under the real systemd: what is declared is shown, done as a whole, proven, and taken back.

Drop-ins stand for `citadel monitor` and `citadel gpu`."""

import json
import subprocess

import pytest

import machine
from program import Terminal

pytestmark = pytest.mark.xdist_group("machine")

QUICK = ["--sim-load-time", "0.5"]
SLOW = ["--sim-load-time", "8"]


NAMES = {12000: "one", 12001: "two", 12002: "three"}


def model(port, *args, **more):
    return {"engine": "sim", "port": port, "extra_args": [*QUICK, *args], **more}


def configuration(**models):
    return {
        "storage": {"require_mounts": False, "smart": False},
        "backup": {"enabled": False},
        "models": {"one": model(12000), "two": model(12001), **models},
    }


def citadel(here, *words, **more):
    return here.run(f"{here.bin}/citadel", *words, **more)


def write(here, config):
    here.write_json("/etc/citadel/citadel.yaml", config)


def apply(here, config, *options, **more):
    write(here, config)
    return citadel(here, "apply", "-y", *options, **more)


def pid(here, name):
    return here.show(f"citadel-{name}", "MainPID")["MainPID"]


def completes(here, port):
    asked = '{"model": "%s", "messages": [{"role": "user", "content": "hello"}]}' % NAMES[port]
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    return "chat.completion" in here.run("curl", "-sS", "--json", asked, url, check=False).stdout


def generations(here):
    return json.loads(citadel(here, "generations", "--json").stdout)


def current(here):
    return next((g["generation"] for g in generations(here) if g["current"]), 0)


LASTING = ["Type=exec", "WatchdogSec=0", "ExecStart=", "ExecStart=/bin/sleep infinity"]
LASTING += ["ExecReload=", "ExecReload=/bin/true"]
ONCE = ["ExecStart=", "ExecStart=/bin/true", "ExecReload=", "ExecReload=/bin/true", "ExecStop="]


def stand_in(here, name, lines):
    here.write(f"/etc/systemd/system/citadel-{name}.service.d/test.conf", "\n".join(["[Service]", *lines, ""]))


@pytest.fixture(scope="module", params=machine.SUITES)
def here(request):
    if why := machine.why_not():
        pytest.skip(why)
    with machine.Machine(request.param, "apply") as booted:
        stand_in(booted, "monitor", LASTING)
        stand_in(booted, "gpu", ONCE)
        booted.run("mkdir", "-p", "/mnt/citadel-models", "/mnt/citadel-backup")
        apply(booted, configuration())
        yield booted


@pytest.fixture(autouse=True)
def as_it_was(here):
    """Every test begins with the same two models."""
    apply(here, configuration())
    assert completes(here, 12000) and completes(here, 12001)


def test_the_first_makes_all_of_it(here):
    """In the fixture, on a machine that had nothing."""
    first = generations(here)[0]
    assert (first["generation"], first["by"], first["why"]) == (1, "root", "citadel apply")
    for unit in ("ai.target", "models.target", "storage.service", "gpu.service"):
        assert here.show(f"citadel-{unit}", "ActiveState") == {"ActiveState": "active"}
    assert here.run("id", "citadel").returncode == 0
    owners = here.run("stat", "-c", "%U", "/run/citadel", "/run/citadel/leases", "/run/citadel/models/one").stdout
    assert owners.split() == ["root", "citadel", "citadel"]


def test_the_second_writes_and_restarts_nothing(here):
    before = [pid(here, "one"), pid(here, "two"), here.sh("find /etc/citadel /var/lib/citadel/deploy -printf '%p %T@\n'")]
    done = apply(here, configuration())
    assert "Nothing would change" in done.stdout
    files = here.sh("find /etc/citadel /var/lib/citadel/deploy -printf '%p %T@\n'")
    written = [line for line in set(files.splitlines()) - set(before[2].splitlines())]
    assert not [line for line in written if not line.startswith("/etc/citadel/citadel.yaml")][1:], written
    assert [pid(here, "one"), pid(here, "two")] == before[:2]


def test_plan_shows_what_apply_would_do(here):
    number = current(here)
    write(here, configuration(two=model(12011), three=model(12002)))
    done = citadel(here, "plan", "--exit-code", check=False)
    assert done.returncode == 2
    assert "models.two.port: 12001 -> 12011" in done.stdout
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["changed", "units/citadel-two.service", "restart"] in lines
    assert ["created", "units/citadel-three.service", "start"] in lines
    assert not [line for line in lines if "units/citadel-one.service" in line]
    assert citadel(here, "plan", check=False).returncode == 0
    assert "+  " not in citadel(here, "diff").stdout.split("+++ units/")[0].split("config.yaml")[0]
    assert current(here) == number


def test_only_what_has_changed_is_restarted(here):
    one, two, number = pid(here, "one"), pid(here, "two"), current(here)
    done = apply(here, configuration(two=model(12001, max_model_len=2048), three=model(12002)))
    assert "restart" in done.stdout and "Generation" in done.stdout
    assert pid(here, "one") == one and pid(here, "two") != two
    assert completes(here, 12001) and completes(here, 12002)
    assert current(here) > number
    done = apply(here, configuration())
    assert "removed" in done.stdout and not completes(here, 12002)
    assert here.show("citadel-three", "LoadState") == {"LoadState": "not-found"}
    assert pid(here, "one") == one


def test_what_takes_effect_at_once_restarts_nothing(here):
    one, monitor = pid(here, "one"), pid(here, "monitor")
    done = apply(here, configuration(one=model(12000, priority=70)))
    assert "reload citadel-monitor.service" in done.stderr
    assert [pid(here, "one"), pid(here, "monitor")] == [one, monitor]
    done = apply(here, {**configuration(one=model(12000, priority=70)), "log_level": "debug"})
    assert "reload citadel-one.service" in done.stderr and pid(here, "one") == one


def test_a_change_that_fails_is_taken_back(here):
    one, number = pid(here, "one"), current(here)
    done = apply(here, configuration(two=model(12001, "--no-such-flag")), check=False)
    assert done.returncode == 1
    assert "was taken back, and %d runs again: citadel-two.service" % number in done.stderr
    assert "--no-such-flag" in done.stderr and "try: citadel logs two" in done.stderr
    assert current(here) == number and pid(here, "one") == one
    assert completes(here, 12001)


def test_who_did_what_is_written_down(here):
    apply(here, configuration(three=model(12002)))
    apply(here, configuration(two=model(12001, "--no-such-flag")), check=False)
    told = json.loads(citadel(here, "events", "--json", "-n", "4").stdout)
    deployed = [e for e in told if e["event"].startswith("deploy.")]
    assert [e["event"] for e in deployed][-2:] == ["deploy.begun", "deploy.reverted"]
    assert {e["by"] for e in deployed} == {"root"}
    assert "citadel apply: generation" in deployed[-1]["text"] and "--no-such-flag" in deployed[-1]["text"]
    done = json.loads(citadel(here, "events", "--json").stdout)
    assert "deploy.done" in {e["event"] for e in done}


def test_a_new_model_that_fails_leaves_the_others(here):
    one, two = pid(here, "one"), pid(here, "two")
    done = apply(here, configuration(three=model(12002, "--sim-fault", "port-taken")), check=False)
    assert done.returncode == 1 and "citadel-three.service" in done.stderr
    assert [pid(here, "one"), pid(here, "two")] == [one, two]


def test_a_saved_plan_is_done_or_refused(here):
    write(here, configuration(three=model(12002)))
    here.write("/root/plan.json", citadel(here, "plan", "--json").stdout)
    citadel(here, "apply", "-y", "/root/plan.json")
    assert completes(here, 12002)
    done = citadel(here, "apply", "-y", "/root/plan.json", check=False)
    assert done.returncode == 1 and "is not what was shown" in done.stderr
    here.write("/root/plan.json", citadel(here, "plan", "--json").stdout)
    write(here, configuration(three=model(12003)))
    done = citadel(here, "apply", "-y", "/root/plan.json", check=False)
    assert done.returncode == 1 and "is not what was shown" in done.stderr
    here.write("/root/plan.json", "{}")
    done = citadel(here, "apply", "-y", "/root/plan.json", check=False)
    assert done.returncode == 64 and "/root/plan.json: it has no digest" in done.stderr


def sit_down(here, *words):
    """At a terminal that is asked."""
    terminal = Terminal(["nsenter", "-t", here.leader, "-a", f"{here.bin}/citadel", *words])
    terminal.wait_for("[y/N]")
    return terminal


@pytest.mark.parametrize("words", [["apply"], ["deploy", "phase1"], ["deploy", "rollback"], ["rollback", "graceful"]])
def test_what_was_confirmed_is_not_what_somebody_else_has_deployed(here, words):
    write(here, configuration(three=model(12002)))
    first = sit_down(here, *words)
    apply(here, configuration(three=model(12003)))
    number, pids = current(here), [pid(here, name) for name in ("one", "two", "three")]
    write(here, configuration(three=model(12002)))
    code, shown = first.answer("y")
    assert code == 1 and "is not what was shown" in shown and "try: citadel plan" in shown
    assert current(here) == number and [pid(here, name) for name in ("one", "two", "three")] == pids
    assert completes(here, 12000) and "Nothing would change" in apply(here, configuration(three=model(12003))).stdout


def test_what_was_confirmed_is_not_what_the_file_has_become(here):
    write(here, configuration(three=model(12002)))
    first, number = sit_down(here, "apply"), current(here)
    write(here, configuration(three=model(12003)))
    code, shown = first.answer("y")
    assert code == 1 and "is not what was shown" in shown and current(here) == number
    write(here, configuration(three=model(12002)))
    code, shown = sit_down(here, "apply").answer("y")
    assert code == 0 and current(here) == number + 1 and completes(here, 12002)


def test_what_was_shown_is_the_same_to_everybody(here):
    """A plan that a person without rights has saved is taken."""
    write(here, configuration(three=model(12002)))
    plan = citadel(here, "plan", "--json", user="nobody").stdout
    assert json.loads(plan)["digest"] == json.loads(citadel(here, "plan", "--json").stdout)["digest"]


def test_a_generation_comes_back(here):
    number = current(here)
    apply(here, configuration(three=model(12002)))
    done = citadel(here, "generations", "switch", number, "-y")
    assert f"Generation {number} is current" in done.stdout
    assert not completes(here, 12002) and current(here) == number
    done = citadel(here, "generations", "switch", 4711, "-y", check=False)
    assert done.returncode == 4 and "there is no generation 4711" in done.stderr


def start_apply(here, config, *options):
    write(here, config)
    command = ["nsenter", "-t", str(here.leader), "-a", f"{here.bin}/citadel", "apply", "-y", *options]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def hear(started, what):
    for line in started.stderr:
        if what in line:
            return
    raise AssertionError(f"it ended without '{what}'")


def is_done(here):
    return json.loads(citadel(here, "deploy", "status", "--json").stdout)["changing"] is None


def test_two_at_once_is_one_and_a_refusal_that_names_it(here):
    first = start_apply(here, configuration(three={**model(12002), "extra_args": SLOW}))
    hear(first, "start citadel-three.service")
    done = citadel(here, "apply", "-y", check=False)
    assert done.returncode == 75
    assert "is being changed by root: `citadel apply`, process" in done.stderr
    assert first.wait(timeout=60) == 0
    assert completes(here, 12002)


def test_a_lost_terminal_loses_nothing(here):
    first = start_apply(here, configuration(three={**model(12002), "extra_args": SLOW}))
    hear(first, "start citadel-three.service")
    here.end(first)
    here.until(lambda: is_done(here), "the deployment")
    assert completes(here, 12002)


def test_killed_in_the_middle_the_next_makes_it_good(here):
    number = current(here)
    first = start_apply(here, configuration(two={**model(12001), "extra_args": SLOW}))
    hear(first, "start citadel-two.service")
    here.run("systemctl", "kill", "-s", "KILL", "citadel_apply-*")
    assert first.wait(timeout=60) == 1
    told = first.stderr.read()
    assert "was killed before it was done" in told and "citadel plan" in told
    here.until(lambda: is_done(here), "the deployment")
    assert current(here) == number + 1
    assert "was interrupted" in citadel(here, "plan").stdout
    done = citadel(here, "apply", "-y")
    assert "was interrupted; it is made good now" in done.stderr
    assert "was interrupted" not in citadel(here, "plan").stdout
    assert completes(here, 12001)


def test_a_damaged_generation_is_replaced(here):
    number = current(here)
    here.sh(f"echo '{{' > /etc/citadel/generations/{number}/manifest.json")
    done = apply(here, configuration())
    assert current(here) == number + 1 and completes(here, 12000), done.stdout
    done = citadel(here, "generations", "switch", str(number), "-y", check=False)
    assert done.returncode != 0 and f"generation {number} cannot be read" in done.stderr


def test_a_link_that_leads_nowhere_is_made_anew(here):
    number = current(here)
    here.run("ln", "-sfn", "generations/999", "/etc/citadel/current")
    assert "999, which is no generation of ours" in citadel(here, "status").stdout
    apply(here, configuration())
    assert current(here) == number + 1 and completes(here, 12000)


def test_what_the_breaker_holds_is_mended_by_a_change(here):
    here.run("systemctl", "stop", "citadel-two")
    record = {"failures": 5, "hold": {"by": "the breaker", "why": "a test", "since_us": 1}}
    here.write("/var/lib/citadel/models/two/record.json", json.dumps(record))
    apply(here, configuration())
    assert not completes(here, 12001)
    apply(here, configuration(two=model(12001, max_model_len=1024)))
    assert completes(here, 12001)


def test_a_unit_changed_by_hand_is_told_and_replaced(here):
    number = current(here)
    here.sh(f"echo '# mine' >> /etc/citadel/generations/{number}/units/citadel-one.service")
    done = citadel(here, "plan", "--exit-code", check=False)
    assert done.returncode == 2
    assert f"units/citadel-one.service of generation {number} was changed by hand" in done.stdout
    citadel(here, "apply", "-y")
    assert current(here) == number + 1
    assert "# mine" not in here.run("systemctl", "cat", "citadel-one").stdout


def drift(here):
    shown = json.loads(citadel(here, "status", "--json").stdout)["drift"]
    stand_ins = ("monitor", "gpu")
    return [d for d in shown if not any(f"citadel-{name}.service.d" in d["what"] for name in stand_ins)]


def test_what_stands_beside_our_units_is_told(here):
    told = citadel(here, "status").stdout
    assert "/etc/systemd/system/citadel-monitor.service.d changes a unit of ours" in told
    assert "sudo systemctl revert citadel-monitor.service" in told
    assert drift(here) == []
    here.write("/run/systemd/system/citadel-two.service", "[Service]\nExecStart=/bin/true\n")
    assert [d["what"] for d in drift(here)] == ["/run/systemd/system/citadel-two.service stands before ours"]
    assert "citadel-two.service stands before ours" in citadel(here, "plan").stdout
    here.run("rm", "/run/systemd/system/citadel-two.service")


@pytest.mark.parametrize("path", ["/etc/tmpfiles.d/citadel.conf", "/run/systemd/generator/citadel-one.service"])
def test_what_the_host_has_lost_is_put_back(here, path):
    number = current(here)
    here.run("rm", path)
    assert len(drift(here)) == 1 and drift(here)[0]["fix"] == "sudo citadel apply"
    assert citadel(here, "plan", "--exit-code", check=False).returncode == 2
    citadel(here, "apply", "-y")
    assert drift(here) == [] and current(here) == number


def test_a_reload_in_the_middle_changes_nothing(here):
    first = start_apply(here, configuration(three={**model(12002), "extra_args": SLOW}))
    hear(first, "start citadel-three.service")
    here.run("systemctl", "daemon-reload")
    assert first.wait(timeout=60) == 0
    assert completes(here, 12002)


def test_what_a_person_stopped_stays_so(here):
    citadel(here, "stop", "two")
    done = apply(here, configuration())
    assert "Nothing would change" in done.stdout and not completes(here, 12001)
    citadel(here, "start", "two")


def test_it_stays_so_when_all_is_deployed_anew(here):
    citadel(here, "stop", "two")
    here.run("systemctl", "stop", "citadel-ai.target")
    apply(here, configuration())
    assert completes(here, 12000) and not completes(here, 12001)
    citadel(here, "start", "two")


def test_what_does_not_run_is_started(here):
    here.run("systemctl", "stop", "citadel-two")
    done = apply(here, configuration())
    assert "not running" in done.stdout and completes(here, 12001)


def test_in_an_emergency_nothing_is_deployed(here):
    here.run("touch", "/run/citadel/emergency")
    done = apply(here, configuration(three=model(12002)), check=False)
    here.run("rm", "/run/citadel/emergency")
    assert done.returncode == 75 and "an emergency stop is in force" in done.stderr
    assert not completes(here, 12002)


def test_who_is_not_root_may_look_only(here):
    write(here, configuration(three=model(12002)))
    assert "created" in citadel(here, "plan", user="nobody").stdout
    done = citadel(here, "apply", "-y", user="nobody", check=False)
    assert done.returncode == 77 and "try: the same with sudo" in done.stderr


def test_all_of_it_is_back_after_a_reboot(here):
    number = current(here)
    here.reboot()
    here.is_in_state("citadel-two.service", "active")
    here.is_in_state("citadel-one.service", "active")
    assert completes(here, 12000) and completes(here, 12001)
    assert current(here) == number
    assert "Nothing would change" in apply(here, configuration()).stdout
