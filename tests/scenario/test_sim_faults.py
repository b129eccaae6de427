"""Each fault of citadel-sim does what its row in faults.def promises."""

import http.client
import os
import re
import signal
import subprocess
import time

import pytest
from program import TOP
from sim import PATIENCE_S, SIM, Sim, events

ROWS = re.findall(
    r'^FAULT\(\w+, "([^"]+)", \w+, (\w+), "(.*)"\)$', (TOP / "sim/faults.def").read_text(), re.M
)
COMPLETION = ("POST", "/v1/completions", {"prompt": "a b c"})
DEAD = "EngineCore encountered an issue"

# What a start that fails says last, and its exit code.
STARTS = {
    "bad-flag": (2, "unrecognized arguments: --no-such-flag"),
    "port-taken": (1, "OSError: [Errno 98] Address already in use"),
    "no-free-memory": (1, "is less than desired GPU memory utilization"),
    "load-oom": (1, "torch.OutOfMemoryError: CUDA out of memory"),
    "graph-oom": (1, "torch.OutOfMemoryError: CUDA out of memory"),
    "kv-too-small": (1, "To serve at least one request with the model's max seq len"),
    "no-kv": (1, "No available memory for the cache blocks"),
    "nccl-error": (1, "NCCL error in"),
    "crash@loading": (1, "Engine core initialization failed"),
}


@pytest.mark.parametrize("fault", STARTS)
def test_a_start_that_fails(fault):
    code, words = STARTS[fault]
    ended = subprocess.run(
        [SIM, "--port", "0", "--sim-fault", fault],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE_S,
    )
    assert ended.returncode == code
    assert words in ended.stdout


@pytest.mark.parametrize("fault, last", [("nccl-hang", "Initializing a V1"), ("load-hang", "1/4 [")])
def test_a_start_that_stops(fault, last):
    """It says no more than that, and ends when it is told to."""
    with subprocess.Popen(
        [SIM, "--port", "0", "--sim-fault", fault], stdout=subprocess.PIPE, text=True
    ) as sim:
        for line in sim.stdout:
            if last in line:
                break
        sim.terminate()
        assert sim.stdout.read() == ""
        assert sim.wait(PATIENCE_S) == 0


def test_a_slow_start_gets_there():
    with Sim("--port", "0", "--sim-load-time", "20ms", "--sim-fault", "slow-load") as sim:
        assert any("Loading weights took 0.08 seconds" in line for line in sim.log)


# ---- ends ----

ENDS = {
    "exit-0": 0,
    "crash": 0,
    "worker-crash": 0,
    "server-crash": -signal.SIGSEGV,
    "server-kill": -signal.SIGKILL,
}


@pytest.mark.parametrize("fault", ENDS)
def test_an_end(fault):
    sim = Sim("--port", "0", "--sim-control", "--sim-watchdog", "0", "-tp", "2")
    assert sim.ask("POST", "/sim/fault", {"fault": fault})[0] == 200
    assert sim.wait() == ENDS[fault]


def test_a_dead_engine_fails_what_runs():
    args = ("--sim-token-rate", "20", "--sim-control", "--sim-watchdog", "50ms")
    sim = Sim("--port", "0", *args)
    connection = sim.connect()
    body = '{"prompt": "a b c", "stream": true}'
    connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    assert answer.readline().startswith(b"data: ")
    assert sim.ask("POST", "/sim/fault", {"fault": "exit-0"})[0] == 200
    *_, error, done = events(answer.read().decode())
    assert DEAD in error["error"]["message"] and done == "[DONE]"
    assert sim.wait() == 0


def test_a_wedged_server_stays():
    sim = Sim("--port", "0", "--sim-control", "--sim-watchdog", "0")
    assert sim.ask("POST", "/sim/fault", {"fault": "wedged"})[0] == 200
    assert sim.ask("GET", "/health")[0] == 503
    status, text = sim.ask(*COMPLETION)
    assert status == 500 and DEAD in text
    assert sim.stop(signal.SIGKILL) == -signal.SIGKILL


def pids(sim):
    """Of the processes behind the server, as it names them in its log."""
    return {int(pid) for pid in re.findall(r"\((?:EngineCore|Worker)\S* pid=(\d+)\)", "".join(sim.log))}


