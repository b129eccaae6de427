"""`citadel backup configs`, `system`, `image`: what is saved besides models, and what each job leaves."""

import json
import os
import pathlib
import random
import sqlite3
import time

import pytest

from program import error_json, run, run_json

OLD = 1_600_000_000


@pytest.fixture
def image(tmp_path):
    for name in ("etc/citadel/secrets", "opt/citadel/configs", "var/lib/citadel/models", "var/lib/citadel/gateway"):
        (tmp_path / name).mkdir(parents=True)
    configure(tmp_path)
    (tmp_path / "etc/citadel/secrets/hf").write_text("hf_swordfish\n")
    (tmp_path / "etc/citadel/secrets/hf").chmod(0o600)
    (tmp_path / "opt/citadel/configs/notes.txt").write_text("mine\n")
    (tmp_path / "var/lib/citadel/models/phi3.json").write_text("{}\n")
    with sqlite3.connect(tmp_path / "var/lib/citadel/gateway/keys.db") as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("CREATE TABLE keys(id INTEGER)")
        db.execute("INSERT INTO keys VALUES(7)")
    db.close()
    return tmp_path


@pytest.fixture
def sealed(image):
    (image / "password").write_text("correct horse\n")
    (image / "password").chmod(0o600)
    configure(image, password={"file": "/password"})
    assert backup(image, "init", "--encrypted").returncode == 0
    return image


def configure(image, /, **backup):
    config = {
        "storage": {"require_mounts": False},
        "hub": {"token": {"file": "/etc/citadel/secrets/hf"}},
        "models": {"toy": {"engine": "sim"}},
        "backup": {"repository": "/backup", **backup},
    }
    (image / "etc/citadel/citadel.yaml").write_text(json.dumps(config))


def settle(image):
    """What changed a moment ago is saved again: its times would not tell of another change."""
    places = [image / name for name in ("etc", "opt", "var/lib/citadel/models", "var/lib/citadel/gateway")]
    youngest = max(p.lstat().st_ctime_ns for top in places for p in top.rglob("*"))
    while time.time_ns() < youngest + 2_100_000_000:
        time.sleep(0.05)


def backup(image, *words, **more):
    return run("backup", *words, "--root", image, cwd=image, **more)


def backup_json(image, *words, **more):
    return run_json("backup", *words, "--root", image, cwd=image, **more)


def job(image, name):
    return json.loads((image / f"var/lib/citadel/jobs/{name}.json").read_text())


def restored(image, word):
    to = image / f"back-{time.monotonic_ns()}"
    done = backup(image, "restore", word, "--to", to)
    assert done.returncode == 0, done
    return to


def repository(image):
    return {str(p): p.stat().st_mtime_ns for p in (image / "backup").rglob("*")}


def test_configs_come_back_as_they_were(image):
    assert backup(image, "init").returncode == 0
    code, told = backup_json(image, "configs")
    assert code == 0 and told["configs"][0]["name"] == "configs" and told["configs"][0]["files"] >= 4, told
    to = restored(image, "configs")
    assert (to / "etc/citadel/citadel.yaml").read_bytes() == (image / "etc/citadel/citadel.yaml").read_bytes()
    assert (to / "opt/citadel/configs/notes.txt").read_text() == "mine\n"
    assert (to / "var/lib/citadel/models/phi3.json").read_text() == "{}\n"
    with sqlite3.connect(to / "var/lib/citadel/gateway/keys.db") as db:
        assert db.execute("SELECT id FROM keys").fetchall() == [(7,)]
    db.close()
    assert not list(image.rglob("*.gathered"))
    code, rows = backup_json(image, "list")
    assert [(row["subject"], row["name"]) for row in rows] == [("configs", "configs")]


def test_generations_and_units_are_in_the_configs(image):
    assert backup(image, "init").returncode == 0
    made = image / "etc/citadel/generations/1/units"
    made.mkdir(parents=True)
    (made / "citadel-toy.service").write_text("[Service]\n")
    (image / "etc/citadel/current").symlink_to("generations/1")
    assert backup(image, "configs").returncode == 0
    to = restored(image, "configs")
    assert (to / "etc/citadel/generations/1/units/citadel-toy.service").read_text() == "[Service]\n"
    assert os.readlink(to / "etc/citadel/current") == "generations/1"


