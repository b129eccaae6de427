"""A machine of its own: a minimal Debian whose init is the real systemd, booted by systemd-nspawn, with
Citadel installed into it.

An image of each release is made once by debootstrap and kept in $CITADEL_MACHINES
(/var/tmp/citadel-machines); a machine is an overlay on it that goes with the test, so that nothing of one
is seen by the next. It has no network but its own loopback. Commands run inside as transient units, as an
operator's shell would be."""

import contextlib
import fcntl
import json
import os
import pathlib
import select
import shutil
import signal
import socket
import subprocess
import time

import pytest

from program import TOP

CACHE = pathlib.Path(os.environ.get("CITADEL_MACHINES", "/var/tmp/citadel-machines"))
SUITES = ("bookworm", "trixie")  # systemd 252 and 257
PATIENCE_S = 60  # for what must happen

PACKAGES = {
    "bookworm": ["libuv1"],
    "trixie": ["libuv1t64"],
}
PACKAGES_OF_ALL = [
    *("systemd", "systemd-sysv", "libpam-systemd", "dbus", "polkitd", "udev"),
    *("libyaml-0-2", "libsqlite3-0", "curl", "jq", "logrotate", "procps", "python3-minimal"),
]


def why_not():
    """Why no machine can be booted here; None: one can."""
    if os.geteuid() != 0:
        return "only root can boot a machine"
    for tool in ("systemd-nspawn", "debootstrap"):
        if not shutil.which(tool):
            return f"{tool} is not here"
    if not (TOP / "build/citadel").exists():
        return "build/citadel is not built"
    return None


def image(suite, name=None, more=()):
    """The untouched root of a release, made when it is not there yet; name, more: with these packages, too."""
    CACHE.mkdir(parents=True, exist_ok=True)
    name = name or suite
    packages = [*PACKAGES[suite], *PACKAGES_OF_ALL, *more]
    root, made_of = CACHE / name, CACHE / f"{name}.packages"
    with open(CACHE / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if made_of.exists() and made_of.read_text() == "\n".join(packages):
            return root
        shutil.rmtree(root, ignore_errors=True)
        include = ",".join(packages)
        command = ["debootstrap", "--variant=minbase", f"--include={include}", suite, root]
        with open(CACHE / f"{name}.log", "w") as log:
            if subprocess.run(command, stdout=log, stderr=log).returncode != 0:
                pytest.skip(f"debootstrap of {name} failed; {log.name} says why")
        shutil.rmtree(root / "var/cache/apt", ignore_errors=True)
        made_of.write_text("\n".join(packages))
    return root


def try_to_run(root):
    """A container may not be possible inside another."""
    command = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "-D", root, "true"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"systemd-nspawn is not possible here: {done.stderr.strip()[-200:]}")


def install(root):
    """What `make install DESTDIR=ROOT` does, with what is built; where its programs are."""
    before = set(root.glob("usr*/**/bin/citadel"))
    command = ["meson", "install", "--quiet", "--no-rebuild", "-C", TOP / "build", "--destdir", root]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    (program,) = set(root.glob("usr*/**/bin/citadel")) - before
    return f"/{program.relative_to(root).parent}"


def sweep():
    """Removes what tests left that were killed themselves."""
    for left in (CACHE / "running").glob("citadel-*"):
        if not pathlib.Path(f"/proc/{left.name.rpartition('-')[2]}").exists():
            subprocess.run(["umount", "-l", left / "root"], stderr=subprocess.DEVNULL)
            shutil.rmtree(left, ignore_errors=True)


def place(name):
    """A directory for what runs under that name."""
    sweep()
    top = CACHE / "running" / f"citadel-{name}-{os.getpid()}"
    top.mkdir(parents=True)
    return top


def lay(base, top):
    """A root below top that is an image until something is written to it, with Citadel; and where that is."""
    root = top / "root"
    for part in ("upper", "work", "root"):
        (top / part).mkdir()
    layers = f"lowerdir={base},upperdir={top}/upper,workdir={top}/work"
    subprocess.run(["mount", "-t", "overlay", "-o", layers, "overlay", root], check=True)
    (root / "etc/machine-id").write_text("")
    return root, install(root)


class Host:
    """What can be asked of one that is booted, in whatever way it is: run() types a command there."""

    def sh(self, script, **more):
        return self.run("sh", "-euc", script, **more).stdout

    def show(self, unit, *names):
        """Properties of a unit, by name."""
        lines = self.run("systemctl", "show", unit, f"--property={','.join(names)}").stdout
        return dict(line.split("=", 1) for line in lines.splitlines())

    def journal(self, unit=None):
        command = ["journalctl", "--no-pager", "-o", "cat", "-n", "200"] + (["-u", unit] if unit else [])
        return self.run(*command, check=False).stdout

    def is_in_state(self, unit, state, sub=None, **more):
        """Waits for it."""

        def there():
            now = self.show(unit, "ActiveState", "SubState")
            return now["ActiveState"] == state and sub in (None, now["SubState"])

        return self.until(there, f"{unit} {state}", **more)

    def write(self, path, text, mode=0o644):
        """A file inside."""
        self.run("install", "-D", "-m", f"{mode:o}", "/dev/stdin", path, input=text)

    def write_json(self, path, what):
        self.write(path, json.dumps(what))  # YAML is a superset of it


