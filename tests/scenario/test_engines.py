"""Environments of vLLM: each release in a directory of its own, a link to the one that is meant, and generations
that remember theirs."""

import json
import pathlib
import shutil
import tempfile

import checkpoints
import environments
import machine
import pytest
from program import BIN, error_json, run, run_json
from test_apply import ONCE, citadel, stand_in

OLD, NEW = "0.19.0", "0.20.0"


class Site:
    """A root with one model, a made-up driver and both releases; the old one is meant."""

    def __init__(self, where):
        self.root = where
        self.opt = where / "opt/citadel"
        c = checkpoints.config("OpenChat-3.5")
        checkpoints.write(where / "opt/citadel/models/phi3", c, checkpoints.llama_like(c))
        (where / "gpus").mkdir()
        for release in (OLD, NEW):
            environments.make(self.opt / f"vllm-env-{release}", release)
        self.mean(OLD)
        config = {"models": {"phi3": {"residency": "always"}, "other": {"engine": "sim"}}}
        (where / "etc/citadel").mkdir(parents=True)
        (where / "etc/citadel/citadel.yaml").write_text(json.dumps(config))

    def mean(self, release):
        environments.lead(self.opt / "vllm-env", f"vllm-env-{release}")

    def citadel(self, *words, how=run):
        env = {"CITADEL_NVML": str(BIN / "sim/libnvidia-ml.so.1"), "CITADEL_FAKE_NVML": str(self.root / "gpus")}
        return how(*words, "--root", str(self.root), cwd=self.root, **env)

    def json(self, *words):
        code, result = self.citadel(*words, how=run_json)
        assert code == 0
        return result

    def apply(self):
        done = self.citadel("apply", "-y")
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def site():
    with tempfile.TemporaryDirectory(prefix="citadel-") as short:  # paths of sockets are
        yield Site(pathlib.Path(short))


def env(release):
    return f"/opt/citadel/vllm-env-{release}"


def test_a_generation_has_the_directory_that_the_link_led_to(site):
    assert site.json("plan")["vllm"] == {"env": env(OLD), "version": OLD, "trouble": None}
    assert f"vLLM {OLD} in {env(OLD)}\n" in site.citadel("plan").stdout
    site.apply()
    (made,) = site.json("generations")
    assert (made["vllm_env"], made["vllm_version"]) == (env(OLD), OLD)
    assert OLD in site.citadel("generations").stdout
    assert f"--vllm-env {env(OLD)}\n" in site.citadel("units", "phi3").stdout


def test_when_the_link_moves_models_on_vllm_change_and_no_others(site):
    site.apply()
    assert site.citadel("plan", "--exit-code").returncode == 0
    site.mean(NEW)
    changes = {c["file"] for c in site.json("plan")["changes"]}
    assert changes == {"plan.json", "units/citadel-phi3.service"}
    assert f"vLLM: {OLD} in {env(OLD)} -> {NEW} in {env(NEW)}\n" in site.citadel("plan").stdout
    assert f"+X-CitadelEngine={env(NEW)}: vllm {NEW}\n" in site.citadel("diff").stdout
    site.apply()
    assert [g["vllm_version"] for g in site.json("generations")] == [OLD, NEW]


def test_another_release_in_the_same_place_is_a_change_too(site):
    site.apply()
    packages = site.opt / f"vllm-env-{OLD}/lib/python3.12/site-packages"
    (packages / f"vllm-{OLD}.dist-info").rename(packages / f"vllm-{NEW}.dist-info")
    assert "units/citadel-phi3.service" in {c["file"] for c in site.json("plan")["changes"]}


def test_a_saved_plan_is_stale_when_the_link_has_moved(site):
    (site.root / "plan.json").write_text(site.citadel("plan", "--json").stdout)
    site.mean(NEW)
    done = site.citadel("apply", "-y", "plan.json")
    assert done.returncode == 1 and "is not what was shown" in done.stderr
    assert "try: citadel plan --json > plan.json" in done.stderr


def test_an_older_generation_brings_its_release_back(site):
    site.apply()
    site.mean(NEW)
    site.apply()
    assert site.citadel("generations", "switch", "1", "-y").returncode == 0
    unit = (site.root / "etc/citadel/current/units/citadel-phi3.service").read_text()
    assert f"--vllm-env {env(OLD)}\n" in unit


