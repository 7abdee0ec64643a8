"""Match conditions: each holds when it should, and what can never hold at an event is refused when the configuration is loaded."""

from __future__ import annotations

import time
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.harness import Harness, message_work, session_work
from penstock import Address, Match, Recipient
from penstock.events import EndOfData, Event, LocalDelivery, MailFrom, RcptTo, Submission
from penstock.events.catalog import CATALOG, Ehlo, Rejected, Verb
from penstock.events.pattern import address_test, domain_test, glob
from penstock.events.rule import compile_match
from penstock.events.work import MessageWork, SessionWork
from penstock.mail.envelope import MailParameters
from penstock.mail.reply import Reply
from penstock.wire.tls import TlsFacts

HARNESS = Harness([])


def holds(match: Match, event: Event) -> bool:
    """Whether all conditions hold."""
    return all(condition.test(event) for condition in compile_match(match, type(event)))


def at(event: type[Event], message: MessageWork | None = None, session: SessionWork | None = None, **more: Any) -> Event:
    """An event."""
    return HARNESS.make(event, message, session, **more)


@pytest.mark.parametrize(
    ("pattern", "address", "fits"),
    [
        ("example.com", "a@example.com", True),
        ("example.com", "a@EXAMPLE.COM", True),
        ("EXAMPLE.com", "a@example.com", True),
        ("example.com", "a@sub.example.com", False),
        ("example.com", "a@notexample.com", False),
        (".example.com", "a@example.com", True),
        (".example.com", "a@deep.sub.example.com", True),
        (".example.com", "a@notexample.com", False),
        ("*example.com", "a@notexample.com", True),
        ("sales*@example.com", "Sales-Team@example.com", True),
        ("sales*@example.com", "presales@example.com", False),
        ("*@*.example.com", "a@example.com", False),
        ("*@*", "a@b", True),
        ("a.b@example.com", "axb@example.com", False),
        ("<>", "", True),
        ("<>", "a@b", False),
        ("*@*", "", True),
        ("example.com", "", False),
        ('a@b"@example.com', '"a@b\\""@example.com', True),
    ],
)
def test_address_patterns_mean_what_they_say(pattern: str, address: str, fits: bool) -> None:
    assert address_test(pattern)(Address.parse(address)) is fits


def test_a_list_of_patterns_means_any_of_them() -> None:
    test = address_test(["a@x", "b@y"])
    assert [test(Address.parse(text)) for text in ("a@x", "b@y", "a@y")] == [True, True, False]


@given(st.text("ab.*", max_size=8), st.text("ab.", max_size=12))
def test_a_star_stands_for_any_characters(pattern: str, text: str) -> None:
    """Against the plainest definition, by recursion."""

    def fits(p: str, t: str) -> bool:
        if not p:
            return not t
        if p[0] == "*":
            return any(fits(p[1:], t[cut:]) for cut in range(len(t) + 1))
        return bool(t) and p[0] == t[0] and fits(p[1:], t[1:])

    assert (glob(pattern).fullmatch(text) is not None) == fits(pattern, text)


def test_a_long_value_that_almost_matches_costs_no_time() -> None:
    pattern, started = glob("*invoice*payment*now"), time.process_time()
    assert pattern.fullmatch("invoice" * 150_000) is None
    assert time.process_time() - started < 2


def test_domain_patterns_with_a_star_match_anywhere() -> None:
    assert domain_test("mail*.example.*")("mail7.example.org")
    assert not domain_test("mail*.example.*")("xmail7.example.org")


