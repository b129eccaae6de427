"""citadel-sim answers as vLLM does, tells the truth in /metrics, and stops as it is told."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess

import pytest
from program import BIN

SIM = BIN / "citadel-sim"


class Sim:
    """Started, and ready; its log is kept."""

    def __init__(self, *args, **env):
        self.process = subprocess.Popen(
            [SIM, *args],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **env},
        )
        self.log = []
        for line in self.process.stdout:
            self.log.append(line)
            if "Application startup complete" in line:
                break
        started = re.search(r"API server 0 on (?:http://|unix:)(\S+)", "".join(self.log))
        assert started, "".join(self.log)
        self.where = started[1]

    def connect(self):
        host, port = self.where.rsplit(":", 1)
        return http.client.HTTPConnection(host, int(port), timeout=30)

    def ask(self, method, path, body=None):
        connection = self.connect()
        raw = body if body is None or isinstance(body, (str, bytes)) else json.dumps(body)
        connection.request(method, path, raw, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, text

    def metric(self, name, **labels):
        for line in self.ask("GET", "/metrics")[1].splitlines():
            if line.startswith(name + "{") and all(f'{k}="{v}"' in line for k, v in labels.items()):
                return float(line.split()[-1])
        raise AssertionError(f"no {name} {labels}")

    def stop(self, signo=signal.SIGTERM):
        self.process.send_signal(signo)
        rest, _ = self.process.communicate(timeout=30)
        self.log += rest.splitlines(keepends=True)
        return self.process.returncode


@pytest.fixture
def sim():
    running = Sim("--port", "0", "--served-model-name", "phi3", "--max-model-len", "50")
    yield running
    if running.process.poll() is None:
        assert running.stop() == 0


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
    events = [line[6:] for line in text.split("\n") if line.startswith("data: ")]
    assert events[-1] == "[DONE]"
    chunks = [json.loads(e) for e in events[:-1]]
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