def test_a_configuration_that_lies_among_others_is_saved_once(image):
    config = json.loads((image / "etc/citadel/citadel.yaml").read_text())
    (image / "etc/citadel/citadel.yaml").unlink()
    own = image / "opt/citadel/configs/own.yaml"
    config["hub"]["token"] = {"file": "/opt/citadel/configs/token"}
    own.write_text(json.dumps(config))
    (image / "opt/citadel/configs/token").write_text("swordfish")
    (image / "opt/citadel/configs/token").chmod(0o600)
    assert backup(image, "init", "-c", own).returncode == 0
    for name in (own, "opt/citadel/configs/own.yaml"):
        done = backup(image, "configs", "-c", name)
        assert done.returncode == 0 and done.stderr.count("configs/token: left out") == 1, done
    to = image / "back"
    assert backup(image, "restore", "configs", "--to", to, "-c", own).returncode == 0
    assert json.loads((to / "opt/citadel/configs/own.yaml").read_text()) == config


def test_nothing_is_written_where_nothing_has_changed(image):
    assert backup(image, "init").returncode == 0
    settle(image)
    first = backup_json(image, "configs")[1]["configs"][0]["snapshot"]
    before = repository(image)
    code, told = backup_json(image, "configs")
    assert code == 0 and told["configs"][0]["unchanged"] is True and told["configs"][0]["snapshot"] == first
    assert repository(image) == before
    assert "nothing has changed" in backup(image, "configs").stdout
    (image / "opt/citadel/configs/notes.txt").write_text("changed\n")
    second = backup_json(image, "configs")[1]["configs"][0]["snapshot"]
    assert second != first
    assert (restored(image, second) / "opt/citadel/configs/notes.txt").read_text() == "changed\n"


def test_what_is_gone_from_the_configuration_is_a_change(image):
    assert backup(image, "init").returncode == 0
    settle(image)
    assert backup(image, "configs").returncode == 0
    (image / "opt/citadel/configs/notes.txt").unlink()
    assert "unchanged" not in backup_json(image, "configs")[1]["configs"][0]


def test_a_snapshot_that_was_removed_is_made_again(image):
    assert backup(image, "init").returncode == 0
    settle(image)
    name = backup_json(image, "configs")[1]["configs"][0]["snapshot"]
    (image / "backup/snapshots" / name).unlink()
    assert "unchanged" not in backup_json(image, "configs")[1]["configs"][0]
    assert backup(image, "verify").returncode == 0


def test_what_is_committed_while_the_gateway_runs_is_in_the_copy(image):
    """The log beside the database has it, and not yet the database itself."""
    assert backup(image, "init").returncode == 0
    settle(image)
    assert backup(image, "configs").returncode == 0
    db = sqlite3.connect(image / "var/lib/citadel/gateway/keys.db")
    db.execute("PRAGMA wal_autocheckpoint = 0")
    db.execute("INSERT INTO keys VALUES(8)")
    db.commit()
    assert "unchanged" not in backup_json(image, "configs")[1]["configs"][0]
    to = restored(image, "configs")
    with sqlite3.connect(to / "var/lib/citadel/gateway/keys.db") as copy:
        assert copy.execute("SELECT count(*) FROM keys").fetchone() == (2,)
    copy.close()
    db.close()


def test_secrets_stay_out_of_a_repository_that_everybody_can_read(image):
    assert backup(image, "init").returncode == 0
    code, told = backup_json(image, "configs")
    assert told["configs"][0]["secrets_left_out"] == ["/etc/citadel/secrets/hf"]
    assert "/etc/citadel/secrets/hf: left out, since the repository is not encrypted" in backup(image, "configs").stderr
    assert not (restored(image, "configs") / "etc/citadel/secrets/hf").exists()
    for path in (image / "backup").rglob("*"):
        assert path.is_dir() or b"swordfish" not in path.read_bytes()


def test_secrets_are_in_one_that_is_encrypted(sealed):
    assert run("secrets", "set", "hf2", "--plain", "--root", sealed, input="sesame\n").returncode == 0
    code, told = backup_json(sealed, "configs")
    assert code == 0 and told["configs"][0]["secrets_left_out"] == [], told
    to = restored(sealed, "configs")
    assert (to / "etc/citadel/secrets/hf").read_text() == "hf_swordfish\n"
    assert (to / "etc/citadel/secrets/hf").stat().st_mode & 0o777 == 0o600
    assert (to / "etc/credstore/citadel-plain.hf2").read_text() == "sesame"


def test_the_system_is_told_for_a_person(image):
    assert backup(image, "init").returncode == 0
    (image / "etc/fstab").write_text("UUID=1 / ext4 defaults 0 1\n")
    done = backup(image, "system")
    assert done.returncode == 0, done
    to = restored(image, "system")
    assert (to / "etc/fstab").read_text() == "UUID=1 / ext4 defaults 0 1\n"
    assert (to / "kernel-command-line.txt").read_text() == pathlib.Path("/proc/cmdline").read_text()
    assert "Linux" in (to / "kernel.txt").read_text()
    missing = (to / "missing.txt").read_text()
    assert "/etc/crypttab: there is none\n" in missing


