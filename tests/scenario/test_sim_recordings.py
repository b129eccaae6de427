"""citadel-sim answers as vLLM was recorded to, field by field: the same members in the same order,
of the same types, with the same values wherever a value does not depend on what was asked.

ROWS has the recordings that it is held to, each with the release that made it and a request that
has the like answer; UNASKED has the others, and why; DEVIATIONS what is not the same, and why."""

import json
import re

import pytest
from program import TOP
from sim import Sim, events

RECORDED = TOP / "tests/data/vllm-responses"
PAGES = TOP / "tests/data/vllm-metrics"

# Values that depend on what was asked, and when.
COUNTED = {
    "cached_tokens", "completion_tokens", "count", "created", "created_at", "id", "index",
    "input_tokens", "max_output_tokens", "output_tokens", "prompt_tokens", "seconds",
    "sequence_number", "server_load", "text_offset", "tokens", "total_tokens", "bytes",
}  # fmt: skip
MEASURED = {
    "avg_logprob", "data", "embedding", "end", "logprob", "probs", "relevance_score", "score",
    "start", "temperature", "token_logprobs", "top_logprobs", "top_p",
}  # fmt: skip
SAID = {
    "arguments", "content", "delta", "duration", "embedding", "finish_reason", "label", "model", "name", "parent",
    "partial_json", "prompt", "reasoning", "root", "status", "text", "thinking", "token", "token_strs", "tokens",
}  # fmt: skip
NAMED = {"id", "item_id", "call_id", "system_fingerprint"}


def shape(value, name=None, ids=True):
    """The value, without what may differ: numbers and texts become their types, ids their form, and
    of neighbours in a list that are alike one is kept."""
    if isinstance(value, dict):
        if name == "top_logprobs":  # its members are words
            return ["word", "number"]
        return {key: shape(inner, key, ids) for key, inner in value.items()}
    if isinstance(value, list):
        kept = []
        for inner in value:
            inner = shape(inner, name, ids)
            if not kept or kept[-1] != inner:
                kept.append(inner)
        return kept
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, str) and name in NAMED:
        return re.sub(r"(?<=[-_])[0-9a-f]+$", digits if ids else "<digits>", value)
    if isinstance(value, str) and name in SAID:
        return "<text>"
    if isinstance(value, int) and name in COUNTED:
        return "<count>"
    if isinstance(value, (int, float)) and name in MEASURED:
        return "<number>"
    return value


def digits(found):
    return f"<{len(found[0])} digits>"


def text_of(shaped):
    return json.dumps(shaped, indent=1, ensure_ascii=False)


# ---- requests ----

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
FLAT = {
    "name": "get_weather",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
    "strict": None,
    "type": "function",
    "description": "Weather of a city",
}


def post(path, **body):
    return "POST", path, body


def get(path):
    return "GET", path, None


def chat(**more):
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    return post("/v1/chat/completions", messages=messages, **more)


def completion(prompt="The capital of France is", **more):
    return post("/v1/completions", prompt=prompt, **more)


def respond(question="What is the capital of France?", **more):
    return post("/v1/responses", input=question, temperature=0.6, top_p=0.95, **more)


def message(**more):
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    return post("/v1/messages", max_tokens=99, messages=messages, **more)


def rank(*documents, **more):
    return post("/rerank", query="What is it?", documents=documents, **more)


def audio(**fields):
    parts = [f'name="{name}"\r\n\r\n{value}' for name, value in fields.items()]
    parts.append('name="file"; filename="The stale smell.wav"\r\n\r\n' + "x" * 600000)
    form = "".join(f"--b\r\nContent-Disposition: form-data; {part}\r\n" for part in parts)
    return "POST", "/v1/audio/transcriptions", form + "--b--\r\n"


USAGE = {"stream": True, "stream_options": {"include_usage": True}}
TOOLS = ("--enable-auto-tool-choice", "--tool-call-parser", "hermes")

