"""The conditions of ``Match``, each compiled to a test of an event, and to words for what the event had.

Conditions read the server's own data, never a view, so that matching makes no drafts.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any

from .event import Event
from .pattern import Keys, Strings, address_keys, address_test, domain_keys, domain_test, glob, many, text_keys

Test = Callable[[Event], bool]
Found = Callable[[Event], str]
_SIZE = re.compile(r"\s*([<>])(=?)\s*([0-9]+(?:\.[0-9]+)?)\s*(B|KiB|MiB|GiB)?\s*", re.IGNORECASE)
_UNITS = {"": 1, "b": 1, "kib": 1024, "mib": 1024**2, "gib": 1024**3}
# So many recipients or octets are shown of what an event had.
_SHOWN, _LONGEST = 10, 200


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition of a binding.

    Args:
        name: as in ``Match``; "when" for a predicate.
        wanted: as it was written.
        test: whether it holds at an event.
        found: what the event had, in words.
        keys: what an index may find it by; None for a condition that has to be tried.
    """

    name: str
    wanted: str
    test: Test
    found: Found
    keys: Keys | None = None


def compile_condition(name: str, value: Any) -> Condition:
    """The condition of this name. Raises ValueError for a value that is not understood."""
    make = _COMPILERS.get(name)
    if make is None:
        return Condition(name, getattr(value, "__name__", "a function"), value, lambda event: "")
    test = make(value)
    keys = _KEYS[name](value) if name in _KEYS else None
    return Condition(name, _written(value), test, _found_fields(list(value)) if name == "header" else _FOUND[name], keys)


def _written(value: Any) -> str:
    """A condition's value as it was written, on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={pattern}" for name, pattern in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


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
    tests = [domain_test(pattern) for pattern in many(patterns)]
    return lambda event: any(test(r.address.domain) for r in event.recipients_now() for test in tests)


def session_fact(event: Event, name: str) -> Any:
    """Something that the session knows, and the message's record after it; None where there is neither."""
    if event.facts.session is not None:
        return getattr(event.facts.session, name)
    return None if event.facts.message is None else getattr(event.facts.message.record, name, "")


def _from_session(name: str, test: Callable[[Any], bool]) -> Test:
    def ask(event: Event) -> bool:
        value = session_fact(event, name)
        return value is not None and test(value)

    return ask


def _text(name: str) -> Callable[[Strings], Test]:
    def compile_text(patterns: Strings) -> Test:
        compiled = [glob(pattern) for pattern in many(patterns)]
        return _from_session(name, lambda value: any(pattern.fullmatch(value) for pattern in compiled))

    return compile_text


def _helo(patterns: Strings) -> Test:
    tests = [domain_test(pattern) for pattern in many(patterns)]
    return _from_session("helo", lambda value: any(test(value.lower()) for test in tests))


def _tls(wanted: bool) -> Test:
    # None is what a session in clear has, so it is no reason not to ask.
    return lambda event: event.facts.session is not None and (event.facts.session.tls is not None) == wanted


def _client(networks: Strings) -> Test:
    parsed = [ip_network(network, strict=False) for network in many(networks)]

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
        wanted = frozenset(many(values))
        if wanted - set(allowed):
            raise ValueError(f"{min(wanted - set(allowed))!r} is none of {', '.join(allowed)}")
        return lambda event: getattr(event, name) in wanted

    return compile_choice


def size_now(event: Event) -> int | None:
    """Octets of the message's content, or as many as the client announced; None without a message."""
    message = event.facts.message
    if message is None:
        return None
    return message.content.size if message.content else (message.record.envelope.parameters.size or 0)


def _size(text: str) -> Test:
    parsed = _SIZE.fullmatch(text)
    if not parsed:
        raise ValueError(f"{text!r} should look like '>1MiB' or '<= 64 KiB'")
    limit = float(parsed[3]) * _UNITS[(parsed[4] or "").lower()]
    above, equal = parsed[1] == ">", bool(parsed[2])

    def ask(event: Event) -> bool:
        size = size_now(event)
        if size is None:
            return False
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


def verb_of(event: Event) -> str:
    """The verb that an event is about, "" for none."""
    return getattr(event, "keyword", "") or getattr(event, "verb", "") or getattr(event, "command", "").partition(" ")[0]


