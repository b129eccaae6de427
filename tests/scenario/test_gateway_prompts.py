"""gateway.log_prompts: what is asked and answered is kept where that is switched on, and nowhere else."""

import json
import stat

from gateway import Gateway, comes_true
from program import run, run_json

ASK = {"model": "one", "messages": [{"role": "user", "content": "good morning to all of you"}], "max_tokens": 4}
CHAT = "/v1/chat/completions"
ON = ", log_prompts: true, access_log: file"


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def prepare(folder):
    services = folder / "logs/services"
    services.mkdir(parents=True)
    return services / "prompts.log"


def said(path):
    """Every file below, but the one that is for it."""
    folder = path.parent.parent.parent
    return b"".join(f.read_bytes() for f in folder.rglob("*") if f.is_file() and f != path)


def test_what_is_said_is_kept_in_a_file_of_its_own(tmp_path, sim):
    path = prepare(tmp_path)
    with Gateway(tmp_path, {"one": sim.port}, ON) as g:
        whole = g.ask("POST", CHAT, ASK, **{"X-Request-Id": "first"})
        stream = g.ask("POST", CHAT, {**ASK, "stream": True}, **{"X-Request-Id": "second"})
        assert comes_true(lambda: len(lines(path)) == 2)
        first, second = lines(path)
        assert (first["id"], first["model"], first["key"], first["status"]) == ("first", "one", None, 200)
        assert json.loads(first["body"]) == ASK and first["answer"].encode() == whole.body
        assert json.loads(second["body"])["stream"] is True and second["answer"].encode() == stream.body
        assert not first["cut"] and not second["cut"]
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert b"morning" not in said(path)
    assert g.log.count(f"gateway.log_prompts is true: what is asked and answered is kept in {path}") == 1
    assert "morning" not in g.log


def test_nothing_is_kept_unless_it_is_switched_on(tmp_path, sim):
    path = prepare(tmp_path)
    with Gateway(tmp_path, {"one": sim.port}) as g:
        g.ask("POST", CHAT, ASK)
        g.write({"one": sim.port}, ON)
        assert g.reload().returncode == 0
        g.ask("POST", CHAT, {**ASK, "user": "while it is on"})
        assert comes_true(lambda: len(lines(path)) == 1)
        g.write({"one": sim.port})
        assert g.reload().returncode == 0
        g.ask("POST", CHAT, ASK)
    assert [json.loads(line["body"]).get("user") for line in lines(path)] == ["while it is on"]
    assert g.log.count("gateway.log_prompts is false") == 1


def test_what_cannot_be_kept_is_told_and_keeps_nobody_waiting(tmp_path, sim):
    (tmp_path / "logs").write_text("")
    with Gateway(tmp_path, {"one": sim.port}, ", log_prompts: true") as g:
        assert g.ask("POST", CHAT, ASK).status == 200
        assert g.comes_to('citadel_gateway_lost_total{what="prompts"}', 1)
        assert g.ask("POST", CHAT, ASK).status == 200
    assert "prompts.log lacks 1 request: Not a directory" in g.log


def test_doctor_says_that_it_is_on(tmp_path):
    config = tmp_path / "citadel.yaml"
    for on, verdict in ((False, "ok"), (True, "failed")):
        config.write_text(f"models: {{one: {{path: one}}}}\ngateway: {{log_prompts: {json.dumps(on)}}}\n")
        found = run_json("doctor", "-c", config)[1]["findings"]
        (prompts,) = [f for f in found if f["check"] == "prompts"]
        assert prompts["verdict"] == verdict and not prompts["required"]
    assert "prompts.log" in prompts["found"]
    assert "log_prompts" in run("config", "options", "gateway.log_prompts").stdout
