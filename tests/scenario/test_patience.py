"""In real time, once: what the compressed scenarios show of limits holds at their defaults."""

import http.client
import json
import signal

import pytest

from shim import PATIENCE_S, Home, free_port

STALL_LIMIT_S = 120  # the default of the option
TOKENS_A_SECOND = 4


@pytest.fixture
def home(tmp_path):
    made = Home(tmp_path)
    yield made
    made.finish()


def test_a_busy_engine_whose_health_is_slow_is_left_alone(home):
    """For longer than stall_limit its /health does not answer, while tokens come: it is degraded, and
    lives. The tokens are the clock."""
    port = free_port()
    slow = ["--sim-token-rate", str(TOKENS_A_SECOND), "--sim-fault", "slow-health@request:2"]
    home.models["phi3"] = {
        "engine": "sim",
        "kind": "chat",
        "port": port,
        "extra_args": [*slow, "--sim-slow", "1h"],
    }
    home.write()
    shim = home.start("phi3").ready()
    engine = shim.engine_pid()
    wanted = (STALL_LIMIT_S + 15) * TOKENS_A_SECOND
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    body = {"prompt": "on and on", "stream": True, "ignore_eos": True, "max_tokens": wanted}
    connection.request(
        "POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"}
    )
    tokens = sum(line.startswith(b"data: {") for line in connection.getresponse())
    assert tokens >= wanted
    state = shim.state()
    assert (state["phase"], state["engine"]["pid"]) == ("degraded", engine)
    assert state["why"]["what"].startswith("/health has not been answered for 2m")


def test_memory_is_waited_for_and_then_named(tmp_path):
    """Thirty seconds for a driver to give back what a process had; and as long before a start."""
    home = Home(tmp_path)
    gpu = home.give_gpus("gpu NVIDIA L40S\n")
    home.add(engine="sim", command="none", extra_args=["--sim-fault", "keep-memory"])
    shim = home.start(**gpu).ready()
    shim.send(signal.SIGTERM)
    code, error = shim.ended()
    assert (code, error["id"]) == (75, "gpu.not-free")
    assert error["message"].startswith("it has ended, and its memory has not come back: GPU 0: ")
    after = home.start(**gpu)
    assert "GPU 0" in after.says_status("waiting for memory: ")
    code, error = after.ended()
    assert (code, error["id"]) == (75, "gpu.not-free")
    assert "GPU 0: " in error["message"] and "nvidia-smi" in error["fix"]
    assert home.record()["failures"] == 0
    home.finish()
