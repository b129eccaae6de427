"""gateway.trace_url: spans of requests, as a strict collector takes them, and collectors that do not."""

import http.server
import json
import socket
import threading

import pytest
from collector import Collector, server_tls
from gateway import Gateway, comes_true
from program import run
from sim import Sim
from test_front_tls import certify
from up import free_ports

ASK = {"model": "one", "messages": [{"role": "user", "content": "good morning to all of you"}], "max_tokens": 4}
CHAT = "/v1/chat/completions"
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-00"
INTERNAL, SERVER, CLIENT = 1, 2, 3


def to(collector, path="", scheme="http", more=""):
    return f", trace_url: '{scheme}://127.0.0.1:{collector.port}{path}'{more}"


def lost(g):
    return g.metric('citadel_gateway_lost_total{what="spans"}')


class Engine:
    """Answers chats, and keeps the fields that it was sent."""

    def __init__(self):
        self.heard = heard = []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                heard.append(self.headers)
                body = json.dumps({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 9}}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def test_a_request_is_a_span_with_those_of_its_parts(tmp_path, sim):
    with Collector() as c, Gateway(tmp_path, {"one": sim.port}, to(c)) as g:
        g.ask("POST", CHAT, {**ASK, "stream": True}, traceparent=SAMPLED, **{"X-Request-Id": "mine"})
        assert comes_true(lambda: len(c.spans) == 4)
        root, queue, call, stream = c.spans
        assert c.requests[0][0] == "/v1/traces"
        assert {s["traceId"] for s in c.spans} == {TRACE} and len({s["spanId"] for s in c.spans}) == 4
        assert [s["kind"] for s in c.spans] == [SERVER, INTERNAL, CLIENT, INTERNAL]
        assert [s["name"] for s in c.spans] == [f"POST {CHAT}", "queue", "chat one", "stream"]
        assert [s["parentSpanId"] for s in c.spans] == [PARENT, root["spanId"], root["spanId"], call["spanId"]]
        assert all(root.ends[0] <= s.ends[0] and s.ends[1] <= root.ends[1] for s in c.spans)
        assert queue.ends[1] <= call.ends[0] <= stream.ends[0] <= stream.ends[1] == call.ends[1]
        assert root.resource["service.name"] == "citadel-gateway" and root.resource["host.name"]
        assert root.attributes.items() >= {
            "http.request.method": "POST",
            "http.route": CHAT,
            "http.response.status_code": 200,
            "citadel.request.id": "mine",
            "citadel.request.end": "whole",
            "citadel.model": "one",
        }.items()
        tokens = call.attributes["gen_ai.usage.input_tokens"], call.attributes["gen_ai.usage.output_tokens"]
        assert tokens == (g.metric("citadel_gateway_prompt_tokens_total"), 4)
        assert call.attributes.items() >= {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": "one",
            "gen_ai.request.max_tokens": 4,
            "citadel.usage.estimate": False,
        }.items()
        assert "status" not in root and "morning" not in json.dumps(c.spans)


def test_what_fails_is_marked_so(tmp_path):
    with Collector() as c, Gateway(tmp_path, {"one": free_ports(1)[0]}, to(c)) as g:
        g.ask("POST", CHAT, ASK)
        g.ask("POST", CHAT, {**ASK, "model": "none"})
        assert comes_true(lambda: len(c.spans) == 4)
        away, _, call, unknown = c.spans
        assert away["status"] == call["status"] == {"code": 2} and away.attributes["error.type"] == "503"
        assert "status" not in unknown and unknown.attributes["error.type"] == "404"
        assert "parentSpanId" not in away and away["traceId"] != unknown["traceId"]