# name of the recording: release, request, flags
ROWS = {
    "audio-transcriptions-stream-usage-reconstructed.sse": (
        "0.11.0", audio(stream="true", stream_include_usage="true")),
    "audio-transcriptions-text-only-reconstructed.json": ("0.9.2", audio()),
    "audio-transcriptions-usage-reconstructed.json": ("0.11.0", audio()),
    "audio-transcriptions-verbose-json-reconstructed.json": (
        "0.11.0", audio(response_format="verbose_json")),
    "chat-0.11-era-recorded.json": ("0.11.0", chat()),
    "chat-0.22.0-recorded.json": ("0.22.0", chat(max_tokens=2)),
    "chat-0.26.0-logprobs-reconstructed.json": (
        "0.26.0", chat(max_tokens=1, logprobs=True, top_logprobs=2),
        "--enable-prompt-tokens-details", "--tensor-parallel-size", "4"),
    "chat-2026-05-recorded.json": ("0.19.0", chat()),
    "chat-tool-calls-0.12-era-reconstructed.json": (
        "0.12.0", chat(tools=[WEATHER], tool_choice="required")),
    "chat-stream-0.21.0-recorded.sse": ("0.21.0", chat(stream=True), *TOOLS),
    "chat-stream-0.23.0-continuous-usage-reconstructed.sse": (
        "0.23.0",
        chat(stream=True, stream_options={"include_usage": True, "continuous_usage_stats": True})),
    "chat-stream-0.23.0-leaked-tool-call-usage-recorded.sse": ("0.23.0", chat(**USAGE), "--tensor-parallel-size", "2"),
    "chat-stream-0.26-include-usage-recorded.sse": ("0.26.0", chat(**USAGE)),
    "chat-stream-0.26.1rc1-reasoning-with-head-recorded.http": (
        "0.26.1rc1.dev1046+gba07e4a48", chat(stream=True)),
    "chat-stream-0.28.0-include-usage-end-recorded.sse": ("0.28.0", chat(**USAGE), *TOOLS),
    "chat-stream-0.28.0-tool-call-recorded.sse": (
        "0.28.0", chat(stream=True, tools=[WEATHER], tool_choice="required"), *TOOLS),
    "chat-stream-engine-dies-reconstructed.sse": (
        "0.21.0", chat(stream=True), "--sim-token-rate", "20", "--sim-fault", "exit-0@after:150ms"),
    "classify-reconstructed.json": ("0.11.0", post("/classify", input="Good.")),
    "completions-2025-10-recorded.json": ("0.11.0", completion(max_tokens=2)),
    "completions-2026-09-dev-build-recorded.json": ("0.30.0", completion(max_tokens=2)),
    "detokenize-reconstructed.json": ("0.11.0", post("/detokenize", tokens=[])),
    "embeddings-0.8-era-recorded.json": ("0.11.0", post("/v1/embeddings", input="Follow it.")),
    "embeddings-base64-two-inputs-reconstructed.json": (
        "0.11.0", post("/v1/embeddings", input=["a", "b"], encoding_format="base64", dimensions=4)),
    "error-400-context-too-long-0.26.0-recorded.json": (
        "0.26.0", rank("word " * 1100), "--max-model-len", "1024"),
    "error-400-context-too-long-at-least-2026-05-recorded.json": (
        "0.20.0", completion(max_tokens=8192, prompt="word " * 9000), "--max-model-len", "16384"),
    "error-400-context-too-long-your-request-has-2026-04-reconstructed.json": (
        "0.17.0", completion(prompt="word " * 85605), "--max-model-len", "65536"),
    "error-400-empty-documents-0.26.0-recorded.json": ("0.26.0", rank()),
    "error-400-invalid-json-0.26.0-recorded.json": (
        "0.26.0", ("POST", "/rerank", '{"model": "m", "query": "ranks",}')),
    "error-400-max-tokens-too-large-0.10-reconstructed.json": (
        "0.11.0", completion(max_tokens=9000, prompt="word " * 120), "--max-model-len", "8192"),
    "error-400-messages-endpoint-anthropic-shape-recorded.json": (
        "0.17.0",
        post("/v1/messages", max_tokens=32000, messages=[{"role": "user", "content": "a " * 99999}]),
        "--max-model-len", "131072"),
    "error-400-missing-field-0.26.0-recorded.json": (
        "0.26.0", post("/rerank", model="reranker", documents=["a", "b"])),
    "error-400-wrong-types-0.26.0-recorded.json": (
        "0.26.0", post("/rerank", query=123, documents=["a"])),
    "error-401-unauthorized-reconstructed.json": ("0.11.0", chat(), "--api-key", "secret"),
    "error-404-messages-endpoint-reconstructed.json": ("0.17.0", message(model="no-such-model")),
    "error-404-unknown-model-nested-0.26.0-recorded.json": (
        "0.26.0", rank("a", model="no-such-model")),
    "error-404-unknown-model-nested-param-model-recorded.json": (
        "0.22.0", chat(model="does-not-exist-model")),
    "error-404-unknown-route-reconstructed.json": ("0.11.0", get("/nowhere")),
    "error-405-method-not-allowed-reconstructed.json": ("0.11.0", get("/v1/completions")),
    "error-500-engine-core-recorded.json": ("0.16.0", chat(), "--sim-fault", "error-500"),
    "health-200-recorded.http": ("0.22.0", get("/health")),
    "health-503-engine-dead-reconstructed.http": (
        "0.22.0", get("/health"), "--sim-fault", "wedged@after:0"),
    "is-sleeping-false-recorded.json": ("0.11.0", get("/is_sleeping"), "--enable-sleep-mode"),
    "load-reconstructed.json": ("0.11.0", get("/load"), "--enable-server-load-tracking"),
    "messages-count-tokens-reconstructed.json": (
        "0.22.0", post("/v1/messages/count_tokens", messages=[{"role": "user", "content": "Hi."}])),
    "messages-nonstream-reconstructed.json": ("0.22.0", message()),
    "messages-stream-text-reconstructed.sse": ("0.22.0", message(stream=True)),
    "models-0.26.0-recorded.json": (
        "0.26.0", get("/v1/models"), "--served-model-name", "reranker", "--max-model-len", "1024"),
    "models-two-served-names-and-lora-reconstructed.json": (
        "0.11.0", get("/v1/models"), "--served-model-name", "llama-3.1-8b", "default",
        "--lora-modules", "sql-lora=/models/loras/sql-lora", "--max-model-len", "32768"),
    "pooling-reconstructed.json": ("0.11.0", post("/pooling", input="Good. Bad.")),
    "rerank-0.26.0-recorded.json": ("0.26.0", rank("it is", "what")),
    "rerank-2025-10-recorded.json": ("0.11.0", rank("it is", "what", "x", top_n=2)),
    "responses-nonstream-incomplete-reconstructed.json": (
        "0.15.0", respond(max_output_tokens=2)),
    "responses-nonstream-reconstructed.json": ("0.15.0", respond()),
    "responses-stream-function-call-reconstructed.sse": (
        "0.15.0", respond("get_weather of Paris?", stream=True, tools=[FLAT]), *TOOLS),
    "responses-stream-text-reconstructed.sse": ("0.15.0", respond(stream=True)),
    "score-2025-10-recorded.json": ("0.11.0", post("/score", text_1="a", text_2=["a", "b"])),
    "tokenize-0.8-era-recorded.json": ("0.11.0", post("/tokenize", prompt="a b"),
                                       "--max-model-len", "4096"),
    "tokenize-token-strs-reconstructed.json": (
        "0.11.0", post("/tokenize", prompt="a b", return_token_strs=True)),
    "version-dev-build-reconstructed.json": ("0.26.1rc1.dev1046+gba07e4a48", get("/version")),
    "version-reconstructed.json": ("0.11.0", get("/version")),
}  # fmt: skip

