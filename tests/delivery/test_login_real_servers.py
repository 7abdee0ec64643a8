"""Logging in to servers that nobody scripted: Postfix with Dovecot's auth server, which has mechanisms of its own making."""

from __future__ import annotations

import smtplib
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from delivery.stand import Stand, actions, hop_settings
from penstock.delivery.settings import Credentials, HopSettings, TlsSettings
from support.certificates import certificate
from support.dovecot import Dovecot
from support.needs import needs
from support.postfix import Postfix, receiving

USER, PASSWORD = "alice@example.com", "secret"
AUTH = """
auth_mechanisms = {mechanisms}
disable_plaintext_auth = no
service auth {{
  unix_listener {folder}/sasl.sock {{
    mode = 0666
  }}
}}
"""
MAIN = """\
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = {socket}
smtpd_sasl_security_options = noanonymous
smtpd_tls_auth_only = yes
mynetworks = 192.0.2.0/24
smtpd_client_restrictions = permit_sasl_authenticated, reject
"""


@contextmanager
def _postfix(mechanisms: str) -> Iterator[Postfix]:
    """A Postfix that takes mail from users alone."""
    needs("postfix", "dovecot")
    own = certificate("remote.example")
    dovecot = Dovecot()
    conf = dovecot.folder / "dovecot.conf"
    conf.write_text(conf.read_text() + AUTH.format(mechanisms=mechanisms, folder=dovecot.folder))
    with dovecot, Postfix(receiving("remote.example", certificate=own) + MAIN.format(socket=dovecot.folder / "sasl.sock")) as postfix:
        yield postfix


def _settings(credentials: Credentials) -> HopSettings:
    return hop_settings(tls=TlsSettings("verify", certificate("remote.example").certificate, "remote.example"), credentials=credentials)


@pytest.fixture(scope="module")
def postfix() -> Iterator[Postfix]:
    """One for all tests, with all mechanisms of passwords."""
    with _postfix("plain login cram-md5 scram-sha-1 scram-sha-256") as made:
        yield made


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "LOGIN", "CRAM-MD5"])
async def test_it_lets_us_in(postfix: Postfix, mechanism: str) -> None:
    """By each mechanism that it and we have."""
    settings = _settings(Credentials(USER, PASSWORD, mechanisms=(mechanism,)))
    async with Stand(f"[127.0.0.1]:{postfix.port}", settings=settings) as stand:
        results = await stand.deliver(stand.mail("a@remote.example"))
    assert actions(results) == {"a": "relayed"}, (stand.destination.failures, postfix.log()[-2000:])
    assert f"sasl_method={mechanism}, sasl_username={USER}" in postfix.log()


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "PLAIN"])
async def test_a_wrong_password_is_not_let_in(postfix: Postfix, mechanism: str) -> None:
    """The message waits, and the log says why."""
    settings = _settings(Credentials(USER, "wrong", mechanisms=(mechanism,)))
    async with Stand(f"[127.0.0.1]:{postfix.port}", settings=settings) as stand:
        assert actions(await stand.deliver(stand.mail("a@remote.example"))) == {"a": "deferred"}
        assert [line["mechanism"] for line in stand.log.lines if line["event"] == "login refused"] == [mechanism]


async def test_without_a_login_it_takes_nothing(postfix: Postfix) -> None:
    """So that what was relayed above was relayed for the login."""
    with smtplib.SMTP("127.0.0.1", postfix.port, timeout=20) as client:
        client.ehlo("client.example")
        client.mail("a@client.example")
        assert client.rcpt("a@remote.example")[0] >= 500
