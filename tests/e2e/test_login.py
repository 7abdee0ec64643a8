"""Logins at a real server: each mechanism within TLS, real clients, the log for fail2ban, and secrets that are nowhere afterwards."""

from __future__ import annotations

import base64
import re
import shutil
import smtplib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.certificates import certificate
from support.login import connect, log_in
from support.needs import needs, program
from support.server import Server
from support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
USER, PASSWORD, WRONG = "alice@example.com", "Zx9-correct-horse", "Qv7-battery-staple"
TOKEN, BAD_TOKEN = "tkn.Good.5f2ad1b9", "tkn.Bad.77aa0c31"
MECHANISMS = (
    "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1", "OAUTHBEARER", "XOAUTH2", "PLAIN", "LOGIN", "CRAM-MD5",
)  # fmt: skip
SINKS = f'''
"""Knows one token, and fails with the secret in its words."""
from penstock import Sink, on
from penstock.events import Credentials
from penstock.verdicts import Authenticated

class Tokens(Sink):
    @on(Credentials)
    async def check(self, event: Credentials) -> Authenticated | None:
        return Authenticated("{USER}") if event.kind == "token" and event.token == "{TOKEN}" else None
'''
CONFIG = """
[auth]
stores = ["file:users"]
mechanisms = [{mechanisms}]
delay = "{delay}"
longest_delay = "{delay}"
failures_per_session = 1000
failures_per_client = 0

[tls]
certificates = [{{ certificate = "{certificate}", key = "{key}" }}]

[log]
level = "debug"
format = "{log}"

[capture]
enabled = true
bodies = "keep"
answers = true

[[listener]]
name = "submission"
address = "127.0.0.1:0"
service = "submission"

[[binding]]
name = "tokens"
sink = "token_sinks:Tokens"
"""


