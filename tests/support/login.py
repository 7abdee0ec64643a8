"""Logging in to a server with each mechanism, as a client does it, over ``smtplib``."""

from __future__ import annotations

import base64
import hashlib
import smtplib
import ssl
from pathlib import Path

from penstock.wire.sasl import mechanisms
from penstock.wire.sasl.base import UNBOUND, ChannelBindings
from penstock.wire.sasl.mechanisms import Login

from .certificates import Certificate


def connect(address: tuple[str, int], ca_file: Path | None = None, client: Certificate | None = None) -> smtplib.SMTP:
    """A session that has said EHLO, within TLS when there is a certificate to trust, and with one of the client's own."""
    session = smtplib.SMTP(*address, local_hostname="client.example", timeout=30)
    session.ehlo()
    if ca_file is not None:
        context = ssl.create_default_context(cafile=str(ca_file))
        context.check_hostname = False
        if client is not None:
            context.load_cert_chain(client.certificate, client.key)
        session.starttls(context=context)
        session.ehlo()
    return session


def end_point(client: smtplib.SMTP) -> ChannelBindings:
    """What the session is tied to: the hash of the server's certificate (RFC 5929 §4.1)."""
    if not isinstance(client.sock, ssl.SSLSocket):
        return UNBOUND
    shown = client.sock.getpeercert(binary_form=True)
    assert shown is not None
    return ChannelBindings({"tls-server-end-point": hashlib.sha256(shown).digest()})


def log_in(client: smtplib.SMTP, mechanism: str, user: str, secret: str) -> tuple[int, str]:
    """The last reply to the exchange; ``secret`` is the password, or the token."""
    # One that could bind and does not says that it saw no offer of it, which is a reason to refuse it (RFC 5802 §6).
    bindings = end_point(client) if mechanism.endswith("-PLUS") else UNBOUND
    machine = mechanisms.client(mechanism, Login(user, secret, secret, certificate=True, bindings=bindings))
    initial = machine.initial()
    code, text = client.docmd("AUTH", mechanism + ("" if initial is None else f" {encoded(initial) or '='}"))
    while code == 334:
        code, text = client.docmd(encoded(machine.respond(base64.b64decode(text))))
    if code == 235:
        machine.finish()
    return code, text.decode()


def encoded(octets: bytes) -> str:
    """In base64."""
    return base64.b64encode(octets).decode()