BEFORE = "of a release before 0.11, which the simulator does not claim to be"
ROUTER = "not vLLM's own: of a router before it"
PARTS = "reasons first, which the simulator never does; its other events are those of a recording above"
UNASKED = {
    "chat-2024-05-batch-line-recorded.json": BEFORE,
    "chat-2025-03-recorded.json": BEFORE,
    "chat-2025-04-recorded.json": BEFORE,
    "chat-cached-tokens-and-metrics-fixture.json": "made by hand for a test of another project",
    "chat-stream-0.6-era-include-usage-reconstructed.sse": BEFORE,
    "chat-stream-0.6-era-reconstructed.sse": BEFORE,
    "chat-stream-0.9.0-no-finish-reason-key-reconstructed.sse": BEFORE,
    "chat-stream-cut-in-mid-event-reconstructed.sse": "what the fault cut-stream does: test_sim.py",
    "chat-stream-final-metrics-object-fixture.sse": "made by hand for a test of another project",
    "chat-stream-final-metrics-spec-decode-fixture.sse": "made by hand for a test of another project",
    "completions-2024-10-recorded.json": BEFORE,
    "completions-2025-03-recorded.json": BEFORE,
    "completions-2025-05-recorded.json": BEFORE,
    "completions-2025-06-stop-recorded.json": BEFORE,
    "completions-2025-08-recorded.json": BEFORE,
    "completions-stream-2025-05-two-chunks-recorded.sse": BEFORE,
    "completions-stream-include-usage-reconstructed.sse": BEFORE,
    "completions-two-prompts-n2-logprobs-reconstructed.json": BEFORE,
    "error-400-context-too-long-flat-v0-reconstructed.json": BEFORE,
    "error-400-embeddings-not-supported-flat-recorded.json": BEFORE,
    "error-400-invalid-json-flat-recorded.json": BEFORE,
    "error-404-unknown-model-flat-recorded.json": BEFORE,
    "error-422-missing-field-before-0.5-reconstructed.json": BEFORE,
    "error-500-plain-text-recorded.txt": "of an exception that vLLM does not handle",
    "error-router-model-missing-or-sleeping-recorded.json": ROUTER,
    "is-sleeping-true-recorded.json": "asked below, of one that sleeps",
    "messages-stream-thinking-tool-use-reconstructed.sse": PARTS,
    "models-lora-through-router-recorded.json": ROUTER,
    "models-opt-125m-through-router-recorded.json": ROUTER,
    "openapi-routes-0.26.0-rerank-model-recorded.json": "asked below, route by route",
    "rerank-0.7.3-recorded.json": BEFORE,
    "responses-stream-reasoning-reconstructed.sse": PARTS,
    "score-0.7.0-batch-line-recorded.json": BEFORE,
    "tokenize-no-max-model-len-recorded.json": "published without the member",
    "ORIGIN.md": "says where the others are from",
}