def test_a_program_that_is_not_there_is_no_error(image, tmp_path):
    assert backup(image, "init").returncode == 0
    (tmp_path / "bin").mkdir()
    done = backup(image, "system", PATH=str(tmp_path / "bin"))
    assert done.returncode == 0, done
    missing = (restored(image, "system") / "missing.txt").read_text()
    assert "packages.txt: cannot run 'dpkg-query': No such file or directory\n" in missing


def test_a_program_that_hangs_or_talks_without_end_is_bounded(image, tmp_path):
    assert backup(image, "init").returncode == 0
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/lspci").write_text("#!/bin/sh\nexec /usr/bin/yes\n")
    (tmp_path / "bin/lspci").chmod(0o755)
    done = backup(image, "system", PATH=str(tmp_path / "bin"))
    assert done.returncode == 0, done
    to = restored(image, "system")
    assert (to / "pci.txt").stat().st_size <= 8 << 20
    assert "pci.txt: lspci has not ended after 20s" in (to / "missing.txt").read_text()


def test_what_was_gathered_is_not_restored_to_where_it_was_gathered(image):
    assert backup(image, "init").returncode == 0
    assert backup(image, "configs").returncode == 0
    error = error_json(backup(image, "restore", "configs", "--json"))
    assert error["id"] == "cli.usage" and error["fix"] == "citadel backup restore configs --to DIR", error


def test_a_dry_run_leaves_nothing(image):
    assert backup(image, "init").returncode == 0
    before = repository(image)
    for name in ("configs", "system"):
        code, told = backup_json(image, name, "--dry-run")
        assert code == 0 and told["dry_run"] is True and told[name][0]["new_bytes"] > 0, told
    assert repository(image) == before
    assert not list((image / "var/lib/citadel/jobs").glob("*.json"))


def test_a_job_leaves_what_it_came_to(image):
    done = backup(image, "configs")
    assert done.returncode != 0
    told = job(image, "configs")
    assert told["result"] == "failed" and told["success_us"] == 0 and told["ended_us"] >= told["began_us"] > 0
    assert told["error"]["id"] == "backup.no-repository" and told["error"]["what"] in done.stderr
    assert backup(image, "init").returncode == 0
    name = backup_json(image, "configs")[1]["configs"][0]["snapshot"]
    told = job(image, "configs")
    assert told["result"] == "ok" and told["error"] is None and told["snapshot"] == name
    assert told["bytes"] > 0 and told["stored_bytes"] > 0 and told["compression_ratio"] > 0
    assert told["free_bytes"] > 0 and len(told["rooms"]) == 1
    was = told["success_us"]
    (image / "backup").rename(image / "gone")
    assert backup(image, "configs").returncode != 0
    told = job(image, "configs")
    assert told["result"] == "failed" and told["success_us"] == was and told["snapshot"] == name


