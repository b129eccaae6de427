"""The shim, `citadel run NAME`, beside real processes: under a supervisor that only listens, and
without one. What its engines can do wrong in each phase is in test_failures.py."""

import http.client
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from program import run, run_json
from shim import PATIENCE_S, Home, ends
from sim import Sim


@pytest.fixture
def home(tmp_path):
    home = Home(tmp_path)
    yield home
    home.finish()


def post(port, path, body=b""):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        connection.request("POST", path, body)
        return connection.getresponse().status
    finally:
        connection.close()


class Client(threading.Thread):
    """Asks about something, and keeps how that ended: a status, or an exception."""

    def __init__(self, port, text):
        super().__init__(daemon=True)
        self.port, self.text, self.got = port, text, None
        self.start()

    def run(self):
        body = {"model": "phi3", "messages": [{"role": "user", "content": self.text}]}
        try:
            self.got = post(self.port, "/v1/chat/completions", json.dumps(body))
        except (OSError, http.client.HTTPException) as error:
            self.got = error

    def result(self):
        self.join(PATIENCE_S)
        return self.got


# --- what would be started ------------------------------------------------------------------------


def test_print_shows_the_command_and_starts_nothing(home):
    port = home.add(extra_env={"SAFE_PASSPHRASE": "hunter2", "COLOUR": "blue"})
    done = run("run", "phi3", "--print", "--config", home.config)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"engine_stub.py {port}" in done.stdout
    assert "COLOUR=blue" in done.stdout
    assert "SAFE_PASSPHRASE=***" in done.stdout and "hunter2" not in done.stdout
    command = run_json("run", "phi3", "--print", "--config", home.config)[1]
    assert command["environment"]["SAFE_PASSPHRASE"] == "***"
    assert command["argv"][-1] == str(port)
    assert not list(home.run.iterdir()) and not (home.where / "state").exists()


def test_a_model_that_there_is_not(home):
    """A supervisor starts again what ends with any other status."""
    home.add()
    done = run("run", "phi4", "--config", home.config)
    assert done.returncode == 64
    assert f"there is no model 'phi4' in {home.config}\n" in done.stderr
    assert done.stderr.endswith("did you mean phi3?\n")
    assert run("run", "phi4", "--print", "--config", home.config).returncode == 4
    assert run("run", "phi3", "--config", home.where / "none.yaml").returncode == 64


# --- ready ----------------------------------------------------------------------------------------


def test_ready_is_who_has_answered(home):
    home.add(words=["hold=ping"])
    shim = home.start()
    shim.says("is asked about ping")  # /health was answered, then
    assert shim.state()["phase"] == "starting"
    assert not shim.has_told("READY")
    os.kill(shim.engine_pid(), signal.SIGUSR1)
    shim.ready()
    state = shim.state()
    assert (state["phase"], state["failures"], state.get("why")) == ("ready", 0, None)
    assert state["status"] == "ready: answers chat completions"
    assert shim.says_status("ready:") == state["status"]


def test_the_supervisor_is_told_of_life(home):
    home.add()
    shim = home.start().ready()
    shim.tells("WATCHDOG", "1")
    assert int(shim.has_told("EXTEND_TIMEOUT_USEC")[0]) > 2 * 15_000_000
    assert shim.send(signal.SIGTERM).ended() == (0, None)
    assert shim.says_status("ended") == "ended"
    assert shim.has_told("STOPPING") == ["1"]


def test_a_supervisor_that_is_busy_hears_it_later(home):
    """Its queue is full from the beginning: nothing is heard until it is read, and the shim does not
    wait for that."""
    home.add()
    shim = home.start(hears=False)
    shim.says("ready: answers chat completions")
    assert shim.state()["phase"] == "ready"
    shim.hear()
    shim.ready()
    assert shim.says_status("ready:") == "ready: answers chat completions"
    assert shim.send(signal.SIGTERM).ended() == (0, None)
    assert shim.has_told("READY") == ["1"]


def test_a_supervisor_that_is_busy_hears_why_it_ended(home):
    home.add()
    shim = home.start(hears=False)
    shim.says("ready: answers chat completions")
    os.kill(shim.engine_pid(), signal.SIGKILL)
    shim.says("ended: the engine")  # and now it insists
    shim.hear()
    assert shim.says_status("ended") == "ended: " + shim.ended()[1]["message"]
    assert (shim.has_told("READY"), shim.has_told("STOPPING")) == ([], ["1"])


