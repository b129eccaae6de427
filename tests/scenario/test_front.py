"""What the gateway does with the table of requests (front.py), and how others read them: nginx, HAProxy, h11.
Where one of them reads a request otherwise than we do, tests/data/http_front/peers says so and why ours is
right; nothing else may differ."""

import pytest

import front
from program import CITADEL, environment
from up import PATIENCE_S, free_ports

CASES = front.read()
PEERS = front.read_peers()
LONG_BYTES = 4096


# ---- the gateway ----


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    """Its port, and what its engine writes down."""
    folder = tmp_path_factory.mktemp("gateway")
    (port,) = free_ports(1)
    config = folder / "citadel.yaml"
    with front.Recorder() as engine:
        config.write_text(
            f"paths: {{run: {folder}/run, state: {folder}/state}}\n"
            f"models: {{m: {{port: {engine.port}}}}}\n"
            f"gateway: {{port: {port}, anonymous: true}}\n"
        )
        with front.started([CITADEL, "gateway", "-c", config], folder, port, environment()):
            yield port, engine


def ways(case):
    yield [case.sent]
    if len(case.sent) <= LONG_BYTES:
        yield [case.sent[i : i + 1] for i in range(len(case.sent))]


# The limit of a body is the gateway's own: it counts what comes, and tells of it as its API does.
@pytest.mark.parametrize("case", [c for c in CASES if c.reason != "body-large"], ids=lambda case: case.name)
def test_the_gateway_answers_as_the_table_says(gateway, case):
    port, engine = gateway
    for pieces in ways(case):
        engine.reached.clear()
        last = [front.LAST] if case.fate == "kept" else []
        got = front.talk(port, pieces + last, PATIENCE_S, end=case.fate == "waits")
        statuses, content = front.read_answers(got, case.sent.startswith(b"HEAD "))
        wanted = case.statuses + [200] * len(last)
        if len(pieces) > 1 and b"Expect:" in case.sent:  # whoever waits is told to go on
            statuses = [s for s in statuses if s != 100]
            wanted = [s for s in wanted if s != 100]
        assert statuses == wanted
        assert case.reason.encode() in content
        assert engine.reached == [r for r in case.reached if r.startswith(b"POST /v1/completions {")]


# ---- others ----


@pytest.mark.parametrize("peer", front.PEERS)
def test_others_differ_where_the_table_says(tmp_path, peer):
    wanted = PEERS.versions[peer]
    found = front.version_of(peer)
    if found is None or not found.startswith(wanted):
        pytest.skip(f"the table tells of {peer} {wanted}, and here is {found or 'none'}")
    with front.PEERS[peer](tmp_path) as reads:
        differ = {c.name: word for c in CASES if (word := front.difference(c, reads(c)))}
    told = {name: row.words[peer] for name, row in PEERS.rows.items() if peer in row.words}
    assert differ == told


def test_each_difference_has_a_case_and_a_reason():
    names = {c.name for c in CASES}
    for name, row in PEERS.rows.items():
        assert name in names
        assert row.why, name
