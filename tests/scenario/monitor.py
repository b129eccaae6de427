"""The monitor as a test sees it: its socket, and the history that it writes."""

import http.client
import json
import os
import select
import signal
import subprocess
import time

from program import CITADEL, environment
from shim import Unix
from up import PATIENCE_S, Site, free_ports


class Watched(Site):
    """A site with a monitor that looks every second."""

    def __init__(self, directory, models, defaults="", monitor=""):
        super().__init__(directory, models, defaults)
        self.port = next(p for p in free_ports(1 + len(self.ports)) if p not in self.ports.values())
        text = self.config.read_text()
        text = text.replace(
            "monitor: {enabled: false}",
            f"monitor: {{port: {self.port}, health_interval: 1s, gpu_interval: 1s{monitor}}}\n"
            "storage: {require_mounts: false}",
        )
        self.config.write_text(text)
        (directory / "backup").mkdir()

    def ask(self, path, method="GET", name=None):
        """What the monitor answers: status and document. With a name, it is that model's server."""
        if name:
            return super().ask(name, method, path)
        connection = Unix(self.run_dir / "monitor/control.sock")
        connection.request(method, path)
        answer = connection.getresponse()
        document = json.loads(answer.read())
        connection.close()
        return answer.status, document

    def told(self, name):
        """What the monitor tells of one service."""
        status, document = self.ask("/services")
        assert status == 200
        return next(s for s in document["services"] if s["name"] == name)

    def crash(self, name, code=1):
        try:
            self.ask(f"/exit?{code}", "POST", name)
        except (http.client.HTTPException, ConnectionError):
            pass

    def record(self, name):
        return json.loads((self.directory / f"state/models/{name}/record.json").read_text())

    def kill_monitor(self):
        pid = self.status()["monitor"]["pid"]
        assert pid > 0
        os.kill(pid, signal.SIGKILL)

    def history(self):
        return History([CITADEL, "events", "-c", str(self.config), "-f", "--json", "-n", "10000"])


class History:
    """Events as they come, from the first."""

    def __init__(self, command, **more):
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=environment(), **more
        )
        os.set_blocking(self.process.stdout.fileno(), False)
        self.text = b""
        self.at = 0  # those before it were waited for already

    def events(self):
        lines = self.text.decode().split("\n")[:-1]
        return [json.loads(line) for line in lines]

    def wait(self, event, service=None, text=""):
        """The next one of these that comes, or came since the last one that was waited for."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            seen = self.events()
            for i, e in enumerate(seen[self.at :], self.at):
                if e["event"] == event and e["service"] == service and text in e["text"]:
                    self.at = i + 1
                    return e
            left = deadline - time.monotonic()
            ready, _, _ = select.select([self.process.stdout], [], [], max(left, 0))
            said = "\n".join(f"{e['event']} {e['service']}: {e['text']}" for e in seen)
            assert ready, f"waited for {event} of {service} after {self.at} of:\n{said}"
            piece = os.read(self.process.stdout.fileno(), 65536)
            assert piece, f"the history has ended:\n{said}"
            self.text += piece

    def all(self, event, service=None):
        return [e for e in self.events() if e["event"] == event and e["service"] == service]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