DEAF = {
    "is relative": ("notify", 64, "value.invalid", "$NOTIFY_SOCKET is 'notify', which names no socket"),
    "is of another kind": ("vsock:2:5", 64, "value.invalid", "'vsock:2:5', which names no socket"),
    "is too long": ("@" + 108 * "x", 64, "value.invalid", "xxx', which names no socket"),
    "is nowhere": ("/nowhere/notify", 75, "system.no-supervisor", "'/nowhere/notify': No such file"),
    "is no socket": ("/dev/null", 75, "system.no-supervisor", "'/dev/null': Connection refused"),
    "is deserted": ("@citadel-deserted", 75, "system.no-supervisor", "Connection refused"),
}


@pytest.mark.parametrize("case", DEAF)
def test_a_supervisor_that_cannot_be_told(home, case):
    """Nothing is started that nobody would hear of."""
    name, code, error_id, part = DEAF[case]
    home.add()
    ended, error = home.start(notify=False, NOTIFY_SOCKET=name).ended()
    assert (ended, error["id"]) == (code, error_id)
    assert part in error["message"] and error["fix"]
    assert not (home.where / "state").exists() and not list(home.run.iterdir())


def test_another_process_is_watched(home):
    home.add()
    shim = home.start(WATCHDOG_PID="1").ready()
    shim.send(signal.SIGTERM).ended()
    assert not shim.has_told("WATCHDOG")


def test_a_short_watchdog_is_kept(home):
    home.add()
    shim = home.start(WATCHDOG_USEC="600000").ready()
    begin = time.monotonic()
    before = len(shim.has_told("WATCHDOG"))
    shim.until(lambda: len([m for m in shim.told if "WATCHDOG" in m]) >= before + 20)
    assert time.monotonic() - begin < 20  # at two seconds each: 40
    assert shim.send(signal.SIGTERM).ended() == (0, None)


@pytest.mark.parametrize("given", ["299999", "0", "soon"])
def test_a_watchdog_that_cannot_be_kept_is_refused(home, given):
    home.add()
    code, error = home.start(WATCHDOG_USEC=given).ended()
    assert (code, error["id"]) == (64, "value.invalid")
    assert f"WATCHDOG_USEC={given} " in error["message"]


def test_nobody_supervises(home):
    home.add()
    shim = home.start(notify=False)
    shim.says("ready: answers chat completions")
    assert shim.state()["phase"] == "ready"
    assert shim.send(signal.SIGINT).ended() == (0, None)


def test_an_engine_does_not_hear_of_the_supervisor(home):
    home.add()
    shim = home.start().ready()
    with open(f"/proc/{shim.engine_pid()}/environ") as file:
        names = {entry.partition("=")[0] for entry in file.read().split("\0")}
    assert not names & {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}


def test_a_log_that_nobody_reads_stops_nothing(home):
    home.add(words=["flood"])
    shim = home.start(listens=False).ready()
    assert shim.state()["phase"] == "ready"
    shim.listen()
    shim.says("lines were lost here: nobody read them in time")
    assert shim.send(signal.SIGTERM).ended() == (0, None)


def test_a_line_without_an_end_is_cut(home):
    home.add(words=["endless"])
    shim = home.start().ready()
    line = shim.says("xxx")
    assert 1000 < len(line) < 5000 and shim.says("and then") == "and then"
    with open(f"/proc/{shim.process.pid}/status") as file:
        (most,) = (int(words[1]) for words in map(str.split, file) if words[0] == "VmHWM:")
    assert most < 64 * 1024  # kB: of a release, 4 MB


def test_one_starts_at_a_time(home):
    home.add("first", words=["hold=ping"])
    home.add("second")
    first = home.start("first")
    first.says("is asked about ping")
    second = home.start("second")
    assert second.says_status("waiting") == "waiting: first is being started"
    assert second.state()["phase"] == "waiting-for-start"
    os.kill(first.engine_pid(), signal.SIGUSR1)
    first.ready()
    second.ready()


def test_who_waits_can_be_stopped(home):
    home.add("first", words=["hold=ping"])
    home.add("second")
    first = home.start("first")
    first.says("is asked about ping")
    second = home.start("second")
    second.says_status("waiting")
    assert second.send(signal.SIGTERM).ended() == (0, None)
    assert home.record("second")["last"]["exit"] == 0


# --- why it ended ---------------------------------------------------------------------------------

