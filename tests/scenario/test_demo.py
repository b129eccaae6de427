"""`citadel up --demo`, which is `make run`: what it prints can be typed, and nothing of it stays."""

import fcntl
import json
import os
import pathlib
import re
import shlex
import signal
import subprocess
import tempfile

import pytest
from program import BIN, CITADEL, environment, run
from up import CONTAINMENTS, Up

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
    whole, stream, vectors = demo.commands()
    (gateway,) = {re.search(r"http://(\S+?)/", c)[1] for c in (whole, stream, vectors)}
    listed = json.loads(demo.type(f"curl -s http://{gateway}/v1/models"))["data"]
    assert [m["id"] for m in listed] == MODELS
    answer = json.loads(demo.type(whole))
    assert answer["choices"][0]["message"]["content"] == "Simulated answer to: hello"
    events = [line[6:] for line in demo.type(stream).splitlines() if line.startswith("data: ")]
    assert events[-1] == "[DONE]"
    chunks = [json.loads(e)["choices"][0]["delta"].get("content", "") for e in events[:-1]]
    assert "".join(chunks) == "Simulated answer to: hello"
    assert json.loads(demo.type(vectors))["data"][0]["embedding"]


def test_another_terminal_sees_it(demo):
    config = {"CITADEL_CONFIG": str(demo.config)}
    assert run("health", **config).returncode == 0
    seen = json.loads(run("status", "--json", **config).stdout)["services"]
    assert [service["name"] for service in seen] == ["monitor", "gateway", *MODELS]
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
    assert len(ended) == len(MODELS) + 2
    assert ": monitor: stopped" in ended[-1].replace(" monitor:", ": monitor:")


HEAD = "# Made by `citadel up --demo`; it goes with it.\n"


def plant(place, name, config=HEAD, mode=0o700):
    """What looks like a demonstration's directory, more or less."""
    made = place / f"citadel-demo-{name}"
    made.mkdir()
    (made / "citadel.yaml").write_text(config)
    made.chmod(mode)
    return made


def start_one_more(place):
    """And ends it as soon as it has swept; what it has said."""
    up = Up(None, "--demo", env={"TMPDIR": str(place)})
    up.wait_for("^containment: ")
    up.end()
    return up.said


@pytest.fixture
def place():
    """In which a demonstration may be: the sockets in it want a short path."""
    with tempfile.TemporaryDirectory(prefix="demo-", dir="/tmp") as made:
        yield pathlib.Path(made)


def test_what_a_killed_one_left_goes_with_the_next(place):
    killed = Up(None, "--demo", env={"TMPDIR": str(place)})
    killed.wait_for("chat: ready")
    (left,) = place.iterdir()
    killed.process.kill()
    killed.wait_end()
    assert left.is_dir()
    said = start_one_more(place)
    told = re.search(r"^removed what 1 demonstration .* in (\S+), and ended \d+ process", said, re.M)
    assert told[1] == str(place)
    assert list(place.iterdir()) == []
    assert processes_of(left / "citadel.yaml") == []


def test_only_what_was_left_goes(place):
    top, victim = place, place / "victim"
    place = top / "place"
    place.mkdir(mode=0o755)
    stays = [
        plant(place, "backup", config="# mine\n"),
        plant(place, "opened", mode=0o755),
        plant(place, "lives1"),
        plant(place, "linked"),
        place / "citadel-demo-victim",
        place / "citadel-demo-file",
    ]
    lock = os.open(stays[2], os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    stays[3].joinpath("citadel.yaml").rename(top / "config")
    stays[3].joinpath("citadel.yaml").symlink_to(top / "config")
    plant(top, "victim").rename(victim)
    stays[4].symlink_to(victim)
    stays[5].write_text(HEAD)
    if os.geteuid() == 0:
        stays.append(plant(place, "others"))
        os.chown(stays[-1], 65534, 65534)
    goes = plant(place, "goes01")
    (goes / "link").symlink_to(victim)
    place.chmod(0o777)  # somebody else may move what is in it
    assert "removed" not in start_one_more(place)
    place.chmod(0o1777)
    assert "removed what 1 demonstration" in start_one_more(place)
    assert sorted(place.iterdir()) == sorted(stays)
    assert (victim / "citadel.yaml").read_text() == HEAD
    os.close(lock)
    start_one_more(place)
    stays.remove(stays[2])
    assert sorted(place.iterdir()) == sorted(stays)


def test_below_a_root_it_stays_there(place):
    root, elsewhere = place / "a b", place / "tmp"
    root.mkdir()
    elsewhere.mkdir()
    up = Up(None, "--demo", "--root", str(root), env={"TMPDIR": str(elsewhere)})
    up.wait_for("Ctrl-C ends it")
    (made,) = root.iterdir()
    assert (made / "logs/models/chat.log").is_file()
    words = re.search(r"export CITADEL_CONFIG=(.*?)  .*then: citadel (.*), citadel", up.said)
    config, status = map(shlex.split, words.groups())
    assert run(*status, CITADEL_CONFIG=config[0]).returncode == 0
    assert up.stop() == 0
    assert list(root.iterdir()) == list(elsewhere.iterdir()) == []


def test_one_model_of_it_is_enough(place):
    up = Up(None, "--demo", "embed", env={"TMPDIR": str(place)})
    up.wait_for("Ctrl-C ends it")
    (command,) = re.findall(r"^  (curl .*)$", up.said, re.M)
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60)
    assert json.loads(done.stdout)["model"] == "embed"
    assert up.stop() == 0


def test_a_root_that_leaves_no_room_for_sockets_is_refused(place):
    root = place / ("long" * 8)
    root.mkdir()
    done = run("up", "--demo", "--root", str(root))
    assert done.returncode == 64 and "leave room for 30" in done.stderr
    assert list(root.iterdir()) == []


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
