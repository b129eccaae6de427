"""Secrets: kept encrypted where systemd can, given to the service that needs them, and found nowhere else.
Each search of a test for a value that must not be found is shown to find one that was put there."""

import fcntl
import json
import os
import pathlib
import pty
import select
import signal
import tarfile
import termios

import pytest

import machine
import program
from test_units_machine import CACHE, deploy, stand_in
from up import PATIENCE_S, Site, parent_of, processes_of

pytestmark = pytest.mark.xdist_group("machine")

VALUE = "sq5eamish-0ssifrage"  # letters of no other text
TOKEN = "hf_" + "abcdefghij" * 3  # looks like one of the hub


def site(tmp_path, **config):
    root = tmp_path / "root"
    (root / "etc/citadel").mkdir(parents=True)
    config = {"models": {"m": {"engine": "sim"}}, **config}
    (root / "etc/citadel/citadel.yaml").write_text(json.dumps(config))
    return root


def test_a_value_is_read_from_standard_input_and_never_shown(tmp_path):
    root = site(tmp_path, hub={"offline": False, "token": {"credential": "hf-token"}})
    done = program.run("secrets", "set", "hf-token", "--root", root, input=VALUE + "\n")
    assert done.returncode == 0
    assert "citadel restart m" in done.stderr
    assert "clear text" in done.stderr  # below --root nothing is encrypted
    listed = program.run("secrets", "list", "--root", root)
    _, rows = program.run_json("secrets", "list", "--root", root)
    assert VALUE not in done.stdout + done.stderr + listed.stdout + json.dumps(rows)
    assert [(r["name"], r["kept"], r["options"], r["services"]) for r in rows] == [
        ("hf-token", "plain", ["hub.token"], ["m"])
    ]
    kept = root / "etc/credstore/citadel-plain.hf-token"
    assert kept.read_text() == VALUE
    assert kept.stat().st_mode & 0o777 == 0o600


def test_a_value_is_no_argument(tmp_path):
    root = site(tmp_path)
    done = program.run("secrets", "set", "hf-token", VALUE, "--root", root)
    assert done.returncode == 64
    assert VALUE not in done.stdout + done.stderr
    assert not (root / "etc/credstore").exists()


@pytest.mark.parametrize(
    "words",
    [["set", f"hf-token={VALUE}"], ["rm", f"hf-token={VALUE}"], ["list", f"hf-token={VALUE}"],
     [f"hf-token={VALUE}"], ["set", "hf-token", f"--plain={VALUE}"], ["set", f"--value={VALUE}"]],
)
def test_what_stands_behind_an_equals_sign_is_not_said_again(tmp_path, words):
    root = site(tmp_path)
    done = program.run("secrets", *words, "--root", root, "--json", input=VALUE)
    assert done.returncode == 64
    assert VALUE not in done.stdout + done.stderr
    if words[0] == "set" and len(words) == 2 and "=" in words[1] and words[1][0] != "-":
        assert program.error_json(done)["fix"].startswith("if it was one, have it changed")


def test_an_empty_value_is_refused_with_what_to_do(tmp_path):
    error = program.error_json(program.run("secrets", "set", "x", "--root", site(tmp_path), "--json", input="\n"))
    assert (error["id"], error["fix"]) == ("secret.value", "give one; what is to go: citadel secrets rm NAME")


def test_a_store_that_is_open_to_others_is_told(tmp_path):
    root = site(tmp_path, hub={"offline": False, "token": {"credential": "x"}})
    program.run("secrets", "set", "x", "--root", root, input=VALUE)

    def told():
        findings = program.run_json("doctor", "--root", root)[1]["findings"]
        in_doctor = {f["subject"]: f["remedy"] for f in findings if f["check"] == "secrets"}
        _, (row,) = program.run_json("secrets", "list", "--root", root)
        warnings = program.run("secrets", "list", "--root", root).stderr
        assert program.run("secrets", "set", "x", "--root", root, input=VALUE).stderr.count("warning") == row["open"]
        return in_doctor.get(str(store)), row["open"], warnings

    store = root / "etc/credstore"
    assert told() == (None, False, "")
    for mode in (0o777, 0o710, 0o701):
        store.chmod(mode)
        close = f"install -d -m 700 -o root -g root {store}"
        assert told() == (close, True, f"warning: others can get into {store}; try: {close}\n")


