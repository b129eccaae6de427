"""TLS of the gateway, as curl and openssl meet it. Certificates are made for each run."""

import contextlib
import datetime
import json
import subprocess

import pytest

import front
from program import CITADEL, environment, run, run_json
from up import PATIENCE_S, free_ports

EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


def openssl(folder, *words, **more):
    return subprocess.run(
        ["openssl", *words], cwd=folder, capture_output=True, text=True, timeout=PATIENCE_S, **more
    )


def certify(folder, name, days=2):
    """NAME.ca, and NAME.pem with NAME.key that it has signed."""
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    for words in (
        ("req", "-x509", *EC, "-subj", f"/CN={name}", "-keyout", "ca.key", "-out", f"{name}.ca"),
        ("req", *EC, "-subj", "/CN=localhost", "-keyout", f"{name}.key", "-out", f"{name}.csr"),
        # A negative number of days makes one that has ended.
        ("x509", "-req", "-in", f"{name}.csr", "-CA", f"{name}.ca", "-CAkey", "ca.key", "-CAcreateserial")
        + ("-days", str(days), "-extfile", "names", "-out", f"{name}.pem"),
    ):
        done = openssl(folder, *words)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    certify(folder, "a")
    return certify(folder, "b")


def configure(folder, files, certificate="a.pem", key="a.key", client_ca=None):
    """A configuration, and the gateway's port."""
    gateway, monitor, model = free_ports(3)
    tls = {"certificate": str(files / certificate), "key": str(files / key)}
    if client_ca:
        tls["client_ca"] = str(files / client_ca)
    config = {
        "paths": {"run": str(folder / "run"), "state": str(folder / "state")},
        "models": {"m": {"engine": "sim", "port": model}},
        "gateway": {"port": gateway, "tls": tls},
        "monitor": {"port": monitor},
    }
    (folder / "citadel.yaml").write_text(json.dumps(config))
    return folder / "citadel.yaml", gateway


@contextlib.contextmanager
def started(folder, files, **more):
    config, port = configure(folder, files, **more)
    with front.started([CITADEL, "gateway", "-c", config], folder, port, environment()):
        yield port


def curl(files, url, *words):
    done = subprocess.run(
        ["curl", "-sS", "-w", "\n%{http_code} %{http_version}", *words, url],
        cwd=files, capture_output=True, text=True, timeout=PATIENCE_S,
    )  # fmt: skip
    return done.returncode, *done.stdout.rpartition("\n")[::2], done.stderr


def handshake(files, port, *words, say=""):
    done = openssl(files, "s_client", "-connect", f"127.0.0.1:{port}", "-CAfile", "a.ca", *words, input=say)
    return done.stdout + done.stderr


def test_curl_asks_by_https(tmp_path, files):
    with started(tmp_path, files) as port:
        for words in ((), ("--http2",), ("--tls-max", "1.2"), ("--tlsv1.3",)):
            code, body, told, error = curl(files, f"https://localhost:{port}/v1/models", "--cacert", "a.ca", *words)
            assert (code, told) == (0, "200 1.1"), error
            assert json.loads(body)["object"] == "list"
        assert curl(files, f"https://localhost:{port}/v1/models", "--cacert", "b.ca")[0] == 60


def test_plain_http_is_told_what_is_spoken(tmp_path, files):
    with started(tmp_path, files) as port:
        code, body, told, _ = curl(files, f"http://localhost:{port}/v1/models")
        assert (code, told) == (0, "400 1.1")
        assert "https://" in json.loads(body)["error"]["message"]


def test_clients_show_a_certificate_where_it_is_asked_for(tmp_path, files):
    with started(tmp_path, files, client_ca="b.ca") as port:
        url = f"https://localhost:{port}/v1/models"
        assert curl(files, url, "--cacert", "a.ca")[0] != 0
        assert curl(files, url, "--cacert", "a.ca", "--cert", "a.pem", "--key", "a.key")[0] != 0
        code, _, told, error = curl(files, url, "--cacert", "a.ca", "--cert", "b.pem", "--key", "b.key")
        assert (code, told) == (0, "200 1.1"), error


