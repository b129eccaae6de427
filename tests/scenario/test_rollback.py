"""`citadel rollback graceful`, `partial`, `backup` and `restore`; `enable` and `disable`: under `citadel up`,
with files only, and under the real systemd, as an operator types them."""

import contextlib
import fcntl
import json
import os
import subprocess

import pytest

import machine
from program import CITADEL, environment, error_json, run, run_json
from test_apply import citadel, completes, current, model, stand_in, write
from up import Site, processes_of


# ---- under `citadel up` ----


@pytest.fixture
def site(tmp_path):
    one = Site(tmp_path, {"a": "", "b": ""})
    up = one.up()
    up.wait_all("a: ready", "b: ready")
    yield one
    one.end()


def states(site):
    return {name: s["state"] for name, s in site.status().items()}


def test_graceful_stops_all_and_says_what(site):
    done = site.run("rollback", "graceful", "--force")
    assert done.returncode == 0, done
    assert done.stdout.splitlines() == [
        "stopped citadel-a.service",
        "stopped citadel-b.service",
        "It stays down until a person starts it: citadel start",
    ]
    assert set(states(site).values()) == {"stopped"}
    record = json.loads((site.directory / "state/models/a/record.json").read_text())
    assert record["wanted"]["state"] == "stopped"
    assert json.loads(site.run("rollback", "graceful", "--force", "--json").stdout)["stopped"] == []
    (event,) = [e for e in json.loads(site.run("events", "--json").stdout) if e["event"] == "deploy.stopped"]
    assert event["text"] == "citadel rollback graceful: 2 units of all were stopped"
    assert site.run("start").returncode == 0
    assert set(states(site).values()) == {"ready"}


@pytest.mark.parametrize("spoil", ["pipe", "directory", "lock"])
def test_an_engine_that_spoils_its_record_is_stopped_all_the_same(site, spoil):
    of_a = site.directory / "state/models/a"
    of_a.mkdir(parents=True, exist_ok=True)
    record, draft = of_a / "record.json", of_a / ".record.json.new"
    record.unlink(missing_ok=True)
    if spoil == "pipe":
        os.mkfifo(record)
        os.mkfifo(draft)
    elif spoil == "directory":
        (record / "full").mkdir(parents=True)
        (draft / "full").mkdir(parents=True)
    else:
        (of_a / "lock").touch()
    with open(of_a / "lock", "a") if spoil == "lock" else contextlib.nullcontext() as lock:
        if lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
        done = site.run("rollback", "graceful", "--force")
        assert done.returncode == 0, done
        assert set(states(site).values()) == {"stopped"}
        assert ("citadel-a.service is stopped all the same" in done.stdout + done.stderr) == (spoil != "pipe")
    assert site.run("start", "b").returncode == 0


def test_a_group_that_is_not_there_stops_nothing(site):
    for group in ("gateway", "monitoring"):
        done = site.run("rollback", "partial", group, "-y")
        assert done.returncode == 0 and f"Nothing of {group} ran." in done.stdout
    assert set(states(site).values()) == {"ready"}
    done = site.run("rollback", "partial", "--group", "models", "--json", "--force")
    assert json.loads(done.stdout)["stopped"] == ["citadel-a.service", "citadel-b.service"]


def test_it_asks_first(site):
    done = site.run("rollback", "graceful")
    assert done.returncode == 1 and "the same with -y" in done.stderr
    assert set(states(site).values()) == {"ready"}
    done = site.run("rollback", "partial", "models", "--group", "gateway", "--force")
    assert done.returncode == 64 and "to be given once" in done.stderr


# ---- files only ----

FILES = """# what we serve
models:
  one:   # the small one
    engine: sim
    # its size
    max_model_len: 2048
  two: {engine: sim}
storage: {require_mounts: false}
hub: {offline: false, token: {credential: hf-token}}
"""


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "root"
    (root / "etc/citadel").mkdir(parents=True)
    (root / "opt/citadel/bin").mkdir(parents=True)
    (root / "etc/citadel/citadel.yaml").write_text(FILES)
    (root / "etc/citadel/citadel.yaml").chmod(0o640)
    hook = root / "opt/citadel/bin/tell"
    hook.write_text("#!/bin/sh\n")
    hook.chmod(0o755)
    return root


def config_of(root):
    return root / "etc/citadel/citadel.yaml"