@pytest.mark.parametrize("on", [False, True])
def test_engines_get_the_trace(tmp_path, on):
    """Ours of it where somebody is told, and as it came where nobody is, or the caller does not sample it."""
    with Collector() as c, Engine() as e, Gateway(tmp_path, {"one": e.port}, to(c) if on else "") as g:
        for parent in (SAMPLED, UNSAMPLED, "no trace", None):
            fields = {"traceparent": parent, "tracestate": "a=b"} if parent else {}
            assert g.ask("POST", CHAT, ASK, **fields).status == 200
        heard = [h["traceparent"] for h in e.heard]
        assert [h["tracestate"] for h in e.heard] == ["a=b", "a=b", None, None]
        if not on:
            assert heard == [SAMPLED, UNSAMPLED, None, None] and not c.requests
            return
        assert comes_true(lambda: len(c.spans) == 9)
        calls = [s for s in c.spans if s["kind"] == CLIENT]
        assert heard[1] == UNSAMPLED
        assert [heard[i] for i in (0, 2, 3)] == [f"00-{s['traceId']}-{s['spanId']}-01" for s in calls]
        assert calls[0]["traceId"] == TRACE and len({s["traceId"] for s in calls}) == 3
        assert calls[0].attributes["gen_ai.usage.input_tokens"] == 7


def test_many_requests_go_together(tmp_path, sim):
    with Collector() as c, Gateway(tmp_path, {"one": sim.port}, to(c)) as g:
        for _ in range(30):
            g.ask("POST", "/tokenize", {"model": "one", "prompt": "a"})
        assert comes_true(lambda: len(c.spans) == 90)
        assert len(c.requests) < 15
        assert lost(g) == 0


def test_the_last_spans_are_sent_before_it_ends(tmp_path, sim):
    with Collector() as c:
        with Gateway(tmp_path, {"one": sim.port}, to(c, "/otlp/here")) as g:
            g.ask("POST", CHAT, ASK)
        assert len(c.spans) == 3 and c.requests[0][0] == "/otlp/here"


def test_a_collector_that_refuses_loses_them_at_once(tmp_path, sim):
    with Collector(500, 200) as c, Gateway(tmp_path, {"one": sim.port}, to(c)) as g:
        g.ask("POST", CHAT, ASK)
        assert comes_true(lambda: lost(g) == 3)
        g.ask("POST", CHAT, ASK)
        assert comes_true(lambda: len(c.spans) == 3)
        assert [status for _, _, status, _ in c.requests] == [500, 200]
    assert g.log.count(f"gateway.trace_url: 127.0.0.1:{c.port} has answered with 500") == 1
    assert g.log.count("traces are taken again") == 1


def test_a_collector_that_is_busy_is_asked_once_more(tmp_path, sim):
    with Collector(503, 200, 429, 503) as c, Gateway(tmp_path, {"one": sim.port}, to(c)) as g:
        g.ask("POST", CHAT, ASK)
        assert comes_true(lambda: len(c.spans) == 3)
        assert lost(g) == 0
        g.ask("POST", CHAT, ASK)
        assert comes_true(lambda: lost(g) == 3)
        assert [status for _, _, status, _ in c.requests] == [503, 200, 429, 503]


def test_spans_that_a_collector_refuses_of_many_are_counted(tmp_path, sim):
    body = b'{"partialSuccess": {"rejectedSpans": "2", "errorMessage": "too old"}}'
    with Collector(body=body) as c, Gateway(tmp_path, {"one": sim.port}, to(c)) as g:
        g.ask("POST", CHAT, ASK)
        assert comes_true(lambda: lost(g) == 2)
    assert "has refused 2 spans" in g.log


def test_a_collector_that_is_not_there_keeps_nobody_waiting(tmp_path, sim):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with Gateway(tmp_path, {"one": sim.port}, f", trace_url: 'http://127.0.0.1:{port}'") as g:
        assert g.ask("POST", CHAT, ASK).status == 200
        assert comes_true(lambda: lost(g) == 3)
        with Collector(port=port) as c:
            g.ask("POST", CHAT, ASK)
            assert comes_true(lambda: len(c.spans) == 3)
    assert g.log.count(f"127.0.0.1:{port}: ") == 1


def test_a_collector_that_hangs_keeps_nobody_waiting(tmp_path, sim):
    """What comes meanwhile has room up to a megabyte."""
    with Collector(None) as c, Gateway(tmp_path, {"one": sim.port}, to(c)) as g:
        g.ask("POST", CHAT, ASK)
        assert comes_true(lambda: c.requests)
        body = b'{"model": "none"}'
        head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        with socket.create_connection(("127.0.0.1", g.port), timeout=60) as s:
            for _ in range(30):
                s.sendall((head + body) * 100)
                said = b""
                while said.count(b"HTTP/1.1 404 ") < 100 or not said.endswith(b"}"):
                    said += s.recv(1 << 20)
        assert 0 < lost(g) < 3000
        assert g.ask("POST", CHAT, ASK).status == 200
        g.write({"one": sim.port})
        assert g.reload().returncode == 0
        assert lost(g) > 3000  # it is told to nobody any more


