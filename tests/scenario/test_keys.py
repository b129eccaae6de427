"""Keys of the gateway: who is let in, what a key may use, and that no crash gives any of it twice."""

import concurrent.futures
import contextlib
import http.client
import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
import threading
import time

import pytest
from gateway import SLOW, Gateway, comes_true, configuration
from program import CITADEL, environment, run, run_json
from shim import Unix
from sim import PATIENCE_S, Sim
from test_front_tls import certify
from up import free_ports

ASK = {"model": "one", "messages": [{"role": "user", "content": "good morning to all of you"}], "max_tokens": 8}
STREAM = {**ASK, "stream": True}
CHAT = "/v1/chat/completions"


def gateway_of(folder, sim, options=""):
    return Gateway(folder, {"one": sim.port}, options)


def create(g, name, *options):
    done = run("keys", "create", name, *options, "-c", g.config)
    assert done.returncode == 0, done.stderr
    assert "shown this once" in done.stderr
    return done.stdout.strip()


def listed(g):
    code, keys = run_json("keys", "list", "-c", g.config)
    assert code == 0
    return {key["name"]: key for key in keys}


def left(g, name, limit):
    return listed(g)[name]["left"][limit]


def usage_of(g, name):
    """Requests in the ledger."""
    code, told = run_json("usage", "--by", "key", "-c", g.config)
    assert code == 0
    return sum(row["requests"] for row in told if row["name"] == name)


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def kill(g):
    g.process.kill()
    g.process.communicate(timeout=PATIENCE_S)


def test_with_the_first_key_nobody_gets_in_without_one(tmp_path, sim):
    with gateway_of(tmp_path, sim) as g:
        assert g.ask("POST", CHAT, ASK).status == 200
        token = create(g, "alice")
        refused = g.ask("POST", CHAT, ASK)
        assert refused.status == 401 and refused.getheader("WWW-Authenticate") == "Bearer"
        assert json.loads(refused.body)["error"]["code"] == "invalid_api_key"
        messages = json.loads(g.ask("POST", "/v1/messages", ASK).body)
        assert messages["error"]["type"] == "authentication_error"
        assert g.ask("POST", CHAT, ASK, **bearer(token)).status == 200
        assert g.ask("POST", "/v1/messages", ASK, **{"x-api-key": token}).status == 200
        wrong = token[:-1] + ("0" if token[-1] != "0" else "1")
        for other in (wrong, "sk-none", ""):
            assert g.ask("POST", CHAT, ASK, **bearer(other)).status == 401
        assert g.ask("GET", "/v1/models").status == 401
        assert g.ask("GET", "/health").status == 200
        assert token not in run("keys", "list", "--json", "-c", g.config).stdout
    assert token not in g.log
    assert token.encode() not in b"".join(f.read_bytes() for f in (tmp_path / "state/gateway").iterdir())


def test_anonymous_lets_in_who_shows_none_but_no_wrong_one(tmp_path, sim):
    with gateway_of(tmp_path, sim, ", anonymous: true") as g:
        token = create(g, "alice")
        assert g.ask("POST", CHAT, ASK).status == 200
        assert g.ask("POST", CHAT, ASK, **bearer("sk-none")).status == 200
        assert run("keys", "revoke", "alice", "-c", g.config).returncode == 0
        assert g.ask("POST", CHAT, ASK, **bearer(token)).status == 401


def test_a_key_sees_its_models_only(tmp_path, sim):
    with Gateway(tmp_path, {"one": sim.port, "two": free_ports(1)[0]}, ", aliases: {gpt: one}") as g:
        fields = bearer(create(g, "alice", "--models", "one"))
        names = [m["id"] for m in json.loads(g.ask("GET", "/v1/models", **fields).body)["data"]]
        assert sorted(names) == ["gpt", "one"]
        assert g.ask("GET", "/v1/models/two", **fields).status == 404
        assert g.ask("POST", CHAT, {**ASK, "model": "gpt"}, **fields).status == 200
        refused = g.ask("POST", CHAT, {**ASK, "model": "two"}, **fields)
        assert refused.status == 404
        assert json.loads(refused.body)["error"]["code"] == "model_not_found"
        run("keys", "limits", "alice", "--models", "all", "-c", g.config)
        assert g.ask("GET", "/v1/models/two", **fields).status == 200


