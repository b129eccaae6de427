"""`citadel doctor`: what is there and what is not, told with what mends it; within a limit of time."""

import contextlib
import http.server
import json
import os
import socket
import threading

import pytest

import machine
import program
from test_units_machine import deploy, stand_in
from up import free_ports

pytestmark = pytest.mark.xdist_group("machine")

SECRET = "d0ctor-s3cret"


def examine(directory, config, **env):
    (directory / "citadel.yaml").write_text(json.dumps(config))
    code, report = program.run_json("doctor", "-c", directory / "citadel.yaml", **env)
    assert code == (0 if report["ok"] else 3)
    return report["findings"]


def of(findings, check, subject=""):
    (found,) = [f for f in findings if f["check"] == check and f["subject"] == subject]
    return found


def verdict(findings, check, subject=""):
    return of(findings, check, subject)["verdict"]


def simulated(**more):
    gateway, monitor, model = free_ports(3)
    return {
        "gateway": {"port": gateway, "listen": ["127.0.0.1"]},
        "monitor": {"port": monitor, "listen": ["127.0.0.1"]},
        "models": {"m": {"engine": "sim", "port": model}},
        **more,
    }


@contextlib.contextmanager
def prometheus(status):
    """Answers with this status, None never; what it was sent."""
    got = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.answer(b"")

        def do_POST(self):
            self.answer(self.rfile.read(int(self.headers["Content-Length"])))

        def answer(self, body):
            got.append((self.command, self.path, dict(self.headers), body))
            if status is None:
                hangs.wait()
                return
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    hangs = threading.Event()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1], got
    finally:
        hangs.set()
        server.shutdown()
        server.server_close()


def watched(port, **more):
    return simulated(
        devops={
            "address": "127.0.0.1",
            "prometheus": {"port": port, "remote_write": True, **more},
            "grafana": {"url": f"http://127.0.0.1:{port}"},
            "alertmanager": {"enabled": False},
        }
    )


@pytest.mark.parametrize("status, want", [(204, "ok"), (404, "failed"), (401, "failed"), (500, "failed")])
def test_prometheus_is_asked_whether_it_takes_samples(tmp_path, status, want):
    with prometheus(status) as (port, got):
        findings = examine(tmp_path, watched(port))
    assert verdict(findings, "remote-write") == want
    (sent,) = [g for g in got if g[0] == "POST"]
    # Nothing, in snappy: a length of 0.
    assert (sent[1], sent[3]) == ("/api/v1/write", b"\0")
    if status == 404:
        assert "--web.enable-remote-write-receiver" in of(findings, "remote-write")["remedy"]


@pytest.mark.parametrize(
    "user, want", [({"user": "u"}, "Basic dTpkMGN0b3ItczNjcmV0"), ({}, f"Bearer {SECRET}")]
)
def test_its_password_is_used_and_not_told(tmp_path, user, want):
    (tmp_path / "password").write_text(SECRET + "\n")
    with prometheus(204) as (port, got):
        findings = examine(tmp_path, watched(port, password={"file": str(tmp_path / "password")}, **user))
    assert [g[2]["Authorization"] for g in got if g[0] == "POST"] == [want]
    assert SECRET not in json.dumps(findings)
    assert verdict(findings, "secrets", "devops.prometheus.password") == "ok"


def test_one_that_never_answers_is_not_waited_for(tmp_path):
    with prometheus(None) as (port, _):
        findings = examine(tmp_path, watched(port))
    assert verdict(findings, "dev-ops", "prometheus") == "failed"
    assert verdict(findings, "remote-write") == "failed"


def test_a_port_of_somebody_else(tmp_path):
    config = simulated()
    port = config["models"]["m"]["port"]
    with socket.create_server(("127.0.0.1", port)):
        found = of(examine(tmp_path, config), "ports", f"{port} (m)")
    assert found["verdict"] == "failed" and found["required"]
    assert f"process {os.getpid()}" in found["found"] or os.geteuid() != 0
    assert found["remedy"] == f"ss -ltnp 'sport = :{port}'"