def test_what_is_not_offered(tmp_path, files):
    with started(tmp_path, files) as port:
        assert "no application protocol" in handshake(files, port, "-alpn", "h2")
        assert "ALPN protocol: http/1.1" in handshake(files, port, "-alpn", "h2,http/1.1")
        old = handshake(files, port, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0")
        assert "alert protocol version" in old or "unsupported protocol" in old
        assert "Cipher is (NONE)" in handshake(files, port, "-tls1_2", "-cipher", "AES128-SHA:AES256-GCM-SHA384")
        assert "no renegotiation" in handshake(files, port, "-tls1_2", "-legacy_renegotiation", say="R\n").lower()


def test_a_ticket_spares_the_next_handshake(tmp_path, files):
    with started(tmp_path, files) as port:
        ask = f"GET /v1/models HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n"
        for version in ("-tls1_2", "-tls1_3"):
            words = (version, "-ign_eof", "-sess_out", "ticket")
            assert "New, " in handshake(files, port, *words, say=ask)
            assert "Reused, " in handshake(files, port, version, "-ign_eof", "-sess_in", "ticket", say=ask)


@pytest.mark.parametrize(
    ("certificate", "key", "what"),
    [
        ("none.pem", "a.key", "the certificate: cannot read '{}/none.pem': No such file or directory"),
        ("a.key", "a.key", "{}/a.key is no certificate in PEM"),
        ("a.pem", "b.key", "the key {}/b.key is not that of the certificate {}/a.pem"),
    ],
)
def test_it_does_not_start_with_files_that_do_not_fit(tmp_path, files, certificate, key, what):
    config, _ = configure(tmp_path, files, certificate=certificate, key=key)
    what = what.replace("{}", str(files))
    done = run("gateway", "-c", config)
    assert done.returncode != 0
    assert what in done.stderr
    _, report = run_json("doctor", "-c", config)
    (found,) = [f for f in report["findings"] if f["check"] == "tls"]
    assert found["verdict"] == "failed" and what in found["found"]


def test_a_certificate_that_has_ended_or_will_soon(tmp_path, tmp_path_factory):
    for days, verdict, word in ((-1, "failed", "has ended"), (3, "failed", "ends soon"), (90, "ok", "ends on")):
        folder = certify(tmp_path_factory.mktemp("certificates"), "a", days)
        config, port = configure(tmp_path, folder)
        _, report = run_json("doctor", "-c", config)
        (found,) = [f for f in report["findings"] if f["check"] == "tls"]
        day = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=days)
        assert found["verdict"] == verdict
        assert word in found["found"] and f"{day:%Y-%m-%d}" in found["found"]
        with front.started([CITADEL, "gateway", "-c", config], tmp_path, port, environment()):
            pass
        assert ("has ended on" in (tmp_path / "log").read_text()) == (days < 0)


@pytest.mark.parametrize(
    ("host", "ca", "status"),
    [("localhost", "a.ca", 200), ("127.0.0.1", "a.ca", 200), ("localhost", "b.ca", 503)],
)
def test_another_gateway_is_asked_by_tls(tmp_path, files, host, ca, status):
    """Whose certificate is for its name, and signed by whom the configuration says."""
    far, near = tmp_path / "far", tmp_path / "near"
    far.mkdir()
    near.mkdir()
    with front.Recorder() as engine:
        config, port = configure(far, files)
        far_config = json.loads(config.read_text())
        far_config["models"]["m"] = {"port": engine.port}
        config.write_text(json.dumps(far_config))
        (own,) = free_ports(1)
        peer = {"url": f"https://{host}:{port}", "models": ["m"], "ca": str(files / ca)}
        near_config = {
            "paths": {"run": str(near / "run"), "state": str(near / "state")},
            "models": {"other": {"port": free_ports(1)[0]}},
            "gateway": {"port": own, "peers": {"far": peer}},
        }
        (near / "citadel.yaml").write_text(json.dumps(near_config))
        with (
            front.started([CITADEL, "gateway", "-c", config], far, port, environment()),
            front.started([CITADEL, "gateway", "-c", near / "citadel.yaml"], near, own, environment()),
        ):
            ask = ("-H", "Content-Type: application/json", "-d", '{"model":"m"}')
            code, body, told, _ = curl(files, f"http://127.0.0.1:{own}/v1/completions", *ask)
            assert (code, told) == (0, f"{status} 1.1"), body
            assert engine.reached == [b'POST /v1/completions {"model":"m"}'] * (status == 200)