def test_one_that_is_used_is_not_removed_by_mistake(tmp_path):
    root = site(tmp_path, backup={"password": {"credential": "repo"}})
    program.run("secrets", "set", "repo", "--root", root, input=VALUE)
    done = program.run("secrets", "rm", "repo", "--root", root)
    assert done.returncode == 1
    assert "backup.password asks for the secret 'repo'" in done.stderr
    assert program.run("secrets", "rm", "repo", "--force", "--root", root).returncode == 0
    _, rows = program.run_json("secrets", "list", "--root", root)
    assert [(r["name"], r["kept"], r["backups"]) for r in rows] == [("repo", "missing", True)]
    assert program.run("secrets", "rm", "repo", "--force", "--root", root).returncode == 4


class Terminal:
    """The program on a terminal of its own."""

    def __init__(self, *words):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execve(program.CITADEL, [str(program.CITADEL), *map(str, words)], program.environment())
        self.seen = ""

    def read_until(self, text):
        while text not in self.seen:
            assert select.select([self.fd], [], [], PATIENCE_S)[0], self.seen
            try:
                self.seen += os.read(self.fd, 4096).decode()
            except OSError:  # the other side has gone
                assert text in self.seen, self.seen

    def type(self, text):
        os.write(self.fd, text.encode())

    def echoes(self):
        return bool(termios.tcgetattr(self.fd)[3] & termios.ECHO)

    def end(self):
        """What it has said, and how it ended."""
        while True:
            try:
                more = os.read(self.fd, 4096)
            except OSError:
                break
            if not more:
                break
            self.seen += more.decode()
        _, status = os.waitpid(self.pid, 0)
        os.close(self.fd)
        return os.waitstatus_to_exitcode(status)


def test_on_a_terminal_it_is_asked_for_twice_and_not_shown(tmp_path):
    root = site(tmp_path)
    terminal = Terminal("secrets", "set", "hf-token", "--root", root)
    terminal.read_until("Value of hf-token (not shown): ")
    assert not terminal.echoes()
    terminal.type(VALUE + "\n")
    terminal.read_until("The same again: ")
    terminal.type(VALUE + "\n")
    assert terminal.end() == 0
    assert VALUE not in terminal.seen
    assert (root / "etc/credstore/citadel-plain.hf-token").read_text() == VALUE


@pytest.mark.parametrize(
    "typed, said",
    [
        ((VALUE, VALUE + "x"), "the two values differ"),
        (("",), "the value is empty"),
        (("x" * 5000,), "a terminal takes no line of more than 4093 bytes"),
    ],
)
def test_what_is_typed_wrong_changes_nothing(tmp_path, typed, said):
    root = site(tmp_path)
    terminal = Terminal("secrets", "set", "hf-token", "--root", root)
    for question, line in zip(("Value of", "The same again"), typed):
        terminal.read_until(question)
        terminal.type(line + "\n")
    assert terminal.end() == 64
    assert said in terminal.seen
    assert not (root / "etc/credstore").exists()


def take_terminal(slave):
    """Makes it ours, as login does."""
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    for fd in (0, 1, 2):
        os.dup2(slave, fd)


def test_an_interrupt_leaves_the_terminal_as_it_was(tmp_path):
    root = site(tmp_path)
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # who runs us may ignore it
        take_terminal(slave)
        words = ["citadel", "secrets", "set", "hf-token", "--root", str(root)]
        os.execve(program.CITADEL, words, program.environment())
    seen = ""
    while "not shown" not in seen:
        assert select.select([master], [], [], PATIENCE_S)[0], seen
        seen += os.read(master, 4096).decode()
    assert not termios.tcgetattr(slave)[3] & termios.ECHO
    os.write(master, b"half a val\x03")
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGINT
    assert termios.tcgetattr(slave) == before
    assert not (root / "etc/credstore").exists()
    os.close(master)
    os.close(slave)