def test_what_is_not_asked_for_is_not_needed(tmp_path):
    findings = examine(tmp_path, simulated())
    for check in ("driver", "vllm", "llama-server", "secrets", "dev-ops", "remote-write", "address"):
        assert verdict(findings, check) == "not-needed", check
    assert verdict(findings, "models", "m") == "ok"


@pytest.mark.parametrize(
    "release, insists, want", [("0.11.0", False, "failed"), ("0.11.0", True, "ok"), ("0.26.0", False, "ok")]
)
def test_a_release_that_no_model_is_started_with(tmp_path, release, insists, want):
    (tmp_path / f"env/lib/python3.12/site-packages/vllm-{release}.dist-info").mkdir(parents=True)
    models = {"m": {"path": "/gone", "allow_insecure_version": insists}}
    found = of(examine(tmp_path, simulated(paths={"vllm_env": str(tmp_path / "env")}, models=models)), "vllm")
    assert (found["verdict"], found["required"]) == (want, True)
    assert want == "ok" or found["remedy"].startswith("install vLLM ")


def test_no_model_at_all_is_an_error_some_missing_a_warning(tmp_path):
    some = examine(tmp_path, simulated(models={"m": {"engine": "sim"}, "gone": {"path": "/gone"}}))
    assert (of(some, "models", "gone")["required"], verdict(some, "models", "gone")) == (False, "failed")
    assert (verdict(some, "models"), of(some, "models")["found"]) == ("ok", "1 of 2 can be served")
    none = examine(tmp_path, simulated(models={"gone": {"path": "/gone"}}))
    assert (of(none, "models")["required"], verdict(none, "models")) == (True, "failed")


def test_an_address_that_this_host_has_not(tmp_path):
    assert verdict(examine(tmp_path, simulated(network={"address": "127.0.0.1"})), "address", "127.0.0.1") == "ok"
    found = of(examine(tmp_path, simulated(network={"address": "203.0.113.9"})), "address", "203.0.113.9")
    assert found["verdict"] == "failed"


# ---- real systemd ----


@pytest.fixture(scope="module", params=machine.SUITES)
def here(request):
    if why := machine.why_not():
        pytest.skip(why)
    with machine.Machine(request.param, "doctor") as booted:
        stand_in(booted, "storage", "/bin/true")
        booted.run("systemd-sysusers")
        booted.run("systemd-tmpfiles", "--create")
        booted.write_json("/etc/citadel/citadel.yaml", CONFIG)
        deploy(booted, 1, CONFIG)
        yield booted


CONFIG = {
    "storage": {"require_mounts": False, "minimum_free": "1MiB"},
    "gateway": {"enabled": False},
    "monitor": {"enabled": False},
    "models": {"m": {"engine": "sim", "port": 12000}},
}


def wrong(here):
    done = here.run(f"{here.bin}/citadel", "doctor", "--json", check=False)
    report = json.loads(done.stdout)
    assert done.returncode == (0 if report["ok"] else 3)
    return {
        (f["check"], f["subject"]): f
        for f in report["findings"]
        if f["required"] and f["verdict"] not in ("ok", "not-needed")
    }


def test_what_it_says_mends_it(here):
    found = wrong(here)
    assert set(found) == {("storage", "model storage"), ("storage", "directories")}
    assert {f["remedy"] for f in found.values()} == {"citadel storage setup"}
    here.run(f"{here.bin}/citadel", "storage", "setup")
    assert wrong(here) == {}


def test_ports_that_citadel_uses_itself_are_well(here):
    here.run(f"{here.bin}/citadel", "storage", "setup")
    here.run("systemctl", "start", "citadel-m")
    done = here.run(f"{here.bin}/citadel", "doctor")
    assert "ports 12000 (m): in use by Citadel itself" in done.stdout
    here.run("systemctl", "stop", "citadel-m")


def test_an_account_that_is_gone(here):
    here.sh("sed -i.kept /^citadel:/d /etc/passwd")
    found = wrong(here)
    here.run("mv", "/etc/passwd.kept", "/etc/passwd")
    assert "citadel" in found["storage", "account"]["found"]
