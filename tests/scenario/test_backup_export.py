"""`citadel backup export`: what other programs make of the archive."""

import hashlib
import os
import re
import signal
import subprocess
import tarfile

import pytest

from program import CITADEL, Terminal, environment, error_json
from test_backup import backup, backup_json, digest_of, image, sealed, settle, weights  # noqa: F401

LONG = "/".join(f"{i:02}-" + "n" * 57 for i in range(7))  # 426 bytes


def fill_more(model):
    """What a tar of old has no place for."""
    (model / LONG).parent.mkdir(parents=True)
    (model / LONG).write_text("far down")
    (model / ("x" * 120)).write_text("long")
    (model / "größe").write_text("non-ASCII")
    (model / os.fsdecode(b"\xff\xfe")).write_text("no letters at all")
    (model / "two\nlines").write_text("a newline")
    (model / "to-far").symlink_to(LONG)
    (model / "again").hardlink_to(model / LONG)
    with (model / "sparse").open("wb") as file:
        file.truncate(9 << 20)
        file.seek(5 << 20)
        file.write(b"middle")
    os.setxattr(model / "config.json", "user.origin", b"a\0b\n=%")
    os.setxattr(model / "config.json", "user.a=b%", b"odd")
    os.utime(model / "empty", ns=(1, -1_500_000_000))
    (model / "sub").chmod(0o2751)


@pytest.fixture
def saved(image):
    fill_more(image / "models/phi3")
    settle(image / "models")
    assert backup(image, "init").returncode == 0 and backup(image, "models").returncode == 0
    return image


def unpack(archive, to):
    to.mkdir()
    done = subprocess.run(["tar", "--zstd", "--xattrs", "-xpf", archive, "-C", to], capture_output=True, text=True)
    # of a time before 1970 it says what it thinks
    assert done.returncode == 0 and all("implausibly old" in line for line in done.stderr.splitlines()), done
    done = subprocess.run(["sha256sum", "-c", "--strict", "SHA256SUMS"], cwd=to, capture_output=True)
    assert done.returncode == 0, done
    return done.stdout.count(b": OK\n")


def damage(image):
    pack = max((image / "backup/packs").iterdir(), key=lambda p: p.stat().st_size)
    with pack.open("r+b") as file:
        file.seek(pack.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 4]))


def test_gnu_tar_and_sha256sum_take_it(saved):
    model = saved / "models/phi3"
    done = backup(saved, "export", "phi3", "--to", "phi3.tar.zst")
    assert done.returncode == 0, done
    assert re.fullmatch(r"15\.0 MiB in 10 files are in phi3\.tar\.zst, which takes \S+ MiB; in \S+\n", done.stdout), done
    assert unpack(saved / "phi3.tar.zst", saved / "back") == 10
    assert sorted(p.name for p in (saved / "back").iterdir()) == ["SHA256SUMS", "phi3"]
    assert digest_of(saved / "back/phi3") == digest_of(model)
    assert (saved / "back/phi3/again").stat().st_ino == (saved / "back/phi3" / LONG).stat().st_ino
    assert os.getxattr(saved / "back/phi3/config.json", "user.origin") == b"a\0b\n=%"
    assert os.getxattr(saved / "back/phi3/config.json", "user.a=b%") == b"odd"
    # as a restore
    assert backup(saved, "restore", "phi3", "--to", saved / "restored").returncode == 0
    assert digest_of(saved / "restored") == digest_of(model)


def test_python_takes_it(saved):
    assert backup(saved, "export", "phi3", "--to", "x.tar.zst").returncode == 0
    subprocess.run(["zstd", "-dq", "x.tar.zst"], cwd=saved, check=True)
    with tarfile.open(saved / "x.tar") as tar:
        members = {m.name: m for m in tar.getmembers()}
        sums = tar.extractfile("SHA256SUMS").read()
        read = {name: tar.extractfile(m).read() for name, m in members.items() if m.isfile()}
    model = saved / "models/phi3"
    want = {f"phi3/{p.relative_to(model)}" for p in model.rglob("*")}
    assert set(members) == want | {"phi3", "SHA256SUMS"} and list(members)[-1] == "SHA256SUMS"
    for name, content in read.items():
        if name != "SHA256SUMS":
            assert content == (saved / "models" / name).read_bytes()
            assert hashlib.sha256(content).hexdigest().encode() in sums
    assert members["phi3/again"].islnk() and members["phi3/again"].linkname == f"phi3/{LONG}" or (
        members[f"phi3/{LONG}"].islnk() and members[f"phi3/{LONG}"].linkname == "phi3/again")
    assert members["phi3/to-far"].linkname == LONG
    assert members["phi3/empty"].mtime == -1.5 and members["phi3/sub"].mode == 0o2751
    assert members["phi3/config.json"].mtime == pytest.approx(1600000000.123456789)


def test_it_goes_into_a_pipe(saved):
    assert backup(saved, "export", "phi3", "--to", "a.tar.zst").returncode == 0
    done = backup(saved, "export", "phi3", "--to", "-", text=False)
    assert done.returncode == 0 and done.stderr == b""
    (saved / "b.tar.zst").write_bytes(done.stdout)
    assert unpack(saved / "b.tar.zst", saved / "b") == 10
    assert error_json(backup(saved, "export", "phi3", "--to", "-", "--json"))["id"] == "cli.usage"
    # Nobody reads it to its end.
    done = subprocess.run(f"set -o pipefail; '{CITADEL}' backup export phi3 --to - --root . | head -c 100 | wc -c",
                          shell=True, executable="/bin/bash", cwd=saved, env=environment(), capture_output=True, text=True)
    assert done.returncode != 0 and done.stdout == "100\n" and "cannot write '-'" in done.stderr, done