def test_a_service_of_up_is_given_its_secrets_as_one_of_systemd_is(tmp_path):
    """They are in a directory of its own while it runs, in no environment, and gone with it."""
    here = Site(tmp_path, {"a": ""})
    token = tmp_path / "token"
    token.write_text(VALUE + "\n")
    hub = f"hub: {{offline: false, token: {{file: {token}}}}}\n"
    other = "backup: {password: {env: REPOSITORY}}\n"
    here.config.write_text(hub + other + here.config.read_text())
    up = here.up(env={"REPOSITORY": VALUE})
    up.wait_for(r" a: ready")
    given = here.run_dir / "credentials/a"
    assert given.stat().st_mode & 0o777 == 0o700
    assert (given / "hub.token").read_text() == VALUE
    assert [p.name for p in given.iterdir()] == ["hub.token"]  # no other's
    for pid in processes_of(tmp_path):
        if pid != up.process.pid and parent_of(pid) != os.getpid():
            assert VALUE.encode() not in pathlib.Path(f"/proc/{pid}/environ").read_bytes()
    shim = pathlib.Path(f"/proc/{here.status()['a']['pid']}/environ").read_bytes()
    assert f"CREDENTIALS_DIRECTORY={given}".encode() in shim
    token.write_text("another\n")
    assert here.run("restart", "a").returncode == 0
    assert (given / "hub.token").read_text() == "another"
    assert up.stop() == 0
    assert not given.exists()
    here.end()


# ---- real systemd ----


@pytest.fixture(scope="module", params=machine.SUITES)
def here(request):
    if why := machine.why_not():
        pytest.skip(why)
    with machine.Machine(request.param, "secrets") as booted:
        stand_in(booted, "storage", "/bin/true")
        booted.run("systemd-sysusers")
        booted.run("systemd-tmpfiles", "--create")
        config = {**CONFIG, "hub": {"offline": False, "token": {"credential": "hf-token"}}}
        booted.write_json("/etc/citadel/citadel.yaml", config)
        deploy(booted, 1, config)
        booted.run(f"{booted.bin}/citadel", "storage", "setup")
        yield booted


CONFIG = {
    "storage": {"require_mounts": False},
    "gateway": {"enabled": False},
    "monitor": {"enabled": False},
    "models": {
        "loads": {"engine": "sim", "port": 12000},
        "serves": {"engine": "sim", "port": 12001, "residency": "manual"},
    },
}

# Where nothing of a secret may be. The pattern comes by standard input: as a word it would find itself.
PLACES = {
    "files": "grep -rlFf - /etc /opt /var /tmp /run --exclude-dir=credentials --exclude-dir=journal",
    "commands": "grep -lFf - /proc/[0-9]*/cmdline",
    "environments": "grep -lFf - /proc/[0-9]*/environ",
    "properties": "cat > /dev/shm/p; systemctl show '*' | grep -Ff /dev/shm/p; rm /dev/shm/p",
    "units": "cat > /dev/shm/p; systemctl cat 'citadel-*' | grep -Ff /dev/shm/p; rm /dev/shm/p",
    "journal": "cat > /dev/shm/p; journalctl -o export | grep -aFf /dev/shm/p; rm /dev/shm/p",
}


def found(here, value):
    """Where a value is to be seen."""
    return {
        place: said
        for place, script in PLACES.items()
        if (said := here.run("sh", "-c", f"{script} 2>/dev/null", input=value, check=False).stdout)
    }


def keep(here, name, value):
    return here.run(f"{here.bin}/citadel", "secrets", "set", name, input=value + "\n")


def restart(here):
    """As a person does it: what went before is not counted against it."""
    here.run("systemctl", "reset-failed", "citadel-loads")
    here.run("systemctl", "restart", "citadel-loads")


