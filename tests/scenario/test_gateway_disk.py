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
from shim import Unix
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


@pytest.fixture
def trusted(tmp_path):
    """The folder of the authorities that a peer is trusted by, which each reload reads."""
    folder = tmp_path / "trusted"
    folder.mkdir()
    shutil.copy("/etc/ssl/certs/ca-certificates.crt", folder / "ca.pem")
    return folder


def peers(folder):
    return f", peers: {{there: {{url: 'https://127.0.0.1:1', models: [far], ca: '{folder}/ca.pem'}}}}"


def test_no_stream_waits_for_a_disk_that_a_reload_reads(tmp_path, slow, trusted):
    with Gateway(tmp_path, {"one": slow.port}, peers(trusted)) as g:
        with contextlib.closing(post(g, ASK[:-1] + b', "stream": true, "max_tokens": 300, "ignore_eos": true}')) as s, hangs(trusted):
            words = [CITADEL, "reread", "gateway", "-c", g.config]
            both = [subprocess.Popen(words, env=environment(), stderr=subprocess.PIPE, text=True) for _ in range(2)]
            while any(reload.poll() is None for reload in both):
                assert s.recv(4096)
            said = "".join(reload.communicate()[1] for reload in both)
            assert all(reload.returncode != 0 for reload in both)
            assert said.count(f"{g.config}, or a file that it names, is not read after 8 s: its disk hangs") == 1
            assert said.count("the reload before this one is not over after 8 s") == 1
            assert g.ask("GET", "/v1/models").status == 200
        assert g.reload().returncode == 0
    assert "no option changed; keys and certificates were read anew" in g.log


def test_of_many_reloads_behind_one_that_hangs_one_is_made_for_those_who_still_wait(tmp_path, sim, trusted):
    with Gateway(tmp_path, {"one": sim.port}, peers(trusted)) as g:

        def ask():
            connection = Unix(tmp_path / "run/gateway/control.sock")
            connection.request("POST", "/reload")
            g.control("GET", "/state")  # behind it
            return connection

        with hangs(trusted):
            first = ask()
            for _ in range(20):
                ask().close()
            waiting = [ask() for _ in range(3)]
        for connection in (first, *waiting):
            assert connection.getresponse().status == 200
            connection.close()
    assert g.log.count("no option changed; keys and certificates were read anew") == 2
