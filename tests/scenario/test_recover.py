"""`citadel recover model`: from the newest good backup to the first answer."""

import json
import pathlib
import shutil
import tempfile

import checkpoints
import environments
import pytest
from program import BIN, error_json
from test_backup import digest_of, settle
from up import Site


@pytest.fixture
def site(monkeypatch):
    """A small model on what is taken for vLLM, which runs, and has a backup. Sockets have short paths."""
    with tempfile.TemporaryDirectory(prefix="citadel-", dir="/tmp") as folder:
        place = pathlib.Path(folder)
        environments.make(place / "vllm-env", "0.19.0")
        (place / "gpus").mkdir()
        monkeypatch.setenv("CITADEL_NVML", str(BIN / "sim/libnvidia-ml.so.1"))
        monkeypatch.setenv("CITADEL_FAKE_NVML", str(place / "gpus"))
        s = Site(place, {"chat": {"engine": "vllm"}, "other": ""})
        s.config.write_text(s.config.read_text() + "storage: {require_mounts: false}\n"
                            f"backup: {{repository: {place}/backup/r}}\n")
        (place / "models/chat").rmdir()
        c = checkpoints.config("OpenChat-3.5")
        c.update(num_hidden_layers=2, hidden_size=256, intermediate_size=512, vocab_size=1000,
                 num_attention_heads=4, num_key_value_heads=2)
        checkpoints.write(place / "models/chat", c, checkpoints.llama_like(c))
        settle(place / "models/chat")
        for words in (("init",), ("models", "chat")):
            done = s.run("backup", *words)
            assert done.returncode == 0, done
        yield s
        s.end()


def recover(s, *words):
    return s.run("recover", "model", "chat", "-y", *words)


def test_a_model_comes_back_and_answers(site):
    model = site.directory / "models/chat"
    want = digest_of(model)
    site.up().wait_all("chat: ready", "other: ready")
    before = site.status()
    (model / "model.safetensors").write_bytes(b"spoilt")
    (model / "stray").touch()
    done = recover(site)
    assert done.returncode == 0, done
    steps = [line.split()[0] for line in done.stdout.splitlines()]
    assert steps == ["find", "measure", "stop", "restore", "start", "end"], done.stdout
    assert "the objective is 4h" in done.stdout and "500 GB take" in done.stdout and "chat answers" in done.stdout
    assert digest_of(model) == want
    after = site.status()
    assert after["chat"]["state"] == "ready" and after["chat"]["pid"] != before["chat"]["pid"]
    assert after["other"]["pid"] == before["other"]["pid"]


def test_a_dry_run_tells_and_changes_nothing(site):
    model = site.directory / "models/chat"
    (model / "model.safetensors").write_bytes(b"spoilt")
    before = digest_of(model)
    done = recover(site, "--dry-run", "--json")
    told = json.loads(done.stdout)
    assert done.returncode == 0 and [step["step"] for step in told["steps"]] == ["find", "measure", "then"]
    assert told["objective_us"] == 4 * 3600 * 10**6 and 0 < told["estimate_us"] < told["objective_us"]
    assert digest_of(model) == before


def test_files_come_back_where_nobody_supervises(site):
    model = site.directory / "models/chat"
    want = digest_of(model)
    shutil.rmtree(model)
    done = recover(site)
    assert done.returncode == 0 and "nothing runs chat here" in done.stdout, done
    assert digest_of(model) == want


def test_of_what_is_damaged_the_one_before_is_taken(site):
    model = site.directory / "models/chat"
    want = digest_of(model)
    packs = site.directory / "backup/r/packs"
    known = set(packs.iterdir())
    (model / "notes").write_text("n" * 5000)
    settle(model)
    assert site.run("backup", "models", "chat").returncode == 0
    (new,) = set(packs.iterdir()) - known
    body = bytearray(new.read_bytes())
    body[80] ^= 1
    new.write_bytes(body)
    done = recover(site)
    assert done.returncode == 0 and "\ndamaged " in done.stdout and "is taken" in done.stdout, done
    assert not (model / "notes").exists() and digest_of(model) == want


def test_what_has_no_backup_says_so(site):
    error = error_json(site.run("recover", "model", "other", "-y", "--json"))
    assert error["id"] in ("backup.no-snapshot", "model.none") and "other" in error["message"], error
    error = error_json(site.run("recover", "model", "chta", "-y", "--json"))
    assert "chta" in error["message"] and "chat" in error["fix"]