def test_a_backup_comes_back_byte_for_byte(root):
    run("secrets", "set", "hf-token", "--root", root, input="sq5eamish-0ssifrage\n")
    assert run("apply", "-y", "--root", root).returncode == 0
    code, kept = run_json("rollback", "backup", "--root", root)
    assert (code, kept["backup"], kept["generation"]) == (0, 1, 1)
    assert [(b["path"], b["kind"]) for b in kept["beside"]] == [
        ("/etc/citadel/citadel.yaml", "configuration"),
        ("/opt/citadel/bin/tell", "script"),
    ]
    assert [(x["path"], x["why"]) for x in kept["left_out"]] == [
        ("/etc/credstore/citadel-plain.hf-token", "a secret in clear: citadel secrets set")
    ]
    found = subprocess.run(["grep", "-r", "sq5eamish", root / "mnt"], capture_output=True)
    assert found.returncode == 1

    config_of(root).write_text(FILES.replace("2048", "1024"))
    (root / "opt/citadel/bin/tell").unlink()
    assert run("apply", "-y", "--root", root).returncode == 0
    units = (root / "etc/citadel/generations/1/units/citadel-one.service").read_text()
    assert (root / "etc/citadel/current/units/citadel-one.service").read_text() != units

    done = run("rollback", "restore", "--root", root)
    assert done.returncode == 64 and "citadel rollback status" in done.stderr
    done = run("rollback", "restore", "1", "--root", root)
    assert done.returncode == 1 and "the same with -y" in done.stderr
    assert "2048" not in config_of(root).read_text()

    done = run("rollback", "restore", "--backup-id", "1", "--force", "--root", root)
    assert done.returncode == 0, done
    assert "put back /etc/citadel/citadel.yaml (configuration)" in done.stdout
    assert "Backup 1 is back." in done.stdout and "Generation 3 is current" in done.stdout
    assert config_of(root).read_text() == FILES and config_of(root).stat().st_mode & 0o777 == 0o640
    assert os.access(root / "opt/citadel/bin/tell", os.X_OK)
    assert (root / "etc/citadel/current/units/citadel-one.service").read_text() == units
    assert (root / "etc/citadel/current").readlink().name == "3"


def test_one_that_was_touched_is_refused_whole(root):
    run("apply", "-y", "--root", root)
    run("rollback", "backup", "--root", root)
    (unit,) = root.glob("mnt/citadel-backup/system/rollback/generations/1/units/citadel-two.service")
    unit.write_text(unit.read_text() + "# mine\n")
    config_of(root).write_text(FILES.replace("2048", "1024"))
    error = error_json(run("rollback", "restore", "1", "--force", "--root", root, "--json"))
    assert error["id"] == "rollback.backup-damaged" and "citadel-two.service is another" in error["message"]
    assert "1024" in config_of(root).read_text()
    error = error_json(run("rollback", "restore", "7", "--force", "--root", root, "--json"))
    assert error["id"] == "rollback.no-backup" and error["exit"] == 4


def test_a_backup_before_the_first_deployment_has_what_it_comes_to(root):
    code, kept = run_json("rollback", "backup", "--root", root)
    assert (code, kept["generation"]) == (0, 0)
    config_of(root).unlink()
    inside = root / "mnt/citadel-backup/system/rollback/generations/1/config.yaml"
    done = run("rollback", "restore", "1", "--force", "--root", root, "-c", inside)
    assert done.returncode == 0, done
    assert config_of(root).read_text() == FILES
    assert (root / "etc/citadel/current/units/citadel-one.service").exists()


def test_a_restore_that_was_interrupted_is_told(root):
    run("apply", "-y", "--root", root)
    run("rollback", "backup", "--root", root)
    mark = root / "var/lib/citadel/deploy/restore.json"
    mark.write_text('{"backup":1,"by":"ann"}\n')
    assert "The restore of backup 1 by ann was interrupted" in run("rollback", "status", "--root", root).stdout
    done = run("apply", "-y", "--root", root)
    assert "to make it good: citadel rollback restore 1" in done.stderr and mark.exists()
    assert run("rollback", "restore", "1", "--force", "--root", root).returncode == 0
    assert not mark.exists()
    assert "interrupted" not in run("rollback", "status", "--root", root).stdout


def test_status_lists_backups(root):
    assert "There is no backup." in run("rollback", "status", "--root", root).stdout
    run("rollback", "backup", "--root", root)
    code, told = run_json("rollback", "status", "--root", root)
    assert (code, [b["backup"] for b in told["backups"]], told["restoring"]) == (0, [1], 0)


def test_without_its_disk_there_is_no_backup(root):
    config_of(root).write_text(FILES.replace("storage: {require_mounts: false}\n", ""))
    error = error_json(run("rollback", "backup", "--root", root, "--json"))
    assert error["id"] == "storage.not-mounted" and not (root / "mnt").exists()


# ---- enable and disable ----


