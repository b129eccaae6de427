"""`citadel gateway` beside `citadel monitor`, both under `citadel up`, with simulated engines: what is said
of a model that is not there, how one is brought that is needed, and what goes on without a monitor."""

import http.client
import http.server
import json
import pathlib
import socketserver
import tempfile
import threading

import pytest
from gateway import Gateway, comes_true
from monitor import Watched
from shim import Unix
from up import PATIENCE_S, free_ports

SIM = {"engine": "sim", "extra_args": '["--sim-token-rate", "0"]'}
ASK = {"model": "two", "prompt": "hello"}
SLOW = {"engine": "sim", "extra_args": '["--sim-token-rate", "0", "--sim-load-time", "2"]'}


class Served(Watched):
    def __init__(self, directory, models, more=""):
        super().__init__(directory, models)
        (self.address,) = free_ports(1)
        text = self.config.read_text()
        self.config.write_text(text.replace("gateway: {enabled: false}", f"gateway: {{port: {self.address}{more}}}"))

    def served(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.address, timeout=PATIENCE_S)
        connection.request(method, path, json.dumps(body) if body else None)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        return answer.status, json.loads(text) if path != "/metrics" else text.decode()

    def complete(self, model):
        return self.served("POST", "/v1/completions", {"model": model, "prompt": "hello"})

    def model(self, name):
        return self.served("GET", f"/v1/models/{name}")[1]


@pytest.fixture
def site():
    with tempfile.TemporaryDirectory(prefix="citadel-", dir="/tmp") as folder:
        made = Served(pathlib.Path(folder), {"one": SIM, "two": SLOW})
        yield made
        made.end()


@pytest.fixture
def up(site):
    """One runs; two is there, stopped."""
    up = site.up("one")
    up.wait_all("gateway: ready", "one: ready")
    assert comes_true(lambda: (site.model("one")["state"], site.model("two")["state"]) == ("ready", "stopped"))
    return up


def test_a_model_that_is_needed_is_brought_and_asked_for_once(site, up):
    answers = []
    ask = [threading.Thread(target=lambda: answers.append(site.complete("two"))) for _ in range(5)]
    for thread in ask:
        thread.start()
    up.wait_for("two: starting")
    assert comes_true(lambda: site.model("two")["state"] == "starting")
    for thread in ask:
        thread.join()
    assert [status for status, _ in answers] == [200] * 5
    assert site.model("two")["state"] == "ready"
    with site.history() as history:
        history.wait("person.ensure", "two")
        assert len(history.all("person.ensure", "two")) == 1


def test_who_keeps_a_model_from_being_brought_is_told(site, up):
    assert site.run("stop", "one").returncode == 0
    assert comes_true(lambda: site.model("one")["state"] == "stopped")
    status, told = site.complete("one")
    assert status == 503 and "one was stopped by" in told["error"]["message"]
    assert "citadel why one" in told["error"]["message"]
    assert site.run("hold", "two", "--reason", "its disk is replaced").returncode == 0
    status, told = site.complete("two")
    assert status == 503 and "its disk is replaced" in told["error"]["message"]


def test_who_waits_for_a_model_to_come_is_told_how_far_it_is():
    """At a socket that is a file, which the gateway of `citadel up` makes."""
    with tempfile.TemporaryDirectory(prefix="citadel-", dir="/tmp") as folder:
        path = pathlib.Path(folder) / "api.sock"
        more = f", listen: [127.0.0.1, {path}], progress_after: 100ms"
        site = Served(pathlib.Path(folder), {"one": SIM, "two": SLOW}, more)
        try:
            site.up("one").wait_all("gateway: ready", "one: ready")
            assert comes_true(lambda: site.model("two")["state"] == "stopped")
            connection = Unix(path)
            connection.request("POST", "/v1/completions", json.dumps({**ASK, "stream": True}))
            text = connection.getresponse().read().decode()
            connection.close()
        finally:
            site.end()
    told = [line for line in text.splitlines() if line.startswith(": two is ")]
    assert told and "error" not in text and text.endswith("data: [DONE]\n\n"), text
    assert any(word in line for line in told for word in ("starting", "asked for")), told


