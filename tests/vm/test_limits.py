"""What only a kernel of one's own enforces: limits of memory, addresses and devices, as they are in the
units. What is withheld is tried outside of them, too, where it must work; and the models answer all the while.
And what takes a disk: its recovery."""

import json
import shutil
import subprocess

import pytest

import vm
from guide import play
from program import TOP

CACHE = "/mnt/citadel-models/cache"
CONFIG = "/etc/citadel/citadel.yaml"
PORTS = {"curious": 12000, "hungry": 12001, "calm": 12002}
OPEN_PORT = 12009  # the probe listens there on all addresses, as workers of engines do
DATA_BYTES = 128 << 20  # of the disk of the models
DRIVER = "/dev/shm/driver"  # made up; where every unit may write

# It eats all memory it gets when something is written to `eat`.
HUNGRY = """#!/bin/sh
[ -p "$1/eat" ] || mkfifo "$1/eat"
(read -r _ <"$1/eat" && exec tail /dev/zero) &
exec "$2" --port "$3" --served-model-name hungry
"""
OUTSIDE = """import socket
s = socket.create_server(("0.0.0.0", 9000))
while True:
    s.accept()[0].sendall(b"heard")
"""


def configuration(here):
    sim = f"{here.bin}/citadel-sim"

    def model(name, *command, **more):
        command = list(command) or [sim, "--port", "{port}", "--served-model-name", name]
        served = {"engine": "command", "command": command, "kind": "chat", "port": PORTS[name]}
        return {**served, "gpu_memory_fraction": 0.2, **more}

    told = [f"{CACHE}/curious/told", vm.ADDRESS]
    return {
        "storage": {"smart": False, "minimum_free": "1MiB"},
        "backup": {"enabled": False},
        "models": {
            "curious": model("curious", "/usr/bin/python3", "/opt/probe.py", *told, "{name}", sim, "{port}", str(OPEN_PORT), gpus=[0]),
            "hungry": model(
                "hungry", "/opt/hungry", f"{CACHE}/hungry", sim, "{port}", memory_max="128MiB", restart_delay="15s"
            ),
            "calm": model("calm"),
        },
    }


# Not checked at boot: that is for us to do.
FSTAB = """/dev/vda / ext4 errors=panic 0 1
/dev/vdb /mnt/citadel-models ext4 defaults 0 0
/srv/backup /mnt/citadel-backup none bind 0 0
"""


def prepare(root):
    for part in ("mnt/citadel-models", "mnt/citadel-backup", "srv/backup"):
        (root / part).mkdir()
    (root / "etc/fstab").write_text(FSTAB)
    (root / "usr/local/bin/sudo").write_text('#!/bin/sh\nexec "$@"\n')  # who types here is root
    (root / "usr/local/bin/sudo").chmod(0o755)
    shutil.copy(vm.HERE / "probe.py", root / "opt/probe.py")
    (root / "opt/hungry").write_text(HUNGRY)
    (root / "opt/hungry").chmod(0o755)
    (root / "opt/outside.py").write_text(OUTSIDE)
    shutil.copy(TOP / "build/sim/libnvidia-ml.so.1", root / "usr/lib/x86_64-linux-gnu")
    settings = root / "etc/systemd/system.conf.d"
    settings.mkdir()
    (settings / "driver.conf").write_text(f"[Manager]\nDefaultEnvironment=CITADEL_FAKE_NVML={DRIVER}\n")
    # What stands for GPUs are devices that all may open: tun and fuse.
    (root / "etc/modules-load.d/devices.conf").write_text("tun\nfuse\naf_alg\n")
    devices = f"d {DRIVER} 0777\nc /dev/nvidia0 0666 - - - 10:200\nc /dev/nvidia1 0666 - - - 10:229\n"
    (root / "etc/tmpfiles.d/devices.conf").write_text(devices)


def citadel(here, *words, **more):
    return here.run(f"{here.bin}/citadel", *words, **more)