def test_requests_of_a_minute_are_exact(tmp_path, sim):
    with gateway_of(tmp_path, sim) as g:
        fields = bearer(create(g, "alice", "--requests-per-minute", "3"))
        for remaining in ("2", "1", "0"):
            answer = g.ask("POST", CHAT, ASK, **fields)
            assert answer.status == 200
            assert answer.getheader("x-ratelimit-limit-requests") == "3"
            assert answer.getheader("x-ratelimit-remaining-requests") == remaining
        refused = g.ask("POST", CHAT, ASK, **fields)
        assert refused.status == 429
        assert json.loads(refused.body)["error"]["code"] == "rate_limit_exceeded"
        assert 0 < int(refused.getheader("Retry-After")) <= 61


def test_so_many_at_a_time(tmp_path, slow):
    with gateway_of(tmp_path, slow) as g:
        fields = bearer(create(g, "alice", "--concurrent", "1"))
        connection, answer = g.begin("POST", CHAT, {**STREAM, "max_tokens": 1000}, **fields)
        assert answer.status == 200
        refused = g.ask("POST", CHAT, ASK, **fields)
        assert refused.status == 429 and refused.getheader("Retry-After") == "1"
        answer.close()
        connection.close()
        comes_true(lambda: g.ask("POST", CHAT, {**ASK, "max_tokens": 1}, **fields).status == 200)


def test_a_key_that_is_revoked_in_the_middle_ends_no_answer(tmp_path, slow):
    with gateway_of(tmp_path, slow) as g:
        fields = bearer(create(g, "alice"))
        connection, answer = g.begin("POST", CHAT, {**STREAM, "max_tokens": 20}, **fields)
        with contextlib.closing(connection):
            assert run("keys", "revoke", "alice", "-c", g.config).returncode == 0
            assert g.ask("POST", CHAT, ASK, **fields).status == 401
            assert answer.read().rstrip().endswith(b"data: [DONE]")
        renewed = run("keys", "rotate", "alice", "-c", g.config).stdout.strip()
        assert g.ask("POST", CHAT, {**ASK, "max_tokens": 1}, **bearer(renewed)).status == 200
        assert g.ask("POST", CHAT, ASK, **fields).status == 401


@pytest.mark.parametrize("body", [ASK, STREAM], ids=["whole", "stream"])
def test_what_was_used_is_what_the_engine_tells(tmp_path, sim, body):
    usage = json.loads(sim.answer("POST", CHAT, ASK).body)["usage"]
    took = usage["prompt_tokens"] + usage["completion_tokens"]
    with gateway_of(tmp_path, sim) as g:
        fields = bearer(create(g, "alice", "--tokens-per-day", "100000"))
        for _ in range(3):
            assert g.ask("POST", CHAT, body, **fields).status == 200
        comes_true(lambda: left(g, "alice", "tokens_per_day") == 100000 - 3 * took)
        comes_true(lambda: run_json("usage", "--by", "model", "-c", g.config)[1] != [])
        code, (row,) = run_json("usage", "--by", "model", "-c", g.config)
        assert code == 0
        assert (row["name"], row["requests"], row["refused"]) == ("one", 3, 0)
        assert row["tokens_in"] == 3 * usage["prompt_tokens"]
        assert row["tokens_out"] == 3 * usage["completion_tokens"]
        table = run("usage", "--by", "key", "--csv", "-c", g.config).stdout.splitlines()
        assert table[0].startswith("key,requests,") and table[1].startswith("alice,3,0,")


def test_a_stream_that_is_broken_off_has_used_what_went_through(tmp_path, slow):
    with gateway_of(tmp_path, slow) as g:
        fields = bearer(create(g, "alice", "--tokens-per-day", "100000"))
        connection, answer = g.begin("POST", CHAT, {**STREAM, "max_tokens": 5000}, **fields)
        seen = 0
        while seen < 5:
            seen += answer.readline().startswith(b"data: ")
        assert left(g, "alice", "tokens_per_day") < 100000 - 5000
        answer.close()
        connection.close()
        comes_true(lambda: 100000 - 1000 < left(g, "alice", "tokens_per_day") <= 100000 - 5)
        comes_true(lambda: run_json("usage", "-c", g.config)[1] != [])
        (row,) = run_json("usage", "-c", g.config)[1]
        assert 5 <= row["tokens_out"] < 1000


