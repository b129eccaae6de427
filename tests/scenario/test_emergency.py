"""`citadel rollback emergency`: everything is dead within seconds, whatever it does and whoever hangs, and
stays down until that is lifted."""

import contextlib
import fcntl
import json
import os
import pathlib
import signal
import subprocess
import tempfile
import time

import pytest

import machine
import up
from program import BIN, CITADEL, environment, run, run_json
from shim import PATIENCE_S, Home, ends

pytestmark = pytest.mark.xdist_group("machine")  # a stop is that of the whole machine

GPUS = 2


@pytest.fixture
def place():
    """Sockets have short paths."""
    with tempfile.TemporaryDirectory("", "citadel-", "/tmp") as folder:
        yield pathlib.Path(folder)


def why_not_here():
    """The stop is that of the machine: not where Citadel is deployed."""
    slices = (pathlib.Path("/sys/fs/cgroup") / part / "citadel.slice" for part in ("", "unified", "systemd"))
    if pathlib.Path("/etc/citadel").exists() or any(path.exists() for path in slices):
        return "Citadel runs on this machine"
    return None


alone = pytest.mark.skipif(why_not_here() is not None, reason=str(why_not_here()))


@contextlib.contextmanager
def site_of(directory, faults):
    """`citadel up` with simulated models, each with a fault of its own, all of them ready."""
    models = {
        name: {
            "engine": "sim",
            "gpu_memory_fraction": 0.2,
            "extra_args": json.dumps(["--sim-fault", fault] if fault else []),
        }
        for name, fault in faults.items()
    }
    site = up.Site(directory, models)
    try:
        yield site
    finally:
        with contextlib.suppress(FileNotFoundError):
            (site.run_dir / "emergency").unlink()
        site.end()


def gpus(directory):
    folder = directory / "nvml"
    folder.mkdir()
    (folder / "gpus").write_text("gpu NVIDIA L40S\n" * GPUS)
    return {"CITADEL_FAKE_NVML": str(folder), "LD_LIBRARY_PATH": str(BIN / "sim")}


def stop(site, *words, **env):
    done = run("rollback", "emergency", "--force", "--json", "-c", str(site.config), *words, **env)
    return done.returncode, json.loads(done.stdout)


# ---- with our own supervisor ----


@alone
@pytest.mark.parametrize("containment", up.CONTAINMENTS)
def test_all_that_a_supervisor_holds_is_dead(place, containment):
    """Seven models: one heeds no SIGTERM, one has lost its server, one is stopped."""
    if containment not in up.possible_containments(place):
        pytest.skip(f"{containment} is not possible here")
    faults = dict.fromkeys("abcdefg")
    faults["b"] = "ignore-sigterm"
    env = gpus(place)
    with site_of(place, faults) as site:
        supervisor = site.up("--containment", containment, env=env)
        supervisor.wait_all(*(f" {name}: ready:" for name in faults))
        victims = up.processes_of(place)
        assert len(victims) > 3 * len(faults)
        engine = next(pid for pid, command in victims.items() if "citadel-sim" in command)
        os.kill(engine, signal.SIGSTOP)
        began = time.monotonic()
        code, report = stop(site, "--why", "a test", **env)
        assert time.monotonic() - began < 10
        assert (code, report["left"], report["gpu_error"]) == (0, [], None)
        assert report["services"] == len(faults) and report["killed"] >= len(victims) - 1
        assert report["gpus_free"] == GPUS
        assert not up.processes_of(place)
        assert supervisor.process.wait(timeout=PATIENCE_S) == -signal.SIGKILL
        assert not list(pathlib.Path("/sys/fs/cgroup").glob(f"**/citadel-{supervisor.process.pid}-*"))


