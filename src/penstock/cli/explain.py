"""``penstock explain``: which bindings would be asked about a message that does not exist, and which condition decides it.

Conditions are those that the server works with, tried on events made as the server makes them. No handler is called. What was not given is
not taken for false: a condition that depends on it is said to be open.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import typer

from ..config import Config, load, plugs
from ..errors import AddressError
from ..events.binding import Binding, Bindings
from ..events.catalog import CATALOG, Event
from ..mail.address import NULL, Address
from ..mail.reply import Reply
from .bindings import event_label, event_named, state_of
from .bindings_live import Live, ask_workers
from .exits import EX_NOINPUT, EX_USAGE, Stop
from .in_json import in_json
from .offline import printable
from .pipes import quiet_pipe
from .styles import bad, bold, dim, doubt, good
from .supposed import Moments, Supposed, header_of

Answer = Literal["yes", "no", "open"]
# The option that says what a condition asks about, where it is not called like it; a sample goes by the id of the message.
_OPTIONS = {"sender": "--from", "recipient": "--to", "destination": "--to", "authenticated": "--user", "sample": ""}
_MARK = {"yes": good("yes "), "no": bad("no  "), "open": doubt("?   ")}


@dataclass(frozen=True, slots=True)
class Given:
    """What the command line says, as it was written."""

    sender: str | None = None
    recipients: tuple[str, ...] = ()
    header: tuple[str, ...] = ()
    message: Path | None = None
    code: str = ""


@dataclass(frozen=True, slots=True)
class Tried:
    """One condition: whether it holds, as far as that is known, and why."""

    name: str
    wanted: str
    found: str
    holds: Answer


@dataclass(frozen=True, slots=True)
class Judgement:
    """One binding at one event: whether it would be asked, and what decides it."""

    event: str
    about: str
    binding: str
    handler: str
    priority: int
    asked: Answer
    why: str
    conditions: tuple[Tried, ...]


def explain(path: Path, supposed: Supposed, given: Given, event: str, as_json: bool) -> None:
    """Shows all bindings of the events of a message's way, or of one. Raises ConfigError; Stop for what cannot be supposed."""
    wanted = event_named(event) if event else ""
    config = load(path)
    whole = _completed(config, supposed, given)
    bound = Bindings(plugs(config))
    found = list(_judgements(bound, Moments(whole), whole, wanted, ask_workers(config)))
    with quiet_pipe():
        if as_json:
            typer.echo(in_json([asdict(one) for one in found]))
        else:
            _write(found)


def _completed(config: Config, supposed: Supposed, given: Given) -> Supposed:
    """What is supposed, with what had to be read and understood first."""
    names = [one.name for one in config.listeners]
    listener = supposed.listener or (names[0] if len(names) == 1 else None)
    if listener is not None and listener not in names:
        raise Stop(EX_USAGE, f"there is no listener {listener!r}", f"there are: {', '.join(names)}")
    header = "".join(f"{field}\r\n" for field in given.header).encode()
    whole = replace(
        supposed,
        sender=None if given.sender is None else _address(given.sender),
        recipients=tuple(map(_address, given.recipients)),
        listener=listener,
        header=header or None,
        reply=_reply(given.code) if given.code else None,
    )
    if given.message is None:
        return whole
    try:
        octets = given.message.read_bytes()
    except OSError as error:
        raise Stop(EX_NOINPUT, f"{given.message} cannot be read: {error.strerror}") from None
    size = len(octets) if supposed.size is None else supposed.size
    return replace(whole, header=header + header_of(octets), whole=True, size=size)


def _address(text: str) -> Address:
    try:
        return NULL if text in ("", "<>") else Address.parse(text.removeprefix("<").removesuffix(">"))
    except AddressError as error:
        raise Stop(EX_USAGE, f"{text!r} is no address: {error}") from None


def _reply(text: str) -> Reply:
    """A code such as 550, or with its enhanced code, "550 5.1.1"."""
    code, _, enhanced = text.partition(" ")
    if not (code.isascii() and code.isdigit() and 200 <= int(code) <= 599):
        raise Stop(EX_USAGE, f"{text!r} is no reply code", "write 550, or '550 5.1.1'")
    return Reply(int(code), enhanced)


