"""TLS with real programs on the other side: OpenSSL, Python's smtplib, swaks, msmtp, and Postfix in both directions."""

from __future__ import annotations

import os
import signal
import smtplib
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.relaying import literal
from support.certificates import Certificate, certificate
from support.messages import Message, MessageMaker
from support.needs import needs, needs_root, program
from support.postfix import Postfix, receiving, relaying_to
from support.server import Server
from support.waiting import wait_until

SENDER, ALICE, NAME = "load@client.example", "alice@example.com", "mx.example.com"
TLS = """\
[tls]
certificates = [{{ certificate = "{folder}/fullchain.pem", key = "{folder}/privkey.pem" }}]
refresh = "1s"
{more}
[[listener]]
name = "implicit"
address = "127.0.0.1:0"
tls = "implicit"

[[listener]]
name = "strict"
address = "127.0.0.1:0"
tls = "require"
"""


def put(folder: Path, own: Certificate) -> None:
    """Writes certificate and key where the configuration has them."""
    (folder / "privkey.pem").write_bytes(own.key.read_bytes())
    (folder / "fullchain.pem").write_bytes(own.certificate.read_bytes())


def made(folder: Path, more: str = "", **given: int) -> Server:
    """A server with a certificate, not started yet."""
    folder.mkdir()
    put(folder, certificate(NAME))
    return Server(folder, more=TLS.format(folder=folder, more=more), **given)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with made(tmp_path_factory.mktemp("tls") / "server") as running:
        yield running


@pytest.fixture
def message() -> Message:
    return MessageMaker(8000).make()


def trusting(name: str = NAME) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate(name).certificate))


def arrived(server: Server, message: Message) -> str:
    """The fields that were put before a message."""
    server.mailboxes.wait_for({message.token})
    (copy,) = server.mailboxes.copies[message.token]
    data = copy.path.read_bytes()
    assert data.endswith(message.content), "content must be exact to the byte"
    return data.removesuffix(message.content).decode()


def test_smtplib_sends_through_starttls(server: Server, message: Message) -> None:
    with smtplib.SMTP(*server.address, timeout=20) as client:
        client._host = NAME  # type: ignore[attr-defined]  # what it checks the certificate against, and sends as SNI
        client.starttls(context=trusting())
        client.sendmail(SENDER, [ALICE], message.content)
    head = arrived(server, message)
    assert "with ESMTPS id" in head
    assert "(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits))" in head


def _s_client(address: tuple[str, int], said: str, *options: str) -> str:
    command = [program("openssl") or "", "s_client", "-connect", f"{address[0]}:{address[1]}", "-servername", NAME, "-ign_eof", *options]
    command += ["-CAfile", str(certificate(NAME).certificate), "-verify_return_error", "-crlf"]
    done = subprocess.run(command, input=said.encode(), capture_output=True, timeout=30, check=False)
    return (done.stdout + done.stderr).decode(errors="replace")


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl_talks_through_starttls(server: Server, version: str) -> None:
    needs("openssl")
    said = _s_client(server.address, "EHLO client.example\nQUIT\n", "-starttls", "smtp", version)
    assert "Verify return code: 0 (ok)" in said
    assert "221 2.0.0 Bye" in said
    assert "250-STARTTLS" not in said.partition("---\nSSL")[2]


def test_openssl_talks_from_the_first_octet_and_agrees_on_smtp(server: Server) -> None:
    needs("openssl")
    said = _s_client(server.at("implicit"), "EHLO client.example\nQUIT\n", "-alpn", "h2,smtp")
    assert "ALPN protocol: smtp" in said
    assert "220 mx.example.com ESMTP" in said
    assert "221 2.0.0 Bye" in said


def test_openssl_that_wants_to_speak_http_is_turned_away(server: Server) -> None:
    needs("openssl")
    said = _s_client(server.at("implicit"), "", "-alpn", "h2,http/1.1")
    assert "no application protocol" in said
    assert "220 " not in said
    wait_until(lambda: "the client wants to speak another protocol" in server.log_text(), "a line in the log")


@pytest.mark.parametrize("version", ["-ssl3", "-tls1", "-tls1_1"])
def test_openssl_with_old_versions_is_turned_away(server: Server, version: str) -> None:
    needs("openssl")
    said = _s_client(server.at("implicit"), "QUIT\n", version, "-cipher", "ALL:@SECLEVEL=0")
    assert "220 " not in said


