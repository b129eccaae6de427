"""citadel-storage.service as it is rendered, under the real systemd: in its sandbox, on file systems that
are mounted, missing or damaged."""

import json
import shutil

import pytest

import machine
from program import TOP

pytestmark = pytest.mark.xdist_group("machine")

MODELS, BACKUP = "/mnt/citadel-models", "/mnt/citadel-backup"
CONFIG = {
    "backup": {"verify": "daily 07:00"},
    "models": {"quick": {"engine": "sim", "port": 12000}, "idle": {"engine": "sim", "port": 12001}},
}


def deploy(here, number, config):
    """Puts a generation in place: a directory, and one rename."""
    top = f"/etc/citadel/generations/{number}"
    here.write_json(f"{top}/config.yaml", config)
    here.run(f"{here.bin}/citadel", "units", "-q", "-c", f"{top}/config.yaml", "--write", f"{top}/units")
    here.run("ln", "-sfn", f"generations/{number}", "/etc/citadel/next")
    here.run("mv", "-T", "/etc/citadel/next", "/etc/citadel/current")
    here.run("systemctl", "daemon-reload")


def storage(here, *words, **more):
    config = "/etc/citadel/current/config.yaml"
    return here.run(f"{here.bin}/citadel", "storage", *words, "-c", config, **more)


def said(here):
    """By the last run of the unit."""
    return here.journal("citadel-storage").rpartition("Starting citadel-storage")[2]


def mount(here, *points):
    for point in points:
        here.run("mkdir", "-p", point)
        here.inside("mount", "-t", "tmpfs", "-o", "size=64m,mode=755", "disk", point)


def unmount(here, *points):
    for point in points:
        here.inside("umount", point)


@pytest.fixture(scope="module", params=machine.SUITES)
def here(request):
    if why := machine.why_not():
        pytest.skip(why)
    with machine.Machine(request.param, "storage") as booted:
        booted.run("systemd-sysusers")
        booted.run("systemd-tmpfiles", "--create")
        deploy(booted, 1, CONFIG)
        yield booted


@pytest.fixture
def fresh(here):
    """Nothing mounted and nothing set up."""
    here.run("systemctl", "stop", "citadel-storage")
    here.run("systemctl", "reset-failed", "citadel-storage", check=False)
    unmount(here, MODELS, BACKUP)
    here.run("rm", "-rf", MODELS, BACKUP, "/opt/citadel/models")
    yield here
    unmount(here, MODELS, BACKUP)


def test_the_unit_sets_everything_up_in_its_sandbox(fresh):
    mount(fresh, MODELS, BACKUP)
    fresh.run("systemctl", "start", "citadel-storage")
    assert fresh.sh(f"stat -c '%U:%G %a' {MODELS}/cache/quick {MODELS}/cache/idle {BACKUP}/models").split(
        "\n"
    )[:3] == ["citadel:citadel 700", "citadel:citadel 700", "root:root 700"]
    assert fresh.run("readlink", "/opt/citadel/models").stdout.strip() == f"../..{MODELS}/active"
    assert storage(fresh, "verify").returncode == 0
    fresh.run("systemctl", "restart", "citadel-storage")
    assert "nothing to do" in said(fresh)


def test_a_model_runs_on_what_was_set_up_and_not_without(fresh):
    mount(fresh, MODELS, BACKUP)
    fresh.run("systemctl", "start", "citadel-quick")
    fresh.is_in_state("citadel-quick", "active")
    fresh.run("systemctl", "stop", "citadel-quick")


def test_without_the_disk_of_the_models_it_fails_and_the_root_disk_stays_clean(fresh):
    """The sandbox mounts the directory upon itself, which must not count."""
    fresh.run("mkdir", "-p", MODELS)
    assert fresh.run("systemctl", "start", "citadel-storage", check=False).returncode != 0
    assert f"nothing is mounted at {MODELS}" in said(fresh)
    assert fresh.run("ls", "-A", MODELS).stdout == ""
    assert fresh.show("citadel-storage", "ExecMainStatus") == {"ExecMainStatus": "75"}
    assert fresh.run("systemctl", "start", "citadel-quick", check=False).returncode != 0
    assert fresh.run("ls", "-A", MODELS).stdout == ""


def test_without_the_disk_of_the_backups_it_goes_on(fresh):
    mount(fresh, MODELS)
    fresh.run("mkdir", "-p", BACKUP)
    fresh.run("systemctl", "start", "citadel-storage")
    assert f"warning: nothing is mounted at {BACKUP}" in said(fresh)
    assert fresh.run("ls", "-A", BACKUP).stdout == ""
    told = json.loads(storage(fresh, "verify", "--json", check=False).stdout)
    assert [(f["fault"], f["path"]) for f in told["findings"]] == [("not-mounted", BACKUP)]


