"""Changes while everything runs, without systemd: `citadel apply` beside `citadel up`, and `citadel reload`."""

import contextlib
import http.client
import json
import pathlib
import re
import tempfile

import checkpoints
import environments
import pytest
from monitor import Watched
from program import BIN, error_json
from up import Site, free_ports, is_there


@pytest.fixture
def place():
    """Sockets have short paths."""
    with tempfile.TemporaryDirectory(prefix="citadel-", dir="/tmp") as folder:
        yield pathlib.Path(folder)


@pytest.fixture
def site(place):
    made = []

    def make(models, kind=Site, **more):
        made.append(kind(place, models, **more))
        return made[-1]

    yield make
    for s in made:
        s.end()


def edit(s, old, new):
    text = s.config.read_text()
    assert old in text
    s.config.write_text(text.replace(old, new))


def line_of(s, model):
    return next(line for line in s.config.read_text().splitlines(True) if line.startswith(f"  {model}: "))


def pids(s):
    return {name: service["pid"] for name, service in s.status().items()}


def source(s):
    return json.loads(s.run("status", "--json").stdout)["deployed"]


def apply(s, *words, code=0):
    done = s.run("apply", "-y", *words)
    assert done.returncode == code, done.stdout + done.stderr
    return done


# ---- apply ----


def test_the_first_apply_restarts_nothing_and_is_a_generation(site):
    s = site({"a": "", "b": ""})
    up = s.up()
    up.wait_for(rf"runs {s.config}, which is not deployed")
    up.wait_all("a: ready", "b: ready")
    before = pids(s)
    assert source(s) == {"generation": 0, "file": str(s.config), "differs": False}
    done = apply(s)
    assert "Generation 1 is current.\n" in done.stdout
    up.wait_for("runs generation 1")
    assert pids(s) == before
    assert source(s)["generation"] == 1
    done = apply(s)
    assert "Nothing would change" in done.stdout
    assert s.run("plan", "--exit-code").returncode == 0


def test_only_what_has_changed_is_restarted(site):
    s = site({"a": "", "b": "", "c": ""})
    s.up().wait_all("a: ready", "b: ready", "c: ready")
    apply(s)
    before = pids(s)
    edit(s, f"b: {{port: {s.ports['b']}", f"b: {{drain_timeout: 2s, port: {s.ports['b']}")
    text = s.config.read_text()
    edit(s, line_of(s, "c"), "")
    assert source(s)["differs"]
    assert "Generation 1 runs, and" in s.run("status").stdout
    done = s.run("plan", "--exit-code")
    assert done.returncode == 2
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["changed", "units/citadel-b.service", "restart"] in lines
    assert ["removed", "units/citadel-c.service", "stop"] in lines
    done = apply(s)
    assert "start citadel-b.service" in done.stderr and "stop citadel-c.service" in done.stderr
    after = pids(s)
    assert set(after) == {"a", "b"} and after["a"] == before["a"] and after["b"] != before["b"]
    assert not is_there(before["c"]) and s.ask("b", "GET", "/health") == {}
    s.config.write_text(text)
    apply(s)
    assert s.ask("c", "GET", "/health") == {} and pids(s)["a"] == before["a"]


def test_what_runs_and_is_of_no_generation_is_stopped(site):
    s = site({"a": "", "b": ""})
    s.up().wait_all("a: ready", "b: ready")
    before = pids(s)
    edit(s, line_of(s, "b"), "")
    assert "stop citadel-b.service" in apply(s).stderr
    assert pids(s) == {"a": before["a"]} and not is_there(before["b"])


def test_a_change_that_fails_is_taken_back(site):
    s = site({"a": "", "b": ""})
    s.up().wait_all("a: ready", "b: ready")
    apply(s)
    before = pids(s)
    edit(s, line_of(s, "b"), f"  b: {{port: {s.ports['b']}, engine: command, command: [/bin/false]}}\n")
    done = s.run("apply", "-y", "--json")
    error = json.loads(done.stderr.splitlines()[-1])
    assert done.returncode == 1 and error["id"] == "deploy.reverted", done.stderr
    assert "generation 2 was taken back, and 1 runs again: citadel-b.service" in error["message"]
    assert source(s)["generation"] == 1 and source(s)["differs"]
    assert s.ask("b", "GET", "/health") == {} and pids(s)["a"] == before["a"]


