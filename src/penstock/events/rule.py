"""Match conditions: which events a binding is asked about.

A condition compiles to a test once, when the configuration is loaded; what does not parse, or can never hold at its event, is an error
then. Conditions read the server's own data, never a view, so that matching makes no drafts.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any

from ..mail.address import Address
from .event import Event

Test = Callable[[Event], bool]
Strings = str | list[str]
_SIZE = re.compile(r"\s*([<>])(=?)\s*([0-9]+(?:\.[0-9]+)?)\s*(B|KiB|MiB|GiB)?\s*", re.IGNORECASE)
_UNITS = {"": 1, "b": 1, "kib": 1024, "mib": 1024**2, "gib": 1024**3}
_ORIGINAL = {"mail from": "sender", "rcpt to": "recipient", "ehlo": "helo", "helo": "helo"}


@dataclass(frozen=True, slots=True)
class Match:
    """The conditions of a binding; all that are given must hold. A list means any of its items.

    Args:
        sender: address pattern: ``*`` anywhere, ``example.com`` that domain, ``.example.com`` that domain and all below it.
        recipient: the same, for a recipient; on an event of a whole message, one recipient is enough.
        helo: the same, for what the client called itself.
        client: IP addresses or networks.
        listener: names of listeners.
        authenticated: True for sessions with a user, False for those without.
        user: pattern for the user's name.
        tls: True for encrypted sessions.
        direction: "in", "out" or "internal".
        origin: "smtp", "submission-api", "pickup", "milter", "dsn" or "sink".
        size: ``">1MiB"``, ``"<= 64 KiB"``.
        header: pattern by field name; ``"*"`` asks only that the field is there.
        verb: pattern for the verb.
        code: ``"5xx"``, ``"501"``, or an enhanced code with ``*`` such as ``"4.7.*"``.
        destination: domain pattern of the recipient.
        sample: percent of messages, chosen by message id.
        rule: a rule string of the original, such as ``"mail from=*@example.com;rcpt to=sales*"``.
        when: any Python predicate on the event; only in Python.
    """

    sender: Strings | None = None
    recipient: Strings | None = None
    helo: Strings | None = None
    client: Strings | None = None
    listener: Strings | None = None
    authenticated: bool | None = None
    user: Strings | None = None
    tls: bool | None = None
    direction: Strings | None = None
    origin: Strings | None = None
    size: str | None = None
    header: Mapping[str, str] | None = None
    verb: Strings | None = None
    code: Strings | None = None
    destination: Strings | None = None
    sample: float | None = None
    rule: str | None = None
    when: Test | None = None


# Which conditions an event can meet at all; what is not listed here is known at every event.
_BEFORE_HELO = {"Connected"}
_REMOTE = {"Connecting", "SessionStart", "SessionEnd"}
_ABOUT_SERVER = {"ResolveHost", "QueueStateChanged", "RoutesChanged", "ServerStarted", "ServerStopping"}
_NO_MESSAGE = {"Connected", "Helo", "Ehlo", "Verb", "SessionEnded", "Connecting", "SessionStart", "SessionEnd", *_ABOUT_SERVER}
_NO_CONTENT = _NO_MESSAGE | {"MailFrom", "RcptTo", "Data", "MaxMessageSize"}
_WITH_VERB = {"Verb", "Rejected", "ServerResponse"}
_WITH_REPLY = {"Rejected", "ServerResponse", "Relayed", "Deferred", "Failed", "Expired", "DeliveredReport"}
_IN_SESSION = {
    "Connected", "Helo", "Ehlo", "MailFrom", "RcptTo", "Data", "EndOfHeaders", "EndOfData", "Verb", "MaxMessageSize",
    "Accepted", "Rejected", "SessionEnded",
}  # fmt: skip
_WITH_RECIPIENT = {
    "RcptTo", "LocalDelivery", "Route", "PerRecipient", "ServerResponse", "DeliveredReport", "Relayed", "Deferred", "Failed", "Expired",
    "Expanded", "Dropped", "Quarantined",
}  # fmt: skip
# From the record of a message these are known after its session, too; of a session with a remote server there is nothing of the kind.
_OF_SESSION = ("client", "listener", "user", "authenticated", "helo")


def impossible(name: str, event: str) -> str:
    """Why a condition can never hold at an event; "" when it can."""
    if name == "helo" and event in _BEFORE_HELO:
        return "the client has not said its name yet"
    if name in ("sender", "recipient", "sample") and event in _NO_MESSAGE:
        return "there is no message yet" if event not in _REMOTE | _ABOUT_SERVER else "it is not about one message"
    if name == "recipient" and event == "MailFrom":
        return "there is no recipient yet"
    if name == "header" and event in _NO_CONTENT | {"Rejected"}:
        return "the content has not arrived yet"
    if name == "size" and event in _NO_MESSAGE | {"Rejected"}:
        return "there is no message yet" if event not in _REMOTE | _ABOUT_SERVER else "it is not about one message"
    if name == "tls" and event not in _IN_SESSION:
        return "the connection is not known any more"
    if name in _OF_SESSION and event in _REMOTE | _ABOUT_SERVER:
        return "it is not about a client"
    if name in ("direction", "origin") and event in _REMOTE | _ABOUT_SERVER:
        return "it is not about a message or a client"
    if name == "verb" and event not in _WITH_VERB:
        return "it carries no verb"
    if name == "code" and event not in _WITH_REPLY:
        return "it carries no reply"
    if name == "destination" and event not in _WITH_RECIPIENT:
        return "it is not about one recipient"
    return ""


def compile_match(match: Match, event: type[Event]) -> list[tuple[str, Test]]:
    """The tests of a match at an event, by condition. Raises ValueError that names the condition and the reason."""
    tests: list[tuple[str, Test]] = []
    for name, value in _conditions(match).items():
        reason = impossible(name, event.__name__)
        if reason:
            raise ValueError(f"{name!r} can never match at {event.__name__}: {reason}")
        try:
            tests.append((name, _COMPILERS[name](value)))
        except ValueError as error:
            raise ValueError(f"{name!r} is not understood: {error}") from None
    return tests


def _conditions(match: Match) -> dict[str, Any]:
    given = {f.name: getattr(match, f.name) for f in fields(match) if getattr(match, f.name) is not None}
    rule = given.pop("rule", None)
    if rule is None:
        return given
    for name, pattern in _original(rule):
        if name in given:
            raise ValueError(f"'rule' and {name!r} both ask about the {name}")
        given[name] = pattern
    return given


def _original(rule: str) -> list[tuple[str, str]]:
    """A rule string of the original: ``command=pattern[;command=pattern...]``, all must hold."""
    conditions = []
    for part in filter(str.strip, rule.split(";")):
        command, equals, pattern = part.partition("=")
        name = _ORIGINAL.get(command.strip().lower())
        if not name:
            raise ValueError(f"'rule' is not understood: {part!r}; it takes 'mail from=', 'rcpt to=' and 'ehlo='")
        if not equals:
            continue  # a keyword alone asked for all of its commands
        pattern = pattern.strip()
        # In the original a pattern without a domain meant any domain.
        conditions.append((name, pattern if "@" in pattern or name == "helo" else f"{pattern}@*"))
    return conditions


def glob(pattern: str) -> re.Pattern[str]:
    """A pattern in which ``*`` stands for any characters, compared without regard to case."""
    first, *others = [re.escape(part) for part in pattern.split("*")]
    if not others:
        return re.compile(first, re.IGNORECASE)
    # The leftmost place of each part between two stars is as good as any, hence the atomic groups: without them a long value that almost
    # matches, such as a header field made for it, would be tried in more ways than there is time for.
    middle = "".join(f"(?>.*?{part})" for part in others[:-1])
    return re.compile(f"{first}{middle}.*{others[-1]}", re.IGNORECASE | re.DOTALL)


def _many(value: Strings) -> list[str]:
    values = [value] if isinstance(value, str) else list(value)
    if not values or any(not item for item in values):
        raise ValueError("it is empty")
    return values


def domain_test(pattern: str) -> Callable[[str], bool]:
    """Whether a domain is the one named, or, for ``.example.com``, that one or below it; ``*`` stands for any characters."""
    wanted = pattern.lower()
    if "*" in wanted:
        compiled = glob(wanted)
        return lambda domain: compiled.fullmatch(domain) is not None
    if wanted.startswith("."):
        return lambda domain: domain == wanted[1:] or domain.endswith(wanted)
    return lambda domain: domain == wanted


def address_test(patterns: Strings) -> Callable[[Address], bool]:
    """Whether an address meets one of the patterns."""
    tests: list[Callable[[Address], bool]] = []
    for pattern in _many(patterns):
        if "@" in pattern:
            local, _, domain = pattern.rpartition("@")
            tests.append(_mailbox_test(glob(local), domain_test(domain)))
        elif pattern == "<>":
            tests.append(lambda a: a.is_null)
        else:
            tests.append(_mailbox_test(glob("*"), domain_test(pattern)))
    return tests[0] if len(tests) == 1 else lambda address: any(test(address) for test in tests)


def _mailbox_test(local: re.Pattern[str], domain: Callable[[str], bool]) -> Callable[[Address], bool]:
    return lambda address: local.fullmatch(address.local) is not None and domain(address.domain)


def _sender(patterns: Strings) -> Test:
    test = address_test(patterns)
    return lambda event: event.facts.message is not None and test(event.facts.message.record.envelope.sender)


def _recipient(patterns: Strings) -> Test:
    test = address_test(patterns)

    def one_of(event: Event) -> bool:
        event.matched = tuple(index for index, r in enumerate(event.recipients_now()) if test(r.address))
        return bool(event.matched)

    return one_of


def _destination(patterns: Strings) -> Test:
    tests = [domain_test(pattern) for pattern in _many(patterns)]
    return lambda event: any(test(r.address.domain) for r in event.recipients_now() for test in tests)


def _from_session(name: str, test: Callable[[Any], bool]) -> Test:
    """A test of something that the session knows, and the message's record after it."""

    def ask(event: Event) -> bool:
        if event.facts.session is not None:
            return test(getattr(event.facts.session, name))
        return event.facts.message is not None and test(getattr(event.facts.message.record, name, ""))

    return ask


