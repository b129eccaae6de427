"""citadel-sim answers as vLLM does, tells the truth in /metrics, and stops as it is told."""

import http.client
import json
import os
import signal
import socket
import subprocess

import pytest
from sim import SIM, Sim, events


@pytest.fixture
def sim():
    with Sim("--port", "0", "--served-model-name", "phi3", "--max-model-len", "50") as running:
        yield running


def chat(text, **more):
    return {"model": "phi3", "messages": [{"role": "user", "content": text}], **more}


def test_a_chat_is_answered_word_by_word(sim):
    status, text = sim.ask("POST", "/v1/chat/completions", chat("hello big world"))
    answer = json.loads(text)
    assert status == 200
    assert answer["choices"][0]["message"]["content"] == "Simulated answer to: hello big world"
    assert answer["choices"][0]["finish_reason"] == "stop"
    usage = answer["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (3, 6, 9)


def test_a_stream_says_the_same_as_an_answer(sim):
    body = chat("one two", stream=True, stream_options={"include_usage": True})
    _, text = sim.ask("POST", "/v1/chat/completions", body)
    *chunks, done = events(text)
    assert done == "[DONE]"
    said = "".join(c["choices"][0]["delta"]["content"] for c in chunks if c["choices"])
    assert said == "Simulated answer to: one two"
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert chunks[-1]["usage"]["completion_tokens"] == 5
    assert len({c["id"] for c in chunks}) == 1


def test_an_answer_ends_at_max_tokens(sim):
    body = {"model": "phi3", "prompt": "a b c", "max_tokens": 2}
    answer = json.loads(sim.ask("POST", "/v1/completions", body)[1])
    assert answer["choices"][0]["text"] == "Simulated answer"
    assert answer["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize(
    "body, status, words",
    [
        ("{", 400, "JSON decode error"),
        ("[1]", 400, "valid dictionary"),
        ({}, 400, "Field required"),
        ({"messages": []}, 400, "at least one message"),
        ({"messages": [1]}, 400, "a role"),
        (chat("x", model="gpt"), 404, "The model `gpt` does not exist."),
        (chat("x", stream="perhaps"), 400, "boolean"),
        (chat("x", max_tokens=0), 400, "max_tokens must be at least 1, got 0."),
        (chat("word " * 50), 400, "maximum context length is 50 tokens"),
    ],
)
def test_errors_are_those_of_vllm(sim, body, status, words):
    got, text = sim.ask("POST", "/v1/chat/completions", body)
    error = json.loads(text)["error"]
    assert (got, error["code"]) == (status, status)
    assert words in error["message"]


def test_paths_and_methods(sim):
    assert sim.ask("GET", "/health") == (200, "")
    assert sim.ask("GET", "/nowhere") == (404, '{"detail":"Not Found"}')
    assert sim.ask("PUT", "/v1/models")[0] == 405
    model = json.loads(sim.ask("GET", "/v1/models")[1])["data"][0]
    assert (model["id"], model["max_model_len"]) == ("phi3", 50)


def test_metrics_count_what_happened(sim):
    assert sim.metric("vllm:iteration_tokens_total_count") == 0
    sim.ask("POST", "/v1/chat/completions", chat("a b"))
    sim.ask("POST", "/v1/chat/completions", chat("a b", max_tokens=1))
    assert sim.metric("vllm:prompt_tokens_total") == 4
    assert sim.metric("vllm:generation_tokens_total") == 6
    assert sim.metric("vllm:iteration_tokens_total_count") == 6  # the first comes with the prompt
    assert sim.metric("vllm:request_success_total", finished_reason="stop") == 1
    assert sim.metric("vllm:request_success_total", finished_reason="length") == 1
    assert sim.metric("vllm:num_requests_running") == 0


def test_it_stops_while_a_connection_is_idle(sim):
    idle = sim.connect()
    idle.connect()
    assert sim.stop(signal.SIGINT) == 0
    idle.close()


def test_a_unix_socket_serves_too(tmp_path):
    path = tmp_path / ("long" * 30) / "engine.sock"
    path.parent.mkdir()
    sim = Sim("--uds", str(path))
    # The address of a socket is shorter than this path: reach it from its own directory.
    fd = os.open(path.parent, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(f"/proc/self/fd/{fd}/engine.sock")
        s.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert s.recv(100).startswith(b"HTTP/1.1 200 OK\r\n")
    os.close(fd)
    assert sim.stop() == 0


def test_what_cannot_be_served_is_told():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = subprocess.run([SIM, "--port", str(port)], capture_output=True, text=True)
    assert ended.returncode == 1
    assert "OSError: [Errno 98] Address already in use" in ended.stdout
    ended = subprocess.run([SIM, "--port", "70000"], capture_output=True, text=True)
    assert ended.returncode == 2 and "70000" in ended.stderr
    ended = subprocess.run([SIM, "--nonsense"], capture_output=True, text=True)
    assert ended.returncode == 2 and "unrecognized arguments: --nonsense" in ended.stderr


def test_nobody_is_served_before_it_is_ready():
    with Sim("--port", "0", "--sim-load-time", "300ms") as sim:
        log = "".join(sim.log)
        assert sim.ask("POST", "/v1/completions", {"prompt": "a"})[0] == 200
    assert log.index("Waiting for application startup") < log.index("startup complete")


def test_a_fault_strikes_after_its_answer():
    sim = Sim("--port", "0", "--sim-control")
    assert sim.ask("POST", "/sim/fault", {"fault": "crasch"})[0] == 400
    assert sim.ask("POST", "/sim/fault", {"fault": "hang"}) == (200, "{}")
    assert json.loads(sim.ask("GET", "/sim/fault")[1])["holding"] == ["hang"]
    assert json.loads(sim.ask("DELETE", "/sim/fault")[1])["holding"] == []
    assert sim.ask("POST", "/sim/fault", {"fault": "server-kill"}) == (200, "{}")
    assert sim.wait() == -signal.SIGKILL


def test_a_cut_stream_ends_in_the_middle():
    with Sim("--port", "0", "--sim-fault", "cut-stream*1") as sim:
        with pytest.raises((ConnectionResetError, http.client.IncompleteRead)):
            sim.ask("POST", "/v1/completions", {"prompt": "a b c", "stream": True})
        assert sim.ask("POST", "/v1/completions", {"prompt": "a b c"})[0] == 200
