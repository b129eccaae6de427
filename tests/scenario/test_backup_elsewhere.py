"""Repositories on other hosts, by SFTP and by S3: all verbs, and what networks do."""

import os
import pathlib
import shutil
import signal
import subprocess
import time

import pytest
from elsewhere import S3, S3_KEY, S3_SECRET, Sftp
from test_backup import backup, backup_json, configure, digest_of, image, settle, weights  # noqa: F401

from program import CITADEL, environment, error_json


@pytest.fixture(params=[Sftp, S3], ids=["sftp", "s3"])
def there(request, image):  # noqa: F811
    place = request.param(image / "there")
    configure_there(image, place)
    yield place
    place.stop()


@pytest.fixture
def sftp(image):  # noqa: F811
    place = Sftp(image / "there")
    configure_there(image, place)
    yield place
    place.stop()


@pytest.fixture
def s3(image):  # noqa: F811
    place = S3(image / "there")
    configure_there(image, place)
    yield place
    place.stop()


def configure_there(image, place, **more):  # noqa: F811
    """Files of the configuration are below --root."""
    below = {name: value.removeprefix(str(image)) for name, value in place.config.items() if isinstance(value, str)}
    if "credentials" in place.config:
        below["credentials"] = {"file": place.config["credentials"]["file"].removeprefix(str(image))}
    configure(image, **{**below, "repository": place.config["repository"], **more})


def copies(image):  # noqa: F811
    return image / "var/lib/citadel/repositories"


def areas(keys):
    return {key.split("/")[0] for key in keys}


def packs(place):
    return {key: size for key, size in place.keys().items() if key.startswith("packs/")}


def locks(place):
    return {key for key in place.keys() if key.startswith("locks/") and ".draft-" not in key}


def test_models_go_there_and_come_back(image, there):  # noqa: F811
    error = error_json(backup(image, "list", "--json"))
    assert error["id"] == "backup.no-repository" and error["fix"] == "citadel backup init"
    done = backup(image, "init")
    assert done.returncode == 0 and there.config["repository"] in done.stdout, done
    assert error_json(backup(image, "init", "--json"))["id"] == "backup.repository-there"
    settle(image / "models")
    done = backup(image, "models")
    assert done.returncode == 0 and "6.00 MiB new" in done.stdout, done
    assert done.stderr == ""
    assert {"backup_metadata.json", "citadel-repository", "packs", "index", "sums", "snapshots"} == areas(there.keys())
    name = backup_json(image, "list")[1][0]["snapshot"]
    assert f"snapshot  {name}\n" in backup(image, "show", "phi3").stdout
    assert "all are whole" in backup(image, "verify", "--all").stdout
    for _ in range(2):
        done = backup(image, "restore", "phi3", "--to", image / "back")
        assert done.returncode == 0, done
        assert digest_of(image / "back") == digest_of(image / "models/phi3")
        shutil.rmtree(image / "back")
        shutil.rmtree(copies(image))  # they are copies, and nothing else


def test_a_second_backup_sends_nothing_again(image, there):  # noqa: F811
    assert backup(image, "init").returncode == 0
    settle(image / "models")
    assert backup(image, "models").returncode == 0
    before = packs(there)
    (model,) = backup_json(image, "models")[1]["models"]
    assert model["unchanged_files"] == 4 and model["new_bytes"] == 0 and packs(there) == before
    shutil.rmtree(copies(image))
    (model,) = backup_json(image, "models")[1]["models"]
    assert model["unchanged_files"] == 4 and packs(there) == before
    os.utime(image / "models/phi3/model.safetensors")  # is read again, and not stored
    (model,) = backup_json(image, "models")[1]["models"]
    assert model["unchanged_files"] == 3 and model["new_bytes"] == 0 and packs(there) == before


def test_a_flipped_bit_there_is_found_whatever_copies_say(image, there):  # noqa: F811
    assert backup(image, "init").returncode == 0 and backup(image, "models").returncode == 0
    for area in ("packs", "index", "snapshots"):
        key = next(key for key in there.keys() if key.startswith(area + "/"))
        there.flip(key)
        done = backup(image, "verify", "--all")
        assert done.returncode == 3 or done.returncode == 1, (key, done)
        assert key.split("/")[1][:12] in done.stdout + done.stderr, (key, done)
        there.flip(key)
        assert backup(image, "verify", "--all").returncode == 0
    there.flip(next(iter(packs(there))))
    done = backup(image, "restore", "phi3", "--to", image / "back")
    assert done.returncode != 0 and "packs/" in done.stderr