def test_a_switch_is_one_line_of_the_file(root):
    run("apply", "-y", "--root", root)
    done = run("disable", "one", "-y", "--root", root)
    assert done.returncode == 0, done
    assert "+    enabled: false\n" in done.stdout and "Generation 2 is current" in done.stdout
    want = FILES.replace("  one:   # the small one\n", "  one:   # the small one\n    enabled: false\n")
    assert config_of(root).read_text() == want
    assert config_of(root).stat().st_mode & 0o777 == 0o640
    assert not (root / "etc/citadel/current/units/citadel-one.service").exists()
    again = run("disable", "one", "-y", "--root", root)
    assert (again.returncode, "one is disabled already" in again.stderr) == (0, True)
    assert run("enable", "one", "-y", "--root", root).returncode == 0
    assert config_of(root).read_text() == want.replace("enabled: false", "enabled: true")
    assert (root / "etc/citadel/current/units/citadel-one.service").exists()


def test_without_a_yes_nothing_is_written(root):
    done = run("disable", "one", "--root", root)
    assert done.returncode == 1 and "the same with -y" in done.stderr
    assert config_of(root).read_text() == FILES
    done = run("disable", "two", "gateway", "--no-apply", "--root", root)
    assert done.returncode == 0 and "It takes effect with: citadel apply" in done.stdout
    assert config_of(root).read_text() == (
        FILES.replace("two: {engine", "two: {enabled: false, engine") + "gateway: {enabled: false}\n"
    )
    assert not (root / "etc/citadel/generations").exists()


def test_what_cannot_be_changed_safely_is_said(root):
    text = FILES.replace("two: {engine: sim}", "two: &t {engine: sim}\n  three: *t")
    config_of(root).write_text(text)
    error = error_json(run("disable", "three", "-y", "--root", root, "--json"))
    assert error["id"] == "config.not-changed" and error["fix"] == "write below models.three, by hand: enabled: false"
    assert "models.three.enabled cannot be put into the file as line 8 is written" in error["message"]
    assert config_of(root).read_text() == text
    error = error_json(run("disable", "storage", "--root", root, "--json"))
    assert error["exit"] == 64 and "storage has no switch" in error["message"]
    error = error_json(run("disable", "tow", "--root", root, "--json"))
    assert error["exit"] == 4 and error["fix"] == "did you mean two?"
    run("apply", "-y", "--root", root)
    inside = root / "etc/citadel/current/config.yaml"
    error = error_json(run("disable", "two", "--root", root, "--json", "-c", inside))
    assert "the configuration of a generation, which never changes" in error["message"]


def test_the_fourth_name(tmp_path):
    name = tmp_path / "citadel-systemd"
    name.symlink_to(CITADEL)
    done = subprocess.run([name, "enable"], env=environment(), capture_output=True, text=True)
    assert done.returncode == 64 and "enable" in done.stderr


# ---- with systemd ----


def configuration(**models):
    return {
        "storage": {"require_mounts": False, "smart": False},
        "backup": {"enabled": False},
        "models": {"one": model(12000), "two": model(12001), **models},
    }


@pytest.fixture(scope="module", params=machine.SUITES)
def booted(request):
    if why := machine.why_not():
        pytest.skip(why)
    with machine.Machine(request.param, "rollback") as it:
        it.run("mkdir", "-p", "/mnt/citadel-models", "/mnt/citadel-backup")
        stand_in(it, "gpu", ["ExecStart=", "ExecStart=/bin/true", "ExecReload=", "ExecReload=/bin/true", "ExecStop="])
        yield it


@pytest.fixture
def here(booted):
    """Both models answer."""
    write(booted, configuration())
    citadel(booted, "start", check=False)
    citadel(booted, "apply", "-y")
    assert completes(booted, 12000) and completes(booted, 12001)
    return booted


def state(here, unit):
    return here.show(f"citadel-{unit}", "ActiveState")["ActiveState"]


GATEWAY = ("gateway.socket", "gateway.service")
SERVICES = ("one.service", "two.service", *GATEWAY, "monitor.service", "gpu.service", "storage.service", "ai.target")


@pytest.mark.xdist_group("machine")
def test_gracefully_stopped_it_stays_so_over_a_boot(here):
    done = citadel(here, "rollback", "graceful", "--force")
    told = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("stopped")]
    # The gateway goes with its socket.
    order = [told.index(f"citadel-{unit}") for unit in SERVICES if unit != "gateway.service"]
    assert order[2:] == sorted(order[2:]) and max(order[:2]) < order[2]
    assert {state(here, unit) for unit in SERVICES} == {"inactive"}
    assert "It stays down until a person starts it: citadel start" in done.stdout
    told = citadel(here, "apply", "-y").stdout
    assert "Nothing would change" in told and "Stopped by a person, and left so:" in told
    here.reboot()
    here.run("systemctl", "start", "multi-user.target")
    assert {state(here, unit) for unit in SERVICES} == {"inactive"}
    citadel(here, "start")
    assert completes(here, 12000) and completes(here, 12001)
    assert {state(here, unit) for unit in SERVICES} == {"active"}
    here.reboot()
    here.is_in_state("citadel-two.service", "active")
    assert {state(here, unit) for unit in SERVICES} == {"active"}


