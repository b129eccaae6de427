"""`citadel backup`: models are saved and restored, by us and without us."""

import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from program import CITADEL, TOP, environment, error_json, run, run_json

EXTRACT = TOP / "tests/extract.py"
FIXTURES = TOP / "tests/data/backup"


def digest_of(top):
    """All that is to come back."""
    found = {}
    for path in [top, *sorted(top.rglob("*"))]:
        st = path.lstat()
        what = os.readlink(path) if path.is_symlink() else None
        if path.is_file() and not path.is_symlink():
            what = hashlib.sha256(path.read_bytes()).hexdigest()
        found[str(path.relative_to(top))] = (oct(st.st_mode), st.st_mtime_ns, what)
    return found


def weights(seed, blocks=3):
    """A safetensors file of bf16, as trained weights are: few exponents."""
    state, data = seed, bytearray()
    for _ in range(blocks):
        state = int.from_bytes(hashlib.sha256(state.to_bytes(8, "little")).digest()[:8], "little")
        mantissas = hashlib.shake_128(state.to_bytes(8, "little")).digest(1 << 20)
        exponents = hashlib.shake_128(b"e" + state.to_bytes(8, "little")).digest(1 << 20)
        exponents = exponents.translate(bytes((0x3B + bin(i).count("1") % 3) | (i & 0x80) for i in range(256)))
        piece = bytearray(1 << 21)
        piece[0::2], piece[1::2] = mantissas, exponents
        data += piece
    header = json.dumps({"w": {"dtype": "BF16", "shape": [len(data) // 2], "data_offsets": [0, len(data)]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(data)


def fill(model, seed=1):
    model.mkdir(parents=True)
    (model / "config.json").write_text('{"architectures": ["Phi3ForCausalLM"]}\n')
    (model / "model.safetensors").write_bytes(weights(seed))
    (model / "sub").mkdir()
    (model / "sub/notes \\ of\nmine").write_text("x" * 5000)
    (model / "tokenizer.json").symlink_to("config.json")
    (model / "empty").touch()
    os.utime(model / "config.json", ns=(1, 1600000000123456789))


@pytest.fixture
def image(tmp_path):
    (tmp_path / "etc/citadel").mkdir(parents=True)
    configure(tmp_path)
    fill(tmp_path / "models/phi3")
    return tmp_path


def settle(top):
    """Files that changed a moment ago are read again: their times would not tell of another change."""
    youngest = max(path.lstat().st_ctime_ns for path in top.rglob("*"))
    while time.time_ns() < youngest + 200_000_000:
        time.sleep(0.01)


def configure(image, **backup):
    config = {
        "storage": {"require_mounts": False},
        "models": {
            "phi3": {"path": "/models/phi3"},
            "coder": {"path": "/models/coder", "backup": False},
            "toy": {"engine": "sim"},
        },
        "backup": {"repository": "/backup", **backup},
    }
    (image / "etc/citadel/citadel.yaml").write_text(json.dumps(config))


def backup(image, *words, **more):
    return run("backup", *words, "--root", image, cwd=image, **more)


def backup_json(image, *words, **more):
    return run_json("backup", *words, "--root", image, cwd=image, **more)


def test_models_are_saved_listed_shown_verified_and_restored(image):
    done = backup(image, "init")
    assert done.returncode == 0 and done.stdout.startswith(f"The repository {image}/backup is made")
    assert backup(image, "list").stdout == ""
    done = backup(image, "models")
    assert re.match(r"phi3: 6\.00 MiB in 4 files, 6\.00 MiB new, stored in 4\.\d+ MiB: snapshot ", done.stdout), done
    code, rows = backup_json(image, "list")
    assert code == 0 and [row["name"] for row in rows] == ["phi3"]
    name = rows[0]["snapshot"]
    assert name[:12] in backup(image, "list").stdout
    assert f"snapshot  {name}\n" in backup(image, "show", "phi3").stdout
    code, shown = backup_json(image, "show", name[:6], "--files")
    assert {e["path"]: e["kind"] for e in shown["entries"]}["tokenizer.json"] == "link"
    done = backup(image, "verify", "--all")
    assert done.returncode == 0 and "all are whole" in done.stdout, done
    done = backup(image, "restore", "phi3", "--to", image / "back")
    assert done.returncode == 0, done
    assert digest_of(image / "back") == digest_of(image / "models/phi3")


def test_a_second_backup_reads_nothing(image):
    assert backup(image, "init").returncode == 0
    settle(image / "models")
    assert backup(image, "models").returncode == 0
    code, told = backup_json(image, "models")
    (model,) = told["models"]
    assert code == 0 and model["unchanged_files"] == model["files"] == 4 and model["new_bytes"] == 0
    assert "nothing new" in backup(image, "models", "phi3").stdout
    assert len(backup_json(image, "list", "--model", "phi3")[1]) == 3


def test_sha256sum_checks_what_was_restored(image):
    assert backup(image, "init").returncode == 0 and backup(image, "models").returncode == 0
    assert backup(image, "restore", "phi3", "--to", image / "back").returncode == 0
    sums = backup(image, "show", "phi3", "--sums").stdout
    done = subprocess.run(["sha256sum", "-c"], input=sums, cwd=image / "back", capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.count(": OK") == 4, done


def test_an_independent_program_restores_it(image):
    assert backup(image, "init").returncode == 0 and backup(image, "models").returncode == 0
    name = backup_json(image, "list")[1][0]["snapshot"]
    subprocess.run([sys.executable, "-B", EXTRACT, image / "backup", name[:8], image / "back"], check=True)
    assert digest_of(image / "back") == digest_of(image / "models/phi3")


def test_repositories_of_all_versions_are_read_for_ever(image):
    for fixture in sorted(FIXTURES.iterdir()):
        want = json.loads((fixture / "want.json").read_text())
        configure(image, repository=f"/{fixture.name}")
        shutil.copytree(fixture / "repository", image / fixture.name)
        for area in ("packs", "index", "sums", "snapshots"):
            (image / fixture.name / area).mkdir(exist_ok=True)
        done = backup(image, "restore", want["snapshot"], "--to", image / "ours")
        assert done.returncode == 0, done
        subprocess.run([sys.executable, "-B", EXTRACT, fixture / "repository", want["snapshot"], image / "theirs"],
                       check=True)
        for to in (image / "ours", image / "theirs"):
            assert {k: list(v) for k, v in digest_of(to).items()} == want["files"]


def test_only_what_differs_is_written_in_place(image):
    assert backup(image, "init").returncode == 0 and backup(image, "models").returncode == 0
    model = image / "models/phi3"
    want, inode = digest_of(model), (model / "model.safetensors").stat().st_ino
    (model / "config.json").write_text("spoilt")
    (model / "empty").unlink()
    done = backup(image, "restore", "phi3", "--in-place")
    assert done.returncode == 1 and (model / "config.json").read_text() == "spoilt"  # nobody has said yes
    code, told = backup_json(image, "restore", "phi3", "--in-place", "-y")
    assert code == 0 and told["same_files"] == 2, told
    assert digest_of(model) == want and (model / "model.safetensors").stat().st_ino == inode


def test_what_is_there_is_not_lost_unasked(image):
    assert backup(image, "init").returncode == 0 and backup(image, "models").returncode == 0
    done = backup(image, "restore", "phi3")
    assert done.returncode == 64 and "there already" in done.stderr
    (image / "models/phi3/other").write_text("mine")
    assert backup(image, "restore", "phi3", "--dry-run", "--replace").stdout.startswith("would restore phi3, 6.00 MiB")
    assert (image / "models/phi3/other").exists()
    assert backup(image, "restore", "phi3", "--replace", "-y").returncode == 0
    assert not (image / "models/phi3/other").exists()
    assert sorted(p.name for p in (image / "models").iterdir()) == ["phi3"]


def test_one_file_comes_back(image):
    assert backup(image, "init").returncode == 0 and backup(image, "models").returncode == 0
    assert backup(image, "restore", "phi3", "--path", "config.json", "--to", image / "back").returncode == 0
    assert [p.name for p in (image / "back").iterdir()] == ["config.json"]


def test_damage_is_named_down_to_the_file(image):
    assert backup(image, "init").returncode == 0 and backup(image, "models").returncode == 0
    pack = max((image / "backup/packs").iterdir(), key=lambda p: p.stat().st_size)
    with pack.open("r+b") as file:
        file.seek(pack.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 4]))
    done = backup(image, "verify")
    assert done.returncode == 3 and pack.name in done.stdout, done
    assert "'model.safetensors' cannot be restored" in done.stdout
    assert error_json(backup(image, "restore", "phi3", "--to", image / "back", "--json"))["id"].startswith("backup.")
    assert not (image / "back").exists()
    # What is damaged does not count as known when its file is read again.
    code, told = backup_json(image, "verify", "phi3")
    assert code == 3 and told["damaged_files"] == 1 and told["problems"]


def test_errors_say_what_mends_them(image):
    error = error_json(backup(image, "list", "--json"))
    assert error["id"] == "backup.no-repository" and error["fix"] == "citadel backup init"
    assert backup(image, "init").returncode == 0
    assert error_json(backup(image, "init", "--json"))["id"] == "backup.repository-there"
    assert error_json(backup(image, "show", "phi3", "--json"))["id"] == "backup.no-snapshot"
    assert "phi3" in error_json(backup(image, "models", "phi4", "--json"))["fix"]
    assert error_json(backup(image, "models", "toy", "--json"))["id"] == error_json(
        backup(image, "models", "phi4", "--json"))["id"]
    shutil.rmtree(image / "models/phi3")
    assert str(image / "models/phi3") in backup(image, "models").stderr
    configure(image, repository="sftp://nas/backup")
    assert error_json(backup(image, "list", "--json"))["id"] == "backup.unknown-repository"


def test_an_interrupted_backup_goes_on(image):
    assert backup(image, "init").returncode == 0
    (image / "models/phi3/more.safetensors").write_bytes(weights(7, 120))
    settle(image / "models")
    process = subprocess.Popen([CITADEL, "backup", "models", "--root", image], cwd=image, env=environment(),
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    packs = image / "backup/packs"
    while process.poll() is None and sum(p.stat().st_size for p in packs.iterdir()) < 8 << 20:
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode != 0, f"it was faster than the signal: {out}"
    assert "was stopped" in err and backup_json(image, "list")[1] == []
    code, told = backup_json(image, "models")
    assert code == 0 and told["models"][0]["new_bytes"] < told["models"][0]["bytes"] - (8 << 20)
    assert backup(image, "restore", "phi3", "--to", image / "back").returncode == 0
    assert digest_of(image / "back") == digest_of(image / "models/phi3")
