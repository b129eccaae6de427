"""`citadel gateway` before simulated engines: what goes through it, what does not, and what happens when
either end leaves."""

import contextlib
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import stat
import subprocess

import pytest
from gateway import SLOW, Gateway, comes_true, configuration
from program import CITADEL, environment, error_json, run
from sim import PATIENCE_S, Sim, events
from up import free_ports

ASK = {"model": "one", "messages": [{"role": "user", "content": "good morning to all of you"}]}
STREAM = {**ASK, "stream": True}


def without_ids(text):
    """What an engine makes anew for each answer."""
    found = json.loads(text) if isinstance(text, (bytes, str)) else text
    return {k: v for k, v in found.items() if k not in ("id", "created")}


PATHS = {
    "/v1/chat/completions": ASK,
    "/v1/completions": {"model": "one", "prompt": "good morning"},
    "/v1/messages": {**ASK, "max_tokens": 5},
    "/v1/embeddings": {"model": "one", "input": "good morning"},
    "/tokenize": {"model": "one", "prompt": "good morning"},
    "/score": {"model": "one", "text_1": "good", "text_2": "morning"},
}


@pytest.mark.parametrize("path", PATHS)
def test_answers_are_those_of_the_engine(tmp_path, sim, path):
    with Gateway(tmp_path, {"one": sim.port}) as g:
        direct, through = sim.answer("POST", path, PATHS[path]), g.ask("POST", path, PATHS[path])
        assert through.status == direct.status == 200
        assert without_ids(through.body) == without_ids(direct.body)
        assert through.getheader("Content-Type") == direct.getheader("Content-Type")


@pytest.mark.parametrize("wanted", [False, True])
def test_a_stream_is_that_of_the_engine(tmp_path, sim, wanted):
    """Usage is counted, and shown to those who asked for it."""
    body = {**STREAM, "stream_options": {"include_usage": True}} if wanted else STREAM
    with Gateway(tmp_path, {"one": sim.port}) as g:
        direct = events(sim.answer("POST", "/v1/chat/completions", body).body.decode())
        through = events(g.ask("POST", "/v1/chat/completions", body).body.decode())
        assert through.pop() == direct.pop() == "[DONE]"
        assert [without_ids(e) for e in through] == [without_ids(e) for e in direct]
        assert g.metric("citadel_gateway_completion_tokens_total") > 0


def test_models_are_listed_with_what_requests_have_found_out(tmp_path, sim):
    aliases = ", aliases: {gpt: one}"
    with Gateway(tmp_path, {"one": sim.port, "gone": free_ports(1)[0]}, aliases) as g:
        for name in ("gpt", "gone"):
            g.ask("POST", "/v1/completions", {"model": name, "prompt": "x"})
        listed = json.loads(g.ask("GET", "/v1/models").body)["data"]
        assert {m["id"]: m["state"] for m in listed} == {"one": "ready", "gone": "unavailable", "gpt": "ready"}
        assert json.loads(g.ask("GET", "/v1/models/gpt").body)["root"] == "one"
        assert g.ask("GET", "/v1/models/none").status == 404


def test_what_is_not_on_the_list_of_paths_is_not_reached(tmp_path, sim):
    with Gateway(tmp_path, {"one": sim.port}) as g:
        for path in ("/sleep", "/v1/../sleep", "/v1/chat/completions/", "/invocations", "//v1/models"):
            answer = g.ask("POST", path, {})
            assert answer.status == 404, path
            assert json.loads(answer.body)["error"]["code"] == "unknown_url"
        answer = g.ask("GET", "/v1/chat/completions")
        assert (answer.status, answer.getheader("Allow")) == (405, "POST")


def test_a_client_that_leaves_takes_its_request_along(tmp_path, slow):
    with Gateway(tmp_path, {"one": slow.port}) as g:
        for body in (STREAM, {**ASK, "max_tokens": 1000}):
            with contextlib.closing(g.connect()) as connection:
                connection.request("POST", "/v1/chat/completions", json.dumps(body))
                assert comes_true(lambda: slow.metric("vllm:num_requests_running") == 1)
            assert comes_true(lambda: slow.metric("vllm:num_requests_running") == 0)
            assert g.comes_to("citadel_gateway_requests_running", 0)
        assert g.metric("citadel_gateway_left_total") == 2
        assert g.metric("citadel_gateway_failures_total") == 0