def test_openssl_that_asks_for_new_keys_again_and_again_is_served(server: Server) -> None:
    """RFC 8446 §4.6.3; and in TLS 1.2 nobody may negotiate anew in the middle."""
    needs("openssl")
    command = [
        program("openssl") or "",
        "s_client",
        "-connect",
        "{}:{}".format(*server.at("implicit")),
        "-servername",
        NAME,
        "-tls1_3",
        "-crlf",
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        for _ in range(50):
            client.stdin.write(b"K\n")
            client.stdin.flush()
            time.sleep(0.005)
        client.stdin.write(b"NOOP\n")
        client.stdin.flush()
        said, deadline = b"", time.monotonic() + 20
        while b"250 2.0.0 Ok" not in said:
            assert time.monotonic() < deadline, said
            said += os.read(client.stdout.fileno(), 65536)
        client.stdin.close()
    assert said.count(b"KEYUPDATE") > 20, "the rest is written over by other output"


def test_a_renegotiation_is_refused(server: Server) -> None:
    needs("openssl")
    command = [program("openssl") or "", "s_client", "-connect", "{}:{}".format(*server.at("implicit")), "-tls1_2"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        said, deadline = b"", time.monotonic() + 20
        # The banner must not cross the wish on its way: the client would stumble over it.
        while b"220 " not in said:
            assert time.monotonic() < deadline, said
            said += os.read(client.stdout.fileno(), 65536)
        client.stdin.write(b"R\n")
        client.stdin.close()
        said += client.stdout.read()
    assert b"no renegotiation" in said


def test_swaks_sends_in_both_ways(server: Server) -> None:
    needs("swaks")
    for address, options in ((server.address, ["--tls"]), (server.at("implicit"), ["--tlsc"]), (server.at("strict"), ["--tls"])):
        maker = MessageMaker(2000).make()
        command = [program("swaks") or "", "--server", f"{address[0]}:{address[1]}", "--from", SENDER, "--to", ALICE, *options]
        done = subprocess.run([*command, "--data", "-"], input=maker.content, capture_output=True, timeout=30, check=False)
        assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
        assert "TLS started with cipher TLSv1.3" in done.stdout.decode()


def test_swaks_in_clear_gets_nothing_where_tls_is_required(server: Server) -> None:
    needs("swaks")
    address = server.at("strict")
    command = [program("swaks") or "", "--server", f"{address[0]}:{address[1]}", "--from", SENDER, "--to", ALICE]
    done = subprocess.run(command, capture_output=True, timeout=30, check=False)
    assert done.returncode != 0
    assert "530 5.7.0 Must issue a STARTTLS command first" in done.stdout.decode()


@pytest.mark.parametrize("starttls", [True, False])
def test_msmtp_verifies_and_sends(server: Server, message: Message, starttls: bool) -> None:
    needs("msmtp")
    host, port = server.address if starttls else server.at("implicit")
    command = [program("msmtp") or "", f"--host={host}", f"--port={port}", f"--from={SENDER}", "--auth=off", "--tls=on"]
    command += [
        f"--tls-starttls={'on' if starttls else 'off'}",
        f"--tls-trust-file={certificate(NAME).certificate}",
        f"--tls-host-override={NAME}",
    ]
    done = subprocess.run([*command, ALICE], input=message.content.replace(b"\r\n", b"\n"), capture_output=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr.decode()
    server.mailboxes.wait_for({message.token})
    assert "with ESMTPS id" in server.mailboxes.copies[message.token][0].path.read_text()


@pytest.mark.root
def test_postfix_sends_to_us_with_tls(server: Server, message: Message) -> None:
    needs("postfix")
    needs_root("Postfix changes users")
    more = "smtp_tls_security_level = secure\nsmtp_tls_secure_cert_match = mx.example.com\n"
    more += f"smtp_tls_CAfile = {certificate(NAME).certificate}\nsmtp_tls_loglevel = 1\nlocal_header_rewrite_clients =\n"
    with Postfix(relaying_to(*server.at("strict")) + more) as postfix:
        with smtplib.SMTP(*postfix.address, timeout=20) as client:
            client.sendmail(SENDER, [ALICE], message.content)
        server.mailboxes.wait_for({message.token})
    assert "with ESMTPS id" in server.mailboxes.copies[message.token][0].path.read_text()


@pytest.mark.root
def test_postfix_takes_from_us_with_tls_verified_and_our_certificate_shown(tmp_path: Path, message: Message) -> None:
    needs("postfix")
    needs_root("Postfix changes users")
    own, ours = certificate("remote.example"), certificate("client.example")
    ours.certificate.parent.chmod(0o755)  # Postfix reads it as another user
    more = f"smtpd_tls_ask_ccert = yes\nsmtpd_tls_CAfile = {ours.certificate}\nsmtpd_tls_received_header = yes\n"
    with Postfix(receiving("remote.example", certificate=own) + more) as postfix:
        hop = literal(postfix.address)
        route = f'[route."remote.example"]\nnext_hop = "{hop}"\ntls = "verify"\ntls_minimum = "TLSv1.3"\n'
        route += f'tls_certificate = "{ours.certificate}"\ntls_key = "{ours.key}"\n'
        text = f'{route}[delivery]\nca_file = "{own.certificate}"\nown_addresses = []\n[relay]\nnetworks = ["127.0.0.1"]\n'
        with Server(tmp_path / "server", more=text) as server:
            with smtplib.SMTP(*server.address, timeout=20) as client:
                client.sendmail(SENDER, ["alice@remote.example"], message.content)
            postfix.mailboxes.wait_for({message.token})
        received = postfix.mailboxes.copies[message.token][0].path.read_text()
    assert "using TLSv1.3" in received
    assert 'Client CN "client.example"' in received
    assert "verified OK" in received


def test_a_renewed_certificate_is_served_without_a_restart_and_sessions_go_on(tmp_path: Path) -> None:
    """As certbot does it: new files in the place of the old ones, nobody is told."""
    folder = tmp_path / "server"
    with made(folder, workers=2) as server:
        with smtplib.SMTP(*server.address, timeout=20) as before:
            before._host = NAME  # type: ignore[attr-defined]
            before.starttls(context=trusting())
            put(folder, certificate("new.example.com"))
            wait_until(lambda: server.log_text().count("certificate taken up") >= 2, "both workers to take it up")
            assert before.noop()[0] == 250
            for _ in range(4):
                with smtplib.SMTP(*server.address, timeout=20) as after:
                    after._host = "new.example.com"  # type: ignore[attr-defined]
                    assert after.starttls(context=trusting("new.example.com"))[0] == 220
        (folder / "privkey.pem").write_text("broken")
        wait_until(lambda: "new certificate cannot be used, the old one stays" in server.log_text(), "a line in the log")
        with smtplib.SMTP(*server.address, timeout=20) as still:
            still._host = "new.example.com"  # type: ignore[attr-defined]
            assert still.starttls(context=trusting("new.example.com"))[0] == 220
        assert "certificate expires soon" in server.log_text(), "those of the tests hold for two days"


def test_a_reload_takes_up_other_certificates_and_refuses_broken_ones(tmp_path: Path) -> None:
    folder = tmp_path / "server"
    with made(folder) as server:
        other = certificate("other.example.com")
        more = TLS.replace("{folder}/fullchain.pem", str(other.certificate)).replace("{folder}/privkey.pem", str(other.key))
        server.configure(more.format(folder=folder, more=""))
        os.kill(server.supervisor, signal.SIGHUP)
        wait_until(lambda: '"reloaded"' in server.log_text(), "the reload")
        with smtplib.SMTP(*server.address, timeout=20) as client:
            client._host = "other.example.com"  # type: ignore[attr-defined]
            assert client.starttls(context=trusting("other.example.com"))[0] == 220
        server.configure(more.replace(str(other.key), str(certificate(NAME).key)).format(folder=folder, more=""))
        os.kill(server.supervisor, signal.SIGHUP)
        wait_until(lambda: "does not belong to the certificate" in server.log_text(), "the refusal")
        with smtplib.SMTP(*server.address, timeout=20) as client:
            client._host = "other.example.com"  # type: ignore[attr-defined]
            assert client.starttls(context=trusting("other.example.com"))[0] == 220


def test_a_server_without_its_certificate_does_not_start_and_says_why(tmp_path: Path) -> None:
    server = made(tmp_path / "server")
    (tmp_path / "server" / "privkey.pem").unlink()
    with pytest.raises(AssertionError, match=r"privkey\.pem cannot be read: No such file"):
        server.start()
    server.close()
