"""`citadel up` in a directory of its own, with services that are up_server.py."""

import contextlib
import http.client
import json
import os
import pathlib
import re
import selectors
import signal
import socket
import subprocess
import time

from program import CITADEL, environment, run

PATIENCE_S = 60  # for things that happen by themselves; nothing waits for the clock
SERVER = pathlib.Path(__file__).with_name("up_server.py")
CONTAINMENTS = ("cgroup", "namespace", "subreaper")


def free_ports(count):
    """Ports that nobody has, each another one."""
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def is_there(pid):
    """Whether a process lives; a zombie does not."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def parent_of(pid):
    with contextlib.suppress(OSError):
        return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def children_of(pid, among=None):
    if among is None:
        among = [int(entry.name) for entry in pathlib.Path("/proc").iterdir() if entry.name.isdigit()]
    return sorted(p for p in among if parent_of(p) == pid)


def processes_of(directory):
    """All processes that have to do with a directory: by their command, or by the mark."""
    found = {}
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            command = (entry / "cmdline").read_bytes()
            if str(directory).encode() in command + (entry / "environ").read_bytes():
                if is_there(int(entry.name)):
                    found[int(entry.name)] = command.replace(b"\0", b" ").decode(errors="replace")
    return found


class Site:
    """A configuration, and what was started with it. models: name -> its lines, or words for up_server.py."""

    def __init__(self, directory, models, defaults=""):
        self.directory = directory
        self.config = directory / "citadel.yaml"
        self.run_dir = directory / "run"
        self.ports = dict(zip(models, free_ports(len(models))))
        d = directory
        lines = [
            f"paths: {{root: {d}, models: {d}/models, run: {d}/run, state: {d}/state, backup: {d}/backup,"
            f" generations: {d}/generations}}",
            "gateway: {enabled: false}",
            "monitor: {enabled: false}",
            f"defaults: {{drain_timeout: 1s, restart_delay: 100ms{defaults}}}",
            "models:",
        ]
        for name, what in models.items():
            (directory / "models" / name).mkdir(parents=True)
            if isinstance(what, str):
                words = ", ".join(f'"{w}"' for w in [str(SERVER), "{port}", *what.split()])
                what = {"engine": "command", "command": f"[{words}]"}
            what = {"port": self.ports[name], "path": name, **what}
            lines.append(f"  {name}: {{{', '.join(f'{k}: {v}' for k, v in what.items())}}}")
        self.config.write_text("\n".join(lines) + "\n")
        self.ups = []

    def up(self, *words, **more):
        up = Up(self, *words, **more)
        self.ups.append(up)
        return up

    def run(self, verb, *words, **more):
        return run(verb, "-c", str(self.config), *words, **more)

    def status(self):
        done = self.run("status", "--json")
        assert done.returncode == 0, done.stderr
        return {s["name"]: s for s in json.loads(done.stdout)["services"]}

    def ask(self, name, method, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[name], timeout=PATIENCE_S)
        connection.request(method, path)
        body = connection.getresponse().read()
        connection.close()
        return json.loads(body)

    def servers(self, name):
        """The server of a service with all its workers and strays, as the host numbers them."""
        word = f"up_server.py {self.ports[name]}"
        return [pid for pid, command in processes_of(self.directory).items() if word in command]

    def connect(self, blocking=True):
        """To the supervisor's socket, whose path may be longer than an address has room for."""
        folder = os.open(self.run_dir, os.O_PATH)
        try:
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(PATIENCE_S if blocking else 0)
            with contextlib.suppress(BlockingIOError):
                sock.connect(f"/proc/self/fd/{folder}/control.sock")
            return sock
        finally:
            os.close(folder)

    def control(self, method, path):
        """One exchange with the supervisor's socket: status and body."""
        connection = http.client.HTTPConnection("localhost", timeout=PATIENCE_S)
        connection.sock = self.connect()
        connection.request(method, path)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, body

    def end(self):
        for up in self.ups:
            up.end()
        left = processes_of(self.directory)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert not left, left


class Up:
    """A supervisor whose lines are read as they come; of a site, or of none as a demonstration is."""

    def __init__(self, site, *words, env=None, before=()):
        words = ["-c", str(site.config), *words] if site else words
        self.process = subprocess.Popen(
            [*before, CITADEL, "up", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment(**(env or {})),
        )
        os.set_blocking(self.process.stdout.fileno(), False)
        self.said = ""
        self.at = 0  # what is before it was waited for already

    def read(self):
        with contextlib.suppress(BlockingIOError):
            piece = os.read(self.process.stdout.fileno(), 65536)
            self.said += piece.decode()
            return bool(piece)
        return True

    def wait_for(self, pattern):
        """The match of a line that comes, or came since the last one waited for."""
        deadline = time.monotonic() + PATIENCE_S
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while True:
                found = re.compile(pattern, re.M).search(self.said, self.at)
                if found:
                    self.at = found.end()
                    return found
                left = deadline - time.monotonic()
                assert left > 0 and selector.select(left) and self.read(), (
                    f"waited for {pattern}, and heard:\n{self.said}"
                )

    def wait_all(self, *patterns):
        """All of these, in any order."""
        start = self.at
        for pattern in patterns:
            self.at = start
            self.wait_for(pattern)

    def wait_end(self):
        deadline = time.monotonic() + PATIENCE_S
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while self.read():
                assert selector.select(deadline - time.monotonic()), f"no end:\n{self.said}"
        return self.process.wait(timeout=PATIENCE_S)

    def stop(self, signo=signal.SIGINT):
        self.process.send_signal(signo)
        return self.wait_end()

    def end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.send_signal(signal.SIGTERM)  # the second: at once
            self.wait_end()
        self.process.stdout.close()


def possible_containments(directory):
    """Those that this machine allows, by the answer of the program itself."""
    found = []
    for kind in CONTAINMENTS:
        place = directory / f"try-{kind}"
        place.mkdir()
        site = Site(place, {"a": {"engine": "command", "command": "[/nowhere]"}})
        up = site.up("--containment", kind)
        up.wait_for(r"^containment: |is not possible here")
        if "is not possible here" not in up.said:
            found.append(kind)
        site.end()
    return found
