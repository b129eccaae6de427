"""`citadel up`: services are started, held, restarted within limits and ended, and nothing is left."""

import contextlib
import errno
import fcntl
import json
import os
import pathlib
import pty
import re
import resource
import selectors
import shutil
import signal
import socket
import struct
import subprocess
import sys
import termios
import time

import pytest
from program import CITADEL, environment, error_json, run, run_on_terminal
from up import (
    CONTAINMENTS,
    PATIENCE_S,
    Site,
    Up,
    children_of,
    is_there,
    possible_containments,
    processes_of,
)

NEVER = {"engine": "command", "command": '["/nowhere/at/all"]'}
FAILS = {"engine": "command", "command": '[/bin/false, "{port}"]', "restart_limit": 3}


@pytest.fixture
def site(tmp_path):
    sites = []

    def make(models, **more):
        place = tmp_path / f"site{len(sites)}"
        place.mkdir()
        sites.append(Site(place, models, **more))
        return sites[-1]

    yield make
    for one in sites:
        one.end()


@pytest.fixture(scope="module")
def possible(tmp_path_factory):
    return possible_containments(tmp_path_factory.mktemp("containment"))


# ---- in the foreground ----


def test_services_become_ready_in_lines_and_end_in_order(site):
    s = site({"a": "workers=2", "b": ""})
    up = s.up()
    up.wait_all(r"a: ready: answers chat completions$", r"b: ready: answers chat completions$")
    assert re.search(r"^containment: (\w+): ", up.said, re.M)[1] in CONTAINMENTS
    stamped = [line for line in up.said.splitlines() if ": starting" in line]
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [ab]: ", line) for line in stamped)
    assert len(s.servers("a")) == 3
    assert up.stop() == 0
    assert re.search(r"a: stopping", up.said) and re.search(r"b: stopped$", up.said, re.M)
    assert processes_of(s.directory) == {}
    assert not (s.run_dir / "control.sock").exists()


def test_only_those_that_are_named_are_started(site):
    s = site({"a": "", "b": "", "c": ""})
    up = s.up("b")
    up.wait_for(r"b: ready")
    assert {n: x["state"] for n, x in s.status().items()} == {
        "a": "stopped",
        "b": "ready",
        "c": "stopped",
    }
    assert s.run("start", "c").returncode == 0
    assert s.run("health").returncode == 0


def test_a_second_signal_ends_all_at_once(site):
    s = site({"a": "deaf workers=2", "b": "deaf"})
    up = s.up()
    up.wait_all("a: ready", "b: ready")
    up.process.send_signal(signal.SIGINT)
    up.wait_all("a: stopping", "b: stopping")
    assert up.stop() == 0
    assert "not ended" not in up.said
    assert processes_of(s.directory) == {}


