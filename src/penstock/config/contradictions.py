"""What could never fire, where that can be known: conditions that exclude each other, and controls that make no sense.

Each condition by itself is looked at where it is compiled. Here they are looked at together: those of the binding with those of the
handler, and one binding with another. What cannot be decided is let through: a false alarm would keep a server from starting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ..errors import ConfigError
from ..events.catalog import CATALOG, Event
from ..events.event import InSession
from ..events.marks import Mark, marks_of
from ..events.pattern import glob
from ..events.plug import Plug
from ..events.rule import Match
from . import overlap

# Where there is one recipient, two conditions on it are about the same one.
_ONE_RECIPIENT = {
    "RcptTo", "LocalDelivery", "Route", "PerRecipient", "Delivered", "Relayed", "Deferred", "Failed", "Expired", "Expanded", "Dropped",
    "Quarantined",
}  # fmt: skip
_PAIRS: dict[str, Callable[[Sequence[str], Sequence[str]], bool]] = {
    "sender": overlap.addresses, "recipient": overlap.addresses, "destination": overlap.domains, "helo": overlap.domains,
    "client": overlap.networks, "listener": overlap.texts, "user": overlap.texts, "direction": overlap.texts, "origin": overlap.texts,
    "verb": overlap.texts,
}  # fmt: skip
# Mail that did not come through a session has no client, no name of one, and nobody who logged in.
_OF_SESSION = ("client", "helo", "listener", "user")
_MADE_HERE = {"dsn", "sink"}


def refuse(plugs: Sequence[Plug]) -> None:
    """Raises ConfigError for the first binding that could never fire, or whose controls make no sense."""
    names = {plug.name: plug for plug in plugs}
    for plug in plugs:
        if not plug.enabled:
            continue
        _controls(plug)
        _canary(plug, names)
        if plug.match is not None:
            _alone(plug.match, f"{plug.where}.match")
        for method, mark in marks_of(type(plug.sink)):
            place = f"{plug.where}: {type(plug.sink).__qualname__}.{method}"
            if mark.match is not None:
                _alone(mark.match, place)
            for event in mark.events:
                for match, where in ((plug.match, f"{plug.where}.match"), (mark.match, place)):
                    if match is not None:
                        _in_session(match, event, where)
                _together(plug, mark, event, place)


def _controls(plug: Plug) -> None:
    for wrong, key, what, hint in (
        (plug.sample <= 0, "sample", "a sample of nothing is never asked", "to switch a binding off write enabled = false"),
        (plug.concurrency < 0, "concurrency", "it is not below 0", "0 is any number"),
        (plug.max_firings < 0, "max_firings", "it is not below 0", "0 is any number"),
        (plug.breaker.failures < 0, "breaker.failures", "it is not below 0", "0 is never"),
        (
            plug.breaker.failures > 0 and plug.breaker.rest <= 0,
            "breaker.rest",
            "an open breaker needs some time",
            "failures = 0 is without one",
        ),
        (plug.breaker.failures > 0 and plug.breaker.longest < plug.breaker.rest, "breaker.longest", "it is shorter than breaker.rest", ""),
        (plug.process.processes < 1, "process.processes", "a sink needs at least one process", ""),
    ):
        if wrong:
            raise ConfigError(f"{plug.where}.{key}", what, hint)


def _canary(plug: Plug, names: dict[str, Plug]) -> None:
    """A canary that nobody would meet, or in the place of what is not there."""
    canary = plug.canary
    if canary is None:
        return
    where = f"{plug.where}.canary"
    if canary.percent <= 0:
        raise ConfigError(where, "a canary of nothing is never asked", "write a percentage such as '5%'")
    if plug.mode == "shadow":
        raise ConfigError(where, "a shadow answers nobody, so it cannot be a canary too", "use one of them, the shadow first")
    if canary.after < 1:
        raise ConfigError(f"{where}.after", "it is judged by some calls at least")
    if not canary.replaces:
        return
    where += ".replaces"
    other = names.get(canary.replaces)
    if other is None:
        raise ConfigError(where, f"there is no binding {canary.replaces!r}", "see: penstock bindings")
    if other is plug:
        raise ConfigError(where, "a canary does not replace itself", "name the binding that is in force now")
    if other.mode == "shadow" or other.canary is not None:
        what = "a shadow" if other.mode == "shadow" else "a canary itself"
        raise ConfigError(where, f"{other.name!r} is {what}", "name the binding that is in force now")
    if not _bound_to(plug) & _bound_to(other):
        hint = f"it handles {', '.join(sorted(name for name, _ in _bound_to(other)))}"
        raise ConfigError(where, f"{other.name!r} handles none of the events of this binding", hint)


def _bound_to(plug: Plug) -> set[tuple[str, str]]:
    marks = [mark for _, mark in marks_of(type(plug.sink))]
    return {(event.__name__, mark.keyword or mark.mechanism) for mark in marks for event in mark.events}


# --- conditions ---


def _alone(match: Match, where: str) -> None:
    """Conditions of one match that exclude each other."""
    if match.authenticated is False and match.user is not None and not any(glob(p).fullmatch("") for p in _many(match.user)):
        raise ConfigError(where, "'authenticated = false' and 'user' can never both hold: without authentication there is no user")
    origins = set(_many(match.origin))
    directions = set(_many(match.direction))
    if origins and origins <= _MADE_HERE:
        for name in _OF_SESSION:
            if getattr(match, name) is not None and not _any_at_all(getattr(match, name)):
                what = f"'origin' and {name!r} can never both hold: what comes from {' or '.join(sorted(origins))} comes through no session"
                raise ConfigError(where, what)
        if match.tls or match.authenticated:
            name = "tls" if match.tls else "authenticated"
            raise ConfigError(where, f"'origin' and {name!r} can never both hold: it comes through no session")
    if origins and directions and origins <= _MADE_HERE and "internal" not in directions:
        what = f"'origin' and 'direction' can never both hold: what comes from {' or '.join(sorted(origins))} is internal"
        raise ConfigError(where, what)


def _in_session(match: Match, event: type[Event], where: str) -> None:
    """At the events of an SMTP session all mail comes from outside, by SMTP."""
    origins, directions = set(_many(match.origin)), set(_many(match.direction))
    if issubclass(event, InSession) and origins and origins <= _MADE_HERE:
        raise ConfigError(
            where, f"'origin' can never match at {event.__name__}: no session brings mail from {' or '.join(sorted(origins))}"
        )
    if issubclass(event, InSession) and directions == {"internal"}:
        raise ConfigError(where, f"'direction' can never match at {event.__name__}: what a session brings is not internal")


def _together(plug: Plug, mark: Mark, event: type[Event], place: str) -> None:
    """Conditions of the binding and of its handler that exclude each other."""
    verb = plug.match.verb if plug.match is not None else None
    if mark.keyword and verb is not None and not overlap.texts(_many(verb), [mark.keyword]):
        raise ConfigError(f"{plug.where}.match.verb", f"the handler is for the verb {mark.keyword}, so it would never be asked", place)
    if plug.match is None or mark.match is None:
        return
    for name, reason in _excluded(plug.match, mark.match, event):
        what = f"the binding's {name} and the handler's can never both hold{reason}"
        raise ConfigError(f"{plug.where}.match.{name}", what, f"the handler's conditions are in the code: {place}")


def _excluded(one: Match, other: Match, event: type[Event]) -> Iterator[tuple[str, str]]:
    """The names of conditions of both that exclude each other at an event, and how they are written."""
    name_of = {cls: name for name, cls in CATALOG.items()}
    for name, meet in _PAIRS.items():
        first, second = getattr(one, name), getattr(other, name)
        if first is None or second is None or (name == "recipient" and name_of.get(event) not in _ONE_RECIPIENT):
            continue
        if not meet(_many(first), _many(second)):
            yield name, f": {', '.join(_many(first))} here, {', '.join(_many(second))} there"
    for name in ("authenticated", "tls"):
        first, second = getattr(one, name), getattr(other, name)
        if None not in (first, second) and first != second:
            yield name, f": {str(first).lower()} here, {str(second).lower()} there"
    for anonymous, named in ((one, other), (other, one)):
        if anonymous.authenticated is False and named.user is not None and not any(glob(p).fullmatch("") for p in _many(named.user)):
            yield "authenticated" if anonymous is one else "user", ": without authentication there is no user"


def _any_at_all(value: str | list[str]) -> bool:
    return any(pattern.strip("*") == "" for pattern in _many(value))


def _many(value: str | list[str] | None) -> list[str]:
    return [] if value is None else [value] if isinstance(value, str) else list(value)
