"""`citadel monitor` beside the models of `citadel up`: what it does about those that fail, and what it
leaves alone; killed in the middle of it, too."""

import fcntl
import http.client
import json
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile

import pytest
from gateway import comes_true
from monitor import Watched
from program import BIN, CITADEL, error_json, run
from test_up import as_nobody, let_others_in, takes_another_place
from up import PATIENCE_S, SERVER, is_there

# The breaker rests for thirty delays: three seconds, six, twelve.
FAILS = {"engine": "command", "command": '[/bin/false, "{port}"]', "restart_limit": 2}


def serves_once_there_is(path):
    """Fails as long as a file is not there."""
    script = f"test -e {path} && exec {SERVER} $0"
    return {**FAILS, "command": f'[/bin/sh, -c, "{script}", "{{port}}"]'}


@pytest.fixture
def place():
    """Sockets have short paths."""
    with tempfile.TemporaryDirectory(prefix="citadel-", dir="/tmp") as folder:
        yield pathlib.Path(folder)


@pytest.fixture
def site(place):
    made = []

    def make(models, **more):
        made.append(Watched(place, models, **more))
        return made[-1]

    yield make
    for s in made:
        s.end()


def test_the_breaker_opens_tries_and_closes(site, place):
    s = site({"a": serves_once_there_is(place / "cured"), "b": ""})
    with begin(s, s.up()) as history:
        history.wait("breaker.open", "a", "it failed 2 times in a row; it is tried again in 3s")
        hold = s.record("a")["hold"]
        assert hold["by"] == "the breaker"
        assert s.told("a")["breaker"] == "open"
        history.wait("breaker.trial", "a")
        history.wait("breaker.open", "a", "it failed 3 times in a row; it is tried again in 6s")
        (place / "cured").touch()
        history.wait("breaker.trial", "a")
        history.wait("service.ready", "a")
        assert "hold" not in s.record("a")
        assert s.told("a")["breaker"] == "half-open"  # for ten minutes
        assert s.ask("/health", name="a") == {}
        assert s.status()["b"]["restarts"] == 0
        done = s.run("start", "a")  # a person forgives at once
        assert done.returncode == 0 and s.record("a")["failures"] == 0


def begin(s, up):
    """The history, from the moment when the monitor watches."""
    up.wait_for("monitor: ready")
    return s.history()


def test_killed_in_the_middle_it_takes_over(site, place):
    s = site({"a": serves_once_there_is(place / "cured"), "b": ""})
    with begin(s, s.up()) as history:
        history.wait("breaker.open", "a")
        b = s.status()["b"]["pid"]
        s.kill_monitor()
        (place / "cured").touch()
        assert s.ask("/health", name="b") == {}  # nobody misses it
        history.wait("monitor.started")
        history.wait("breaker.trial", "a")  # as was due
        history.wait("service.ready", "a")
        assert s.status()["b"]["pid"] == b and is_there(b)
        assert s.record("a")["trial_us"] > 0


def test_killed_again_and_again_no_event_is_torn(site):
    s = site({"a": {**FAILS, "restart_limit": 1}})
    up = s.up()
    with begin(s, up) as history:
        history.wait("monitor.started")
        for _ in range(2):
            s.kill_monitor()
            history.wait("monitor.started")
        done = s.run("events", "-n", "10000", "--json")
        assert done.returncode == 0 and "are no events" not in done.stderr
        at = [e["at_us"] for e in json.loads(done.stdout)]
        assert at == sorted(at)
        up.wait_for("monitor: ready")


def test_what_a_person_stopped_stays_so(site):
    s = site({"a": FAILS, "witness": FAILS})
    with begin(s, s.up()) as history:
        history.wait("breaker.open", "a")
        assert s.run("stop", "a").returncode == 0
        stopped = history.at
        history.wait("breaker.trial", "witness")
        history.wait("breaker.open", "witness")
        history.wait("breaker.trial", "witness")  # six seconds at least, in which `a` would have been tried
        assert not [e for e in history.events()[stopped:] if e["event"] == "breaker.trial" and e["service"] == "a"]
        assert s.status()["a"]["state"] == "stopped"
        status, error = s.ask("/ensure/a", "POST")
        assert status == 503 and error["id"] == "run.held", error
        assert s.run("start", "--no-wait", "a").returncode == 0
        history.wait("service.starting", "a")  # and a person starts it