def lives(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("how", ["--sim-fault orphan-workers@request:1", "--sim-fault workers-stay"])
def test_workers_stay_behind(how):
    sim = Sim("--port", "0", "-tp", "2", *how.split())
    behind = pids(sim)
    assert len(behind) == 3
    if "orphan" in how:
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            sim.ask(*COMPLETION)
    else:
        sim.process.kill()
    assert sim.process.wait(PATIENCE_S) == -signal.SIGKILL
    for pid in behind:
        assert lives(pid)
        os.kill(pid, signal.SIGKILL)
    sim.reader.join(PATIENCE_S)  # they had its log, too


# ---- states ----


def test_a_hang_is_one():
    """/health is fine, and neither tokens nor steps are counted, until it is mended."""
    with Sim("--port", "0", "--sim-control", "--sim-fault", "hang") as sim:
        connection = sim.connect()
        kind = {"Content-Type": "application/json"}
        connection.request("POST", "/v1/completions", '{"prompt": "a"}', kind)
        deadline = time.monotonic() + PATIENCE_S
        while sim.metric("vllm:num_requests_waiting") != 1:
            assert time.monotonic() < deadline
        assert sim.ask("GET", "/health")[0] == 200
        assert sim.metric("vllm:iteration_tokens_total_count") == 0
        assert sim.ask("DELETE", "/sim/fault")[0] == 200
        assert connection.getresponse().status == 200


def test_a_freeze_takes_connections_and_answers_nothing():
    sim = Sim("--port", "0", "--sim-fault", "freeze")
    connection = sim.connect()
    connection.request("GET", "/health")
    sim.process.kill()
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        connection.getresponse()
    assert sim.wait() == -signal.SIGKILL


def test_sigterm_may_do_nothing():
    sim = Sim("--port", "0", "--sim-fault", "ignore-sigterm")
    sim.process.terminate()
    assert sim.ask("GET", "/health")[0] == 200
    assert sim.ask(*COMPLETION)[0] == 200
    assert sim.stop(signal.SIGKILL) == -signal.SIGKILL


def test_health_may_be_slow():
    with Sim("--port", "0", "--sim-fault", "slow-health", "--sim-slow", "300ms") as sim:
        slow, fast = sim.connect(), sim.connect()
        slow.request("GET", "/health")
        fast.request("GET", "/version")
        assert fast.getresponse().status == 200
        slow.sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            slow.sock.recv(1)
        slow.sock.settimeout(PATIENCE_S)
        assert slow.getresponse().status == 200


@pytest.mark.parametrize("fault, path", [("sleep-fails", "/sleep"), ("wake-fails", "/wake_up")])
def test_sleep_may_fail(fault, path):
    dev = {"VLLM_SERVER_DEV_MODE": "1"}
    with Sim("--port", "0", "--enable-sleep-mode", "--sim-fault", fault, **dev) as sim:
        if path == "/wake_up":
            assert sim.ask("POST", "/sleep")[0] == 200
        before = sim.ask("GET", "/is_sleeping")
        assert sim.ask("POST", path)[0] == 500
        assert sim.ask("GET", "/is_sleeping") == before


def test_the_model_may_be_another():
    with Sim("--port", "0", "--served-model-name", "m", "--sim-fault", "wrong-model") as sim:
        assert '"id":"another-model"' in sim.ask("GET", "/v1/models")[1]
        assert sim.ask("POST", "/v1/completions", {"model": "m", "prompt": "a"})[0] == 404


# ---- requests ----


@pytest.mark.parametrize("fault, status", [("full-queue", 503), ("error-500", 500)])
def test_requests_are_struck_as_often_as_was_said(fault, status):
    with Sim("--port", "0", "--sim-fault", f"{fault}@request:2*2") as sim:
        assert [sim.ask(*COMPLETION)[0] for _ in range(4)] == [200, status, status, 200]


TESTED = {
    "slow-load", "nccl-hang", "load-hang", "wedged", "orphan-workers", "workers-stay", "hang",
    "freeze", "ignore-sigterm", "slow-health", "sleep-fails", "wake-fails", "wrong-model",
    "full-queue", "error-500",
    "cut-stream",  # test_sim.py
    "keep-memory",  # with simulated GPUs: test_run.py
}  # fmt: skip


def test_every_fault_is_tested_and_told():
    assert {name for name, _, _ in ROWS} == TESTED | {f for f in STARTS if "@" not in f} | set(ENDS)
    manual = (TOP / "docs/operations.md").read_text()
    for name, _, words in ROWS:
        assert f"| `{name}` | {words} |" in manual