def test_a_generation_comes_back_and_nothing_at_all(site):
    s = site({"a": "", "b": ""})
    up = s.up()
    up.wait_all("a: ready", "b: ready")
    apply(s)
    edit(s, line_of(s, "b"), "")
    apply(s)
    assert set(s.status()) == {"a"}
    done = s.run("generations", "switch", "1", "-y")
    assert done.returncode == 0 and "Generation 1 is current" in done.stdout
    assert s.ask("b", "GET", "/health") == {}
    done = s.run("deploy", "rollback", "--force")
    assert done.returncode == 0, done.stderr
    up.wait_for("runs nothing, since nothing is deployed")
    assert {name: x["deployed"] for name, x in s.status().items()} == {"a": False}
    assert s.run("status").stdout.endswith("\nNothing is deployed.\n  try: citadel apply\n")
    for verb in ("start", "restart"):
        error = error_json(s.run(verb, "--json"))
        assert (error["id"], error["fix"]) == ("deploy.nothing", "citadel apply")
    assert s.run("stop").returncode == 0
    told = apply(s, "--json")
    assert told.stderr == "" and json.loads(told.stdout)["generation"] == 3
    assert s.ask("a", "GET", "/health") == {} and set(s.status()) == {"a"}
    assert up.stop() == 0


def test_what_a_person_stopped_stays_so(site):
    s = site({"a": "", "b": ""})
    s.up().wait_all("a: ready", "b: ready")
    apply(s)
    s.run("stop", "b")
    done = apply(s)
    assert "Nothing would change" in done.stdout and s.status()["b"]["state"] == "stopped"


def test_what_runs_is_managed_whatever_the_file_says(site):
    s = site({"a": "", "b": ""})
    up = s.up()
    up.wait_all("a: ready", "b: ready")
    apply(s)
    edit(s, line_of(s, "b"), f"  c: {{port: {s.ports['b']}, engine: command, command: [/bin/false]}}\n")
    seen = s.status()
    assert {n: (x["deployed"], x["asked_for"]) for n, x in seen.items()} == {
        "a": (True, True),
        "b": (True, False),
        "c": (False, True),
    }
    rows = {line.split()[0]: line for line in s.run("status", COLUMNS="500").stdout.splitlines() if line}
    assert f"{s.config} asks for it no more" in rows["b"]
    assert "not deployed" in rows["c"] and "try: citadel plan" in rows["c"]
    error = error_json(s.run("start", "c", "--json"))
    assert error["id"] == "service.none-such" and error["fix"] == "citadel plan; then citadel apply"
    assert "serving" in s.run("logs", "b").stdout
    assert json.loads(s.run("why", "b", "--json").stdout)["well"]
    assert s.run("stop", "all").returncode == 0
    assert not is_there(seen["a"]["pid"]) and not is_there(seen["b"]["pid"])
    assert s.run("start", "b").returncode == 0
    assert s.ask("b", "GET", "/health") == {} and s.status()["a"]["state"] == "stopped"


def test_a_model_that_left_the_file_stays_stopped_over_a_switch(site):
    s = site({"a": "", "b": ""})
    s.up().wait_all("a: ready", "b: ready")
    apply(s)
    edit(s, f"b: {{port: {s.ports['b']}", f"b: {{drain_timeout: 2s, port: {s.ports['b']}")
    apply(s)
    s.run("stop", "b")
    edit(s, line_of(s, "b"), "")
    assert s.run("generations", "switch", "1", "-y").returncode == 0
    assert s.status()["b"]["state"] == "stopped"


def test_phases_prove_each_model(site):
    s = site({"a": {"engine": "sim"}, "b": {"engine": "sim"}})
    s.up("a").wait_for("a: ready")
    assert s.run("deploy", "phase2", "-y").returncode == 1
    as_they_were = "storage and GPUs are as they were: citadel storage setup, citadel gpu optimize"
    for phase, said in (("phase1", f"generation 1 is live; {as_they_were}"), ("phase2", "a answers"), ("phase3", ""), ("phase4", "")):
        done = s.run("deploy", phase, "-y", *(["a"] if phase == "phase2" else []))
        assert done.returncode == 0 and said in done.stdout, done.stderr


