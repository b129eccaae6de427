"""What goes wrong in each phase of a deployment, under the real systemd, with file systems of their own for models,
backups and generations: what it exits with, what it says, what there is afterwards. A client asks the model of
before all the time, and every request is answered.

A row deploys a second model beside it. What is not named by a row is as it would be without the fault."""

import contextlib
import dataclasses
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import typing

import pytest

import checkpoints
import machine
from test_apply import ONCE, citadel, current, hear, model, stand_in, write

pytestmark = pytest.mark.xdist_group("machine")

OLD, NEW, PORT, TAKEN = "old", "new", 12000, 12005
SLOW = ["--sim-load-time", "3"]
DISKS = {"models": "/mnt/citadel-models", "backup": "/mnt/citadel-backup", "store": "/etc/citadel/generations"}
DISK_MIB = 16
NAMES = 2000  # of files, on a disk


def configuration(**models):
    return {
        "storage": {"smart": False},
        "backup": {"enabled": False},
        "gateway": {"enabled": False},
        "models": {OLD: {**model(PORT), "priority": 90}, **models},
    }


# ---- the machine ----


class Disk:
    """A file system in a file. A device of the host, and so a node of it is made inside."""

    def __init__(self, here, name, point):
        self.here, self.point = here, point
        image = here.top / f"{name}.img"
        with open(image, "wb") as f:
            f.truncate(DISK_MIB << 20)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", "-N", str(NAMES), image], check=True)
        done = subprocess.run(["losetup", "--find", "--show", image], capture_output=True, text=True)
        if done.returncode != 0:
            pytest.skip(f"this container withholds loop devices: {done.stderr.strip()}")
        self.device = done.stdout.strip()
        number = os.stat(self.device).st_rdev
        here.run("mkdir", "-p", point)
        here.inside("mknod", f"/dev/{name}", "b", os.major(number), os.minor(number))
        self.node = f"/dev/{name}"
        self.mount()

    def mount(self):
        done = self.here.inside("mount", self.node, self.point)
        assert done.returncode == 0, done.stderr

    def unmount(self):
        """At once, whoever has something open there."""
        done = self.here.inside("umount", "--lazy", self.point)
        assert done.returncode == 0, done.stderr

    def fill(self):
        """To the last block and the last name; what a model before has left there is gone."""
        self.here.run("rm", "-rf", f"{self.point}/cache/{NEW}")
        self.here.sh(f"dd if=/dev/zero of={self.point}/full bs=64k 2>/dev/null || :")
        self.here.sh(f"mkdir {self.point}/names; cd {self.point}/names; seq {NAMES} | xargs touch 2>/dev/null || :")

    def empty(self):
        self.here.run("rm", "-rf", f"{self.point}/full", f"{self.point}/names")

    def finish(self):
        subprocess.run(["losetup", "--detach", self.device], check=True)


CLIENT = """
import http.client, json, select, sys
asked = json.dumps({"model": "%s", "messages": [{"role": "user", "content": "hello"}]})
answered, failed = 0, []
while not select.select([sys.stdin], [], [], 0.05)[0]:
    try:
        to = http.client.HTTPConnection("127.0.0.1", %d, timeout=20)
        to.request("POST", "/v1/chat/completions", asked, {"Content-Type": "application/json"})
        answer = to.getresponse()
        text = answer.read().decode()
        if answer.status == 200 and "chat.completion" in text:
            answered += 1
        else:
            failed.append([answer.status, text[:200]])
    except OSError as e:
        failed.append([0, repr(e)])
    if answered + len(failed) == 1:
        print(flush=True)
print(json.dumps({"answered": answered, "failed": failed}))
"""


@contextlib.contextmanager
def client(here):
    """Asks the old model, one request after the other, for as long as the context lasts."""
    command = ["nsenter", "-t", str(here.leader), "-n", sys.executable, "-c", CLIENT % (OLD, PORT)]
    asking = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    asking.stdout.readline()
    try:
        yield
    finally:
        told = json.loads(asking.communicate(timeout=machine.PATIENCE_S)[0])
    assert told["failed"] == [] and told["answered"] > 0


