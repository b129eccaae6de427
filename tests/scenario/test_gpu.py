"""`citadel gpu`, with the made-up driver."""

import fcntl
import json
import os

import pytest

from program import BIN, error_json, run, run_json

GPUS = "gpu NVIDIA L40S\ncount 2\nmemory 46068MiB\npower 350\n"


class Host:
    def __init__(self, where, gpus=GPUS):
        self.where = where
        self.env = {}
        if gpus:
            (where / "driver").mkdir()
            (where / "driver/gpus").write_text(gpus)
            self.env = {"CITADEL_FAKE_NVML": str(where / "driver"), "CITADEL_NVML": str(BIN / "sim/libnvidia-ml.so.1")}
        self.configure()

    def configure(self, models=None, **gpu):
        paths = {part: str(self.where / part) for part in ("models", "logs", "state", "run")}
        config = {"paths": paths, "gpu": gpu, "models": models or {"m": {"engine": "sim"}}}
        (self.where / "citadel.yaml").write_text(json.dumps(config))

    def gpu(self, *words):
        return run("gpu", *words, "-c", self.where / "citadel.yaml", **self.env)

    def status(self):
        code, told = run_json("gpu", "status", "-c", self.where / "citadel.yaml", **self.env)
        assert code == 0
        return told["gpus"]


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)


WISH = {"persistence": True, "power_limit": 250, "graphics_clock": 1500, "compute_mode": "exclusive-process"}


def test_settings_are_made_shown_and_put_back(host):
    host.configure(**WISH)
    done = host.gpu("optimize")
    assert (done.returncode, done.stderr) == (0, "")
    assert "GPU 0: power_limit 250 W, was 350 W" in done.stdout
    assert "GPU 1: graphics_clock 1500 MHz, was unknown" in done.stdout
    (one, two) = host.status()
    assert (one["power_limit_mw"], one["persistence"], one["compute_mode"]) == (250000, 1, 3)
    assert one["found"] == {"persistence": 0, "compute_mode": 0, "power_limit_mw": 350000, "graphics_mhz": 0}
    assert two["configured"]["power_limit_mw"] == 250000
    shown = host.gpu("status").stdout
    assert "power_limit    250 W; configured: 250 W; found: 350 W" in shown
    assert host.gpu("restore").returncode == 0
    (one, two) = host.status()
    assert (one["power_limit_mw"], two["persistence"], two["found"]) == (350000, 0, {})
    assert host.gpu("restore").stdout == "nothing to do on 2 GPUs\n"


def test_twice_keeps_what_was_found_first(host):
    host.configure(power_limit=250)
    host.gpu("optimize")
    host.configure(power_limit=300)
    done = host.gpu("optimize")
    assert "was 250 W" in done.stdout and "persistence" not in done.stdout
    host.gpu("restore")
    assert [g["power_limit_mw"] for g in host.status()] == [350000, 350000]


def test_what_cannot_be_is_told_and_the_rest_is_done(host):
    host.configure(power_limit=900)
    done = host.gpu("optimize")
    assert done.returncode == 64
    assert "GPU 0: a power limit of 900 W is not possible, only 200 to 350 W" in done.stderr
    assert "GPU 1: a power limit of 900 W" in done.stderr
    assert host.status()[0]["persistence"] == 1


def test_without_a_driver_it_depends_on_the_models(tmp_path):
    host = Host(tmp_path, gpus=None)
    done = host.gpu("optimize")
    assert done.returncode == 0 and "no GPU to be set: no NVIDIA driver here" in done.stderr
    assert host.gpu("restore").returncode == 0
    host.configure(models={"m": {"engine": "vllm"}})
    assert error_json(host.gpu("optimize", "--json"))["id"] == "gpu.no-library"
    assert host.gpu("status").returncode == 1


def test_two_at_once_do_not_remember_each_other(host):
    (host.where / "state/gpu").mkdir(parents=True)
    with open(host.where / "state/gpu/lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = host.gpu("optimize")
        assert done.returncode == 75 and "another process is setting the GPUs" in done.stderr
    assert host.gpu("optimize").returncode == 0


def test_the_file_is_for_all_to_read_and_for_its_owner_to_write(host):
    host.configure(power_limit=250)
    os.umask(0o077)
    try:
        host.gpu("optimize")
    finally:
        os.umask(0o022)
    told = json.loads((host.where / "state/gpu/settings.json").read_text())
    assert len(told["gpus"]) == 2
    assert (host.where / "state/gpu/settings.json").stat().st_mode & 0o777 == 0o644
