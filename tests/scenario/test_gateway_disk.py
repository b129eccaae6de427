"""Disks that hang: file systems by FUSE that nobody answers for."""

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess

import pytest
from gateway import Gateway
from program import CITADEL, environment
from sim import PATIENCE_S

ASK = b'{"model": "one", "messages": [{"role": "user", "content": "good morning"}]}'
DETACH = 2


@contextlib.contextmanager
def hangs(folder):
    libc = ctypes.CDLL(None, use_errno=True)
    device = os.open("/dev/fuse", os.O_RDWR) if os.path.exists("/dev/fuse") else -1
    options = f"fd={device},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()}"
    if device < 0 or libc.mount(b"hangs", os.fsencode(folder), b"fuse", 0, options.encode()) < 0:
        pytest.skip("no file system can be mounted here")
    try:
        yield
    finally:
        libc.umount2(os.fsencode(folder), DETACH)
        os.close(device)


def post(gateway, body):
    s = socket.create_connection(("127.0.0.1", gateway.port), timeout=PATIENCE_S)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n"
    s.sendall(head.encode() + body)
    return s


def test_a_gateway_that_ends_waits_for_no_disk_that_hangs(tmp_path, sim):
    """Nor for one that has begun to as it was about to end; and it says which."""
    g = Gateway(tmp_path, {"one": sim.port}, ", access_log: file, log_prompts: true, drain_timeout: 1s")
    with contextlib.ExitStack() as stack:
        stack.callback(g.process.kill)
        stack.enter_context(hangs(tmp_path / "state/gateway"))
        os.makedirs(tmp_path / "logs/services", exist_ok=True)
        stack.enter_context(hangs(tmp_path / "logs/services"))
        s = stack.enter_context(post(g, ASK))
        assert s.recv(4096).startswith(b"HTTP/1.1 200 ")
        stack.enter_context(post(g, ASK[:-1] + b" " * 2**21 + b"}"))
        stack.enter_context(post(g, ASK)).recv(4096)  # which came behind
        log = None
        while log is None:  # who is told again and again has no less to say
            g.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                log = g.process.communicate(timeout=0.5)[1]
    assert g.process.returncode == 1
    for place in ("state/gateway/keys.db", "logs/services/access.log", "logs/services/prompts.log"):
        assert f"'{tmp_path}/{place}'" in log, place


def test_no_stream_waits_for_a_disk_that_a_reload_reads(tmp_path, slow):
    folder = tmp_path / "trusted"
    folder.mkdir()
    shutil.copy("/etc/ssl/certs/ca-certificates.crt", folder / "ca.pem")
    there = f"{{url: 'https://127.0.0.1:1', models: [far], ca: '{folder}/ca.pem'}}"
    with Gateway(tmp_path, {"one": slow.port}, f", peers: {{there: {there}}}") as g:
        with contextlib.closing(post(g, ASK[:-1] + b', "stream": true, "max_tokens": 300, "ignore_eos": true}')) as s, hangs(folder):
            words = [CITADEL, "reread", "gateway", "-c", g.config]
            reload = subprocess.Popen(words, env=environment(), stderr=subprocess.PIPE, text=True)
            while reload.poll() is None:
                assert s.recv(4096)
            said = reload.communicate()[1]
            assert reload.returncode != 0
            assert f"{g.config}, or a file that it names, is not read after 8 s: its disk hangs" in said
            assert g.ask("GET", "/v1/models").status == 200
        assert g.reload().returncode == 0
    assert "no option changed; keys and certificates were read anew" in g.log
