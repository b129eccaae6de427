"""`citadel up --demo`, which is `make run`: what it prints can be typed, and nothing of it stays."""

import json
import os
import pathlib
import re
import signal
import subprocess

import pytest
from program import BIN, CITADEL, environment, run
from up import CONTAINMENTS

pytestmark = pytest.mark.xdist_group("demo")
MODELS = ["chat", "large", "embed"]


class Demo:
    def __init__(self, tmp_path, *before, **env):
        self.env = environment(TMPDIR=str(tmp_path), **env)
        self.process = subprocess.Popen(
            [*before, CITADEL, "up", "--demo"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.env,
        )
        self.told = ""
        for line in self.process.stdout:
            self.told += line
            if line.startswith("Ctrl-C ends it"):
                break
        assert "Ctrl-C ends it" in self.told, self.told
        config = re.search(r"export CITADEL_CONFIG=(\S+)", self.told)[1]
        self.config = pathlib.Path(config)

    def commands(self):
        return re.findall(r"^  (curl .*)$", self.told, re.M)

    def type(self, command):
        done = subprocess.run(
            ["sh", "-c", command], capture_output=True, text=True, timeout=60, env=self.env
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def end(self, signo=signal.SIGINT):
        self.process.send_signal(signo)
        rest, _ = self.process.communicate(timeout=60)
        self.told += rest
        return self.process.returncode


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    running = Demo(tmp_path_factory.mktemp("demo"))
    yield running
    if running.process.poll() is None:
        running.end(signal.SIGTERM)


def test_what_it_prints_can_be_typed(demo):
    whole, stream = demo.commands()
    answer = json.loads(demo.type(whole))
    assert answer["choices"][0]["message"]["content"] == "Simulated answer to: hello"
    events = [line[6:] for line in demo.type(stream).splitlines() if line.startswith("data: ")]
    assert events[-1] == "[DONE]"
    chunks = [json.loads(e)["choices"][0]["delta"].get("content", "") for e in events[:-1]]
    assert "".join(chunks) == "Simulated answer to: hello"


def test_another_terminal_sees_it(demo):
    config = {"CITADEL_CONFIG": str(demo.config)}
    assert run("health", **config).returncode == 0
    seen = json.loads(run("status", "--json", **config).stdout)["services"]
    assert [service["name"] for service in seen] == MODELS
    assert {service["state"] for service in seen} == {"ready"}
    assert "Application startup complete." in run("logs", "large", **config).stdout


def test_it_tells_how_it_contains_and_how_long_it_tries(demo):
    assert re.search(r"^containment: (\w+): ", demo.told, re.M)[1] in CONTAINMENTS
    assert re.search(r"given up after \d+ starts, and after \S+ at most", demo.told)


def test_the_simulated_gpus_bear_the_models(demo):
    """Two of them; the model of two parts is on both."""
    told = json.loads(run("status", "large", "--json", CITADEL_CONFIG=str(demo.config)).stdout)
    (large,) = told["services"]
    assert large["model"]["gpus"] == [0, 1]


def processes_of(config):
    """That name the demo's directory in their words or their environment."""
    mark, found = str(config.parent).encode(), []
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit() or entry.name == str(os.getpid()):
            continue
        try:
            if mark in (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes():
                found.append(entry.name)
        except OSError:
            pass
    return found


def test_nothing_of_it_stays(demo):
    """The last one: it ends the demo."""
    assert len(processes_of(demo.config)) >= 1 + 2 * len(MODELS)
    assert demo.end() == 0
    assert processes_of(demo.config) == []
    assert not demo.config.parent.exists()
    ended = [line for line in demo.told.splitlines() if line.endswith(": stopped")]
    assert len(ended) == len(MODELS)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_an_ordinary_user_can_run_it(tmp_path):
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    needed = ["test", "-x", CITADEL, "-a", "-r", BIN / "sim/libnvidia-ml.so.1"]
    if subprocess.run([*nobody, *needed]).returncode != 0:
        pytest.skip(f"another user may not read {BIN}")
    place = tmp_path / "theirs"
    place.mkdir()
    os.chown(place, 65534, 65534)
    for parent in [place, *place.parents][:4]:
        if parent.owner() == "root" and parent != pathlib.Path("/tmp"):
            parent.chmod(parent.stat().st_mode | 0o011)
    demo = Demo(place, *nobody, HOME=str(place))
    assert json.loads(demo.type(demo.commands()[0]))["choices"][0]["finish_reason"] == "stop"
    assert demo.end(signal.SIGTERM) == 0
    assert not demo.config.parent.exists()