def test_an_engine_that_dies_in_a_stream_is_told_in_it(tmp_path):
    slow = Sim("one", "--port", "0", *SLOW)
    with Gateway(tmp_path, {"one": slow.port}) as g:
        connection, answer = g.begin("POST", "/v1/chat/completions", STREAM)
        with contextlib.closing(connection):
            first = answer.readline()
            slow.stop(signal.SIGKILL)
            told = events((first + answer.read()).decode())
        assert told[-1]["error"]["code"] == "gateway.engine-lost"
        again = g.ask("POST", "/v1/chat/completions", STREAM)
        assert again.status == 503
        assert json.loads(again.body)["error"]["code"] == "gateway.model-away"


def test_a_fallback_answers_and_that_is_told(tmp_path, sim):
    fallback = ", fallbacks: {gone: [one]}"
    with Gateway(tmp_path, {"one": sim.port, "gone": free_ports(1)[0]}, fallback) as g:
        answer = g.ask("POST", "/v1/chat/completions", {**ASK, "model": "gone"})
        assert answer.status == 200
        assert answer.getheader("X-Citadel-Fallback") == "one"
        assert json.loads(answer.body)["model"] == "one"


def test_what_is_under_way_is_completed_before_it_ends(tmp_path, slow):
    with Gateway(tmp_path, {"one": slow.port}) as g:
        connection, answer = g.begin("POST", "/v1/chat/completions", STREAM)
        with contextlib.closing(connection):
            first = answer.readline()
            g.process.send_signal(signal.SIGTERM)
            assert events((first + answer.read()).decode())[-1] == "[DONE]"
        assert g.process.wait(PATIENCE_S) == 0
        with pytest.raises(ConnectionRefusedError):
            g.connect().connect()


def test_a_second_signal_ends_it_at_once(tmp_path, slow):
    with Gateway(tmp_path, {"one": slow.port}) as g:
        connection, answer = g.begin("POST", "/v1/chat/completions", STREAM)
        with contextlib.closing(connection):
            answer.readline()
            g.process.send_signal(signal.SIGTERM)
            with pytest.raises(ConnectionRefusedError):
                while True:  # until it has heard; one that it has not accepted yet is reset
                    with contextlib.suppress(ConnectionResetError):
                        g.connect().connect()
            g.process.send_signal(signal.SIGTERM)
            assert stopped(events(answer.read().decode())[-1])
        assert g.process.wait(PATIENCE_S) == 0


def stopped(told):
    return told["error"]["message"].startswith("the gateway was stopped before ")


def ask_and_wait(g, path, body, length=None):
    """Its answer is read later."""
    connection, text = g.connect(), json.dumps(body)
    connection.putrequest("POST", path)
    connection.putheader("Content-Length", length or len(text))
    connection.endheaders(text.encode())
    return connection


def test_what_is_not_complete_in_time_is_told_so(tmp_path, slow):
    """The engine has two, one waits, and one is not here whole."""
    chat, long = "/v1/chat/completions", {**ASK, "messages": [{"role": "user", "content": "word " * 500}]}
    one = f"port: {slow.port}, max_concurrent: 2"
    with Gateway(tmp_path, {"one": one}, ", drain_timeout: 1s, access_log: file") as g:
        connection, answer = g.begin("POST", chat, {**long, "stream": True})
        with contextlib.closing(connection):
            answer.readline()
            waiting = [ask_and_wait(g, "/v1/messages", {**long, "max_tokens": 400})]
            assert g.comes_to("citadel_gateway_requests_running", 2)
            waiting.append(ask_and_wait(g, chat, long))
            assert g.comes_to("citadel_gateway_requests_waiting", 1)
            waiting.append(ask_and_wait(g, chat, long, 10000))
            assert comes_true(lambda: g.control("GET", "/state")[1]["in_flight"] == 4)
            g.process.send_signal(signal.SIGTERM)
            told = events(answer.read().decode())
            assert stopped(told[-1]) and "[DONE]" not in told
        for each in waiting:
            refused = each.getresponse()
            body = json.loads(refused.read())
            assert (refused.status, refused.getheader("Connection")) == (503, "close")
            assert int(refused.getheader("Retry-After")) > 0
            assert stopped(body)
            assert body["error"]["type"] == ("overloaded_error" if each is waiting[0] else "server_error")
            each.close()
        assert g.process.wait(PATIENCE_S) == 0
        assert comes_true(lambda: slow.metric("vllm:num_requests_running") == 0)
    assert g.log.count("4 answers were not complete within gateway.drain_timeout") == 1
    rows = [json.loads(line) for line in (tmp_path / "logs/services/access.log").read_text().splitlines()]
    assert sorted((row["end"], row["status"]) for row in rows) == [("gateway", 200)] + 3 * [("gateway", 503)]


