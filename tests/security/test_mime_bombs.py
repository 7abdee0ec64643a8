"""Messages that are made to cost much cost little: those who read headers, parse parts, or return a message to its sender are bounded."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pytest

from penstock.errors import PenstockError
from penstock.events.parsing import parsed
from penstock.mail.address import Address
from penstock.mail.content import MemoryContent
from penstock.mail.encoded import decode_words
from penstock.mail.envelope import Envelope, Recipient
from penstock.mail.header import Header, read_fields, split_header
from penstock.mail.report import ReportFacts, ReportSettings, make_report
from penstock.mail.report_fields import About, Reported

MEBI = 1024 * 1024
SECONDS = 2.5


def nested(levels: int, lines: int = 0) -> bytes:
    """Multiparts within multiparts."""
    head = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (level, level) for level in range(levels))
    return head + b"x\r\n" * lines


BOMBS = {
    "a thousand levels": nested(1000),
    "forwards in forwards": b"Content-Type: message/rfc822\r\n\r\n" * 2000,
    "parts without end": b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\n" * 200_000,
    "lines in levels": nested(90, 2_000_000),
    "fields without end": b"A: b\r\n" * 500_000 + b"\r\n",
    "one field of megabytes": b"Subject: " + b"x " * (2 * MEBI) + b"\r\n\r\n",
    "folds without end": b"Subject: x\r\n" + b" x\r\n" * 500_000 + b"\r\n",
    "encoded words without end": b"Subject: " + b"=?utf-8?q?a?= " * 100_000 + b"\r\n\r\n",
    "encoded words cut short": b"Subject: " + b"=?" * MEBI + b"\r\n\r\n",
    "continued parameters": b"Content-Type: text/plain;" + b"".join(b"\r\n x*%d*=a;" % n for n in range(50_000)) + b"\r\n\r\n",
    "a million addresses": b"To: " + b"a@b.example, " * 300_000 + b"\r\n\r\n",
    "quotes and comments": b"To: " + b'((("\\"' * 200_000 + b"\r\n\r\n",
}


@pytest.fixture(params=BOMBS)
def bomb(request: pytest.FixtureRequest) -> Iterator[bytes]:
    """A bomb; whatever is done with it has to be done soon."""
    begin = time.thread_time()
    yield BOMBS[request.param]
    assert time.thread_time() - begin < SECONDS


def test_a_bomb_is_parsed_soon_or_refused(bomb: bytes) -> None:
    with contextlib.suppress(PenstockError):
        parsed(bomb)


def test_what_a_bomb_is_refused_with_says_why() -> None:
    with pytest.raises(PenstockError, match=r"keep a parser busy: .* parts in some 1000 levels"):
        parsed(nested(1000))


def test_the_header_of_a_bomb_is_read_soon(bomb: bytes) -> None:
    header = Header(read_fields(MemoryContent(bomb)))
    for name in ("Subject", "To", "A", "Content-Type", "Nothing"):
        header.get(name)
    assert split_header(bomb)[0] == header.to_bytes()
    decode_words(bomb[:100_000].decode("latin-1"))


def test_a_bomb_comes_back_soon(bomb: bytes) -> None:
    one = Reported(Recipient(Address("a", "b.example")), "failed", "5.0.0")
    facts = ReportFacts(About("mx", "ID", Envelope(), 0.0), "R", MemoryContent(bomb), Address("c", "d.example"), 1.0)
    assert make_report("failed", facts, [one], ReportSettings()).content.size < len(bomb) * 2 + 10_000


@pytest.mark.parametrize("levels", [1, 20, 90])
def test_mail_with_as_many_levels_as_mail_has_is_parsed(levels: int) -> None:
    assert parsed(nested(levels, 1000)).is_multipart()


def test_a_large_attachment_is_parsed() -> None:
    head = b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n\r\ntext\r\n--b\r\nContent-Type: application/octet-stream\r\n\r\n'
    message = parsed(head + (b"A" * 76 + b"\r\n") * 100_000 + b"--b--\r\n")
    assert len(message.get_payload()) == 2