def given(here, unit):
    """The credentials of a unit that runs."""
    names = here.sh(f"ls /run/credentials/{unit}.service 2>/dev/null || true").split()
    return {name: here.sh(f"cat /run/credentials/{unit}.service/{name}") for name in names}


def test_a_unit_is_given_its_secret_and_nobody_else_sees_it(here):
    done = keep(here, "hf-token", VALUE)
    assert "encrypted in /etc/credstore.encrypted" in done.stdout
    assert "citadel restart loads serves" in done.stderr
    here.run("systemctl", "start", "citadel-loads")
    assert given(here, "citadel-loads") == {"citadel.hf-token": VALUE}
    # And the engine knows where: as its user, by what its environment says.
    path = "/run/credentials/citadel-loads.service/citadel.hf-token"
    assert here.sh("grep -lFf - /proc/[0-9]*/environ", input=f"HF_TOKEN_PATH={path}")
    assert here.run("cat", path, user="citadel").stdout == VALUE
    here.run(f"{here.bin}/citadel", "secrets", "list")
    here.run(f"{here.bin}/citadel", "units")
    assert found(here, VALUE) == {}


def test_the_search_finds_what_is_there(here):
    """Else that nothing is found says nothing."""
    planted = "pl4nted-s3cret"
    here.write("/run/systemd/system/citadel-leak.service.d/leak.conf", f"[Service]\nEnvironment=A={planted}\n")
    here.write(
        "/run/systemd/system/citadel-leak.service",
        f"[Service]\nExecStart=/bin/sh -c 'echo {planted} {planted}; exec sleep infinity'\n",
    )
    here.run("systemctl", "daemon-reload")
    here.run("systemctl", "start", "citadel-leak")
    here.until(lambda: planted in here.journal("citadel-leak"), "the leak is in the journal")
    # `sh -c` has gone, its word with it: sleep has the environment.
    holder = here.start("sh", "-c", "echo; exec sleep infinity # $1", "sh", planted)
    leak = here.start("python3", "-c", "import signal; print(flush=True); signal.pause()", planted)
    leak.stdout.readline()
    assert set(found(here, planted)) == set(PLACES)
    here.end(holder)
    here.end(leak)
    here.run("systemctl", "stop", "citadel-leak")
    here.run("rm", "-r", "/run/systemd/system/citadel-leak.service", "/run/systemd/system/citadel-leak.service.d")
    here.run("systemctl", "daemon-reload")


def test_a_new_value_is_seen_after_a_restart(here):
    keep(here, "hf-token", VALUE)
    restart(here)
    keep(here, "hf-token", VALUE + "-2")
    assert given(here, "citadel-loads") == {"citadel.hf-token": VALUE}
    restart(here)
    assert given(here, "citadel-loads") == {"citadel.hf-token": VALUE + "-2"}


def test_a_value_that_was_encrypted_does_not_lie_open_when_that_fails(here):
    keep(here, "hf-token", VALUE)
    creds = here.sh("command -v systemd-creds").strip()
    here.run("mount", "--bind", "/bin/false", creds)
    words = (f"{here.bin}/citadel", "secrets", "set", "hf-token")
    done = here.run(*words, input=VALUE + "-2\n", check=False)
    here.run("umount", creds)
    assert done.returncode == 1 and "citadel secrets set hf-token --plain" in done.stderr
    restart(here)
    assert given(here, "citadel-loads") == {"citadel.hf-token": VALUE} and found(here, VALUE) == {}


def test_one_in_clear_text_works_alike(here):
    words = (f"{here.bin}/citadel", "secrets", "set", "hf-token", "--plain")
    done = here.run(*words, input=VALUE + "\n")
    assert "clear text" in done.stderr and "--plain" in done.stderr
    assert here.sh("stat -c '%a %U' /etc/credstore/citadel-plain.hf-token") == "600 root\n"
    assert not here.sh("ls /etc/credstore.encrypted")
    restart(here)
    assert given(here, "citadel-loads") == {"citadel-plain.hf-token": VALUE}
    assert set(found(here, VALUE)) == {"files"}
    assert found(here, VALUE)["files"] == "/etc/credstore/citadel-plain.hf-token\n"
    keep(here, "hf-token", VALUE)
    assert found(here, VALUE) == {}
    restart(here)
    assert given(here, "citadel-loads") == {"citadel.hf-token": VALUE}


