"""What the documents say exists, exists."""

import re

import pytest

import guide
import program

DOCUMENTS = sorted([program.TOP / "README.md", *program.TOP.glob("docs/*.md")])


def commands(text):
    """What a document shows as typed: lines of code blocks, and code within sentences."""
    blocks = re.findall(r"^    (citadel .*)$", text, re.M)
    inline = re.findall(r"`(citadel [^`]*)`", text)
    return [c for c in blocks + inline]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)#]+)", document.read_text()):
        if "://" not in target:
            assert (document.parent / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_files_that_are_named_are_there(document):
    text = document.read_text()
    for path in re.findall(r"`((?:src|tests|tools|docs|examples)/[\w./-]*\w)`", text):
        assert (program.TOP / path).exists(), path


def test_the_house_has_the_rooms_that_are_described():
    text = (program.TOP / "docs/architecture.md").read_text()
    stands, _, planned = text.partition("## What is planned")
    rows = r"^\| ((?:`\w+`(?:, )?)+) \| [\d, ]+ \|"
    told = {room for row in re.findall(rows, stands, re.M) for room in re.findall(r"\w+", row)}
    later = {room for row in re.findall(rows, planned, re.M) for room in re.findall(r"\w+", row)}
    rooms = {path.name for path in (program.TOP / "src").iterdir() if path.is_dir()}
    assert told == rooms
    assert not later & rooms


@pytest.mark.parametrize("name", ["README.md", "operations.md"])
def test_commands_are_verbs(name):
    (document,) = [path for path in DOCUMENTS if path.name == name]
    stems = {row["verb"].split()[0] for row in program.run_json("help")[1]["verbs"]}
    for command in commands(document.read_text()):
        words = [w for w in command.split()[1:] if re.fullmatch("[a-z]+", w)]
        assert not words or words[0] in stems, command


@pytest.mark.parametrize("name", ["README.md", "operations.md"])
def test_what_is_shown_is_what_one_sees(name, tmp_path):
    """A block ```yaml NAME is a file, from there on; one of ```console is typed beside it. What a block
    ```console NAME has is typed on a machine: guide.py."""
    (document,) = [path for path in DOCUMENTS if path.name == name]
    blocks = re.findall(r"^```(yaml|console) ?(\S*)\n(.*?)^```$", document.read_text(), re.M | re.S)
    assert blocks
    for kind, file, text in blocks:
        if kind == "yaml":
            (tmp_path / file).write_text(text)
        elif not file:
            program.talk(text, tmp_path, program.BIN)


def test_every_procedure_is_played_by_a_scenario():
    played = set()
    for path in program.TOP.glob("tests/*/test_*.py"):
        text = path.read_text()
        played |= set(re.findall(r'\bplay\(\w+, "([\w-]+)"', text))
        for names in re.findall(r'"name", \[([^\]]*)\]\)\ndef \w+\(here, name\):\n    play\(here, name\)', text):
            played |= set(re.findall(r'"([\w-]+)"', names))
    assert set(guide.procedures()) == played


def test_the_smallest_configuration_of_the_manual_is_one(tmp_path):
    page = program.run("manual", "5").stdout
    shown = page.partition(".Bd -literal")[2].partition(".Ed")[0].splitlines()[1:]
    text = "".join(line.replace("\\&", "").replace("\\-", "-") + "\n" for line in shown)
    (tmp_path / "citadel.yaml").write_text(text)
    assert program.run("config", "check", cwd=tmp_path).returncode == 0


def test_every_exit_code_is_explained():
    text = (program.TOP / "docs/operations.md").read_text()
    table = (program.TOP / "src/base/exit.def").read_text()
    codes = re.findall(r"^EXIT\(\w+, (\d+),", table, re.M)
    assert codes
    for code in codes:
        assert re.search(rf"^\| {code} \|", text, re.M), code
