"""Runs the real binary: the one of CITADEL_BIN_DIR, else of build/."""

import fcntl
import json
import os
import pathlib
import pty
import re
import struct
import subprocess
import termios

TOP = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("CITADEL_BIN_DIR", TOP / "build")).resolve()
CITADEL = BIN / "citadel"

# What would make an answer depend on who runs the tests.
FOREIGN = ("CITADEL_CONFIG", "NO_COLOR", "COLUMNS", "TERM", "LC_ALL", "LC_CTYPE", "LANG")


def environment(**changes):
    env = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    env.update(LC_ALL="C.UTF-8", TERM="xterm")
    env.update(changes)
    return {name: value for name, value in env.items() if value is not None}


def run(*words, cwd=None, input=None, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **env):
    """citadel WORDS to its end; env: variables, None takes one away."""
    given = {"stdin": subprocess.DEVNULL} if input is None else {"input": input}
    return subprocess.run(
        [CITADEL, *words],
        cwd=cwd,
        env=environment(**env),
        stdout=stdout,
        stderr=stderr,
        text=text,
        timeout=60,
        **given,
    )


def run_json(*words, **more):
    """The same with --json; the exit code, and the result read as JSON (None when empty)."""
    done = run(*words, "--json", **more)
    return done.returncode, json.loads(done.stdout) if done.stdout else None


def error_json(done):
    """The error that a run with --json has told."""
    (line,) = done.stderr.splitlines()
    error = json.loads(line)
    problems = {"problems"} if error["id"] == "config.invalid" else set()
    assert set(error) - problems == {"id", "message", "fix", "exit"}
    assert error["exit"] == done.returncode
    return error


def talk(text, cwd, path):
    """Types what a document shows after "$ ", and compares what it shows as the answer. path: where
    commands are found first."""
    for part in re.split(r"^\$ ", text, flags=re.M)[1:]:
        command, _, want = part.partition("\n")
        done = subprocess.run(
            ["sh", "-c", command],
            cwd=cwd,
            env=environment(PATH=f"{path}:{os.environ['PATH']}"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        )
        assert done.stdout == want, f"{command} says:\n{done.stdout}"


class Terminal:
    """A command at a terminal, and what somebody does there."""

    def __init__(self, command, cwd=None, **env):
        self.ours, theirs = pty.openpty()
        self.shown = ""
        self.child = subprocess.Popen(
            list(map(str, command)), cwd=cwd, env=environment(**env), stdin=theirs, stdout=theirs, stderr=theirs
        )
        os.close(theirs)

    def read(self):
        """What is shown next; whether anything was."""
        try:
            piece = os.read(self.ours, 65536)
        except OSError:  # the terminal was closed
            piece = b""
        self.shown += piece.decode().replace("\r\n", "\n")
        return bool(piece)

    def wait_for(self, text):
        while text not in self.shown:
            assert self.read(), f"it ended without '{text}':\n{self.shown}"

    def answer(self, line):
        """The exit code, and all that is shown in the end."""
        os.write(self.ours, line.encode() + b"\n")
        while self.read():
            pass
        os.close(self.ours)
        return self.child.wait(timeout=60), self.shown


def run_on_terminal(*words, columns, cwd=None, **env):
    """The same on a terminal of that width; the exit code and all that it showed."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    child = subprocess.Popen(
        [CITADEL, *words], cwd=cwd, env=environment(**env), stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # the terminal was closed
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    return child.wait(timeout=60), shown.decode().replace("\r\n", "\n")