def test_a_long_talk_that_is_broken_off_has_used_what_it_is_long(tmp_path):
    talk = [{"role": "user", "content": "w " * 200_000}]
    with Sim("one", "--port", "0", *SLOW, "--max-model-len", "500000") as sim, gateway_of(tmp_path, sim) as g:
        fields = bearer(create(g, "alice", "--tokens-per-day", "1000000"))
        connection, answer = g.begin("POST", CHAT, {**STREAM, "messages": talk}, **fields)
        while not answer.readline().startswith(b"data: "):
            pass
        answer.close()
        connection.close()
        assert comes_true(lambda: run_json("usage", "-c", g.config)[1] != [])
        (row,) = run_json("usage", "-c", g.config)[1]
        assert 100_000 <= row["tokens_in"] < 101_000
        assert left(g, "alice", "tokens_per_day") <= 900_000


def test_a_restart_keeps_budgets(tmp_path, sim):
    with gateway_of(tmp_path, sim) as g:
        fields = bearer(create(g, "alice", "--tokens-per-day", "100000", "--requests-per-minute", "2"))
        assert g.ask("POST", CHAT, ASK, **fields).status == 200
        comes_true(lambda: left(g, "alice", "tokens_per_day") > 100000 - 500)
        before = listed(g)["alice"]["left"]
    assert listed(g)["alice"]["left"] == before  # by root, while no gateway runs
    bob = run("keys", "create", "bob", "-c", g.config).stdout.strip()
    with gateway_of(tmp_path, sim) as g:
        assert listed(g)["alice"]["left"] == before
        assert g.ask("POST", CHAT, ASK, **fields).status == 200
        assert g.ask("POST", CHAT, ASK, **fields).status == 429
        assert g.ask("POST", CHAT, ASK, **bearer(bob)).status == 200


LIMIT, ASKERS, KILLS = 6000, 4, 4


def test_no_kill_gives_tokens_twice(tmp_path, sim):
    """The engine is witness. What ran when it was killed may have taken more than its claim."""
    lot, over = random.Random(20), threading.Event()
    with gateway_of(tmp_path, sim) as g:
        fields = bearer(create(g, "alice", "--tokens-per-day", str(LIMIT)))

    def witness():
        return sum(sim.metric(f"vllm:{what}_tokens_total") for what in ("prompt", "generation"))

    def ask_on():
        while not over.is_set():
            with contextlib.suppress(OSError, Exception):
                over.wait(0.01)
                if box[0].ask("POST", CHAT, STREAM, **fields).status == 429:
                    over.wait(0.05)

    before = witness()
    box = [gateway_of(tmp_path, sim)]
    askers = [threading.Thread(target=ask_on) for _ in range(ASKERS)]
    for asker in askers:
        asker.start()
    try:
        for _ in range(KILLS):
            goal = witness() + lot.randrange(100, 600)
            comes_true(lambda: witness() >= goal or left(box[0], "alice", "tokens_per_day") < 100)
            kill(box[0])
            box[0] = gateway_of(tmp_path, sim)
        comes_true(lambda: left(box[0], "alice", "tokens_per_day") < 100)
    finally:
        over.set()
        for asker in askers:
            asker.join()
    box[0].process.send_signal(signal.SIGTERM)
    box[0].process.communicate(timeout=PATIENCE_S)
    spent = witness() - before
    assert spent <= LIMIT + (KILLS + 1) * ASKERS * 40
    assert spent > LIMIT / 3  # a crash forfeits a slice, and not all