@pytest.mark.parametrize(
    ("match", "yes", "no"),
    [
        (Match(sender="alice@*"), {"sender": "alice@x.example"}, {"sender": "bob@x.example"}),
        (Match(sender="<>"), {"sender": ""}, {"sender": "bob@x.example"}),
        (Match(direction="in"), {"direction": "in"}, {"direction": "out"}),
        (Match(direction=["in", "internal"]), {"direction": "internal"}, {"direction": "out"}),
        (Match(origin="dsn"), {"origin": "dsn"}, {"origin": "smtp"}),
        (Match(size=">10B"), {"raw": b"x" * 11}, {"raw": b"x" * 10}),
        (Match(size=">= 10 B"), {"raw": b"x" * 10}, {"raw": b"x" * 9}),
        (Match(size="<1KiB"), {"raw": b"x" * 1023}, {"raw": b"x" * 1024}),
        (Match(size="<= 0.5 kib"), {"raw": b"x" * 512}, {"raw": b"x" * 513}),
        (Match(header={"Subject": "*invoice*"}), {"raw": b"subject: your INVOICE 7\r\n\r\n"}, {"raw": b"Subject: x\r\n\r\ninvoice"}),
        (Match(header={"X-A": "*"}), {"raw": b"X-A:\r\n\r\n"}, {"raw": b"X-B: 1\r\n\r\nX-A: 1"}),
        (Match(header={"A": "1", "B": "2"}), {"raw": b"A: 1\r\nB: 2\r\n\r\n"}, {"raw": b"A: 1\r\nB: 1\r\n\r\n"}),
        (Match(header={"A": "2"}), {"raw": b"A: 1\r\nA: 2\r\n\r\n"}, {"raw": b"A: 1\r\nA: 12\r\n\r\n"}),
        (Match(header={"A": "ü*"}), {"raw": b"A: =?utf-8?q?=C3=BC1?=\r\n\r\n"}, {"raw": b"A: u\r\n\r\n"}),
        (Match(listener="mx*"), {"listener": "mx1"}, {"listener": "submission"}),
        (Match(client="192.0.2.0/24"), {"client_ip": "192.0.2.9"}, {"client_ip": "192.0.3.9"}),
        (Match(client="192.0.2.0/24"), {"client_ip": "::ffff:192.0.2.9"}, {"client_ip": ""}),
        (Match(client=["192.0.2.1", "2001:db8::/32"]), {"client_ip": "2001:db8::1"}, {"client_ip": "192.0.2.2"}),
        (Match(user="al*"), {"user": "alice"}, {"user": "bob"}),
        (Match(authenticated=True), {"user": "alice"}, {"user": ""}),
        (Match(authenticated=False), {"user": ""}, {"user": "alice"}),
        (Match(helo=".example.com"), {"helo": "Mail.Example.COM"}, {"helo": "mail.example.org"}),
        (Match(when=lambda event: event.facts.message.record.id == "a"), {"id": "a"}, {"id": "b"}),  # type: ignore[union-attr]
        (Match(sender="a@x", size="<1KiB"), {"sender": "a@x"}, {"sender": "a@x", "raw": b"x" * 2000}),
        (Match(rule="mail from=*@example.com"), {"sender": "a@example.com"}, {"sender": "a@example.org"}),
        (Match(rule="MAIL FROM=alice"), {"sender": "Alice@any.example"}, {"sender": "bob@any.example"}),
        (Match(rule="mail from=*@*example.com;ehlo=client*"), {"sender": "a@notexample.com", "helo": "client7"}, {"helo": "client7"}),
        (Match(rule="mail from"), {"sender": "a@b"}, None),
    ],
)
def test_each_condition_of_a_message_holds_when_it_should(match: Match, yes: dict[str, Any], no: dict[str, Any] | None) -> None:
    assert holds(match, at(Submission, message_work(**{"sender": "x@y.example", **yes}), None))
    if no is not None:
        assert not holds(match, at(Submission, message_work(**{"sender": "x@y.example", **no}), None))


@pytest.mark.parametrize(
    ("match", "yes", "no"),
    [
        (Match(tls=True), {"tls": TlsFacts("TLSv1.3")}, {"tls": None}),
        (Match(tls=False), {"tls": None}, {"tls": TlsFacts("TLSv1.3")}),
        (Match(helo="client.example"), {"helo": "CLIENT.example"}, {"helo": "x.client.example"}),
        (Match(listener=["mx", "mx2"]), {"listener": "mx2"}, {"listener": "mx3"}),
        (Match(client="2001:db8::/32"), {"client_ip": "2001:db8::9"}, {"client_ip": "192.0.2.1"}),
        (Match(user="*@example.com"), {"user": "a@example.com"}, {"user": ""}),
    ],
)
def test_each_condition_of_a_session_holds_when_it_should(match: Match, yes: dict[str, Any], no: dict[str, Any]) -> None:
    assert holds(match, at(MailFrom, None, session_work(**yes)))
    assert not holds(match, at(MailFrom, None, session_work(**no)))