def _text(name: str) -> Callable[[Strings], Test]:
    def compile_text(patterns: Strings) -> Test:
        compiled = [glob(pattern) for pattern in _many(patterns)]
        return _from_session(name, lambda value: any(pattern.fullmatch(value) for pattern in compiled))

    return compile_text


def _helo(patterns: Strings) -> Test:
    tests = [domain_test(pattern) for pattern in _many(patterns)]
    return _from_session("helo", lambda value: any(test(value.lower()) for test in tests))


def _client(networks: Strings) -> Test:
    parsed = [ip_network(network, strict=False) for network in _many(networks)]

    def known(value: str) -> bool:
        if not value:
            return False
        address = ip_address(value)
        if isinstance(address, IPv6Address) and address.ipv4_mapped:  # an IPv4 client at a socket for both
            address = address.ipv4_mapped
        return any(address in network for network in parsed)

    return _from_session("client_ip", known)


def _one_of(name: str, allowed: tuple[str, ...]) -> Callable[[Strings], Test]:
    def compile_choice(values: Strings) -> Test:
        wanted = frozenset(_many(values))
        if wanted - set(allowed):
            raise ValueError(f"{min(wanted - set(allowed))!r} is none of {', '.join(allowed)}")
        return lambda event: getattr(event, name) in wanted

    return compile_choice


