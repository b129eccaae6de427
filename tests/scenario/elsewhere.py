"""Places for repositories on other hosts: OpenSSH's own server, and the S3 of tests/s3_server.py."""

import contextlib
import getpass
import os
import pathlib
import signal
import socket
import subprocess
import sys
import urllib.request

from program import TOP

S3_KEY, S3_SECRET = "AKIAEXAMPLE", "the/secret+of=tests"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Sftp:
    """sshd, which takes one key, and gives nothing but files."""

    def __init__(self, top):
        self.top = top
        self.files, self.were_cut = top / "files", set()
        self.files.mkdir(parents=True)
        for name in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", top / name], check=True)
        self.port = free_port()
        (top / "known").write_text(f"[127.0.0.1]:{self.port} {(top / 'host.pub').read_text()}")
        (top / "config").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {top}/host\nPidFile none\nUsePAM no\n"
            f"AuthorizedKeysFile {top}/user.pub\nStrictModes no\nPasswordAuthentication no\nMaxStartups 100\n"
            "PermitRootLogin yes\nSubsystem sftp internal-sftp\n")
        self.start()
        self.config = {
            "repository": f"sftp://{getpass.getuser()}@127.0.0.1:{self.port}{self.files}/a/b",
            "ssh_key": str(top / "user"),
            "ssh_known_hosts": str(top / "known"),
        }

    def start(self):
        pathlib.Path("/run/sshd").mkdir(exist_ok=True)
        self.server = subprocess.Popen(["/usr/sbin/sshd", "-D", "-e", "-f", self.top / "config"], stderr=subprocess.PIPE)
        assert b"listening" in self.server.stderr.readline()

    def stop(self):
        self.server.kill()
        self.server.wait()
        self.server.stderr.close()

    def cut(self):
        """All connections there are; how many were not cut before."""
        pid = self.server.pid
        found = set(map(int, pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split())) - self.were_cut
        for child in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        self.were_cut |= found
        return len(found)

    def keys(self):
        there = self.files / "a/b"
        found = {}
        for path in there.rglob("*"):
            with contextlib.suppress(FileNotFoundError):  # it has gone meanwhile
                if path.is_file():
                    found[str(path.relative_to(there))] = path.stat().st_size
        return found

    def flip(self, key):
        path = self.files / "a/b" / key
        body = bytearray(path.read_bytes())
        body[len(body) // 2] ^= 1
        path.write_bytes(body)

    def age(self, key, seconds):
        path = self.files / "a/b" / key
        then = path.stat().st_mtime - seconds
        os.utime(path, (then, then))

    def leave(self, key, age):
        """What somebody has begun to send so long ago."""
        (self.files / "a/b" / key).write_bytes(b"begun")
        self.age(key, age)

    def left(self):
        return {key for key in self.keys() if "/.draft-" in key}


class S3:
    def __init__(self, top):
        self.server = subprocess.Popen(
            [sys.executable, "-B", TOP / "tests/s3_server.py"], stdout=subprocess.PIPE, text=True)
        self.port = int(self.server.stdout.readline())
        top.mkdir(parents=True)
        (top / "credentials").write_text(f"{S3_KEY}:{S3_SECRET}\n")
        (top / "credentials").chmod(0o600)
        self.config = {
            "repository": f"s3+http://127.0.0.1:{self.port}/bucket/a/b?region=eu-test-1",
            "credentials": {"file": str(top / "credentials")},
        }

    def stop(self):
        self.server.kill()
        self.server.wait()
        self.server.stdout.close()

    def ask(self, method, target):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{target}", method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read().decode()

    def next(self, how, count=1):
        self.ask("POST", f"/_next/{how}/{count}")

    def keys(self):
        rows = (line.rsplit(" ", 1) for line in self.ask("GET", "/_keys").splitlines())
        return {key.removeprefix("a/b/"): int(size) for key, size in rows}

    def flip(self, key):
        self.ask("POST", f"/_flip/a/b/{key}")

    def age(self, key, seconds):
        self.ask("POST", f"/_age/{seconds}/a/b/{key}")

    def leave(self, key, age):
        self.ask("POST", f"/_upload/{age}/a/b/{key}")

    def left(self):
        return set(self.ask("GET", "/_uploads").split())
