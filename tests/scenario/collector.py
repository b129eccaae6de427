"""A collector of OpenTelemetry's traces, OTLP over HTTP in JSON, which takes nothing that the protocol does
not have."""

import http.server
import json
import re
import ssl
import threading

HEX = re.compile(r"[0-9a-f]+")
VALUES = {"stringValue": str, "intValue": str, "boolValue": bool, "doubleValue": float}


def is_id(text, length):
    return isinstance(text, str) and len(text) == length and HEX.fullmatch(text) and set(text) != {"0"}


def attributes(listed):
    found = {}
    for item in listed:
        assert set(item) == {"key", "value"} and item["key"] not in found, item
        ((kind, value),) = item["value"].items()
        assert type(value) is VALUES[kind], item
        found[item["key"]] = int(value) if kind == "intValue" else value
    return found


class Span(dict):
    """As it was sent, checked; its attributes as a map."""

    def __init__(self, sent, resource):
        known = {"traceId", "spanId", "parentSpanId", "kind", "name", "startTimeUnixNano", "endTimeUnixNano"}
        assert known - {"parentSpanId"} <= set(sent) <= known | {"attributes", "status"}, sent
        assert is_id(sent["traceId"], 32) and is_id(sent["spanId"], 16), sent
        assert "parentSpanId" not in sent or is_id(sent["parentSpanId"], 16), sent
        assert type(sent["kind"]) is int and 1 <= sent["kind"] <= 5 and sent["name"], sent
        for time in ("startTimeUnixNano", "endTimeUnixNano"):
            assert type(sent[time]) is str and re.fullmatch("[1-9][0-9]{18}", sent[time]), sent
        assert int(sent["startTimeUnixNano"]) <= int(sent["endTimeUnixNano"]), sent
        assert set(sent.get("status", {})) <= {"code", "message"}, sent
        super().__init__(sent)
        self.resource = resource
        self.attributes = attributes(sent.get("attributes", []))

    @property
    def ends(self):
        return int(self["startTimeUnixNano"]), int(self["endTimeUnixNano"])


def read(document):
    assert set(document) == {"resourceSpans"}
    for of_resource in document["resourceSpans"]:
        assert set(of_resource) == {"resource", "scopeSpans"}
        resource = attributes(of_resource["resource"]["attributes"])
        for of_scope in of_resource["scopeSpans"]:
            assert set(of_scope) == {"scope", "spans"} and of_scope["scope"]["name"]
            yield from (Span(sent, resource) for sent in of_scope["spans"])


class Collector:
    """answers: status by status, the last one again and again; None: it hangs."""

    def __init__(self, *answers, body=b"{}", tls=None, port=0):
        self.answers, self.body, self.wrong, self.requests, self.spans = list(answers or [200]), body, [], [], []
        self.released = threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                outer.take(self)

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

        self.server = Server(("127.0.0.1", port), Handler)
        if tls:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def take(self, handler):
        document = handler.rfile.read(int(handler.headers["Content-Length"]))
        status = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        try:
            assert handler.headers["Content-Type"] == "application/json"
            spans = list(read(json.loads(document)))
        except Exception as e:
            self.wrong.append(repr(e))
            spans = []
        self.requests.append((handler.path, handler.headers, status, len(spans)))
        if status is None:
            self.released.wait()
            return
        if status < 300:
            self.spans += spans
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(self.body)))
        handler.end_headers()
        handler.wfile.write(self.body)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.released.set()
        self.server.shutdown()
        self.server.server_close()
        assert not self.wrong, self.wrong


def server_tls(certificate, key):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context
