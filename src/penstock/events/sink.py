"""``Sink`` and ``on``: how a user says what runs when.

A handler is found by its decorator, never by its name, so that a misspelt name cannot be silently ignored.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar, get_args, get_origin

from ..observe.log import Log, get_log
from .event import Event
from .rule import Match

if TYPE_CHECKING:
    # To a type checker a bare ``Sink`` is a sink without settings; Python itself knows no defaults here before 3.13.
    from typing_extensions import TypeVar as TypeVarWithDefault

    S = TypeVarWithDefault("S", default=None)
else:
    S = TypeVar("S")
H = TypeVar("H", bound=Callable[..., Any])
_MARKS = "__penstock_marks__"
_KEYWORD = re.compile(r"[A-Z][A-Z0-9-]{0,31}")
# RFC 5321 §4.1.1.1: ehlo-param = 1*(%d33-126), separated by spaces.
_ONE_LINE = re.compile(r"[ -~]*")
# An answer in the server's place would leave client and server with different ideas of what comes next.
_BUILT_IN = frozenset({"MAIL", "RCPT", "DATA", "BDAT", "EHLO", "HELO", "STARTTLS", "AUTH"})


class Sink(Generic[S]):
    """A class with handlers; one object a worker process, made when the configuration is loaded.

    Args:
        settings: an object of the settings dataclass named in ``Sink[...]``; None for a sink without settings.
    """

    settings: S
    log: Log

    def __init__(self, settings: S | None = None) -> None:
        if settings is not None:
            self.settings = settings
        self.log = get_log(sink=type(self).__name__)

    async def start(self) -> None:
        """Called once before the first event; raise to refuse to run."""

    async def stop(self) -> None:
        """Called once after the last event."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What ``on`` said of one handler."""

    events: tuple[type[Event], ...]
    match: Match | None
    keyword: str
    advertise: str
    blocking: bool


def on(*events: type[Event], match: Match | None = None, keyword: str = "", advertise: str = "", blocking: bool = True) -> Callable[[H], H]:
    """Says that a method handles these events.

    Args:
        events: the events, from ``penstock.events``.
        match: conditions that must hold beside those of the binding.
        keyword: with ``Verb``, the verb; in any case.
        advertise: with ``Verb``, the line that EHLO offers; "" for none.
        blocking: False promises that a plain ``def`` never waits for anything, so that it may run on the loop itself.

    Raises: TypeError or ValueError where it could never work.
    """
    given: tuple[object, ...] = events
    if not given or not all(isinstance(event, type) and issubclass(event, Event) for event in given):
        raise TypeError("on() takes one or more event classes, as in @on(RcptTo)")
    names = {event.__name__ for event in events}
    if (keyword or advertise) and names != {"Verb"}:
        raise ValueError("keyword and advertise go with Verb alone")
    if "Verb" in names and not keyword:
        raise ValueError("Verb needs a keyword, as in @on(Verb, keyword='XQDEPTH')")
    if keyword:
        _check_keyword(keyword.upper(), advertise)
    mark = Mark(events, match, keyword.upper(), advertise, blocking)

    def decorate(handler: H) -> H:
        marks: list[Mark] = getattr(handler, _MARKS, [])
        setattr(handler, _MARKS, [*marks, mark])
        return handler

    return decorate


def _check_keyword(keyword: str, advertise: str) -> None:
    if not _KEYWORD.fullmatch(keyword):
        raise ValueError(f"keyword: {keyword!r} should be a word of letters, digits and hyphens that begins with a letter")
    if keyword in _BUILT_IN:
        raise ValueError(f"keyword: {keyword} changes the state of the session, so it is the server's own; bind to its event instead")
    if not _ONE_LINE.fullmatch(advertise):
        raise ValueError(f"advertise: {advertise!r} should be one line of printable ASCII")


def marks_of(sink: type[Sink[Any]]) -> list[tuple[str, Mark]]:
    """The handlers of a sink class, by method name, in the order in which they were written; those of base classes first."""
    found: dict[str, list[Mark]] = {}
    for cls in reversed(sink.__mro__):
        for name, value in vars(cls).items():
            marks = getattr(value, _MARKS, None)
            if marks is not None:
                found[name] = marks
    return [(name, mark) for name, marks in found.items() for mark in marks]


def settings_type(sink: type[Sink[Any]]) -> type[Any] | None:
    """The settings class named in ``Sink[...]``, or None."""
    for cls in sink.__mro__:
        for base in getattr(cls, "__orig_bases__", ()):
            if get_origin(base) is Sink and not isinstance(get_args(base)[0], TypeVar):
                found: type[Any] = get_args(base)[0]
                return found
    return None