LAST_WORDS = "its last line: this is the last line"
STARTING = {
    "exits with 3": (["exit=3"], {}, 1, "engine.crashed", f"(exit status 3); {LAST_WORDS}"),
    "exits with 0": (["exit=0"], {}, 1, "engine.crashed", f"(exit status 0); {LAST_WORDS}"),
    "says never": (["exit=64"], {}, 64, "engine.will-not-run", f"(exit status 64); {LAST_WORDS}"),
    "says not now": (["exit=75"], {}, 75, "engine.not-now", f"(exit status 75); {LAST_WORDS}"),
    "is killed": (["signal=9"], {}, 1, "engine.crashed", "(killed by SIGKILL"),
    "has another kind": (["answer=404"], {}, 64, "engine.will-not-run", "does not answer chat"),
    "only fails": (["answer=500"], {}, 1, "engine.crashed", "answered chat completions with 500"),
    "is not there": ([], {"command": ["/nowhere/server"]}, 64, "engine.not-installed", "/nowhere/"),
}


@pytest.mark.parametrize("case", STARTING)
def test_a_start_that_fails(home, case):
    words, changes, code, error_id, part = STARTING[case]
    home.add(words=words, **changes)
    shim = home.start()
    ended, error = shim.ended()
    assert (ended, error["id"], error["exit"]) == (code, error_id, code)
    assert part in error["message"] and error["fix"]
    last = home.record()["last"]
    assert (last["exit"], last["id"], last["what"]) == (code, error_id, error["message"])
    assert home.record()["failures"] == (code == 1)
    assert shim.says_status("ended") == "ended: " + error["message"]
    assert not shim.has_told("READY")


def test_what_a_start_waits_for_is_told(home):
    home.add(words=["hold=ping"], start_stall_limit="10s")
    shim = home.start()
    what = "a request of one token is not answered"
    status = shim.says_status("not ready for ")
    assert re.fullmatch(rf"not ready for \ds, ended after start_stall_limit, 10s: {what}", status)
    code, error = shim.ended()
    assert (code, error["id"]) == (1, "engine.start-too-long")
    assert error["message"] == f"no progress for start_stall_limit, 10s ({what})"
    assert error["fix"] == "see its log: citadel logs phi3"


READY = {
    "exits with 0": (lambda pid, port: post(port, "/exit?0"), "exit status 0"),
    "exits with 64": (lambda pid, port: post(port, "/exit?64"), "exit status 64"),
    "is killed": (lambda pid, port: os.kill(pid, signal.SIGKILL), "killed by SIGKILL"),
    "is deaf": (lambda pid, port: post(port, "/deaf"), "nobody listens on its port any more"),
}


@pytest.mark.parametrize("case", READY)
def test_an_engine_that_served_can_only_crash(home, case):
    strike, part = READY[case]
    port = home.add()
    shim = home.start().ready()
    try:
        strike(shim.engine_pid(), port)
    except http.client.HTTPException:
        pass  # it died of the question
    code, error = shim.ended()
    assert (code, error["id"]) == (1, "engine.crashed")
    assert part in error["message"]
    assert home.record()["failures"] == 1


def test_failures_are_counted(home):
    home.add(words=["exit=1"])
    for n in range(1, 4):
        home.start().ended()
        assert home.record()["failures"] == n


# The port is looked at before an engine is started; the engine binds it early, and listens when the
# model is loaded: in between, somebody else may be quicker. All of them end in the same words.


def listener(port, *options):
    s = socket.socket()
    for option in options:
        s.setsockopt(socket.SOL_SOCKET, option, 1)
    s.bind(("127.0.0.1", port))
    s.listen()
    return s


def add_loading(home, seconds, **model):
    load = ["--sim-load-time", str(seconds)]
    return home.add(engine="sim", command="none", extra_args=load, **model)


def lost_its_port(shim, port, who=None):
    code, error = shim.ended()
    assert (code, error["id"]) == (75, "engine.not-now")
    who = who or f"process {os.getpid()} ({pathlib.Path('/proc/self/comm').read_text().strip()})"
    assert error["message"] == f"something else listens on 127.0.0.1:{port}: {who}"
    assert error["fix"] == "stop it; or set another port"
    assert shim.has_told("READY") == []


def test_something_else_has_the_port(home):
    port = home.add()
    with listener(port):
        lost_its_port(home.start(), port)


def test_a_stranger_takes_the_port_before_the_engine_does(home):
    port = add_loading(home, 60)  # a few hundredths of it before it binds
    shim = home.start()
    shim.says_status("starting")
    with listener(port):
        lost_its_port(shim, port)


