"""A next hop has many spellings and one canonical text, which names a queue and means the same after a restart."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from penstock.mail.nexthop import NextHop

GOOD = [
    ("mx:example.com", "mx:example.com", NextHop("smtp", "example.com", 25, mx=True)),
    ("example.com", "mx:example.com", NextHop("smtp", "example.com", 25, mx=True)),
    ("Example.COM.", "mx:example.com", NextHop("smtp", "example.com", 25, mx=True)),
    ("smtp:example.com:25", "mx:example.com", NextHop("smtp", "example.com", 25, mx=True)),
    ("SMTP:mx:example.com", "mx:example.com", NextHop("smtp", "example.com", 25, mx=True)),
    ("relay.example:587", "mx:relay.example:587", NextHop("smtp", "relay.example", 587, mx=True)),
    ("mx:relay.example:587", "mx:relay.example:587", NextHop("smtp", "relay.example", 587, mx=True)),
    ("[relay.example]", "[relay.example]:25", NextHop("smtp", "relay.example", 25)),
    ("smtp:[relay.example]:2525", "[relay.example]:2525", NextHop("smtp", "relay.example", 2525)),
    ("[192.0.2.1]:25", "[192.0.2.1]:25", NextHop("smtp", "192.0.2.1", 25)),
    ("192.0.2.1:26", "[192.0.2.1]:26", NextHop("smtp", "192.0.2.1", 26)),
    ("[IPv6:2001:DB8:0::1]", "[2001:db8::1]:25", NextHop("smtp", "2001:db8::1", 25)),
    ("[2001:db8::1]:25", "[2001:db8::1]:25", NextHop("smtp", "2001:db8::1", 25)),
    ("lmtp:[127.0.0.1]:24", "lmtp:[127.0.0.1]:24", NextHop("lmtp", "127.0.0.1", 24)),
    ("lmtp:store.example:2424", "lmtp:[store.example]:2424", NextHop("lmtp", "store.example", 2424)),
    ("lmtp:[::1]", "lmtp:[::1]:24", NextHop("lmtp", "::1", 24)),
    ("lmtp:/run/lmtp.sock", "lmtp:/run/lmtp.sock", NextHop("lmtp", path="/run/lmtp.sock")),
    ("lmtp:unix:/run/lmtp.sock", "lmtp:/run/lmtp.sock", NextHop("lmtp", path="/run/lmtp.sock")),
    ("local", "local", NextHop("local")),
    ("Local", "local", NextHop("local")),
    ("mx:local", "mx:local", NextHop("smtp", "local", 25, mx=True)),
    ("local.example", "mx:local.example", NextHop("smtp", "local.example", 25, mx=True)),
    ("lmtp.example", "mx:lmtp.example", NextHop("smtp", "lmtp.example", 25, mx=True)),
    ("bücher.example", "mx:xn--bcher-kva.example", NextHop("smtp", "xn--bcher-kva.example", 25, mx=True)),
    ("[BÜCHER.example]:25", "[xn--bcher-kva.example]:25", NextHop("smtp", "xn--bcher-kva.example", 25)),
]
BAD = [
    ("", "empty"),
    ("x" * 1000, "too long"),
    ("smtp:", "a host is missing"),
    ("mx:", "a host is missing"),
    ("lmtp:", "a host is missing"),
    ("local:25", "nothing stands after"),
    ("mx:[relay.example]", "no MX records"),
    ("mx:192.0.2.1", "no MX records"),
    ("relay.example:", "not a port"),
    ("relay.example:0", "not a port"),
    ("relay.example:65536", "not a port"),
    ("relay.example:٢٥", "not a port"),
    ("[relay.example]25", "brackets"),
    ("[relay.example]:smtp", "not a port"),
    ("[relay.example", "brackets"),
    ("[]", "empty"),
    ("2001:db8::1", "brackets"),
    ("[fe80::1%eth0]:25", "malformed"),
    ("[192.0.2.256]", "neither"),
    ("192.0.2", "neither"),
    ("127.1:25", "neither"),
    ("a b.example", "malformed"),
    ("a..example", "malformed"),
    ("-a.example", "malformed"),
    ("a.example\n", "malformed"),
    ("a.example;bulk", "malformed"),
    (f"{'a' * 64}.example", "longer than 63"),
    ("lmtp:unix:run/lmtp.sock", "begins with /"),
    ("lmtp:/run/a;b", "no semicolon"),
    ("lmtp:/run/a\nb", "control"),
    ("lmtp:/" + "a" * 107, "at most 107"),
    ("uucp:host", "not a port"),
]


@pytest.mark.parametrize(("text", "canonical", "hop"), GOOD, ids=[text for text, *_ in GOOD])
def test_a_next_hop_parses_to_its_one_canonical_text(text: str, canonical: str, hop: NextHop) -> None:
    assert NextHop.parse(text) == hop
    assert str(hop) == canonical
    assert NextHop.parse(canonical) == hop


@pytest.mark.parametrize(("text", "reason"), BAD, ids=[text[:40] for text, _ in BAD])
def test_what_is_no_next_hop_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        NextHop.parse(text)


@pytest.mark.parametrize(
    ("domain", "canonical"),
    [
        ("example.com", "mx:example.com"),
        ("bücher.example", "mx:xn--bcher-kva.example"),
        ("XN--bcher-KVA.example", "mx:xn--bcher-kva.example"),
        ("[192.0.2.1]", "[192.0.2.1]:25"),
        ("[IPv6:2001:db8::1]", "[2001:db8::1]:25"),
        ("local", "mx:local"),
    ],
)
def test_the_next_hop_of_a_domain_is_its_mx_or_the_address_that_it_is(domain: str, canonical: str) -> None:
    assert str(NextHop.of_domain(domain)) == canonical


@pytest.mark.parametrize("domain", ["", "192.0.2.1", "[relay.example]", "[192.0.2.1", "a b", "example.com:25", "☃.example", "lmtp:/run/x"])
def test_no_mail_is_routed_to_what_is_no_domain(domain: str) -> None:
    with pytest.raises(ValueError):
        NextHop.of_domain(domain)


def test_the_address_of_a_hop_is_known_without_a_look_up_when_it_is_written() -> None:
    assert NextHop.parse("[192.0.2.1]").address == IPv4Address("192.0.2.1")
    assert NextHop.parse("lmtp:[::1]").address == IPv6Address("::1")
    assert NextHop.parse("example.com").address is None
    assert NextHop.parse("lmtp:/run/x").address is None


def test_a_queue_is_named_by_hop_and_class() -> None:
    hop = NextHop.parse("example.com")
    assert hop.queue() == "mx:example.com"
    assert hop.queue("bulk") == "mx:example.com;bulk"
    assert NextHop.of_queue("mx:example.com;bulk") == (hop, "bulk")
    assert NextHop.of_queue("mx:example.com") == (hop, "")


@pytest.mark.parametrize("message_class", [";", "a;b", "a b", "ü", "a\n", "x" * 65])
def test_a_class_that_would_spoil_the_name_of_a_queue_is_refused(message_class: str) -> None:
    with pytest.raises(ValueError, match="not a message class"):
        NextHop("local").queue(message_class)


def test_a_queue_name_that_ends_in_a_semicolon_is_refused() -> None:
    with pytest.raises(ValueError, match="not a message class"):
        NextHop.of_queue("mx:example.com;")


_LABELS = st.from_regex(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,20}[A-Za-z0-9_])?", fullmatch=True)
_NAMES = st.lists(_LABELS, min_size=1, max_size=4).map(lambda labels: ".".join([*labels, "example"]))
_PORTS = st.integers(1, 65535).map(lambda port: f":{port}")
_HOSTS = st.one_of(
    _NAMES,
    _NAMES.map(lambda name: f"[{name}]"),
    st.ip_addresses(v=4).map(lambda address: f"[{address}]"),
    st.ip_addresses(v=6).map(lambda address: f"[{address}]"),
    st.ip_addresses(v=6).map(lambda address: f"[IPv6:{address}]"),
)
_HOPS = st.builds(lambda scheme, host, port: scheme + host + port, st.sampled_from(["", "smtp:", "lmtp:"]), _HOSTS, st.just("") | _PORTS)
_CLASSES = st.just("") | st.from_regex(r"[a-z0-9.:@-]{1,64}", fullmatch=True)


@given(text=_HOPS, message_class=_CLASSES)
def test_every_hop_and_class_comes_back_from_the_name_of_its_queue(text: str, message_class: str) -> None:
    hop = NextHop.parse(text)
    assert NextHop.parse(str(hop)) == hop
    assert str(NextHop.parse(str(hop))) == str(hop)
    assert NextHop.of_queue(hop.queue(message_class)) == (hop, message_class)


@given(text=st.text(max_size=60) | st.text("[]:.;/%-abx0123456789", max_size=40).map("lmtp:".__add__) | st.text("[]:.alm-xn0", max_size=30))
@example(text="[IPv6:IPv6:::1]")
@example(text="mx:mx:a")
@example(text="smtp:smtp:a")
def test_any_text_is_a_hop_with_a_stable_name_or_a_value_error(text: str) -> None:
    try:
        hop = NextHop.parse(text)
    except ValueError:
        return
    assert NextHop.of_queue(str(hop)) == (hop, "")
    assert str(hop).isprintable()
    assert hop.host.isascii()


@given(domain=st.text(max_size=40))
def test_any_domain_of_an_address_is_a_hop_with_a_stable_name_or_a_value_error(domain: str) -> None:
    try:
        hop = NextHop.of_domain(domain)
    except ValueError:
        return
    assert NextHop.parse(str(hop)) == hop
