"""Power is lost in the middle of `citadel apply`: the machine comes up with the old generation or the new
one, whole, says where it stands, and the next apply makes it good.

One apply is recorded, every write of the disk with its flushes, and qemu is killed when it is over. What a
disk would have kept, had power been lost at another moment of it, is then booted; and for many more moments,
since that takes no time, the files on it are looked at."""

import hashlib
import json
import os
import pathlib
import random
import subprocess

import pytest

import vm

CUTS = 10  # that are booted
LOOKS = 60
SEED = int(os.environ.get("CITADEL_SEED", "4"))
OLD, NEW = 12001, 12011
CONFIG = "/etc/citadel/citadel.yaml"


def model(port):
    return {"engine": "sim", "port": port, "extra_args": ["--sim-load-time", "0.1"]}


def configuration(two):
    return {
        "storage": {"require_mounts": False, "smart": False},
        "backup": {"enabled": False},
        "models": {"one": model(12000), "two": model(two), "three": model(12002)},
    }


def prepare(root):
    for part in ("models", "backup"):
        (root / f"mnt/citadel-{part}").mkdir()


def citadel(here, *words, **more):
    return here.run(f"{here.bin}/citadel", *words, **more)


def generations(here):
    return [g["generation"] for g in json.loads(citadel(here, "generations", "--json").stdout) if g["current"]]


def completes(here, name, port):
    asked = json.dumps({"model": name, "messages": [{"role": "user", "content": "hello"}]})
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    return "chat.completion" in here.run("curl", "-sS", "--json", asked, url, check=False).stdout


class Never:
    """Of what was not flushed, a disk keeps nothing."""

    @staticmethod
    def random():
        return 1.0


class Recorded:
    """A disk with generation 1, and all that was written while generation 2 was applied."""

    def __init__(self, disk):
        self.disk = disk
        log = disk.top / "log"
        with disk.boot(log=log) as it:
            it.write_json(CONFIG, configuration(OLD))
            citadel(it, "apply", "-y")
            it.write_json(CONFIG, configuration(NEW))
            it.run("sync")
            self.begun = len(vm.Writes(log))
            citadel(it, "apply", "-y")
            self.ended = len(vm.Writes(log))
            assert completes(it, "two", NEW)
        self.writes = vm.Writes(log)
        assert len(self.writes) > self.begun + CUTS, "nothing was written"

    def end(self):
        """What the disk surely has when power is lost as soon as apply has ended."""
        file = self.disk.copy("cut")
        self.writes.cut(self.ended, file, Never)
        return file

    def cut(self, number, cuts):
        """What the disk has when power is lost at a moment of the number-th part, of so many; by chance, of one
        seed."""
        chance = random.Random(f"{SEED} {number} {cuts}")
        span = (len(self.writes) - self.begun) / cuts
        count = self.begun + int(span * (number + chance.random()))
        file = self.disk.copy("cut")
        self.writes.cut(count, file, chance)
        print(f"seed {SEED}: cut after {count - self.begun} of {len(self.writes) - self.begun} writes")
        return file


@pytest.fixture(scope="module")
def recorded():
    with vm.fresh_disk(vm.SUITE, "power", prepare) as disk:
        yield Recorded(disk)


def dump(disk, where):
    """The files of /etc/citadel on a disk that is not mounted, its journal played."""
    subprocess.run(["e2fsck", "-p", disk], stdout=subprocess.DEVNULL)  # 1: it has mended something
    command = ["debugfs", "-R", f"rdump /etc/citadel {where}", disk]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return pathlib.Path(where) / "citadel"


def is_listed_whole(generation):
    listed = json.loads((generation / "manifest.json").read_text())["files"]
    assert listed
    for name, digest in listed.items():
        assert hashlib.sha256((generation / name).read_bytes()).hexdigest() == digest, name


@pytest.mark.parametrize("number", range(LOOKS))
def test_on_the_disk_every_generation_is_whole(recorded, number, tmp_path):
    store = dump(recorded.cut(number, LOOKS), tmp_path)
    assert os.readlink(store / "current") in ("generations/1", "generations/2")
    assert (store / "current").exists()
    for generation in (store / "generations").glob("[0-9]*"):
        is_listed_whole(generation)


def test_what_was_done_is_on_the_disk(recorded, tmp_path):
    store = dump(recorded.end(), tmp_path)
    assert os.readlink(store / "current") == "generations/2"
    is_listed_whole(store / "generations/2")


def is_whole(here, number):
    """What runs is what the generation says, and nobody has anything to complain of."""
    assert json.loads(citadel(here, "status", "--json").stdout)["drift"] == []
    here.is_in_state("citadel-two.service", "active")
    return completes(here, "two", OLD if number == 1 else NEW)


@pytest.mark.parametrize("number", range(CUTS))
def test_it_comes_up_with_one_or_the_other(recorded, number):
    with recorded.disk.boot(recorded.cut(number, CUTS)) as it:
        (current,) = generations(it)
        assert current in (1, 2) and is_whole(it, current)
        planned = citadel(it, "plan", "--exit-code", check=False)
        interrupted = "was interrupted" in planned.stdout
        print(f"generation {current}, {'interrupted' if interrupted else 'not interrupted'}")
        assert planned.returncode == (2 if interrupted or current == 1 else 0), planned.stdout
        done = citadel(it, "apply", "-y")
        assert ("it is made good now" in done.stderr) == interrupted
        assert generations(it)[0] >= 2 and completes(it, "two", NEW)
