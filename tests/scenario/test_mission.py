"""The reference deployment through its life, as docs/operations.md tells to type it: every procedure of the
guide is played here, under the real systemd, on what it is for."""

import json

import pytest

import guide
import machine
import reference
from guide import play

pytestmark = pytest.mark.xdist_group("machine")

MIXTRAL = "/mnt/citadel-models/active/mixtral-8x7b-instruct"


def citadel(here, *words, **more):
    return here.run(f"{here.bin}/citadel", *words, **more)


def completes(here, name):
    asked = json.dumps({"model": name, "messages": [{"role": "user", "content": "hello"}]})
    url = f"http://127.0.0.1:{reference.MODELS[name][1]}/v1/chat/completions"
    return "chat.completion" in here.run("curl", "-sS", "--json", asked, url, check=False).stdout


def state(here, unit):
    return here.show(f"citadel-{unit}", "ActiveState")["ActiveState"]


def gpus_in_use(here):
    return [gpu["processes"] != [] for gpu in json.loads(citadel(here, "gpu", "status", "--json").stdout)["gpus"]]


@pytest.fixture(scope="module", params=machine.SUITES)
def booted(request):
    if why := machine.why_not():
        pytest.skip(why)
    it = machine.Machine(request.param, "mission")
    reference.prepare(it)
    with it:
        play(it, "first")
        play(it, "phases")
        yield it


@pytest.fixture
def here(booted):
    """Everything is as it was deployed, and so it is left."""
    assert completes(booted, "mixtral")
    yield booted
    play(booted, "daily")


def test_the_guide_shows_what_is_done():
    """A line that is not as it says would be seen."""
    assert guide.re.fullmatch(guide.pattern("a ... c\n...\nend\n"), "a b  c\nx\ny\nend\n")
    for other in ("a b c\nx\n", "a b\nend\n", "a b c\nend\nmore\n"):
        assert not guide.re.fullmatch(guide.pattern("a ... c\n...\nend\n"), other)


def test_what_was_deployed_answers_and_the_others_wait(here):
    assert gpus_in_use(here) == [True, True]
    for unit in ("storage.service", "gpu.service", "monitor.service", "models.target", "ai.target"):
        assert state(here, unit) == "active"
    assert [name for name in reference.MODELS if completes(here, name)] == ["mixtral"]
    told = {event["event"] for event in json.loads(citadel(here, "events", "--json").stdout)}
    assert not told & {"storage.sick", "gpu.sick", "service.crashed"}
    phases = json.loads(citadel(here, "deploy", "status", "--json").stdout)["phases"]
    assert [phase["well"] for phase in phases] == [True] * 4


@pytest.mark.parametrize("name", ["daily", "weekly", "monthly", "performance", "network", "bundle"])
def test_what_is_done_when_all_is_well(here, name):
    play(here, name)


def test_a_change_and_the_way_back(here):
    before = here.show("citadel-mixtral", "MainPID")
    here.sh("sed -i 's/drain_timeout: 60s/drain_timeout: 30s/' /etc/citadel/citadel.yaml")
    play(here, "change")
    assert here.show("citadel-mixtral", "MainPID") != before and completes(here, "mixtral")
    here.sh("sed -i 's/drain_timeout: 30s/drain_timeout: 60s/' /etc/citadel/citadel.yaml")
    play(here, "undo")
    assert "Nothing would change" in citadel(here, "plan").stdout


def test_a_service_that_failed(here):
    here.run("chmod", "0", "/opt/citadel/vllm-env/bin/vllm")
    citadel(here, "restart", "mixtral", check=False)
    here.is_in_state("citadel-mixtral", "failed")
    here.run("chmod", "0755", "/opt/citadel/vllm-env/bin/vllm")
    play(here, "wrong", exits=[("citadel health", 3)])
    play(here, "service")
    assert completes(here, "mixtral")


def test_two_models_take_turns(here):
    assert citadel(here, "start", "phi3", check=False).returncode == 75
    play(here, "memory")
    assert completes(here, "phi3") and not completes(here, "mixtral")
    play(here, "memory-back")
    assert completes(here, "mixtral") and not completes(here, "phi3")


LIBRARY = "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1"