class Terminal:
    """A terminal in front of citadel up: what is on its screen, as far as lines go up and down."""

    def __init__(self, site, rows=24, columns=100):
        self.ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process = subprocess.Popen(
            [CITADEL, "up", "-c", str(site.config)],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment(),
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(theirs)
        self.bytes = ""

    def screen(self):
        lines = []
        for part in re.split(r"(\033\[\d+A\033\[J|\n)", self.bytes.replace("\r", "")):
            up = re.fullmatch(r"\033\[(\d+)A\033\[J", part)
            if up:
                assert int(up[1]) < len(lines), "above the top of the screen"
                lines = lines[: len(lines) - int(up[1])] + [""]
                lines[-2:] = [""] if len(lines) > 1 else lines[-2:]
            elif part == "\n":
                lines.append("")
            elif lines:
                lines[-1] += part
            else:
                lines.append(part)
        return [re.sub(r"\033\[[0-9;]*m", "", line) for line in lines]

    def read(self):
        try:
            piece = os.read(self.ours, 65536)
        except OSError:
            piece = b""
        self.bytes += piece.decode()
        return bool(piece)

    def wait_for(self, pattern):
        deadline = time.monotonic() + PATIENCE_S
        with selectors.DefaultSelector() as selector:
            selector.register(self.ours, selectors.EVENT_READ)
            while not any(re.search(pattern, line) for line in self.screen()):
                left = deadline - time.monotonic()
                assert left > 0 and selector.select(left) and self.read(), self.bytes

    def end(self):
        while self.read():
            pass
        os.close(self.ours)
        return self.process.wait(timeout=PATIENCE_S)


def test_a_terminal_shows_one_table_in_place(site):
    s = site({"a": "", "b": ""})
    terminal = Terminal(s)
    terminal.wait_for(r"^b +ready ")
    terminal.wait_for(r"^a +ready ")
    screen = terminal.screen()
    assert sum(line.startswith("Service ") for line in screen) == 1
    assert sum(line.startswith("a ") for line in screen) == 1
    assert terminal.bytes.count("\033[J") > 1  # it was drawn more than once
    os.write(terminal.ours, b"\x03")
    assert terminal.end() == 0
    screen = terminal.screen()
    assert any(re.search(r"^a +stopped ", line) for line in screen)
    assert sum(line.startswith("Service ") for line in screen) == 1
    assert any("Ctrl-C again" in line for line in screen)


def test_no_terminal_is_too_narrow(site):
    s = site({"a": "", "name-that-is-long": ""})
    up = s.up()
    up.wait_all("a: ready", "name-that-is-long: ready")
    for columns in range(1, 21):
        for locale in ("C", "C.UTF-8"):
            code, shown = run_on_terminal("status", "-c", s.config, columns=columns, LC_ALL=locale)
            lines = re.sub(r"\033\[[0-9;]*m", "", shown).splitlines()
            assert code == 0 and len(lines) == 3, shown
            assert max(map(len, lines)) <= columns and lines[1].startswith("a"), shown
    assert up.stop() == 0
    for columns in (1, 2, 7, 20):
        terminal = Terminal(s, columns=columns)
        terminal.wait_for("^a" if columns < 8 else "^a +rea")
        os.write(terminal.ours, b"\x03")
        assert terminal.end() == 0
        table = re.sub(r"\033\[[0-9;]*m", "", terminal.bytes.rpartition("\033[J")[2]).splitlines()
        assert len(table) == 4 and max(map(len, table)) <= columns, table


def test_a_table_that_does_not_fit_becomes_lines(site):
    s = site({"a": "", "b": ""})
    terminal = Terminal(s, rows=5)
    terminal.wait_for(r"\d a: ready: answers")
    assert "\033[" not in terminal.bytes
    os.write(terminal.ours, b"\x03")
    assert terminal.end() == 0


def test_a_reader_that_stops_reading_stops_nothing(site):
    s = site({"a": ""})
    up = s.up()
    fcntl.fcntl(up.process.stdout, fcntl.F_SETPIPE_SZ, 4096)
    up.wait_for("a: ready")
    for _ in range(12):  # each some 10 lines of 60 bytes
        assert s.run("restart", "a").returncode == 0
    assert s.status()["a"]["state"] == "ready"
    assert up.stop() == 0


# ---- endings ----


def test_a_service_that_always_fails_is_given_up_within_the_bound(site):
    s = site({"a": FAILS})
    up = s.up()
    bound = up.wait_for(r"given up after 3 starts, and after (\S+) at most \(a;")[1]
    assert bound == "6h6m300ms"  # 3 times (start_max 2h + 2m), and pauses of 0.1 and 0.2 s
    up.wait_for(r"a: backing-off: .*exit status 1.* \(failure 1; again in 100ms\)$")
    up.wait_for(r"a: backing-off: .*\(failure 2; again in 200ms\)$")
    up.wait_for(r"a: failed: .*exit status 1")
    status = s.status()["a"]
    assert (status["state"], status["failures"], status["restarts"]) == ("failed", 3, 2)
    assert status["last_exit"] == 1 and "exit status 1" in status["reason"]
    done = s.run("start", "a")
    assert done.returncode == 1 and "exit status 1" in done.stderr
    assert error_json(s.run("health", "--json"))["id"] == "service.unhealthy"


def test_what_can_never_work_is_not_tried_again(site):
    s = site({"a": NEVER, "b": ""})
    up = s.up()
    up.wait_all(r"a: failed: .*/nowhere/at/all", r"b: ready")
    status = s.status()["a"]
    assert (status["last_exit"], status["restarts"], status["failures"]) == (64, 0, 0)
    done = s.run("health")
    assert done.returncode == 3
    assert re.match(r"a: failed: .*/nowhere/at/all", done.stdout)
    assert "b" not in done.stdout and "1 of 2 services" in done.stderr
    assert "citadel start a" in s.run("status", "a").stdout


def test_what_does_not_work_now_is_tried_again_when_another_stops(site):
    s = site({"a": "", "b": ""})
    other = s.up("b")  # has nothing to do with it, but for its run directory
    other.wait_for("b: ready")
    by_hand = subprocess.Popen(
        [CITADEL, "run", "a", "-c", s.config],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment(),
        text=True,
    )
    for line in by_hand.stderr:
        if "ready: answers" in line:
            break
    assert s.run("start", "a").returncode == 75
    found = other.wait_for(r"a: not-now: (.*) \(failure 0; again in 30s\)$")
    assert found[1] == "a is run by another process already"
    assert "30s" in s.run("status", "a").stdout or "29s" in s.run("status", "a").stdout
    by_hand.terminate()
    by_hand.communicate(timeout=PATIENCE_S)
    assert s.run("stop", "b").returncode == 0
    other.wait_for("a: ready")


def test_a_crash_is_restarted_and_the_reason_is_told(site):
    s = site({"a": ""})
    up = s.up()
    up.wait_for("a: ready")
    with contextlib.suppress(Exception):
        s.ask("a", "POST", "/exit?7")
    up.wait_for(r"a: backing-off: .*exit status 7")
    up.wait_for("a: ready")
    assert s.status()["a"]["restarts"] == 1
    assert s.run("health", "a").returncode == 0


# ---- from another terminal ----


def test_verbs_of_another_terminal(site):
    s = site({"a": "", "b": ""})
    up = s.up()
    up.wait_all("a: ready", "b: ready")
    before = s.status()
    assert s.run("restart", "a").returncode == 0
    after = s.status()
    assert after["a"]["pid"] != before["a"]["pid"] and after["b"]["pid"] == before["b"]["pid"]
    assert after["a"]["state"] == "ready" and after["a"]["restarts"] == 0
    assert s.run("stop", "a").returncode == 0
    assert s.status()["a"]["state"] == "stopped"
    assert s.run("health").returncode == 0
    table = s.run("status").stdout
    assert re.search(r"^a +stopped ", table, re.M) and re.search(r"^b +ready ", table, re.M)
    assert s.run("start", "all").returncode == 0
    assert [x["healthy"] for x in s.status().values()] == [True, True]
    assert s.run("stop", "models", "--no-wait").returncode == 0
    up.wait_all("a: stopped", "b: stopped")
    status, _ = s.control("POST", "/stop")
    assert status == 200 and up.wait_end() == 0


def test_programs_are_told_what_became_of_the_services(site):
    s = site({"a": "", "b": "", "c": {"command": '[/bin/false, "{port}"]', "engine": "command"}})
    up = s.up("a", "b")
    up.wait_all("a: ready", "b: ready")
    for words, want in (
        (["restart", "a"], {"a": "ready"}),
        (["stop", "all"], dict.fromkeys("abc", "stopped")),
        (["start", "b", "a"], {"a": "ready", "b": "ready"}),
    ):
        done = s.run(*words, "--json")
        assert (done.returncode, done.stderr) == (0, "")
        services = json.loads(done.stdout)["services"]
        assert {x["name"]: x["state"] for x in services} == want
        assert [set(x) for x in services] == [set(s.status()[x["name"]]) for x in services]
    done = s.run("start", "c", "--json")
    assert done.stdout == "" and error_json(done)["id"] == "service.failed"


def test_nobody_supervises(site):
    s = site({"a": ""})
    for verb in ("status", "health", "start", "stop", "restart"):
        error = error_json(s.run(verb, "--json"))
        assert (error["id"], error["exit"]) == ("service.not-running", 1)
        assert str(s.run_dir) in error["message"] and error["fix"] == "citadel up"
    assert error_json(s.run("logs", "a", "--json"))["exit"] == 4


def test_a_start_ends_a_hold_and_is_remembered(site):
    s = site({"a": ""})
    record = s.directory / "state/models/a/record.json"
    record.parent.mkdir(parents=True)
    hold = {"by": "ann", "why": "it eats the memory", "since_us": 1}
    record.write_text(json.dumps({"failures": 3, "boot": "", "hold": hold}))
    up = s.up()
    up.wait_for("a is held by ann: it eats the memory")
    done = s.run("start", "a")
    assert done.returncode == 0, done.stderr
    now = json.loads(record.read_text())
    assert "hold" not in now and now["failures"] == 0
    assert now["wanted"]["state"] == "started" and now["wanted"]["by"]
    assert s.run("stop", "a").returncode == 0
    assert json.loads(record.read_text())["wanted"]["state"] == "stopped"


@pytest.mark.parametrize(
    "name", ["../a", "a/../../b", "a\033[2Jb", "a" * 300, "", "\u202ea", "services/a/stop", "%61"]
)
def test_hostile_names_are_names_of_nothing(site, name):
    s = site({"a": ""})
    up = s.up()
    up.wait_for("a: ready")
    for verb in ("status", "health", "start", "stop", "restart", "logs"):
        done = s.run(verb, "--", name)
        assert done.returncode == 4, done
        assert "\033" not in done.stderr and "there is no service" in done.stderr
    assert "did you mean a" not in s.run("status", "--", "services").stderr
    assert s.run("up", "--", name).returncode == 4
    assert s.status()["a"]["state"] == "ready"


def test_what_the_control_socket_does_not_know(site):
    s = site({"a": ""})
    up = s.up()
    up.wait_for("a: ready")
    for method, path, status in [
        ("GET", "/", 404),
        ("GET", "/services/a", 404),
        ("GET", "/services/a/stop", 404),
        ("POST", "/services/a/explode", 404),
        ("POST", "/services/all/log", 404),
        ("POST", "/services/b/stop", 404),
        ("POST", "/services/../a/stop", 404),
        ("GET", "/services/a/log?lines=-1", 400),
        ("GET", "/services/a/log?lines=1000000", 400),
        ("GET", "/services/a/log?lines=1x", 400),
        ("GET", "/services/a/log?what", 400),
        ("GET", "/services/a/log?lines=1", 200),
        ("DELETE", "/services", 404),
    ]:
        got, body = s.control(method, path)
        assert got == status, (method, path, body)
    assert s.status()["a"]["state"] == "ready"


def test_connections_that_do_nothing_keep_nobody_out(site):
    s = site({"a": ""})
    up = s.up()
    up.wait_for("a: ready")
    idle = [s.connect(blocking=False) for _ in range(200)]
    assert s.status()["a"]["state"] == "ready"
    for c in idle:
        c.close()


def let_others_in(site):
    """The way to a site may be closed for other users by who runs the tests; their own is not ours to test."""
    for place in [site.directory, *site.directory.parents]:
        with contextlib.suppress(PermissionError):
            if not place.stat().st_mode & 0o005 and str(place) not in ("/", "/tmp"):
                place.chmod(place.stat().st_mode | 0o055)


def as_nobody(*words, **more):
    try:
        return subprocess.run(
            words,
            user=65534,
            group=65534,
            extra_groups=[],
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            **more,
        )
    except PermissionError:
        pytest.skip("the program is where nobody may run it")


takes_another_place = pytest.mark.skipif(os.geteuid() != 0, reason="takes another user's place")


@takes_another_place
def test_another_user_is_refused(site):
    s = site({"a": ""})
    let_others_in(s)
    up = s.up()
    up.wait_for("a: ready")
    for verb in ("status", "health", "stop", "start", "restart"):
        done = as_nobody(CITADEL, verb, "-c", s.config, "--json")
        error = error_json(done)
        assert (error["id"], error["exit"]) == ("system.not-permitted", 77), done
        assert "root and user 0" in error["message"]
    os.chmod(s.run_dir / "control.sock", 0o666)  # whoever gets in nevertheless
    done = as_nobody(CITADEL, "stop", "-c", s.config, "--json")
    assert error_json(done)["id"] == "system.not-permitted"
    assert s.status()["a"]["state"] == "ready"


# What nobody tries at the supervisor PID, whose descriptor FD listens, each by its name; and what came of it.
TRICKS = """
import ctypes, errno, json, os, socket, sys
run, pid, fd = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
os.chdir(run)
def connect(path):
    folder = os.open(os.path.dirname(path) or ".", os.O_PATH)  # its path may be longer than an address
    socket.socket(socket.AF_UNIX).connect(f"/proc/self/fd/{folder}/{os.path.basename(path)}")
def lock():
    os.open("up.lock", os.O_RDONLY)
def notify():
    socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"READY=1", "notify/a")
def steal():
    call = ctypes.CDLL(None, use_errno=True).syscall
    if call(438, os.pidfd_open(pid), fd, 0) < 0:
        raise OSError(ctypes.get_errno(), "pidfd_getfd")
def replace():
    os.rename("control.sock", "mine")
tricks = {
    "connect": lambda: connect("control.sock"),
    "through its root": lambda: connect(f"/proc/{pid}/root" + os.path.realpath("control.sock")),
    "through its descriptor": lambda: connect(f"/proc/{pid}/fd/{fd}"),
    "open its descriptor": lambda: os.open(f"/proc/{pid}/fd/{fd}", os.O_RDWR),
    "steal its descriptor": steal,
    "its lock": lock,
    "speak for a service": notify,
    "the model's own": lambda: connect("models/a/control.sock"),
    "put another there": replace,
    "remove it": lambda: os.unlink("control.sock"),
    "its memory": lambda: open(f"/proc/{pid}/mem", "rb"),
    "kill it": lambda: os.kill(pid, 15),
}
came = {}
for name, trick in tricks.items():
    try:
        trick()
        came[name] = "done"
    except OSError as e:
        came[name] = errno.errorcode[e.errno]
print(json.dumps(came))
"""


def sockets_of(pid):
    """Its descriptors that are sockets: number -> which."""
    found = {}
    for entry in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            if os.readlink(entry).startswith("socket:"):
                found[int(entry.name)] = os.readlink(entry)
    return found


def listener_of(up):
    """The descriptor on which the supervisor hears."""
    listening = {
        line.split()[6]
        for line in open("/proc/net/unix")
        if line.split()[3:6] == ["00010000", "0001", "01"]
    }
    return next(fd for fd, which in sockets_of(up.process.pid).items() if which[8:-1] in listening)


@takes_another_place
@pytest.mark.parametrize("namespace", [False, True])
def test_the_tricks_of_another_user_are_in_vain(site, namespace):
    s = site({"a": ""})
    let_others_in(s)
    up = s.up()
    up.wait_for("a: ready")
    words = [sys.executable, "-c", TRICKS, str(s.run_dir), str(up.process.pid), str(listener_of(up))]
    if namespace:  # in which nobody is root
        words = ["unshare", "--user", "--map-root-user", *words]
    done = as_nobody(*words)
    if namespace and "unshare failed" in done.stderr:
        pytest.skip("nobody may make a user namespace here")
    assert done.returncode == 0, done
    came = json.loads(done.stdout)
    assert set(came.values()) <= {"EACCES", "EPERM"}, came
    assert s.status()["a"]["restarts"] == 0


@takes_another_place
def test_a_connection_that_is_handed_on_has_the_rights_of_who_made_it(site):
    """So it is with every descriptor: the kernel tells who connected. Nobody is given one by us."""
    s = site({"a": ""})
    let_others_in(s)
    up = s.up()
    up.wait_for("a: ready")
    ask = "import socket, sys; s = socket.socket(fileno=int(sys.argv[1])); "
    ask += "s.sendall(b'GET /services HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n'); print(s.recv(12).decode())"
    ours = s.connect()
    ours.settimeout(None)  # the other end of it is to wait
    done = as_nobody(sys.executable, "-c", ask, str(ours.fileno()), pass_fds=[ours.fileno()])
    assert done.stdout == "HTTP/1.1 200\n"
    ours.close()
    its = set(sockets_of(up.process.pid).values())
    for pid in (s.status()["a"]["pid"], *s.servers("a")):
        assert not its & set(sockets_of(pid).values()), pid


def test_a_second_supervisor_is_refused_and_told_who_is_first(site):
    s = site({"a": ""})
    first = s.up()
    first.wait_for("a: ready")
    done = s.run("up", "--json")
    assert done.returncode == 64
    done = s.run("up")
    assert done.returncode == 75
    assert f"as process {first.process.pid}" in done.stderr
    assert s.status()["a"]["state"] == "ready"


@pytest.mark.parametrize("gone", ["control.sock", "up.lock", "."])
def test_files_that_others_remove_are_made_again(site, gone):
    s = site({"a": ""})
    up = s.up()
    up.wait_for("a: ready")
    pid = s.status()["a"]["pid"]
    if gone == ".":
        shutil.rmtree(s.run_dir)
    else:
        (s.run_dir / gone).unlink()
    deadline = time.monotonic() + PATIENCE_S
    while s.run("status").returncode or not (s.run_dir / "up.lock").exists():
        assert time.monotonic() < deadline, "they are not made again"
    assert f"as process {up.process.pid}" in s.run("up").stderr
    assert s.status()["a"]["pid"] == pid
    assert s.run("restart", "a").returncode == 0
    assert s.run("health").returncode == 0
    assert up.stop() == 0
    assert not (s.run_dir / "control.sock").exists()


def test_a_supervisor_that_was_stopped_goes_on(site):
    s = site({"a": "", "b": ""})
    up = s.up()
    up.wait_all("a: ready", "b: ready")
    up.process.send_signal(signal.SIGSTOP)
    with contextlib.suppress(Exception):
        s.ask("a", "POST", "/exit?7")
    assert up.process.poll() is None and len(s.servers("b")) == 1
    up.process.send_signal(signal.SIGCONT)
    up.wait_for("a: backing-off: .*exit status 7")
    up.wait_for("a: ready")
    assert s.status()["b"]["restarts"] == 0


# ---- logs ----


def test_a_log_is_followed_until_the_supervisor_ends(site):
    s = site({"a": ""})
    up = s.up()
    up.wait_for("a: ready")
    follower = subprocess.Popen(
        [CITADEL, "logs", "a", "-f", "-n", "5", "-c", s.config],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        text=True,
    )
    for line in follower.stdout:
        if "ready: answers" in line:
            break
    s.ask("a", "POST", "/say?first-%1b[31mword%1b[0m-%07")
    line = follower.stdout.readline()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} first-word-\n", line)
    assert up.stop() == 0
    _, err = follower.communicate(timeout=PATIENCE_S)
    assert follower.returncode == 0 and err == "the supervisor has ended\n"
    done = s.run("logs", "a", "-n", "1000")  # from the file
    assert done.returncode == 0 and "first-word-\n" in done.stdout
    assert len(s.run("logs", "a", "-n", "2").stdout.splitlines()) == 2