def test_the_declared_size_counts_while_there_is_no_content() -> None:
    work = message_work()
    work.content = None
    work.record.envelope.parameters = MailParameters(size=2000)
    assert holds(Match(size=">1KiB"), at(MailFrom, work))
    work.record.envelope.parameters = MailParameters()
    assert not holds(Match(size=">1KiB"), at(MailFrom, work))


def test_a_recipient_condition_is_about_one_recipient_at_rcpt_and_about_some_recipient_of_a_message() -> None:
    work = message_work(recipients=("a@x.example", "b@y.example", "c@y.example"))
    match = Match(recipient="y.example")
    assert not holds(match, at(RcptTo, work, recipient=Recipient(Address.parse("new@x.example"))))
    assert holds(match, at(RcptTo, work, recipient=Recipient(Address.parse("new@y.example"))))
    event = at(Submission, work)
    assert holds(match, event)
    assert [str(r.address) for r in event.matched_recipients] == ["b@y.example", "c@y.example"]
    assert not holds(Match(recipient="z.example"), at(Submission, work))


def test_destination_is_the_domain_of_the_one_recipient() -> None:
    match = Match(destination=[".y.example", "z.example"])
    for address, fits in (("a@m.y.example", True), ("a@z.example", True), ("a@x.example", False)):
        assert holds(match, at(LocalDelivery, recipient=Recipient(Address.parse(address)))) is fits


def test_verb_is_the_command_that_a_refusal_answered_or_the_new_verb() -> None:
    assert holds(Match(verb="RCPT"), at(Rejected, command="rcpt TO:<x@y>"))
    assert not holds(Match(verb="RCPT"), at(Rejected, command="MAIL FROM:<x@y>"))
    assert holds(Match(verb="XQ*"), at(Verb, keyword="XQDEPTH"))


@pytest.mark.parametrize(
    ("code", "reply", "fits"),
    [
        ("5xx", Reply(550, "5.1.1"), True),
        ("5xx", Reply(450, "4.1.1"), False),
        ("50x", Reply(501), True),
        ("501", Reply(501), True),
        ("501", Reply(550), False),
        ("4.7.*", Reply(451, "4.7.12"), True),
        ("4.7.*", Reply(451, "4.3.7"), False),
        ("5.1.1", Reply(550, "5.1.1"), True),
        ("5.1.1", Reply(550, "5.1.10"), False),
        (["4xx", "501"], Reply(501), True),
    ],
)
def test_a_code_is_a_reply_code_or_an_enhanced_code(code: Any, reply: Reply, fits: bool) -> None:
    assert holds(Match(code=code), at(Rejected, reply=reply)) is fits


def test_a_sample_takes_about_its_share_and_always_the_same_messages() -> None:
    ids = [f"id{n}" for n in range(2000)]

    def taken(percent: float) -> set[str]:
        return {i for i in ids if holds(Match(sample=percent), at(Submission, message_work(id=i)))}

    assert 150 < len(taken(10)) < 250
    assert taken(10) == taken(10)
    assert taken(10) < taken(50)
    assert taken(100) == set(ids)


