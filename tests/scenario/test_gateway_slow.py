"""Clients of which there are too many and that are too slow, by slowhttptest: their connections are cut at
the limits of the configuration, and others are served meanwhile. And one that is fast, h2load."""

import json
import os
import re
import shutil
import subprocess

import pytest
from gateway import Gateway, comes_true
from sim import PATIENCE_S

ASK = {"model": "one", "messages": [{"role": "user", "content": "good morning"}]}
CONNECTIONS = 200
LIMITS = ", limits: {header_timeout: 1s, body_timeout: 1s, idle_timeout: 1s}"
CHAT = "/v1/chat/completions"
MODES = {
    "slow headers": ("-H", "-i", "1", "-u", "/v1/models"),
    "slow bodies": ("-B", "-i", "1", "-s", "8192", "-t", "POST", "-f", "application/json", "-u", CHAT),
    "ranges": ("-R", "-u", "/v1/models"),
    "slow reading": ("-X", "-w", "10", "-y", "20", "-n", "1", "-z", "5", "-k", "3", "-u", "/v1/models"),
}


def need(tool):
    if not shutil.which(tool):
        pytest.skip(f"{tool} is not installed")


def attack(gateway, words):
    *words, path = words
    size = ["-c", str(CONNECTIONS), "-r", str(CONNECTIONS), "-l", str(PATIENCE_S)]
    words = ["slowhttptest", *words, f"http://127.0.0.1:{gateway.port}{path}", *size]
    return subprocess.Popen(words, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize("mode", MODES)
def test_slow_clients_are_cut_and_others_are_served(tmp_path, sim, mode):
    need("slowhttptest")
    with Gateway(tmp_path, {"one": sim.port}, LIMITS) as g:

        def files():
            return len(os.listdir(f"/proc/{g.process.pid}/fd"))

        idle = files()
        tool = attack(g, MODES[mode])
        try:
            comes_true(lambda: files() > idle + CONNECTIONS / 2 or tool.poll() is not None)
            assert g.ask("POST", CHAT, ASK).status == 200
            assert comes_true(lambda: files() == idle)  # slow readers have not read all by then
        finally:
            tool.terminate()
            tool.wait(PATIENCE_S)
        assert g.metric("citadel_gateway_bodies_bytes") == 0


def test_fast_clients_are_served(tmp_path, sim):
    need("h2load")
    body = tmp_path / "body"
    body.write_text(json.dumps(ASK))
    with Gateway(tmp_path, {"one": sim.port}) as g:
        words = ["h2load", "--h1", "-n", "5000", "-c", "100", "-d", body, f"http://127.0.0.1:{g.port}{CHAT}"]
        said = subprocess.run(words, stdout=subprocess.PIPE, text=True, timeout=PATIENCE_S).stdout
        assert re.search(r"5000 succeeded, 0 failed, 0 errored, 0 timeout", said), said
        assert "5000 2xx" in said
        assert g.metric("citadel_gateway_answers_total") == 5000