def _size(text: str) -> Test:
    parsed = _SIZE.fullmatch(text)
    if not parsed:
        raise ValueError(f"{text!r} should look like '>1MiB' or '<= 64 KiB'")
    limit = float(parsed[3]) * _UNITS[(parsed[4] or "").lower()]
    above, equal = parsed[1] == ">", bool(parsed[2])

    def ask(event: Event) -> bool:
        message = event.facts.message
        if message is None:
            return False
        size = message.content.size if message.content else (message.record.envelope.parameters.size or 0)
        return (size > limit if above else size < limit) or (equal and size == limit)

    return ask


def _header(patterns: Mapping[str, str]) -> Test:
    if not patterns:
        raise ValueError("it is empty")
    compiled = {name: glob(pattern) for name, pattern in patterns.items()}

    def ask(event: Event) -> bool:
        message = event.facts.message
        if message is None or message.content is None:
            return False
        section = message.section()
        return all(section.matches(name, pattern) for name, pattern in compiled.items())

    return ask


def _verb(patterns: Strings) -> Test:
    compiled = [glob(pattern) for pattern in _many(patterns)]

    def ask(event: Event) -> bool:
        verb = getattr(event, "keyword", "") or getattr(event, "verb", "") or getattr(event, "command", "").partition(" ")[0]
        return any(pattern.fullmatch(verb) for pattern in compiled)

    return ask


def _code(patterns: Strings) -> Test:
    tests = []
    for pattern in _many(patterns):
        if not re.fullmatch(r"[2-5][0-9x]{2}|[245]\.(?:\d+|\*)(?:\.(?:\d+|\*))?", pattern):
            raise ValueError(f"{pattern!r} should look like '5xx', '501' or '4.7.*'")
        tests.append(re.compile(re.escape(pattern).replace("x", r"\d").replace(r"\*", r"[\d.]+")))

    def ask(event: Event) -> bool:
        reply = getattr(event, "reply", None)
        return reply is not None and any(t.fullmatch(str(reply.code)) or t.fullmatch(reply.enhanced) for t in tests)

    return ask


def _sample(percent: float) -> Test:
    if not 0 < percent <= 100:
        raise ValueError("it takes a percentage above 0 and up to 100")

    def ask(event: Event) -> bool:
        message = event.facts.message
        return message is not None and zlib.crc32(message.record.id.encode()) % 10_000 < percent * 100

    return ask


_COMPILERS: dict[str, Callable[[Any], Test]] = {
    "sender": _sender,
    "recipient": _recipient,
    "helo": _helo,
    "client": _client,
    "listener": _text("listener"),
    "authenticated": lambda wanted: _from_session("user", lambda value: bool(value) == wanted),
    "user": _text("user"),
    "tls": lambda wanted: _from_session("tls", lambda value: bool(value) == wanted),
    "direction": _one_of("direction", ("in", "out", "internal")),
    "origin": _one_of("origin", ("smtp", "submission-api", "pickup", "milter", "dsn", "sink")),
    "size": _size,
    "header": _header,
    "verb": _verb,
    "code": _code,
    "destination": _destination,
    "sample": _sample,
    "when": lambda predicate: predicate,
}