def test_who_started_again_runs_what_is_deployed_if_that_is_what_the_file_says(site):
    s = site({"a": ""})
    s.up().wait_for("a: ready")
    apply(s)
    s.ups[-1].stop()
    up = s.up()
    up.wait_for("runs generation 1")
    up.wait_for("a: ready")
    up.stop()
    edit(s, "drain_timeout: 1s", "drain_timeout: 3s")
    up = s.up()
    up.wait_for(rf"runs {s.config}, which is not deployed")
    up.wait_for("a: ready")
    before = pids(s)
    done = apply(s)  # that runs already, whatever generation 1 says
    assert "Generation 2 is current" in done.stdout and pids(s) == before


def test_a_file_that_is_being_edited_harms_nobody(site):
    s = site({"a": ""})
    up = s.up()
    up.wait_for("a: ready")
    text = s.config.read_text()
    s.config.write_text("models: {a: {port: none of your business")
    with contextlib.suppress(http.client.HTTPException, ConnectionError):
        s.ask("a", "POST", "/exit?1")
    up.wait_for("a: backing-off")
    up.wait_for("a: ready")
    s.config.write_text(text)
    assert s.ask("a", "GET", "/health") == {}


# ---- reload ----


def reload(s, *words):
    done = s.run("reload", *words, "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    return {x["name"]: x for x in answer["services"]}


def test_what_can_is_taken_up_and_the_rest_restarts(site):
    s = site({"a": "", "b": ""}, kind=Watched)
    up = s.up()
    up.wait_all("a: ready", "b: ready")
    before = pids(s)
    edit(s, "health_interval: 1s", "health_interval: 2s")
    edit(s, f"a: {{port: {s.ports['a']}", f"a: {{priority: 70, stall_limit: 90s, port: {s.ports['a']}")
    told = reload(s)
    assert (told["monitor"]["did"], told["a"]["did"], told["b"]["did"]) == ("reload", "restart", "nothing")
    assert {"path": "monitor.health_interval", "from": "1s", "to": "2s"} in told["monitor"]["options"]
    assert [o["path"] for o in told["a"]["options"]] == ["models.a.stall_limit"]
    after = pids(s)
    assert after["monitor"] == before["monitor"] and after["b"] == before["b"] and after["a"] != before["a"]
    with s.history() as history:
        event = history.wait("monitor.reloaded")
        assert event["text"].startswith("3 options changed")
    assert {x["did"] for x in reload(s).values()} == {"nothing"}
    edit(s, f"port: {s.port}, health_interval: 2s", f"port: {s.port}, events_keep: 80d, health_interval: 2s")
    done = s.run("reload", "monitor")
    assert done.stdout == "monitor: has taken it up while it runs\n  monitor.events_keep: 90d -> 80d\n"


def test_what_the_monitor_cannot_take_up_restarts_it_alone(site):
    s = site({"a": ""}, kind=Watched)
    s.up().wait_for("a: ready")
    before = pids(s)
    edit(s, f"monitor: {{port: {s.port}", f'monitor: {{listen: ["127.0.0.1", "127.0.0.2"], port: {s.port}')
    done = s.run("reload")
    assert "monitor: was restarted, for what it reads only when it starts\n  monitor.listen: " in done.stdout
    after = pids(s)
    assert after["monitor"] != before["monitor"] and after["a"] == before["a"]


def test_a_configuration_that_is_wrong_is_refused(site):
    s = site({"a": ""}, kind=Watched)
    s.up().wait_for("a: ready")
    before, text = pids(s), s.config.read_text()
    edit(s, "health_interval: 1s", "health_interval: soon")
    done = s.run("reload")
    assert done.returncode == 64 and "health_interval is 'soon'" in done.stderr
    status, body = s.control("POST", "/reload")
    error = json.loads(body)
    assert status == 400 and error["id"] == "config.invalid", body
    assert "what was read before holds" in error["what"] and "health_interval is 'soon'" in error["what"]
    s.config.write_text(text)
    assert pids(s) == before
    assert {x["did"] for x in reload(s).values()} == {"nothing"}


def test_the_level_of_the_log_changes_while_a_model_runs(site):
    s = site({"a": ""})
    s.up().wait_for("a: ready")
    before = pids(s)
    s.config.write_text("log_level: warning\n" + s.config.read_text())
    told = reload(s)
    assert told["a"]["did"] == "reload" and told["a"]["options"][0]["path"] == "log_level"
    assert pids(s) == before
    size = (s.directory / "logs/models/a.log").stat().st_size
    s.run("stop", "a")
    said = (s.directory / "logs/models/a.log").read_text()[size:]
    assert not re.search(r"citadel.*draining|: stopping", said), said


def test_a_model_that_goes_is_stopped_first(site):
    s = site({"a": "", "b": ""})
    s.up().wait_all("a: ready", "b: ready")
    edit(s, line_of(s, "b"), "")
    done = s.run("reload", "--json")
    error = error_json(done)
    assert error["id"] == "service.still-runs" and error["fix"] == "citadel stop b"
    assert s.status()["b"]["state"] == "ready"


def test_what_does_not_run_is_told(site):
    s = site({"a": "", "b": ""})
    s.up("a").wait_for("a: ready")
    told = reload(s, "b")
    assert list(told) == ["b"] and "it does not run" in told["b"]["why"]
    done = s.run("reload", "nobody", "--json")
    assert done.returncode == 4 and error_json(done)["id"] == "service.none-such"


def test_apply_tells_the_monitor_of_a_new_model(site):
    s = site({"a": ""}, kind=Watched)
    s.up().wait_for("a: ready")
    apply(s)
    before = pids(s)
    (s.directory / "models/z").mkdir()
    (port,) = free_ports(1)
    line = line_of(s, "a")
    for old, new in ((" a: ", " z: "), ("path: a", "path: z"), (str(s.ports["a"]), str(port))):
        line = line.replace(old, new)
    s.config.write_text(s.config.read_text() + line)
    done = apply(s)
    assert "reload citadel-monitor.service" in done.stderr
    assert pids(s)["monitor"] == before["monitor"] and pids(s)["a"] == before["a"]
    assert s.told("z")["breaker"] == "closed"  # it is a model to the monitor


# ---- environments of vLLM ----


def with_vllm(site, place, monkeypatch, *releases):
    """A model on the first of these releases, the others beside it; another model; and a made-up driver."""
    for release in releases:
        environments.make(place / f"vllm-env-{release}", release)
    environments.lead(place / "vllm-env", f"vllm-env-{releases[0]}")
    (place / "gpus").mkdir()
    monkeypatch.setenv("CITADEL_NVML", str(BIN / "sim/libnvidia-ml.so.1"))
    monkeypatch.setenv("CITADEL_FAKE_NVML", str(place / "gpus"))
    s = site({"chat": {"engine": "vllm"}, "other": ""})
    s.config.write_text(s.config.read_text() + "storage: {require_mounts: false}\n")
    c = checkpoints.config("OpenChat-3.5")
    (place / "models/chat").rmdir()
    checkpoints.write(place / "models/chat", c, checkpoints.llama_like(c))
    s.up().wait_all("chat: ready", "other: ready")
    return s


def test_a_model_restarts_when_the_release_that_it_runs_on_is_another(site, place, monkeypatch):
    """And it is started from the directory that was deployed, wherever the link leads by then."""
    old, new = "0.19.0", "0.20.0"
    s = with_vllm(site, place, monkeypatch, old, new)
    before = pids(s)
    apply(s)
    assert pids(s) == before and s.status()["chat"]["engine"] == f"{place}/vllm-env-{old}: vllm {old}"

    environments.lead(place / "vllm-env", f"vllm-env-{new}")
    s.run("restart", "chat")
    between = pids(s)
    assert between["chat"] != before["chat"]
    assert s.status()["chat"]["engine"] == f"{place}/vllm-env-{old}: vllm {old}"
    apply(s)
    assert s.status()["chat"]["engine"] == f"{place}/vllm-env-{new}: vllm {new}"
    after = pids(s)
    assert after["chat"] != between["chat"] and after["other"] == before["other"]
    words = pathlib.Path(f"/proc/{after['chat']}/cmdline").read_text().split("\0")
    assert words[words.index("--vllm-env") + 1] == f"{place}/vllm-env-{new}"
    assert s.run("plan", "--exit-code").returncode == 0


def test_what_is_not_there_for_a_moment_takes_nothing_away(site, place, monkeypatch):
    """Nothing edited, the environment of vLLM or a file away, apply: the old state answers."""
    s = with_vllm(site, place, monkeypatch, "0.19.0")
    apply(s)
    before = pids(s)
    config = place / "models/chat/config.json"
    for path, says in ((place / "vllm-env", "vllm-env"), (config, "config.json")):
        path.rename(place / "away")
        (loss,) = json.loads(s.run("plan", "--json").stdout)["losses"]
        assert loss["model"] == "chat" and says in loss["why"], loss
        assert "\nLoss: chat is deployed, and would be left out: " in s.run("plan").stdout
        for verb in (["apply"], ["deploy", "phase1"], ["disable", "other"]):
            error = error_json(s.run(*verb, "-y", "--json"))
            assert (error["id"], error["exit"]) == ("deploy.loss", 75), error
            assert loss["why"] in error["message"] and "citadel disable chat" in error["fix"]
            assert ("--anyway" if "phase1" in verb else "--force") in error["fix"]
        assert pids(s) == before and source(s)["generation"] == 1
        (place / "away").rename(path)
        assert "Nothing would change" in apply(s).stdout
    (place / "vllm-env").rename(place / "away")
    apply(s, "--force")
    assert source(s)["generation"] == 2 and not is_there(before["chat"])
    assert pids(s)["other"] == before["other"]
    (place / "away").rename(place / "vllm-env")
    apply(s)
    assert s.status()["chat"]["state"] == "ready"


# ---- two models, and room for one ----


def rivals(site, place, monkeypatch):
    """Both want nearly all of the one GPU; the first is resident."""
    (place / "nvml").mkdir()
    (place / "nvml/gpus").write_text("gpu NVIDIA L40S\n")
    monkeypatch.setenv("CITADEL_FAKE_NVML", str(place / "nvml"))
    monkeypatch.setenv("LD_LIBRARY_PATH", str(BIN / "sim"))
    large = {"engine": "sim", "gpu_memory_fraction": 0.9}
    s = site({"a": {**large, "priority": 90}, "b": {**large, "priority": 10}})
    s.up("a").wait_for("a: ready")
    apply(s)
    assert s.status()["b"]["state"] == "stopped"
    return s


def swap(s):
    text = s.config.read_text().replace("priority: 90", "priority: 0").replace("priority: 10", "priority: 90")
    s.config.write_text(text.replace("priority: 0}", "priority: 10}"))


def test_a_swap_of_priorities_is_one_apply(site, place, monkeypatch):
    s = rivals(site, place, monkeypatch)
    for resident, other in (("b", "a"), ("a", "b")):
        swap(s)
        text = s.run("plan").stdout
        assert f"citadel-{other}.service stops, and makes room for {resident}.\n" in text
        orders = json.loads(s.run("plan", "--json").stdout)["orders"]
        assert {o["unit"]: o["makes_room_for"] for o in orders} == {
            f"citadel-{other}.service": resident,
            f"citadel-{resident}.service": None,
        }
        said = apply(s).stderr
        assert said.index(f"stop citadel-{other}.service") < said.index(f"start citadel-{resident}.service")
        states = {name: service["state"] for name, service in s.status().items()}
        assert states == {resident: "ready", other: "stopped"}
        assert s.run("plan", "--exit-code").returncode == 0


def test_who_made_room_comes_back_when_a_swap_fails(site, place, monkeypatch):
    s = rivals(site, place, monkeypatch)
    swap(s)
    edit(s, line_of(s, "b"), line_of(s, "b").replace("priority: 90", "priority: 90, extra_args: [--sim-fault, port-taken]"))
    error = error_json(s.run("apply", "-y", "--json"))
    assert error["id"] == "deploy.reverted", error
    states = {name: service["state"] for name, service in s.status().items()}
    assert states["a"] == "ready" and states["b"] != "ready" and source(s)["generation"] == 1
