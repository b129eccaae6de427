"""Clients of others against citadel-sim, and against the gateway before it: tests/clients has what each of
them does.

Their packages are those that package-lock.json pins. They are fetched once, and stay beside the
programs; where no registry can be reached, there is nothing to test with."""

import contextlib
import fcntl
import re
import shutil
import subprocess

import pytest
from gateway import Gateway
from program import BIN, TOP
from sim import PATIENCE_S, Sim

CLIENTS = TOP / "tests/clients"
LOCK = "package-lock.json"
CHECKS = [
    (source.name, name)
    for source in sorted(CLIENTS.glob("*.mjs"))
    for name in re.findall(r'^check\("(.*)", ', source.read_text(), re.M)
]
FETCH = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1"]


@contextlib.contextmanager
def alone(path):
    """One at a time: tests run in several processes."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def fetch(where):
    """Why there are no packages; None: there are."""
    for tool in ("node", "npm"):
        if not shutil.which(tool):
            return f"{tool} is not installed"
    fetched = where / "fetched"  # the lock that they were fetched for
    pinned = (CLIENTS / LOCK).read_text()
    if fetched.exists() and fetched.read_text() == pinned:
        return None
    try:
        done = subprocess.run(FETCH, cwd=where, capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:
        return "npm ci does not come to its end"
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line]
        return f"npm ci: {(lines or ['failed'])[-1]}"
    fetched.write_text(pinned)
    return None


@pytest.fixture(scope="session")
def clients():
    where = BIN / "clients"
    where.mkdir(exist_ok=True)
    with alone(where / "alone"):
        for path in CLIENTS.iterdir():
            shutil.copy(path, where)
        why = fetch(where)
    if why:
        pytest.skip(why)
    return where


def simulator(*more):
    flags = ["--served-model-name", "phi3", "--max-model-len", "500", "--sim-control"]
    tools = ["--enable-auto-tool-choice", "--tool-call-parser", "hermes"]
    return Sim("--port", "0", *flags, *tools, *more)


@pytest.fixture(scope="module")
def sim():
    with simulator("--api-key", "secret") as running:
        yield running


@pytest.fixture(scope="module")
def behind(tmp_path_factory):
    """A gateway, and the engine behind it."""
    with simulator() as engine:
        models = {"phi3": f"port: {engine.port}, max_concurrent: 1, queue_timeout: 1s"}
        with Gateway(tmp_path_factory.mktemp("gateway"), models, ", progress_after: 100ms") as g:
            yield g, engine


def is_content(clients, source, name, *urls):
    done = subprocess.run(
        ["node", source, urls[0], name, *urls[1:]],
        cwd=clients,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("source, name", CHECKS)
def test_a_client_is_content(clients, sim, source, name):
    is_content(clients, source, name, f"http://{sim.where}")


@pytest.mark.parametrize("source, name", CHECKS)
def test_a_client_of_the_gateway_is_content(clients, behind, source, name):
    gateway, engine = behind
    is_content(clients, source, name, f"http://127.0.0.1:{gateway.port}", f"http://{engine.where}")


def test_every_check_is_found():
    for source in CLIENTS.glob("*.mjs"):
        found = [name for where, name in CHECKS if where == source.name]
        assert len(found) == len(set(found)) == len(re.findall(r"^check\(", source.read_text(), re.M))
