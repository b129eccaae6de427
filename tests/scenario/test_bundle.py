"""`citadel bundle`: one archive, whatever is wrong with the machine. That no secret is in it:
test_secrets.py."""

import json
import os
import tarfile

import program


def open_bundle(path):
    with tarfile.open(path) as archive:
        for member in archive:
            assert (member.isfile(), member.mode, member.uid) == (True, 0o600, 0)
        return {m.name: archive.extractfile(m).read().decode() for m in archive}


def make(tmp_path, text):
    root = tmp_path / "root"
    (root / "etc/citadel").mkdir(parents=True)
    (root / "etc/citadel/citadel.yaml").write_text(text)
    return root


def test_what_is_in_it_and_what_is_not_is_told(tmp_path):
    root = make(tmp_path, "models: {m: {engine: sim}}\n")
    code, told = program.run_json("bundle", root / "b.tar", "--root", root)
    assert code == 0
    files = open_bundle(root / "b.tar")
    assert (root / "b.tar").stat().st_mode & 0o777 == 0o600
    there = {p["file"]: p["bytes"] for p in told["parts"] if p["bytes"]}
    assert {name: len(text.encode()) for name, text in files.items() if name in there} == there
    assert set(files) - set(there) - {p["file"] for p in told["parts"]} == {"contents.txt"}
    for part in told["parts"]:
        assert part["file"] in files["contents.txt"]
        assert part["lacks"] is None or part["lacks"] in files["contents.txt"]
    assert json.loads(files["version.json"])["version"]
    assert json.loads(files["doctor.json"])["findings"]
    assert "engine: sim" in files["config.txt"]
    assert "service.not-running" in files["status.json"]  # what failed is told, too


def test_a_configuration_that_is_wrong_is_no_reason_to_give_up(tmp_path):
    root = make(tmp_path, "models: {m: {engine: sims}}\n")
    done = program.run("bundle", root / "b.tar", "--root", root)
    assert done.returncode == 0
    files = open_bundle(root / "b.tar")
    assert "models.m.engine is 'sims'" in files["config-check.txt"]
    assert files["host/uname.txt"].split()[0] == os.uname().sysname


def test_what_one_types_is_a_file_of_ones_own(tmp_path):
    """With --root, too: below it is only what the configuration names."""
    root = make(tmp_path, "models: {m: {engine: sim}}\n")
    here = tmp_path / "here"
    here.mkdir()
    for words in ([here / "b.tar"], []):
        done = program.run("bundle", *words, "--root", root, cwd=here)
        assert (done.returncode, done.stderr) == (0, "")
    assert [json.loads(open_bundle(file)["version.json"])["version"] for file in here.iterdir()] == [
        (program.TOP / "VERSION").read_text().strip()
    ] * 2
    done = program.run("bundle", here / "no/b.tar", "--root", root)
    assert done.returncode == 4 and "no/b.tar" in done.stderr


def test_nothing_is_overwritten(tmp_path):
    root = make(tmp_path, "models: {m: {engine: sim}}\n")
    (root / "b.tar").write_text("mine")
    done = program.run("bundle", root / "b.tar", "--root", root)
    assert done.returncode != 0 and "b.tar" in done.stderr
    assert (root / "b.tar").read_text() == "mine"
    done = program.run("bundle", root / "b.zip", "--root", root)
    assert (done.returncode, (root / "b.zip").exists()) == (64, False)


def test_a_secret_that_is_kept_is_masked_wherever_it_stands(tmp_path):
    """A note of the configuration has it by mistake."""
    value = "n0body-kn0ws"
    root = make(tmp_path, f"devops: {{address: h, labels: {{site: {value}}}}}\nmodels: {{m: {{engine: sim}}}}\n")
    program.run("bundle", root / "before.tar", "--root", root)
    assert value in json.dumps(open_bundle(root / "before.tar"))
    program.run("secrets", "set", "x", "--root", root, input=value)
    _, told = program.run_json("bundle", root / "after.tar", "--root", root)
    assert value not in json.dumps(open_bundle(root / "after.tar"))
    assert told["masked"] > 0