@contextlib.contextmanager
def small_disk(place):
    """Two calls: it is full, and it has room again."""
    place.mkdir(parents=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", place]).returncode:
        pytest.skip("nothing may be mounted here")

    def fill():
        with contextlib.suppress(OSError), (place / "ballast").open("wb", buffering=0) as f:
            while f.write(bytes(4096)):
                pass

    try:
        yield fill, (place / "ballast").unlink
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def test_a_full_disk_gives_nothing_away_and_mends_by_itself(tmp_path, sim):
    def code_of(answer):
        return answer.status, json.loads(answer.body).get("error", {}).get("code")

    with small_disk(tmp_path / "state/gateway") as (fill, make_room), gateway_of(tmp_path, sim) as g:
        fields = bearer(create(g, "alice", "--tokens-per-day", "1000"))
        free = bearer(create(g, "free"))
        assert g.ask("POST", CHAT, ASK, **fields).status == 200
        before = left(g, "alice", "tokens_per_day")
        fill()
        answers = [code_of(g.ask("POST", CHAT, {**ASK, "max_tokens": 100}, **fields)) for _ in range(20)]
        assert answers[-1] == (503, "key.not-written")
        assert {status for status, _ in answers} <= {200, 503}
        assert before - left(g, "alice", "tokens_per_day") <= 1000 // 64 + 1 + 128  # that was debited before
        assert code_of(g.ask("POST", CHAT, ASK, **free)) == (200, None)  # of whom nothing is to be written down
        large = {**ASK, "messages": [{"role": "user", "content": "x" * (3 << 20)}]}
        assert code_of(g.ask("POST", CHAT, large, **free)) == (503, "gateway.no-room-on-disk")
        make_room()
        comes_true(lambda: g.ask("POST", CHAT, ASK, **fields).status == 200)
        comes_true(lambda: g.metric("citadel_gateway_bodies_bytes") == 0)
        comes_true(lambda: usage_of(g, "alice") > 20)  # what was not written is, by now
        assert g.ask("POST", CHAT, ASK, **fields).status == 200  # which tells it
    assert "key.not-written" in g.log and "is written again" in g.log


def test_what_a_full_disk_keeps_a_gateway_from_writing_is_told_at_its_end(tmp_path, sim):
    with contextlib.ExitStack() as stack:
        fill, _ = stack.enter_context(small_disk(tmp_path / "state/gateway"))
        g = gateway_of(tmp_path, sim)
        stack.callback(g.process.kill)
        leaked, other = create(g, "leaked"), create(g, "other")
        fill()
        assert run("keys", "revoke", "leaked", "-c", g.config).returncode == 75
        assert g.ask("POST", CHAT, ASK, **bearer(leaked)).status == 401
        for _ in range(9):
            assert g.ask("POST", CHAT, ASK, **bearer(other)).status == 200
        g.process.send_signal(signal.SIGTERM)
        log = g.process.communicate(timeout=PATIENCE_S)[1]
        assert g.process.returncode == 1
        assert f"what the last requests used is not written: '{tmp_path}/state/gateway/keys.db': " in log
        assert "that the key 'leaked' is revoked is not written, so it is good again" in log
        assert "; the ledger lacks 0 rows" not in log


def test_a_damaged_database_lets_nobody_in(tmp_path, sim):
    with gateway_of(tmp_path, sim) as g:
        fields = bearer(create(g, "alice"))
    database = tmp_path / "state/gateway/keys.db"
    database.write_bytes(b"\xa5" * 8192)
    with gateway_of(tmp_path, sim) as g:
        assert g.ask("POST", CHAT, ASK, **fields).status == 401
        assert g.ask("POST", CHAT, ASK).status == 401
        again = create(g, "alice")
        assert g.ask("POST", CHAT, ASK, **bearer(again)).status == 200
    assert "was damaged, and is now" in g.log
    assert len(list(database.parent.glob("keys.db.damaged-*"))) >= 1


def test_keys_are_needed_where_the_file_beside_them_is_lost(tmp_path, sim):
    with gateway_of(tmp_path, sim) as g:
        fields = bearer(create(g, "alice"))
    (tmp_path / "state/gateway/keys.db.lock").unlink()
    with gateway_of(tmp_path, sim) as g:
        assert g.ask("POST", CHAT, ASK).status == 401
        assert g.ask("POST", CHAT, ASK, **fields).status == 200


def test_a_response_of_another_key_is_none(tmp_path, sim):
    with gateway_of(tmp_path, sim) as g:
        alice, bob = (bearer(create(g, name)) for name in ("alice", "bob"))
        made = g.ask("POST", "/v1/responses", {"model": "one", "input": "good morning"}, **alice)
        id = json.loads(made.body)["id"]
        more = {"model": "one", "input": "and now?", "previous_response_id": id}
        assert g.ask("POST", "/v1/responses", more, **alice).status == 200
        for answer in (
            g.ask("POST", "/v1/responses", more, **bob),
            g.ask("GET", f"/v1/responses/{id}", **bob),
            g.ask("POST", "/v1/responses", {**more, "previous_response_id": "resp_none"}, **bob),
        ):
            assert answer.status == 404
            assert json.loads(answer.body)["error"]["message"].startswith("there is no response")


def test_a_key_that_is_being_written_when_a_gateway_ends_that_was_reloaded(tmp_path, sim):
    with gateway_of(tmp_path, sim) as g:
        g.write({"one": sim.port}, ", limits: {connections: 100}")
        assert g.reload().returncode == 0
        other = sqlite3.connect(tmp_path / "state/gateway/keys.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        control = tmp_path / "run/gateway/control.sock"
        with contextlib.closing(Unix(control)) as first, contextlib.closing(Unix(control)) as second:
            first.request("POST", "/key-create/alice")
            began = time.monotonic()
            assert g.control("GET", "/keys") == (200, [])  # read behind it
            second.request("POST", "/key-create/bob")  # which waits for it
            assert g.control("GET", "/keys") == (200, [])
            g.process.terminate()
            for asked in (first, second):
                with pytest.raises(http.client.RemoteDisconnected):
                    asked.getresponse()
        other.execute("ROLLBACK")
        waited = time.monotonic() - began
        other.close()
        g.process.wait(PATIENCE_S)
    with gateway_of(tmp_path, sim) as g:
        keys = {name: key["state"] for name, key in listed(g).items()}
        # Nobody was told a token: what had not begun was not done. SQLite gives up after five seconds, which a slow
        # machine may take for the lines above; and then nothing had begun.
        assert keys == {"alice": "revoked"} or waited > 3 and keys == {}, waited


def test_the_access_log_tells_of_each_request_and_of_no_prompt(tmp_path, sim):
    with gateway_of(tmp_path, sim) as g:
        fields = bearer(create(g, "alice"))
        g.ask("POST", CHAT, ASK, **fields, **{"X-Request-Id": "mine"})
        g.ask("POST", CHAT, {**ASK, "model": "other"}, **fields)
    first, second = (json.loads(line) for line in g.log.splitlines() if line.startswith("{"))
    assert (first["id"], first["key"], first["model"], first["status"]) == ("mine", "alice", "one", 200)
    assert first["end"] == "whole" and first["tokens_out"] > 0
    assert (second["status"], second["end"], second["model"]) == (404, "refused", None)
    assert "morning" not in g.log


def test_scripts_of_a_page_may_call_where_the_configuration_says_so(tmp_path, sim):
    page, other = {"Origin": "https://chat.example"}, {"Origin": "https://else.example"}
    wish = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,x-mine"}
    with gateway_of(tmp_path, sim, ", cors_origins: ['https://chat.example']") as g:
        fields = bearer(create(g, "alice"))
        answer = g.ask("OPTIONS", CHAT, **page, **wish)
        assert answer.status == 204
        assert answer.getheader("Access-Control-Allow-Origin") == "https://chat.example"
        assert answer.getheader("Access-Control-Allow-Methods") == "POST"
        assert answer.getheader("Access-Control-Allow-Headers") == "authorization,x-mine"
        assert answer.getheader("Vary") == "Origin"
        for headers in (fields, {}):  # errors, too, else a script cannot tell why
            answer = g.ask("POST", CHAT, ASK, **page, **headers)
            assert answer.getheader("Access-Control-Allow-Origin") == "https://chat.example"
        assert g.ask("OPTIONS", CHAT, **other, **wish).status == 405
        assert g.ask("POST", CHAT, ASK, **other, **fields).getheader("Access-Control-Allow-Origin") is None


def test_without_keys_no_page_and_no_name_that_was_led_here_is_answered(tmp_path, sim):
    own = {"Origin": "https://chat.example"}
    with gateway_of(tmp_path, sim, ", cors_origins: ['https://chat.example']") as g:
        for fields in ({"Origin": "http://evil.example"}, {"Origin": "null"}):
            refused = g.ask("POST", CHAT, ASK, **fields, **{"Content-Type": "text/plain"})
            assert refused.status == 403 and fields["Origin"] in refused.body.decode()
            assert "gateway.cors_origins" in refused.body.decode()
        for host in ("evil.example", f"evil.example:{g.port}", "127.0.0.1.evil.example"):
            refused = g.ask("POST", CHAT, ASK, Host=host)
            assert refused.status == 403 and "does not go by" in refused.body.decode()
        for host in ("localhost", f"LOCALHOST:{g.port}", f"127.0.0.1:{g.port}", "[::1]:80", socket.gethostname()):
            assert g.ask("POST", CHAT, ASK, **own, Host=host).status == 200, host
        fields = bearer(create(g, "alice"))
        assert g.ask("POST", CHAT, ASK, **fields, Host="llm.example").status == 200


def test_keys_that_are_made_at_a_time_wait_for_one_another(tmp_path, sim):
    with gateway_of(tmp_path, sim) as g, concurrent.futures.ThreadPoolExecutor(8) as at_a_time:
        tokens = list(at_a_time.map(lambda i: create(g, f"key-{i}"), range(40)))
        assert len(set(tokens)) == len(listed(g)) == 40


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root")
def test_root_who_cannot_become_the_owner_of_keys_touches_none(tmp_path):
    folder, config = tmp_path / "state/gateway", tmp_path / "citadel.yaml"
    config.write_text(configuration(tmp_path, {"one": 1234}, "port: 1235"))
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    os.chown(folder, 12345, 12345)  # nobody among the users of that namespace
    words = ["unshare", "-Ur", CITADEL, "keys", "create", "alice", "-c", config]
    done = subprocess.run(words, env=environment(), capture_output=True, text=True)
    assert done.returncode != 0 and "going by user" in done.stderr, done
    assert not list(folder.iterdir())


def test_a_client_that_says_nothing_of_tls_has_as_long_as_for_a_head(tmp_path, sim):
    certify(tmp_path, "a")
    tls = f", tls: {{certificate: {tmp_path}/a.pem, key: {tmp_path}/a.key}}, limits: {{header_timeout: 1s}}"
    with gateway_of(tmp_path, sim, tls) as g, socket.create_connection(("127.0.0.1", g.port)) as s:
        since = time.monotonic()
        s.settimeout(PATIENCE_S)
        assert s.recv(1) == b""
        assert time.monotonic() - since < 5  # not the ten seconds of the server itself


def test_a_key_with_priority_has_the_slots_that_are_kept_for_it(tmp_path):
    with Sim("one", "--port", "0", "--sim-token-rate", "1") as sim, contextlib.ExitStack() as stack:
        options = f"port: {sim.port}, max_concurrent: 2, priority_slots: 1"
        g = stack.enter_context(Gateway(tmp_path, {"one": options}))
        plain, first = bearer(create(g, "plain")), bearer(create(g, "first", "--priority", "yes"))
        assert [listed(g)[name]["priority"] for name in ("plain", "first")] == [False, True]
        wish = json.dumps({**STREAM, "service_tier": "priority"})
        for token, counts in ((plain, (1, 0)), (plain, (1, 1)), (first, (2, 1))):
            connection = stack.enter_context(contextlib.closing(g.connect()))
            connection.request("POST", CHAT, wish, token)
            assert g.comes_to("citadel_gateway_requests_running", counts[0])
            assert g.comes_to("citadel_gateway_requests_waiting", counts[1])
        table = run("keys", "list", "-c", g.config).stdout.splitlines()
        assert "PRIORITY" in table[0] and " yes " in table[2] and " yes " not in table[1]
        assert run("keys", "limits", "first", "--priority", "no", "-c", g.config).returncode == 0
        assert not listed(g)["first"]["priority"]
        wrong = run("keys", "limits", "first", "--priority", "high", "-c", g.config)
        assert wrong.returncode == 64 and "high" in wrong.stderr


def test_a_wish_that_cannot_be_is_told(tmp_path, sim):
    with gateway_of(tmp_path, sim) as g:
        create(g, "alice")
        for words, what in (
            (("keys", "create", "alice"), "there is a key 'alice'"),
            (("keys", "create", "Alice B"), "no name"),
            (("keys", "revoke", "alise"), "there is no key 'alise'"),
            (("keys", "limits", "alice", "--concurrent", "0"), "not a number from 1"),
            (("keys", "limits", "alice", "--tokens-per-day", "many"), "--tokens-per-day"),
            (("keys", "limits", "alice", "--expires-in", "0s"), "--expires-in: 0s is no time for a key"),
            (("keys", "limits", "alice", "--expires-in", "36501d"), "or never"),
            (("usage", "--csv", "--json"), "one at a time"),
        ):
            done = run(*words, "-c", g.config)
            assert done.returncode != 0 and what in done.stderr, (words, done.stderr)


def test_a_model_that_a_key_may_use_and_nobody_has_is_noted(tmp_path, sim):
    with gateway_of(tmp_path, sim) as g:
        done = run("keys", "create", "alice", "--models", "one,ono", "-c", g.config)
        assert done.returncode == 0 and done.stdout.startswith("ctdl_")
        assert "there is no model 'ono' here; did you mean one?" in done.stderr
    done = run("keys", "limits", "alice", "--models", "two", "-c", g.config)  # without a gateway, too
    assert done.returncode == 0 and "there is no model 'two'" in done.stderr
    assert "no model" not in run("keys", "limits", "alice", "--models", "all", "-c", g.config).stderr


def test_a_limit_below_what_was_used_says_what_was_used(tmp_path, sim):
    with gateway_of(tmp_path, sim) as g:
        fields = bearer(create(g, "alice", "--tokens-per-day", "1000"))
        assert g.ask("POST", CHAT, ASK, **fields).status == 200
        assert run("keys", "limits", "alice", "--tokens-per-day", "2", "-c", g.config).returncode == 0
        told = json.loads(g.ask("POST", CHAT, ASK, **fields).body)["error"]["message"]
        used = int(told.partition("; ")[2].split()[0])
        assert used > 2 and "max_tokens" not in told


def test_a_key_that_is_shown_as_an_id_stands_nowhere(tmp_path, sim):
    with gateway_of(tmp_path, sim) as g:
        token = create(g, "alice")
        answer = g.ask("POST", CHAT, ASK, **bearer(token), **{"X-Request-Id": token})
        assert answer.status == 200 and answer.getheader("X-Request-Id").startswith("req_")
    assert token not in g.log


def test_who_guesses_keys_is_seen_and_fills_no_disk(tmp_path, sim):
    with gateway_of(tmp_path, sim) as g:
        token = create(g, "alice")
        for _ in range(15):
            assert g.ask("POST", CHAT, ASK, **bearer("ctdl_guess")).status == 401
        assert g.ask("GET", "/v1/nothing").status == 404
        assert g.metric('citadel_gateway_turned_away_total{why="key"}') == 15
        assert g.metric('citadel_gateway_turned_away_total{why="path"}') == 1
        assert g.ask("POST", CHAT, ASK, **bearer(token)).status == 200
        assert comes_true(lambda: usage_of(g, "") == 10)
        path = f"/v1/nothing/{token}"
        assert token not in g.ask("GET", path).body.decode()
    lines = [json.loads(line) for line in g.log.splitlines() if line.startswith("{")]
    guesses = [line for line in lines if line["status"] == 401]
    assert len(guesses) == 10 and all(line["address"].startswith("127.0.0.1:") for line in guesses)
    assert all(line["key"] is None and line["end"] == "refused" and line["id"] for line in guesses)
    assert "address" not in next(line for line in lines if line["status"] == 200)
    assert ": 5 more requests showed no key that is good" in g.log
    assert "guess" not in g.log and token not in g.log


def test_a_request_that_is_wrong_is_one_of_a_minute(tmp_path, sim):
    with gateway_of(tmp_path, sim) as g:
        fields = bearer(create(g, "alice", "--requests-per-minute", "2"))
        assert g.ask("POST", CHAT, {**ASK, "model": "nobody"}, **fields).status == 404
        assert g.ask("POST", CHAT, "no object", **fields).status == 400
        assert g.ask("POST", CHAT, ASK, **fields).status == 429


def test_who_is_over_his_limit_pushes_nobody_out_of_the_ledger(tmp_path, sim):
    with gateway_of(tmp_path, sim) as g:
        hog, meek = create(g, "hog", "--requests-per-minute", "1"), create(g, "meek")
        body = json.dumps(ASK)
        head = f"POST {CHAT} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {hog}\r\nContent-Length: {len(body)}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", g.port), timeout=PATIENCE_S) as s:
            for _ in range(20):
                s.sendall((head + body).encode() * 100)
                got = b""
                while got.count(b"HTTP/1.1 ") < 100:
                    got += s.recv(65536)
                assert g.ask("POST", CHAT, ASK, **bearer(meek)).status == 200
        assert comes_true(lambda: usage_of(g, "meek") == 20)
        assert usage_of(g, "hog") == 101  # the one that was let in, and so many of those that were not
        assert g.metric('citadel_gateway_lost_total{what="ledger"}') == 0
        assert g.metric('citadel_gateway_key_requests_total{key="hog"}') == 2000
    assert "more requests were refused" in g.log