def test_several_logs_are_one_by_time(site):
    s = site({"a": "", "b": ""})
    up = s.up()
    up.wait_all("a: ready", "b: ready")
    follower = subprocess.Popen(
        [CITADEL, "logs", "models", "-f", "--since", "1h", "-c", s.config],
        stdout=subprocess.PIPE,
        env=environment(),
        text=True,
    )
    for name in ("a", "b", "a"):
        s.ask(name, "POST", f"/say?word-of-{name}")
        line = next(line for line in follower.stdout if "word-of-" in line)
        assert line.split(" ", 2)[2] == f"{name}: word-of-{name}\n"
    assert up.stop() == 0
    follower.communicate(timeout=PATIENCE_S)
    lines = s.run("logs", "all", "--since", "1h").stdout.splitlines()
    assert lines == sorted(lines, key=lambda line: line[:23])
    words = [line[24:] for line in lines if "word-of-" in line]
    assert words[0] == "a: word-of-a" and sorted(words[1:]) == ["a: word-of-a", "b: word-of-b"]
    assert s.run("logs", "all", "-n", "4").stdout.splitlines() == lines[-4:]
    (log,) = s.directory.rglob("a.log")
    old = "2001-02-03 04:05:06.789 long ago\nand a line without a time\n"
    log.write_text(old + log.read_text())
    assert "long ago" in s.run("logs", "a", "-n", "1000").stdout
    assert "long ago" not in s.run("logs", "a", "--since", "1h").stdout
    assert s.run("logs", "all", "-n", "1000").stdout.splitlines()[:2] == [
        "2001-02-03 04:05:06.789 a: long ago",
        "a: and a line without a time",
    ]
    assert error_json(s.run("logs", "gpu", "--json"))["exit"] == 4
    assert error_json(s.run("logs", "c", "--json"))["exit"] == 4