def test_a_page_that_has_not_come_in_time_is_told_so(tmp_path, sim):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monitor = f", drain_timeout: 100ms}}\nmonitor: {{port: {silent.getsockname()[1]}"
        with Gateway(tmp_path, {"one": sim.port}, monitor) as g, contextlib.closing(g.connect()) as connection:
            connection.request("GET", "/metrics/system")
            assert comes_true(lambda: g.control("GET", "/state")[1]["in_flight"] == 1)
            g.process.send_signal(signal.SIGTERM)
            answer = connection.getresponse()
            assert answer.status == 503 and int(answer.getheader("Retry-After")) > 0
            assert stopped(json.loads(answer.read()))
            assert g.process.wait(PATIENCE_S) == 0


def test_it_takes_as_many_descriptors_as_it_may_have(tmp_path, sim):
    with Gateway(tmp_path, {"one": sim.port}, ", limits: {connections: 200}", files=(64, 1000)) as g:
        limits = (pathlib.Path("/proc") / str(g.process.pid) / "limits").read_text()
        assert re.search(r"Max open files +592 +1000 ", limits)
    assert "may open" not in g.log


def test_who_says_nothing_shuts_nobody_out_where_descriptors_are_few(tmp_path, sim):
    with Gateway(tmp_path, {"one": sim.port}, files=(256, 256)) as g, contextlib.ExitStack() as silent:
        for _ in range(300):
            silent.enter_context(socket.create_connection(("127.0.0.1", g.port)))
        for _ in range(10):
            assert g.ask("POST", "/v1/chat/completions", ASK).status == 200
        assert g.control("GET", "/keys") == (200, [])
    assert "gateway.limits.connections is 10000, and this process may open 256 files: 32 connections" in g.log


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has the port of a name server")
def test_a_port_that_is_taken_is_told_while_a_resolver_waits(tmp_path, sim):
    (tmp_path / "resolv.conf").write_text("nameserver 127.77.0.1\n")
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.socket(type=socket.SOCK_DGRAM) as silent:
        silent.bind(("127.77.0.1", 53))
        peers = "peers: {there: {url: 'http://nowhere.example:1/v1', models: [far]}}"
        options = f"port: {taken.getsockname()[1]}, listen: [127.0.0.1], {peers}"
        config = tmp_path / "citadel.yaml"
        config.write_text(configuration(tmp_path, {"one": sim.port}, options))
        command = f"mount --bind {tmp_path}/resolv.conf /etc/resolv.conf && exec {CITADEL} gateway -c {config}"
        for _ in range(5):
            done = subprocess.run(["unshare", "-m", "sh", "-c", command], env=environment(), stderr=subprocess.PIPE,
                                  text=True, timeout=PATIENCE_S)
            assert done.returncode == 1 and "Address already in use" in done.stderr


def test_a_socket_that_it_was_handed_stays_open_behind_it(tmp_path, sim):
    with socket.create_server(("127.0.0.1", 0)) as port:
        for turn in ("first", "second"):
            folder = tmp_path / turn
            folder.mkdir()
            with Gateway(folder, {"one": sim.port}, handed=port) as g:
                assert g.ask("POST", "/v1/chat/completions", ASK).status == 200
            socket.create_connection(port.getsockname()).close()  # nobody is refused meanwhile


