"""Addresses parse by RFC 5321 and RFC 6531, come out as they went in, and fail with an AddressError and nothing else."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import AddressError
from penstock.mail.address import NULL, Address

VECTORS = Path(__file__).parents[2].parent / "shared" / "vectors" / "addresses" / "is_email-tests.xml"

GOOD = [
    ("alice@example.com", "alice", "example.com", "alice@example.com"),
    ("<alice@Example.COM>", "alice", "example.com", "alice@example.com"),
    ("Alice.B@example.com", "Alice.B", "example.com", "Alice.B@example.com"),
    ('"alice smith"@example.com', "alice smith", "example.com", '"alice smith"@example.com'),
    (r'"a\"b\\c"@example.com', r"a\"b\c".replace("\\", "", 1), "example.com", r'"a\"b\\c"@example.com'),
    ('"alice"@example.com', "alice", "example.com", "alice@example.com"),
    ('"a@b>"@example.com', "a@b>", "example.com", '"a@b>"@example.com'),
    ("a-.-b@example.com", "a-.-b", "example.com", "a-.-b@example.com"),
    ("@one.example,@two.example:alice@example.com", "alice", "example.com", "alice@example.com"),
    ("alice@[192.0.2.1]", "alice", "[192.0.2.1]", "alice@[192.0.2.1]"),
    ("alice@[ipv6:2001:DB8:0::1]", "alice", "[IPv6:2001:db8::1]", "alice@[IPv6:2001:db8::1]"),
    ("alice@under_score.example", "alice", "under_score.example", "alice@under_score.example"),
    ("alice@example.com.", "alice", "example.com", "alice@example.com"),
    ("jörg@Bücher.example", "jörg", "bücher.example", "jörg@bücher.example"),
    ("Postmaster", "Postmaster", "", "Postmaster"),
    ("", "", "", ""),
    ("<>", "", "", ""),
]
BAD = [
    "alice",
    "@example.com",
    "alice@",
    "a b@example.com",
    "alice@exa mple.com",
    ".alice@example.com",
    "alice.@example.com",
    "a..b@example.com",
    "alice@example..com",
    "alice@-example.com",
    "alice@example-.com",
    "alice@example.-com",
    "alice@example.com-",
    "alice@[192.0.2.256]",
    "alice@[192.0.2]",
    "alice@[IPv6:2001:db8::12345]",
    "alice@[IPv6:zz]",
    "alice@[X-tag:abc]",
    "alice@[]",
    "alice@[192.0.2.1",
    '"alice@example.com',
    '""@example.com',
    '"a"b@example.com',
    '"a\nb"@example.com',
    "a\r\n@example.com",
    "a\x00@example.com",
    "a\x85@example.com",
    "a\u2028@example.com",
    "a\ud800@example.com",
    "@route.example:",
    "@route.example",
    "@:a@b",
    "<alice@example.com",
    "alice@example.com>",
    "x" * 253 + "@example.com",
    "a@" + "x" * 64 + ".example",
    "a@" + ".".join(["x" * 50] * 6),
    "alice@example.com bob@example.com",
]


@pytest.mark.parametrize(("text", "local", "domain", "written"), GOOD)
def test_a_good_address_parses(text: str, local: str, domain: str, written: str) -> None:
    address = Address.parse(text)
    assert (address.local, address.domain, str(address)) == (local, domain, written)


@pytest.mark.parametrize("text", BAD)
def test_a_bad_address_is_refused(text: str) -> None:
    with pytest.raises(AddressError):
        Address.parse(text)


@given(st.one_of(st.text(max_size=80), st.text('ab@.-"\\[]<>:, é1_' + "\ud800", max_size=30)))
def test_whatever_parses_is_written_so_that_it_parses_to_the_same(text: str) -> None:
    try:
        address = Address.parse(text)
    except AddressError:
        return
    assert Address.parse(str(address)) == address


@given(st.text('ab@.-"_+é', max_size=30))
def test_a_short_plain_address_is_judged_as_a_long_one(text: str) -> None:
    """The fast way in must accept nothing that the exact way refuses."""
    verdicts = []
    for domain in (".example", "." + "x" * 60 + ".example"):
        try:
            verdicts.append(Address.parse(text + domain).local)
        except AddressError:
            verdicts.append("refused")
    assert verdicts[0] == verdicts[1]


def test_the_null_path_and_postmaster_are_known() -> None:
    assert Address.parse("<>").is_null
    assert NULL.is_null
    assert Address.parse("POSTMASTER@example.com").is_postmaster
    assert not Address.parse("alice@example.com").is_null


def test_a_part_can_be_replaced_and_is_checked() -> None:
    alice = Address.parse("alice@example.com")
    assert str(alice.with_domain("Example.NET")) == "alice@example.net"
    assert str(alice.with_local("alice smith")) == '"alice smith"@example.com'
    for bad in ("", "a b", "-x"):
        with pytest.raises(AddressError):
            alice.with_domain(bad)
    for bad in ("", "a\r\nb", "x" * 253):
        with pytest.raises(AddressError):
            alice.with_local(bad)


# is_email knows the grammar of headers (RFC 5322) and asks the DNS too; for an envelope only these of its categories are addresses.
ACCEPTED = {"ISEMAIL_VALID_CATEGORY", "ISEMAIL_DNSWARN", "ISEMAIL_RFC5321"}
DIFFERENT = {
    "1": "the empty text is the null reverse-path",
    "35": "a dot at the end of a domain makes it absolute in the DNS; it is taken and dropped",
    "43": "an empty quoted local part is in the grammar, but names nobody",
    **dict.fromkeys(("26", "59", "60"), "return paths that encode whom they were for are longer than 64 octets"),
    "71": "one group of zeros written as :: is what RFC 5321 forbids and everybody else writes (RFC 5952 §4.2.2 forbids writing it only)",
}


def vectors() -> list[tuple[str, str, str]]:
    if not VECTORS.exists():
        return []
    tests = ElementTree.parse(VECTORS).getroot().iter("test")
    control = {0x2400 + code: code for code in range(33)}
    return [(str(test.get("id")), (test.findtext("address") or "").translate(control), str(test.findtext("category"))) for test in tests]


@pytest.mark.skipif(not VECTORS.exists(), reason="the address vectors (is_email-tests.xml) are not beside the repository")
@pytest.mark.parametrize(("number", "text", "category"), vectors())
def test_addresses_are_judged_as_is_email_judges_them_for_an_envelope(number: str, text: str, category: str) -> None:
    try:
        Address.parse(text)
        accepted = True
    except AddressError:
        accepted = False
    assert accepted == ((category in ACCEPTED) != (number in DIFFERENT)), DIFFERENT.get(number, category)
