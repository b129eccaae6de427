"""What the gateway tells of itself at /metrics: its own part in each request, what was asked for under each
key, and what could not be kept."""

import contextlib
import socket
import sqlite3

from gateway import Gateway, comes_true
from program import run
from sim import PATIENCE_S

ASK = {"model": "one", "messages": [{"role": "user", "content": "good morning to all of you"}], "max_tokens": 8}
CHAT = "/v1/chat/completions"


def create(g, name, *options):
    done = run("keys", "create", name, *options, "-c", g.config)
    assert done.returncode == 0, done.stderr
    return {"Authorization": f"Bearer {done.stdout.strip()}"}


def samples(g, name):
    """By their labels, as they stand."""
    lines = g.ask("GET", "/metrics").body.decode().splitlines()
    return {
        line[len(name) :].rpartition(" ")[0]: float(line.rpartition(" ")[2])
        for line in lines
        if line.startswith((f"{name}{{", f"{name} "))
    }


def test_its_own_part_is_less_than_the_whole(tmp_path, sim):
    with Gateway(tmp_path, {"one": sim.port}) as g:
        for stream in (False, True):
            g.ask("POST", CHAT, {**ASK, "stream": stream})
        g.ask("POST", CHAT, {**ASK, "model": "none"})
        assert samples(g, "citadel_gateway_overhead_seconds_count") == {"": 2}
        own = samples(g, "citadel_gateway_overhead_seconds_sum")[""]
        assert 0 < own < sum(samples(g, "citadel_gateway_request_seconds_sum").values())


def test_what_each_key_asked_for_is_counted_under_its_name(tmp_path, slow):
    with Gateway(tmp_path, {"one": slow.port}) as g:
        alice = create(g, "alice", "--requests-per-minute", "2")
        bob, other = create(g, "bob"), create(g, "other")
        for _ in range(3):
            g.ask("POST", CHAT, ASK, **alice)
        g.ask("POST", CHAT, {**ASK, "model": "none"}, **bob)
        g.ask("POST", CHAT, ASK, **other)
        prompt = g.metric("citadel_gateway_prompt_tokens_total") / 3  # of each that was answered
        for metric, values in {
            "requests_total": (3, 1, 1),
            "refused_total": (1, 0, 0),
            "prompt_tokens_total": (2 * prompt, 0, prompt),
            "completion_tokens_total": (16, 0, 8),
            "requests_in_flight": (0, 0, 0),
        }.items():
            found = samples(g, f"citadel_gateway_key_{metric}")
            assert found == dict(zip(('{key="alice"}', '{key="bob"}', '{key="other"}'), values)), metric
        for metric in ("queue", "first_byte", "request"):
            found = samples(g, f"citadel_gateway_key_{metric}_seconds_count")
            assert found == {'{key="alice"}': 2, '{key="other"}': 1}, metric
        g.ask("POST", CHAT, {**ASK, "stream": True}, **other)
        found = samples(g, "citadel_gateway_key_token_gap_seconds_count")
        assert found == {'{key="alice"}': 0, '{key="other"}': 1}
        connection, answer = g.begin("POST", CHAT, {**ASK, "stream": True}, **bob)
        with contextlib.closing(connection):
            answer.readline()
            assert samples(g, "citadel_gateway_key_requests_in_flight")['{key="bob"}'] == 1
            for key in ("alice", "bob"):
                assert run("keys", "revoke", key, "-c", g.config).returncode == 0
            page = g.ask("GET", "/metrics").body.decode()
            assert "alice" not in page and "bob" not in page and 'key="other"' in page
            assert alice["Authorization"].split()[1] not in page
            answer.read()


def test_an_access_log_that_cannot_be_written_is_told_and_counted(tmp_path, sim):
    """In its place something else stands; without that the directory is made again."""
    logs = tmp_path / "logs"
    logs.write_text("")
    with Gateway(tmp_path, {"one": sim.port}, ", access_log: file") as g:
        for _ in range(3):
            g.ask("POST", CHAT, ASK)
        assert g.comes_to('citadel_gateway_lost_total{what="access-log"}', 3)
        logs.unlink()
        g.ask("POST", CHAT, ASK)
        log = logs / "services/access.log"
        assert comes_true(lambda: log.exists() and log.read_text().count("\n") == 1)
        assert samples(g, "citadel_gateway_lost_total")['{what="access-log"}'] == 3
    assert g.log.count(f"{logs}/services/access.log lacks ") == 1
    assert "Not a directory" in g.log


def test_an_access_log_that_was_moved_goes_on_in_its_place(tmp_path, sim):
    log, moved = tmp_path / "logs/services/access.log", tmp_path / "moved"
    with Gateway(tmp_path, {"one": sim.port}, ", access_log: file") as g:
        g.ask("POST", CHAT, ASK)
        assert comes_true(lambda: log.exists() and log.read_text().count("\n") == 1)
        log.rename(moved)
        g.ask("POST", CHAT, ASK)
        assert comes_true(lambda: log.exists() and log.read_text().count("\n") == 1)
        assert samples(g, "citadel_gateway_lost_total")['{what="access-log"}'] == 0


def pipelined(g, count):
    """So many requests that are answered, on one connection: of those that are not, few are written down."""
    body = b'{"model": "one", "prompt": "a", "max_tokens": 1}'
    head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", g.port), timeout=PATIENCE_S) as s:
        for _ in range(0, count, 100):
            s.sendall((head + body) * 100)
            said = b""
            while said.count(b"HTTP/1.1 200 ") < 100 or not said.endswith(b"}"):
                said += s.recv(1 << 20)


def test_a_log_that_nobody_reads_keeps_nobody_waiting(tmp_path, sim):
    """Standard error is a pipe here: it takes some two hundred lines."""
    with Gateway(tmp_path, {"one": sim.port}) as g:
        pipelined(g, 500)
        assert samples(g, "citadel_gateway_lost_total")['{what="access-log"}'] > 0


def test_rows_that_the_ledger_lacks_are_told_and_counted(tmp_path, sim):
    """While the database is locked there is room for 8192 of them."""
    with Gateway(tmp_path, {"one": sim.port}, ", access_log: none") as g:
        with contextlib.closing(sqlite3.connect(tmp_path / "state/gateway/keys.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            pipelined(g, 18000)
            assert samples(g, "citadel_gateway_lost_total")['{what="ledger"}'] > 0
            other.execute("ROLLBACK")
            assert comes_true(lambda: other.execute("SELECT count(*) FROM ledger").fetchone()[0] >= 8192)
        pipelined(g, 100)
    assert g.log.count("the ledger lacks 1 request: its database cannot be written") == 1
