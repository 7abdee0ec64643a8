"""A server in this loop that speaks TLS, and clients for it: well-behaved ones, and one whose every octet is in the test's hands."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from dataclasses import replace
from typing import Any

from hosts.running import Client, Running
from penstock.hosts.smtp.certificates import CertificateFiles, Certificates, TlsRules
from penstock.hosts.smtp.encryption import TlsServing
from support.certificates import Certificate, certificate

NAME = "mx.example.com"


def serving(
    *certificates: Certificate, rules: TlsRules | None = None, implicit: bool = False, required: bool = False, handshake: float = 5.0
) -> TlsServing:
    """What a listener does with TLS."""
    files = tuple(CertificateFiles(one.certificate, one.key) for one in certificates or (certificate(NAME),))
    return TlsServing(Certificates(files, rules or TlsRules()), implicit, required, handshake)


def secured(*sinks: Any, tls: TlsServing | None = None, **given: Any) -> Running:
    """A server with STARTTLS, or with TLS from the first octet."""
    server = Running(*sinks, **given)
    tls = tls or serving()
    wire = replace(server.settings.wire, starttls=not tls.implicit, tls_required=tls.required)
    server.settings = replace(server.settings, wire=wire, tls=tls)
    return server


def trusting(*names: str, **given: Any) -> ssl.SSLContext:
    """What a client speaks TLS with that trusts one certificate, and is told by ``alpn`` and ``own`` what else to say."""
    context = ssl.create_default_context(cafile=str(certificate(*(names or (NAME,))).certificate))
    if "alpn" in given:
        context.set_alpn_protocols(given["alpn"])
    if "own" in given:
        context.load_cert_chain(given["own"].certificate, given["own"].key)
    return context


async def upgraded(server: Running, context: ssl.SSLContext | None = None, name: str = NAME) -> Client:
    """A client that is through STARTTLS."""
    client = await server.client()
    await client.say("EHLO client.example")
    assert await client.say("STARTTLS") == "220 2.0.0 Ready to start TLS"
    await client.writer.start_tls(context or trusting(), server_hostname=name)
    return client


async def from_the_first_octet(server: Running, context: ssl.SSLContext | None = None, name: str = NAME) -> Client:
    """A client of a listener with implicit TLS, that has read the banner."""
    client = await server.knock(ssl=context or trusting(), server_hostname=name)
    client.banner = await client.reply()
    return client


class Raw:
    """A client whose TLS the test does by hand, octet by octet."""

    def __init__(self, client: Client, context: ssl.SSLContext | None = None, name: str | None = NAME) -> None:
        self.client = client
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.object = (context or trusting()).wrap_bio(self.incoming, self.outgoing, server_hostname=name)

    def hello(self) -> bytes:
        """The first flight, not sent yet."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.object.do_handshake()
        return self.outgoing.read()

    async def hear(self) -> bool:
        """Takes what comes; False at the end of the connection."""
        data = await asyncio.wait_for(self.client.reader.read(65536), 5.0)
        self.incoming.write(data) if data else self.incoming.write_eof()
        return bool(data)

    async def shake_hands(self) -> None:
        """The whole handshake."""
        self.client.writer.write(self.hello())
        while True:
            try:
                self.object.do_handshake()
                break
            except ssl.SSLWantReadError:
                assert await self.hear()
            finally:
                self.client.writer.write(self.outgoing.read())

    async def converse(self) -> bytes:
        """Handshake and banner: in TLS 1.3 the client's part of a handshake is over before the server has looked at its certificate."""
        await self.shake_hands()
        self.say(b"NOOP\r\n")
        return await self.heard()

    async def is_told(self) -> None:
        """Takes what comes until there is an alert, or the end."""
        while await self.hear():
            self.object.do_handshake()

    async def reads_on(self) -> None:
        """Reads until the end."""
        while await self.hear():
            with contextlib.suppress(ssl.SSLWantReadError):
                self.object.read(65536)
        self.object.read(1)

    def say(self, octets: bytes) -> None:
        """Sends octets, secured."""
        self.object.write(octets)
        self.client.writer.write(self.outgoing.read())

    async def heard(self, end: bytes = b"\r\n") -> bytes:
        """What the server says, up to the end of a line."""
        said = b""
        while not said.endswith(end):
            try:
                said += self.object.read(65536)
            except ssl.SSLWantReadError:
                assert await self.hear()
        return said


async def plain_hello(server: Running) -> Client:
    """A client that was told to begin TLS, and has not."""
    client = await server.client()
    await client.say("EHLO client.example", "STARTTLS")
    return client
