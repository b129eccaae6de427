"""Everything that the simulated engine can do wrong, in each phase of its life: how its shim ends,
with which sentence, and what `citadel status` and `citadel health` tell. Many of them at a time,
under one supervisor.

A fault strikes
    starting   before the engine answers
    ready      an idle engine
    busy       one that is answering
    draining   one that is answering, and was told to stop
    sleeping   one that sleeps, and is woken if that can be

Nobody waits for a time to pass: that an engine lives on is shown by what it does next."""

import concurrent.futures
import contextlib
import http.client
import json
import pathlib
import re
import subprocess
import threading
import time
from collections import namedtuple

import pytest
from program import CITADEL, TOP, environment, run, run_json
from shim import PATIENCE_S, Home, Unix, free_port

pytestmark = pytest.mark.xdist_group("failures")  # they share their supervisors
PATIENT_S = 2 * PATIENCE_S  # the slowest here is a hang that only a canary shows: 60 s, and 10 s
PHASES = ("starting", "ready", "busy", "draining", "sleeping")

# The shim ends with that exit code, for that reason; the service is in that state then.
Ends = namedtuple("Ends", "code error_id part state")
# It goes on; and is healthy, unless there is a part of what is wrong.
Lives = namedtuple("Lives", "part", defaults=[None])


def crashes(part, error_id="engine.crashed"):
    return Ends(1, error_id, part, "backing-off")


def never(part):
    return Ends(64, "engine.will-not-run", part, "failed")


def not_now(part):
    return Ends(75, "engine.not-now", part, "not-now")


def stalls(part):
    return crashes(f"no progress for start_stall_limit, 10s ({part})", "engine.start-too-long")


def hangs(part):
    return crashes(part, "engine.hung")


def fails_step(part):
    return crashes(part, "run.step-failed")


# Being stopped is not told as a failure, even if the engine crashes meanwhile; the record knows it.
STOPS = Ends(0, None, "", "stopped")


def stops_crashing(part):
    return Ends(1, "engine.crashed", part, "stopped")


LIVES = Lives()
SEGV, KILL = "ended unasked (killed by SIGSEGV)", "ended unasked (killed by SIGKILL)"
GPU_FAILED = "the GPU failed: unspecified launch failure"
CORE_DIED = "the engine's process EngineCore_DP0 died without a word"
STILL = "requests wait, and nothing has moved for"
CANARY = "a request of one token has gone unanswered"
FIRST_CANARY = "a request of one token is not answered"
NO_SLEEP = "moving the weights to host memory: the engine answered 500"
NO_WAKE = "moving the weights back: the engine answered 500"
SLOW = "/health has not been answered for"
FULL = "is busy (503): The server's queue is full: 0 requests are waiting. Try again later."
AT_500 = "answered chat completions with 500"

# More engines than this, each of three processes, starve each other on a small machine, and a start
# that starves looks like one that hangs. What takes longest begins first.
AT_A_TIME = 20
SLOW_ONES = ("freeze", "hang", "slow-load", "nccl-hang", "load-hang", "full-queue")

SLEEPERS = ("sleep-fails", "wake-fails")  # strike who is told to sleep, or to wake

# What becomes of each fault in each phase; None: it cannot strike then.
FAULTS = {
    # On the way to ready, or not at all.
    "bad-flag": [never("this release of vLLM does not know --no-such-flag")],
    "port-taken": [not_now("something else listens on 127.0.0.1:")],
    "no-free-memory": [not_now("are free, and gpu_memory_fraction 0.9 wants")],
    "load-oom": [never("GPU memory ran out: ")],
    "graph-oom": [never("GPU memory ran out: ")],
    "kv-too-small": [never("one request of max_model_len 8192 needs")],
    "no-kv": [never("leave nothing for the KV cache")],
    "nccl-error": [crashes("the GPUs could not talk to each other")],
    "nccl-hang": [stalls("importing")],
    "load-hang": [stalls("loading weights, 1 of 4")],
    "slow-load": [LIVES],  # for 25 s, and start_stall_limit is 10
    # Once, at a moment.
    "exit-0": [None, crashes(GPU_FAILED), crashes(GPU_FAILED), STOPS, crashes(GPU_FAILED)],
    "crash": [crashes("Engine core initialization failed"), crashes(CORE_DIED), crashes(CORE_DIED),
              STOPS, crashes(CORE_DIED)],
    "server-crash": [crashes(SEGV), crashes(SEGV), crashes(SEGV), stops_crashing(SEGV),
                     crashes(SEGV)],
    "worker-crash": [crashes("Engine core initialization failed"), crashes(CORE_DIED),
                     crashes(CORE_DIED), STOPS, crashes(CORE_DIED)],
    "wedged": [None, crashes(GPU_FAILED), crashes(GPU_FAILED), STOPS, crashes(GPU_FAILED)],
    "orphan-workers": [crashes(KILL), crashes(KILL), crashes(KILL), stops_crashing(KILL),
                       crashes(KILL)],
    "server-kill": [crashes(KILL), crashes(KILL), crashes(KILL), stops_crashing(KILL),
                    crashes(KILL)],
    # From a moment on.
    "workers-stay": [LIVES, LIVES, LIVES, STOPS, LIVES],
    "hang": [stalls(FIRST_CANARY), hangs(STILL), hangs(STILL), STOPS, fails_step(FIRST_CANARY)],
    "freeze": [stalls("/health is not answered"), hangs(CANARY), hangs(CANARY), STOPS,
               fails_step("start_stall_limit, 10s")],
    "ignore-sigterm": [LIVES, LIVES, LIVES, STOPS, LIVES],
    "slow-health": [Lives(SLOW), Lives(SLOW), Lives(SLOW), STOPS, Lives(SLOW)],
    "keep-memory": [LIVES, LIVES, LIVES, STOPS, LIVES],
    "sleep-fails": [fails_step(NO_SLEEP), fails_step(NO_SLEEP), fails_step(NO_SLEEP), STOPS,
                    fails_step(NO_SLEEP)],
    "wake-fails": [fails_step(NO_WAKE), fails_step(NO_WAKE), fails_step(NO_WAKE), STOPS,
                   fails_step(NO_WAKE)],
    "wrong-model": [never("the engine does not know"), LIVES, LIVES, STOPS,
                    crashes("the engine does not know")],
    # Requests.
    "cut-stream": [crashes("closed the connection within its answer"),
                   crashes("closed the connection within its answer"),
                   crashes("closed the connection within its answer"), STOPS,
                   crashes("closed the connection within its answer")],
    "full-queue": [stalls(f"'full-queue-starting' {FULL}"), LIVES, LIVES, STOPS, fails_step(FULL)],
    "error-500": [crashes(AT_500), crashes(AT_500), crashes(AT_500), STOPS, crashes(AT_500)],
}
ROWS = [
    (fault, phase) for fault in FAULTS for phase, want in zip(PHASES, FAULTS[fault]) if want
]