def test_a_machine_without_disks_of_its_own_needs_no_place_for_backups(fresh):
    """Which the sandbox would not let it make."""
    deploy(fresh, 4, {**CONFIG, "storage": {"require_mounts": False}})
    fresh.run("mkdir", "-p", MODELS)
    fresh.run("systemctl", "start", "citadel-storage")
    words = said(fresh)
    assert words.count("warning: ") == 1 and f"make {BACKUP} by hand" in words
    assert fresh.sh(f"stat -c %U {MODELS}/cache/quick").strip() == "citadel"
    deploy(fresh, 5, CONFIG)


def test_the_account_of_the_models_leads_nobody_astray(fresh):
    mount(fresh, MODELS, BACKUP)
    fresh.run("systemctl", "start", "citadel-storage")
    before = fresh.sh("stat -c '%U:%G %a' /etc /etc/shadow")
    link = f"rmdir {MODELS}/cache/quick; ln -s /etc {MODELS}/cache/quick"
    # Once the directory above is wrongly given to it; then it may swap what is in there.
    fresh.run("chown", "citadel", f"{MODELS}/cache")
    fresh.run("sh", "-euc", link, user="citadel")
    done = storage(fresh, "setup", check=False)
    assert done.returncode == 1 and "a symbolic link" in done.stderr
    assert fresh.sh("stat -c '%U:%G %a' /etc /etc/shadow") == before
    assert fresh.sh(f"stat -c %U {MODELS}/cache").strip() == "root"


def test_repair_mounts_what_fstab_has(fresh):
    fresh.run("mkdir", "-p", MODELS, BACKUP)
    fresh.write("/etc/fstab", f"disk {MODELS} tmpfs size=64m,mode=755,noauto 0 0\n")
    done = storage(fresh, "repair", "--force", check=False)
    assert f"mounted {MODELS}" in done.stdout
    assert "mount ended with" in done.stderr and BACKUP in done.stderr  # it is not in there
    assert done.returncode == 0


def test_the_disks_are_asked_from_inside_the_sandbox(fresh):
    """A made-up smartctl; a real disk is not to be had in a container."""
    fresh.write("/usr/sbin/smartctl", "#!/bin/sh\necho '{\"smart_status\": {\"passed\": true}}'\n", mode=0o755)
    mount(fresh, MODELS, BACKUP)
    fresh.run("systemctl", "start", "citadel-storage", "citadel-storage-health")
    assert fresh.show("citadel-storage-health", "Result") == {"Result": "success"}
    told = json.loads(fresh.run("cat", "/var/lib/citadel/storage/health.json", user="citadel").stdout)
    assert all(disk["state"] == "good" for disk in told["disks"])
    fresh.run("rm", "/usr/sbin/smartctl")


def test_what_a_process_of_another_user_has_open_stays(fresh):
    mount(fresh, MODELS, BACKUP)
    fresh.run("systemctl", "start", "citadel-storage")
    cache = f"{MODELS}/cache/quick"
    fresh.run("touch", "-d", "200 days ago", f"{cache}/old", f"{cache}/held", user="citadel")
    script = f"exec 3<{cache}/held; echo open; exec tail -f /dev/null"
    reader = fresh.start("setpriv", "--reuid=citadel", "--clear-groups", "sh", "-c", script)
    assert reader.stdout.readline() == "open\n"
    shown = storage(fresh, "clean", "--force").stdout
    left = fresh.run("ls", cache).stdout.split()
    fresh.end(reader)
    if "mounted with noatime" in shown:
        assert left == ["held", "old"]
    else:
        assert left == ["held"], shown


def test_settings_of_gpus_live_as_long_as_their_unit(fresh):
    """With a made-up driver; whether the real one can be set from inside this sandbox is for a machine
    that has one."""
    driver = "/var/lib/citadel/gpu/driver-of-the-test"
    shutil.copy(TOP / "build/sim/libnvidia-ml.so.1", fresh.root / "usr/lib/x86_64-linux-gnu")
    fresh.write(f"{driver}/gpus", "gpu NVIDIA L40S\ncount 2\npower 350\n")
    fresh.write(
        "/etc/systemd/system/citadel-gpu.service.d/test.conf",
        f"[Service]\nEnvironment=CITADEL_FAKE_NVML={driver}\n",
    )
    deploy(fresh, 2, {**CONFIG, "gpu": {"power_limit": 250}})

    def limits():
        command = ["env", f"CITADEL_FAKE_NVML={driver}", f"{fresh.bin}/citadel", "gpu", "status", "--json"]
        told = json.loads(fresh.run(*command, "-c", "/etc/citadel/current/config.yaml").stdout)
        return [gpu["power_limit_mw"] for gpu in told["gpus"]]

    assert limits() == [350000, 350000]
    fresh.run("systemctl", "start", "citadel-gpu")
    assert limits() == [250000, 250000]
    fresh.run("systemctl", "stop", "citadel-gpu")
    assert limits() == [350000, 350000]
    assert fresh.show("citadel-gpu", "Result") == {"Result": "success"}
    fresh.run("rm", "-r", "/etc/systemd/system/citadel-gpu.service.d")
    deploy(fresh, 3, CONFIG)