@pytest.fixture(scope="module", params=machine.SUITES)
def here(request):
    if why := machine.why_not():
        pytest.skip(why)
    with machine.Machine(request.param, "faults") as it, contextlib.ExitStack() as disks:
        it.disks = {}
        for name, point in DISKS.items():
            it.disks[name] = Disk(it, name, point)
            disks.callback(it.disks[name].finish)
        stand_in(it, "gpu", ONCE)
        c = checkpoints.config("OpenChat-3.5")
        whole = it.top / "whole"
        checkpoints.write(whole, c, checkpoints.llama_like(c))
        cut = it.root / "srv/cut"
        shutil.copytree(whole, cut, ignore=shutil.ignore_patterns("*.safetensors"))
        for shard in whole.glob("*.safetensors"):
            with open(shard, "rb") as f, open(cut / shard.name, "wb") as to:
                to.write(f.read(1 << 20))
        write(it, configuration())
        for words in (["phase1"], ["phase2", OLD], ["phase3"], ["phase4"]):
            citadel(it, "deploy", *words, "-y")
        yield it


# ---- what goes wrong ----


@dataclasses.dataclass
class Fault:
    model: dict  # how the new one is configured
    around: typing.Callable = lambda here: contextlib.nullcontext()  # in which it is deployed
    amid: typing.Callable = None  # what happens while the new model loads


