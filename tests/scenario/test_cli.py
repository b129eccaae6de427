"""The command line as a person and a script meet it. What there is to test comes from the program
itself (`citadel help --json`), so that a new verb is tested before its author has written a line."""

import fcntl
import functools
import json
import os
import pty
import re
import select
import shutil
import subprocess
import unicodedata

import pytest

import program
from program import error_json, run, run_json, run_on_terminal

ESCAPE = "\033"
REFERENCE = str(program.TOP / "examples/reference.yaml")


@functools.cache
def tables():
    return run_json("help")[1]


def verbs():
    return [verb["verb"] for verb in tables()["verbs"]]


def listed_verbs():
    """Those that help lists: all but the plumbing."""
    return [v for v in verbs() if re.search(rf"^  {v}( |$)", run("help").stdout, re.M)]


def options_of(verb):
    (row,) = [row for row in tables()["verbs"] if row["verb"] == verb]
    return row["options"] + tables()["options"]


def needs(name):
    return pytest.mark.skipif(not shutil.which(name), reason=f"{name} is not installed")



@pytest.mark.parametrize("verb", verbs())
def test_every_verb_has_help_with_an_example(verb):
    by_option = run(*verb.split(), "--help")
    by_verb = run("help", *verb.split())
    assert by_option.returncode == by_verb.returncode == 0
    assert by_option.stdout == by_verb.stdout
    assert by_option.stderr == ""
    assert by_option.stdout.startswith(f"Usage: citadel {verb}")
    examples = by_option.stdout.partition("\nExamples\n")[2]
    assert f"citadel {verb}" in examples
    for option in options_of(verb):
        assert f"--{option['name']}" in by_option.stdout


def test_help_of_the_first_word_of_several_tells_about_those():
    several = {v.split()[0] for v in verbs() if " " in v}
    for stem in several:
        done = run("help", stem)
        assert done.returncode == 0
        for verb in verbs():
            if verb.startswith(stem + " "):
                assert f"  {verb}" in done.stdout


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_help_fits_the_terminal(columns):
    for words in [["help"], *(["help", *v.split()] for v in verbs())]:
        status, shown = run_on_terminal(*words, columns=columns)
        assert status == 0
        for line in re.sub(r"\033\[\d*m", "", shown).splitlines():
            # An example, a usage or the name of an option is never broken.
            if not re.match(r"Usage: |  +(-|\S+ |citadel )", line):
                assert len(line) <= min(columns, 100), line


def test_help_names_only_verbs_that_are_there():
    stems = {verb.split()[0] for verb in verbs()}
    for row in tables()["verbs"]:
        shown = [row["text"], *(e["command"] for e in row["examples"])]
        for word in re.findall(r"\bcitadel ([a-z]\w*)", " ".join(shown)):
            assert word in stems, f"{row['verb']} tells of 'citadel {word}'"


NARROW = """\
Usage: citadel completion bash|zsh|fish

Prints what makes a shell complete
verbs, options and their values at the
press of Tab. 'make install' puts it
where each shell looks; without that,
have the shell read it at its start, as
the examples do.

Options of every verb
  -c, --config FILE
             the configuration to use
      --root DIR
             put every path under DIR,
             and leave this machine
             alone
      --json
             print results, and errors,
             as JSON
"""

WIDE = """\
Usage: citadel completion bash|zsh|fish

Prints what makes a shell complete verbs, options and their values at the press of Tab. 'make
install' puts it where each shell looks; without that, have the shell read it at its start, as the
examples do.

Options of every verb
  -c, --config FILE         the configuration to use
"""


@pytest.mark.parametrize("columns, want", [(40, NARROW), (200, WIDE)])
def test_help_is_laid_out(columns, want):
    _, shown = run_on_terminal("help", "completion", "--no-color", columns=columns)
    assert shown.startswith(want)


def test_the_manual_tells_everything():
    manual = run("manual").stdout
    plain = manual.replace("\\-", "-")
    for verb in verbs():
        assert re.search(rf'^\.It Ic "?(\\&)?{verb}', plain, re.M)
        for option in options_of(verb):
            assert f"Fl Fl {option['name']}" in plain
    for name, code in re.findall(r"^EXIT\((\w+), (\d+)", source("src/base/exit.def"), re.M):
        assert f".It {code}\n" in manual, name
    for name in re.findall(r'^ERR\(\w+, "([^"]+)"', source("src/base/err.def"), re.M):
        assert re.search(rf"^\.It Er {name} ", plain, re.M)


def source(path):
    return (program.TOP / path).read_text()