@pytest.mark.parametrize(
    "spoil, says",
    [
        (lambda here: shutil.rmtree(here), "there is no Python environment at"),
        (lambda here: (here / "bin/vllm").unlink(), "is not whole: bin/vllm: No such file or directory"),
        (
            lambda here: (here / f"lib/python3.12/site-packages/vllm-{OLD}.dist-info").rename(
                here / f"lib/python3.12/site-packages/vllm-{NEW}.dist-info"
            ),
            f"{env(OLD)} is {NEW} now",
        ),
    ],
)
def test_a_generation_whose_release_is_gone_does_not_come_back(site, spoil, says):
    site.apply()
    site.mean(NEW)
    site.apply()
    spoil(site.opt / f"vllm-env-{OLD}")
    error = error_json(site.citadel("generations", "switch", "1", "-y", "--json"))
    assert error["id"] == "generation.engine-gone" and error["exit"] == 1
    assert f"generation 1 runs on vLLM {OLD} in {env(OLD)}: " in error["message"] and says in error["message"]
    assert "citadel engines" in error["fix"]
    assert [g["generation"] for g in site.json("generations") if g["current"]] == [2]


@pytest.mark.parametrize(
    "leave_out, says",
    [
        (["package"], "vllm is not installed in"),
        (["vllm"], "is not whole: bin/vllm: No such file or directory"),
        (["python3"], "is not whole: bin/python3: No such file or directory"),
    ],
)
def test_nothing_is_planned_on_one_that_is_half_made(site, leave_out, says):
    environments.make(site.opt / "vllm-env-half", "0.21.0", leave_out=leave_out)
    site.mean("half")
    plan = site.json("plan")
    (phi3,) = [m for m in plan["models"] if m["name"] == "phi3"]
    assert (phi3["fate"], phi3["conflict"]) == ("broken", True)
    assert says in phi3["reason"] and "citadel engines" in phi3["fix"]
    assert "\nNo vLLM: " in site.citadel("plan").stdout
    error = error_json(site.citadel("apply", "-y", "--json"))
    assert error["id"] == "deploy.conflict" and says in error["message"]
    assert not (site.root / "etc/citadel/current").is_symlink()


def test_a_link_that_leads_nowhere_is_said_to(site):
    site.mean("0.99.0")
    assert "there is no Python environment at" in site.json("plan")["vllm"]["trouble"]


def test_without_a_model_on_vllm_nobody_looks_for_it(site):
    config = site.root / "etc/citadel/citadel.yaml"
    config.write_text('{"models": {"other": {"engine": "sim"}}}')
    site.mean("0.99.0")
    assert site.json("plan")["vllm"] is None
    assert "vLLM" not in site.citadel("plan").stdout


def test_the_list_says_who_needs_which(site):
    environments.make(site.opt / "vllm-env-half", "0.21.0", leave_out=["package"])
    environments.make(site.opt / "vllm-env-0.18.0", "0.18.0")
    site.apply()
    site.mean(NEW)
    site.apply()
    shutil.rmtree(site.opt / f"vllm-env-{OLD}")
    rows = {row["path"]: row for row in site.json("engines")}
    assert list(rows) == [env("0.18.0"), env(NEW), env("half"), env(OLD)]
    told = {path: (row["version"], row["meant"], row["generations"], row["needed"]) for path, row in rows.items()}
    assert told == {
        env("0.18.0"): ("0.18.0", False, [], False),
        env(NEW): (NEW, True, [2], True),
        env("half"): (None, False, [], False),
        env(OLD): (None, False, [1], True),
    }
    assert "vllm is not installed" in rows[env("half")]["trouble"]
    assert "there is no Python environment" in rows[env(OLD)]["trouble"]
    lines = {line.split()[0]: line for line in site.citadel("engines").stdout.splitlines()}
    assert "2 (current)" in lines[env(NEW)] and "paths.vllm_env leads here" in lines[env(NEW)]
    assert "may be removed" in lines[env("0.18.0")]


