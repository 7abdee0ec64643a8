"""Match conditions: which events a binding is asked about.

A condition compiles to a test once, when the configuration is loaded (``condition``); what does not parse, or can never hold at its event,
is an error then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from .condition import Condition as Condition
from .condition import Test as Test
from .condition import compile_condition
from .event import Event
from .pattern import Strings as Strings
from .pattern import glob as glob

_ORIGINAL = {"mail from": "sender", "rcpt to": "recipient", "ehlo": "helo", "helo": "helo"}


@dataclass(frozen=True, slots=True)
class Match:
    """The conditions of a binding; all that are given must hold. A list means any of its items.

    Args:
        sender: address pattern: ``*`` anywhere, ``example.com`` that domain, ``.example.com`` that domain and all below it.
        recipient: address pattern, as ``sender`` has it, for a recipient; on an event of a whole message, one recipient is enough.
        helo: domain pattern, as ``sender`` has it, for what the client called itself.
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
# The handshake makes the server forget what was said before it (RFC 3207 §4.2).
_BEFORE_HELO = {"Connected", "TlsEstablished"}
_REMOTE = {"Connecting", "SessionStart", "SessionEnd"}
_ABOUT_SERVER = {"ResolveHost", "QueueStateChanged", "RoutesChanged", "ConfigChanged", "ServerStarted", "ServerStopping"}
# RFC 4954 §4: the AUTH command is not permitted during a mail transaction.
_AUTH = {"Auth", "Credentials", "AuthenticatedReport"}
# RFC 3207 §4: between EHLO and MAIL, or before the banner.
_TLS = {"StartTls", "TlsEstablished"}
_NO_MESSAGE = {
    "Connected", "Helo", "Ehlo", "Verb", "SessionEnded", "Connecting", "SessionStart", "SessionEnd", *_AUTH, *_TLS, *_ABOUT_SERVER,
}  # fmt: skip
_NO_CONTENT = _NO_MESSAGE | {"MailFrom", "RcptTo", "Data", "MaxMessageSize"}
_WITH_VERB = {"Verb", "Rejected", "ServerResponse"}
_WITH_REPLY = {"Rejected", "ServerResponse", "Relayed", "Deferred", "Failed", "Expired", "DeliveredReport"}
_IN_SESSION = {
    "Connected", "Helo", "Ehlo", "MailFrom", "RcptTo", "Data", "EndOfHeaders", "EndOfData", "Verb", "MaxMessageSize",
    "Accepted", "Rejected", "SessionEnded", *_AUTH, *_TLS,
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


def compile_match(match: Match, event: type[Event]) -> list[Condition]:
    """The conditions of a match at an event, in the order of ``Match``.

    Raises: ValueError that names the condition and the reason.
    """
    compiled = []
    for name, value in _conditions(match).items():
        reason = impossible(name, event.__name__)
        if reason:
            raise ValueError(f"{name!r} can never match at {event.__name__}: {reason}")
        try:
            compiled.append(compile_condition(name, value))
        except ValueError as error:
            raise ValueError(f"{name!r} is not understood: {error}") from None
    return compiled


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