# Their authors have cut the ids.
SHORTENED = {"chat-stream-0.26-include-usage-recorded.sse"}

# name of the recording: place in its shape, what stands there, why
NOTHING = object()
PARSED = "the tool parser of that one release adds an empty list"
TOKEN = "the number of a token: the simulator stops at texts alone"
REASONS = "the simulator does not reason"
DEVIATIONS = {
    "chat-stream-0.21.0-recorded.sse": [((1, "choices", 0, "delta", "tool_calls"), NOTHING, PARSED)],
    "chat-stream-0.23.0-leaked-tool-call-usage-recorded.sse": [
        ((2, "choices", 0, "stop_reason"), None, TOKEN)],
    "chat-stream-0.28.0-include-usage-end-recorded.sse": [
        ((1, "choices", 0, "stop_reason"), None, TOKEN)],
    "chat-stream-0.28.0-tool-call-recorded.sse": [
        ((3, "choices", 0, "stop_reason"), None, TOKEN)],
    "chat-stream-0.26.1rc1-reasoning-with-head-recorded.http": [((1,), NOTHING, REASONS)],
    "chat-tool-calls-0.12-era-reconstructed.json": [
        (("choices", 0, "message", "reasoning"), None, REASONS),
        (("choices", 0, "message", "reasoning_content"), None, REASONS)],
    "completions-2026-09-dev-build-recorded.json": [
        (("system_fingerprint",), "vllm-0.30.0-<8 digits>", "a build without a release")],
}  # fmt: skip


def parse(name, text):
    """What is compared of a message: its events, or its JSON."""
    if "data: " in text:
        return events(text)
    return json.loads(text) if text.strip() else text


@pytest.mark.parametrize("name", ROWS)
def test_answers_are_as_recorded(name):
    release, (method, path, body), *flags = ROWS[name]
    kind = "multipart/form-data; boundary=b" if "audio" in path else "application/json"
    recorded = (RECORDED / name).read_text()
    *_, recorded_body = recorded.split("\n\n", 1) if name.endswith(".http") else (recorded,)
    ids = "reconstructed" not in name and name not in SHORTENED
    with Sim("--port", "0", "--sim-version", release, *flags, VLLM_SERVER_DEV_MODE="1") as sim:
        answer = sim.answer(method, path, body, **{"Content-Type": kind})
    want = shape(parse(name, recorded_body), ids=ids)
    got = shape(parse(name, answer.body.decode()), ids=ids)
    for place, value, _ in DEVIATIONS.get(name, ()):
        change(want, place, value)
    if name.endswith("-end-recorded.sse"):
        got = got[-len(want) :]
    assert text_of(got) == text_of(want)
    if name.endswith(".http"):
        check_head(answer, recorded)


