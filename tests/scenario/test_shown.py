"""What was shown and confirmed is what is done, or nothing is: two terminals, without systemd."""

import json
import pathlib
import tempfile

import pytest
from program import CITADEL, Terminal, error_json, run, run_json
from up import Site

FIRST = "storage: {require_mounts: false}\nmodels: {one: {engine: sim, port: 12000}}\n"
SECOND = FIRST.replace("12000", "12001")


@pytest.fixture
def place():
    with tempfile.TemporaryDirectory(prefix="citadel-") as short:  # paths of sockets are
        yield pathlib.Path(short)


@pytest.fixture
def root(place):
    """Something is deployed, and something else is wanted."""
    (place / "etc/citadel").mkdir(parents=True)
    edit(place, FIRST)
    assert run("apply", "-y", "--root", place).returncode == 0
    edit(place, SECOND)
    return place


def edit(root, text):
    (root / "etc/citadel/citadel.yaml").write_text(text)


def sit_down(*words):
    terminal = Terminal([CITADEL, *words])
    terminal.wait_for("[y/N]")
    return terminal


def deployed(root):
    return (root / "etc/citadel/current/config.yaml").read_text()


def generations(root):
    return len(list((root / "etc/citadel/generations").iterdir()))


def test_one_who_was_quicker_makes_it_stale(root):
    first = sit_down("apply", "--root", root)
    edit(root, FIRST.replace("12000", "12002"))
    assert run("apply", "-y", "--root", root).returncode == 0
    code, shown = first.answer("y")
    assert code == 1 and "is not what was shown: its digest was " in shown
    assert "try: citadel plan" in shown
    assert generations(root) == 2 and "12002" in deployed(root)


def test_the_file_that_was_shown_is_what_is_deployed(root):
    first = sit_down("apply", "--root", root)
    edit(root, "models: {}\n")
    code, shown = first.answer("y")
    assert code == 0 and "Generation 2 is current" in shown and deployed(root) == SECOND


@pytest.mark.parametrize("words", [["generations", "switch", "1"], ["rollback", "restore", "1"], ["deploy", "rollback"]])
def test_others_that_ask_do_so_too(root, words):
    assert run("rollback", "backup", "--root", root).returncode == 0
    assert run("apply", "-y", "--root", root).returncode == 0
    first = sit_down(*words, "--root", root)
    edit(root, FIRST.replace("12000", "12002"))
    assert run("apply", "-y", "--root", root).returncode == 0
    code, shown = first.answer("y")
    assert code == 1 and "is not what was shown" in shown
    assert generations(root) == 3 and "12002" in deployed(root)


def test_a_file_that_a_restore_would_overwrite_was_edited_meanwhile(root):
    assert run("rollback", "backup", "--root", root).returncode == 0
    edit(root, FIRST)
    first = sit_down("rollback", "restore", "1", "--root", root)
    edit(root, FIRST + "# mine\n")
    code, shown = first.answer("y")
    assert code == 1 and "is not what was shown" in shown
    assert "# mine" in (root / "etc/citadel/citadel.yaml").read_text()


def test_a_plan_has_its_digest_and_apply_takes_it(root):
    digest = run_json("plan", "--root", root)[1]["digest"]
    assert len(digest) == 64 and run_json("plan", "--root", root)[1]["digest"] == digest
    error = error_json(run("apply", "-y", "--expect", "0" * 64, "--root", root, "--json"))
    assert (error["id"], error["exit"]) == ("deploy.stale", 1) and digest[:12] in error["message"]
    assert generations(root) == 1
    assert run("apply", "-y", "--expect", digest, "--root", root).returncode == 0
    assert run_json("plan", "--root", root)[1]["digest"] != digest  # now that is current


@pytest.mark.parametrize("spoil", ["{}", "[]", '{"digest": 7}', '{"digest": "0123"}', "no JSON"])
def test_what_is_no_plan_is_refused(root, spoil):
    saved = root / "plan.json"
    saved.write_text(spoil)
    error = error_json(run("apply", "-y", saved, "--root", root, "--json"))
    assert error["id"] == "fmt.syntax" and str(saved) in error["message"]
    assert error["fix"] == f"citadel plan --json > {saved}" and generations(root) == 1


def test_another_release_has_made_a_saved_plan_stale(root):
    """It renders other units: here the generator's own program is another file."""
    saved = root / "plan.json"
    saved.write_text(run("plan", "--json", "--root", root).stdout)
    copy = root / "citadel"
    copy.write_bytes(CITADEL.read_bytes())
    copy.chmod(0o755)
    code, shown = Terminal([copy, "apply", "-y", saved, "--root", root]).answer("")
    assert code == 1 and "is not what was shown" in shown and generations(root) == 1
    assert run("apply", "-y", saved, "--root", root).returncode == 0


def test_under_up_too(place):
    site = Site(place, {"a": "", "b": ""})
    try:
        site.up().wait_all("a: ready", "b: ready")
        first = sit_down("apply", "-c", site.config)
        text = site.config.read_text()
        site.config.write_text(text.replace("drain_timeout: 1s", "drain_timeout: 2s"))
        assert site.run("apply", "-y").returncode == 0
        before = json.loads(site.run("status", "--json").stdout)
        code, shown = first.answer("y")
        assert code == 1 and "is not what was shown" in shown
        assert json.loads(site.run("status", "--json").stdout)["deployed"] == before["deployed"]
    finally:
        site.end()
