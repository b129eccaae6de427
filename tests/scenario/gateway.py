"""`citadel gateway` before simulated engines, as a test starts it and asks it."""

import contextlib
import http.client
import json
import os
import resource
import signal
import socket
import subprocess
import time

from program import CITADEL, environment, run
from shim import Unix
from sim import PATIENCE_S
from up import free_ports

# An engine that is slow enough for something to happen in the middle of its answer.
SLOW = ("--sim-token-rate", "10")


def configuration(folder, models, options):
    """Below a folder; options: of the gateway."""
    paths = f"paths: {{run: {folder}/run, state: {folder}/state, logs: {folder}/logs}}\n"
    said = {name: f"port: {what}" if isinstance(what, int) else what for name, what in models.items()}
    listed = "".join(f"  {name}: {{{what}}}\n" for name, what in said.items())
    return f"{paths}models:\n{listed}gateway: {{{options}}}\n"


class Gateway:
    """Started, and ready as it says itself. Leaving the context ends it."""

    def __init__(self, folder, models, options="", handed=None, files=None):
        self.port = free_ports(1)[0]
        self.folder, self.config = folder, folder / "citadel.yaml"
        self.write(models, options)
        heard = f"citadel-test-{os.getpid()}-{id(self)}"
        words, more = [CITADEL, "gateway", "-c", self.config], {}
        if handed:
            self.port = handed.getsockname()[1]
            words = ["sh", "-c", f"LISTEN_FDS=1 LISTEN_PID=$$ exec {CITADEL} gateway -c {self.config}"]
            more = {"pass_fds": [3], "preexec_fn": lambda: os.dup2(handed.fileno(), 3)}
        if files:
            more = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, files)}
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(f"\0{heard}")
            notify.settimeout(1)
            self.process = subprocess.Popen(
                words, env=environment(NOTIFY_SOCKET=f"@{heard}"), stderr=subprocess.PIPE, text=True, **more
            )
            comes_true(lambda: self.is_ready(notify))

    def is_ready(self, notify):
        assert self.process.poll() is None, self.process.stderr.read()
        with contextlib.suppress(TimeoutError):
            return b"READY=1" in notify.recv(4096)

    def write(self, models, options=""):
        """Its configuration; a model is a port, or all that is said of it."""
        self.config.write_text(configuration(self.folder, models, f"port: {self.port}{options}"))

    def reload(self):
        return run("reread", "gateway", "-c", self.config)

    def control(self, method, path):
        connection = Unix(self.folder / "run/gateway/control.sock")
        with contextlib.closing(connection):
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.log = self.process.communicate(timeout=PATIENCE_S)[1]
        assert self.process.returncode == 0, self.log

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)

    def begin(self, method, path, body=None, **fields):
        """An answer, from which nothing but its head is read."""
        connection = self.connect()
        connection.request(method, path, json.dumps(body) if body is not None else None, fields)
        return connection, connection.getresponse()

    def ask(self, method, path, body=None, **fields):
        connection, answer = self.begin(method, path, body, **fields)
        with contextlib.closing(connection):
            answer.body = answer.read()
        return answer

    def metric(self, name, model="one"):
        text = self.ask("GET", "/metrics").body.decode()
        return next(
            float(line.split()[-1])
            for line in text.splitlines()
            if line.startswith((f'{name}{{model="{model}"}} ', f"{name} "))
        )

    def comes_to(self, name, value, model="one"):
        return comes_true(lambda: self.metric(name, model) == value)


def comes_true(holds):
    until = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < until
    return True