def test_two_keys_that_differ_are_refused(tmp_path, sim):
    with gateway_of(tmp_path, sim) as g:
        good = create(g, "alice")
        for bearer_token, own, status in (
            (good, good, 200),
            (good, "garbage", 401),
            ("garbage", good, 401),
        ):
            answer = g.ask("POST", CHAT, ASK, **bearer(bearer_token), **{"x-api-key": own})
            assert answer.status == status
            assert status == 200 or b"show different keys" in answer.body
        basic = {"Authorization": "Basic YTpi", "x-api-key": good}
        assert g.ask("POST", CHAT, ASK, **basic).status == 200


def test_an_answer_is_written_down_before_it_is_whole(tmp_path, slow):
    """Else a crash right then would give what it took a second time."""
    body = json.dumps({"model": "one", "prompt": "a " * 1000, "max_tokens": 8}).encode()  # half of it is reserved
    with gateway_of(tmp_path, slow) as g, socket.create_connection(("127.0.0.1", g.port)) as client:
        token = create(g, "alice", "--tokens-per-day", "9000")
        head = f"POST /v1/completions HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {token}\r\n"
        client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        assert comes_true(lambda: slow.metric("vllm:num_requests_running") == 1)
        other = sqlite3.connect(tmp_path / "state/gateway/keys.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        got = b""
        while not got.rstrip(b"}").endswith(b'"kv_transfer_params":null'):
            got += client.recv(65536)
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.recv(1)
        assert not got.endswith(b"}")
        other.execute("ROLLBACK")
        other.close()
        client.settimeout(PATIENCE_S)
        got += client.recv(1)
        assert json.loads(got.partition(b"\r\n\r\n")[2])["usage"]["total_tokens"] > 1000


def test_one_request_is_reserved_for_what_all_of_it_may_take(tmp_path, sim):
    """Answers as often as they are wanted, to each prompt; a question that is read with each document; and what
    the configuration gives."""
    many = [
        ("/v1/chat/completions", {**ASK, "n": 1000}),
        ("/v1/completions", {"model": "one", "prompt": ["hello"] * 500, "max_tokens": 8}),
        ("/rerank", {"model": "one", "query": "a " * 1000, "documents": ["b"] * 1000}),
        ("/v1/embeddings", {"model": "one", "input": ["a " * 100] * 400}),
    ]
    with gateway_of(tmp_path, sim) as g:
        fields = bearer(create(g, "alice", "--tokens-per-day", "4000"))
        for path, body in many:
            refused = g.ask("POST", path, body, **fields)
            assert refused.status == 429, (path, refused.body)
        assert g.ask("POST", CHAT, ASK, **fields).status == 200
    models = {"one": f"port: {sim.port}, parameters: {{max_tokens: 6000}}"}
    with Gateway(tmp_path, models) as g:
        del (unlimited := dict(ASK))["max_tokens"]
        assert g.ask("POST", CHAT, unlimited, **fields).status == 429
        assert g.ask("POST", CHAT, ASK, **fields).status == 200
