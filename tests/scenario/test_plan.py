"""`citadel plan`: the configuration, real model directories and a made-up driver come to a plan."""

import json
import re

import checkpoints
import environments
import pytest
from program import BIN, error_json, run, run_json

H100_BYTES = 81559 << 20
SLACK_BYTES = 512 << 20


class Machine:
    def __init__(self, where):
        self.where = where
        self.models = where / "models/active"
        self.disk = False  # whether the models are to be on one of their own
        self.env = {"CITADEL_NVML": str(where / "none.so")}

    def give_gpus(self, text):
        """A made-up driver, in the words of sim/nvml/fake_describe.c."""
        folder = self.where / "gpus"
        folder.mkdir(exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
        (folder / "gpus").write_text(text)
        self.env = {
            "CITADEL_NVML": str(BIN / "sim/libnvidia-ml.so.1"),
            "CITADEL_FAKE_NVML": str(folder),
        }

    def give_model(self, name, checkpoint="OpenChat-3.5"):
        c = checkpoints.config(checkpoint)
        return checkpoints.write(self.models / name, c, checkpoints.llama_like(c))

    def configure(self, **models):
        places = ", ".join(f"{name}: {self.where}/{name}" for name in ("models", "state", "generations", "run"))
        lines = [f"paths: {{root: {self.where}, {places}}}"]
        lines += [f"storage: {{require_mounts: {json.dumps(self.disk)}}}", "models:"]
        for name, options in models.items():
            options = ", ".join(f"{k}: {json.dumps(v)}" for k, v in options.items())
            lines.append(f"  {name}: {{{options}}}")
            (self.where / "citadel.yaml").write_text("\n".join(lines) + "\n")

    def run(self, *words):
        return run("plan", "-c", str(self.where / "citadel.yaml"), *words, **self.env)

    def plan(self):
        code, plan = run_json("plan", "-c", str(self.where / "citadel.yaml"), **self.env)
        assert code == 0
        return plan

    def fates(self):
        return {m["name"]: m["fate"] for m in self.plan()["models"]}


@pytest.fixture
def machine(tmp_path):
    (tmp_path / "models/active").mkdir(parents=True)
    environments.make(tmp_path / "vllm-env", "0.19.0")
    return Machine(tmp_path)


def at(machine, name):
    return {"path": str(machine.models / name)}


def by_name(plan):
    return {m["name"]: m for m in plan["models"]}


def test_two_models_share_a_gpu_and_a_third_waits(machine):
    machine.give_gpus("gpu NVIDIA H100 80GB HBM3\n")
    machine.give_model("openchat")
    same = at(machine, "openchat")
    machine.configure(
        one={**same, "gpu_memory_fraction": 0.5},
        two={**same, "gpu_memory_fraction": 0.3},
        three={**same, "gpu_memory_fraction": 0.4},
    )
    plan = machine.plan()
    models = by_name(plan)
    assert {n: m["fate"] for n, m in models.items()} == {
        "one": "resident",
        "two": "resident",
        "three": "on-demand",
    }
    assert models["three"]["held_by"] == ["one", "two"]
    (gpu,) = plan["gpus"]
    assert gpu["total_bytes"] == H100_BYTES
    claims = [models[name]["claim_bytes"] for name in ("one", "two")]
    assert sum(claims) == gpu["promised_bytes"] <= H100_BYTES - SLACK_BYTES
    assert models["one"]["weights_bytes"] == 2 * 7241748480  # its parameters, of 16 bits each


def test_the_table_and_the_sentences_say_what_json_says(machine):
    machine.give_gpus("gpu NVIDIA H100 80GB HBM3\ncount 2\n")
    machine.give_model("llama", "Llama-3.1-8B-Instruct")
    machine.configure(
        chat={**at(machine, "llama"), "max_model_len": 8192},
        large={**at(machine, "llama"), "max_model_len": 120000, "gpu_memory_fraction": 0.3},
    )
    done = machine.run()
    assert done.returncode == 0 and not done.stderr
    plan = machine.plan()
    for model in plan["models"]:
        assert re.search(rf"^{model['name']} +{model['fate']}\b", done.stdout, re.M)
        assert f"{model['name']}: {model['reason']}\n" in done.stdout
        if model["fix"]:
            assert f"  try: {model['fix']}\n" in done.stdout
    assert by_name(plan)["large"]["fate"] == "impossible"
    for gpu in plan["gpus"]:
        assert re.search(rf"^ +{gpu['index']}  {gpu['name']}  .* 79\.6 GiB$", done.stdout, re.M)


def test_what_is_advised_helps(machine):
    machine.give_gpus("gpu NVIDIA L4\nmemory 23034MiB\n")
    machine.give_model("openchat")
    tight = {**at(machine, "openchat"), "gpu_memory_fraction": 0.7}
    machine.configure(chat=tight)
    (model,) = machine.plan()["models"]
    assert model["fate"] == "impossible"
    fraction = re.search(r"raise gpu_memory_fraction to ([\d.]+)", model["fix"])[1]
    machine.configure(chat={**tight, "gpu_memory_fraction": float(fraction)})
    assert machine.fates() == {"chat": "resident"}


def test_a_torn_model_is_broken(machine):
    machine.give_gpus("gpu NVIDIA H100 80GB HBM3\n")
    checkpoints.cut(machine.give_model("openchat") / "model-00002-of-00003.safetensors")
    machine.configure(chat=at(machine, "openchat"), gone=at(machine, "gone"))
    models = by_name(machine.plan())
    assert models["chat"]["fate"] == models["gone"]["fate"] == "broken"
    assert "model-00002-of-00003.safetensors" in models["chat"]["reason"]
    assert str(machine.models / "gone") in models["gone"]["reason"]
    assert "citadel models validate gone" in models["gone"]["fix"]


def test_without_a_driver_there_are_no_gpus(machine):
    machine.give_model("openchat")
    machine.configure(
        chat=at(machine, "openchat"),
        sim={"engine": "sim"},
        other={**at(machine, "openchat"), "residency": "always"},
    )
    plan = machine.plan()
    assert plan["gpus"] == [] and "none.so" in plan["no_gpus"]
    models = by_name(plan)
    assert models["chat"]["fate"] == "impossible" and plan["no_gpus"] in models["chat"]["reason"]
    assert models["sim"]["fate"] == "resident"
    assert models["other"]["conflict"]
    shown = machine.run().stdout
    assert f"No GPUs: {plan['no_gpus']}" in shown
    assert "Conflict: other is to be kept loaded always, and cannot be.\n" in shown


def test_gpus_that_are_linked_go_together(machine):
    """Those of the made-up driver are linked with each other where both have NVLinks."""
    machine.give_gpus("gpu NVIDIA L40S\nmemory 46068MiB\nlinks 0\ngpu NVIDIA H100 NVL\ncount 2\n")
    machine.give_model("yi", "Yi-34B-Chat")
    machine.configure(yi={**at(machine, "yi"), "tensor_parallel": 2, "max_model_len": 4096})
    (model,) = machine.plan()["models"]
    assert [part["gpu"] for part in model["parts"]] == [1, 2]


def test_it_is_the_same_each_time(machine):
    machine.give_gpus("")
    machine.give_model("openchat")
    machine.configure(chat=at(machine, "openchat"), more={"engine": "sim"})
    first, second = machine.run("--json"), machine.run("--json")
    assert first.returncode == 0 and first.stdout == second.stdout


def test_models_on_a_disk_that_is_not_mounted_are_not_planned(machine):
    machine.give_gpus("")
    machine.give_model("openchat")
    machine.disk = True
    link = {"path": str(machine.where / "models/active/openchat")}
    for model in (at(machine, "openchat"), link):
        machine.configure(chat=model)
        for words in (["plan"], ["apply", "-y"], ["disable", "-y", "monitor"], ["deploy", "phase1", "-y"]):
            done = run(*words, "-c", str(machine.where / "citadel.yaml"), "--json", **machine.env)
            error = error_json(done)
            assert (error["id"], done.returncode) == ("storage.not-mounted", 75), done
            assert f"nothing is mounted at {machine.models.parent}: " in error["message"]
            assert f"mount {machine.models.parent}" in error["fix"]
    assert not any((machine.where / name).exists() for name in ("state", "generations"))
    assert "monitor" not in (machine.where / "citadel.yaml").read_text()
    machine.configure(chat={**at(machine, "openchat"), "enabled": False}, more={"engine": "sim"})
    assert machine.fates() == {"chat": "disabled", "more": "resident"}


def test_a_stale_plan_can_be_told(machine):
    machine.give_gpus("")
    machine.give_model("openchat")
    machine.configure(chat=at(machine, "openchat"))
    before = machine.plan()["fingerprint"]
    assert machine.plan()["fingerprint"] == before
    machine.configure(chat={**at(machine, "openchat"), "gpu_memory_fraction": 0.8})
    changed = machine.plan()["fingerprint"]
    machine.configure(chat=at(machine, "openchat"))
    assert machine.plan()["fingerprint"] == before
    checkpoints.cut(machine.models / "openchat/model-00001-of-00003.safetensors")
    torn = machine.plan()["fingerprint"]
    machine.give_gpus("gpu NVIDIA L40S\nmemory 46068MiB\n")
    assert len({before, changed, torn, machine.plan()["fingerprint"]}) == 4


def test_errors_of_the_configuration_are_told(machine):
    machine.configure(chat={"port": 7})
    done = machine.run("--json")
    assert done.returncode == 64 and error_json(done)["id"] == "config.invalid"