def test_a_stranger_listens_before_the_engine_does(home):
    """Who bound the port first does not count."""
    port = add_loading(home, 3)
    shim = home.start()
    shim.says_status("loading weights")
    with listener(port, socket.SO_REUSEADDR):
        lost_its_port(shim, port)


def test_a_stranger_on_the_port_does_not_make_it_ready(home):
    """He answers everything that is asked, and shares the port as servers of one kind may: half of what
    is asked would be his."""
    port = add_loading(home, 3, start_stall_limit="10s")
    shim = home.start()
    shim.says_status("loading weights")
    with Sim("--port", str(port), "--served-model-name", "phi3") as other:
        assert f": something else listens on 127.0.0.1:{port}" in shim.says_status("not ready for ")
        lost_its_port(shim, port, f"process {other.process.pid} (citadel-sim)")


def test_a_stranger_who_comes_later_is_told(home):
    port = add_loading(home, 0, stall_limit="10s")
    shim = home.start().ready()
    with Sim("--port", str(port), "--served-model-name", "phi3") as other:
        text = shim.says_status("degraded: ")
        who = f"process {other.process.pid} (citadel-sim)"
        assert text == f"degraded: something else listens on 127.0.0.1:{port}: {who}"
    assert shim.says_status("ready: recovered")
    assert shim.send(signal.SIGTERM).ended() == (0, None)


def test_a_stranger_who_goes_is_forgotten(home):
    port = add_loading(home, 3)
    shim = home.start()
    shim.says_status("loading weights")
    with Sim("--port", str(port), "--served-model-name", "phi3"):
        assert f": something else listens on 127.0.0.1:{port}" in shim.says_status("not ready for ")
    shim.ready()
    assert shim.send(signal.SIGTERM).ended() == (0, None)


def test_an_engine_without_words_loses_its_port(home):
    """Nobody knows its log; but it fails, and somebody else listens where it should."""
    port = home.add(words=["hold-start"])
    shim = home.start()
    shim.says("waits")
    with listener(port):
        os.kill(shim.engine_pid(), signal.SIGUSR1)
        lost_its_port(shim, port)


def test_it_is_held(home):
    home.add()
    home.hold(by="ann", why="it eats the memory")
    shim = home.start()
    code, error = shim.ended()
    assert (code, error["id"]) == (75, "run.held")
    assert error["message"] == "phi3 is held by ann: it eats the memory"
    assert error["fix"] == "citadel start phi3"
    assert shim.says_status("ended") == "ended: " + error["message"]


def test_it_runs_already(home):
    home.add()
    first = home.start().ready()
    code, error = home.start().ended()
    assert (code, error["id"]) == (75, "run.runs-already")
    assert first.state()["phase"] == "ready"


def test_a_damaged_record_is_put_aside(home):
    home.add()
    home.hold()
    path = home.where / "state/models/phi3/record.json"
    path.write_text("{")
    shim = home.start().ready()
    shim.says("record.json.damaged")
    assert shim.send(signal.SIGTERM).ended() == (0, None)
    assert home.record()["last"]["exit"] == 0


def test_a_shim_that_was_stopped_blames_nobody(home):
    """Between two tokens nothing moves, for less than stall_limit; and then the shim does not look for
    longer than that. The tokens are the clock."""
    port = add_sim(home, "phi3", "--sim-token-rate", "0.14", stall_limit="10s")
    shim = home.start().ready()
    engine = shim.engine_pid()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    body = {"prompt": "on", "stream": True, "ignore_eos": True, "max_tokens": 6}
    headers = {"Content-Type": "application/json"}
    connection.request("POST", "/v1/completions", json.dumps(body), headers)
    answer = connection.getresponse()
    shim.says_status("degraded: requests wait, and nothing has moved")
    shim.send(signal.SIGSTOP)
    for _ in range(3):
        while not answer.readline().startswith(b"data: {"):
            pass
    shim.send(signal.SIGCONT)
    shim.says_status("ready: recovered")
    assert shim.engine_pid() == engine
    connection.close()


# --- the end --------------------------------------------------------------------------------------


def test_what_runs_is_finished(home):
    port = home.add(words=["hold=later"])
    shim = home.start().ready()
    client = Client(port, "later")
    shim.says("is asked about later")
    pid = shim.engine_pid()
    shim.send(signal.SIGTERM)
    shim.says("was told to stop")
    assert shim.state()["phase"] == "stopping"
    os.kill(pid, signal.SIGUSR1)
    assert client.result() == 200
    assert shim.ended() == (0, None)