def test_what_runs_does_so_from_the_directory(site):
    """Else Python would load one half of itself from the old release and the other from the new one."""
    run_it = ("run", "phi3", "--print")
    started = site.json(*run_it)
    assert started["argv"][0] == f"{site.opt}/vllm-env-{OLD}/bin/vllm"
    assert started["environment"]["VIRTUAL_ENV"] == f"{site.opt}/vllm-env-{OLD}"
    started = site.json(*run_it, "--vllm-env", env(NEW))
    assert started["argv"][0] == f"{site.opt}/vllm-env-{NEW}/bin/vllm"
    done = site.citadel(*run_it, "--vllm-env", "vllm-env")
    assert done.returncode == 64 and "'vllm-env' is not an absolute path" in done.stderr


# ---- under the real systemd ----


def pids(here):
    return {name: here.show(f"citadel-{name}", "MainPID")["MainPID"] for name in ("small", "big", "other")}


def command(here, name):
    """Of the engine of a model."""
    group = here.show(f"citadel-{name}", "ControlGroup")["ControlGroup"]
    return here.sh(f"for p in $(cat /sys/fs/cgroup{group}/cgroup.procs); do tr '\\0' ' ' </proc/$p/environ; echo; done")


@pytest.fixture(scope="module", params=machine.SUITES)
def here(request):
    if why := machine.why_not():
        pytest.skip(why)
    with machine.Machine(request.param, "engines") as it:
        gpus = "/dev/shm/driver"  # where every unit may write, as in the /dev of a real one
        shutil.copy(BIN / "sim/libnvidia-ml.so.1", it.root / "usr/lib/x86_64-linux-gnu")
        c = checkpoints.config("OpenChat-3.5")
        for release in (OLD, NEW):
            environments.make(f"{it.root}{env(release)}", release, simulator=f"{it.bin}/citadel-sim")
        environments.lead(it.root / "opt/citadel/vllm-env", f"vllm-env-{OLD}")
        for name in ("small", "big"):
            checkpoints.write(it.root / "mnt/citadel-models/active" / name, c, checkpoints.llama_like(c))
        it.sh(f"install -d -m 777 {gpus}; mkdir -p /mnt/citadel-backup")
        it.write(f"{gpus}/gpus", "gpu NVIDIA H100 80GB HBM3\ncount 2\n")
        it.run("systemctl", "set-environment", f"CITADEL_FAKE_NVML={gpus}")
        it.write_json("/etc/citadel/citadel.yaml", {
            "storage": {"require_mounts": False, "smart": False},
            "backup": {"enabled": False},
            "models": {
                "small": {"port": 12000, "gpu_memory_fraction": 0.4},
                "big": {"port": 12001, "gpu_memory_fraction": 0.8},
                "other": {"port": 12002, "engine": "sim", "gpu_memory_fraction": 0.1},
            },
        })
        citadel(it, "storage", "setup")
        stand_in(it, "gpu", ONCE)  # what is made up has no settings
        citadel(it, "gpu", "status", user="citadel")  # whoever looks first owns the driver's state
        yield it


@pytest.mark.xdist_group("machine")
def test_models_move_with_the_link_and_back_with_the_generation(here):
    def apply(*words):
        done = citadel(here, *words, "-y", timeout=120)
        return done.stdout + done.stderr

    apply("apply")
    before = pids(here)
    assert f"VIRTUAL_ENV={env(OLD)} " in command(here, "small")
    shown = json.loads(citadel(here, "status", "small", "--json").stdout)["services"][0]
    assert (shown["model"]["engine"], shown["model"]["version"]) == ("vllm", OLD)
    assert f"vllm {OLD}" in citadel(here, "status", "small").stdout

    environments.lead(here.root / "opt/citadel/vllm-env", f"vllm-env-{NEW}")
    assert pids(here) == before
    assert f"vLLM: {OLD} in {env(OLD)} -> {NEW} in {env(NEW)}" in apply("apply")
    after = pids(here)
    assert after["other"] == before["other"]
    assert after["small"] != before["small"] and after["big"] != before["big"]
    assert f"VIRTUAL_ENV={env(NEW)} " in command(here, "big")

    apply("generations", "switch", "1")
    back = pids(here)
    assert back["other"] == before["other"] and back["small"] != after["small"]
    assert f"VIRTUAL_ENV={env(OLD)} " in command(here, "small")

    here.run("mv", env(NEW), "/opt/elsewhere")
    done = citadel(here, "generations", "switch", "2", "-y", check=False)
    assert done.returncode == 1 and f"generation 2 runs on vLLM {NEW} in {env(NEW)}" in done.stderr
    assert pids(here) == back