def _verb(patterns: Strings) -> Test:
    compiled = [glob(pattern) for pattern in many(patterns)]

    def ask(event: Event) -> bool:
        verb = verb_of(event)
        return any(pattern.fullmatch(verb) for pattern in compiled)

    return ask


def _code(patterns: Strings) -> Test:
    tests = []
    for pattern in many(patterns):
        if not re.fullmatch(r"[2-5][0-9x]{2}|[245]\.(?:\d+|\*)(?:\.(?:\d+|\*))?", pattern):
            raise ValueError(f"{pattern!r} should look like '5xx', '501' or '4.7.*'")
        tests.append(re.compile(re.escape(pattern).replace("x", r"\d").replace(r"\*", r"[\d.]+")))

    def ask(event: Event) -> bool:
        reply = getattr(event, "reply", None)
        return reply is not None and any(t.fullmatch(str(reply.code)) or t.fullmatch(reply.enhanced) for t in tests)

    return ask


def place_of(name: str) -> float:
    """Where an id stands between 0 and 100, always in the same place: those below 5 are a sample of 5 percent."""
    return zlib.crc32(name.encode()) % 10_000 / 100


def _sample(percent: float) -> Test:
    if not 0 < percent <= 100:
        raise ValueError("it takes a percentage above 0 and up to 100")

    def ask(event: Event) -> bool:
        message = event.facts.message
        return message is not None and place_of(message.record.id) < percent

    return ask


_COMPILERS: dict[str, Callable[[Any], Test]] = {
    "sender": _sender,
    "recipient": _recipient,
    "helo": _helo,
    "client": _client,
    "listener": _text("listener"),
    "authenticated": lambda wanted: _from_session("user", lambda value: bool(value) == wanted),
    "user": _text("user"),
    "tls": _tls,
    "direction": _one_of("direction", ("in", "out", "internal")),
    "origin": _one_of("origin", ("smtp", "submission-api", "pickup", "milter", "dsn", "sink")),
    "size": _size,
    "header": _header,
    "verb": _verb,
    "code": _code,
    "destination": _destination,
    "sample": _sample,
}
_KEYS: dict[str, Callable[[Any], Keys | None]] = {
    "sender": lambda value: address_keys("sender", value),
    "recipient": lambda value: address_keys("recipient", value),
    "destination": lambda value: domain_keys("recipient", value),
    "listener": lambda value: text_keys("listener", value),
    "verb": lambda value: text_keys("verb", value),
}


def _of_session(name: str) -> Found:
    return lambda event: str(session_fact(event, name) or "nothing")


def _found_sender(event: Event) -> str:
    message = event.facts.message
    return "no message" if message is None else str(message.record.envelope.sender) or "<>"


def _found_recipients(event: Event) -> str:
    recipients = event.recipients_now()
    shown = ", ".join(str(recipient.address) for recipient in recipients[:_SHOWN])
    more = len(recipients) - _SHOWN
    return f"{shown} and {more} more" if more > 0 else shown or "no recipient"


def _found_fields(names: list[str]) -> Found:
    def found(event: Event) -> str:
        message = event.facts.message
        if message is None or message.content is None:
            return "no content"
        fields = [field for name in names for field in message.section().named(name)]
        return "; ".join(f"{field.name}: {field.value[:_LONGEST]}" for field in fields[:_SHOWN]) or "no such field"

    return found


def _found_size(event: Event) -> str:
    size = size_now(event)
    return "no message" if size is None else f"{size} octets"


def _found_code(event: Event) -> str:
    reply = getattr(event, "reply", None)
    return "no reply" if reply is None else f"{reply.code} {reply.enhanced}".strip()


def _found_sample(event: Event) -> str:
    message = event.facts.message
    return "no message" if message is None else f"{place_of(message.record.id):g}"


_FOUND: dict[str, Found] = {
    "sender": _found_sender,
    "recipient": _found_recipients,
    "destination": _found_recipients,
    "helo": _of_session("helo"),
    "client": _of_session("client_ip"),
    "listener": _of_session("listener"),
    "user": _of_session("user"),
    "tls": _of_session("tls"),
    "authenticated": lambda event: "true" if session_fact(event, "user") else "false",
    "direction": lambda event: event.direction,
    "origin": lambda event: event.origin,
    "size": _found_size,
    "verb": lambda event: verb_of(event) or "no verb",
    "code": _found_code,
    "sample": _found_sample,
}