def test_it_speaks_tls_and_shows_its_key_to_nobody_else(tmp_path, sim):
    files = certify(tmp_path, "a")
    (tmp_path / "key").write_text("mellon-mellon-mellon\n")
    more = f", trace_ca: {files}/a.ca, trace_key: {{file: {tmp_path}/key}}"
    (tmp_path / "key").chmod(0o600)
    with Collector(500, 200, tls=server_tls(files / "a.pem", files / "a.key")) as c:
        with Gateway(tmp_path, {"one": sim.port}, to(c, scheme="https", more=more)) as g:
            g.ask("POST", CHAT, ASK)
            assert comes_true(lambda: lost(g) == 3)
            g.ask("POST", CHAT, ASK)
            assert comes_true(lambda: len(c.spans) == 3)
            page = g.ask("GET", "/metrics").body.decode()
            shown = run("config", "show", "-c", g.config).stdout
        assert c.requests[0][1]["Authorization"] == "Bearer mellon-mellon-mellon"
    for text in (g.log, page, shown, json.dumps(c.spans)):
        assert "mellon" not in text


@pytest.mark.parametrize("ca", ["none.ca", "b.ca"])
def test_a_collector_that_is_not_trusted_gets_nothing(tmp_path, sim, ca):
    """Nor is that a reason to answer nobody."""
    certify(tmp_path, "b"), certify(tmp_path, "a")
    with Collector(tls=server_tls(tmp_path / "a.pem", tmp_path / "a.key")) as c:
        with Gateway(tmp_path, {"one": sim.port}, to(c, scheme="https", more=f", trace_ca: {tmp_path}/{ca}")) as g:
            assert g.ask("POST", CHAT, ASK).status == 200
            assert ca == "none.ca" or comes_true(lambda: lost(g) == 3)
        assert not c.requests
    assert ("no traces are told: " if ca == "none.ca" else "gateway.trace_url: ") in g.log


def test_a_reload_keeps_the_collector_that_it_has_when_the_key_cannot_be_read(tmp_path, sim):
    key = tmp_path / "key"
    key.write_text("mellon-mellon-mellon\n")
    key.chmod(0o600)
    with Collector() as c, Gateway(tmp_path, {"one": sim.port}, to(c, more=f", trace_key: {{file: {key}}}")) as g:
        key.unlink()
        done = g.reload()
        assert done.returncode != 0 and "what was read before holds" in done.stderr and str(key) in done.stderr
        g.ask("POST", CHAT, ASK)
        assert comes_true(lambda: len(c.spans) == 3)
        assert lost(g) == 0


def test_a_secret_within_the_address_is_not_repeated(tmp_path, sim):
    with Gateway(tmp_path, {"one": sim.port}, ", trace_url: 'http://h/x?team=mellonmellon'") as g:
        assert g.ask("POST", CHAT, ASK).status == 200
    assert "no traces are told: gateway.trace_url" in g.log and "mellon" not in g.log


def test_slow_answers_are_told_when_they_are_over(tmp_path):
    with Sim("one", "--port", "0", "--sim-token-rate", "10") as slow, Collector() as c:
        with Gateway(tmp_path, {"one": f"port: {slow.port}, max_concurrent: 1"}, to(c)) as g:
            first, answer = g.begin("POST", CHAT, {**ASK, "max_tokens": 600, "stream": True})
            answer.readline()
            waits = g.connect()
            waits.request("POST", CHAT, json.dumps(ASK))
            assert g.comes_to("citadel_gateway_requests_waiting", 1)
            waits.close()
            assert comes_true(lambda: [s for s in c.spans if s.attributes.get("error.type") == "client"])
            (root,) = (s for s in c.spans if s.attributes.get("citadel.request.end") == "client")
            (queue,) = (s for s in c.spans if s.get("parentSpanId") == root["spanId"])
            assert queue["name"] == "queue" and queue.ends[0] < queue.ends[1] and "status" not in root
            first.close()