def test_parity_mends_what_lies_there(image, there):  # noqa: F811
    configure_there(image, there, parity="5%")
    assert backup(image, "init").returncode == 0 and backup(image, "models").returncode == 0
    there.flip(next(iter(packs(there))))
    assert backup(image, "verify", "--all").returncode == 3
    done = backup(image, "verify", "--all", "--repair")
    assert done.returncode == 0 and "mended" in done.stdout, done
    there.flip(next(key for key in there.keys() if key.startswith("index/")))  # is made anew, of the packs
    assert backup(image, "models").returncode == 0  # a copy is as good
    assert backup(image, "verify", "--all").returncode == 1
    assert backup(image, "verify", "--all", "--repair").returncode == 0
    assert backup(image, "verify", "--all").returncode == 0


def test_pins_deletions_and_pruning(image, there):  # noqa: F811
    configure_there(image, there, undelete="0s", models={"keep_daily": 1, "keep_weekly": 0, "keep_monthly": 0})
    assert backup(image, "init").returncode == 0 and backup(image, "models").returncode == 0
    first = backup_json(image, "list")[1][0]["snapshot"]
    old = {name for name, size in packs(there).items() if size > 1 << 20}  # small ones may go on as they are
    assert old
    (image / "models/phi3/model.safetensors").write_bytes(weights(77))
    assert backup(image, "models").returncode == 0
    assert backup(image, "pin", first[:12]).returncode == 0
    assert backup(image, "prune").returncode == 0
    assert f"snapshots/{first}" in there.keys() and old <= set(packs(there))
    assert backup(image, "unpin", first[:12]).returncode == 0
    for _ in range(3):
        done = backup(image, "prune")
        assert done.returncode == 0, done
    assert f"snapshots/{first}" not in there.keys() and not old & set(packs(there))
    assert not locks(there)
    assert "all are whole" in backup(image, "verify", "--all").stdout


def test_an_encrypted_repository(image, there):  # noqa: F811
    (image / "word").write_text("correct horse\n")
    (image / "word").chmod(0o600)
    configure_there(image, there, password={"file": "/word"})
    assert "recovery key" in backup(image, "init", "--encrypted").stdout
    assert backup(image, "models").returncode == 0
    assert backup(image, "key", "list").returncode == 0
    for path in copies(image).rglob("*"):
        assert not path.is_file() or b"phi3" not in path.read_bytes()
    shutil.rmtree(copies(image))
    done = backup(image, "restore", "phi3", "--to", image / "back")
    assert done.returncode == 0, done
    assert digest_of(image / "back") == digest_of(image / "models/phi3")
    assert "all are whole" in backup(image, "verify", "--all").stdout