@alone
def test_a_supervisor_that_hangs_starts_nothing_anew(place):
    with site_of(place, {"a": None, "b": None}) as site:
        supervisor = site.up()
        supervisor.wait_all(" a: ready:", " b: ready:")
        supervisor.process.send_signal(signal.SIGSTOP)
        code, report = stop(site)
        assert (code, report["left"]) == (0, [])
        assert supervisor.process.wait(timeout=PATIENCE_S) == -signal.SIGKILL
        assert not up.processes_of(place)


@alone
def test_a_lock_that_somebody_holds_is_not_waited_for(place):
    with site_of(place, {"a": None}) as site:
        supervisor = site.up()
        supervisor.wait_for("a: ready")
        with (site.run_dir / ".emergency.new").open("w") as draft:
            fcntl.flock(draft, fcntl.LOCK_EX)
            began = time.monotonic()
            code, report = stop(site, "--why", "smoke")
        assert (code, report["left"], report["marker_error"]) == (0, [], None)
        assert time.monotonic() - began < 10
        assert json.loads((site.run_dir / "emergency").read_text())["why"] == "smoke"
        assert supervisor.process.wait(timeout=PATIENCE_S) == -signal.SIGKILL


@alone
def test_it_stays_down_until_it_is_lifted(place):
    with site_of(place, {"a": None}) as site:
        supervisor = site.up()
        supervisor.wait_for("a: ready")
        assert stop(site, "--why", "smoke in rack 3")[0] == 0
        marker = json.loads((site.run_dir / "emergency").read_text())
        assert marker["why"] == "smoke in rack 3" and marker["by"]
        for words in (("up",), ("start",), ("run", "a"), ("status",)):
            done = site.run(*words)
            assert done.returncode == 75, (words, done)
            assert "an emergency stop is in force" in done.stderr
            assert "because: smoke in rack 3: nothing starts" in done.stderr
            assert done.stderr.endswith("try: citadel rollback emergency --lift\n"), done.stderr
        told = json.loads(site.run("rollback", "status", "--json").stdout)
        assert told["emergency"]["why"] == "smoke in rack 3" and told["processes"] == 0
        assert stop(site, "--why", "another")[1]["killed"] == 0  # a second one is no error
        assert json.loads((site.run_dir / "emergency").read_text()) == marker
        lifted = site.run("rollback", "emergency", "--lift")
        assert lifted.returncode == 0 and "Nothing was started. To start: " in lifted.stdout
        assert json.loads(site.run("rollback", "status", "--json").stdout)["emergency"] is None
        again = site.up()
        again.wait_for("a: ready")
        assert json.loads(site.run("rollback", "status", "--json").stdout)["services"] == 1
        assert again.stop() == 0


@alone
def test_a_model_that_was_run_by_hand_is_dead(place):
    home = Home(place)
    try:
        home.add()
        shim = home.start().ready()
        engine = shim.engine_pid()
        done = run("rollback", "emergency", "--force", "-c", str(home.config))
        assert done.returncode == 0, done
        assert "processes of 1 service killed, in " in done.stdout
        assert ends(engine) and shim.process.wait(timeout=PATIENCE_S) == -signal.SIGKILL
    finally:
        home.finish()


@alone
def test_memory_that_does_not_come_back_is_told(place):
    env = gpus(place)
    with site_of(place, {"a": "keep-memory"}) as site:
        supervisor = site.up(env=env)
        supervisor.wait_for("a: ready")
        code, report = stop(site, **env)
        assert (code, report["left"], report["gpus_free"]) == (1, [], 0)
        assert report["gpu_error"].startswith("GPU 0: ")