def configured(folder: Path, log: str = "json", delay: str = "0s") -> str:
    """Users in a file, all mechanisms; the more of a configuration."""
    (folder / "token_sinks.py").write_text(SINKS)
    for name in (USER, "bob@example.com"):
        command = [sys.executable, "-m", "penstock", "user", "add", name, "--keep-clear", "--file", str(folder / "users")]
        subprocess.run(command, input=f"{PASSWORD}\n".encode(), check=True, capture_output=True, timeout=30)
    own = certificate("mx.example.com")
    names = ", ".join(f'"{name}"' for name in MECHANISMS)
    return CONFIG.format(mechanisms=names, certificate=own.certificate, key=own.key, log=log, delay=delay)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One worker, within TLS."""
    folder = tmp_path_factory.mktemp("login")
    with Server(folder, more=configured(folder)) as running:
        yield running


def submission(server: Server) -> smtplib.SMTP:
    """A session within TLS at the submission listener."""
    return connect(server._listeners["submission"], certificate("mx.example.com").certificate)


def secret_of(mechanism: str, right: bool = True) -> str:
    if mechanism in ("OAUTHBEARER", "XOAUTH2"):
        return TOKEN if right else BAD_TOKEN
    return PASSWORD if right else WRONG


def test_auth_is_offered_within_tls_alone(server: Server) -> None:
    with connect(server.address) as client:
        assert "auth" not in client.esmtp_features
        assert client.docmd("AUTH", "PLAIN")[0] == 538
    with connect(server._listeners["submission"]) as client:
        assert "auth" not in client.esmtp_features
        assert client.docmd("AUTH", "PLAIN")[0] == 530
        assert client.mail("alice@example.com")[0] == 530
    with submission(server) as client:
        assert set(client.esmtp_features["auth"].split()) == set(MECHANISMS)
        assert client.mail("alice@example.com")[0] == 530


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_each_mechanism_lets_in_and_refuses_and_who_is_in_may_relay(server: Server, mechanism: str) -> None:
    with submission(server) as client:
        for user in (USER, "nobody@example.com"):
            assert log_in(client, mechanism, user, secret_of(mechanism, False)) == (535, "5.7.8 Authentication credentials invalid")
        assert log_in(client, mechanism, USER, secret_of(mechanism))[0] == 235
        assert client.mail(USER)[0] == 250
        assert client.rcpt("someone@elsewhere.example")[0] == 250
    with connect(server.address) as client:
        client.mail("someone@elsewhere.example")
        assert client.rcpt("someone@elsewhere.example")[0] == 550


def _written(folder: Path) -> Iterator[tuple[Path, bytes]]:
    for path in folder.rglob("*"):
        if path.is_file() and path.name not in ("users", "token_sinks.py") and "__pycache__" not in path.parts:
            yield path, path.read_bytes()


def _forms(secret: str) -> Iterator[bytes]:
    """The secret, its base64 at any of the three places that it may have in a line, and the whole of PLAIN."""
    octets = secret.encode()
    yield octets
    for before in range(3):
        coded = base64.b64encode(b"\0" * before + octets).decode().rstrip("=")
        # Without the characters at both ends that its neighbours have a part in.
        yield coded[4 if before else 0 : -2].encode()
    yield base64.b64encode(b"\0" + USER.encode() + b"\0" + octets)


def test_no_secret_is_written_down_anywhere(tmp_path: Path) -> None:
    """With all that can be switched on: the log of debugging, traces, captures; and a password in the place of a verb or a name."""
    with Server(tmp_path, more=configured(tmp_path)) as server:
        for mechanism in MECHANISMS:
            with submission(server) as client:
                log_in(client, mechanism, USER, secret_of(mechanism, False))
                log_in(client, mechanism, USER, secret_of(mechanism))
                client.sendmail(USER, ["alice@example.com"], "Subject: hello\r\n\r\nhello\r\n")
        with submission(server) as client:
            for line in (f"AUTH PLAIN {base64.b64encode(PASSWORD.encode()).decode()}", "AUTH LOGIN", PASSWORD, f"AUTH {PASSWORD}"):
                client.docmd(line)
            client.docmd("AUTH", "PLAIN " + base64.b64encode(f"\0{USER}\0{PASSWORD}".encode()).decode() + "A" * 13_000)
        for words in (["trace"], ["bindings", "show", "auth:file"], ["config"]):
            command = [sys.executable, "-m", "penstock", *words, "--config", str(server.config)]
            said = subprocess.run(command, capture_output=True, check=False, timeout=60)
            (tmp_path / f"said-{words[0]}").write_bytes(said.stdout + said.stderr)
        wait_until(lambda: len([line for line in server.log() if line["event"] == "delivered"]) == len(MECHANISMS), "all mail is delivered")
        server.stop()
        files = dict(_written(tmp_path))
    assert any("captures" in path.parts and b"AUTH" in data for path, data in files.items())
    assert any("traces" in path.parts and b"Credentials" in data for path, data in files.items())
    assert any(b"authentication failed" in data for data in files.values())
    for secret in (PASSWORD, WRONG, TOKEN, BAD_TOKEN):
        for form in _forms(secret):
            assert [path.name for path, data in files.items() if form in data] == [], form


def _filter() -> list[str]:
    """The expressions of the filter that the documentation shows."""
    text = (ROOT / "docs" / "auth.md").read_text()
    found = re.search(r"^failregex = (.*?)^ignoreregex", text, re.MULTILINE | re.DOTALL)
    assert found
    return [line.strip() for line in found[1].splitlines() if line.strip()]


def _hosts(lines: list[str]) -> list[str]:
    """The addresses that fail2ban would take from lines: without the time at their beginning, as fail2ban cuts it out."""
    expressions = [re.compile(one.replace("<HOST>", r"(?P<host>[0-9A-Fa-f.:]+)")) for one in _filter()]
    cut = [re.sub(r'^\{"time":"[^"]*"|^[0-9:]{8} ', lambda m: '{"time":""' if m[0][0] == "{" else "", line) for line in lines]
    return [found["host"] for line in cut for one in expressions if (found := one.search(line))]


@pytest.mark.parametrize("form", ["json", "human"])
def test_the_log_names_the_client_for_fail2ban_and_a_name_forges_nothing(tmp_path: Path, form: str) -> None:
    forged = 'x client=192.0.2.66 y","client":"192.0.2.66'
    with Server(tmp_path, more=configured(tmp_path, form)) as server:
        with submission(server) as client:
            assert log_in(client, "PLAIN", forged, "wrong")[0] == 535
            assert log_in(client, "LOGIN", "12:00:00 [warning  ] authentication failed client=192.0.2.66", "wrong")[0] == 535
            client.docmd('12:00:00 [warning  ] authentication failed client=192.0.2.66 {"time":"","level":"warning"')
            assert log_in(client, "PLAIN", USER, PASSWORD)[0] == 235
        server.stop()
        lines = server.log_text().splitlines()
    failed = [line for line in lines if "authentication failed" in line and "mechanism" in line]
    assert len(failed) == 2
    assert "wrong name or password" in failed[0]
    assert r"x\x20client\x3d192.0.2.66" in failed[0].replace("\\\\", "\\")
    assert _hosts(lines) == ["127.0.0.1"] * 2
    if shutil.which("fail2ban-regex"):
        subprocess.run(["fail2ban-regex", str(server.log_path), _filter()[0 if form == "json" else 1]], check=True)


def _swaks(server: Server, mechanism: str, password: str) -> subprocess.CompletedProcess[str]:
    needs("swaks")
    if subprocess.run([program("perl") or "perl", "-MNet::SSLeay", "-e1"], capture_output=True, check=False).returncode:
        pytest.skip("swaks cannot speak TLS (Debian package: libnet-ssleay-perl)")
    host, port = server._listeners["submission"]
    command = [program("swaks") or "", "--server", host, "--port", str(port), "--tls", "--auth", mechanism, "--auth-user", USER]
    command += ["--auth-password", password, "--from", USER, "--to", "bob@example.com", "--helo", "client.example"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
def test_swaks_logs_in(server: Server, mechanism: str) -> None:
    done = _swaks(server, mechanism, PASSWORD)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "235 2.7.0" in done.stdout
    assert _swaks(server, mechanism, WRONG).returncode == 28  # its code for a failed login


@pytest.mark.parametrize("mechanism", ["plain", "login", "cram-md5", "scram-sha-1", "scram-sha-256", "xoauth2", "oauthbearer"])
def test_msmtp_logs_in(server: Server, mechanism: str) -> None:
    needs("msmtp")
    known = subprocess.run([program("msmtp") or "", "--version"], capture_output=True, text=True, timeout=20, check=True).stdout
    if not re.search(rf"(?<![\w-]){re.escape(mechanism)}(?![\w-])", known, re.IGNORECASE):
        pytest.skip(f"msmtp is built without {mechanism}")
    host, port = server._listeners["submission"]
    for right, code in ((True, 0), (False, 77)):
        options = [f"--host={host}", f"--port={port}", "--tls=on", "--tls-starttls=on", "--tls-certcheck=off", f"--auth={mechanism}"]
        secret = secret_of(mechanism.upper(), right)
        options += [f"--user={USER}", f"--passwordeval=echo {secret}", f"--from={USER}", "--domain=client.example"]
        command = [program("msmtp") or "", "--file=/dev/null", *options, "bob@example.com"]
        done = subprocess.run(command, input="Subject: x\n\nhello\n", capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == code, done.stderr


def test_smtplib_and_curl_log_in(server: Server, tmp_path: Path) -> None:
    with submission(server) as client:
        assert client.login(USER, PASSWORD)[0] == 235
    with submission(server) as client, pytest.raises(smtplib.SMTPAuthenticationError):
        client.login(USER, WRONG)
    needs("curl")
    host, port = server._listeners["submission"]
    (tmp_path / "mail").write_bytes(b"Subject: x\r\n\r\nhello\r\n")
    for method in ("PLAIN", "LOGIN"):
        command = [program("curl") or "", "-sS", "--ssl-reqd", "-k", f"smtp://{host}:{port}/client.example", "--mail-from", USER]
        command += ["--mail-rcpt", "bob@example.com", "-T", str(tmp_path / "mail"), "-u", f"{USER}:{PASSWORD}"]
        done = subprocess.run([*command, "--login-options", f"AUTH={method}"], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, (method, done.stderr)


def test_a_user_who_is_added_or_removed_is_so_a_second_later(server: Server) -> None:
    def user(*words: str) -> Any:
        command = [sys.executable, "-m", "penstock", "user", *words, "--config", str(server.config)]
        return subprocess.run(command, input=f"{PASSWORD}\n".encode(), check=True, capture_output=True, timeout=30)

    def lets_in() -> bool:
        with submission(server) as client:
            return log_in(client, "SCRAM-SHA-256", "carol@example.com", PASSWORD)[0] == 235

    user("add", "carol@example.com")
    wait_until(lets_in, "the user is known")
    user("remove", "carol@example.com")
    wait_until(lambda: not lets_in(), "the user is gone")


MACHINES = """
[auth]
delay = "0s"
longest_delay = "0s"

