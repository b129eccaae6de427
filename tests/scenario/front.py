"""The table of requests in tests/data/http_front/requests, which says what it looks like: read here, sent, and
what came of it compared; likewise how other programs read the same."""

import contextlib
import http.server
import importlib
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from dataclasses import dataclass, field

DATA = pathlib.Path(__file__).parent.parent / "data/http_front"


@dataclass
class Case:
    name: str
    about: str
    sent: bytes = b""
    statuses: list = field(default_factory=list)
    fate: str = ""
    reason: str = ""
    reached: list = field(default_factory=list)


def unescape(text):
    plain = {"r": b"\r", "n": b"\n", "t": b"\t", "0": b"\0", "\\": b"\\"}

    def one(found):
        return bytes([int(found[2], 16)]) if found[2] else plain[found[1].decode()]

    return re.sub(rb"\\(x([0-9a-f]{2})|.)", one, text.encode())


def times(line):
    """`>N BYTES`, or `> BYTES`: how often, and what."""
    count, _, text = line[1:].partition(" ")
    return int(count or 1), text


def expect(case, line):
    *statuses, last = re.findall(r"\S+", line[1:].split("kept")[0].split("closed")[0].split("waits")[0]) or [""]
    for word in [*statuses, last]:
        if word:
            count, _, status = word.rpartition("*")
            case.statuses += [int(status)] * int(count or 1)
    found = re.search(r"(kept|closed|waits) ?(\S*)$", line)
    case.fate, case.reason = found[1], found[2]


def read():
    cases = []
    for line in (DATA / "requests").read_text().splitlines():
        if line.startswith("["):
            name, _, about = line[1:].partition("] ")
            cases.append(Case(name, about))
        elif line.startswith(">"):
            count, text = times(line)
            cases[-1].sent += unescape(text) * count
        elif line.startswith("<"):
            expect(cases[-1], line)
        elif line.startswith("="):
            count, text = times(line)
            cases[-1].reached += [unescape(text)] * count
    return cases

# ---- who answers behind a proxy ----

LAST = b"GET /v1/models HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
REACHED_LAST = b"GET /v1/models"


class Recorder:
    """An engine that writes down what reaches it whole. Leaving the context ends it."""

    def __init__(self):
        self.reached = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def content(self):
                if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                    return self.rfile.read(int(self.headers.get("Content-Length", 0)))
                content = b""
                while size := int(self.rfile.readline().partition(b";")[0], 16):
                    content += self.rfile.read(size)
                    self.rfile.readline()
                while self.rfile.readline().strip():
                    pass
                return content

            def take(self):
                content = self.content()
                line = f"{self.command} {self.path}".encode("latin-1")
                outer.reached.append(line + b" " + content if self.command == "POST" and content else line)
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(b"{}")

            def log_message(self, *_):
                pass

            def __getattr__(self, name):
                if name.startswith("do_"):
                    return self.take
                raise AttributeError(name)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # proxies break connections off
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def talk(port, pieces, patience_s=20, end=False):
    """Sends these, and what comes until the other side ends."""
    with socket.create_connection(("127.0.0.1", port), timeout=patience_s) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        got = b""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for piece in pieces:
                s.sendall(piece)
            if end:
                s.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            while part := s.recv(65536):
                got += part
        return got


def read_answers(got, to_head):
    """The statuses of these answers, and the content of the last."""
    statuses, content = [], b""
    while got:
        head, end, got = got.partition(b"\r\n\r\n")
        assert end, head
        status = int(head.split(None, 2)[1])
        fields = dict(re.findall(rb"(?m)^([^:\r\n]+): *([^\r\n]*)", head.lower()))
        length = int(fields.get(b"content-length", 0))
        if status >= 200 and to_head and not statuses:
            length = 0
        content, got = got[:length], got[length:]
        statuses.append(status)
    return statuses, content


# ---- how others read it ----

# Seconds, of a peer that waits for what does not come.
BRIEF_S = 1

NGINX = """
daemon off;
worker_processes 1;
pid {dir}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_header_timeout {brief}s; client_body_timeout {brief}s; keepalive_timeout {brief}s;
    lingering_timeout {brief}s; client_max_body_size 64m;
    client_body_temp_path {dir}/1; proxy_temp_path {dir}/2; fastcgi_temp_path {dir}/3;
    uwsgi_temp_path {dir}/4; scgi_temp_path {dir}/5;
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass http://127.0.0.1:{engine}; proxy_http_version 1.1; }}
    }}
}}
"""

