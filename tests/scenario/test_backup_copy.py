"""`citadel backup copy`: another repository gets what it lacks."""

import shutil

import pytest
from elsewhere import S3, Sftp
from test_backup import backup, backup_json, configure, digest_of, fill, image, settle  # noqa: F401

from program import error_json


@pytest.fixture
def saved(image):  # noqa: F811
    configure(image, copy={"to": "/cold"})
    settle(image / "models")
    assert backup(image, "init").returncode == 0 and backup(image, "models").returncode == 0
    return image


def packs(place):
    return {path.name: path.read_bytes() for path in (place / "packs").iterdir()}


def restored_from(image, place, **options):  # noqa: F811
    """What a repository gives alone, where the first is gone."""
    configure(image, repository=place, **options)
    shutil.rmtree(image / "backup")
    done = backup(image, "verify", "--all")
    assert done.returncode == 0 and "all are whole" in done.stdout, done
    done = backup(image, "restore", "phi3", "--to", image / "back")
    assert done.returncode == 0, done
    return digest_of(image / "back")


def test_a_cold_copy_is_made_and_brings_a_model_back(saved):
    error = error_json(backup(saved, "copy", "--json"))
    assert error["id"] == "backup.no-repository" and "init --copy" in error["fix"]
    assert backup(saved, "init", "--copy").returncode == 0
    name = backup_json(saved, "list")[1][0]["snapshot"]
    done = backup(saved, "copy", "--dry-run")
    assert done.returncode == 0 and f"would copy {name[:12]} of phi3\n" in done.stdout
    assert packs(saved / "cold") == {}
    done = backup(saved, "copy")
    assert done.returncode == 0 and f"copied {name[:12]} of phi3\n" in done.stdout, done
    assert "read back and whole" in done.stdout and done.stderr == ""
    assert packs(saved / "cold") == packs(saved / "backup")
    code, told = backup_json(saved, "copy")
    assert code == 0 and (told["snapshots_had"], told["snapshots_copied"], told["copied_bytes"]) == (1, 0, 0)
    want = digest_of(saved / "models/phi3")
    assert restored_from(saved, "/cold") == want


def test_only_what_is_named_goes(saved):
    fill(saved / "models/phi3/two", seed=2)
    settle(saved / "models")
    assert backup(saved, "models").returncode == 0 and backup(saved, "init", "--copy").returncode == 0
    new = backup_json(saved, "list")[1][-1]["snapshot"]
    code, told = backup_json(saved, "copy", "phi3")
    assert code == 0 and [row["snapshot"] for row in told["snapshots"]] == [new]
    error = error_json(backup(saved, "copy", "phi4", "--json"))
    assert error["id"] == "backup.no-snapshot" and "phi4" in error["message"]


def test_nothing_says_where_to(image):  # noqa: F811
    assert backup(image, "init").returncode == 0
    error = error_json(backup(image, "copy", "--json"))
    assert error["id"] == "cli.usage" and "backup.copy.to" in error["message"] and "--to" in error["fix"]


def test_a_repository_is_not_copied_into_itself(saved):
    error = error_json(backup(saved, "copy", "--to", saved / "backup", "--json"))
    assert error["id"] == "backup.same-repository" and "/backup" in error["message"]


def sealed_image(image, **more):  # noqa: F811
    for name in ("one", "two"):
        (image / name).write_text(f"passphrase {name}\n")
        (image / name).chmod(0o600)
    configure(image, password={"file": "/one"}, copy={"to": "/cold", **more})
    settle(image / "models")
    assert backup(image, "init", "--encrypted").returncode == 0 and backup(image, "models").returncode == 0


def test_encrypted_repositories_are_copied_as_they_lie_there(image):  # noqa: F811
    sealed_image(image, password={"file": "/two"})
    code, told = backup_json(image, "init", "--copy")
    assert code == 0 and told["encrypted"] is True and told["recovery_key"].startswith("citadel-")
    code, told = backup_json(image, "copy")
    assert code == 0 and told["single_blocks"] == 0 and told["snapshots_copied"] == 1, told
    assert packs(image / "cold") == packs(image / "backup")
    want = digest_of(image / "models/phi3")
    assert restored_from(image, "/cold", password={"file": "/two"}) == want


def test_what_is_encrypted_goes_to_the_clear_only_when_that_is_said(image):  # noqa: F811
    sealed_image(image)
    assert backup(image, "init", "--copy").returncode == 0
    error = error_json(backup(image, "copy", "--json"))
    assert error["id"] == "backup.not-encrypted" and "--in-clear" in error["fix"]
    assert packs(image / "cold") == {}
    code, told = backup_json(image, "copy", "--in-clear")
    assert code == 0 and told["whole_packs"] == 0 and told["single_blocks"] > 3, told
    want = digest_of(image / "models/phi3")
    assert restored_from(image, "/cold") == want


def test_what_is_damaged_is_named_and_the_rest_goes(saved):
    assert backup(saved, "init", "--copy").returncode == 0
    biggest = max((saved / "backup/packs").iterdir(), key=lambda path: path.stat().st_size)
    body = bytearray(biggest.read_bytes())
    body[len(body) // 2] ^= 1
    biggest.write_bytes(body)
    done = backup(saved, "copy")
    assert done.returncode == 3 and biggest.name[:12] in done.stderr and "verify --all" in done.stderr, done
    code, told = backup_json(saved, "copy")
    assert code == 3 and told["snapshots_failed"] == 1 and told["snapshots"][0]["id"] == "backup.damaged-pack", told
    assert backup(saved, "verify", "--all").returncode == 3


@pytest.mark.parametrize("kind", [Sftp, S3], ids=["sftp", "s3"])
def test_a_copy_goes_to_another_host_and_comes_back(image, kind):  # noqa: F811
    place = kind(image / "there")
    below = {name: value.removeprefix(str(image)) for name, value in place.config.items() if isinstance(value, str)}
    below["to"] = below.pop("repository") if "sftp" not in place.config["repository"] else place.config["repository"]
    below.pop("repository", None)
    if "credentials" in place.config:
        below["credentials"] = {"file": place.config["credentials"]["file"].removeprefix(str(image))}
    try:
        configure(image, copy=below)
        settle(image / "models")
        assert backup(image, "init").returncode == 0 and backup(image, "models").returncode == 0
        assert backup(image, "init", "--copy").returncode == 0
        code, told = backup_json(image, "copy")
        assert code == 0 and told["snapshots_copied"] == 1 and told["seen_to_arrive"] == "by length", told
        there = {key.split("/")[1] for key in place.keys() if key.startswith("packs/")}
        assert there == set(packs(image / "backup"))
        fill(image / "models/phi3/two", seed=2)
        settle(image / "models")
        assert backup(image, "models").returncode == 0
        code, told = backup_json(image, "copy", "--verify")
        assert code == 0 and told["seen_to_arrive"] == "read back" and told["snapshots_had"] == 1, told
        # and from there into a directory
        (image / "backup").rename(image / "old")
        options = {name: value for name, value in below.items() if name != "to"}
        configure(image, repository=below["to"], copy={"to": "/again"}, **options)
        assert backup(image, "init", "--copy").returncode == 0
        code, told = backup_json(image, "copy")
        assert code == 0 and told["snapshots_copied"] == 2 and packs(image / "again") == packs(image / "old"), told
    finally:
        place.stop()