def test_a_part_has_sums_of_its_own(saved):
    code, told = backup_json(saved, "export", "phi3", "--path", "sub", "--to", "sub.tar.zst")
    assert code == 0 and told["exported_files"] == 1 == told["total_files"], told
    assert told["archive_bytes"] == (saved / "sub.tar.zst").stat().st_size
    assert unpack(saved / "sub.tar.zst", saved / "back") == 1
    assert [p.name for p in (saved / "back/phi3").iterdir()] == ["sub"]
    error = error_json(backup(saved, "export", "phi3", "--path", "gone", "--json"))
    assert error["id"] == "backup.no-snapshot" and "'gone'" in error["message"]


def test_it_has_a_name_of_its_own_and_replaces_nothing_unasked(saved):
    name = backup_json(saved, "list")[1][0]["snapshot"]
    file = saved / f"phi3-{name[:12]}.tar.zst"
    done = backup(saved, "export", name[:8], "--dry-run")
    assert done.stdout == f"would export 15.0 MiB in 10 files, to {file.name}\n" and not file.exists()
    assert backup(saved, "export", name[:8]).returncode == 0 and file.stat().st_mode & 0o777 == 0o600
    before = file.stat().st_ino
    error = error_json(backup(saved, "export", "phi3", "--json"))
    assert error["id"] == "backup.target-there" and file.name in error["message"] and "--replace" in error["fix"]
    assert backup(saved, "export", "phi3", "--replace").returncode == 1  # nobody has said yes
    assert file.stat().st_ino == before
    assert backup(saved, "export", "phi3", "--replace", "-y").returncode == 0 and file.stat().st_ino != before
    assert unpack(file, saved / "back") == 10
    assert "no-such" in backup(saved, "export", "phi3", "--to", "no-such/x.tar.zst").stderr
    done = backup(saved, "export", "phi3", "--to", "models", "--replace", "-y")
    assert done.returncode == 64 and "'models'" in done.stderr


def test_damage_makes_no_archive(saved):
    damage(saved)
    error = error_json(backup(saved, "export", "phi3", "--to", "x.tar.zst", "--json"))
    assert error["id"].startswith("backup.") and "model.safetensors" in error["message"], error
    assert not list(saved.glob("*x.tar.zst*")) and not list(saved.glob(".x*"))
    done = backup(saved, "export", "phi3", "--to", "-", text=False)
    assert done.returncode == 1 and b"model.safetensors" in done.stderr
    assert subprocess.run(["zstd", "-t", "-q"], input=done.stdout, capture_output=True).returncode != 0
    assert subprocess.run(["tar", "--zstd", "-t"], input=done.stdout, capture_output=True).returncode != 0


def test_an_encrypted_repository_is_exported_in_clear(image, sealed):
    assert backup(image, "models").returncode == 0
    assert backup(image, "export", "phi3", "--to", "x.tar.zst").returncode == 0
    assert unpack(image / "x.tar.zst", image / "back") == 4
    assert digest_of(image / "back/phi3") == digest_of(image / "models/phi3")
    code, told = backup_json(image, "key", "add", "gpu2", "--only-adds", "--generate")
    (image / "password").write_text(told["key"] + "\n")
    error = error_json(backup(image, "export", "phi3", "--to", "y.tar.zst", "--json"))
    assert error["id"] == "backup.key-only-adds" and not (image / "y.tar.zst").exists()


@pytest.mark.parametrize("signo", [signal.SIGINT, signal.SIGTERM])
def test_one_that_is_stopped_leaves_nothing(image, signo):
    (image / "models/phi3/more.safetensors").write_bytes(weights(7, 60))
    assert backup(image, "init").returncode == 0 and backup(image, "models").returncode == 0
    process = subprocess.Popen([CITADEL, "backup", "export", "phi3", "--to", "x.tar.zst", "--root", image], cwd=image,
                               env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    draft = image / ".x.tar.zst.export"
    while not draft.exists():
        assert process.poll() is None
    process.send_signal(signo)
    out, err = process.communicate(timeout=60)
    assert process.returncode != 0, f"it was faster than the signal: {out}"
    assert "the export to x.tar.zst was stopped" in err, err
    assert not draft.exists() and not (image / "x.tar.zst").exists()
    assert not list((image / "backup/locks").iterdir())


# A sanitizer keeps what was freed: as much as the buffers, again and again.
KEEPS_LITTLE = "quarantine_size_mb=1:thread_local_quarantine_size_kb=64:allocator_release_to_os_interval_ms=50"


def test_memory_does_not_grow_with_a_file(image):
    """A file of 1 GiB, of which one block is stored."""
    with (image / "models/phi3/large").open("wb") as file:
        file.truncate(1 << 30)
    assert backup(image, "init").returncode == 0 and backup(image, "models").returncode == 0
    process = subprocess.Popen([CITADEL, "backup", "export", "phi3", "--to", "x.tar.zst", "--root", image], cwd=image,
                               env=environment(ASAN_OPTIONS=f"{os.environ.get('ASAN_OPTIONS', '')}:{KEEPS_LITTLE}"))
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0 and (image / "x.tar.zst").stat().st_size < 16 << 20
    assert usage.ru_maxrss < 900 << 10, usage  # in KiB, with sanitizers
