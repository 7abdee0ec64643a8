"""What is taken out of a session, and that nothing else changes."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.capture.content import Gathered, filled
from penstock.capture.redact import Redaction

MAIL = (
    b"From: Alice <alice@example.com>\r\nTo: bob@example.net\r\nSubject: the secret\r\n plan\r\n"
    b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="frontier"\r\n\r\n'
    b"preamble\r\n--frontier\r\nContent-Type: text/plain\r\n\r\nSecret words.\r\n..dotted\r\n"
    b'--frontier\r\nContent-Type: application/pdf;\r\n name="salaries.pdf"\r\nContent-Transfer-Encoding: base64\r\n'
    b'Content-Disposition: attachment; filename="salaries.pdf"\r\n\r\nc2VjcmV0\r\n--frontier--\r\n'
)


def test_filler_keeps_length_lines_and_parts_and_nothing_of_the_words() -> None:
    out = Redaction().content(MAIL)
    assert len(out) == len(MAIL)
    assert [len(line) for line in out.split(b"\r\n")] == [len(line) for line in MAIL.split(b"\r\n")]
    assert out.count(b"--frontier") == 3
    assert b"Content-Type: application/pdf;" in out
    assert b"Content-Transfer-Encoding: base64" in out
    assert b"..dotted" not in out
    assert b"\r\n.xxxxxxx\r\n" in out
    for secret in (b"Secret", b"salaries", b"c2Vj", b"preamble", b"dotted"):
        assert secret not in out
    assert out.startswith(MAIL[: MAIL.index(b"\r\n\r\n")])


def test_bodies_may_be_kept_or_left_out() -> None:
    assert Redaction("keep").content(MAIL) == MAIL
    assert Redaction("drop").content(MAIL) == MAIL[: MAIL.index(b"\r\n\r\n") + 4]


def test_fields_may_become_filler_that_keeps_their_folding() -> None:
    out = Redaction("keep", frozenset({b"subject"})).content(MAIL)
    assert b"Subject: xxx xxxxxx\r\n xxxx\r\n" in out
    assert out.replace(b"xxx xxxxxx\r\n xxxx", b"the secret\r\n plan") == MAIL


def test_addresses_become_pseudonyms_that_keep_their_domains() -> None:
    redaction = Redaction("keep", addresses=True, key=b"k")
    out = redaction.content(MAIL)
    assert b"alice@" not in out
    assert re.search(rb"From: Alice <p[0-9a-f]{12}@example\.com>", out)
    first, second = redaction.text(b"MAIL FROM:<alice@example.com>\r\n"), redaction.text(b"250 <alice@EXAMPLE.com> ok\r\n")
    found = re.findall(rb"p[0-9a-f]{12}", first + second + out)
    assert found[0] == found[1] == found[2]
    assert Redaction(addresses=True, key=b"other").text(b"<alice@example.com>") != redaction.text(b"<alice@example.com>")
    assert redaction.text(b"RCPT TO:<postmaster@example.com>") == b"RCPT TO:<postmaster@example.com>"
    assert redaction.text(b'RCPT TO:<"a b"@example.com> ORCPT=rfc822;a+40b@x.example') != b""
    assert b"a b" not in redaction.text(b'RCPT TO:<"a b"@example.com>')


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        (b"hunter2\r\n", b"xxxxxxx\r\n"),
        (b"AUTH PLAIN c2VjcmV0\r\n", b"AUTH xxxxxxxxxxxxxx\r\n"),
        (b"auth login\r\n", b"auth xxxxx\r\n"),
        (b"RCPT bob\r\n", b"RCPT bob\r\n"),
        (b"MAIL FROM:<a@b>\nsecret\r\n", b"MAIL xxxxxxxxxx\nxxxxxx\r\n"),
        (b"GET /secret HTTP/1.1\r\n", b"GET xxxxxxxxxxxxxxxx\r\n"),
        (b"\x16\x03\x01secret", b"\x16xxxxxxxx"),
        (b"\r\n", b"\r\n"),
        (b"", b""),
    ],
)
def test_of_a_line_that_was_not_understood_only_a_known_verb_is_kept(line: bytes, kept: bytes) -> None:
    assert Redaction().refused(line) == kept


def test_refused_chunks_keep_their_size() -> None:
    out = Redaction().unread(b"BDAT 6\r\nsecret" + b"BDAT 4 LAST\r\nmore" + b"password\r\n")
    assert out == b"BDAT 6\r\nxxxxxxBDAT 4 LAST\r\nxxxxxxxxxxxx\r\n"


def test_arguments_of_new_verbs_are_kept_on_request() -> None:
    assert Redaction().verb(b"XLOGIN bob secret\r\n") == (b"XLOGIN xxxxxxxxxx\r\n", True)
    assert Redaction().verb(b"XQDEPTH\r\n") == (b"XQDEPTH\r\n", False)
    assert Redaction(answers=True).verb(b"XLOGIN bob secret\r\n") == (b"XLOGIN bob secret\r\n", False)


@given(st.binary(max_size=400), st.sampled_from(["keep", "fill"]))
def test_whatever_comes_keeps_its_length(data: bytes, bodies: str) -> None:
    redaction = Redaction(bodies, frozenset({b"subject"}))  # type: ignore[arg-type]
    assert len(redaction.content(data)) == len(data)
    assert len(redaction.unread(data)) == len(data)
    assert len(redaction.refused(data)) == len(data)


@given(st.binary(max_size=300), st.integers(0, 300))
def test_what_is_left_out_is_filled_to_the_same_length(body: bytes, limit: int) -> None:
    octets = b"Subject: x\r\n\r\n" + body
    gathered = Gathered(limit)
    gathered.add(octets + b".\r\n", b"")
    kept, missing = gathered.redacted(Redaction("keep"), whole=True)
    assert kept.endswith(b".\r\n")
    assert len(filled(kept, missing, dotted=True)) == len(octets) + 3
    gathered = Gathered(limit)
    gathered.add(octets + b".\r\n", b"")
    kept, missing = gathered.redacted(Redaction("drop"), whole=True)
    assert len(filled(kept, missing, dotted=True)) == len(octets) + 3


def test_chunks_say_their_new_sizes_when_pseudonyms_changed_them() -> None:
    gathered = Gathered(1000, b"BDAT 18\r\n")
    gathered.add(b"From: <a@b.example", b"From: <a@b.example")
    gathered.add(b"BDAT 7 LAST\r\n>\r\n\r\nhi", b">\r\n\r\nhi")
    octets, missing = gathered.redacted(Redaction("keep", addresses=True, key=b"k"), whole=True)
    assert missing == 0
    sizes = [int(n) for n in re.findall(rb"BDAT (\d+)", octets)]
    assert sum(sizes) == len(re.sub(rb"BDAT \d+(?: LAST)?\r\n", b"", octets))
    assert sizes[0] == 18
