"""The units of systemd: what the program renders, and what systemd itself says of it."""

import json
import os
import random
import re
import shutil
import subprocess

import pytest

import program

TARGET = program.TOP / "systemd/citadel-ai.target"
REFERENCE = program.TOP / "tests/data/units/reference"

# The most that `systemd-analyze security` may give, in tenths.
EXPOSURE = {"model": 14, "gateway": 12, "monitor": 18, "backup-image": 24, "other": 20}
OPEN_MODEL = 16  # reaches the network, or is reached from it: no list of addresses

needs_systemd = pytest.mark.skipif(
    not shutil.which("systemd-analyze"), reason="systemd-analyze is not here"
)


def write(where, text):
    """A configuration rendered into a folder of its own; the names of its models."""
    config = where / "citadel.yaml"
    config.write_text(text if isinstance(text, str) else json.dumps(text))
    done = program.run("units", "-c", config, "--write", where / "units", "-q")
    assert (done.returncode, done.stderr) == (0, "")
    shutil.copy(TARGET, where / "units")
    return where / "units"


def verify(units):
    """What systemd finds wrong; its exit status alone would be 0 for most of it."""
    done = subprocess.run(
        ["systemd-analyze", "verify", "--recursive-errors=yes", "--man=no", *units.glob("citadel-*")],
        env=program.environment(SYSTEMD_UNIT_PATH=f"{units}:/usr/lib/systemd/system:/lib/systemd/system"),
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout + done.stderr


def exposure(unit, threshold):
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={threshold}", unit],
        env=program.environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def threshold(unit, models, model=EXPOSURE["model"]):
    name = unit.name.removeprefix("citadel-").removesuffix(".service")
    return seen_in(unit.read_text()) + (model if name in models else EXPOSURE.get(name, EXPOSURE["other"]))


def seen_in(text):
    """What it adds that a program below a home or in /tmp, as one that is tried where it was built, has to be
    seen there."""
    if str(program.CITADEL).startswith(("/root/", "/home/", "/run/user/")):
        return 1 if "ProtectHome=read-only" in text else 0
    if str(program.CITADEL).startswith(("/tmp/", "/var/tmp/")):
        return 0 if "PrivateTmp=yes" in text else 3
    return 0


SIMULATED = {
    "models": {
        "one": {"engine": "sim", "port": 11400},
        "wide": {"engine": "sim", "port": 11401, "tensor_parallel": 2},
        "open": {"engine": "sim", "port": 11402, "listen": "network"},
    }
}


def test_the_same_configuration_gives_the_same_bytes(tmp_path):
    config = tmp_path / "citadel.yaml"
    config.write_text(json.dumps(SIMULATED))
    code, files = program.run_json("units", "-c", config)
    assert code == 0
    assert files == program.run_json("units", "-c", config)[1]
    assert list(files) == sorted(files)
    units = write(tmp_path, SIMULATED)
    assert {p.name: p.read_text() for p in units.iterdir() if p.name != TARGET.name} == files


def test_one_unit_is_shown_by_the_name_of_its_service(tmp_path):
    config = tmp_path / "citadel.yaml"
    config.write_text(json.dumps(SIMULATED))
    shown = program.run("units", "one", "-c", config).stdout
    assert shown == program.run("units", "citadel-one.service", "-c", config).stdout
    assert f"ExecStart={program.CITADEL} run one -c /etc/citadel/current/config.yaml\n" in shown
    done = program.run("units", "ome", "-c", config)
    assert done.returncode == 4
    assert "there is no unit 'ome'" in done.stderr


def test_each_line_can_be_explained(tmp_path):
    config = tmp_path / "citadel.yaml"
    config.write_text(json.dumps(SIMULATED))
    plain = program.run("units", "one", "-c", config).stdout
    explained = program.run("units", "one", "--explain", "-c", config).stdout
    lines = [x for x in explained.splitlines() if not x.startswith("#")]
    assert lines == [x for x in plain.splitlines() if not x.startswith("#")]
    assert explained.count("#") > 50


def test_under_a_root_the_units_are_those_of_the_machine_it_will_be(tmp_path):
    (tmp_path / "root/etc/citadel").mkdir(parents=True)
    (tmp_path / "root/etc/citadel/citadel.yaml").write_text(json.dumps(SIMULATED))
    _, files = program.run_json("units", "--root", tmp_path / "root", cwd=tmp_path)
    assert str(tmp_path / "root") not in json.dumps(files)
    config = tmp_path / "other.yaml"
    config.write_text(json.dumps(SIMULATED))
    assert files == program.run_json("units", "-c", config)[1]


def test_no_secret_is_in_a_unit(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("s3cr3t-of-the-test")
    where = {"file": str(secret)}
    config = {
        "hub": {"offline": False, "token": where},
        "backup": {"password": where, "credentials": {"env": "SECRET"}},
        "alerts": {"notifiers": {"team": {"kind": "webhook", "url_secret": where}}},
        **SIMULATED,
    }
    (tmp_path / "citadel.yaml").write_text(json.dumps(config))
    done = program.run("units", "-c", tmp_path / "citadel.yaml", SECRET="s3cr3t-of-the-test")
    assert done.returncode == 0
    assert "s3cr3t" not in done.stdout
    # Who is given which: by name, and nobody else.
    given = re.findall(r"^# ---- (\S+)|^LoadCredential=([^:]+)", done.stdout, re.M)
    unit, seen = None, {}
    for name, credential in given:
        unit = name or unit
        if credential:
            seen.setdefault(credential, set()).add(unit)
    assert seen["hub.token"] == {f"citadel-{m}.service" for m in SIMULATED["models"]}
    assert seen["alerts.notifiers.team.url_secret"] == {"citadel-monitor.service"}
    assert all(name.startswith("citadel-backup-") for name in seen["backup.password"])


@pytest.mark.parametrize(
    "token, offline, want",
    [
        ({"file": "/etc/citadel/secrets/hub"}, False, "hub.token"),
        ({"credential": "hf"}, False, "citadel.hf"),
        ({"credential": "clear"}, False, "citadel-plain.clear"),
        ({"credential": "none"}, False, None),
        ({"file": "/etc/citadel/secrets/hub"}, True, None),
        ("none", False, None),
    ],
)
def test_an_engine_is_told_where_its_token_is(tmp_path, token, offline, want):
    config = tmp_path / "citadel.yaml"
    config.write_text(json.dumps({"hub": {"token": token, "offline": offline}, "models": {"m": {}}}))
    given = tmp_path / "credentials"
    given.mkdir()
    for name in ("hub.token", "citadel.hf", "citadel-plain.clear"):
        (given / name).write_text("hf_x")
    code, printed = program.run_json(
        *("run", "m", "--print", "--engine-version", "0.19.0", "-c", config),
        CREDENTIALS_DIRECTORY=str(given),
    )
    assert code == 0
    assert printed["environment"].get("HF_TOKEN_PATH") == (want and str(given / want))


def test_a_model_is_run_on_the_gpus_that_it_is_told(tmp_path):
    config = tmp_path / "citadel.yaml"
    config.write_text(json.dumps({"models": {"m": {"tensor_parallel": 2}}}))
    words = ("run", "m", "--print", "--engine-version", "0.19.0", "-c", config)
    _, printed = program.run_json(*words, "--gpus", "3,1")
    assert printed["environment"]["CUDA_VISIBLE_DEVICES"] == "3,1"
    done = program.run(*words, "--gpus", "3,,1")
    assert done.returncode == 64
    assert "'3,,1' is no list of GPUs" in done.stderr


@needs_systemd
def test_systemd_takes_every_line(tmp_path):
    assert verify(write(tmp_path, SIMULATED)) == (0, "")


@needs_systemd
def test_systemd_takes_every_line_of_every_feature(tmp_path):
    config = {
        "paths": {part: f"/srv/a b/50% $HOME/\"{part}\"" for part in ("models", "logs", "state", "run")},
        "service": {"user": "llm", "group": "ai", "gateway_user": "front"},
        "hub": {"offline": False, "token": {"credential": "hub"}},
        "gateway": {"listen": ["::", "127.0.0.1"], "access_log": "file"},
        "backup": {
            "repository": "s3://host/bucket/prefix",
            "image": {"devices": ["/dev/sda", "/dev/nvme0n1"]},
            "copy": {"to": "/mnt/cold"},
        },
        "hooks": {"health_changed": ["/bin/true"]},
        **SIMULATED,
    }
    units = write(tmp_path, config)
    assert verify(units) == (0, "")
    for unit in units.glob("*.service"):
        exposure(unit, threshold(unit, SIMULATED["models"], OPEN_MODEL))


@pytest.mark.parametrize("options", [{}, {"access_log": "file"}, {"log_prompts": True}])
def test_the_gateway_writes_logs_only_where_it_has_some(tmp_path, options):
    units = write(tmp_path, {"gateway": options, **SIMULATED})
    lines = (units / "citadel-gateway.service").read_text().splitlines()
    assert any(line.startswith("ReadWritePaths=") and "/logs/services" in line for line in lines) == bool(options)


@needs_systemd
def test_a_line_that_systemd_does_not_take_would_be_seen(tmp_path):
    units = write(tmp_path, SIMULATED)
    unit = units / "citadel-one.service"
    unit.write_text(unit.read_text().replace("KillMode=mixed", "KillMode=gently"))
    assert "gently" in verify(units)[1]


@needs_systemd
def test_every_service_is_exposed_no_more_than_it_may_be():
    models = {"mixtral", "hermes", "openchat", "phi3", "yi34b", "coder", "vision"}
    units = list(REFERENCE.glob("*.service"))
    assert len(units) > 20
    for unit in units:
        exposure(unit, threshold(unit, models))


def draw(rng):
    """A configuration; any mixture of what changes units."""
    models = {}
    for i in range(rng.randrange(1, 6)):
        models[f"m{i}.x-y_z"[: rng.randrange(2, 9)]] = {
            "engine": rng.choice(["sim", "sim", "command"]),
            "port": 12000 + i,
            "tensor_parallel": rng.choice([1, 2, 4]),
            "restart_limit": rng.randrange(1, 101),
            "restart_delay": f"{rng.randrange(100, 3600001)}ms",
            "start_max": f"{rng.randrange(600, 604801)}s",
            "drain_timeout": f"{rng.randrange(3601)}s",
            "memory_max": rng.choice(["none", "64GiB"]),
            "residency": rng.choice(["auto", "always", "on-demand", "manual"]),
            "listen": rng.choice(["loopback", "network"]),
        }
    for model in models.values():
        if model["engine"] == "command":
            model["command"] = ["/bin/serve", "a b", "100%"]
    every = ["never", "hourly", "every 5m", "every 6h", "daily 23:59", "weekly sun 00:00", "monthly 28 12:30"]
    return {
        "models": models,
        "paths": {"state": rng.choice(["/var/lib/citadel", "/home/me/state", "/srv/50%", "/tmp/x y"])},
        "gateway": {"enabled": rng.random() < 0.7},
        "monitor": {"enabled": rng.random() < 0.7, "report": rng.choice(every)},
        "backup": {
            "models": {"daily": rng.choice(every), "weekly": rng.choice(every)},
            "logs": {"schedules": rng.sample(every[1:], 3)},
            "verify": rng.choice(every),
        },
        "storage": {"smart": rng.random() < 0.5, "require_mounts": rng.random() < 0.5},
    }


@needs_systemd
@pytest.mark.parametrize("seed", range(8))
def test_systemd_takes_every_line_of_random_configurations(tmp_path, seed):
    config = draw(random.Random(seed))
    units = write(tmp_path, config)
    assert verify(units) == (0, "")
    for name, model in config["models"].items():
        text = (units / f"citadel-{name}.service").read_text()
        value = {k: v for k, v in re.findall(r"^(\w+)=(\d+)", text, re.M)}
        start = int(model["start_max"][:-1]) + int(model["restart_delay"][:-2]) / 1000
        assert int(value["StartLimitIntervalSec"]) > int(value["StartLimitBurst"]) * start
        assert int(value["TimeoutStopSec"]) > int(model["drain_timeout"][:-1])


def test_units_that_are_gone_are_not_left_where_others_are_written(tmp_path):
    two = {**SIMULATED, "models": {**SIMULATED["models"], "gone": {"engine": "sim"}}}
    units = write(tmp_path, two)
    for name in ("notes.txt", "citadel-mine.service"):
        (units / name).write_text("a person's")
    assert (units / "citadel-gone.service").exists()
    write(tmp_path, SIMULATED)
    assert not (units / "citadel-gone.service").exists()
    for name in ("notes.txt", "citadel-mine.service", "citadel-models.target"):
        assert (units / name).exists()


def make_host(where, units):
    """Accounts and directories, as the host makes them of our files, below a folder."""
    (where / "etc").mkdir()
    for tool, file in (("systemd-sysusers", "sysusers"), ("systemd-tmpfiles", "tmpfiles")):
        command = [tool, f"--root={where}", units / f"citadel.{file}"]
        command[1:1] = ["--create"] if file == "tmpfiles" else []
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


@needs_systemd
@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes accounts")
@pytest.mark.parametrize(
    "service, accounts",
    [
        ({}, {"citadel": "citadel", "citadel-gateway": "citadel-gateway"}),
        ({"user": "llm", "group": "ai", "gateway_user": "front"}, {"llm": "ai", "front": "front"}),
    ],
)
def test_the_host_makes_accounts_and_directories(tmp_path, service, accounts):
    units = write(tmp_path, {"service": service, "paths": {"state": "/srv/a b/50%"}, **SIMULATED})
    host = tmp_path / "host"
    host.mkdir()
    make_host(host, units)
    groups = {gid: name for name, _, gid, *_ in map(fields, (host / "etc/group").read_text().splitlines())}
    users = {row[0]: row for row in map(fields, (host / "etc/passwd").read_text().splitlines())}
    assert {name: groups[row[3]] for name, row in users.items()} == accounts
    assert {row[-1].rpartition("/")[2] for row in users.values()} == {"nologin"}
    user = service.get("user", "citadel")
    owner = (host / "srv/a b/50%/monitor").stat()
    assert [str(owner.st_uid), str(owner.st_gid)] == users[user][2:4]
    assert (host / "run/citadel").is_dir() and (host / "opt/citadel/logs/models").is_dir()
    assert (host / "etc/citadel/secrets").stat().st_mode & 0o777 == 0o700


def fields(line):
    return line.split(":")


def test_the_generator_tells_how_it_is_called(tmp_path):
    generator = tmp_path / "citadel-generator"
    generator.symlink_to(program.CITADEL)
    done = subprocess.run([generator], capture_output=True, text=True)
    assert done.returncode == 64
    assert done.stderr.startswith("usage: citadel-generator NORMAL-DIR")


def test_with_a_root_units_are_written_below_it_alone(tmp_path):
    (tmp_path / "etc/citadel").mkdir(parents=True)
    (tmp_path / "etc/citadel/citadel.yaml").write_text("models: {m: {engine: sim}}\n")
    for verb in ("units", "plan"):
        done = program.run(verb, "--root", str(tmp_path), "--write", "/nowhere/units", "--json")
        error = program.error_json(done)
        assert (error["id"], done.returncode) == ("cli.usage", 64), error
        assert "/nowhere/units" in error["message"] and error["fix"] == f"--write {tmp_path}/units"
        done = program.run(verb, "--root", str(tmp_path), "--write", str(tmp_path / verb), "-q")
        assert done.returncode == 0 and (tmp_path / verb / "citadel-m.service").exists(), done.stderr