def test_a_log_that_is_full_makes_room(site):
    s = site({"a": ""})
    up = s.up()
    up.wait_for("a: ready")
    (log,) = s.directory.rglob("a.log")
    assert up.stop() == 0
    full = 10 * 1024 * 1024
    with log.open("a") as f:
        f.write("x" * (full - 10 - log.stat().st_size) + "\n")
    up = s.up()
    up.wait_for("a: ready")
    assert log.with_name("a.log.1").stat().st_size == full - 9
    assert log.stat().st_size < 10000
    assert "x\n" in s.run("logs", "a", "-n", "100").stdout


def test_a_follower_is_told_what_it_does_not_get(site):
    s = site({"a": ""})
    up = s.up()
    up.wait_for("a: ready")
    (log,) = s.directory.rglob("a.log")
    with log.open("a") as f:
        f.write("".join(f"line {i:093}\n" for i in range(50000)))  # 100 bytes each
    follow = ("logs", "a", "-f", "-n", "50000", "-c", s.config)
    follower = subprocess.Popen([CITADEL, *follow], stdout=subprocess.PIPE, env=environment(), text=True)
    told = follower.stdout.readline()
    assert told.startswith("... older lines are left out: only the last 4MiB are told here; more: ")
    assert told.endswith("citadel logs a -n LINES --no-follow\n")
    assert follower.stdout.readline().startswith("line 0")
    follower.kill()
    follower.communicate(timeout=PATIENCE_S)
    assert s.run("logs", "a", "-n", "50000", "--no-follow").stdout.count("\n") == 50000