def test_what_lacked_its_port_is_started_when_it_is_free(site):
    s = site({"a": "", "b": ""})
    with socket.create_server(("127.0.0.1", s.ports["a"])):
        history = begin(s, s.up())
        history.wait("service.not-now", "a", "something else listens on")
        assert s.told("a")["state"] == "not-now"
        seen = s.told("a")
    with history:
        assert seen["next_us"] - seen["since_us"] == 30_000_000  # at the latest
        again = history.wait("lifecycle.again", "a", "what it lacked may be there now")
        assert again["at_us"] < seen["next_us"]
        history.wait("service.ready", "a")


def test_what_loads_is_left_alone(site):
    s = site({"a": {"engine": "sim", "extra_args": "[--sim-load-time, 5s]"}})
    with begin(s, s.up()) as history:
        history.wait("service.ready", "a")
        told = {e["event"] for e in history.events() if e["service"] == "a"}
        assert told <= {"service.starting", "service.ready"}, told
        assert s.status()["a"]["restarts"] == 0


def test_what_does_not_tell_how_it_is_is_restarted(site):
    s = site({"a": ""})
    with begin(s, s.up()) as history:
        history.wait("service.ready", "a")
        before = s.status()["a"]["pid"]
        (s.run_dir / "models/a/control.sock").unlink()
        history.wait("service.unwell", "a", "nobody answers at its control socket")
        history.wait("lifecycle.restarted", "a")
        history.wait("service.ready", "a")
        assert s.status()["a"]["pid"] != before
        assert s.record("a")["failures"] == 1  # within the breaker


def test_nothing_is_restarted_where_that_is_not_wanted(site):
    s = site({"a": "", "witness": ""}, monitor=", restart_unhealthy: false")
    with begin(s, s.up()) as history:
        history.wait("service.ready", "a")
        before = s.status()["a"]["pid"]
        (s.run_dir / "models/a/control.sock").unlink()
        history.wait("service.unwell", "a")
        s.crash("witness")
        history.wait("service.ready", "witness")
        assert s.status()["a"]["pid"] == before
        assert s.told("a")["healthy"] is False


def test_hold_and_release(site):
    s = site({"a": ""})
    with begin(s, s.up()) as history:
        history.wait("service.ready", "a")
        status, told = s.ask("/hold/a?why=a%20test", "POST")
        assert status == 200 and told["hold"]["why"] == "a test", told
        s.crash("a")
        history.wait("service.not-now", "a", "is held by")
        assert s.ask("/ensure/a", "POST")[0] == 503
        assert s.ask("/release/a", "POST")[0] in (200, 202)
        history.wait("lifecycle.again", "a", "the hold was lifted")
        history.wait("service.ready", "a")
        status, told = s.ask("/ensure/a", "POST")
        assert status == 200 and told["state"] == "ready"


def test_without_its_record_nothing_is_done_about_a_model(site):
    s = site({"a": "", "b": ""})
    record = s.directory / "state/models/a/record.json"
    with begin(s, s.up()) as history:
        history.wait("service.ready", "a")
        assert s.ask("/hold/a", "POST")[0] == 200
        s.crash("a")
        history.wait("service.not-now", "a", "is held by")
        record.parent.rename(s.directory / "kept")
        record.parent.touch()  # what can be read below that is an error
        history.wait("record.lost", "a", str(record))
        assert s.told("a")["hold"]["why"] == "it was asked for"  # as it was known last
        s.crash("b")  # for which the port of another comes free, and a second look at all
        history.wait("service.ready", "b")
        assert s.status()["a"]["state"] == "not-now"
        record.parent.unlink()
        (s.directory / "kept").rename(record.parent)
        history.wait("record.back", "a")
        assert history.all("lifecycle.again", "a") == [] == history.all("breaker.open", "a")
        assert s.ask("/release/a", "POST")[0] in (200, 202)
        history.wait("lifecycle.again", "a", "the hold was lifted")


def test_who_keeps_a_record_keeps_no_other_from_its_answer(site):
    s = site({"a": "", "b": ""})
    with begin(s, s.up()) as history:
        history.wait("service.ready", "a")
        assert s.ask("/hold/a", "POST")[0] == 200 and s.ask("/release/a", "POST")[0] == 200  # which makes a record
        with open(s.directory / "state/models/a/lock", "a") as kept:
            fcntl.flock(kept, fcntl.LOCK_EX)
            status, error = s.ask("/hold/a", "POST")
            assert status == 409 and error["what"].endswith(" for 250ms"), error
            (s.run_dir / "models/a/control.sock").unlink()  # after a while it would be restarted
            history.wait("lifecycle.refused", "a", "for 250ms")
            assert s.ask("/hold/b", "POST")[0] == 200
        assert s.ask("/hold/a", "POST")[0] == 200


