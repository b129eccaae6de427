"""Two gateways, each before its own simulated engines, that know of each other; and what is told of a
response by its id."""

import contextlib
import json

from gateway import Gateway
from program import run
from up import free_ports

ASK = {"messages": [{"role": "user", "content": "good morning to all of you"}]}


def peer(gateway, *models):
    url = f"http://127.0.0.1:{gateway.port}/v1"
    return f", peers: {{there: {{url: '{url}', models: [{', '.join(models)}]}}}}"


def chat(gateway, model, **more):
    answer = gateway.ask("POST", "/v1/chat/completions", {**ASK, "model": model, **more})
    return answer.status, json.loads(answer.body)


@contextlib.contextmanager
def folders(tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    yield here, there


def test_a_peer_answers_for_its_models(tmp_path, sim):
    with folders(tmp_path) as (here, there), Gateway(there, {"one": sim.port}) as far:
        with Gateway(here, {"own": free_ports(1)[0]}, peer(far, "one")) as near:
            status, answer = chat(near, "one")
            assert status == 200
            assert answer["choices"] == chat(far, "one")[1]["choices"]
            assert far.metric("citadel_gateway_answers_total") == 2


def test_no_request_goes_round(tmp_path):
    """Each of two knows the model from the other, and nobody has it."""
    port, other = free_ports(2)
    with folders(tmp_path) as (here, there), Gateway(there, {"own": port}) as far:
        with Gateway(here, {"own": other}, peer(far, "lost")) as near:
            far.write({"own": port}, peer(near, "lost"))
            assert far.reload().returncode == 0
            for gateway in (near, far):
                status, answer = chat(gateway, "lost")
                assert status == 503
                assert answer["error"]["code"] == "gateway.model-away"


def test_a_large_body_is_that_of_the_client(tmp_path, sim):
    prompt = "good morning " * 200_000
    body = {"model": "one", "prompt": prompt, "add_special_tokens": False}
    (tmp_path / "state/gateway").mkdir(parents=True)
    with Gateway(tmp_path, {"one": sim.port}) as g:
        assert len(json.dumps(body)) > 2 << 20
        direct, through = sim.answer("POST", "/tokenize", body), g.ask("POST", "/tokenize", body)
        assert (through.status, through.body) == (direct.status, direct.body)
        assert g.comes_to("citadel_gateway_bodies_bytes", 0)


def test_a_key_that_was_renewed_is_read_at_a_reload(tmp_path, sim):
    """The configuration is as it was; the file that it names is not."""
    with folders(tmp_path) as (here, there), Gateway(there, {"one": sim.port}) as far:
        made = run("keys", "create", "near", "-c", far.config)
        secret = tmp_path / "key"
        secret.write_text("sk-old\n")
        secret.chmod(0o600)
        options = peer(far, "one").replace("models:", f"key: {{file: {secret}}}, models:")
        with Gateway(here, {"own": free_ports(1)[0]}, options) as near:
            status, answer = chat(near, "one")
            assert status == 503
            assert "does not let this gateway in: it answered 401" in answer["error"]["message"]
            secret.write_text(made.stdout)
            assert near.reload().returncode == 0
            assert chat(near, "one")[0] == 200


def test_a_response_is_told_by_who_has_made_it(tmp_path, sim):
    with Gateway(tmp_path, {"one": sim.port, "gone": free_ports(1)[0]}) as g:
        made = g.ask("POST", "/v1/responses", {"model": "one", "input": "good morning"})
        id = json.loads(made.body)["id"]
        path = f"/v1/responses/{id}"
        direct, through = sim.answer("GET", path), g.ask("GET", path)
        assert (through.status, json.loads(through.body)) == (direct.status, json.loads(direct.body))
        unknown = g.ask("GET", "/v1/responses/resp_0")
        assert unknown.status == 404
        assert "resp_0" in json.loads(unknown.body)["error"]["message"]
