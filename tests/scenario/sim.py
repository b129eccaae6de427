"""Runs citadel-sim, and asks it."""

import http.client
import json
import os
import re
import signal
import subprocess
import threading

from program import BIN

SIM = BIN / "citadel-sim"
PATIENCE_S = 60  # for what must happen


class Sim:
    """Started, and ready; its log is kept. Leaving the context stops it."""

    def __init__(self, *args, **env):
        self.process = subprocess.Popen(
            [SIM, *args],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **env},
        )
        self.log = []
        for line in self.process.stdout:
            self.log.append(line)
            if "Application startup complete" in line:
                break
        self.reader = threading.Thread(target=self.read_on)  # else it would wait for one
        self.reader.start()
        started = re.search(r"API server (?:0 )?on (?:http://|unix:)(\S+)", "".join(self.log))
        if not started:
            self.stop(signal.SIGKILL)
        assert started, "".join(self.log)
        self.where = started[1]

    def read_on(self):
        with self.process.stdout:
            self.log.extend(self.process.stdout)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        code = self.stop() if self.process.poll() is None else self.wait()
        assert code == 0, "".join(self.log[-60:])

    @property
    def port(self):
        return int(self.where.rpartition(":")[2])

    def connect(self):
        host, port = self.where.rsplit(":", 1)
        return http.client.HTTPConnection(host, int(port), timeout=PATIENCE_S)

    def answer(self, method, path, body=None, **fields):
        """The answer, read: its bytes are in .body."""
        connection = self.connect()
        raw = body if body is None or isinstance(body, (str, bytes)) else json.dumps(body)
        connection.request(method, path, raw, {"Content-Type": "application/json", **fields})
        answer = connection.getresponse()
        answer.body = answer.read()
        connection.close()
        return answer

    def ask(self, method, path, body=None, **fields):
        answer = self.answer(method, path, body, **fields)
        return answer.status, answer.body.decode()

    def metric(self, name, **labels):
        for line in self.ask("GET", "/metrics")[1].splitlines():
            if line.startswith(name + "{") and all(f'{k}="{v}"' in line for k, v in labels.items()):
                return float(line.split()[-1])
        raise AssertionError(f"no {name} {labels}")

    def stop(self, signo=signal.SIGTERM):
        self.process.send_signal(signo)
        return self.wait()

    def wait(self):
        """Until it has ended of itself."""
        self.reader.join(PATIENCE_S)
        return self.process.wait(PATIENCE_S)


def events(text):
    """What a stream of events says: the data of each, read as JSON where it is."""
    found = re.findall(r"^data: (.*)$", text, re.M)
    return [json.loads(data) if data.startswith("{") else data for data in found]
