"""citadel-sim takes anything: each member of each request in turn is what nobody expects, and each
answer is one that vLLM might give. A server that has broken a rule of its own has ended by then."""

import json
import random
import socket

import pytest
from sim import PATIENCE_S, Sim, events

DEEP = json.loads("[" * 50 + "]" * 50)
VALUES = [
    None, True, False, 0, 1, -1, 0.5, 1e300, -0.0, 2**63, 2**64 - 1, 2**64, -(2**63), 10**400,
    float("nan"), float("inf"), "", " ", "a", "\x00", "a\x00b", "\ud83d\ude00", "x " * 3000, [], {},
    [[]], [None], [1, "a", {}], {"": {}}, {"type": None}, {"name": {"name": []}}, DEEP,
    [{"role": "user", "content": None}], [{"role": None, "content": [{"text": 3}, 4, None]}],
    [-1, 2**70], [[1], "b"], {"type": "function", "function": {"name": "get_weather"}},
    {"type": "json_schema", "json_schema": {"schema": {"$ref": "#"}}}, {"include_usage": "perhaps"},
]  # fmt: skip
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
SCHEMA = {"type": "json_schema", "json_schema": {"schema": {"type": "integer"}}}
SAMPLING = {
    "model": "m", "stream": True, "stream_options": {}, "n": 2, "stop": ["z"], "temperature": 1,
    "top_p": 1, "presence_penalty": 0, "frequency_penalty": 0, "max_tokens": 3, "min_tokens": 1,
    "ignore_eos": False, "logprobs": True, "include_stop_str_in_output": True,
}  # fmt: skip
MESSAGES = [{"role": "user", "content": "f f"}]

BODIES = {
    "/v1/chat/completions": {
        **SAMPLING, "messages": MESSAGES, "tools": [TOOL], "tool_choice": "auto",
        "response_format": SCHEMA, "top_logprobs": 2, "max_completion_tokens": 5,
    },
    "/v1/completions": {**SAMPLING, "prompt": "a", "echo": True, "logprobs": 1},
    "/v1/responses": {
        **SAMPLING, "input": "a", "instructions": "b", "metadata": {}, "tools": [], "text": {},
        "tool_choice": "auto", "max_output_tokens": 3,
    },
    "/v1/messages": {
        **SAMPLING, "messages": MESSAGES, "system": "a", "tools": [{"name": "f"}],
        "tool_choice": {"type": "any"}, "stop_sequences": ["z"],
    },
    "/v1/messages/count_tokens": {"model": "m", "messages": MESSAGES, "system": "a"},
    "/v1/embeddings": {"model": "m", "input": "a", "dimensions": 3, "encoding_format": "base64"},
    "/pooling": {"model": "m", "input": ["a"], "messages": None},
    "/classify": {"model": "m", "input": ["a"]},
    "/score": {"model": "m", "text_1": "a", "text_2": ["b"]},
    "/rerank": {"query": "a", "documents": ["b"], "top_n": 1, "return_documents": True},
    "/tokenize": {"model": "m", "prompt": "a", "messages": None, "return_token_strs": True},
    "/detokenize": {"model": "m", "tokens": [0]},
    "/collective_rpc": {"method": "reload_weights"},
    "/sim/fault": {"fault": "hang@request:9999999"},
}  # fmt: skip


@pytest.fixture(scope="module")
def sim():
    tools = ["--enable-auto-tool-choice", "--tool-call-parser", "hermes"]
    dev = {"VLLM_SERVER_DEV_MODE": "1"}
    with Sim("--port", "0", "--served-model-name", "m", "--sim-control", *tools, **dev) as running:
        yield running


class Line:
    """A connection that stays open."""

    def __init__(self, sim):
        self.connection = sim.connect()

    def ask(self, path, body):
        kind = {"Content-Type": "application/json"}
        self.connection.request("POST", path, body, kind)
        answer = self.connection.getresponse()
        return answer.status, answer.read().decode(), answer.getheader("Content-Type")


def check(status, text, kind):
    assert status in (200, 400, 404) or "'Worker' object has no attribute" in text, text
    if "event-stream" in kind:
        assert events(text), text
    elif status == 200 or "error" in text:
        json.loads(text)


@pytest.mark.parametrize("path", BODIES)
def test_any_member_may_be_anything(sim, path):
    line = Line(sim)
    body = BODIES[path]
    line.ask("/tokenize", json.dumps({"prompt": "a word"}))
    check(*line.ask(path, json.dumps(body)))
    for whole in VALUES:
        check(*line.ask(path, json.dumps(whole)))
    for member in body:
        without = {name: value for name, value in body.items() if name != member}
        check(*line.ask(path, json.dumps(without)))
        for value in VALUES:
            check(*line.ask(path, json.dumps({**body, member: value})))
            check(*line.ask(path, json.dumps({**without, "stream": False, member: value})))
    assert sim.ask("GET", "/health") == (200, "")


def test_bytes_that_are_no_request(sim):
    dice = random.Random(7)
    valid = json.dumps(BODIES["/v1/chat/completions"]).encode()
    line = Line(sim)
    for _ in range(500):
        broken = bytearray(valid)
        for _ in range(dice.randrange(1, 6)):
            at = dice.randrange(len(broken))
            broken[at : at + dice.randrange(4)] = dice.randbytes(dice.randrange(3))
        check(*line.ask("/v1/chat/completions", bytes(broken)))


def test_requests_in_a_row_and_clients_that_leave(sim):
    host, port = sim.where.rsplit(":", 1)
    body = json.dumps({"prompt": "a " * 500, "max_tokens": 900, "stream": True, "ignore_eos": True})
    request = (
        "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()
    for cut in range(0, len(request), 97):
        with socket.create_connection((host, int(port)), PATIENCE_S) as s:
            s.sendall(request[:cut])
    for taken in range(0, 200000, 20011):  # of two answers of some 300 KB
        with socket.create_connection((host, int(port)), PATIENCE_S) as s:
            s.sendall(request * 2)
            while taken > 0:
                taken -= len(s.recv(taken))
    assert sim.ask("GET", "/health") == (200, "")
    assert sim.metric("vllm:num_requests_running") == 0