@pytest.mark.xdist_group("machine")
def test_a_group_alone(here):
    one = here.show("citadel-one", "MainPID")
    citadel(here, "rollback", "partial", "--group", "monitoring", "--force")
    assert state(here, "monitor.service") == "inactive"
    assert here.show("citadel-one", "MainPID") == one
    done = here.run(f"{here.bin}/citadel-rollback", "partial", "--force")
    assert "stopped citadel-models.target" in done.stdout
    assert state(here, "one.service") == "inactive" and state(here, "storage.service") == "active"
    citadel(here, "start", "models")
    assert state(here, "models.target") == "active" and completes(here, 12001)


@pytest.mark.xdist_group("machine")
def test_phases_start_what_was_stopped(here):
    citadel(here, "rollback", "graceful", "--force")
    for words in (["phase1"], ["phase2", "two"], ["phase3"], ["phase4"]):
        citadel(here, "deploy", *words, "-y")
    assert completes(here, 12000) and completes(here, 12001)
    assert {state(here, unit) for unit in SERVICES} == {"active"}


@pytest.mark.xdist_group("machine")
def test_a_restore_brings_back_what_ran_and_what_was_stopped(here):
    here.write("/opt/citadel/bin/tell", "#!/bin/sh\n", mode=0o755)
    citadel(here, "stop", "two")
    kept = json.loads(citadel(here, "rollback", "backup", "--json").stdout)["backup"]
    units = here.sh("cat /etc/citadel/current/units/*")
    citadel(here, "start", "two")
    here.run("rm", "/opt/citadel/bin/tell")
    write(here, configuration(one=model(12000, max_model_len=2048), three=model(12002)))
    citadel(here, "apply", "-y")
    citadel(here, "rollback", "emergency", "--force")
    done = citadel(here, "rollback", "restore", str(kept), "--force", check=False)
    assert done.returncode == 75 and "citadel rollback emergency --lift" in done.stderr
    citadel(here, "rollback", "emergency", "--lift")
    number = current(here)
    done = citadel(here, "rollback", "restore", "--backup-id", str(kept), "--force")
    assert f"Backup {kept} is back." in done.stdout and current(here) == number + 1
    assert here.sh("cat /etc/citadel/current/units/*") == units
    assert completes(here, 12000) and not completes(here, 12001) and not completes(here, 12002)
    assert here.sh("cat /opt/citadel/bin/tell") == "#!/bin/sh\n"
    assert state(here, "two.service") == "inactive"
    here.reboot()
    here.is_in_state("citadel-one.service", "active")
    assert completes(here, 12000) and state(here, "two.service") == "inactive"


@pytest.mark.xdist_group("machine")
def test_a_restore_that_fails_is_taken_back(here):
    write(here, configuration(two=model(12001, "--no-such-flag")))
    citadel(here, "apply", "-y", "--stay", check=False)
    bad = json.loads(citadel(here, "rollback", "backup", "--json").stdout)["backup"]
    write(here, configuration())
    citadel(here, "apply", "-y")
    text, number = here.sh("cat /etc/citadel/citadel.yaml"), current(here)
    done = citadel(here, "rollback", "restore", str(bad), "--force", check=False)
    assert done.returncode == 1 and "--no-such-flag" in done.stderr
    assert current(here) == number and completes(here, 12001)
    assert here.sh("cat /etc/citadel/citadel.yaml") == text


@pytest.mark.xdist_group("machine")
def test_disabled_it_is_gone_until_it_is_enabled(here):
    here.write("/etc/citadel/citadel.yaml", "# ours\n" + json.dumps(configuration(), indent=1) + "\n")
    citadel(here, "apply", "-y")
    one = here.show("citadel-one", "MainPID")
    done = here.run(f"{here.bin}/citadel-systemd", "disable", "two", "-y")
    assert "removed" in done.stdout and not completes(here, 12001)
    assert here.show("citadel-one", "MainPID") == one
    assert here.show("citadel-two", "LoadState") == {"LoadState": "not-found"}
    here.reboot()
    here.is_in_state("citadel-one.service", "active")
    assert not completes(here, 12001)
    done = here.run(f"{here.bin}/citadel-systemd", "enable", "two", "-y")
    assert completes(here, 12001)
    assert here.sh("cat /etc/citadel/citadel.yaml").startswith("# ours\n")