def own_address():
    """Of this host, and not of its loopback; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        try:
            s.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this host has one address")
        return s.getsockname()[0]


def test_without_keys_only_this_host_is_answered(tmp_path, sim):
    away = own_address()
    with Gateway(tmp_path, {"one": sim.port}) as g:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((away, g.port))
    assert "there are no keys: only this host is answered" in g.log
    with socket.create_server((away, 0)) as port:
        folder = tmp_path / "handed"
        folder.mkdir()
        with Gateway(folder, {"one": sim.port}, handed=port) as g:
            connection = http.client.HTTPConnection(away, g.port, timeout=PATIENCE_S)
            with contextlib.closing(connection):
                connection.request("GET", "/v1/models")
                answer = connection.getresponse()
                assert answer.status == 403
                assert "without keys" in json.loads(answer.read())["error"]["message"]


def test_what_is_no_http_is_refused_in_the_shape_of_the_api(tmp_path, sim):
    with Gateway(tmp_path, {"one": sim.port}) as g:
        with socket.create_connection(("127.0.0.1", g.port), timeout=PATIENCE_S) as s:
            s.sendall(b"GET /v1/models HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
            said = b"".join(iter(lambda: s.recv(4096), b""))
        head, _, body = said.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 ")
        assert json.loads(body)["error"]["type"] == "invalid_request_error"


def test_what_is_asked_of_the_server_itself(tmp_path, sim):
    with Gateway(tmp_path, {"one": sim.port}) as g:
        for line, status in ((b"OPTIONS *", b"204"), (b"CONNECT localhost:443", b"405")):
            with socket.create_connection(("127.0.0.1", g.port), timeout=PATIENCE_S) as s:
                host = line.split()[1] if status == b"405" else b"localhost"
                s.sendall(line + b" HTTP/1.1\r\nHost: " + host + b"\r\nConnection: close\r\n\r\n")
                said = b"".join(iter(lambda: s.recv(4096), b""))
            assert said.startswith(b"HTTP/1.1 " + status + b" "), said
            assert b"\r\nAllow: GET, HEAD, POST, DELETE, OPTIONS\r\n" in said
            assert status == b"204" or b"the gateway is no proxy" in said


def by_file(path, *words):
    """What curl is answered there: the status, and the body."""
    done = subprocess.run(
        ["curl", "-sS", "--max-time", "30", "-w", "\\n%{http_code}", "--unix-socket", path, *words],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    body, _, status = done.stdout.rpartition("\n")
    return int(status), body


def test_a_socket_that_is_a_file_is_asked_by_this_host(tmp_path, sim):
    path = tmp_path / "api.sock"
    listen = f", listen: [127.0.0.1, {path}]"
    chat = ["-d", json.dumps(ASK), "http://localhost/v1/chat/completions"]
    with Gateway(tmp_path, {"one": sim.port}, listen) as g:
        assert stat.S_ISSOCK(path.stat().st_mode) and stat.S_IMODE(path.stat().st_mode) == 0o660
        assert by_file(path, *chat)[0] == 200
        assert by_file(path, "-H", "Origin: http://x", "-H", "Host: x", *chat)[0] == 200
        assert "citadel_gateway" in by_file(path, "http://localhost/metrics")[1]
        done = run("keys", "create", "alice", "-c", g.config)
        assert by_file(path, *chat)[0] == 401
        assert by_file(path, "-H", f"Authorization: Bearer {done.stdout.strip()}", *chat)[0] == 200
        assert "citadel_gateway" in by_file(path, "http://localhost/metrics")[1]
    assert not path.exists()


def test_a_file_of_a_socket_is_replaced_where_nobody_listens_and_else_left(tmp_path, sim):
    path = tmp_path / "api.sock"
    listen = f"listen: [{path}]"
    with Gateway(tmp_path, {"one": sim.port}, f", {listen}") as g:
        g.process.kill()
        g.process.communicate(timeout=PATIENCE_S)
        assert path.exists()
        again = Gateway(tmp_path, {"one": sim.port}, f", {listen}")
        with again:
            assert by_file(path, "http://localhost/health")[0] == 200
            other = tmp_path / "other"
            other.mkdir()
            config = other / "citadel.yaml"
            config.write_text(configuration(other, {"one": sim.port}, f"port: {free_ports(1)[0]}, {listen}"))
            done = run("gateway", "-c", config)
            assert done.returncode != 0 and str(path) in done.stderr
            assert by_file(path, "http://localhost/health")[0] == 200
        g.process = again.process
    assert not path.exists()
    path.write_text("precious\n")
    done = run("gateway", "-c", config)
    assert done.returncode != 0 and str(path) in done.stderr and path.read_text() == "precious\n"


@pytest.mark.parametrize("wrong", ["unix:/run/api.sock", "api.sock", "/run/../api.sock", "/run/" + 103 * "a"])
def test_what_no_socket_can_be_is_told(tmp_path, wrong):
    config = tmp_path / "citadel.yaml"
    config.write_text(f"models: {{one: {{}}}}\ngateway: {{listen: ['{wrong}']}}\n")
    done = run("config", "check", config)
    assert done.returncode == 64 and wrong in done.stdout + done.stderr and "gateway.listen" in done.stdout + done.stderr


def test_a_port_that_is_taken_is_told(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = tmp_path / "c.yaml"
        config.write_text(configuration(tmp_path, {"one": ""}, f"port: {taken.getsockname()[1]}"))
        done = run("gateway", "-c", str(config))
        assert done.returncode == 1 and "address-in-use" not in done.stdout
        assert str(taken.getsockname()[1]) in done.stderr
    assert error_json(run("gateway", "--json", "-c", str(config)))["id"] == "cli.usage"


# ---- another configuration ----


def test_another_configuration_cuts_no_stream(tmp_path, slow):
    """Names come and go, and so do models: what is under way is completed as it began."""
    port = slow.port
    with Gateway(tmp_path, {"one": port, "other": free_ports(1)[0]}) as g, Sim("two", "--port", "0") as two:
        connection, answer = g.begin("POST", "/v1/chat/completions", STREAM)
        with contextlib.closing(connection):
            first = answer.readline()
            g.write({"one": f"port: {port}, queue_length: 7", "two": two.port}, ", aliases: {gpt: two}")
            assert g.reload().returncode == 0
            assert g.ask("POST", "/v1/chat/completions", {**ASK, "model": "gpt"}).status == 200
            assert g.ask("POST", "/v1/chat/completions", {**ASK, "model": "other"}).status == 404
            assert g.metric("citadel_gateway_requests_running") == 1
            g.write({"two": two.port})
            assert g.reload().returncode == 0
            assert g.ask("POST", "/v1/chat/completions", ASK).status == 404
            assert events((first + answer.read()).decode())[-1] == "[DONE]"
        assert g.comes_to("citadel_gateway_requests_in_flight", 0)


@pytest.mark.parametrize("signo", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_whoever_ends_it_ends_it_in_order(tmp_path, sim, signo):
    g = Gateway(tmp_path, {"one": sim.port})
    g.process.send_signal(signo)
    assert "error" not in g.process.communicate(timeout=PATIENCE_S)[1]
    assert g.process.returncode == 0


def test_a_wrong_configuration_changes_nothing(tmp_path, sim):
    with Gateway(tmp_path, {"one": sim.port}) as g:
        g.config.write_text("models: {one: {port: 99999999}}\n")
        status, told = g.control("POST", "/reload")
        assert status == 400 and "what was read before holds" in told["what"]
        assert g.ask("POST", "/v1/chat/completions", ASK).status == 200


def test_what_it_reads_only_when_it_starts_is_told_and_nothing_taken_up(tmp_path, sim):
    with Gateway(tmp_path, {"one": sim.port}) as g:
        was, g.port = g.port, free_ports(1)[0]
        g.write({"one": sim.port}, ", aliases: {gpt: one}")
        g.port = was
        done = g.reload()
        assert done.returncode != 0 and "gateway.port only when it starts" in done.stderr
        assert g.ask("POST", "/v1/chat/completions", {**ASK, "model": "gpt"}).status == 404


def test_it_listens_to_the_network_once_that_is_said(tmp_path, sim):
    away, models = own_address(), {"one": sim.port}
    with Gateway(tmp_path, models) as g:
        for options, answers in ((", anonymous: true", True), ("", False)):
            g.write(models, options)
            assert g.reload().returncode == 0
            assert g.ask("GET", "/health").status == 200
            if answers:
                socket.create_connection((away, g.port)).close()
                continue
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((away, g.port))


def test_its_control_socket_tells_how_it_is(tmp_path, sim):
    with Gateway(tmp_path, {"one": sim.port}) as g:
        status, told = g.control("GET", "/state")
        assert (status, told["pid"], told["local"], told["drains"]) == (200, g.process.pid, True, False)
        assert told["models"] == [{"name": "one", "usable": True, "slots": 1024, "running": 0, "waiting": 0}]
        status, told = g.control("POST", "/ensure/one")
        assert status == 404 and "GET /state, POST /reload" in told["what"]


def test_there_is_one_of_it(tmp_path, sim):
    with Gateway(tmp_path, {"one": sim.port}) as g:
        done = run("gateway", "-c", g.config)
        assert done.returncode != 0 and "a gateway answers at" in done.stderr
        assert g.ask("GET", "/health").status == 200