def test_what_the_breaker_holds_is_released_before_it_is_started(site, place):
    s = site({"a": {**serves_once_there_is(place / "cured"), "restart_limit": 1, "restart_delay": "1m"}})
    with begin(s, s.up()) as history:
        history.wait("breaker.open", "a", "it is tried again in 30m")
        (place / "cured").touch()
        assert s.ask("/release/a", "POST")[0] in (200, 202)
        history.wait("person.release", "a")
        history.wait("service.ready", "a")
        assert history.all("service.not-now", "a") == []  # as a shim that finds the hold would end


def test_what_is_asked_is_in_the_table(site):
    s = site({"a": ""})
    with begin(s, s.up()) as history:
        history.wait("service.ready", "a")
        for path, method, want in (
            ("/", "GET", 404),
            ("/state", "POST", 404),
            ("/state/a", "GET", 404),
            ("/ensure", "POST", 404),
            ("/ensure/nobody", "POST", 404),
            ("/ensure/" + "x" * 200, "POST", 404),
            ("/ensure/monitor", "POST", 404),
            ("/events?lines=abc", "GET", 400),
            ("/events?lines=0", "GET", 400),
            ("/events?lines=1001", "GET", 400),
            ("/events?x=1&lines=5", "GET", 400),
            ("/hold/a?who=me", "POST", 400),
            ("/events?lines=1", "GET", 200),
        ):
            status, document = s.ask(path, method)
            assert status == want, (path, document)
        assert len(document) == 1
        assert s.ask("/state")[1]["by"] == "citadel up"


@takes_another_place
def test_others_read_and_change_nothing(site):
    s = site({"a": ""})
    let_others_in(s)
    with begin(s, s.up()) as history:
        history.wait("service.ready", "a")
        sock = str(s.run_dir / "monitor/control.sock")
        curl = ["curl", "-s", "--unix-socket", sock]
        assert json.loads(as_nobody(*curl, "http://x/state").stdout)["by"] == "citadel up"
        for what in ("hold", "ensure", "release"):
            error = json.loads(as_nobody(*curl, "-X", "POST", f"http://x/{what}/a").stdout)
            assert error["id"] == "system.not-permitted"
        assert "hold" not in s.record("a") if (s.directory / "state/models/a/record.json").exists() else True
        assert as_nobody(CITADEL, "events", "-c", s.config).returncode == 0


def test_there_is_one(site):
    s = site({"a": ""})
    with begin(s, s.up()):
        done = s.run("monitor", "--log-level", "error")
        assert done.returncode != 0 and "a monitor answers at" in done.stderr


def test_what_a_model_would_take_is_held_by_others(site, place):
    s = site(
        {
            "large": {"engine": "sim", "gpu_memory_fraction": 0.9},
            "other": {"engine": "sim", "gpu_memory_fraction": 0.9},
        }
    )
    folder = place / "nvml"
    folder.mkdir()
    (folder / "gpus").write_text("gpu NVIDIA L40S\n")
    env = {"CITADEL_FAKE_NVML": str(folder), "LD_LIBRARY_PATH": str(BIN / "sim")}
    with begin(s, s.up("large", env=env)) as history:
        history.wait("service.ready", "large")
        status, error = s.ask("/ensure/other", "POST")
        assert status == 503 and error["id"] == "gpu.leased", error
        assert "large" in error["what"]
        told = s.status()["large"]  # nine tenths of 80 GB
        assert told["model"]["gpus"] == [0] and 70 << 30 < told["gpu_bytes"] < 73 << 30, told
        assert re.search(r"^large +ready +\S+ +0 +7\d(\.\d)? GiB ", s.run("status").stdout, re.M)
        assert s.status()["large"]["state"] == "ready"  # nobody is evicted
        assert s.run("start", "--no-wait", "other").returncode == 0
        history.wait("service.not-now", "other")
        assert s.run("stop", "large").returncode == 0
        history.wait("service.ready", "other")  # without anybody's help


def get(s, path, **fields):
    connection = http.client.HTTPConnection("127.0.0.1", s.port, timeout=PATIENCE_S)
    connection.request("GET", path, headers=fields)
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, body


