"""`citadel backup archive`: old snapshots become files that need no Citadel."""

import hashlib
import re
import subprocess

import pytest
from test_backup import backup, backup_json, configure, digest_of, image, sealed, settle  # noqa: F401

from program import error_json


@pytest.fixture
def saved(image):  # noqa: F811
    settle(image / "models")
    assert backup(image, "init").returncode == 0 and backup(image, "models").returncode == 0
    return image


def names(place):
    return sorted(path.name for path in place.iterdir())


def old(image, *words):  # noqa: F811
    """All that is older than nothing."""
    return backup(image, "archive", "--older-than", "1us", *words)


def test_what_is_young_is_not_archived(saved):
    done = backup(saved, "archive")
    assert done.returncode == 0 and done.stdout.startswith("0 archives written in "), done
    assert names(saved / "mnt/citadel-backup/archive") == []


def test_archives_need_no_citadel(saved):
    place = saved / "archives"
    done = old(saved, "--to", place, "--dry-run")
    assert done.returncode == 0 and "would be written" in done.stdout and not place.exists()
    assert old(saved, "--to", place).returncode == 0
    (archive,) = [name for name in names(place) if name not in ("README", "SHA256SUMS")]
    assert re.fullmatch(r"phi3-\d{4}-\d\d-\d\d-[0-9a-f]{12}\.tar\.zst", archive)
    check = subprocess.run(["sha256sum", "-c", "--strict", "SHA256SUMS"], cwd=place, capture_output=True, text=True)
    assert check.returncode == 0 and check.stdout == f"{archive}: OK\n"
    back = saved / "back"
    back.mkdir()
    subprocess.run(["tar", "--zstd", "--xattrs", "-xpf", place / archive, "-C", back], check=True, stderr=subprocess.DEVNULL)
    assert digest_of(back / "phi3") == digest_of(saved / "models/phi3")
    assert "tar --zstd" in (place / "README").read_text()
    assert len(backup_json(saved, "list")[1]) == 1  # no snapshot is deleted


def test_one_that_is_there_and_whole_is_not_written_again(saved):
    place = saved / "archives"
    assert old(saved, "--to", place).returncode == 0
    archive = next(path for path in place.iterdir() if path.suffix == ".zst")
    inode, body = archive.stat().st_ino, archive.read_bytes()
    done = old(saved, "--to", place)
    assert done.returncode == 0 and "is there, and whole" in done.stdout and archive.stat().st_ino == inode
    archive.write_bytes(body[:-1] + bytes([body[-1] ^ 1]))
    code, told = backup_json(saved, "archive", "--older-than", "1us", "--to", place)
    assert code == 0 and told["written"] == 1 and told["there"] == 0, told
    assert told["archives"][0]["sha256"] == hashlib.sha256(archive.read_bytes()).hexdigest()
    subprocess.run(["zstd", "-tq", archive], check=True)
    line = (place / "SHA256SUMS").read_text()
    assert line == f"{hashlib.sha256(archive.read_bytes()).hexdigest()}  {archive.name}\n"


def test_only_a_model_that_is_named(saved):
    assert old(saved, "--to", saved / "archives", "--model", "coder").stdout.startswith("0 archives")


def test_what_is_encrypted_is_archived_only_when_that_is_said(image, sealed):  # noqa: F811
    assert backup(image, "models").returncode == 0
    error = error_json(old(image, "--to", image / "archives", "--json"))
    assert error["id"] == "backup.not-encrypted" and "--in-clear" in error["fix"]
    assert old(image, "--to", image / "archives", "--in-clear").returncode == 0


def test_never_is_never(image):  # noqa: F811
    configure(image, models={"archive_after": "never"})
    assert backup(image, "init").returncode == 0
    error = error_json(backup(image, "archive", "--json"))
    assert error["id"] == "cli.usage" and "--older-than" in error["fix"]