@pytest.fixture(scope="module", params=[vm.SUITE])
def here(request):
    with vm.fresh_disk(request.param, "limits", prepare, DATA_BYTES) as disk:
        # A disk that has lost count, as after a failure of its own.
        subprocess.run(["debugfs", "-w", "-R", "ssv free_blocks_count 5", disk.data], check=True)
        with disk.boot() as it:
            start(it)
            yield it


def start(it):
    it.run("systemd-run", "--unit=outside", "python3", "/opt/outside.py")
    it.run("mkdir", "-p", "/mnt/citadel-models/active")
    it.write_json(CONFIG, configuration(it))
    citadel(it, "apply", "-y")


def completes(here, name):
    asked = json.dumps({"model": name, "messages": [{"role": "user", "content": "hello"}]})
    url = f"http://127.0.0.1:{PORTS[name]}/v1/chat/completions"
    return "chat.completion" in here.run("curl", "-sS", "--json", asked, url, check=False).stdout


def told(here, path):
    return dict(line.split(": ", 1) for line in here.run("cat", path).stdout.splitlines())


WITHHELD = {
    "speak to an address": "timed out",
    "make a socket of a family that nobody needs": "Address family not supported by protocol",
    "open another's GPU": "Operation not permitted",
    "open a device that all may open": "Operation not permitted",
}


def test_an_engine_reaches_what_it_must_and_no_more(here):
    here.run("python3", "/opt/probe.py", "/tmp/told", vm.ADDRESS, user="citadel")
    outside, inside = told(here, "/tmp/told"), told(here, f"{CACHE}/curious/told")
    assert set(outside.values()) == {"done"}
    assert inside == {what: WITHHELD.get(what, "done") for what in outside}
    assert completes(here, "curious")


def test_nobody_reaches_a_port_that_an_engine_opens_to_all(here):
    def heard(address):
        script = f"import socket; print(socket.create_connection(('{address}', {OPEN_PORT}), 5).recv(9))"
        return "heard" in here.run("python3", "-c", script, check=False).stdout

    assert heard("127.0.0.1") and not heard(vm.ADDRESS)


def events(here, name):
    return json.loads(citadel(here, "events", name, "--json", "-n", "10000").stdout)


def test_memory_max_ends_one_and_no_other(here):
    before = {name: here.show(f"citadel-{name}", "MainPID")["MainPID"] for name in PORTS}
    count = len(events(here, "hungry"))
    here.sh(f"echo go > {CACHE}/hungry/eat")
    here.until(lambda: here.show("citadel-hungry", "Result") == {"Result": "oom-kill"}, "the kernel's kill")
    shown = json.loads(citadel(here, "status", "hungry", "--json").stdout)["services"][0]
    assert shown["state"] == "backing-off" and "its share of memory, ran out" in shown["reason"]
    assert "its share of memory, ran out" in citadel(here, "why", "hungry", check=False).stdout
    assert not completes(here, "hungry") and completes(here, "calm")
    here.is_in_state("citadel-hungry", "active")
    assert completes(here, "hungry")
    assert here.show("citadel-hungry", "NRestarts") == {"NRestarts": "1"}
    after = {name: here.show(f"citadel-{name}", "MainPID")["MainPID"] for name in PORTS}
    assert [name for name in PORTS if before[name] != after[name]] == ["hungry"]
    crashed = [e for e in events(here, "hungry")[count:] if e["event"] == "service.crashed"]
    assert len(crashed) == 1 and "memory" in crashed[0]["text"]


def test_a_disk_that_is_damaged_is_mended(here):
    def is_right():
        return here.run("e2fsck", "-n", "-f", "/dev/vdb", check=False).returncode == 0

    play(here, "disk", exits=[("citadel models validate", 4)])  # no engine here reads a model
    assert all(completes(here, name) for name in PORTS)
    citadel(here, "stop", "all")
    here.run("umount", "/mnt/citadel-models")
    assert is_right()