@alone
def test_a_group_of_version_1_is_killed_one_by_one(place):
    """Where systemd has its units in the named hierarchy, which cannot kill a group."""
    top = pathlib.Path("/sys/fs/cgroup/systemd")
    if os.geteuid() != 0 or not os.access(top / "cgroup.procs", os.W_OK):
        pytest.skip("there is no hierarchy of version 1 here to put a group into")
    groups = [top / "citadel.slice", top / "citadel.slice/citadel-x.service"]
    config = place / "citadel.yaml"
    config.write_text(f"paths: {{run: {place}/run}}\nmodels: {{a: {{engine: sim}}}}\n")
    for group in groups:
        group.mkdir()
    try:
        script = f"echo $$ >{groups[1]}/cgroup.procs; trap '' TERM; setsid sleep 1000 & echo; exec sleep 1000"
        leader = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE)
        leader.stdout.readline()
        code, told = run_json("rollback", "emergency", "--force", "-c", config)
        assert (code, told["killed"], told["services"], told["left"]) == (0, 2, 1, [])
        assert leader.wait(timeout=PATIENCE_S) == -signal.SIGKILL
        leader.stdout.close()
        assert (groups[1] / "cgroup.procs").read_text() == ""
    finally:
        for group in reversed(groups):
            group.rmdir()


@alone
def test_without_a_sound_configuration_it_goes_on(place):
    broken = place / "citadel.yaml"
    broken.write_text("models: {a: {port: 70000}}\n")
    root = place / "root"
    root.mkdir()
    done = run("rollback", "emergency", "--force", "-c", str(broken), "--root", str(root))
    assert done.returncode == 0, done
    assert f"what runs is looked for in {root}/run/citadel" in done.stderr
    assert (root / "run/citadel/emergency").exists()


def test_it_asks_first(place):
    (place / "citadel.yaml").write_text("models: {a: {engine: sim}}\n")
    done = run("rollback", "emergency", "-c", str(place / "citadel.yaml"), "--root", str(place))
    assert done.returncode == 1 and "the same with -y" in done.stderr
    assert not list(place.rglob("emergency"))


def test_it_answers_to_its_other_name(place):
    name = place / "citadel-rollback"
    name.symlink_to(CITADEL)
    (place / "citadel.yaml").write_text("models: {a: {engine: sim}}\n")
    words = ("status", "-c", place / "citadel.yaml", "--root", place)
    said = subprocess.run([name, *words], env=environment(), stdout=subprocess.PIPE, text=True).stdout
    assert said.startswith("No emergency stop is in force.\n")


# ---- with systemd ----

FAULTS = {**dict.fromkeys(("one", "two", "three", "four")), "deaf": "ignore-sigterm", "five": None, "six": None}


def deploy(here):
    models = {
        name: {
            "engine": "sim",
            "port": 12000 + i,
            "restart_delay": "1s",
            "extra_args": ["--sim-control", *(["--sim-fault", fault] if fault else [])],
        }
        for i, (name, fault) in enumerate(FAULTS.items())
    }
    config = {"storage": {"require_mounts": False}, "models": models}
    top = "/etc/citadel/generations/1"
    here.write_json(f"{top}/config.yaml", config)
    here.run(f"{here.bin}/citadel", "units", "-q", "-c", f"{top}/config.yaml", "--write", f"{top}/units")
    here.run("ln", "-sfn", "generations/1", "/etc/citadel/current")
    here.run("ln", "-sfn", "current/config.yaml", "/etc/citadel/citadel.yaml")
    for name, command in (
        *(("storage", "/bin/true"), ("gateway", "/bin/sleep infinity"), ("monitor", "/bin/sleep infinity")),
    ):
        lines = ["[Service]", *([] if name == "storage" else ["Type=exec", "WatchdogSec=0"])]
        lines += ["ExecStart=", f"ExecStart={command}", ""]
        here.write(f"/etc/systemd/system/citadel-{name}.service.d/test.conf", "\n".join(lines))
    here.run(f"{here.bin}/citadel", "storage", "setup")
    here.run("systemctl", "daemon-reload")


@pytest.fixture(scope="module", params=machine.SUITES)
def here(request):
    if why := machine.why_not():
        pytest.skip(why)
    with machine.Machine(request.param, "emergency") as booted:
        booted.run("systemd-sysusers")
        booted.run("systemd-tmpfiles", "--create")
        deploy(booted)
        yield booted


