"""A thousand streams at a time through the gateway, some of which their clients leave, do not read for so long that
the gateway waits, or ask for with a large body that stops on its way, under keys with limits; while one of two
engines dies again and again and the configuration changes. What became of each stream tests/storm.c tells, which
looks at every byte. What keys have used is then what the ledger has, and of all that requests take nothing is left
taken.

CITADEL_STORM=STREAMS,SECONDS chooses another size; `make storm` is that of a large host."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess

import pytest
from gateway import Gateway, comes_true
from program import BIN, environment, run_json
from sim import PATIENCE_S, Sim
from test_keys import listed
from up import free_ports

STREAMS, SECONDS = map(int, os.environ.get("CITADEL_STORM", "1000,6").split(","))
ABORTS = 5  # of a hundred
EVENTS = 6000  # a second, of all streams together: two cores can do more
NOW = ("requests_running", "requests_waiting", "requests_in_flight", "bodies_bytes")
# That a gateway keeps of any storm: tables of a fixed size, buffers to be used again, and what the allocator keeps
# for the threads of large bodies.
MEMORY_BYTES = 12 << 20
LISTEN = ", listen: [127.0.0.1, 127.0.0.2]"  # at the second by whom large events are not read
IS_SANITIZED = b"__asan_init" in (BIN / "citadel").read_bytes()


def engine(name, port):
    rate = str(EVENTS / STREAMS)
    return Sim(name, "--port", str(port), "--max-num-seqs", str(STREAMS), "--sim-token-rate", rate,
               "--max-logprobs", "1000", "--disable-uvicorn-access-log")


def resident_bytes(pid):
    lines = dict(line.split(":") for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(lines["RssAnon"].split()[0]) * 1024


def open_files(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def give_keys(gateway):
    """Most streams have one that is bounded by nothing they reach, but in all ways; the others reach theirs."""
    most = {name: 10**9 for name in ("requests-per-minute", "tokens-per-minute", "tokens-per-day", "concurrent")}
    keys = {
        "wide": most,
        "narrow": {**most, "concurrent": max(STREAMS // 50, 1)},
        "hurried": {**most, "requests-per-minute": STREAMS // 4},
    }
    tokens = {}
    for name, limits in keys.items():
        words = [word for limit, most in limits.items() for word in (f"--{limit}", str(most))]
        code, told = run_json("keys", "create", name, *words, "-c", gateway.config)
        assert code == 0
        tokens[name] = told["token"]
    return [tokens["wide"]] * 8 + [tokens["narrow"], tokens["hurried"]]


def spent(gateway):
    """Tokens in the ledger, by key."""
    code, rows = run_json("usage", "--by", "key", "-c", gateway.config)
    assert code == 0
    return {row["name"]: row["tokens_in"] + row["tokens_out"] for row in rows}


def check_keys(gateway):
    """Nothing is reserved, nothing runs, and each token that counts against a limit is in the ledger."""
    keys = listed(gateway).values()
    took = {key["name"]: key["tokens_per_day"] - key["left"]["tokens_per_day"] for key in keys}
    assert all(key["left"]["concurrent"] == key["concurrent"] for key in keys)
    assert all(took.values()) and comes_true(lambda: spent(gateway) == took)


def begin(gateway, seconds, ports, keys):
    words = [BIN / "tests/storm", str(gateway.port), str(STREAMS), str(seconds), str(ABORTS)]
    words += [f"{name}={port}" for name, port in ports.items()]
    env = environment(CITADEL_KEYS=",".join(keys))
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=env)


def result(storm):
    """Of each model, how many streams ended how; none of them wrong."""
    told = storm.communicate(timeout=SECONDS + 2 * PATIENCE_S)[0]
    print(told)
    assert storm.returncode == 0, told
    return json.loads(told)


class Struck:
    """An engine that dies while it streams, and is followed by another one."""

    def __init__(self, port):
        self.port = port
        self.sim = engine("struck", port)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sim.stop()

    def strike(self, gateway):
        died = gateway.metric("citadel_gateway_failures_total", "struck")
        self.sim.stop(signal.SIGKILL)
        comes_true(lambda: gateway.metric("citadel_gateway_failures_total", "struck") > died)
        self.sim = engine("struck", self.port)


@pytest.mark.xdist_group("storm")
def test_a_storm_leaves_nothing_behind(tmp_path, monkeypatch):
    options = os.environ.get("ASAN_OPTIONS", "")
    monkeypatch.setenv("ASAN_OPTIONS", f"{options}:quarantine_size_mb=1")  # else it keeps large bodies
    ports = dict(zip(("calm", "struck"), free_ports(2)))
    models = {name: f"port: {port}, max_concurrent: {STREAMS}" for name, port in ports.items()}
    with contextlib.ExitStack() as stack:
        calm = stack.enter_context(engine("calm", ports["calm"]))
        struck = stack.enter_context(Struck(ports["struck"]))
        g = stack.enter_context(Gateway(tmp_path, models, LISTEN))
        pid = g.process.pid
        keys = give_keys(g)
        assert spent(g) == {}  # SQLite keeps a descriptor from the first look on
        g.metric("citadel_gateway_bodies_bytes")
        memory, files = resident_bytes(pid), open_files(pid)
        storm = begin(g, SECONDS, ports, keys)
        comes_true(lambda: g.metric("citadel_gateway_requests_running", "struck") > STREAMS / 4)
        strikes = 0
        while storm.poll() is None:
            struck.strike(g)
            strikes += 1
            g.write(models, f"{LISTEN}, drain_timeout: {strikes}m")
            assert g.reload().returncode == 0
            had = g.metric("citadel_gateway_answers_total", "struck")
            comes_true(
                lambda: storm.poll() is not None
                or g.metric("citadel_gateway_answers_total", "struck") > had + STREAMS / 4
            )
        fates = result(storm)
        assert fates["calm"]["whole"] > STREAMS / 4 and fates["calm"]["left"] > 0
        assert fates["calm"]["told"] == fates["calm"]["refused"] == 0
        assert fates["calm"]["limited"] > 0 and fates["struck"]["told"] > 0
        assert g.metric("citadel_gateway_held_answers_total") > 0
        for name in NOW:
            for model in ports:
                assert g.comes_to(f"citadel_gateway_{name}", 0, model)
        assert g.metric('citadel_gateway_lost_total{what="ledger"}') == 0
        check_keys(g)
        for sim in (calm, struck.sim):
            assert comes_true(lambda: sim.metric("vllm:num_requests_running") == 0)
        # The connection that asked for metrics may have been among those of before.
        assert comes_true(lambda: open_files(pid) <= files)
        most = MEMORY_BYTES * (6 if IS_SANITIZED else 1)
        assert comes_true(lambda: resident_bytes(pid) < memory + most)