_ALWAYS = {"client", "listener", "authenticated", "user", "direction", "origin", "when"}
_TRANSACTION = _ALWAYS | {"helo", "tls", "sender", "recipient", "sample", "size"}
_MESSAGE = (_TRANSACTION | {"header"}) - {"tls"}
_OF_MESSAGE = (
    "PreCategorize", "Resolve", "Categorized", "PostCategorize", "Bounce", "DelayNotice", "SuccessNotice", "MessageStart", "BeforeData",
    "Tracked",
)  # fmt: skip
_ABOUT_SERVER = (
    "Connecting", "SessionStart", "SessionEnd", "ResolveHost", "QueueStateChanged", "RoutesChanged", "ConfigChanged", "ServerStarted",
    "ServerStopping",
)  # fmt: skip
POSSIBLE: dict[str, set[str]] = {
    "Connected": _ALWAYS | {"tls"},
    "Helo": _ALWAYS | {"tls", "helo"},
    "Ehlo": _ALWAYS | {"tls", "helo"},
    "Verb": _ALWAYS | {"tls", "helo", "verb"},
    "StartTls": _ALWAYS | {"tls", "helo"},
    "TlsEstablished": _ALWAYS | {"tls"},
    "Auth": _ALWAYS | {"tls", "helo"},
    "Credentials": _ALWAYS | {"tls", "helo"},
    "Authenticated": _ALWAYS | {"tls", "helo"},
    "SessionEnded": _ALWAYS | {"tls", "helo"},
    "MailFrom": _TRANSACTION - {"recipient"},
    "RcptTo": _TRANSACTION | {"destination"},
    "Data": _TRANSACTION,
    "EndOfHeaders": _TRANSACTION | {"header"},
    "EndOfData": _TRANSACTION | {"header"},
    "Submission": (_TRANSACTION | {"header"}) - {"tls"},
    "LocalDelivery": (_TRANSACTION | {"header", "destination"}) - {"tls"},
    "Accepted": _TRANSACTION | {"header"},
    "Rejected": (_TRANSACTION | {"verb", "code"}) - {"size"},
    "MaxMessageSize": _TRANSACTION,
    "ServerResponse": _MESSAGE | {"destination", "verb", "code"},
    "PerRecipient": _MESSAGE | {"destination"},
    "Route": _MESSAGE | {"destination"},
    "Relayed": _MESSAGE | {"destination", "code"},
    "Delivered": _MESSAGE | {"destination", "code"},
    "Deferred": _MESSAGE | {"destination", "code"},
    "Failed": _MESSAGE | {"destination", "code"},
    "Expired": _MESSAGE | {"destination", "code"},
    "Expanded": _MESSAGE | {"destination"},
    "Dropped": _MESSAGE | {"destination"},
    "Quarantined": _MESSAGE | {"destination"},
    **dict.fromkeys(_OF_MESSAGE, _MESSAGE),
    **{event: {"when"} for event in _ABOUT_SERVER},
}
EXAMPLES: dict[str, Any] = {
    "authenticated": True,
    "client": "192.0.2.1",
    "code": "5xx",
    "direction": "in",
    "header": {"A": "*"},
    "origin": "smtp",
    "sample": 50.0,
    "size": ">1KiB",
    "tls": True,
    "when": bool,
}
CONDITIONS = sorted({f.name for f in fields(Match)} - {"rule"})


@pytest.mark.parametrize("event", sorted(CATALOG))
@pytest.mark.parametrize("condition", CONDITIONS)
def test_what_can_never_match_is_refused_and_what_can_is_taken(event: str, condition: str) -> None:
    match = Match(**{condition: EXAMPLES.get(condition, "*")})
    if condition in POSSIBLE[event]:
        assert [each.name for each in compile_match(match, CATALOG[event])] == [condition]
    else:
        with pytest.raises(ValueError, match=f"'{condition}' can never match at "):
            compile_match(match, CATALOG[event])


@pytest.mark.parametrize(
    ("match", "words"),
    [
        (Match(size="big"), "'size' is not understood: 'big' should look like"),
        (Match(size="> 1 XB"), "'size' is not understood"),
        (Match(client="192.0.2.1/99"), "'client' is not understood"),
        (Match(client=[]), "'client' is not understood: it is empty"),
        (Match(sender=""), "'sender' is not understood: it is empty"),
        (Match(direction="up"), "'up' is none of in, out, internal"),
        (Match(origin=["smtp", "fax"]), "'fax' is none of smtp"),
        (Match(sample=0), "percentage"),
        (Match(sample=101), "percentage"),
        (Match(header={}), "'header' is not understood: it is empty"),
        (Match(rule="subject=*"), "'rule' is not understood: 'subject=*'"),
        (Match(rule="mail from=a@b", sender="c@d"), "both ask about the sender"),
        (Match(rule="mail from=a;mail from=b"), "both ask about the sender"),
    ],
)
def test_a_condition_that_does_not_parse_is_refused_with_the_reason(match: Match, words: str) -> None:
    with pytest.raises(ValueError) as caught:
        compile_match(match, EndOfData)
    assert words in str(caught.value)


@pytest.mark.parametrize("code", ["6xx", "55", "5.x", "abc", "5.1.1.1"])
def test_a_code_that_no_reply_has_is_refused(code: str) -> None:
    with pytest.raises(ValueError, match="should look like"):
        compile_match(Match(code=code), Rejected)


def test_a_rule_string_of_the_original_is_refused_where_it_could_never_match() -> None:
    with pytest.raises(ValueError, match="'recipient' can never match at Ehlo"):
        compile_match(Match(rule="ehlo=*;rcpt to=a"), Ehlo)