def test_a_second_signal_does_not_wait(home):
    port = home.add(words=["hold=later"])
    shim = home.start().ready()
    client = Client(port, "later")
    shim.says("is asked about later")
    pid = shim.engine_pid()
    shim.send(signal.SIGTERM)
    shim.says("was told to stop")
    assert shim.send(signal.SIGTERM).ended() == (0, None)
    assert ends(pid)
    assert isinstance(client.result(), Exception)


def test_an_engine_that_denies_sigterm(home):
    home.add(words=["deny-sigterm"], drain_timeout="0s")
    shim = home.start().ready()
    pid = shim.engine_pid()
    shim.send(signal.SIGTERM)
    shim.says("does not stop")
    assert shim.ended() == (0, None)
    assert shim.says("has not ended 15s after SIGTERM: it is killed")
    assert ends(pid)


def workers(shim, count):
    def pids():
        found = [int(line.split()[1]) for line in shim.lines if line.startswith("worker ")]
        return found if len(found) == count else None

    return shim.until(pids, f"{count} workers")


def test_workers_do_not_outlive_their_engine(home):
    home.add(words=["worker", "stray"])
    shim = home.start().ready()
    pids = workers(shim, 2)
    os.kill(shim.engine_pid(), signal.SIGKILL)
    code, error = shim.ended()
    assert (code, error["id"]) == (1, "engine.crashed")
    assert all(ends(pid) for pid in pids)


def test_workers_are_ended_with_a_stop(home):
    home.add(words=["worker", "stray"])
    shim = home.start().ready()
    pids = workers(shim, 2)
    assert shim.send(signal.SIGTERM).ended() == (0, None)
    assert all(ends(pid) for pid in pids)


def test_a_shim_that_is_killed_leaves_nothing_behind(home):
    """Its engine ends with it; what the engine leaves is ended by the next shim, and the lease that
    it had is free at once."""
    gpu = home.give_gpus("gpu NVIDIA L40S\n")
    home.add(words=["worker", "stray"])
    home.add("other")
    shim = home.start(**gpu).ready()
    stay = workers(shim, 2)
    engine = shim.engine_pid()
    code, error = home.start("other", **gpu).ended()
    assert (code, error["id"]) == (75, "gpu.leased")
    assert "not leased to phi3" in error["message"]
    shim.send(signal.SIGKILL).ended()
    assert ends(engine)
    assert all(os.path.exists(f"/proc/{pid}") for pid in stay)
    other = home.start("other", **gpu).ready()
    assert other.send(signal.SIGTERM).ended() == (0, None)
    after = home.start(**gpu).ready()
    assert after.says("of an engine that had lost its shim were ended")
    assert all(ends(pid) for pid in stay)


# --- GPUs, with the simulated engine --------------------------------------------------------------

ONE_GPU = "gpu NVIDIA L40S\n"


def add_sim(home, name="phi3", *args, **model):
    """It takes the memory of made-up GPUs, and can sleep. Returns its port."""
    return home.add(name, engine="sim", command="none", sleep_level=1, extra_args=[*args], **model)


def test_requests_that_run_are_waited_for(home):
    port = add_sim(home, "phi3", "--sim-token-rate", "4")
    shim = home.start().ready()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    body = {"model": "phi3", "prompt": "tell", "stream": True, "max_tokens": 12, "ignore_eos": True}
    headers = {"Content-Type": "application/json"}
    connection.request("POST", "/v1/completions", json.dumps(body), headers)
    answer = connection.getresponse()
    assert answer.readline()
    shim.send(signal.SIGTERM)
    assert shim.says_status("finishing 1 request") == "finishing 1 request"
    assert shim.state()["phase"] == "draining"
    assert answer.read().endswith(b"data: [DONE]\n\n")
    connection.close()
    assert shim.ended() == (0, None)


def test_it_runs_on_the_gpu_that_was_planned(home):
    """By its UUID, and although another has more memory that nobody uses."""
    gpus = home.give_gpus("gpu NVIDIA L40S\ngpu NVIDIA L40S\ngpu NVIDIA L40S\n")
    home.add()
    uuids = json.loads(run("plan", "-c", home.config, "--json", **gpus).stdout)["gpus"]
    shim = home.start(words=["--gpus", uuids[1]["uuid"]], **gpus).ready()
    assert shim.state()["gpus"] == [1]
    assert shim.send(signal.SIGTERM).ended() == (0, None)
    code, error = home.start(words=["--gpus", "GPU-nobody"], **gpus).ended()
    assert (code, error["id"]) == (64, "gpu.not-found")
    code, error = home.start(words=["--gpus", uuids[1]["uuid"]]).ended()
    assert (code, error["id"]) == (64, "engine.will-not-run")
    assert "needs a GPU" in error["message"]