def want_of(fault, phase):
    return FAULTS[fault][PHASES.index(phase)]


class Supervisor:
    """citadel up, and what it says of its services."""

    def __init__(self, home):
        self.home, self.lines = home, []
        self.news = threading.Condition()
        self.process = subprocess.Popen(
            [CITADEL, "up", "first", "--config", home.config],
            env=environment(CITADEL_FAKE_NVML=None),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.ended = False
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            with self.news:
                self.lines.append(line.rstrip("\n"))
                self.news.notify_all()
        with self.news:
            self.ended = True
            self.news.notify_all()

    def says(self, pattern, after=0):
        """Waits for such a line, and returns where the next one is."""
        deadline = time.monotonic() + PATIENT_S
        with self.news:
            while True:
                for i in range(after, len(self.lines)):
                    if re.search(rf"(^| ){pattern}", self.lines[i]):
                        return i + 1
                after = max(after, len(self.lines))
                left = deadline - time.monotonic()
                assert left > 0 and not self.ended, f"no line {pattern}: {self.lines[-3:]}"
                self.news.wait(left)

    def verb(self, *words):
        return run(*words, "--config", self.home.config)

    def json(self, *words):
        return run_json(*words, "--config", self.home.config)

    def finish(self):
        self.process.terminate()
        self.process.wait(timeout=PATIENT_S)
        self.reader.join()
        self.process.stdout.close()


def bearers(mark):
    """The processes that have this in their environment."""
    for place in pathlib.Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in place.read_bytes().split(b"\0"):
                yield place.parent.name
        except OSError:
            pass  # it has ended, or is not ours


class Row:
    """A fault in a phase: a model that has it, and what becomes of it."""

    def __init__(self, home, fault, phase):
        self.home, self.fault, self.phase = home, fault, phase
        self.want = want_of(fault, phase)
        self.name = f"{fault}-{phase}"
        self.port = free_port()
        args = ["--sim-control", "--sim-token-rate", "4", "--sim-slow", "8"]
        args += ["--sim-load-time", "2.5" if fault == "slow-load" else "1"]
        if phase == "starting":
            once = len(FAULTS[fault]) > 1
            args += ["--sim-fault", f"{fault}@loading" if once else fault]
        home.models[self.name] = {
            "engine": "sim",
            "port": self.port,
            "sleep_level": 1,
            "start_stall_limit": "10s",
            "stall_limit": "10s",
            "drain_timeout": "6s",
            "restart_delay": "1h",
            "extra_args": args,
        }

    # --- what others do with it ---

    def post(self, path, **body):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENT_S)
        text = json.dumps({"model": self.name, **body})
        connection.request("POST", path, text, {"Content-Type": "application/json"})
        return connection

    def strike(self):
        connection = self.post("/sim/fault", fault=self.fault)
        try:
            assert connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            pass  # it took the server with it
        finally:
            connection.close()

    def begin_request(self, tokens):
        """Its answer has begun."""
        messages = [{"role": "user", "content": "tell"}]
        wish = {"messages": messages, "max_tokens": tokens, "ignore_eos": True, "stream": True}
        connection = self.post("/v1/chat/completions", **wish)
        answer = connection.getresponse()
        assert answer.status == 200 and answer.readline()
        return connection, answer

    def ask_shim(self, path):
        connection = Unix(self.home.run / "models" / self.name / "control.sock")
        connection.request("POST", path)
        status = connection.getresponse().status
        connection.close()
        return status

    # --- its life ---

    def live(self, up):
        assert up.verb("start", self.name, "--no-wait").returncode == 0
        at = up.says(f"{self.name}: (ready|failed|backing-off|not-now)")
        answer = None
        if self.phase == "sleeping":
            assert self.ask_shim("/sleep?level=1") == 200
        if self.phase in ("busy", "draining"):
            long = self.phase == "busy" and self.fault not in SLEEPERS
            connection, answer = self.begin_request(100 if long else 12)
        if self.phase == "draining":
            up.verb("stop", self.name, "--no-wait")
            at = up.says(f"{self.name}: stopping: finishing 1 request$", at)
        if self.phase != "starting":
            self.strike()
        if isinstance(self.want, Lives):
            self.goes_on(up, answer)
        else:
            self.ends(up, at, answer)
        if answer:
            connection.close()

    def ends(self, up, at, answer):
        if self.fault in SLEEPERS and self.phase != "draining":
            self.sleep_and_wake(answer)
        elif self.phase == "sleeping":
            with contextlib.suppress(OSError, http.client.HTTPException):
                self.ask_shim("/wake")  # if it is still there
        up.says(f"{self.name}: {self.want.state}", 0 if self.phase == "starting" else at)
        self.see(up)

    def sleep_and_wake(self, answer):
        if answer:
            answer.read()
        if self.phase == "sleeping" and self.fault == "sleep-fails":
            assert self.ask_shim("/wake") == 200
        if self.phase != "sleeping" or self.fault == "sleep-fails":
            self.ask_shim("/sleep?level=1")
        if self.fault == "wake-fails":
            self.ask_shim("/wake")

    def goes_on(self, up, answer):
        if self.phase == "sleeping":
            assert self.ask_shim("/wake") == 200
        if answer:
            assert answer.read().endswith(b"data: [DONE]\n\n")
        if self.want.part:  # it comes and goes
            up.says(f"{self.name}: ready: degraded: {self.want.part}", len(up.lines))
        self.see(up)
        assert up.verb("stop", self.name).returncode == 0

    def see(self, up):
        code, told = up.json("status", self.name)
        self.status = told["services"][0]
        self.health_exit, told = up.json("health", self.name)
        self.health = told[0]
        mark = f"CITADEL_SERVICE={self.home.run}/services/{self.name}/engine"
        self.left = list(bearers(mark.encode()))


