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
    told = json.loads((image / "backup/backup_metadata.json").read_text())
    assert not told["encrypted"] and [s["snapshot"] for s in told["snapshots"]] == [name]
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


def test_a_fine_tune_needs_its_base_as_long_as_it_is_there(image):
    configure(image, undelete="0s", delta=True)
    assert backup(image, "init").returncode == 0 and backup(image, "models").returncode == 0
    path = image / "models/phi3/model.safetensors"
    base = path.read_bytes()
    noise = hashlib.shake_128(b"tuned").digest(len(base) // 2)
    begins = 8 + int.from_bytes(base[:8], "little")
    tuned = bytearray(base)
    tuned[begins::2] = bytes(a ^ (b & 3) for a, b in zip(base[begins::2], noise))
    path.write_bytes(tuned)
    before = backup_json(image, "list")[1][0]["snapshot"]
    code, told = backup_json(image, "models")
    (model,) = told["models"]
    assert code == 0 and model["new_bytes"] == 6 << 20 and model["stored_bytes"] < 2 << 20, told
    (image / "backup/snapshots" / before).unlink()
    for _ in range(3):
        assert backup(image, "prune").returncode == 0
    assert backup(image, "verify").returncode == 0
    subprocess.run([sys.executable, "-B", EXTRACT, image / "backup", model["snapshot"], image / "theirs"], check=True)
    assert backup(image, "restore", "phi3", "--to", image / "ours").returncode == 0
    assert digest_of(image / "theirs") == digest_of(image / "ours") == digest_of(image / "models/phi3")


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


def test_what_differs_between_snapshots_is_told(image):
    assert backup(image, "init").returncode == 0 and backup(image, "models").returncode == 0
    first = backup_json(image, "list")[1][0]["snapshot"]
    model = image / "models/phi3"
    (model / "config.json").write_text("another")
    (model / "empty").unlink()
    (model / "new").write_text("new")
    (model / "sub").chmod(0o700)
    assert backup(image, "models").returncode == 0
    code, told = backup_json(image, "diff", first[:8], "phi3")
    assert code == 0
    # directories tell that something in them has come or gone, by their times
    assert {d["path"]: d["what"] for d in told["differences"]} == {
        "": "m", "config.json": "M", "empty": "-", "new": "+", "sub": "m"}
    assert backup(image, "diff", "phi3", "phi3").stdout == "0 added, 0 gone, 0 changed\n"
    done = backup(image, "diff", first[:8], "phi3")
    assert done.stdout.endswith("1 added, 1 gone, 3 changed\n") and "M config.json\n" in done.stdout


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
    configure(image, repository="s3://nas/ab")  # that is no bucket
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


def test_lost_sectors_are_mended(image):
    configure(image, parity="5%")
    assert backup(image, "init").returncode == 0 and backup(image, "models").returncode == 0
    packs = {p.name for p in (image / "backup/packs").iterdir()}
    assert packs == {p.name for p in (image / "backup/parity").iterdir()}
    pack = max((image / "backup/packs").iterdir(), key=lambda p: p.stat().st_size)
    whole = pack.read_bytes()
    with pack.open("r+b") as file:
        file.seek(len(whole) // 3)
        file.write(bytes(50000))
    assert backup(image, "verify").returncode == 3 and pack.read_bytes() != whole
    done = backup(image, "verify", "--repair")
    assert done.returncode == 0 and f"packs/{pack.name} is mended" in done.stdout, done
    assert pack.read_bytes() == whole
    with pack.open("r+b") as file:
        file.write(bytes(len(whole) // 2))
    code, told = backup_json(image, "verify", "--repair")
    assert code == 3 and told["mended_packs"] == 0
    assert any(p["id"] == "backup.beyond-repair" for p in told["problems"]), told


# ---- what goes ----


def three(image):
    """Snapshots of three different contents, all of today: of which the rules keep one."""
    assert backup(image, "init").returncode == 0
    names = []
    for seed in (1, 2, 3):
        (image / "models/phi3/model.safetensors").write_bytes(weights(seed))
        assert backup(image, "models").returncode == 0
        names.append(backup_json(image, "list")[1][-1]["snapshot"])
    return names


def states(image):
    return [row["is"] for row in backup_json(image, "list")[1]]


def test_what_the_rules_do_not_keep_goes_and_can_come_back(image):
    first, second, third = three(image)
    assert backup(image, "pin", second[:8]).returncode == 0
    done = backup(image, "prune", "--dry-run")
    assert done.returncode == 0 and "deleted now" in done.stdout and "kept: pinned" in done.stdout, done
    assert "newest" in done.stdout and states(image) == ["-", "pinned", "-"]
    code, told = backup_json(image, "prune")
    assert code == 0 and told["deleted"] == 1 and told["removed_packs"] == 0
    assert states(image) == ["deleted", "pinned", "-"]
    assert backup(image, "restore", first[:8], "--to", image / "back").returncode == 0  # it is all there
    assert backup(image, "undelete", first[:8]).returncode == 0 and states(image) == ["-", "pinned", "-"]
    assert error_json(backup(image, "undelete", third[:8], "--json"))["id"] == "backup.not-deleted"
    assert backup(image, "unpin", second[:8]).returncode == 0
    assert backup_json(image, "prune")[1]["deleted"] == 2
    before = sum(p.stat().st_size for p in (image / "backup/packs").iterdir())
    configure(image, undelete="0s")
    code, told = backup_json(image, "prune")
    after = sum(p.stat().st_size for p in (image / "backup/packs").iterdir())
    assert code == 0 and told["removed"] == 2 and min(before - after, told["removed_bytes"]) > 6 << 20, told
    assert states(image) == ["-"] and backup(image, "verify").returncode == 0 and states(image) == ["verified"]
    assert not list((image / "backup/locks").iterdir())
    name = backup_json(image, "list")[1][0]["snapshot"]
    subprocess.run([sys.executable, "-B", EXTRACT, image / "backup", name[:8], image / "theirs"], check=True)
    assert digest_of(image / "theirs") == digest_of(image / "models/phi3")


def test_what_was_verified_last_is_not_pruned(image):
    three(image)
    name = backup_json(image, "list")[1][0]["snapshot"]
    assert backup(image, "verify", name[:8]).returncode == 0 and states(image) == ["verified", "-", "-"]
    assert backup_json(image, "prune", "--older-than", "1d")[1]["deleted"] == 0  # all are of today
    assert backup_json(image, "prune")[1]["deleted"] == 1 and states(image) == ["verified", "deleted", "-"]


def test_an_encrypted_repository_is_pruned(image, sealed):
    for seed in (1, 2):
        (image / "models/phi3/model.safetensors").write_bytes(weights(seed))
        assert backup(image, "models").returncode == 0
    configure(image, password={"file": "/password"}, undelete="0s")
    assert backup_json(image, "prune")[1]["deleted"] == 1
    assert backup_json(image, "prune")[1]["removed_packs"] >= 1
    assert backup(image, "verify").returncode == 0
    assert backup(image, "restore", "phi3", "--to", image / "back").returncode == 0
    assert digest_of(image / "back") == digest_of(image / "models/phi3")
    code, told = backup_json(image, "key", "add", "gpu2", "--only-adds", "--generate")
    unlocked_by(image, told["key"])
    assert error_json(backup(image, "prune", "--json"))["id"] == "backup.key-only-adds"


def test_backups_and_prunings_run_beside_each_other(image):
    """Three hosts at once, in effect: two store, one prunes without a grace period."""
    assert backup(image, "init").returncode == 0
    configure(image, undelete="0s")
    stop = time.monotonic() + 8
    words = [["backup", "models"], ["backup", "models"], ["backup", "prune"]]
    running = [None] * len(words)
    seed = rounds = 0
    while time.monotonic() < stop or any(p.poll() is None for p in running):
        for i, process in enumerate(running):
            if process and process.poll() is None:
                continue
            if process:
                out, err = process.communicate()
                assert process.returncode == 0, (words[i], out, err)
                rounds += 1
            if time.monotonic() < stop:
                seed += 1
                path = image / "models/phi3/part.bin"
                path.with_suffix(".new").write_bytes(hashlib.shake_128(b"%d" % (seed % 5)).digest(300000))
                path.with_suffix(".new").rename(path)
                running[i] = subprocess.Popen([CITADEL, *words[i], "--root", image], cwd=image, env=environment(),
                                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if time.monotonic() >= stop:
            for process in running:
                process.wait(timeout=60)
            break
        time.sleep(0.01)
    assert rounds > 10
    done = backup(image, "verify")
    assert done.returncode == 0 and "all are whole" in done.stdout, done
    assert backup(image, "prune").returncode == 0 and backup(image, "verify").returncode == 0
    assert not list((image / "backup/locks").iterdir())


def test_locks_of_the_dead_are_told_and_removed(image):
    assert backup(image, "init").returncode == 0
    (image / "models/phi3/more.safetensors").write_bytes(weights(7, 60))
    process = subprocess.Popen([CITADEL, "backup", "models", "--root", image], cwd=image, env=environment(),
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not list((image / "backup/locks").glob("[0-9a-f]*")):
        assert process.poll() is None
    process.send_signal(signal.SIGSTOP)  # so that it cannot come to its end
    code, locks = backup_json(image, "unlock")
    assert code == 0 and all(not lock["dead"] and not lock["removed"] for lock in locks)
    process.kill()
    process.wait()
    assert backup_json(image, "list")[1] == []
    code, locks = backup_json(image, "unlock")
    assert code == 0 and [(lock["what"], lock["dead"], lock["removed"]) for lock in locks] == [
        ("backup of phi3", True, True)]
    assert not list((image / "backup/locks").glob("[0-9a-f]*"))
    # One of another host, of which nobody knows more.
    lock = {"lock": "prunes", "what": "prune", "host": "gpu9", "pid": 1, "start": 1, "place": "elsewhere"}
    text = json.dumps(lock).encode()
    (image / "backup/locks" / hashlib.sha256(text).hexdigest()).write_bytes(text)
    error = error_json(backup(image, "prune", "--json"))
    assert error["id"] == "backup.busy" and "gpu9" in error["message"]
    assert backup(image, "unlock").returncode == 0 and backup(image, "prune").returncode == 75
    assert backup(image, "unlock", "--all", "-y").returncode == 0 and backup(image, "prune").returncode == 0


# ---- encrypted ----


@pytest.fixture
def sealed(image):
    """Encrypted with a passphrase; the recovery key of the repository."""
    (image / "password").write_text("correct horse battery\n")
    (image / "password").chmod(0o600)
    configure(image, password={"file": "/password"})
    code, told = backup_json(image, "init", "--encrypted")
    assert code == 0 and told["encrypted"] is True, told
    return told["recovery_key"]


def unlocked_by(image, key):
    (image / "password").write_text(key + "\n")


def test_an_encrypted_repository_is_used_as_any_other(image, sealed):
    assert backup(image, "models").returncode == 0
    code, rows = backup_json(image, "list")
    assert code == 0 and [row["name"] for row in rows] == ["phi3"]
    assert backup(image, "show", "phi3", "--sums").returncode == 0
    done = backup(image, "verify")
    assert done.returncode == 0 and "all are whole" in done.stdout
    assert backup(image, "restore", "phi3", "--to", image / "back").returncode == 0
    assert digest_of(image / "back") == digest_of(image / "models/phi3")
    for path in (image / "backup").rglob("*"):
        assert path.is_dir() or not re.search(b"phi3|Phi3|correct horse|model.safetensors", path.read_bytes())
    done = subprocess.run([sys.executable, "-B", EXTRACT, image / "backup", rows[0]["snapshot"], image / "theirs"],
                          capture_output=True, text=True)
    assert done.returncode == 1 and "it is encrypted" in done.stderr and "Traceback" not in done.stderr


def test_the_recovery_key_opens_it(image, sealed):
    assert backup(image, "models").returncode == 0
    unlocked_by(image, "another")
    error = error_json(backup(image, "list", "--json"))
    assert error["id"] == "backup.wrong-key" and "another" not in error["message"]
    unlocked_by(image, sealed[:-1] + ("0" if sealed[-1] != "0" else "1"))
    assert error_json(backup(image, "list", "--json"))["id"] == "backup.mistyped-key"
    unlocked_by(image, sealed.lower())
    assert backup(image, "restore", "phi3", "--to", image / "back").returncode == 0


def test_keys_are_added_listed_and_removed(image, sealed):
    done = backup(image, "key", "add", "office", input="a second one\n")
    assert done.returncode == 0 and "a second one" not in done.stdout
    code, told = backup_json(image, "key", "add", "gpu2", "--only-adds", "--generate")
    assert code == 0 and told["only_adds"] and told["key"].startswith("citadel-")
    assert error_json(backup(image, "key", "add", "gpu2", "--generate", "--json"))["id"] == "backup.key-there"
    code, keys = backup_json(image, "key", "list")
    assert {k["label"]: (k["passphrase"], k["only_adds"]) for k in keys} == {
        "main": (True, False), "recovery": (False, False), "office": (True, False), "gpu2": (False, True)}
    unlocked_by(image, "a second one")
    assert backup(image, "key", "remove", "main", "-y").returncode == 0
    assert backup(image, "key", "remove", "recovery", "-y").returncode == 0
    assert error_json(backup(image, "key", "remove", "office", "-y", "--json"))["id"] == "backup.last-key"
    assert error_json(backup(image, "key", "remove", "main", "-y", "--json"))["id"] == "backup.unknown-key"
    unlocked_by(image, "correct horse battery")
    assert backup(image, "list").returncode == 77
    # A host that only adds: it makes a backup, and sees none.
    unlocked_by(image, told["key"])
    assert backup(image, "models").returncode == 0
    for words in (["list"], ["show", "phi3"], ["verify"], ["restore", "phi3", "--to", image / "back"]):
        assert error_json(backup(image, *words, "--json"))["id"] == "backup.key-only-adds", words
    unlocked_by(image, "a second one")
    assert len(backup_json(image, "list")[1]) == 1


def test_nothing_is_written_in_clear_where_a_passphrase_is_set(image):
    assert error_json(backup(image, "init", "--encrypted", "--json"))["id"] == "backup.no-key"
    assert not (image / "backup").exists() and backup(image, "init").returncode == 0
    assert error_json(backup(image, "key", "list", "--json"))["fix"].startswith("citadel backup init")
    (image / "password").write_text("secret\n")
    configure(image, password={"file": "/password"})
    assert error_json(backup(image, "models", "--json"))["id"] == "backup.not-encrypted"
    assert not list((image / "backup/packs").iterdir())


def test_without_its_passphrase_an_encrypted_repository_says_so(image, sealed):
    configure(image)
    error = error_json(backup(image, "list", "--json"))
    assert error["id"] == "backup.no-key" and "backup.password" in error["fix"]
    (image / "password").unlink()
    configure(image, password={"file": "/password"})
    assert "backup.password" in error_json(backup(image, "list", "--json"))["message"]
