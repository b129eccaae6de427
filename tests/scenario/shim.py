"""Runs `citadel run NAME` as a supervisor does: hears what it tells, and asks its socket."""

import contextlib
import http.client
import json
import os
import pathlib
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

from program import BIN, CITADEL, environment

STUB = pathlib.Path(__file__).with_name("engine_stub.py")
PATIENCE_S = 60  # for what must happen; nobody waits for less than that it has happened


given_ports = set()


def free_port():
    """One that nobody listens on, and that was not given before."""
    while True:
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        if port not in given_ports:
            given_ports.add(port)
            return port


def ends(pid):
    """Waits until a process that may be anybody's child has ended."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    with contextlib.closing(os.fdopen(fd)):
        return bool(select.select([fd], [], [], PATIENCE_S)[0])


class Unix(http.client.HTTPConnection):
    """HTTP over a Unix socket, whose path may be longer than its address."""

    def __init__(self, path):
        super().__init__("localhost", timeout=PATIENCE_S)
        self.path = path

    def connect(self):
        folder = os.open(self.path.parent, os.O_PATH)
        try:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(PATIENCE_S)
            self.sock.connect(f"/proc/self/fd/{folder}/{self.path.name}")
        finally:
            os.close(folder)


class Home:
    """A configuration with directories of its own, and the shims that run in it."""

    def __init__(self, where):
        self.where = where
        self.run = pathlib.Path(tempfile.mkdtemp("", "citadel-", "/tmp"))  # sockets have short paths
        self.models = {}
        self.started = []

    def add(self, name="phi3", **model):
        """engine: command with our own stub, unless the model says more. Returns its port."""
        port = free_port()
        words = model.pop("words", [])
        served = {
            "engine": "command",
            "command": [sys.executable, "-B", str(STUB), "{port}", *words],
            "kind": "chat",
            "port": port,
        }
        self.models[name] = {**served, **model}
        self.write()
        return port

    def write(self):
        paths = {part: str(self.where / part) for part in ("models", "logs", "state")}
        paths["run"] = str(self.run)
        self.config = self.where / "citadel.yaml"
        storage = {"require_mounts": False}
        self.config.write_text(json.dumps({"paths": paths, "storage": storage, "models": self.models}))

    def start(self, name="phi3", **more):
        shim = Shim(self, name, **more)
        self.started.append(shim)
        return shim

    def record(self, name="phi3"):
        return json.loads((self.where / "state/models" / name / "record.json").read_text())

    def hold(self, name="phi3", by="a test", why="it shall not run"):
        path = self.where / "state/models" / name / "record.json"
        path.parent.mkdir(parents=True)
        hold = {"by": by, "why": why, "since_us": 1}
        path.write_text(json.dumps({"failures": 0, "boot": "", "hold": hold}))

    def give_gpus(self, text):
        """A made-up driver; the environment that shows it."""
        folder = self.where / "nvml"
        folder.mkdir()
        (folder / "gpus").write_text(text)
        return {"CITADEL_FAKE_NVML": str(folder), "LD_LIBRARY_PATH": str(BIN / "sim")}

    def finish(self):
        for shim in self.started:
            shim.finish()
        shutil.rmtree(self.run)


class Shim:
    def __init__(self, home, name, notify=True, listens=True, hears=True, words=(), **env):
        self.home, self.name = home, name
        self.socket_path = home.run / "models" / name / "control.sock"
        self.lines, self.told = [], []  # of its standard error, and to its supervisor
        self.news = threading.Condition()
        self.supervisor = None
        if notify:
            env = {"NOTIFY_SOCKET": self._supervise(), "WATCHDOG_USEC": "60000000", **env}
            if not hears:
                self._fill(env["NOTIFY_SOCKET"])
        self.process = subprocess.Popen(
            [CITADEL, "run", name, "--config", home.config, "--json", *words],
            env=environment(NOTIFY_SOCKET=env.pop("NOTIFY_SOCKET", None), **env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        self.reader = None
        if listens:
            self.listen()
        if notify and hears:
            self.hear()

    def listen(self):
        """From now on, its standard error is read."""
        self.reader = threading.Thread(target=self._read_lines, daemon=True)
        self.reader.start()

    def hear(self):
        """From now on, what the supervisor is told is read."""
        threading.Thread(target=self._hear, daemon=True).start()

    def _supervise(self):
        self.supervisor = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        name = f"\0citadel-test-{os.getpid()}-{id(self)}"
        self.supervisor.bind(name)
        return "@" + name[1:]

    def _fill(self, name):
        """Its queue is full: it hears nothing more until it reads."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
            other.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    other.sendto(b"X_FULL=1", "\0" + name[1:])

    def _add(self, to, item):
        with self.news:
            to.append(item)
            self.news.notify_all()

    def _read_lines(self):
        for line in self.process.stderr:
            self._add(self.lines, line.rstrip("\n"))

    def _hear(self):
        while message := self.supervisor.recv(65536):
            self._add(self.told, dict(line.split("=", 1) for line in message.decode().splitlines()))

    def until(self, happened, what=None):
        """Waits until happened() is true, which is asked whenever something was heard."""
        deadline = time.monotonic() + PATIENCE_S
        with self.news:
            while not (result := happened()):
                left = deadline - time.monotonic()
                text = "\n".join(self.lines)
                assert left > 0, f"{what or 'it'} has not happened:\n{text}\n{self.told}"
                self.news.wait(left)
            return result

    def says(self, part):
        """Waits for a line with that in it, and returns the first one."""
        return self.until(lambda: next((x for x in self.lines if part in x), None), part)

    def tells(self, name, value=None):
        """Waits for what the supervisor is told: a value, or any."""

        def is_told():
            return any(name in m and value in (None, m[name]) for m in self.told)

        return self.until(is_told, f"{name}={value}")

    def has_told(self, name):
        with self.news:
            return [m[name] for m in self.told if name in m]

    def says_status(self, begin):
        """Waits for a STATUS= that begins like that."""

        def status():
            texts = (m.get("STATUS", "") for m in self.told)
            return next((text for text in texts if text.startswith(begin)), None)

        return self.until(status, begin)

    def ready(self):
        self.tells("READY", "1")
        return self

    def ask(self, method, path):
        connection = Unix(self.socket_path)
        connection.request(method, path)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        return answer.status, json.loads(text) if text else None

    def state(self):
        status, state = self.ask("GET", "/state")
        assert status == 200
        return state

    def engine_pid(self):
        return self.state()["engine"]["pid"]

    def send(self, signo):
        self.process.send_signal(signo)
        return self

    def ended(self):
        """Its exit code, once it has ended, and the error that it ended with, if there was one."""
        code = self.process.wait(timeout=PATIENCE_S)
        if self.reader:
            self.reader.join(PATIENCE_S)
        last = self.lines[-1] if self.lines else ""
        return code, json.loads(last) if last.startswith("{") else None

    def finish(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.send_signal(signal.SIGINT)  # of the same, two may be heard as one
            try:
                self.process.wait(timeout=PATIENCE_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.reader:
            self.reader.join(PATIENCE_S)
        self.process.stderr.close()
        if self.supervisor:
            with contextlib.suppress(OSError):
                self.supervisor.shutdown(socket.SHUT_RDWR)
            self.supervisor.close()