def test_a_missing_one_keeps_no_unit_from_starting(here):
    here.run(f"{here.bin}/citadel", "secrets", "rm", "hf-token", "--force")
    restart(here)
    assert given(here, "citadel-loads") == {}


def test_a_full_disk_leaves_the_old_value(here):
    here.run("mount", "-t", "tmpfs", "-o", "size=4k,mode=0700", "tmpfs", "/etc/credstore.encrypted")
    keep(here, "small", VALUE)
    words = (f"{here.bin}/citadel", "secrets", "set", "small")
    done = here.run(*words, input="x" * 6000, check=False)
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    kept = "systemd-creds decrypt /etc/credstore.encrypted/citadel.small -"
    assert here.sh(kept) == VALUE
    assert here.sh("ls -A /etc/credstore.encrypted") == "citadel.small\n"
    here.run("umount", "/etc/credstore.encrypted")


def test_only_who_downloads_is_given_the_token(here):
    keep(here, "hf-token", VALUE)
    deploy(here, 2, {**CONFIG, "hub": {"token": {"credential": "hf-token"}}})
    restart(here)
    assert given(here, "citadel-loads") == {}
    assert here.run("journalctl", "-u", "citadel-loads", check=False).stdout
    assert found(here, VALUE) == {}


def bundle(here, path):
    """A support bundle of the machine: file -> text."""
    here.run("rm", "-f", path)
    done = here.run(f"{here.bin}/citadel", "bundle", path)
    assert here.sh(f"stat -c %a {path}") == "600\n"
    with tarfile.open(here.root / path.lstrip("/")) as archive:
        return done, {m.name: archive.extractfile(m).read().decode() for m in archive}


def test_no_secret_is_in_a_support_bundle(here):
    keep(here, "hf-token", VALUE)
    restart(here)
    _, files = bundle(here, "/root/clean.tar")
    assert VALUE not in json.dumps(files)
    for name in ("doctor.json", "status.json", "units.txt", "config.txt", "host/kernel.txt", "contents.txt"):
        assert name in files, name
    assert "LoadCredentialEncrypted=citadel.hf-token" in files["units.txt"]
    assert "citadel-loads" in files["host/units.txt"]
    assert "ready" in files["logs/loads.txt"]
    # One that a service has said is found there, and masked.
    here.sh("cat > /opt/leak; systemd-cat -t citadel-loads -p info cat /opt/leak; rm /opt/leak", input=VALUE)
    line = "[Service]\nExecStartPre=/bin/cat /opt/said\n"
    here.write("/opt/said", f"told to all: {VALUE}\nand {TOKEN}\n")
    here.write("/run/systemd/system/citadel-loads.service.d/leak.conf", line)
    here.run("systemctl", "daemon-reload")
    restart(here)
    here.until(lambda: VALUE in here.journal("citadel-loads"), "it was said")
    done, files = bundle(here, "/root/masked.tar")
    assert VALUE not in json.dumps(files) + done.stdout
    assert f"told to all: {'*' * len(VALUE)}" in files["logs/loads.txt"]
    assert TOKEN not in files["logs/loads.txt"]
    here.run("rm", "-r", "/run/systemd/system/citadel-loads.service.d", "/opt/said")
    here.run("systemctl", "daemon-reload")


def test_nobody_but_root_keeps_or_sees_secrets(here):
    keep(here, "hf-token", VALUE)
    for verb in (["set", "other"], ["list"], ["rm", "hf-token", "--force"]):
        done = here.run(f"{here.bin}/citadel", "secrets", *verb, user="citadel", input="x", check=False)
        assert done.returncode == 77, done.stderr
        assert VALUE not in done.stdout + done.stderr
