"""Domain names become A-labels by IDNA2008, the same however they were typed, and what is no name is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.mail.idna import in_a_labels, in_u_labels, to_ascii


@pytest.mark.parametrize(
    ("domain", "ascii_name"),
    [
        ("example.com", "example.com"),
        ("Example.COM.", "example.com"),
        ("_mta-sts.example", "_mta-sts.example"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.Example", "xn--bcher-kva.example"),
        ("bu\u0308cher.example", "xn--bcher-kva.example"),
        ("straße.example", "xn--strae-oqa.example"),
        ("βόλος.example", "xn--nxasmm1c.example"),
        ("ΒΌΛΟΣ.example", "xn--nxasmq6b.example"),
        ("例え。テスト", "xn--r8jz45g.xn--zckzah"),
        ("ｅｘａｍｐｌｅ．ｃｏｍ", "example.com"),
        ("नी\u200dजी.example", None),
        ("क्\u200dष.example", "xn--11b2ezcw70k.example"),
        ("نامه\u200cای.example", "xn--mgba3gch31f060k.example"),
        ("l·l.example", "xn--ll-0ea.example"),
    ],
)
def test_a_domain_has_one_ascii_form(domain: str, ascii_name: str | None) -> None:
    if ascii_name is None:
        with pytest.raises(ValueError, match=r"U\+200D"):
            to_ascii(domain)
    else:
        assert to_ascii(domain) == ascii_name


@pytest.mark.parametrize(
    "domain",
    ["", ".", "a..b", ".a", "a b", "-a", "a-", "ü-", "-ü", "ab--ü", "\u0308a", "☃.example", "\u2024a", "a\u2024b.ü", "℀.example"],
)
def test_what_is_no_domain_is_refused(domain: str) -> None:
    with pytest.raises(ValueError):
        to_ascii(domain)


def test_a_name_is_measured_as_it_goes_over_the_wire() -> None:
    assert len(to_ascii(".".join(["a" * 63] * 3 + ["a" * 61]))) == 253
    with pytest.raises(ValueError, match="longer than 253"):
        to_ascii(".".join(["a" * 63] * 3 + ["a" * 62]))
    with pytest.raises(ValueError, match="longer than 63"):
        to_ascii("ü" * 60 + ".example")


@given(st.text(max_size=50))
def test_the_ascii_form_of_any_name_is_its_own_ascii_form(text: str) -> None:
    try:
        name = to_ascii(text)
    except ValueError:
        return
    assert name.isascii()
    assert name == name.lower()
    assert to_ascii(name) == name


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("mx.xn--bcher-kva.example", "mx.bücher.example"),
        ("XN--BCHER-KVA.example", "bücher.example"),
        ("mx.example", "mx.example"),
        ("xn--a.xn--strae-oqa.example", "xn--a.straße.example"),
        ("xn--bcher-KVA9.example", "xn--bcher-KVA9.example"),
        ("xn--.example", "xn--.example"),
        ("xn--ls8h.example", "xn--ls8h.example"),
    ],
)
def test_only_a_label_that_comes_back_as_it_was_is_shown_in_unicode(written: str, shown: str) -> None:
    """The others are fake A-labels (RFC 5890 §2.3.1), one of them that of a symbol, which IDNA2008 does not allow."""
    assert in_u_labels(written) == shown


@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        ("bücher.example", "xn--bcher-kva.example"),
        ("Example.com", "Example.com"),
        ("[127.0.0.1]", "[127.0.0.1]"),
        ("a☃b.example", "a☃b.example"),
    ],
)
def test_a_domain_that_has_no_a_labels_stays_as_it_is(domain: str, expected: str) -> None:
    assert in_a_labels(domain) == expected
