"""`citadel backup report`: what there is, and what is missing."""

import csv
import io
import time

from test_backup import backup, backup_json, image, settle  # noqa: F401


def missing(image):  # noqa: F811
    code, told = backup_json(image, "report")
    assert code == (3 if told["missing"] else 0)
    return [row["fix"] for row in told["missing"]]


def test_what_is_missing_is_told_with_what_mends_it(image):  # noqa: F811
    assert backup(image, "init").returncode == 0
    settle(image / "models")
    assert missing(image) == ["sudo citadel backup models phi3"]  # coder is not wanted
    assert backup(image, "models").returncode == 0
    assert missing(image) == ["sudo citadel backup verify phi3"]
    assert backup(image, "verify", "--all").returncode == 0
    assert missing(image) == []
    done = backup(image, "report")
    assert done.returncode == 0 and "1 of 1" in done.stdout and "there is room for" in done.stdout, done


def test_a_row_counts_what_is_stored(image):  # noqa: F811
    assert backup(image, "init").returncode == 0
    settle(image / "models")
    assert backup(image, "models").returncode == 0 and backup(image, "models").returncode == 0
    code, told = backup_json(image, "report")
    (row,) = told["rows"]
    assert code == 3 and row["name"] == "phi3" and row["snapshots"] == 2 and row["good"] == 0 and not row["late"]
    assert row["total_bytes"] == 2 * row["bytes"] and row["dedup"] == 2
    assert 1.3 < row["compression"] < 1.6 and told["all"]["stored_bytes"] == row["stored_bytes"]
    assert abs(row["newest_us"] - time.time() * 1e6) < 600e6
    (line,) = csv.DictReader(io.StringIO(backup(image, "report", "--csv").stdout))
    assert line["name"] == "phi3" and int(line["stored_bytes"]) == row["stored_bytes"]
    assert backup(image, "report", "--csv").returncode == 3
    assert backup(image, "report", "--csv", "--json").returncode == 64


def test_damage_is_told(image):  # noqa: F811
    assert backup(image, "init").returncode == 0 and backup(image, "models").returncode == 0
    pack = max((image / "backup/packs").iterdir(), key=lambda path: path.stat().st_size)
    body = bytearray(pack.read_bytes())
    body[len(body) // 2] ^= 1
    pack.write_bytes(body)
    assert backup(image, "verify", "--all").returncode == 3
    assert "sudo citadel backup verify --repair" in missing(image)
    assert "1 of 1 snapshots are damaged" in backup(image, "report").stdout