def change(shaped, place, value):
    *way, last = place
    for step in way:
        shaped = shaped[step]
    assert shaped[last] != value, "no deviation any more"
    if value is NOTHING:
        del shaped[last]
    else:
        shaped[last] = value


def check_head(answer, recorded):
    status, *fields = recorded.partition("\n\n")[0].splitlines()
    assert status.split()[1:] == [str(answer.status), *answer.reason.split()]
    want = {name.lower(): value for name, value in (field.split(": ") for field in fields)}
    got = {name.lower(): value for name, value in answer.getheaders()}
    assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", got.pop("date"))
    del want["date"]
    assert got == want


def test_no_recording_is_forgotten():
    assert {p.name for p in RECORDED.iterdir()} == {*ROWS, *UNASKED}


def test_sleep_is_told_as_recorded():
    recorded = json.loads((RECORDED / "is-sleeping-true-recorded.json").read_text())
    with Sim("--port", "0", "--enable-sleep-mode", VLLM_SERVER_DEV_MODE="1") as sim:
        assert sim.ask("POST", "/sleep?level=1") == (200, "")
        assert json.loads(sim.ask("GET", "/is_sleeping")[1]) == recorded


# ---- /metrics ----

SPECULATED = "nothing is speculated"
UNCOMPUTED = "nothing is computed, so there is nothing to estimate"
PARSER = "tool parsers are not counted"

# name of the page: release, and what was asked before
PAGES_ASKED = {
    "vllm-0.11.0-idle.prom": ("0.11.0", []),
    "vllm-0.11.0-active.prom": ("0.11.0", [get("/v1/models"), completion()]),
    "vllm-0.2x-2026-09-specdecode.prom": (
        "0.26.0", [get("/v1/models"), chat(), chat(max_tokens=0)]),
}  # fmt: skip
ABSENT = {
    "vllm:spec_decode_": SPECULATED,
    "vllm:estimated_": UNCOMPUTED,
    "vllm:tool_call_parser_": PARSER,
}
UNCOMPARED = ("vllm:cache_config_info", "python_info")  # values of labels


def series(line):
    """A line without its value; of a few, without those of its labels too."""
    if line.startswith("#"):
        return line.rstrip()
    named = line.rsplit(" ", 1)[0]
    return re.sub(r'="[^"]*"', "", named) if named.startswith(UNCOMPARED) else named


def page(text, handlers):
    """The series of a page, of HTTP only those of some handlers."""
    found = []
    for line in text.splitlines():
        handler = re.search(r'handler="([^"]*)"', line)
        if not handler or handler[1] in handlers:
            found.append(series(line))
    return found


@pytest.mark.parametrize("name", PAGES_ASKED)
def test_metrics_are_as_recorded(name):
    release, asked = PAGES_ASKED[name]
    handlers = [path for _, path, _ in asked]
    text = (PAGES / name).read_text()
    model = re.search(r'model_name="([^"]*)"', text)[1]
    bounds = re.findall(r'request_prompt_tokens_bucket\{.*le="([0-9.e+]+)"', text)
    want = [s for s in page(text, handlers) if not re.match(rf"(# \w+ )?({'|'.join(ABSENT)})", s)]
    assert len(want) > 300
    with Sim(
        "--port", "0", "--sim-version", release, "--served-model-name", model,
        "--max-model-len", str(int(float(bounds[-1]))), "--sim-kv-token-bytes", "1KiB",
    ) as sim:  # fmt: skip
        for request in asked:
            sim.ask(*request)
        answer = sim.answer("GET", "/metrics")
    assert answer.getheader("Content-Type") == "text/plain; version=0.0.4; charset=utf-8"
    assert page(answer.body.decode(), handlers) == want


def test_a_pooling_model_has_the_routes_that_were_recorded():
    routes = json.loads((RECORDED / "openapi-routes-0.26.0-rerank-model-recorded.json").read_text())
    absent = {("POST", "/invocations")}  # SageMaker's own way in
    args = ("--port", "0", "--sim-version", "0.26.0", "--sim-tasks", "score,classify")
    with Sim(*args) as sim:
        said = re.findall(r"Route: (\S+), Methods: (\S+)", "".join(sim.log))
        assert sim.ask("POST", "/v1/chat/completions", {}) == (404, '{"detail":"Not Found"}')
    assert {(method, path) for path, method in said} == {tuple(r) for r in routes["routes"]} - absent