def test_verification_and_pruning_leave_word_too(image):
    assert backup(image, "init").returncode == 0
    assert backup(image, "system").returncode == 0
    assert backup(image, "verify").returncode == 0
    told = job(image, "verify")
    assert told["result"] == "ok" and told["verified_ratio"] == 1 and told["bytes"] > 0
    assert backup(image, "prune", "--dry-run").returncode == 0
    assert not (image / "var/lib/citadel/jobs/prune.json").exists()
    assert backup(image, "prune").returncode == 0 and job(image, "prune")["result"] == "ok"
    was = told["success_us"]
    pack = max((p for p in (image / "backup/packs").rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    pack.chmod(0o600)
    pack.write_bytes(pack.read_bytes()[:100])
    assert backup(image, "verify").returncode == 3
    told = job(image, "verify")
    assert told["result"] == "failed" and told["success_us"] == was and "problems were found" in told["error"]["what"]


def test_a_share_that_is_used_up_is_told_before_anything_is_done(image):
    assert backup(image, "init").returncode == 0
    assert backup(image, "system").returncode == 0
    configure(image, shares={"system": "0%", "models": "90%"})
    before = repository(image)
    error = error_json(backup(image, "configs", "--json"))
    assert error["id"] == "storage.full" and "backup.shares.system leaves them 0%" in error["message"], error
    assert "raise backup.shares.system" in error["fix"] and "backup.configuration" in error["fix"]
    assert repository(image) == before


def test_each_is_kept_by_its_own_rule(image):
    """Of models a day keeps one; of configurations a time keeps all."""
    (image / "models/phi3").mkdir(parents=True)
    config = json.loads((image / "etc/citadel/citadel.yaml").read_text())
    config["models"]["phi3"] = {"path": "/models/phi3"}
    config["backup"]["models"] = {"keep_daily": 1, "keep_weekly": 0, "keep_monthly": 0}
    (image / "etc/citadel/citadel.yaml").write_text(json.dumps(config))
    assert backup(image, "init").returncode == 0
    for text in ("one", "two", "three"):
        (image / "opt/citadel/configs/notes.txt").write_text(text)
        (image / "models/phi3/config.json").write_text(text)
        assert backup(image, "configs").returncode == 0 and backup(image, "models").returncode == 0
    code, told = backup_json(image, "prune", "--dry-run")
    fates = [(row["subject"], row["fate"]) for row in told["snapshots"]]
    assert fates.count(("configs", "kept")) == 3 and fates.count(("models", "kept")) == 1, fates
    assert told["deleted"] == 2


# ---- images ----


def disk(path, seed=1):
    """Four MiB that no zeros are, among zeros, of which most are holes."""
    with open(path, "wb") as f:
        f.truncate(64 << 20)
        f.seek(8 << 20)
        f.write(random.Random(seed).randbytes(4 << 20) + bytes(1 << 20))
    return path


def test_an_image_comes_back_byte_for_byte_and_sparse(image):
    assert backup(image, "init").returncode == 0
    source = disk(image / "sda1")
    code, told = backup_json(image, "image", source)
    row = told["image"][0]
    assert code == 0 and row["name"] == "sda1" and row["bytes"] == 64 << 20, told
    assert row["stored_bytes"] < 5 << 20
    done = backup(image, "restore", "sda1", "--to", image / "back")
    assert done.returncode == 0 and done.stdout.startswith("64.0 MiB are on "), done
    assert (image / "back").read_bytes() == source.read_bytes()
    assert (image / "back").stat().st_blocks * 512 < 16 << 20
    assert backup(image, "verify").returncode == 0


def test_what_of_an_image_is_stored_already_is_not_again(image):
    assert backup(image, "init").returncode == 0
    source = disk(image / "sda1")
    assert backup(image, "image", source).returncode == 0
    assert backup_json(image, "image", source)[1]["image"][0]["new_bytes"] == 0
    with open(source, "r+b") as f:
        f.seek(9 << 20)
        f.write(b"changed")
    row = backup_json(image, "image", source)[1]["image"][0]
    assert 0 < row["new_bytes"] <= 8 << 20 and row["changed_files"] == 0
    assert backup(image, "restore", row["snapshot"], "--to", image / "back").returncode == 0
    assert (image / "back").read_bytes() == source.read_bytes()


def test_the_devices_of_the_configuration_are_saved_and_so_many_kept(image):
    disk(image / "sda1")
    configure(image, **{"image": {"devices": ["/sda1"], "keep": 1}, "undelete": "0s"})
    assert backup(image, "init").returncode == 0
    for _ in range(2):
        assert backup(image, "image").returncode == 0
    code, told = backup_json(image, "prune", "--dry-run")
    assert sorted(row["fate"] for row in told["snapshots"]) == ["deleted now", "kept"]


def test_what_is_no_device_is_refused(image):
    assert backup(image, "init").returncode == 0
    assert "no device is named" in error_json(backup(image, "image", "--json"))["message"]
    for path in (image, "/dev/null"):
        error = error_json(backup(image, "image", path, "--json"))
        assert error["id"] == "cli.usage" and f"'{path}' is neither a block device nor a file" in error["message"]
    assert error_json(backup(image, "image", "/nothing", "--json"))["message"].startswith("cannot read '/nothing'")


def test_an_image_overwrites_nothing_unasked(image):
    assert backup(image, "init").returncode == 0
    source = disk(image / "sda1")
    assert backup(image, "image", source).returncode == 0
    assert error_json(backup(image, "restore", "sda1", "--json"))["fix"].endswith("--to DIR")
    (image / "there").write_text("mine\n")
    error = error_json(backup(image, "restore", "sda1", "--to", image / "there", "--json"))
    assert error["id"] == "backup.target-there" and (image / "there").read_text() == "mine\n"
    assert backup(image, "restore", "sda1", "--path", "x", "--to", image / "new").returncode == 64
    assert not (image / "new").exists()
    done = backup(image, "restore", "sda1", "--to", image / "there", "--replace", "--yes")
    assert done.returncode == 0 and (image / "there").read_bytes() == source.read_bytes()


def test_an_image_that_is_damaged_is_never_written_as_it_is_not(image):
    assert backup(image, "init").returncode == 0
    assert backup(image, "image", disk(image / "sda1")).returncode == 0
    pack = max((image / "backup/packs").rglob("*"), key=lambda p: p.stat().st_size if p.is_file() else 0)
    pack.chmod(0o600)
    with open(pack, "r+b") as f:
        f.seek(2 << 20)
        f.write(b"spoilt")
    done = backup(image, "restore", "sda1", "--to", image / "back")
    assert done.returncode == 1 and "a record's bytes are not what was stored" in done.stderr, done
    assert not (image / "back").exists()