def test_a_follower_that_does_not_read_costs_little(site):
    s = site({"a": ""})
    up = s.up()
    up.wait_for("a: ready")
    lazy = s.connect()
    lazy.sendall(b"GET /services/a/log?follow=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert lazy.recv(12) == b"HTTP/1.1 200"
    (log,) = s.directory.rglob("a.log")
    while log.stat().st_size < 2 * 1024 * 1024:
        s.ask("a", "POST", "/spew?1000")  # most of it the shim drops: it waits for nobody either
    status = pathlib.Path(f"/proc/{up.process.pid}/status").read_text()
    assert int(re.search(r"VmHWM:\s+(\d+)", status)[1]) < 32 * 1024
    heard = b""
    while b"bytes are left out: they came too fast" not in heard[-100000:]:
        heard += lazy.recv(65536)
    while b"goes-on" not in heard[-100000:]:  # the first may be among what the shim drops
        s.ask("a", "POST", "/say?goes-on")
        heard += lazy.recv(65536)
    lazy.close()
    assert s.status()["a"]["state"] == "ready"


@contextlib.contextmanager
def tmpfs(place):
    """A small one that is full, and how to make room."""
    place.mkdir(parents=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", place]).returncode:
        pytest.skip("nothing may be mounted here")
    try:
        yield place / "ballast"
    finally:
        subprocess.run(["umount", "-l", place], check=True)


@contextlib.contextmanager
def fills(kind, place):
    """Two calls: from the first on nothing can be written any more, from the second on it can."""
    if kind == "limit":

        def limit(pid, size):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

        (log,) = place.rglob("a.log") if place.exists() else [place / "models/a.log"]
        yield (
            lambda up: limit(up.process.pid, log.stat().st_size),
            lambda up: limit(up.process.pid, resource.RLIM_INFINITY),
        )
        return
    with tmpfs(place) as ballast:

        def fill(_):
            with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as f:
                while f.write(b"x"):
                    pass
            # The last page of the log has room left.
            with contextlib.suppress(OSError), (place / "models/a.log").open("ab", 0) as f:
                while f.write(b"x"):
                    pass

        yield fill, lambda _: ballast.unlink()


@pytest.mark.parametrize("kind", ["limit", "tmpfs"])
def test_lines_that_a_full_disk_loses_are_counted_and_told(site, kind):
    s = site({"a": ""})
    with fills(kind, s.directory / "logs") as (fill, make_room):
        up = s.up()
        up.wait_for("a: ready: answers")
        fill(up)
        s.ask("a", "POST", "/say?lost-" + 5000 * "x")
        why = os.strerror(errno.EFBIG if kind == "limit" else errno.ENOSPC)
        up.wait_for(rf"a: ready: answers chat completions; its log is lost: {why}$")
        told = s.status()["a"]
        log = told["log"]
        assert log["path"] == str(s.directory / "logs/models/a.log")
        assert log["lost_lines"] >= 1 and log["lost_bytes"] > 4096 and log["error"] == why
        assert os.strerror(log["errno"]) == why and told["healthy"]
        text = s.run("status").stdout
        assert re.search(rf"^\d+ lines? \(\d+ bytes\) of a's log w.+ lost: {log['path']}: {why}$", text, re.M)
        make_room(up)
        up.at = len(up.said)
        s.ask("a", "POST", "/say?kept")
        up.wait_for("a: ready: answers chat completions$")
        kept = s.run("logs", "a", "--no-follow").stdout
        lines = rf"citadel: (\d+) lines? \((\d+) bytes\) w\w+ lost between \S+ \S+ and \S+ \S+: {why}\n"
        (count,) = re.findall(lines, kept)
        log = s.status()["a"]["log"]
        assert count == (str(log["lost_lines"]), str(log["lost_bytes"])) and "error" not in log
        assert kept.endswith(" kept\n") and "lost-" not in kept
        assert "tells when and why" in s.run("status", "a").stdout
        assert up.stop() == 0


def test_a_log_whose_directory_goes_is_made_again(site):
    s = site({"a": ""})
    up = s.up()
    up.wait_for("a: ready")
    shutil.rmtree(s.directory / "logs")
    s.ask("a", "POST", "/say?hello")
    assert up.stop() == 0
    assert " hello\n" in s.run("logs", "a").stdout


# ---- nothing is left ----


@pytest.mark.parametrize("kind", CONTAINMENTS)
def test_workers_and_strays_end_with_their_service(site, possible, kind):
    if kind not in possible:
        pytest.skip(f"{kind} is not possible here")
    s = site({"a": "deaf workers=2 strays=2", "b": "workers=1"})
    up = s.up("--containment", kind)
    assert up.wait_for(r"^containment: (\w+)")[1] == kind
    up.wait_all("a: ready", "b: ready")
    assert (len(s.servers("a")), len(s.servers("b"))) == (5, 2)
    os.kill(s.status()["a"]["pid"], signal.SIGKILL)
    up.wait_for(r"a: backing-off: killed by SIGKILL")
    assert s.servers("a") == [] and len(s.servers("b")) == 2
    up.wait_for("a: ready")
    assert s.status()["b"]["restarts"] == 0
    up.end()
    assert processes_of(s.directory) == {}


def sleepers(seconds):
    """The processes that sleep as long as that."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and (entry / "cmdline").read_bytes() == b"sleep\0%d\0" % seconds:
                found.append(int(entry.name))
    return found


@contextlib.contextmanager
def sleeping(site):
    """A time that nobody else sleeps, and the command in sh that sleeps it in the background."""
    seconds = 10_000_000 + site.ports["a"]
    yield seconds, f"setsid sleep {seconds} </dev/null >/dev/null 2>&1 &"
    for pid in sleepers(seconds):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def stop_one(s, name):
    """After which a supervisor has killed what the service had left."""
    servers = s.servers(name)
    assert s.run("stop", name).returncode == 0
    assert not [pid for pid in servers if is_there(pid)]


@pytest.mark.parametrize("kind", CONTAINMENTS)
def test_children_from_before_it_began_are_none_of_its_services(site, possible, kind):
    if kind not in possible:
        pytest.skip(f"{kind} is not possible here")
    s = site({"a": "workers=1 strays=2", "b": ""})
    with sleeping(s) as (seconds, sleep):
        up = s.up("--containment", kind, before=["sh", "-c", f'{sleep} exec "$@"', "sh"])
        up.wait_all("a: ready", "b: ready")
        assert len(sleepers(seconds)) == 1
        stop_one(s, "a")
        assert len(sleepers(seconds)) == 1
        assert up.stop(signal.SIGTERM) == 0
        assert "b: stopped" in up.said
        assert len(sleepers(seconds)) == 1


def test_a_model_that_somebody_runs_by_hand_is_no_leftover(site):
    s = site({"a": "workers=1 strays=1", "b": ""})
    by_hand = subprocess.Popen(
        [CITADEL, "run", "a", "-c", str(s.config)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(),
    )
    try:
        while "ready: answers" not in (line := by_hand.stdout.readline()):
            assert line, "it has ended"
        servers = s.servers("a")
        assert len(servers) == 3
        up = s.up("b")
        up.wait_for("b: ready")
        assert "ended" not in up.said
        assert s.servers("a") == servers
    finally:
        by_hand.send_signal(signal.SIGTERM)
        by_hand.communicate(timeout=PATIENCE_S)
    assert by_hand.returncode == 0


IN_A_CONTAINER = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]


def test_the_first_process_of_a_container_leaves_its_neighbours_alone(site):
    """What ran before it, as sshd does, and what `docker exec` brings later."""
    if subprocess.run([*IN_A_CONTAINER, "true"], stderr=subprocess.DEVNULL).returncode:
        pytest.skip("PID namespaces are not possible here")
    s = site({"a": "workers=1 strays=2"})
    with sleeping(s) as (seconds, sleep):
        before = [*IN_A_CONTAINER, "sh", "-c", f'{sleep} exec "$@"', "sh"]
        up = s.up("--containment", "subreaper", before=before)
        up.wait_for("a: ready")
        (first,) = children_of(up.process.pid)
        subprocess.run(["nsenter", "-t", str(first), "-p", "sh", "-c", sleep], check=True)
        stop_one(s, "a")
        assert len(sleepers(seconds)) == 2
        os.kill(first, signal.SIGTERM)
        up.wait_end()
        assert sleepers(seconds) == []  # a container ends with its first process


@pytest.mark.parametrize("kind", CONTAINMENTS)
def test_a_supervisor_that_is_killed_leaves_nothing_to_the_next(site, possible, kind):
    if kind not in possible:
        pytest.skip(f"{kind} is not possible here")
    s = site({"a": "deaf workers=2 strays=2", "b": ""})
    first = s.up("--containment", kind)
    first.wait_all("a: ready", "b: ready")
    old = set(processes_of(s.directory)) - {first.process.pid}
    assert len(old) >= 8
    first.process.kill()
    first.wait_end()
    second = s.up()  # whatever holds it now
    second.wait_all("^ended [1-8] process(?:es)? of", "a: ready", "b: ready")
    assert not [pid for pid in old if is_there(pid)]
    second.end()
    assert processes_of(s.directory) == {}


def test_a_containment_that_is_insisted_on_is_taken_or_refused(site, possible):
    s = site({"a": ""})
    for kind in set(CONTAINMENTS) - set(possible):
        done = s.run("up", "--containment", kind)
        assert done.returncode != 0
        assert f"containment by {kind} is not possible here" in done.stderr
    assert "subreaper" in possible