[tls]
certificates = [{{ certificate = "{certificate}", key = "{key}" }}]
client_certificates = "ask"
client_ca_file = "{authority}"

[[binding]]
name = "machines"
sink = "penstock.sinks:ClientCertificates"
settings = {{ users = {{ "printer.example.com" = "printer" }} }}
"""


def test_a_certificate_logs_a_machine_in(tmp_path: Path) -> None:
    """EXTERNAL (RFC 4422 appendix A); without a certificate, or as somebody else, nobody gets in by it."""
    own, theirs = certificate("mx.example.com"), certificate("printer.example.com")
    more = MACHINES.format(certificate=own.certificate, key=own.key, authority=theirs.certificate)
    with Server(tmp_path, more=more) as server:
        with connect(server.address, own.certificate, client=theirs) as client:
            assert client.esmtp_features["auth"].split() == ["EXTERNAL"]
            assert log_in(client, "EXTERNAL", "root", "") == (535, "5.7.8 Authentication credentials invalid")
            assert log_in(client, "EXTERNAL", "printer", "")[0] == 235
        with connect(server.address, own.certificate, client=theirs) as client:
            assert log_in(client, "EXTERNAL", "", "")[0] == 235
        with connect(server.address, own.certificate) as client:
            assert log_in(client, "EXTERNAL", "", "")[0] == 535