HAPROXY = """
defaults
    mode http
    option http-buffer-request
    timeout connect {brief}s
    timeout client {brief}s
    timeout server 5s
    timeout http-request {brief}s
    timeout http-keep-alive {brief}s
frontend front
    bind 127.0.0.1:{port}
    default_backend engine
backend engine
    server engine 127.0.0.1:{engine}
"""

PATH = os.environ["PATH"] + ":/usr/sbin"


@contextlib.contextmanager
def started(words, folder, port, env=None):
    """A server, from when somebody listens there."""
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(words, env=env, stdout=log, stderr=log)
    try:
        until = time.monotonic() + 60
        while not listens(port):
            assert process.poll() is None and time.monotonic() < until, (folder / "log").read_text()
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def listens(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


def ask_through(port, engine):
    """How a proxy reads a case: what of it reaches the engine, and of one more request behind it."""

    def reads(case):
        engine.reached.clear()
        talk(port, [case.sent + LAST])
        return list(engine.reached)

    return reads


@contextlib.contextmanager
def proxy(folder, template, words):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    config = folder / "config"
    with Recorder() as engine:
        config.write_text(template.format(dir=folder, port=port, engine=engine.port, brief=BRIEF_S))
        with started([shutil.which(words[0], path=PATH), *words[1:], config], folder, port):
            yield ask_through(port, engine)


def nginx(folder):
    return proxy(folder, NGINX, ["nginx", "-p", folder, "-c"])


def haproxy(folder):
    return proxy(folder, HAPROXY, ["haproxy", "-f"])


def read_by_h11(case):
    import h11

    reached = []
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(case.sent + LAST)
    with contextlib.suppress(h11.RemoteProtocolError):
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                line, content = event.method + b" " + event.target, b""
            elif isinstance(event, h11.Data):
                content += event.data
            elif isinstance(event, h11.EndOfMessage):
                reached.append(line + b" " + content if content and line.startswith(b"POST") else line)
                connection.send(h11.Response(status_code=404, headers=[("Content-Length", "0")]))
                connection.send(h11.EndOfMessage())
                if connection.our_state is h11.MUST_CLOSE:
                    break
                connection.start_next_cycle()
            else:
                break
    return reached


@contextlib.contextmanager
def h11(folder):
    yield read_by_h11


PEERS = {"nginx": nginx, "haproxy": haproxy, "h11": h11}


def version_of(peer):
    """As in 1.22.1; None: it is not there."""
    if peer == "h11":
        with contextlib.suppress(ImportError):
            return importlib.import_module("h11").__version__
        return None
    program = shutil.which(peer, path=PATH)
    if not program:
        return None
    told = subprocess.run([program, "-v"], capture_output=True, text=True, timeout=60)
    return re.search(r"\d+\.\d+(\.\d+)?", told.stdout + told.stderr)[0]


def plain(line):
    """Without what tells absolute form from origin form: proxies are free to pass on either."""
    return re.sub(rb"^(\S+) https?://[^/ ]*", rb"\1 ", line)


def difference(case, reached):
    """How a peer reads a case otherwise: `passes` what we refuse, `refuses` what we take, or takes something
    else for a request: `otherwise`. None: as we do."""
    ours = [plain(r) for r in case.reached] + [REACHED_LAST] * (case.fate == "kept")
    theirs = [plain(r) for r in reached]
    if ours == theirs or case.fate == "waits":
        return None
    if theirs[: len(ours)] == ours:
        return "passes"
    return "refuses" if ours[: len(theirs)] == theirs else "otherwise"


@dataclass
class Row:
    words: dict
    why: str


@dataclass
class Told:
    versions: dict
    rows: dict


def read_peers():
    told = Told({}, {})
    for line in (DATA / "peers").read_text().splitlines():
        if line.startswith("#") or not line:
            continue
        name, _, rest = line.partition(" ")
        words, _, why = rest.partition(": ")
        words = dict(word.split("=") for word in words.split())
        if name == "versions":
            told.versions = words
        else:
            told.rows[name] = Row(words, why)
    return told
