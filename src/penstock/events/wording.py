"""Verdicts, and what events are about, in words: for traces, which people read.

What may be secret is not told: of AUTH the mechanism, of a verb that we do not know its name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, fields
from datetime import timedelta
from typing import Any

from . import catalog as c
from .event import OneRecipient
from .outbound import Remote
from .reports import Attempted, RecipientReport
from .transit import Notice
from .verdict import Verdict

_LONGEST = 300


def verdict_words(verdict: Verdict | None) -> str:
    """A verdict as a person would write it: ``Reject 550 5.1.1 No such user``, ``Defer after 1:00:00``; "" for None."""
    if verdict is None:
        return ""
    name = type(verdict).__name__
    code = getattr(verdict, "code", None)
    if code is not None and hasattr(verdict, "reply"):
        more = [f for f in fields(verdict) if f.name not in ("code", "enhanced", "text") and _is_set(verdict, f)]
        return " ".join([name, str(verdict.reply), *(f"{f.name} {_value(getattr(verdict, f.name))}" for f in more)])[:_LONGEST]
    said = [f"{f.name} {_value(getattr(verdict, f.name))}" for f in fields(verdict) if f.repr and _is_set(verdict, f)]
    return f"{name} {', '.join(said)}".rstrip()[:_LONGEST]


def _is_set(verdict: Verdict, field: Any) -> bool:
    value = getattr(verdict, field.name)
    default = (
        field.default if field.default is not MISSING else field.default_factory() if field.default_factory is not MISSING else MISSING
    )
    return value is not None and value != "" and (default is MISSING or value != default)


def _value(value: object) -> str:
    if isinstance(value, list | tuple | frozenset):
        return " ".join(map(_value, value))
    if isinstance(value, dict):
        return "; ".join(f"{key}: {_value(one)}" for key, one in value.items())
    if isinstance(value, Verdict):
        return verdict_words(value)
    return str(value) if isinstance(value, timedelta | str | int | float) else str(value)[:_LONGEST]


def about(event: c.Event) -> str:
    """What the event is about, beside its session and its message, on one line."""
    for kind, words in _WORDS:
        if isinstance(event, kind):
            return words(event)[:_LONGEST]
    return ""


def _greeting(event: c.Greeting) -> str:
    return event.name


def _sender(event: c.MailFrom) -> str:
    work = event.facts.message
    return f"<{work.record.envelope.sender}>" if work is not None else ""


def _content(event: c.Event) -> str:
    work = event.facts.message
    return f"{work.content.size} octets" if work is not None and work.content is not None else ""


def _reply(event: c.ServerResponse) -> str:
    # What a server asks of who logs in is nobody's business.
    said = str(event.reply.code) if event.verb == "AUTH" else str(event.reply)
    return f"{event.verb or 'banner'}: {said}"


def _rejected(event: c.Rejected) -> str:
    return f"{event.command or 'connection'}: {event.reply} (by {event.by})"


def _resolve(event: c.Resolve) -> str:
    return ", ".join(f"<{item.address}>" for item in event.kept[:10]) + (", ..." if len(event.kept) > 10 else "")


def _connecting(event: c.Connecting) -> str:
    return f"{event.remote.next_hop} at {event.address}" + (f" port {event.port}" if event.port else "")


def _remote(event: Any) -> str:
    remote = event.facts.outbound.remote if event.facts.outbound is not None else None
    return f"{remote.name or remote.host} [{remote.address}]" if isinstance(remote, Remote) else ""


def _attempted(event: Attempted) -> str:
    return " ".join(filter(None, (f"<{event.recipient.address}>", event.status, event.where, event.text)))


_Words = tuple[type[c.Event], Callable[[Any], str]]
# The first that fits.
_WORDS: tuple[_Words, ...] = (
    (c.Connected, lambda event: event.facts.session.client_ip),
    (c.Greeting, _greeting),
    (c.Auth, lambda event: event.mechanism),
    # Not for whom: people type passwords where the name belongs.
    (c.Credentials, lambda event: f"{event.kind} for {event.mechanism}"),
    (c.MailFrom, _sender),
    (c.ServerResponse, _reply),
    (OneRecipient, lambda event: f"<{event.work.address}>"),
    (c.EndOfData, _content),
    (c.Submission, _content),
    (c.MaxMessageSize, lambda event: f"{event.size} octets, with a limit of {event.limit}"),
    (c.Verb, lambda event: event.keyword),
    (c.Resolve, _resolve),
    (c.Route, lambda event: event.destination),
    (c.ResolveHost, lambda event: f"{event.kind} of {event.name}"),
    (c.Connecting, _connecting),
    (c.SessionStart, _remote),
    (c.SessionEnd, _remote),
    (c.MessageStart, lambda event: event.command),
    (c.Rejected, _rejected),
    (c.SessionEnded, lambda event: event.reason),
    (c.TlsEstablished, lambda event: f"{event.tls.version} {event.tls.cipher}".strip()),
    (c.AuthenticatedReport, lambda event: f"{event.user} by {event.mechanism}"),
    (Attempted, _attempted),
    (RecipientReport, lambda event: f"<{event.recipient.address}>"),
    (c.Tracked, lambda event: event.step.name.lower().replace("_", " ")),
    (Notice, lambda event: f"about {event.about}"),
)