def is_impatient(fault, phase):
    """It is tried again whenever another service ends."""
    want = want_of(fault, phase)
    return isinstance(want, Ends) and want.state == "not-now"


@pytest.fixture(scope="module")
def lives(tmp_path_factory):
    """The rows, and for each when it is over."""
    homes = [Home(tmp_path_factory.mktemp("failures")) for _ in range(2)]
    for home in homes:
        home.models["first"] = {"engine": "sim", "port": free_port()}  # supervised, whatever else is
    rows = {key: Row(homes[is_impatient(*key)], *key) for key in ROWS}
    for home in homes:
        home.write()
    ups = {home: Supervisor(home) for home in homes}
    for up in ups.values():
        up.says("first: ready")
    with concurrent.futures.ThreadPoolExecutor(AT_A_TIME) as pool:
        slow_first = sorted(rows.items(), key=lambda item: item[1].fault not in SLOW_ONES)
        yield {key: (row, pool.submit(row.live, ups[row.home])) for key, row in slow_first}
        for home, up in ups.items():
            up.finish()
            home.finish()


def test_the_table_is_whole():
    text = (TOP / "sim/faults.def").read_text()
    rows = re.findall(r'^FAULT\(\w+, "([a-z0-9-]+)", \w+, (\w+),', text, re.M)
    assert {name: 1 if each == "START" else len(PHASES) for name, each in rows} == {
        name: len(phases) for name, phases in FAULTS.items()
    }


@pytest.mark.parametrize("fault,phase", ROWS)
def test_a_failure(lives, fault, phase):
    row, over = lives[fault, phase]
    over.result()  # each of its steps has a limit
    want = row.want
    if isinstance(want, Lives):
        assert (row.status["state"], row.status["restarts"]) == ("ready", 0)
        assert row.health_exit == (3 if want.part else 0)
        assert (want.part or "") in (row.health["why"] or "")
        assert row.home.record(row.name)["last"]["exit"] == 0  # when it was stopped
        return
    last = row.home.record(row.name)["last"]
    assert (last["exit"], last["id"]) == (want.code, want.error_id)
    assert want.part in (last["what"] or "")
    assert want.error_id is None or last["fix"]
    assert row.status["state"] == want.state
    assert row.left == []
    if want.state == "stopped":
        assert row.health_exit == 0
    else:
        assert row.status["reason"] == row.health["why"]
        assert last["what"].startswith(row.status["reason"].removesuffix("..."))
        assert row.health_exit == 3
