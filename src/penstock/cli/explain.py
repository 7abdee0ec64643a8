"""``penstock explain``: judges the conditions of all bindings for a message that is only supposed.

The bindings are those that the server works with, and the conditions are the compiled ones: it is not a description of matching but
matching itself. What was not given is not taken for empty: a condition about it is unknown, and the binding may run.
"""

from __future__ import annotations

import difflib
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal, cast, get_args

from ..config import Config, load, plugs
from ..config.values import Size
from ..errors import AddressError
from ..events.binding import Binding, Bindings
from ..events.catalog import CATALOG, Auth, Event, Verb
from ..events.condition import Condition
from ..mail.address import Address
from ..mail.message import Direction, Origin
from ..mail.reply import Reply
from .bindings_live import Live, ask_workers
from .exits import EX_NOINPUT, EX_USAGE, Stop
from .supposed import Moments, Supposed, header_of

Answer = Literal["runs", "may run", "does not run"]
# The order of a message's way; what is not here comes last.
WAY = (
    "Connected", "Ehlo", "Helo", "Auth", "Authenticated", "MailFrom", "MaxMessageSize", "RcptTo", "Data", "EndOfHeaders", "EndOfData",
    "Accepted", "Verb", "Rejected", "SessionEnded",
    "Submission", "PreCategorize", "Resolve", "Expanded", "Categorized", "PostCategorize", "Route", "LocalDelivery", "ResolveHost",
    "Connecting", "SessionStart", "MessageStart", "PerRecipient", "BeforeData", "ServerResponse", "SessionEnd",
    "Delivered", "Relayed", "Deferred", "Failed", "Expired", "Dropped", "Quarantined", "Bounce", "DelayNotice", "SuccessNotice",
)  # fmt: skip
_CODE = re.compile(r"([2-5][0-9]{2})(?:\s+([245]\.[0-9]{1,3}\.[0-9]{1,3}))?")


@dataclass(frozen=True, slots=True)
class Asking:
    """What is asked.

    Args:
        event: only about this one; "" for all.
        run_when: predicates are run, not only named.
    """

    event: str = ""
    run_when: bool = False


@dataclass(frozen=True, slots=True)
class Judgement:
    """One condition.

    Args:
        condition: its name.
        wanted: as it was written.
        found: what it would find; "" when that is not known.
        held: whether it would hold; None when that is not known.
    """

    condition: str
    wanted: str
    found: str
    held: bool | None


@dataclass(frozen=True, slots=True)
class Explained:
    """One binding at one event.

    Args:
        binding: the binding.
        answer: whether its handler would be called.
        why: in words; "" when nothing keeps it.
        judgements: of its conditions.
        state: what the running server says of it, where that is not just "active"; "" when it was not asked.
    """

    binding: Binding
    answer: Answer
    why: str
    judgements: tuple[Judgement, ...]
    state: str = ""


@dataclass(frozen=True, slots=True)
class Moment:
    """One event: its name, what it is about, and its bindings in order."""

    event: str
    about: str
    bindings: tuple[Explained, ...]


def show_explanation(path: Path, supposed: Supposed, asking: Asking, as_json: bool) -> None:
    """Explains what would happen. Raises ConfigError; Stop for what cannot be supposed."""
    from .explain_shown import write_explanation, write_json

    config = load(path)
    _check_listener(config, supposed.listener)
    only = _event(asking.event) if asking.event else ""
    bound = Bindings(plugs(config))
    live = ask_workers(config)
    moments = list(explained(bound, supposed, Asking(only, asking.run_when), live))
    nobody = [name for name in [*WAY, *(n for n in CATALOG if n not in WAY)] if not any(b.event is CATALOG[name] for b in bound.all)]
    if only:
        nobody = [name for name in nobody if name == only]
    if as_json:
        write_json(supposed, moments, nobody, live is not None)
    else:
        write_explanation(supposed, moments, nobody, live is not None)


def explained(bound: Bindings, supposed: Supposed, asking: Asking, live: Live | None = None) -> Iterator[Moment]:
    """The events that somebody is bound to, in order, with what would become of each binding."""
    moments = Moments(supposed)
    for name in [*WAY, *(name for name in CATALOG if name not in WAY)]:
        kind = CATALOG[name]
        if asking.event and name != asking.event:
            continue
        for keyword in _keywords(bound, kind, supposed):
            listed = bound.listed(kind, keyword)
            label = f"{name} {keyword}".rstrip()
            for about, event in moments.of(kind, keyword) if listed else ():
                judge = _Judge(supposed, event, asking.run_when)
                found = tuple(judge.binding(binding, _state(live, binding, label)) for binding in listed)
                yield Moment(label, about if not keyword else "", found)


def _keywords(bound: Bindings, kind: type[Event], supposed: Supposed) -> Sequence[str]:
    """The verbs or mechanisms that are bound; one empty word for an event without such."""
    if kind not in (Verb, Auth):
        return ("",)
    found = sorted({binding.keyword for binding in bound.all if binding.event is kind})
    return [word for word in found if kind is Auth or not supposed.verb or word == supposed.verb]