def _judgements(bound: Bindings, moments: Moments, supposed: Supposed, wanted: str, live: Live | None) -> Iterator[Judgement]:
    for name, event in CATALOG.items():
        if wanted and name != wanted:
            continue
        for keyword in sorted({one.keyword for one in bound.all if one.event is event}):
            for about, moment in moments.of(event, keyword):
                for binding in bound.listed(event, keyword):
                    yield _judge(binding, moment, about, supposed, live)


def _judge(binding: Binding, moment: Event, about: str, supposed: Supposed, live: Live | None) -> Judgement:
    conditions = tuple(_tried(binding, moment, supposed))
    asked: Answer = "yes"
    why = ""
    state = _state(binding, live)
    if state in ("disabled", "expired", "used up") or state.startswith("breaker open"):
        asked, why = "no", f"it is {state}" if state != "used up" else "it has fired as often as it may"
    elif failing := [one for one in conditions if one.holds == "no"]:
        asked, why = "no", f"{failing[0].name} does not hold"
    elif unknown := [one.name for one in conditions if one.holds == "open"]:
        asked, why = "open", f"it depends on: {', '.join(unknown)}"
    elif state == "shadow":
        why = "about a copy: it is a shadow, and only compared"
    elif share := _share(binding):
        asked, why = "open", share
    about = about if binding.event.__name__ not in ("Verb", "Auth") else ""
    return Judgement(event_label(binding), about, binding.name, binding.method, binding.plug.priority, asked, why, conditions)


def _state(binding: Binding, live: Live | None) -> str:
    """What the running server says of a binding, or else what the files do."""
    known = (live or {}).get((binding.name, binding.method, event_label(binding)))
    return str(known["state"]) if known is not None else state_of(binding.plug, time.time())


def _share(binding: Binding) -> str:
    plug = binding.plug
    if plug.canary is not None:
        return f"it is a canary, asked about {plug.canary.percent:g}% of the {plug.canary.sticky}s"
    return f"it is asked about a sample of {plug.sample:g}%" if plug.sample < 100 else ""


def _tried(binding: Binding, moment: Event, supposed: Supposed) -> Iterator[Tried]:
    moment.matched = ()
    for one in binding.conditions:
        if one.name == "when":
            yield Tried(one.name, one.wanted, "a predicate, which is not run here", "open")
        elif not supposed.knows(one.name, binding.event):
            yield Tried(one.name, one.wanted, _not_given(one.name), "open")
        else:
            holds = one.test(moment)
            # Of a header of which only some fields were given, others may be there.
            sure = holds or one.name != "header" or supposed.whole
            yield Tried(one.name, one.wanted, one.found(moment), "yes" if holds else "no" if sure else "open")


def _not_given(name: str) -> str:
    option = {"sender": "--from", "recipient": "--to", "destination": "--to", "authenticated": "--user", "sample": ""}.get(
        name, f"--{name}"
    )
    return f"not known; give {option}" if option else "by the id of the message"


def _write(found: Sequence[Judgement]) -> None:
    if not found:
        typer.echo("nothing is bound there")
    heading = ("", "")
    width = min(max((len(one.binding) for one in found), default=0), 28)
    for one in found:
        if (one.event, one.about) != heading:
            typer.echo(f"{chr(10) if heading[0] else ''}{bold(one.event)} {printable(one.about)}".rstrip())
            heading = (one.event, one.about)
        why = dim(f"  {one.why}") if one.why else ""
        typer.echo(f"  {_MARK[one.asked]}{one.priority:>5}  {printable(one.binding).ljust(width)}  {one.handler}{why}")
        for tried in one.conditions:
            found_here = dim(f", found {printable(tried.found)[:100]}") if tried.found else ""
            typer.echo(f"        {_MARK[tried.holds]}{tried.name} {printable(tried.wanted)[:100]}{found_here}")