PAGES = [["manual"], ["manual", "5"]]


@needs("mandoc")
@pytest.mark.parametrize("page", PAGES)
def test_the_manual_is_well_formed(page):
    done = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning"],
        input=run(*page).stdout,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs("man")
@pytest.mark.parametrize("page", PAGES)
def test_man_shows_the_manual_without_a_warning(page, tmp_path):
    path = tmp_path / "page.1"
    path.write_text(run(*page).stdout)
    done = subprocess.run(
        ["man", "--warnings", "-E", "UTF-8", "-l", path], capture_output=True, text=True
    )
    assert done.returncode == 0
    assert done.stderr == ""
    assert "NAME" in done.stdout


BASH = """
source <("$CITADEL" completion bash)
compopt() { :; }
while read -ra line; do
    COMP_WORDS=(citadel "${line[@]}" "$1")
    COMP_WORDS[0]=$CITADEL
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    _citadel
    echo "${line[*]}|${COMPREPLY[*]}"
done
"""

FISH = """
fish_add_path -P (dirname $CITADEL)
citadel completion fish | source
while read line
    set -l offered (complete -C "citadel $line$argv[1]" | string replace -r '\\t.*' '')
    echo "$line|$offered"
end
"""


def offered(shell, script, lines, last):
    """What a shell offers behind each of the lines, when `last` has been typed."""
    done = subprocess.run(
        [shell, "-c", script, *(["bash"] if shell == "bash" else ["--"]), last],
        input="".join(f"{line}\n" for line in lines),
        env=program.environment(CITADEL=str(program.CITADEL)),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stderr == ""
    answers = {}
    for line in done.stdout.splitlines():
        before, _, words = line.rpartition("|")
        answers.setdefault(before.strip(), set()).update(words.split())
    return answers


@pytest.mark.parametrize("shell", [pytest.param("bash"), pytest.param("fish", marks=needs("fish"))])
def test_a_shell_offers_every_option(shell):
    if shell == "bash":
        answers = offered(shell, BASH, verbs(), "--")
    else:
        answers = offered(shell, FISH, [f"{verb} " for verb in verbs()], "--")
    for verb in verbs():
        assert answers[verb] == {f"--{option['name']}" for option in options_of(verb)}


@pytest.mark.parametrize("shell", [pytest.param("bash"), pytest.param("fish", marks=needs("fish"))])
def test_a_shell_offers_verbs_and_values(shell, tmp_path):
    (tmp_path / "one file").touch()
    script = BASH if shell == "bash" else FISH
    answers = offered(shell, script, [""], "")
    assert answers[""] == {verb.split()[0] for verb in listed_verbs()}
    answers = offered(shell, script, ["config show "], "netw")
    assert answers["config show"] == {"network"}
    answers = offered(shell, script, [f"config show -c {REFERENCE} "], "models.phi3.po")
    assert set.union(*answers.values()) == {"models.phi3.port"}
    answers = offered(shell, script, ["completion "], "")
    assert answers["completion"] == {"bash", "zsh", "fish"}
    answers = offered(shell, script, ["--log-level "], "")
    assert answers["--log-level"] == {"error", "warning", "info", "debug"}
    answers = offered(shell, script, ["-c "], f"{tmp_path}/on")
    assert answers["-c"] in ({f"{tmp_path}/one", "file"}, {f"{tmp_path}/one\\", "file"})


class Zsh:
    """A zsh on a terminal, at which somebody types."""

    def __init__(self, setup):
        self.fd, theirs = pty.openpty()
        self.child = subprocess.Popen(
            ["zsh", "-f", "-i"],
            env=program.environment(TERM="dumb", CITADEL=str(program.CITADEL)),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self.type("bindkey -e; PS1=; PATH=${CITADEL:h}:$PATH; autoload -U compinit\n")
        self.type(f"{setup}; print re''ady\n")
        self.read_until(r"ready\r")

    def type(self, text):
        os.write(self.fd, text.encode())

    def read_until(self, pattern):
        shown = ""
        while not re.search(pattern, shown):
            readable, _, _ = select.select([self.fd], [], [], 30)
            assert readable, f"waited for {pattern!r}, saw {shown!r}"
            shown += os.read(self.fd, 4096).decode(errors="replace")
        return re.search(pattern, shown)

    def complete(self, line):
        """The line that Tab makes of this one: Ctrl-A, and the shell prints it."""
        self.type(f"{line}\t\x01print -r -- 'line: \x05'\n")
        return self.read_until(r"\nline: (.*?) *\r")[1]

    def end(self):
        os.close(self.fd)
        self.child.wait(timeout=30)


@needs("zsh")
def test_zsh_completes(tmp_path):
    (tmp_path / "one-file").touch()
    zsh = Zsh("compinit -D -u; source <(citadel completion zsh)")
    try:
        assert zsh.complete("citadel vers") == "citadel version"
        assert zsh.complete("citadel completion z") == "citadel completion zsh"
        assert zsh.complete("citadel help vers") == "citadel help version"
        assert zsh.complete("citadel version --no-c") == "citadel version --no-color"
        assert zsh.complete("citadel --log-level d") == "citadel --log-level debug"
        assert zsh.complete("citadel --log-level=d") == "citadel --log-level=debug"
        assert zsh.complete(f"citadel -c {tmp_path}/o") == f"citadel -c {tmp_path}/one-file"
        assert zsh.complete(f"citadel --config={tmp_path}/o") == (
            f"citadel --config={tmp_path}/one-file"
        )
    finally:
        zsh.end()


@needs("zsh")
def test_zsh_finds_the_installed_completion(tmp_path):
    (tmp_path / "_citadel").write_text(run("completion", "zsh").stdout)
    zsh = Zsh(f"fpath=({tmp_path} $fpath); compinit -D -u")
    try:
        assert zsh.complete("citadel vers") == "citadel version"
        assert zsh.complete("citadel completion z") == "citadel completion zsh"
    finally:
        zsh.end()


# Verbs that can be run as they are, with the arguments they need.
RUNS = [
    ["config", "check", REFERENCE],
    ["config", "show", "-c", REFERENCE],
    ["units", "-c", REFERENCE],
    ["config", "options"],
    ["config", "schema"],
    ["config", "init"],
    ["help"],
    ["help", "version"],
    ["version"],
    ["manual"],
    ["completion", "bash"],
    ["complete", "--", ""],
]


@pytest.mark.parametrize("words", RUNS, ids=" ".join)
def test_json_is_json(words):
    at = words.index("--") if "--" in words else len(words)
    done = run(*words[:at], "--json", *words[at:])
    assert done.returncode == 0
    assert json.loads(done.stdout) is not None
    assert done.stdout.endswith("\n")


def test_every_verb_is_run_here():
    """A verb that prints must be in RUNS, or have tests of its own."""
    of_services = {"up", "start", "stop", "restart", "status", "logs", "health", "run"}
    of_services |= {"reload", "reread", "ensure", "hold", "release", "enable", "disable"}
    of_rooms = {"models", "plan", "storage", "gpu", "events", "secrets", "doctor", "bundle", "rollback"}
    of_rooms |= {"keys", "usage", "backup", "recover"}
    of_rooms |= {"apply", "deploy", "diff", "generations", "gateway", "monitor", "probe", "why", "engines"}
    elsewhere = {verb for verb in verbs() if verb.split()[0] in of_services | of_rooms}
    run_here = {verb for verb in verbs() if [w for w in RUNS if w[: len(verb.split())] == verb.split()]}
    assert set(verbs()) - elsewhere == run_here


@pytest.mark.parametrize("words", RUNS, ids=" ".join)
def test_a_pipe_gets_no_escapes(words):
    assert ESCAPE not in run(*words).stdout


def test_colours_only_where_they_are_wanted():
    assert ESCAPE in run_on_terminal("help", columns=80)[1]
    assert ESCAPE in run_on_terminal("help", columns=80, NO_COLOR="")[1]
    assert ESCAPE not in run_on_terminal("help", "--no-color", columns=80)[1]
    assert ESCAPE not in run_on_terminal("help", columns=80, NO_COLOR="1")[1]
    assert ESCAPE not in run_on_terminal("help", columns=80, TERM="dumb")[1]
    assert ESCAPE not in run_on_terminal("help", columns=80, TERM=None)[1]
    assert ESCAPE in run_on_terminal("nonsense", columns=80)[1]
    assert ESCAPE not in run_on_terminal("nonsense", "--no-color", columns=80)[1]


@pytest.mark.parametrize("words", RUNS, ids=" ".join)
def test_a_full_disk_is_noticed(words):
    with open("/dev/full", "w") as full:
        done = run(*words, stdout=full)
    assert done.returncode == 1
    assert "could not be written: No space left on device" in done.stderr


def test_a_full_disk_is_told_as_json():
    with open("/dev/full", "w") as full:
        done = run("version", "--json", stdout=full)
    assert error_json(done)["id"] == "cli.output"


@pytest.mark.parametrize("words", RUNS, ids=" ".join)
def test_a_reader_that_has_gone_is_no_message(words):
    ours, theirs = os.pipe()
    os.close(ours)
    done = run(*words, stdout=theirs)
    os.close(theirs)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("json", [[], ["--json"]])
def test_results_that_nobody_has_are_the_failure_that_is_told(json, tmp_path):
    """Not the 3 of the model that is not whole."""
    (tmp_path / "model").mkdir()
    words = ["models", "validate", "--dir", str(tmp_path), *json]
    assert run(*words).returncode == 3
    with open("/dev/full", "w") as full:
        done = run(*words, stdout=full)
    assert done.returncode == 1
    assert not json or error_json(done)["exit"] == 1
    ours, theirs = os.pipe()
    os.close(ours)
    done = run(*words, stdout=theirs)
    os.close(theirs)
    assert (done.returncode, done.stderr) == (1, "")


def test_an_output_that_does_not_block_is_waited_for():
    ours, theirs = os.pipe()
    fcntl.fcntl(theirs, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(theirs, False)
    child = subprocess.Popen([program.CITADEL, "manual", "5"], stdout=theirs)
    os.close(theirs)
    with open(ours) as pipe:
        shown = pipe.read()
    assert child.wait(timeout=30) == 0
    assert shown == run("manual", "5").stdout
    assert len(shown) > 2 * 4096


def test_a_closed_output_is_noticed():
    closed = subprocess.run(
        ["sh", "-c", '"$0" version >&-', program.CITADEL], capture_output=True, text=True
    )
    assert closed.returncode == 1
    assert "could not be written: Bad file descriptor" in closed.stderr


def test_with_everything_closed_it_still_ends_as_it_should():
    for words, status in ((["nonsense"], 64), (["version"], 1)):
        shell = '"$0" "$@" <&- >&- 2>&-'
        assert subprocess.run(["sh", "-c", shell, program.CITADEL, *words]).returncode == status



@pytest.mark.parametrize(
    "words, error, what, fix",
    [
        (["verison"], "cli.no-verb", "there is no verb 'verison'", "citadel version"),
        (["completoin", "bash"], "cli.no-verb", "there is no verb 'completoin'", "citadel completion"),
        (["xyzzy"], "cli.no-verb", "there is no verb 'xyzzy'", "citadel help"),
        (["vers"], "cli.no-verb", "there is no verb 'vers'", "citadel help"),
        (["help", "verison"], "cli.no-verb", "there is no verb 'verison'", "citadel help version"),
        (["version", "--jsno"], "cli.no-option", "'version' has no option '--jsno'", "--json"),
        (["version", "x"], "cli.usage", "'version' takes no arguments, but 'x' was given",
         "citadel help version"),
        (["completion", "fihs"], "cli.usage",
         "'completion' does not know 'fihs', but: bash, zsh, fish", "citadel completion fish"),
        (["--log-level", "debgu", "version"], "cli.usage",
         "'--log-level' does not know 'debgu', but: error, warning, info, debug",
         "--log-level debug"),
        (["completion"], "cli.usage", "'completion' needs bash|zsh|fish", "citadel help completion"),
        ([], "cli.usage", "no verb is given", "citadel help"),
        (["config"], "cli.usage",
         "'config' needs one more word: check, show, options, schema, init", "citadel help config"),
        (["config", "chekc"], "cli.no-verb", "'config' has no verb 'chekc'", "citadel config check"),
        (["check"], "cli.no-verb", "there is no verb 'check'", "citadel config check"),
        (["--root", "/nowhere", "config", "show"], "system.not-found",
         "--root: '/nowhere': No such file or directory",
         "name a directory that is there, by a path of at most 3072 bytes"),
    ],
)
def test_mistakes_are_told_with_what_was_meant(words, error, what, fix):
    done = run(*words)
    assert done.stdout == ""
    assert done.stderr == f"citadel: {what}\n" + (f"  try: {fix}\n" if fix else "")
    done = run("--json", *words)
    assert done.stdout == ""
    status = 4 if error == "system.not-found" else 64
    assert error_json(done) == {"id": error, "message": what, "fix": fix, "exit": status}


def test_a_mistake_cannot_drive_the_terminal():
    done = run("\033]0;gone\a\n")
    assert done.returncode == 64
    assert done.stderr.count("\n") == 2
    assert not [c for c in done.stderr if unicodedata.category(c) == "Cc" and c != "\n"]


def test_bytes_that_are_no_text_are_refused_as_any_other_word():
    done = run(b"\xff\xfe", text=False)
    assert done.returncode == 64
    assert json.loads(run("--json", b"\xff").stderr)["exit"] == 64
