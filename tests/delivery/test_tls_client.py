"""TLS in sessions in which we are the client: with the first octet, with a certificate of ours, and what sinks see of it.

The other side is our own server where it knows how, so that both sides are tried against each other.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from pathlib import Path
from typing import Any

import pytest

from delivery.stand import Stand, actions, hop_settings
from delivery.test_outbound_events import at
from hosts.secured import NAME, secured, serving
from penstock import Sink, on
from penstock.delivery.settings import TlsSettings
from penstock.delivery.tls import begins_with_tls, client_context
from penstock.events import SessionStart, TlsEstablished, TlsFacts
from penstock.hosts.smtp.certificates import TlsRules
from support.certificates import certificate
from support.remote import Remote
from support.script import Face, Script

QUEUE = "[127.0.0.1]:{}"


class Watching(Sink):
    """Keeps what the server saw."""

    def __init__(self) -> None:
        super().__init__()
        self.established: list[TlsFacts] = []

    @on(TlsEstablished, blocking=False)
    def told(self, event: TlsEstablished) -> None:
        self.established.append(event.tls)


def trusting(**given: Any) -> TlsSettings:
    return TlsSettings("verify", certificate(NAME).certificate, NAME, **given)


@pytest.mark.parametrize("level", ["may", "encrypt", "verify"])
async def test_mail_goes_in_tls_from_the_first_octet(level: Any) -> None:
    seen: list[TlsFacts] = []
    sink = at(SessionStart, lambda e: seen.append(e.remote.tls))
    settings = hop_settings(tls=TlsSettings(level, certificate("remote.example").certificate, "remote.example", implicit=True))
    script = Script(face=Face(implicit_tls=True))
    async with Remote(script) as remote, Stand(QUEUE.format(remote.port), sink, settings=settings) as stand:
        assert actions(await stand.deliver(stand.mail())) == {"a": "relayed"}
    assert remote.transactions[0].tls
    assert not [command for command in remote.commands if command.startswith("STARTTLS")]
    assert remote.sessions[0].server_name == "remote.example"
    (facts,) = seen
    assert facts.version.startswith("TLSv1.")
    assert facts.verified is (level == "verify")
    assert facts.certificate is not None
    assert facts.certificate.names == ("remote.example",)


async def test_there_is_no_going_on_in_clear_where_tls_comes_first() -> None:
    settings = hop_settings(tls=TlsSettings("may", implicit=True))
    async with Remote() as remote, Stand(QUEUE.format(remote.port), settings=settings) as stand:
        results = await stand.deliver(stand.mail())
        assert actions(results) == {"a": "deferred"}
        assert results[0].status == "4.7.5"
    assert not [command for command in remote.commands if command.startswith(("EHLO", "MAIL"))]
    assert not remote.taken()


async def test_a_server_that_talks_before_the_handshake_is_not_believed() -> None:
    """A banner, a reply to EHLO and a queue id in clear, from whoever sits in the middle."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 evil.example\r\n250-evil.example\r\n250 AUTH PLAIN\r\n" + b"250 ok\r\n" * 3 + b"354 go\r\n250 queued\r\n")
        await reader.read(100)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    settings = hop_settings(tls=TlsSettings("encrypt", implicit=True))
    async with server, Stand(QUEUE.format(server.sockets[0].getsockname()[1]), settings=settings) as stand:
        results = await stand.deliver(stand.mail())
    assert actions(results) == {"a": "deferred"}
    assert results[0].status == "4.7.5"


async def test_a_server_that_never_shakes_hands_is_given_up_in_time() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    settings = hop_settings(tls=TlsSettings("encrypt", implicit=True))
    began = time.monotonic()
    async with server, Stand(QUEUE.format(server.sockets[0].getsockname()[1]), settings=settings) as stand:
        results = await stand.deliver(stand.mail())
    assert "TLS handshake" in results[0].text
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("implicit", [False, True])
async def test_both_sides_speak_to_each_other(implicit: bool) -> None:
    watching = Watching()
    async with secured(watching, tls=serving(implicit=implicit)) as server:
        settings = hop_settings(tls=trusting(implicit=implicit))
        async with Stand(QUEUE.format(server.address[1]), settings=settings) as stand:
            assert actions(await stand.deliver(stand.mail())) == {"a": "relayed"}
        (facts,) = watching.established
        assert (facts.version, facts.server_name) == ("TLSv1.3", NAME)
        assert facts.alpn == ("smtp" if implicit else ""), "after STARTTLS both have spoken SMTP already"
        assert len(server.kept()) == 1


async def test_our_certificate_is_shown_to_who_asks() -> None:
    own = certificate("client.example")
    watching = Watching()
    rules = TlsRules(clients="require", authorities=own.certificate)
    async with secured(watching, tls=serving(rules=rules)) as server:
        settings = hop_settings(tls=trusting(certificate=own.certificate, key=own.key))
        async with Stand(QUEUE.format(server.address[1]), settings=settings) as stand:
            assert actions(await stand.deliver(stand.mail())) == {"a": "relayed"}
        shown = watching.established[0].certificate
        assert shown is not None
        assert shown.subject == "CN=client.example"


async def test_the_oldest_version_can_be_chosen() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own = certificate("remote.example")
    context.load_cert_chain(own.certificate, own.key)
    context.maximum_version = ssl.TLSVersion.TLSv1_2

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    settings = hop_settings(tls=TlsSettings("encrypt", implicit=True, minimum="TLSv1.3"))
    async with server, Stand(QUEUE.format(server.sockets[0].getsockname()[1]), settings=settings) as stand:
        results = await stand.deliver(stand.mail())
    assert "TLS handshake failed" in results[0].text


@pytest.mark.parametrize(
    ("said", "port", "implicit"), [(None, 465, True), (None, 25, False), (None, 587, False), (False, 465, False), (True, 2525, True)]
)
def test_port_465_means_tls_from_the_first_octet(said: bool | None, port: int, implicit: bool) -> None:
    assert begins_with_tls(TlsSettings(implicit=said), port) is implicit


def test_a_context_is_kept_until_a_file_changes(tmp_path: Path) -> None:
    authorities = tmp_path / "ca.pem"
    authorities.write_bytes(certificate("remote.example").certificate.read_bytes())
    settings = TlsSettings("verify", authorities)
    first = client_context(settings, True)
    assert client_context(settings, True) is first
    authorities.write_bytes(certificate("other.example").certificate.read_bytes() + b"\n")
    assert client_context(settings, True) is not first


async def test_a_certificate_of_ours_that_cannot_be_read_is_a_clear_reason(tmp_path: Path) -> None:
    settings = hop_settings(tls=TlsSettings("encrypt", certificate=tmp_path / "none.pem"))
    async with Remote(Script(face=Face(tls=True))) as remote, Stand(QUEUE.format(remote.port), settings=settings) as stand:
        results = await stand.deliver(stand.mail())
        assert actions(results) == {"a": "deferred"}
        assert "our certificate, cannot be read" in results[0].text