def test_who_sleeps_has_given_its_memory_to_others(home):
    gpu = home.give_gpus(ONE_GPU)
    add_sim(home)
    add_sim(home, "other")
    shim = home.start(**gpu).ready()
    assert shim.state()["gpus"] == [0]
    status, state = shim.ask("POST", "/sleep?level=1")
    assert (status, state["phase"], state["sleep_level"]) == (200, "sleeping", 1)
    other = home.start("other", **gpu).ready()
    status, error = shim.ask("POST", "/wake")
    assert (status, error["id"]) == (503, "gpu.leased")
    assert shim.state()["phase"] == "sleeping"
    assert other.send(signal.SIGTERM).ended() == (0, None)
    status, state = shim.ask("POST", "/wake")
    assert (status, state["phase"], state["status"]) == (200, "ready", "ready: awake again")
    assert shim.send(signal.SIGTERM).ended() == (0, None)


def test_memory_that_does_not_come_back_is_told(home):
    gpu = home.give_gpus(ONE_GPU)
    add_sim(home, "phi3", "--sim-fault", "keep-memory")
    shim = home.start(**gpu).ready()
    shim.send(signal.SIGTERM)
    assert "GPU 0" in shim.says_status("waiting for its memory")
    code, error = shim.send(signal.SIGINT).ended()
    assert (code, error["id"]) == (75, "gpu.not-free")
    assert home.record()["last"]["what"] == error["message"]
    after = home.start(**gpu)
    assert "GPU 0" in after.says_status("waiting for memory")
    assert after.state()["phase"] == "waiting-for-memory"
    assert after.send(signal.SIGTERM).ended() == (0, None)


# --- the control socket ---------------------------------------------------------------------------


def test_drain_is_a_stop(home):
    home.add()
    shim = home.start().ready()
    status, state = shim.ask("POST", "/drain")
    assert (status, state["phase"]) == (200, "stopping")
    assert shim.ended() == (0, None)


REFUSED = {
    "a path that there is not": ("GET", "/", 404, "system.not-found"),
    "a state that is set": ("POST", "/state", 404, "system.not-found"),
    "a drain that is read": ("GET", "/drain", 404, "system.not-found"),
    "sleep deeper than there is": ("POST", "/sleep?level=3", 400, "value.invalid"),
    "sleep of an engine that cannot": ("POST", "/sleep?level=1", 409, "run.wrong-state"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_asked(home, case):
    method, path, code, error_id = REFUSED[case]
    home.add()
    shim = home.start().ready()
    status, error = shim.ask(method, path)
    assert (status, error["id"]) == (code, error_id)
    assert error["what"]
    assert shim.state()["phase"] == "ready"


def test_waking_who_is_awake_is_done_already(home):
    home.add()
    shim = home.start().ready()
    status, state = shim.ask("POST", "/wake")
    assert (status, state["phase"]) == (200, "ready")


ASK = """
import os, socket, sys
os.chdir(sys.argv[1])
os.setgroups([]); os.setgid(65534); os.setuid(65534)
s = socket.socket(socket.AF_UNIX)
try:
    s.connect("control.sock")
except PermissionError:
    sys.exit("not let in")
s.sendall(b"POST /drain HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n")
sys.stdout.buffer.write(s.makefile("rb").read())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be a stranger")
def test_strangers_are_refused(home):
    home.add()
    shim = home.start().ready()

    def ask():
        command = [sys.executable, "-c", ASK, shim.socket_path.parent]
        return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)

    assert ask().stderr == "not let in\n"
    shim.socket_path.chmod(0o666)
    assert ask().stdout.startswith("HTTP/1.1 403 ")
    assert shim.state()["phase"] == "ready"


def test_what_is_no_http_is_refused(home):
    home.add()
    shim = home.start().ready()
    folder = os.open(shim.socket_path.parent, os.O_PATH)
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(PATIENCE_S)
        s.connect(f"/proc/self/fd/{folder}/control.sock")
        twice = b"Content-Length: 1\r\nContent-Length: 2\r\n"
        s.sendall(b"GET /state HTTP/1.1\r\nHost: x\r\n" + twice + b"\r\n")
        assert re.match(rb"HTTP/1.1 400 ", s.makefile("rb").read())
    os.close(folder)
    assert shim.state()["phase"] == "ready"