class _Judge:
    """Judges bindings at one event."""

    def __init__(self, supposed: Supposed, event: Event, run_when: bool) -> None:
        self._supposed = supposed
        self._event = event
        self._run_when = run_when

    def binding(self, binding: Binding, state: str) -> Explained:
        """What would become of a binding."""
        self._event.matched = ()
        judgements = tuple(self._condition(binding, condition) for condition in binding.conditions)
        answer, why = self._answer(binding, judgements)
        return Explained(binding, answer, why, judgements, state)

    def _answer(self, binding: Binding, judgements: Sequence[Judgement]) -> tuple[Answer, str]:
        plug = binding.plug
        if not plug.enabled:
            return "does not run", "it is disabled"
        if plug.expires and plug.expires <= time.time():
            return "does not run", "it has expired"
        failed = [one.condition for one in judgements if one.held is False]
        if failed:
            return "does not run", f"{_listed(failed)} {'does' if len(failed) == 1 else 'do'} not match"
        unknown = [one.condition for one in judgements if one.held is None]
        if unknown:
            return "may run", f"{_listed(unknown)} {'is' if len(unknown) == 1 else 'are'} not known"
        if plug.mode == "shadow":
            return "runs", "as a shadow: about a copy, and only compared"
        if plug.canary is not None:
            return "may run", f"as a canary for {plug.canary.percent:g}% of {plug.canary.sticky}s"
        if plug.sample < 100:
            return "may run", f"for {plug.sample:g}% of messages"
        return "runs", f"until it has run {plug.max_firings} times" if plug.max_firings else ""

    def _condition(self, binding: Binding, condition: Condition) -> Judgement:
        ours = binding.plug.provenance.source == "built-in"
        runs = condition.name == "when" and (self._run_when or ours)
        if not runs and not self._supposed.knows(condition.name, type(self._event)):
            return Judgement(condition.name, condition.wanted, "", None)
        try:
            held = bool(condition.test(self._event))
            found = condition.found(self._event)
        except Exception as error:  # a predicate is code of the user's, and may want what is only supposed
            return Judgement(condition.name, condition.wanted, f"{type(error).__name__}: {error}"[:200], None)
        if not held and condition.name == "header" and not self._supposed.whole and found == "no such field":
            return Judgement(condition.name, condition.wanted, "", None)
        return Judgement(condition.name, condition.wanted, found, held)


def _listed(names: Sequence[str]) -> str:
    words = [f"'{name}'" for name in dict.fromkeys(names)]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _state(live: Live | None, binding: Binding, label: str) -> str:
    if live is None:
        return ""
    known = live.get((binding.name, binding.method, label))
    state = str(known.get("state", "")) if known is not None else "the running server does not have it yet: penstock reload"
    return "" if state in ("active", "disabled", "shadow") else state


# --- what is supposed ---


def suppose(given: Mapping[str, Any]) -> Supposed:
    """What the options say. Raises Stop for what cannot be."""
    header, size = _content(given["header"], given["message"], given["size"])
    return Supposed(
        sender=_address(given["sender"], "--from") if given["sender"] is not None else None,
        recipients=tuple(_address(address, "--to") for address in given["to"] or ()),
        client=_client(given["client"]),
        helo=given["helo"],
        listener=given["listener"],
        user=given["user"],
        tls=given["tls"],
        size=size,
        header=header,
        whole=given["message"] is not None,
        origin=cast(Origin, _word(given["origin"], get_args(Origin), "--origin")),
        direction=cast(Direction, _word(given["direction"], get_args(Direction), "--direction")),
        verb=given["verb"].upper(),
        reply=_reply(given["code"]),
    )


def _address(text: str, option: str) -> Address:
    try:
        return Address.parse(text)
    except AddressError as error:
        raise Stop(EX_USAGE, f"{option}: {error}") from None


def _client(text: str | None) -> str | None:
    try:
        return None if text is None else str(ip_address(text))
    except ValueError:
        raise Stop(EX_USAGE, f"--client: {text!r} is no IP address") from None


def _word(word: str, allowed: Sequence[str], option: str) -> str:
    if word not in allowed:
        raise Stop(EX_USAGE, f"{option}: {word!r} is none of {', '.join(allowed)}")
    return word


def _reply(code: str) -> Reply | None:
    found = _CODE.fullmatch(code.strip())
    if code and not found:
        raise Stop(EX_USAGE, f"--code: {code!r} should look like 550 or '550 5.1.1'")
    return Reply(int(found[1]), found[2] or "", "") if found else None


def _content(fields: Sequence[str] | None, message: str | None, size: str | None) -> tuple[bytes | None, int | None]:
    """Header and size, as far as they are known."""
    try:
        octets = int(Size.parse(size)) if size is not None else None
    except ValueError as error:
        raise Stop(EX_USAGE, f"--size: {error}") from None
    if message is not None:
        whole = _read(message)
        return header_of(whole), len(whole) if octets is None else octets
    for field in fields or ():
        if ":" not in field or "\n" in field or "\r" in field:
            raise Stop(EX_USAGE, f"--header: {field[:60]!r} should look like 'Subject: hello'")
    return ("".join(f"{field}\r\n" for field in fields).encode() if fields else None), octets


def _read(name: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise Stop(EX_NOINPUT, f"--message: {name} cannot be read: {error.strerror}") from None


def _check_listener(config: Config, name: str | None) -> None:
    names = [listener.name for listener in config.listeners]
    if name is not None and name not in names:
        raise Stop(EX_USAGE, f"--listener: there is no listener {name!r}", f"there are: {', '.join(names) or 'none'}")


def _event(name: str) -> str:
    """The event's name as the catalogue has it. Raises Stop."""
    known = {event.lower(): event for event in CATALOG}
    if name.lower() in known:
        return known[name.lower()]
    near = difflib.get_close_matches(name.lower(), known, 1)
    raise Stop(EX_USAGE, f"there is no event {name!r}", f"did you mean {known[near[0]]}?" if near else f"there are: {', '.join(CATALOG)}")