class Machine(Host):
    """Booted, until the context is left."""

    def __init__(self, suite, name):
        base = image(suite)
        try_to_run(base)
        self.top = place(name)
        self.name = self.top.name
        self.leader = None
        self.root, self.bin = lay(base, self.top)

    def boot(self):
        """Waits until the machine says that it has come up."""
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notify.bind(str(self.top / "notify"))
        self.console = open(self.top / "console", "wb")
        self.process = subprocess.Popen(
            [
                *("systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit"),
                *("--private-network", "--notify-ready=yes", "--console=pipe", "--link-journal=no"),
                *("--resolv-conf=off", "--timezone=off", f"--machine={self.name}"),
                "--system-call-filter=pidfd_getfd",  # else nspawn withholds it from all inside
                *("-D", self.root),
            ],
            env={
                **os.environ,
                "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1",
                "NOTIFY_SOCKET": str(self.top / "notify"),
            },
            stdin=subprocess.DEVNULL,
            stdout=self.console,
            stderr=self.console,
        )
        try:
            self._hear(notify)
        finally:
            notify.close()
            (self.top / "notify").unlink()
        return self

    def _hear(self, notify):
        deadline = time.monotonic() + PATIENCE_S
        while True:
            ready, _, _ = select.select([notify], [], [], max(deadline - time.monotonic(), 0))
            said = (self.top / "console").read_text(errors="replace")[-2000:]
            assert ready and self.process.poll() is None, f"{self.name} does not come up:\n{said}"
            for line in notify.recv(4096).decode().splitlines():
                word, _, value = line.partition("=")
                if word == "X_NSPAWN_LEADER_PID":
                    self.leader = int(value)
                    self.init = os.pidfd_open(self.leader)
                elif (word, value) == ("READY", "1"):
                    return

    def run(self, *words, user=None, input=None, check=True, timeout=PATIENCE_S):
        """A command inside, to its end; check: its failure is ours."""
        command = ["nsenter", "-t", str(self.leader), "-a", "systemd-run", "--quiet", "--pipe", "--wait"]
        command += ["--collect", "--service-type=exec", "-E", "LC_ALL=C.UTF-8"]
        command += [f"--uid={user}"] if user else []
        done = subprocess.run(
            [*command, "--", *map(str, words)],
            input="" if input is None else input,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            timeout=timeout,
        )
        if check:
            said = f"{words}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
            assert done.returncode == 0, f"{said}\n{self.journal()}"
        return done

    def inside(self, *words):
        """A command inside that asks nothing of systemd to be run, not even a unit."""
        command = ["nsenter", "-t", str(self.leader), "-a", *map(str, words)]
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)

    def start(self, *words):
        """Likewise, and it goes on; its output is read by who started it."""
        command = ["nsenter", "-t", str(self.leader), "-a", *map(str, words)]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)

    def end(self, started):
        """Ends what goes on inside. Not its nsenter alone: what that leaves is a zombie whom nobody here reaps,
        and as long as there is one of its processes, the machine's init does not end."""
        children = pathlib.Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text()
        for pid in children.split():
            os.kill(int(pid), signal.SIGKILL)
        started.wait(timeout=PATIENCE_S)
        started.stdout.close()

    def until(self, happened, what, patience_s=PATIENCE_S):
        """Waits until a line of the journal comes after which happened() is true: nothing happens to
        a unit without one."""
        deadline = time.monotonic() + patience_s
        follow = subprocess.Popen(
            ["nsenter", "-t", str(self.leader), "-a", "journalctl", "-f", "-n", "0", "-o", "cat"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            while not (result := happened()):
                left = deadline - time.monotonic()
                assert left > 0, f"{what} has not happened:\n{self.journal()}"
                if select.select([follow.stdout], [], [], min(left, 1))[0]:
                    os.read(follow.stdout.fileno(), 65536)
            return result
        finally:
            self.end(follow)

    def reboot(self):
        """Off, in order, and on again; what is on the disk stays. Not `systemctl reboot`: at that nspawn begins
        to boot it by itself, and is in our way."""
        self.run("systemctl", "--no-block", "poweroff")
        self._wait()
        return self.boot()

    def cut_power(self):
        """Nothing inside gets a chance to end in order."""
        os.kill(self.leader, signal.SIGKILL)
        self._wait()
        return self

    def _wait(self):
        """Its init has ended, or will; what holds it has nothing more to do then."""
        with contextlib.closing(os.fdopen(self.init)):
            assert select.select([self.init], [], [], PATIENCE_S)[0], f"{self.name} does not end"
        self.process.kill()
        self.process.wait(timeout=PATIENCE_S)
        self.console.close()
        self.leader = None

    def finish(self):
        if self.leader:
            self.cut_power()
        subprocess.run(["umount", "-l", self.root], check=True)
        shutil.rmtree(self.top)

    def __enter__(self):
        try:
            return self.boot()
        except BaseException:
            self.finish()
            raise

    def __exit__(self, *_):
        self.finish()