def start_all(here):
    here.run("systemctl", "restart", "citadel-ai.target")  # as --lift tells
    for name in FAULTS:
        here.is_in_state(f"citadel-{name}", "active")


def members(here):
    """Every process of Citadel's groups; asked of no bus."""
    done = here.inside("sh", "-c", "find /sys/fs/cgroup/citadel.slice -name cgroup.procs -exec cat {} +")
    return [pid for pid in done.stdout.split() if pid != "0"]  # 0: it is ending just now


def rests(here, unit):
    """It is down, and systemd does not mean to start it."""
    now = here.show(unit, "ActiveState", "SubState", "Job")
    return now["ActiveState"] in ("inactive", "failed") and now.get("Job", "") in ("", "0")


def emergency(here, *words):
    """Not through systemd-run: that needs the bus, which may hang."""
    done = here.inside(f"{here.bin}/citadel", "rollback", "emergency", "--json", *words)
    assert done.returncode == 0, (done.stdout, done.stderr)
    return json.loads(done.stdout)


@pytest.mark.parametrize("bus", ["answers", "hangs"])
def test_seven_models_are_dead_and_stay_so(here, bus):
    start_all(here)
    before = members(here)
    assert len(before) > 3 * len(FAULTS)
    orphaned = here.sh("cat /sys/fs/cgroup$(systemctl show -P ControlGroup citadel-two)/cgroup.procs").split()
    here.inside("kill", "-STOP", orphaned[-1])
    daemon = here.sh("systemctl show -P MainPID dbus").strip()
    if bus == "hangs":
        here.inside("kill", "-STOP", daemon)
    try:
        report = emergency(here, "--force", "--why", "a test")
    finally:
        here.inside("kill", "-CONT", daemon)
    assert report["left"] == []
    assert report["killed"] >= len(before) and report["services"] >= len(FAULTS)
    assert report["took_us"] < 3_000_000
    assert report["systemd"] == ("told" if bus == "answers" else "silent")
    marker = json.loads(here.run("cat", "/run/citadel/emergency").stdout)
    assert marker["why"] == "a test"
    for unit in (*FAULTS, "gateway", "monitor"):
        # Restart=always tries, after a second; what keeps it down is no failure.
        here.until(lambda unit=unit: rests(here, f"citadel-{unit}"), f"{unit} rests")
    assert members(here) == []
    done = here.run(f"{here.bin}/citadel", "start", "one", check=False)
    assert done.returncode == 75 and "citadel rollback emergency --lift" in done.stderr
    shown = here.run(f"{here.bin}/citadel", "status").stdout
    assert shown.startswith("An emergency stop is in force, since ")
    health = here.run(f"{here.bin}/citadel", "health", check=False)
    assert health.returncode == 3 and "because: a test" in health.stderr
    lifted = here.run(f"{here.bin}/citadel-rollback", "emergency", "--lift").stdout
    assert lifted.endswith("Nothing was started. To start: systemctl restart citadel-ai.target\n")


def test_orphans_are_dead(here):
    """Workers in sessions of their own, whose server has died."""
    start_all(here)
    fault = '{"fault": "orphan-workers"}'
    here.run("curl", "-sS", "--json", fault, "http://127.0.0.1:12002/sim/fault")
    before = members(here)
    report = emergency(here, "--force")
    emergency(here, "--lift")
    assert report["left"] == [] and not set(before) & set(members(here))


def test_one_that_comes_from_within_ends_all_but_itself(here):
    start_all(here)
    before = members(here)
    done = here.run(
        *("systemd-run", "--quiet", "--pipe", "--wait", "--slice=citadel.slice"),
        *(f"{here.bin}/citadel", "rollback", "emergency", "--force", "--json"),
        check=False,
    )
    emergency(here, "--lift")
    assert done.stdout.startswith("{") and json.loads(done.stdout)["left"] == [], done
    assert not set(before) & set(members(here))