def test_without_a_monitor_running_models_are_answered(site, up):
    site.kill_monitor()
    assert site.complete("one")[0] == 200
    up.wait_for("monitor: ready")
    assert site.complete("two")[0] == 200


def test_a_model_that_starts_is_waited_for(site, up):
    assert site.run("start", "two", "--no-wait").returncode == 0
    assert comes_true(lambda: site.model("two")["state"] == "starting")
    assert site.complete("two")[0] == 200


def test_a_model_gets_as_many_requests_as_its_engine_takes(site, up):
    """A simulator says 256, as it was not told otherwise; of one that was not started nobody knows."""

    def slots():
        connection = Unix(site.run_dir / "gateway/control.sock")
        connection.request("GET", "/state")
        told = json.loads(connection.getresponse().read())
        connection.close()
        return {model["name"]: model["slots"] for model in told["models"]}

    assert comes_true(lambda: slots() == {"one": 256, "two": 1024})


def page(site, port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    connection.request("GET", path)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def names(text):
    return {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}


def test_the_pages_of_the_monitor_are_relayed_and_the_gateways_own_survive_it(site, up):
    assert comes_true(lambda: "citadel_storage_size_bytes" in page(site, site.port, "/metrics/storage")[1])
    for what in ("services", "models", "gpu", "storage", "system"):
        path = f"/metrics/{what}"
        status, relayed = page(site, site.address, path)
        assert status == 200 and names(relayed) == names(page(site, site.port, path)[1]) != set()
    assert page(site, site.address, "/metrics/none")[0] == 404
    assert site.complete("one")[0] == 200
    assert site.run("stop", "monitor").returncode == 0
    assert page(site, site.address, "/metrics/models")[0] == 503
    status, own = page(site, site.address, "/metrics")
    assert status == 200 and 'citadel_gateway_request_seconds_count{model="one"} 1' in own


class Monitor:
    """One that says what a test wants: text as JSON, or None: it does not answer yet."""

    def __init__(self, folder, said):
        path = folder / "run/monitor/control.sock"
        path.parent.mkdir(parents=True)
        self.said, self.asked, self.end = said, threading.Semaphore(0), threading.Event()
        monitor = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                monitor.asked.release()
                while monitor.said is None and not monitor.end.wait(0.02):
                    pass
                text = (monitor.said or "").encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def address_string(self):
                return "gateway"

            def log_message(self, *_):
                pass

        class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
            daemon_threads = True

            def handle_error(self, *_):
                pass  # who asked has gone

        self.server = Server(str(path), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def folder():
    with tempfile.TemporaryDirectory(prefix="citadel-", dir="/tmp") as made:
        yield pathlib.Path(made)


def says(state):
    return json.dumps({"services": [{"name": "one", "state": state, "since_us": 1}]})


def state(gateway):
    return json.loads(gateway.ask("GET", "/v1/models/one").body)["state"]


@pytest.mark.parametrize("said", ["{", '{"services": 7}'])
def test_a_monitor_that_says_nothing_sensible_is_not_believed_for_ever(folder, said):
    with Monitor(folder, says("stopped")) as monitor, Gateway(folder, {"one": free_ports(1)[0]}) as g:
        assert comes_true(lambda: state(g) == "stopped")
        monitor.said = said
        assert comes_true(lambda: state(g) == "unknown")


def test_the_monitor_is_asked_at_once_about_another_configuration(folder):
    with Monitor(folder, says("stopped")) as monitor, Gateway(folder, {"one": free_ports(1)[0]}) as g:
        assert comes_true(lambda: state(g) == "stopped")
        monitor.said = None
        while monitor.asked.acquire(blocking=False):
            pass
        assert monitor.asked.acquire(timeout=PATIENCE_S)
        assert g.reload().returncode == 0
        assert monitor.asked.acquire(timeout=3)  # the one before is waited for five seconds
