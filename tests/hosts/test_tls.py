"""STARTTLS and TLS from the first octet through real connections: what it is good for, and what it does not let through."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from typing import Any

import pytest
import structlog

from hosts.running import Running, until
from hosts.secured import NAME, Raw, from_the_first_octet, plain_hello, secured, serving, trusting, upgraded
from penstock import Match, Sink, on
from penstock.events import Auth, Connected, Ehlo, MailFrom, StartTls, TlsEstablished, TlsFacts
from penstock.hosts.smtp.certificates import TlsRules
from penstock.verdicts import Authenticated, Defer, Disconnect, Reject
from support.certificates import certificate


class Watching(Sink):
    """Keeps what it sees of TLS."""

    def __init__(self) -> None:
        super().__init__()
        self.established: list[TlsFacts] = []
        self.seen: list[tuple[str, object]] = []

    @on(TlsEstablished, blocking=False)
    def told(self, event: TlsEstablished) -> None:
        self.established.append(event.tls)

    @on(Connected, Ehlo, MailFrom, blocking=False)
    def look(self, event: Connected | Ehlo | MailFrom) -> None:
        self.seen.append((type(event).__name__, event.session.tls))

    @on(MailFrom, match=Match(tls=True), blocking=False)
    def only_secured(self, event: MailFrom) -> None:
        self.seen.append(("matched", event.session.user))


def received(server: Running) -> str:
    """The Received field of the one message that was taken, in one line."""
    (entry,) = server.kept()
    raw = server.spool.content(entry).read()
    return " ".join(raw.split(b"\r\n\r\n")[0].decode().replace("\r\n\t", " ").split("Subject:")[0].split())


async def test_starttls_secures_a_session_and_its_message_says_so() -> None:
    watching = Watching()
    async with secured(watching) as server:
        client = await server.client()
        assert "250 STARTTLS" in await client.say("EHLO client.example")
        client = await upgraded(server)
        greeting = await client.say("EHLO client.example")
        assert "STARTTLS" not in greeting
        assert (await client.send()).startswith("250 2.0.0 Ok")
        assert await client.say("STARTTLS") == "503 5.5.1 TLS is already active"
        assert await client.say("QUIT") == "221 2.0.0 Bye"
        assert await client.is_closed()
        field = received(server)
        assert f"by {NAME} with ESMTPS id" in field
        assert "(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits))" in field
        (facts,) = watching.established
        assert (facts.version, facts.bits, facts.server_name, facts.alpn) == ("TLSv1.3", 256, NAME, "")
        assert (facts.certificate, facts.verified) == (None, False)
        names = [(name, tls and str(tls)) for name, tls in watching.seen]
        assert ("Ehlo", None) in names
        assert names[-2:] == [("MailFrom", "TLSv1.3"), ("matched", "")]


async def test_what_came_with_starttls_in_clear_never_takes_effect() -> None:
    """The injection of CVE-2011-0411: a command in the same packet must not be one of the secured session."""
    watching = Watching()
    async with secured(watching) as server:
        client = await server.client()
        await client.say("EHLO client.example")
        with structlog.testing.capture_logs() as lines:
            client.writer.write(b"STARTTLS\r\nEHLO attacker.example\r\nMAIL FROM:<attacker@example.net>\r\nRCPT TO:<bob@example.com>\r\n")
            assert await client.reply() == "220 2.0.0 Ready to start TLS"
            await client.writer.start_tls(trusting(), server_hostname=NAME)
            assert await client.say("NOOP") == "250 2.0.0 Ok"
        assert await client.say("RCPT TO:<bob@example.com>") == "503 5.5.1 Send EHLO or HELO first"
        assert (await client.say("EHLO client.example")).startswith("250-")
        assert await client.say("RCPT TO:<bob@example.com>") == "503 5.5.1 Need MAIL before RCPT"
        assert [name for name, _ in watching.seen].count("MailFrom") == 0
        (line,) = [line for line in lines if line["event"] == "plaintext after STARTTLS discarded"]
        assert line["octets"] == 84
        assert line["log_level"] == "warning"


async def test_the_same_holds_while_a_sink_is_asked() -> None:
    asked, answer = asyncio.Event(), asyncio.Event()

    class Slow(Sink):
        @on(StartTls)
        async def wait(self, event: StartTls) -> None:
            asked.set()
            await answer.wait()

    async with secured(Slow()) as server:
        client = await server.client()
        await client.say("EHLO client.example")
        client.writer.write(b"STARTTLS\r\n")
        await asyncio.wait_for(asked.wait(), 5)
        client.writer.write(b"EHLO attacker.example\r\nMAIL FROM:<attacker@example.net>\r\n")
        (connection,) = server.host._connections  # no public way shows what a session has not parsed
        await until(lambda: connection.machine.pending > 50, "the octets to come")
        answer.set()
        assert await client.reply() == "220 2.0.0 Ready to start TLS"
        await client.writer.start_tls(trusting(), server_hostname=NAME)
        assert await client.say("RCPT TO:<bob@example.com>") == "503 5.5.1 Send EHLO or HELO first"


async def test_what_comes_in_clear_after_the_220_breaks_the_handshake() -> None:
    async with secured() as server:
        client = await plain_hello(server)
        with structlog.testing.capture_logs() as lines:
            client.writer.write(b"MAIL FROM:<attacker@example.net>\r\n" * 3)
            said = await asyncio.wait_for(client.reader.read(), 5)
            await until(lambda: not server.host.sessions, "the session to end")
        assert b"250" not in said
        assert b"421" not in said
        (line,) = [line for line in lines if line["event"] == "TLS handshake failed"]
        assert (line["client"], line["reason"]) == ("127.0.0.1", "wrong version number")


async def test_what_was_said_before_the_handshake_is_forgotten() -> None:
    """RFC 3207 §4.2: greeting and login."""

    class Letting(Sink):
        @on(Auth, mechanism="X-EASY")
        async def let(self, event: Auth) -> Authenticated:
            return Authenticated("alice")

    watching = Watching()
    async with secured(Letting(), watching) as server:
        client = await server.client()
        await client.say("EHLO before.example")
        assert (await client.say("AUTH X-EASY =")).startswith("235 ")
        await client.say("STARTTLS")
        await client.writer.start_tls(trusting(), server_hostname=NAME)
        assert (await client.say("MAIL FROM:<a@b.example>")).startswith("503 ")
        await client.say("EHLO after.example", "MAIL FROM:<a@b.example>")
        assert watching.seen[-1] == ("matched", "")
        assert (await client.say("RSET", "AUTH X-EASY =")).startswith("235 ")


@pytest.mark.parametrize(
    ("lines", "reply"),
    [
        (["STARTTLS"], "503 5.5.1 Send EHLO or HELO first"),
        (["HELO x", "STARTTLS"], "502 5.5.1 Command not implemented"),
        (["EHLO x", "STARTTLS now"], "501 5.5.4 Syntax error, no parameters allowed"),
        (["EHLO x", "MAIL FROM:<a@b.example>", "STARTTLS"], "503 5.5.1 Bad sequence of commands"),
    ],
)
async def test_starttls_has_its_place(lines: list[str], reply: str) -> None:
    async with secured() as server:
        client = await server.client()
        assert await client.say(*lines) == reply
        assert await client.say("NOOP") == "250 2.0.0 Ok"


async def test_without_a_certificate_there_is_no_starttls() -> None:
    async with Running() as server:
        client = await server.client()
        assert "STARTTLS" not in await client.say("EHLO x")
        assert await client.say("STARTTLS") == "502 5.5.1 Command not implemented"


async def test_where_tls_is_required_nothing_is_served_before_it() -> None:
    class Letting(Sink):
        @on(Auth, mechanism="X-EASY")
        async def let(self, event: Auth) -> Authenticated:
            return Authenticated("alice")

    async with secured(Letting(), tls=serving(required=True)) as server:
        client = await server.client()
        greeting = await client.say("EHLO client.example")
        assert "AUTH" not in greeting
        for command in ("MAIL FROM:<a@b.example>", "AUTH X-EASY =", "RSET", "VRFY bob", "HELP", "RCPT TO:<bob@example.com>", "DATA"):
            assert await client.say(command) == "530 5.7.0 Must issue a STARTTLS command first"
        client.writer.write(b"BDAT 6 LAST\r\nQUIT\r\n")
        assert (await client.reply()).startswith("503 "), "and the octets of a chunk are no commands"
        assert await client.say("NOOP") == "250 2.0.0 Ok"
        client = await upgraded(server)
        assert "AUTH X-EASY" in await client.say("EHLO client.example")
        assert (await client.say("AUTH X-EASY =")).startswith("235 ")
        assert (await client.send()).startswith("250 ")
        assert "with ESMTPSA id" in received(server)


@pytest.mark.parametrize(
    ("verdict", "reply", "closed"),
    [
        (Reject(554, "5.7.0", "Never"), "554 5.7.0 Never", False),
        (Defer(454, "4.7.0", "Not now"), "454 4.7.0 Not now", False),
        (Disconnect(421, "4.7.0", "Go away"), "421 4.7.0 Go away", True),
    ],
)
async def test_a_sink_may_refuse_starttls(verdict: Any, reply: str, closed: bool) -> None:
    class No(Sink):
        @on(StartTls)
        async def judge(self, event: StartTls) -> Reject | Defer | Disconnect:
            return verdict  # type: ignore[no-any-return]

    async with secured(No()) as server:
        client = await server.client()
        await client.say("EHLO client.example")
        assert await client.say("STARTTLS") == reply
        if closed:
            assert await client.is_closed()
        else:
            assert await client.say("MAIL FROM:<a@b.example>") == "250 2.1.0 Sender ok"


async def test_a_sink_may_take_starttls_out_of_the_offer() -> None:
    class Quiet(Sink):
        @on(Ehlo)
        async def edit(self, event: Ehlo) -> None:
            event.extensions.remove("STARTTLS")

    async with secured(Quiet()) as server:
        client = await server.client()
        assert "STARTTLS" not in await client.say("EHLO x")
        assert await client.say("STARTTLS") == "502 5.5.1 Command not implemented"


async def test_with_tls_from_the_first_octet_the_banner_waits_for_it() -> None:
    watching = Watching()
    async with secured(watching, tls=serving(implicit=True, required=True)) as server:
        raw = Raw(silent := await server.knock())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(silent.reader.read(1), 0.2)
        assert not watching.seen, "no session before the handshake"
        await raw.shake_hands()
        assert (await raw.heard()).startswith(b"220 mx.example.com ESMTP")
        assert watching.established, "told before the session is asked about"
        assert watching.seen == [("Connected", watching.established[0])]
        client = await from_the_first_octet(server)
        assert "STARTTLS" not in await client.say("EHLO client.example")
        assert await client.say("STARTTLS") == "502 5.5.1 Command not implemented"
        assert (await client.send()).startswith("250 ")
        assert "with ESMTPS id" in received(server)
        assert await client.say("QUIT") == "221 2.0.0 Bye"


async def test_a_client_in_clear_gets_no_word_where_tls_comes_first() -> None:
    async with secured(tls=serving(implicit=True)) as server:
        client = await server.knock()
        client.writer.write(b"EHLO client.example\r\n")
        with structlog.testing.capture_logs() as lines:
            said = await asyncio.wait_for(client.reader.read(), 5)
            await until(lambda: not server.host.sessions, "the session to end")
        assert b"220" not in said
        (line,) = [line for line in lines if line["event"] == "TLS handshake failed"]
        assert line["client"] == "127.0.0.1"
        assert line["listener"] == "mx"


@pytest.mark.parametrize(
    ("asked", "given"),
    [("mx.example.com", "mx.example.com"), ("mail.example.org", "*.example.org"), ("MX.EXAMPLE.COM", "mx.example.com")],
)
async def test_each_client_gets_the_certificate_of_the_name_that_it_asks_for(asked: str, given: str) -> None:
    async with secured(tls=serving(certificate("first.example"), certificate("mx.example.com"), certificate("*.example.org"))) as server:
        client = await upgraded(server, trusting(given), asked)
        assert client.writer.get_extra_info("peercert")["subjectAltName"] == (("DNS", given),)


@pytest.mark.parametrize("asked", ["unknown.example", "a.b.example.org", "example.org", "127.0.0.1", None])
async def test_who_asks_for_another_name_or_none_gets_the_first(asked: str | None) -> None:
    context = trusting("first.example")
    context.check_hostname = False
    async with secured(tls=serving(certificate("first.example"), certificate("mx.example.com"), certificate("*.example.org"))) as server:
        client = await plain_hello(server)
        raw = Raw(client, context, asked)
        await raw.shake_hands()
        assert raw.object.getpeercert()["subjectAltName"] == (("DNS", "first.example"),)


async def test_certificates_of_clients_are_asked_for_and_shown_to_sinks() -> None:
    own = certificate("client.example")
    rules = TlsRules(clients="ask", authorities=own.certificate)
    watching = Watching()
    async with secured(watching, tls=serving(rules=rules)) as server:
        client = await upgraded(server, trusting(own=own))
        await client.say("EHLO x")
        await (await upgraded(server)).say("EHLO x")
        with_one, without = watching.established
        assert (without.certificate, without.verified) == (None, False)
        assert with_one.verified
        shown = with_one.certificate
        assert shown is not None
        assert (shown.subject, shown.issuer, shown.names) == ("CN=client.example", "CN=client.example", ("client.example",))
        der = ssl.PEM_cert_to_DER_cert(own.certificate.read_text())
        assert shown.fingerprint == hashlib.sha256(der).hexdigest()
        assert shown.expires > 0


@pytest.mark.parametrize("clients", ["ask", "require"])
async def test_a_certificate_that_does_not_verify_ends_the_handshake(clients: Any) -> None:
    rules = TlsRules(clients=clients, authorities=certificate("client.example").certificate)
    async with secured(tls=serving(rules=rules)) as server:
        with structlog.testing.capture_logs() as lines:
            client = await plain_hello(server)
            raw = Raw(client, trusting(own=certificate("stranger.example")))
            with pytest.raises((ssl.SSLError, AssertionError)):
                await raw.converse()
            await until(lambda: not server.host.sessions, "the session to end")
        (line,) = [line for line in lines if line["event"] == "TLS handshake failed"]
        assert "self-signed" in line["reason"] or "certificate" in line["reason"]


async def test_a_required_certificate_must_be_there() -> None:
    own = certificate("client.example")
    async with secured(tls=serving(rules=TlsRules(clients="require", authorities=own.certificate))) as server:
        raw = Raw(await plain_hello(server))
        with pytest.raises((ssl.SSLError, AssertionError)):
            await raw.converse()
        client = await upgraded(server, trusting(own=own))
        assert (await client.say("EHLO x")).startswith("250")


async def test_smtp_is_agreed_on_where_the_client_names_it() -> None:
    watching = Watching()
    async with secured(watching) as server:
        client = await upgraded(server, trusting(alpn=["h2", "smtp"]))
        await client.say("EHLO x")
        assert watching.established[0].alpn == "smtp"


@pytest.mark.parametrize("step", [1, 100, 100_000])
async def test_a_client_that_wants_another_protocol_is_turned_away(step: int) -> None:
    """RFC 7301 §3.2, however its hello is cut."""
    async with secured(tls=serving(implicit=True)) as server:
        client = await server.knock()
        raw = Raw(client, trusting(alpn=["h2", "http/1.1"]))
        hello = raw.hello()
        with structlog.testing.capture_logs() as lines:
            for at in range(0, len(hello), step):
                client.writer.write(hello[at : at + step])
                await client.writer.drain()
            with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
                await raw.is_told()
            await until(lambda: not server.host.sessions, "the session to end")
        (line,) = [line for line in lines if line["event"] == "TLS handshake failed"]
        assert line["reason"] == "the client wants to speak another protocol: 'h2, http/1.1'"


@pytest.mark.parametrize(("minimum", "works"), [("TLSv1.2", True), ("TLSv1.3", False)])
async def test_the_oldest_version_can_be_chosen(minimum: Any, works: bool) -> None:
    context = trusting()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    watching = Watching()
    async with secured(watching, tls=serving(rules=TlsRules(minimum=minimum))) as server:
        if not works:
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await upgraded(server, context)
            return
        client = await upgraded(server, context)
        await client.say("EHLO x")
        assert watching.established[0].version == "TLSv1.2"


async def test_versions_before_1_2_are_not_spoken() -> None:
    """RFC 8996."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="deprecated"):
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    async with secured() as server:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await upgraded(server, context)


async def test_ciphers_can_be_chosen() -> None:
    context = trusting()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    watching = Watching()
    async with secured(watching, tls=serving(rules=TlsRules(ciphers="ECDHE-ECDSA-CHACHA20-POLY1305"))) as server:
        await (await upgraded(server, context)).say("EHLO x")
        assert watching.established[0].cipher == "ECDHE-ECDSA-CHACHA20-POLY1305"