def test_two_write_while_a_third_prunes(image, there):  # noqa: F811
    """Each with a state of its own, as on hosts of their own."""
    assert backup(image, "init").returncode == 0
    hosts = [image, image / "second", image / "third"]
    for host in hosts[1:]:
        for part in ("etc", "there", "models"):
            shutil.copytree(image / part, host / part, ignore=shutil.ignore_patterns("files"))
    for _ in range(3):
        for host in hosts[:2]:
            (host / "models/phi3/model.safetensors").write_bytes(weights(time.time_ns()))
        running = [
            subprocess.Popen([CITADEL, "backup", word, "--root", host], cwd=host, env=environment(),
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            for word, host in zip(["models", "models", "prune"], hosts)
        ]
        for p in running:
            said = p.communicate(timeout=120)[0]
            assert p.returncode == 0, said
    for host in hosts:
        assert len(backup_json(host, "list")[1]) >= 2
        assert "all are whole" in backup(host, "verify", "--all").stdout


def test_a_backup_that_was_killed_goes_on(image, there):  # noqa: F811
    """Wherever it ends, what has a name is whole, and is not sent again."""
    assert backup(image, "init").returncode == 0
    for i in range(4):
        (image / f"models/phi3/more-{i}.safetensors").write_bytes(weights(100 + i))
    settle(image / "models")
    for more in range(5):  # once so many more are there than when it began
        before = len(there.keys())
        p = subprocess.Popen([CITADEL, "backup", "models", "--root", image], cwd=image, env=environment(),
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while p.poll() is None and len(there.keys()) < before + more:
            pass
        p.kill()
        p.wait()
    done = backup(image, "models")
    assert done.returncode == 0, done
    assert not locks(there)
    assert "all are whole" in backup(image, "verify", "--all").stdout
    assert backup(image, "restore", "phi3", "--to", image / "back").returncode == 0
    assert digest_of(image / "back") == digest_of(image / "models/phi3")
    left = [p for p in copies(image).rglob(".draft-*")]
    assert left == []


def test_locks_there_tell_who_is_alive(image, there):  # noqa: F811
    assert backup(image, "init").returncode == 0
    for i in range(6):
        (image / f"models/phi3/more-{i}.safetensors").write_bytes(weights(200 + i))
    p = subprocess.Popen([CITADEL, "backup", "models", "--root", image], cwd=image, env=environment(),
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while not (its := locks(there)) and p.poll() is None:
        pass
    os.kill(p.pid, signal.SIGSTOP)
    assert its
    told = backup(image, "unlock").stdout
    assert str(p.pid) in told, told
    for key in its:
        there.age(key, 1900)
    assert backup(image, "unlock").returncode == 0
    assert not its & locks(there)
    os.kill(p.pid, signal.SIGCONT)
    said = p.communicate(timeout=60)[0]
    assert p.returncode == 75 and "lock" in said, said
    assert [key for key in there.keys() if key.startswith("snapshots/")] == []
    assert backup(image, "models").returncode == 0


def test_what_others_have_left_there_goes_with_a_pruning(image, there):  # noqa: F811
    assert backup(image, "init").returncode == 0 and backup(image, "models").returncode == 0
    there.leave("packs/.draft-0123456789abcdef", 7 * 86400)
    there.leave("packs/.draft-fedcba9876543210", 60)
    before = there.left()
    assert backup(image, "prune", "--dry-run").returncode == 0
    assert len(before) == 2 and there.left() == before
    assert backup(image, "prune").returncode == 0
    assert len(there.left()) == 1 and there.left() <= before
    assert "all are whole" in backup(image, "verify", "--all").stdout


def is_pending(pid, signo):
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return any(int(line.split()[1], 16) >> signo - 1 & 1 for line in lines if line.startswith(("ShdPnd", "SigPnd")))


def test_who_interrupts_twice_does_not_wait(image, s3):  # noqa: F811
    assert backup(image, "init").returncode == 0
    p = subprocess.Popen([CITADEL, "backup", "models", "--root", image], cwd=image, env=environment(),
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while not packs(s3) and p.poll() is None:
        pass
    s3.server.send_signal(signal.SIGSTOP)
    for _ in range(2):
        p.send_signal(signal.SIGINT)
        while is_pending(p.pid, signal.SIGINT):  # two at once would be one
            pass
    p.communicate(timeout=10)
    s3.server.send_signal(signal.SIGCONT)
    assert p.returncode == -signal.SIGINT
    assert backup(image, "models").returncode == 0
    assert "all are whole" in backup(image, "verify", "--all").stdout


# ---- what is wrong with the place ----


def test_what_is_wrong_is_said(image, there):  # noqa: F811
    there.stop()
    error = error_json(backup(image, "init", "--json"))
    assert error["id"] == "backup.remote-lost" and error["exit"] == 75 and "127.0.0.1" in error["message"], error


def test_a_host_that_is_not_known_is_not_spoken_to(image):  # noqa: F811
    place = Sftp(image / "there")
    try:
        (image / "there/known").write_text("")
        configure_there(image, place)
        error = error_json(backup(image, "init", "--json"))
        assert "Host key verification failed" in error["message"] and error["fix"].startswith("ssh -v "), error
        shutil.copy(image / "there/host", image / "there/user")
        (image / "there/known").write_text(f"[127.0.0.1]:{place.port} {(image / 'there/host.pub').read_text()}")
        error = error_json(backup(image, "init", "--json"))
        assert "Permission denied" in error["message"], error
        error = error_json(backup(image, "init", "--json", PATH="/nowhere"))
        assert "'ssh'" in error["message"] and error["fix"].endswith("openssh-client"), error
    finally:
        place.stop()


def test_connections_that_are_cut_are_made_anew(image, sftp):  # noqa: F811
    """What a server has heard before its connection was cut, it may still do: a lock may come back that was removed."""
    assert backup(image, "init").returncode == 0
    for i in range(4):
        (image / f"models/phi3/more-{i}.safetensors").write_bytes(weights(300 + i))
    cuts = 0
    for words in (["models"], ["verify", "--all"], ["restore", "phi3", "--to", image / "back"]):
        before, until = locks(sftp), cuts + 6
        p = subprocess.Popen([CITADEL, "backup", *words, "--root", image], cwd=image, env=environment(),
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        while p.poll() is None and cuts < until:
            if locks(sftp) - before:  # it was reached
                cuts += sftp.cut()
        said = p.communicate(timeout=60)[0]
        assert p.returncode == 0, said
    assert cuts >= 3
    assert digest_of(image / "back") == digest_of(image / "models/phi3")
    assert backup(image, "models").returncode == 0 and not locks(sftp)  # dead ones are removed


def test_a_host_that_takes_one_connection_will_do(image, sftp):  # noqa: F811
    (image / "bin").mkdir()
    (image / "bin/ssh").write_text(
        "#!/bin/bash\n"
        f"exec 9> {image}/bin/slot\n"
        'flock -n 9 && { /usr/bin/ssh "$@" 9>&-; exit; }\n'
        f"echo refused >> {image}/bin/refused\n"
        "echo 'Too many connections' >&2\n"
        "exit 255\n")
    (image / "bin/ssh").chmod(0o755)
    path = {"PATH": f"{image}/bin:{os.environ['PATH']}"}
    assert backup(image, "init", **path).returncode == 0
    for i in range(4):
        (image / f"models/phi3/more-{i}.safetensors").write_bytes(weights(400 + i))
    assert backup(image, "models", **path).returncode == 0
    done = backup(image, "restore", "phi3", "--to", image / "back", **path)
    assert done.returncode == 0, done
    assert digest_of(image / "back") == digest_of(image / "models/phi3")
    assert 1 <= len((image / "bin/refused").read_text().splitlines()) <= 4  # once is enough


def test_a_full_disk_there_is_told_as_that(image, sftp):  # noqa: F811
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", sftp.files]).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        assert backup(image, "init").returncode == 0
        error = error_json(backup(image, "models", "--json"))
        assert error["id"] == "storage.full" and "has room for" in error["message"], error
        assert "citadel backup prune" in error["fix"] and not sftp.left()
        assert "all are whole" in backup(image, "verify", "--all").stdout
        subprocess.run(["mount", "-o", "remount,size=30m", sftp.files], check=True)
        assert backup(image, "models").returncode == 0
    finally:
        subprocess.run(["umount", sftp.files], check=True)


def test_keys_of_s3_that_are_wrong(image, s3):  # noqa: F811
    (image / "there/credentials").write_text("AKIAEXAMPLE:wrong-secret\n")
    error = error_json(backup(image, "init", "--json"))
    assert "403" in error["message"] and "wrong-secret" not in str(error), error
    (image / "there/credentials").write_text("no colon here\n")
    error = error_json(backup(image, "init", "--json"))
    assert "KEY:SECRET" in error["message"] and "no colon here" not in str(error), error
    configure(image, repository=s3.config["repository"])
    error = error_json(backup(image, "init", "--json"))
    assert "backup.credentials is not set" in error["message"], error
    s3.config["repository"] = s3.config["repository"].replace("/bucket/", "/another/")
    (image / "there/credentials").write_text(f"{S3_KEY}:{S3_SECRET}\n")
    configure_there(image, s3)
    error = error_json(backup(image, "init", "--json"))
    assert "no bucket 'another'" in error["message"], error


@pytest.mark.parametrize("how", ["cut", "drop", "503", "slow", "late-error"])
def test_faults_of_a_bucket_cost_time_and_nothing_else(image, s3, how):  # noqa: F811
    assert backup(image, "init").returncode == 0
    for words in (["models"], ["verify", "--all"], ["restore", "phi3", "--to", image / "back"]):
        for _ in range(2 if how == "slow" else 5):
            s3.next("as-always", 3)
            s3.next(how)
        planned = int(s3.ask("GET", "/_planned"))
        done = backup(image, *words)
        assert int(s3.ask("POST", "/_calm")) <= planned - 4  # one was met
        if done.returncode:  # what is broken for good is told
            assert how == "late-error", done
            assert backup(image, *words).returncode == 0
    assert digest_of(image / "back") == digest_of(image / "models/phi3")
    assert "all are whole" in backup(image, "verify", "--all").stdout