def test_gpus_are_told_as_the_driver_has_them(site, place):
    s = site({"a": ""})
    folder = place / "nvml"
    folder.mkdir()
    (folder / "gpus").write_text("gpu NVIDIA L40S\ngpu NVIDIA L40S\n")
    env = {"CITADEL_FAKE_NVML": str(folder), "LD_LIBRARY_PATH": str(BIN / "sim")}
    with begin(s, s.up(env=env)) as history:
        history.wait("service.ready", "a")
        assert comes_true(lambda: "citadel_gpus_readable 1" in get(s, "/metrics/gpu")[1])
        text = get(s, "/metrics/gpu")[1]
        for name in ("memory_size_bytes", "power_watts", "energy_joules_total", "healthy"):
            found = re.findall(rf'^citadel_gpu_{name}\{{gpu="(\d)",uuid="GPU-[^"]+".*\}} (\S+)$', text, re.M)
            assert [gpu for gpu, _ in found] == ["0", "1"] and all(float(n) > 0 for _, n in found), (name, text)


def test_health_is_true(site):
    s = site({"a": "", "b": FAILS})
    with begin(s, s.up()) as history:
        history.wait("service.ready", "a")
        history.wait("breaker.open", "b")
        status, body = get(s, "/health")
        health = json.loads(body)
        assert status == 503 and health["status"] == "failed"
        (problem,) = [p for p in health["problems"] if p["of"] == "b"]
        assert "it failed 2 times in a row" in problem["what"]
        done = s.run("health")  # a person is told the same
        assert done.returncode == 3 and f"b: stopped: {problem['what']}" in done.stdout, done
        told = s.status()["b"]
        assert told["why"] == problem["what"] and told["hold"]["by"] == "the breaker"
        assert told["tried_us"] - told["hold"]["since_us"] >= 3_000_000
        shown = s.run("status", "b").stdout
        assert problem["what"] in shown and re.search(r"It is tried again in \d+s, after \d failures", shown), shown
        assert s.run("stop", "b").returncode == 0  # what nobody wants is no problem
        assert s.run("health").returncode == 0
        assert s.told("b")["stopped_by"] and s.told("b")["healthy"]
        status, body = get(s, "/health")
        assert status == 200 and json.loads(body) == {"problems": [], "status": "ok", "services": 3}, body
        assert get(s, "/nothing")[0] == 404


def test_metrics_are_what_prometheus_reads(site):
    s = site({"a": "", "b": FAILS})
    with begin(s, s.up()) as history:
        history.wait("service.ready", "a")
        history.wait("breaker.open", "b")
        status, services = get(s, "/metrics/services")
        assert status == 200 and 'citadel_service_state{service="a",state="ready"} 1' in services
        assert 'citadel_service_healthy{service="b"} 0' in services
        status, models = get(s, "/metrics/models")
        assert status == 200 and 'citadel_model_ready{model="a"} 1' in models
        assert 'citadel_model_breaker_open{model="b"} 1' in models
        assert 'model="monitor"' not in models
        for page in (services, models):
            for line in page.splitlines():
                assert re.fullmatch(r"# (HELP|TYPE) citadel_\w+ .+|citadel_\w+(\{[^}]*\})? \S+", line), line
            if shutil.which("promtool"):
                done = subprocess.run(["promtool", "check", "metrics"], input=page, text=True, capture_output=True)
                assert done.returncode == 0 and not done.stdout + done.stderr, done


def test_addresses_that_are_not_allowed_are_refused(site):
    s = site({"a": ""}, monitor=", allow: [203.0.113.0/24]")
    with begin(s, s.up()):
        for path in ("/health", "/metrics/models", "/nothing"):
            status, body = get(s, path)
            assert status == 403 and json.loads(body)["id"] == "system.not-permitted"


def test_a_port_that_is_taken_is_told_and_had_later(site):
    s = site({"a": ""})
    with socket.create_server(("127.0.0.1", s.port)):
        history = begin(s, s.up())
        history.wait("monitor.deaf")
        assert s.ask("/state")[0] == 200
    with history:
        history.wait("monitor.heard")
        assert get(s, "/health")[0] in (200, 503)


