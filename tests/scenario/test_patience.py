"""In real time, once: what the compressed scenarios show of limits holds at their defaults."""

import http.client
import json

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
