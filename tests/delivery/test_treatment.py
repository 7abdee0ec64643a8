"""What a sender asks of the treatment of a message on its way on: TLS all the way, in time, binary; and what servers limit."""

from __future__ import annotations

import email

import pytest

from delivery.stand import Stand, hop_settings, sent
from penstock.delivery.downgrade import converted
from penstock.delivery.settings import TlsSettings
from penstock.mail.content import MemoryContent
from penstock.mail.envelope import MailParameters
from support.certificates import certificate
from support.remote import Remote
from support.script import Face, Script

QUEUE = "[127.0.0.1]:{}"


@pytest.mark.parametrize(
    ("face", "trusted", "status"),
    [
        (Face(tls=True, extensions=("REQUIRETLS",)), True, ""),
        (Face(tls=True, extensions=("PIPELINING",)), True, "5.7.30"),
        (Face(tls=True, extensions=("REQUIRETLS",)), False, "4.7.5"),
        (Face(extensions=("REQUIRETLS",)), True, "4.7.4"),
    ],
)
async def test_mail_that_must_have_tls_goes_nowhere_without(face: Face, trusted: bool, status: str) -> None:
    """RFC 8689 §4.2.1: only within TLS whose certificate holds, and to who promises the same; also where TLS is only tried otherwise."""
    authorities = certificate("remote.example").certificate if trusted else None
    settings = hop_settings(tls=TlsSettings("may", authorities, "remote.example"))
    async with Remote(Script(face=face)) as remote, Stand(QUEUE.format(remote.port), settings=settings) as stand:
        results = await stand.deliver(stand.mail(parameters=MailParameters(requiretls=True)))
        assert results[0].status == status or (not status and sent(results))
    assert len(remote.transactions) == (not status)
    assert not status or not any("REQUIRETLS" in command for command in remote.commands)


async def test_a_session_for_others_is_not_used_for_mail_that_must_have_tls() -> None:
    """It was made without a look at the certificate; another one is made, with one."""
    authorities = certificate("remote.example").certificate
    settings = hop_settings(tls=TlsSettings("may", authorities, "remote.example"), idle=2.0)
    face = Face(tls=True, extensions=("REQUIRETLS",))
    async with Remote(Script(face=face)) as remote, Stand(QUEUE.format(remote.port), settings=settings) as stand:
        first, second = stand.mail(), stand.mail(parameters=MailParameters(requiretls=True))
        await stand.deliver(first, second)
        assert sent(stand.handover.results[second.record.id])
    assert len(remote.sessions) == 2


async def test_mail_whose_time_is_short_says_how_much_is_left() -> None:
    """RFC 2852 §4.1.4."""
    face = Face(extensions=("DELIVERBY",))
    async with Remote(Script(face=face)) as remote, Stand(QUEUE.format(remote.port)) as stand:
        work = stand.mail(parameters=MailParameters(by=1000, by_mode="R"))
        work.record.received -= 400
        assert sent(await stand.deliver(work))
        late = stand.mail(parameters=MailParameters(by=300, by_mode="R"))
        late.record.received -= 400
        assert (await stand.deliver(late))[0].status == "5.4.7"
    said = next(command for command in remote.commands if "BY=" in command)
    assert 590 < int(said.partition("BY=")[2].partition(";")[0]) <= 600


async def test_mail_that_must_not_be_late_goes_to_who_knows_how() -> None:
    face = Face(extensions=("PIPELINING",))
    async with Remote(Script(face=face)) as remote, Stand(QUEUE.format(remote.port)) as stand:
        assert (await stand.deliver(stand.mail(parameters=MailParameters(by=1000, by_mode="R"))))[0].status == "5.3.3"
        assert sent(await stand.deliver(stand.mail(parameters=MailParameters(by=1000, by_mode="N"))))


BINARY = (
    b"MIME-Version: 1.0\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\n"
    b"a\nb\rc\r\n.\r\n\x00\xff" + b"x" * 2000
)


async def test_binary_goes_as_it_is_to_who_takes_it() -> None:
    """RFC 3030 §3: with BDAT, and not an octet is another."""
    face = Face(extensions=("CHUNKING", "BINARYMIME"))
    async with Remote(Script(face=face)) as remote, Stand(QUEUE.format(remote.port)) as stand:
        assert sent(await stand.deliver(stand.mail(content=BINARY, parameters=MailParameters(body="BINARYMIME"))))
    assert remote.transactions[0].content == BINARY
    assert "BODY=BINARYMIME" in remote.commands[1]
    assert any(command.startswith("BDAT") for command in remote.commands)


@pytest.mark.parametrize("extensions", [("CHUNKING", "8BITMIME"), ("BINARYMIME",), ()])
async def test_binary_is_converted_for_who_does_not(extensions: tuple[str, ...]) -> None:
    face = Face(extensions=extensions)
    async with Remote(Script(face=face)) as remote, Stand(QUEUE.format(remote.port)) as stand:
        assert sent(await stand.deliver(stand.mail(content=BINARY, parameters=MailParameters(body="BINARYMIME"))))
    got = remote.transactions[0].content
    assert got.isascii()
    assert email.message_from_bytes(got).get_payload(decode=True) == BINARY.partition(b"\r\n\r\n")[2]
    assert "BINARYMIME" not in remote.commands[1]


async def test_binary_that_cannot_be_converted_is_returned() -> None:
    """A signature is over the octets as they are."""
    content = b"MIME-Version: 1.0\r\nContent-Type: multipart/signed; boundary=x\r\n\r\n--x\r\n\r\na\nb\r\n--x--\r\n"
    async with Remote(Script(face=Face(extensions=()))) as remote, Stand(QUEUE.format(remote.port)) as stand:
        results = await stand.deliver(stand.mail(content=content, parameters=MailParameters(body="BINARYMIME")))
        assert results[0].status == "5.6.3"


async def test_a_server_that_wants_one_domain_at_a_time_gets_one() -> None:
    """RFC 9422 §4.3."""
    face = Face(extensions=("LIMITS RCPTDOMAINMAX=1",))
    async with Remote(Script(face=face)) as remote, Stand(QUEUE.format(remote.port)) as stand:
        assert sent(await stand.deliver(stand.mail("a@one.example", "b@two.example", "c@one.example")))
    assert [[r.partition("@")[2] for r in t.recipients] for t in remote.transactions] == [["one.example"] * 2, ["two.example"]]


async def test_a_server_that_wants_one_message_a_session_gets_one() -> None:
    """RFC 9422 §4.1."""
    face = Face(extensions=("LIMITS MAILMAX=1",))
    async with Remote(Script(face=face)) as remote, Stand(QUEUE.format(remote.port), settings=hop_settings(idle=2.0)) as stand:
        await stand.deliver(stand.mail(), stand.mail())
    assert len(remote.sessions) == 2


def test_only_binary_mail_is_converted_for_its_long_lines() -> None:
    """Elsewhere they are as they came, and what is signed stays as it was signed."""
    signed = b"Content-Type: multipart/signed; boundary=y\r\n\r\n--y\r\n\r\n" + b"x" * 1200 + b"\r\n--y--\r\n"
    mixed = (
        b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=z\r\n\r\n--z\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
        b"gr\xc3\xbc\xc3\x9fe\r\n--z\r\n" + signed + b"--z--\r\n"
    )
    done = converted(MemoryContent(mixed))
    assert done is not None
    assert signed in done.read()
    assert converted(MemoryContent(mixed), binary=True) is None