def test_why_tells_what_is_wrong_what_is_next_and_what_to_do(site):
    s = site({"a": "", "b": FAILS})

    def why(name):
        done = s.run("why", name, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    assert "whether it runs is not known" in why("monitor")["wrong"]
    told = why("a")
    assert told["state"] is None and "whether it runs is not known" in told["wrong"] and not told["monitor"]
    up = s.up()
    with begin(s, up) as history:
        history.wait("service.ready", "a")
        assert why("a")["well"] and why("a")["monitor"]
        history.wait("breaker.open", "b")
        history.wait("service.stopped", "b")  # from there on it rests
        told = why("b")
        assert not told["well"] and "it failed 2 times in a row" in told["wrong"]
        assert re.search(r"it is tried once (in [123]s|now)", told["next"]), told
        assert "citadel start b" in told["fix"]
        assert "breaker.open" in [e["event"] for e in told["events"]]
        words = s.run("why", "b").stdout
        assert "what is wrong" in words and "what is next" in words and "what to do" in words
        done = s.run("why", "c", "--json")
        assert error_json(done)["id"] == "model.none-such"


def test_events_without_a_history(tmp_path):
    config = tmp_path / "citadel.yaml"
    config.write_text(f"paths: {{state: {tmp_path}/state}}\nmodels: {{a: {{engine: sim}}}}\n")
    done = run("events", "-c", config)
    assert done.returncode == 0 and done.stdout == "" and "the monitor writes the history" in done.stderr
    assert run("events", "-c", config, "--json").stdout == "[]\n"
    assert error_json(run("events", "-c", config, "-f", "--json"))["exit"] == 4


def test_ensure_hold_and_release_are_verbs(site):
    s = site({"a": ""})
    with begin(s, s.up()) as history:
        history.wait("service.ready", "a")
        done = s.run("ensure", "a")
        assert done.returncode == 0 and done.stdout == f"a is ready at 127.0.0.1:{s.ports['a']}.\n"
        done = s.run("hold", "a", "--reason", "its disk: 100% & full")
        assert done.returncode == 0 and done.stdout.endswith(": its disk: 100% & full.\n")
        assert s.record("a")["hold"]["why"] == "its disk: 100% & full"
        s.crash("a")
        history.wait("service.not-now", "a", "is held by")
        done = s.run("ensure", "a", "--json")
        error = error_json(done)
        assert done.returncode == 75 and error["id"] == "run.held" and error["fix"] == "citadel start a"
        done = s.run("release", "a", "--json")
        assert done.returncode == 0 and "hold" not in json.loads(done.stdout)
        done = s.run("ensure", "a", "--json")
        assert done.returncode == 0 and json.loads(done.stdout)["state"] == "ready"


def test_ensure_waits_for_a_start_and_tells_what_became_of_it(site):
    s = site({"a": {"engine": "sim", "extra_args": "[--sim-load-time, 1s]"}, "b": FAILS})
    with begin(s, s.up("b")) as history:
        history.wait("breaker.open", "b")
        done = s.run("ensure", "a")
        assert done.returncode == 0 and "a is ready at" in done.stdout, done.stderr
        assert s.status()["a"]["state"] == "ready"
        assert s.run("ensure", "b").returncode == 75  # the breaker holds it


def test_without_a_monitor_the_verbs_say_what_to_do(site):
    s = site({"a": ""})
    for verb in ("ensure", "hold", "release"):
        done = s.run(verb, "a", "--json")
        error = error_json(done)
        assert done.returncode == 1 and error["id"] == "service.not-running"
        assert str(s.run_dir / "monitor/control.sock") in error["message"]
        assert "citadel start monitor" in error["fix"]
    s.config.write_text(s.config.read_text().replace("monitor: {", "monitor: {enabled: false, "))
    assert "enabled: true" in error_json(s.run("hold", "a", "--json"))["fix"]


def test_it_begins_before_the_models_and_ends_after_them(site):
    s = site({"a": "", "b": ""})
    up = s.up()
    up.wait_all("a: ready", "b: ready")
    began = [line.split()[2] for line in up.said.splitlines() if ": starting" in line]
    assert began[0] == "monitor:", up.said
    assert up.said.index("monitor: ready") < up.said.index("a: starting")
    up.stop()
    ended = [line.split()[2] for line in up.said.splitlines() if line.endswith(": stopped")]
    assert ended[-1] == "monitor:", up.said


def test_models_start_without_a_monitor_that_cannot(site):
    s = site({"a": ""})
    (s.run_dir / "monitor/control.sock").mkdir(parents=True)
    up = s.up()
    up.wait_for("monitor: backing-off")
    up.wait_for("a: ready")
    (s.run_dir / "monitor/control.sock").rmdir()
    up.wait_for("monitor: ready")
