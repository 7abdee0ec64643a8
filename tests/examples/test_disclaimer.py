"""The disclaimer: where it belongs, once, and not an octet elsewhere."""

from __future__ import annotations

import base64
from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest
from examples.disclaimer import Disclaimer

from penstock.errors import ConfigError
from penstock.testing import SinkTester, SinkTesters

TEXT, HTML = "Example Ltd, 1 Main Street, Oslo", "<p>Example Ltd, <b>1 Main Street</b>, Oslo</p>"
PLAIN = b"From: ann@example.com\r\nSubject:  two  spaces\r\n\r\nHello.\r\n"


@pytest.fixture
def tester(sink_tester: SinkTesters) -> SinkTester:
    return sink_tester(Disclaimer, domains=["example.com"], text=TEXT, html=HTML)


async def sent(tester: SinkTester, content: bytes | EmailMessage, *recipients: str) -> bytes:
    await tester.submission(content, sender="ann@example.com", recipients=recipients or ("dora@example.net",))
    return tester.content


def letter(*attachments: bytes, html: str = "<html><body><p>Gr\u00fc\u00dfe</p></body></html>") -> EmailMessage:
    message = EmailMessage(policy=policy.SMTP)
    message["From"], message["Subject"] = "ann@example.com", "letter"
    message.set_content("Gr\u00fc\u00dfe\r\n")
    if html:
        message.add_alternative(html, subtype="html")
    for data in attachments:
        message.add_attachment(data, maintype="application", subtype="octet-stream", filename="a.bin")
    return message


async def test_plain_text_gets_it_below_and_the_rest_stays(tester: SinkTester) -> None:
    assert await sent(tester, PLAIN) == PLAIN + b"\r\n" + TEXT.encode() + b"\r\n"


async def test_text_and_html_get_it_each_in_its_way(tester: SinkTester) -> None:
    parsed = message_from_bytes(await sent(tester, letter()), policy=policy.default)
    assert parsed.get_body(("plain",)).get_content().split() == ["Gr\u00fc\u00dfe", *TEXT.split()]
    assert parsed.get_body(("html",)).get_content().strip() == f"<html><body><p>Gr\u00fc\u00dfe</p>{HTML}</body></html>"


@pytest.mark.parametrize("encoding", ["base64", "quoted-printable", "8bit"])
async def test_the_encoding_of_the_text_is_kept(tester: SinkTester, encoding: str) -> None:
    message = EmailMessage(policy=policy.SMTP)
    message["Subject"] = "encoded"
    message.set_content("Gr\u00fc\u00dfe an alle\r\n", cte=encoding)
    parsed = message_from_bytes(await sent(tester, message), policy=policy.default)
    assert parsed["Content-Transfer-Encoding"] == encoding
    assert parsed.get_content().split() == ["Gr\u00fc\u00dfe", "an", "alle", *TEXT.split()]


async def test_an_attachment_stays_as_it_was_to_the_octet(tester: SinkTester) -> None:
    # Lines of odd length, as no program of ours would write them.
    odd = b"\r\n".join(base64.b64encode(bytes(range(256)) * 3)[at : at + 57] for at in range(0, 1024, 57))
    raw = (
        b'Content-Type: multipart/mixed; boundary="=_b 1"\r\n\r\npreamble\r\n--=_b 1\r\n\r\nHello.\r\n--=_b 1\r\n'
        b"Content-Type: text/plain\r\nContent-Disposition: attachment\r\n\r\nan attached text\r\n--=_b 1\r\n"
        b"Content-Transfer-Encoding: base64\r\n\r\n" + odd + b"\r\n--=_b 1--\r\nepilogue\r\n"
    )
    expected = raw.replace(b"Hello.", b"Hello.\r\n\r\n" + TEXT.encode() + b"\r\n")
    assert await sent(tester, raw) == expected


@pytest.mark.parametrize("quote", ["> ", ""])
async def test_a_thread_has_it_once(tester: SinkTester, quote: str) -> None:
    first = message_from_bytes(await sent(tester, PLAIN)).get_payload()
    answer = b"Subject: Re\r\n\r\nAh.\r\n\r\n" + "".join(f"{quote}{line}\r\n" for line in first.splitlines()).encode()
    assert await sent(tester, answer) == answer


@pytest.mark.parametrize(
    "raw",
    [
        b'Content-Type: multipart/signed; boundary="b"\r\n\r\n--b\r\n\r\nHello.\r\n--b--\r\n',
        b'Content-Type: multipart/encrypted; boundary="b"\r\n\r\n--b\r\n\r\nHello.\r\n--b--\r\n',
        b'Content-Type: multipart/mixed; boundary="o"\r\n\r\n--o\r\nContent-Type: multipart/signed; boundary="b"\r\n\r\n'
        b"--b\r\n\r\nHello.\r\n--b--\r\n--o--\r\n",
        b"Content-Type: application/pkcs7-mime\r\nContent-Transfer-Encoding: base64\r\n\r\nMIIB\r\n",
        b"Subject: pgp\r\n\r\n-----BEGIN PGP SIGNED MESSAGE-----\r\nHello.\r\n",
        b"DKIM-Signature: v=1; d=example.com\r\n\r\nHello.\r\n",
        b"Content-Type: text/plain; charset=no-such-thing\r\n\r\nHello.\r\n",
        b"Subject: not what it says\r\n\r\nGr\xfc\xdfe\r\n",
        b"Content-Type: text/calendar\r\n\r\nBEGIN:VCALENDAR\r\n",
    ],
)
async def test_what_is_signed_sealed_or_not_understood_is_left_alone(tester: SinkTester, raw: bytes) -> None:
    assert await sent(tester, raw) == raw


async def test_colleagues_get_the_message_as_it_is_and_the_world_a_copy(tester: SinkTester) -> None:
    assert await sent(tester, PLAIN, "bob@example.com", "dora@example.net") == PLAIN
    assert tester.recipients == ["bob@example.com"]
    [copy] = tester.forks
    assert [str(recipient.address) for recipient in copy.recipients] == ["dora@example.net"]
    assert TEXT.encode() in copy.content.read()
    assert await sent(tester, PLAIN, "bob@example.com") == PLAIN


def test_a_text_that_not_every_character_set_has_is_refused(sink_tester: SinkTesters) -> None:
    with pytest.raises((ValueError, ConfigError), match="ASCII"):
        sink_tester(Disclaimer, domains=[], text="Stra\u00dfe", html="")