@pytest.mark.parametrize(
    "away, back, error, says",
    [
        ("umount --lazy /mnt/citadel-models", "mount /mnt/citadel-models", "storage.not-mounted", "nothing is mounted at"),
        (f"mv {LIBRARY} /root/away", f"mv /root/away {LIBRARY}", "deploy.loss", "mixtral"),
        ("mv /opt/citadel/vllm-env /root/away", "mv /root/away /opt/citadel/vllm-env", "deploy.loss", "mixtral"),
        (f"mv {MIXTRAL}/config.json /root/away", f"mv /root/away {MIXTRAL}/config.json", "deploy.loss", "mixtral: "),
    ],
    ids=["disk", "driver", "engine", "file"],
)
def test_nothing_edited_something_away_apply(here, away, back, error, says):
    before = here.show("citadel-mixtral", "MainPID")
    here.sh(away)
    done = citadel(here, "apply", "-y", "--json", check=False)
    answers = completes(here, "mixtral")
    here.sh(back)
    told = json.loads(done.stderr)
    assert (told["id"], told["exit"], done.returncode) == (error, 75, 75) and says in told["message"], told
    assert answers and here.show("citadel-mixtral", "MainPID") == before
    assert "Nothing would change" in citadel(here, "apply", "-y").stdout


def test_a_swap_of_priorities_is_one_apply(here):
    here.sh("sed -i 's/priority: 60/priority: 10/' /etc/citadel/citadel.yaml")
    assert "citadel-mixtral.service stops, and makes room for hermes.\n" in citadel(here, "plan").stdout
    citadel(here, "apply", "-y")
    assert completes(here, "hermes") and not completes(here, "mixtral")
    here.sh("sed -i 's/priority: 10/priority: 60/' /etc/citadel/citadel.yaml")
    citadel(here, "apply", "-y")
    assert completes(here, "mixtral") and not completes(here, "hermes")


def test_storage_that_is_wrong(here):
    citadel(here, "stop", "models")
    here.run("systemctl", "stop", "citadel-storage")
    here.inside("umount", "/mnt/citadel-models")
    here.run("rm", "/opt/citadel/models")
    verified = citadel(here, "storage", "verify", check=False)
    assert verified.returncode == 3 and "nothing is mounted at /mnt/citadel-models" in verified.stdout + verified.stderr
    play(here, "storage", exits=[("citadel storage verify", 3)])
    assert completes(here, "mixtral")


def test_everything_is_stopped_and_started_again(here):
    play(here, "emergency")
    assert not completes(here, "mixtral") and gpus_in_use(here) == [False, False]
    play(here, "restart")
    assert completes(here, "mixtral")


def test_a_model_that_is_damaged(here):
    here.run("cp", "-a", MIXTRAL, "/mnt/citadel-backup/models/")
    here.run("truncate", "-s", "1000", f"{MIXTRAL}/model.safetensors")
    play(here, "model", exits=[("citadel models validate mixtral", 3)])
    assert completes(here, "mixtral")


def test_a_monitor_that_hangs(here):
    before = here.show("citadel-mixtral", "MainPID")
    here.run("systemctl", "kill", "-s", "STOP", "citadel-monitor")
    play(here, "monitor")
    assert here.show("citadel-mixtral", "MainPID") == before


def test_all_of_it_is_back_after_a_reboot(here):
    here.reboot()
    here.is_in_state("citadel-mixtral", "active")
    play(here, "restarted")


def test_stopped_in_order_and_started_again(here):
    play(here, "graceful")
    assert not completes(here, "mixtral") and state(here, "storage.service") == "inactive"
    here.reboot()
    assert not completes(here, "mixtral")
    play(here, "redeploy")
    assert completes(here, "mixtral")


def test_a_configuration_that_is_lost(here):
    citadel(here, "rollback", "backup")  # a second one, whatever was kept before
    here.run("rm", "/etc/citadel/citadel.yaml")
    play(here, "restore")
    assert completes(here, "mixtral")


def test_taken_down_and_deployed_again(here):
    play(here, "take-down")
    assert not completes(here, "mixtral") and state(here, "monitor.service") == "inactive"
    play(here, "phases")