@contextlib.contextmanager
def taken(here):
    command = [
        *("nsenter", "-t", str(here.leader), "-n", sys.executable, "-c"),
        f"import socket, sys; s = socket.create_server(('127.0.0.1', {TAKEN})); print(flush=True); sys.stdin.read()",
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as who:
        who.stdout.readline()
        yield


@contextlib.contextmanager
def unmounted(here):
    here.disks["models"].unmount()
    try:
        yield
    finally:
        here.disks["models"].mount()


def full(name):
    @contextlib.contextmanager
    def around(here):
        here.disks[name].fill()
        try:
            yield
        finally:
            here.disks[name].empty()

    return around


@contextlib.contextmanager
def edited(here):
    """By a drop-in: it is told, and nothing is restarted for it. What is edited in a generation itself is replaced,
    see test_apply.py."""
    stand_in(here, OLD, ["Nice=1"])
    here.run("systemctl", "daemon-reload")
    yield
    assert "citadel-old.service.d changes a unit of ours" in citadel(here, "plan").stdout
    here.run("systemctl", "revert", "citadel-old.service")


def kill_it(here, started):
    """Whoever deploys; systemd goes on with what it was told."""
    here.run("systemctl", "kill", "-s", "KILL", "citadel_apply-*")
    here.is_in_state("citadel-new", "active")


def lose_terminal(here, started):
    here.end(started)


def reload_systemd(here, started):
    here.run("systemctl", "daemon-reload")


def kill_monitor(here, started):
    before = here.show("citadel-monitor", "MainPID")["MainPID"]
    here.run("kill", "-KILL", before)
    here.until(lambda: here.show("citadel-monitor", "MainPID")["MainPID"] not in ("0", before), "another monitor")


def come_second(here, started):
    done = citadel(here, "apply", "-y", check=False)
    assert done.returncode == 75 and "is being changed by root: " in done.stderr


FINE = model(12001)
FAULTS = {
    "none": Fault(FINE),
    "model-missing": Fault({"port": 12001, "path": "/srv/none", "residency": "always"}),
    "shard-truncated": Fault({"port": 12001, "path": "/srv/cut", "residency": "always"}),
    "bad-flag": Fault(model(12001, "--no-such-flag")),
    "port-taken": Fault(model(TAKEN), taken),
    "exits-0": Fault({"engine": "command", "command": ["/bin/true"], "kind": "chat", "port": 12001}),
    "load-stalls": Fault(model(12001, "--sim-fault", "load-hang", start_stall_limit="10s")),
    "disk-unmounted": Fault(FINE, unmounted),
    "models-unmounted": Fault(
        {"port": 12001, "path": "/mnt/citadel-models/active/new", "residency": "always"}, unmounted
    ),
    "disk-full": Fault(FINE, full("models")),
    "store-full": Fault(FINE, full("store")),
    "unit-edited": Fault(FINE, edited),
    "reload": Fault(model(12001, *SLOW), amid=reload_systemd),
    "two-at-once": Fault(model(12001, *SLOW), amid=come_second),
    "killed": Fault(model(12001, *SLOW), amid=kill_it),
    "terminal-lost": Fault(model(12001, *SLOW), amid=lose_terminal),
    "monitor-killed": Fault(model(12001, *SLOW), amid=kill_monitor),
}

PHASES = {
    "phase1": ["deploy", "phase1"],
    "phase2": ["deploy", "phase2", NEW],
    "phase3": ["deploy", "phase3"],
    "phase4": ["deploy", "phase4"],
    "apply": ["apply"],
}

REFUSED = "new is to be kept loaded always, and cannot be: "
NO_FILES = "cannot open the model directory /srv/none: No such file or directory"
MISSING = f"{REFUSED}{NO_FILES}"
CUT = f"{REFUSED}model-00001-of-00003.safetensors is too short: it has 1048576 bytes"
FLAG = "citadel-new.service: this release of vLLM does not know --no-such-flag"
LISTENS = f"citadel-new.service: something else listens on 127.0.0.1:{TAKEN}"
ENDED = "citadel-new.service: the engine ended unasked (exit status 0)"
STALLS = "citadel-new.service: no progress for start_stall_limit, 10s (loading weights, 1 of 4)"
NO_DISK = "citadel-storage.service: nothing is mounted at /mnt/citadel-models"
NOT_MOUNTED = "nothing is mounted at /mnt/citadel-models: it is a directory of the disk around it"
DISK_FULL = "citadel-storage.service: "
STORE_FULL = "cannot make the directory '/etc/citadel/generations/.new': No space left on device"
OTHERS = "the configuration, the models or the GPUs are others than those of generation"
BACK = "was taken back"
KILLED = ".service was killed before it was done"
LOST = None  # nobody is there to hear how it exits

# Of a fault in a phase: the exit code; parts of what is said; whether the new model runs afterwards; whether the
# generation that has it is current.
TABLE = {
    ("none", "phase2"): (0, ["phase2 is done: new answers"], True, True),
    ("none", "apply"): (0, ["is current"], True, True),
    ("model-missing", "phase1"): (1, [MISSING], False, False),
    ("model-missing", "phase2"): (1, [f"new cannot be tried: {NO_FILES}"], False, False),
    ("model-missing", "apply"): (1, [MISSING], False, False),
    ("shard-truncated", "phase1"): (1, [CUT], False, False),
    ("shard-truncated", "phase3"): (1, [OTHERS], False, False),
    ("shard-truncated", "apply"): (1, [CUT], False, False),
    ("bad-flag", "phase2"): (1, [FLAG, "try: citadel logs new"], False, True),
    ("bad-flag", "phase3"): (1, [f"new is left out: {FLAG}", "1 answer, 1 failed"], False, True),
    ("bad-flag", "phase4"): (1, [FLAG, BACK], False, False),
    ("bad-flag", "apply"): (1, [FLAG, BACK], False, False),
    ("port-taken", "phase2"): (1, [LISTENS], False, True),
    ("port-taken", "apply"): (1, [LISTENS, BACK], False, False),
    ("exits-0", "phase3"): (1, [f"new is left out: {ENDED}"], False, True),
    ("exits-0", "phase4"): (1, [ENDED, BACK], False, False),
    ("load-stalls", "phase2"): (1, [STALLS], False, True),
    ("disk-unmounted", "phase1"): (1, [NO_DISK, "is current, and not as it should be"], False, False),
    ("disk-unmounted", "apply"): (1, [NO_DISK, "is current, and not as it should be"], False, False),
    ("models-unmounted", "phase1"): (75, [NOT_MOUNTED, "try: mount /mnt/citadel-models"], False, False),
    ("models-unmounted", "apply"): (75, [NOT_MOUNTED, "try: mount /mnt/citadel-models"], False, False),
    ("disk-full", "phase1"): (1, [DISK_FULL, "No space left on device", BACK], False, False),
    ("disk-full", "apply"): (1, [DISK_FULL, "No space left on device", BACK], False, False),
    ("store-full", "phase1"): (1, [STORE_FULL], False, False),
    ("store-full", "apply"): (1, [STORE_FULL], False, False),
    ("unit-edited", "phase2"): (0, ["phase2 is done: new answers"], True, True),
    ("unit-edited", "apply"): (0, ["is current"], True, True),
    ("reload", "phase2"): (0, ["phase2 is done: new answers"], True, True),
    ("reload", "phase4"): (0, ["phase4 is done"], True, True),
    ("two-at-once", "phase3"): (0, ["2 answer, 0 failed"], True, True),
    ("killed", "phase2"): (1, [KILLED], True, True),
    ("killed", "phase4"): (1, [KILLED], True, True),
    ("terminal-lost", "phase2"): (LOST, [], True, True),
    ("terminal-lost", "phase4"): (LOST, [], True, True),
    ("monitor-killed", "phase3"): (0, ["2 answer, 0 failed"], True, True),
}


def rows():
    return [pytest.param(*key, *want, id="-".join(key)) for key, want in TABLE.items()]


# ---- a row ----


def start(here, *words):
    command = ["nsenter", "-t", str(here.leader), "-a", f"{here.bin}/citadel", *words]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def is_done(here):
    return json.loads(citadel(here, "deploy", "status", "--json").stdout)["changing"] is None


def run(here, fault, words):
    """Its exit code and what it has said; of who was lost, None and nothing."""
    if not fault.amid:
        done = citadel(here, *words, check=False, timeout=120)
        return done.returncode, done.stdout + done.stderr
    started = start(here, *words)
    hear(started, f"{NEW}: starting")
    fault.amid(here, started)
    if started.stdout.closed:
        here.until(lambda: is_done(here), "its end")
        return None, ""
    out, err = started.communicate(timeout=machine.PATIENCE_S)
    return started.returncode, out + err


def is_refused(fault):
    """Before anything is done, unless that is overridden."""
    return fault.model.get("residency") == "always"


@pytest.mark.parametrize("name, phase, code, says, runs, moved", rows())
def test_a_fault(here, name, phase, code, says, runs, moved):
    fault = FAULTS[name]
    before, pid = current(here), here.show("citadel-old", "MainPID")
    refused = is_refused(fault) and phase == "phase1"
    words = [*PHASES[phase], "-y", *([] if refused or phase == "apply" else ["--anyway"])]
    with client(here):
        with fault.around(here):
            write(here, configuration(new=fault.model))
            if phase in ("phase2", "phase3", "phase4") and not is_refused(fault):
                citadel(here, "deploy", "phase1", "-y", "--anyway")  # which puts in place what these prove
            got, said = run(here, fault, words)
            there = here.show("citadel-new", "ActiveState")["ActiveState"] == "active"
            now = current(here)
        write(here, configuration())
        if not is_refused(fault):
            citadel(here, "apply", "-y", timeout=120)
    assert (got, there, now != before) == (code, runs, moved), said
    for part in says:
        assert part in said
    assert here.show("citadel-old", "MainPID") == pid
    assert here.show("citadel-new", "LoadState") == {"LoadState": "not-found"}
