"""``on``: which events a method handles, as Python, a type checker and ``penstock check`` see it.

The overloads are there for type checkers alone: of one to four events they know what the handler is given and what it may answer, so that a
wrong event, a wrong verdict or a forgotten ``await`` is an error in the editor, before ``penstock check`` says so. With several events the
checker takes the verdicts of any of them; ``penstock check`` is exact.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, overload

from .event import Event
from .rule import Match

MARKS = "__penstock_marks__"
_KEYWORD = re.compile(r"[A-Z][A-Z0-9-]{0,31}")
# RFC 4422 §3.1: sasl-mech = 1*20mech-char, of upper-case letters, digits, "-" and "_".
_MECHANISM = re.compile(r"[A-Z0-9_-]{1,20}")
# RFC 5321 §4.1.1.1: ehlo-param = 1*(%d33-126), separated by spaces.
_ONE_LINE = re.compile(r"[ -~]*")
# An answer in the server's place would leave client and server with different ideas of what comes next.
_BUILT_IN = frozenset({"MAIL", "RCPT", "DATA", "BDAT", "EHLO", "HELO", "STARTTLS", "AUTH"})

H = TypeVar("H", bound=Callable[..., Any])

if TYPE_CHECKING:
    T = TypeVar("T")
    E_co = TypeVar("E_co", covariant=True)
    V_co = TypeVar("V_co", covariant=True)
    V_contra = TypeVar("V_contra", contravariant=True)
    E1 = TypeVar("E1")
    E2 = TypeVar("E2")
    E3 = TypeVar("E3")
    E4 = TypeVar("E4")
    V1 = TypeVar("V1")
    V2 = TypeVar("V2")
    V3 = TypeVar("V3")
    V4 = TypeVar("V4")

    class Question(Protocol[E_co, V_co]):
        """An event and what answers it; every class that inherits from ``event.Answered`` is one."""

        @property
        def answer(self) -> V_co:
            """A verdict that the event admits."""

        def itself(self) -> E_co:
            """The event."""

    class Decorator(Protocol[E_co, V_contra]):
        """Takes a handler of this event that answers with such a verdict, or with None.

        What it gives back says nothing more of its type, so that one handler may be decorated for several events.
        """

        @overload
        def __call__(self, handler: Callable[[T, E_co], Awaitable[V_contra | None]], /) -> Callable[[T, Any], Any]: ...
        @overload
        def __call__(self, handler: Callable[[T, E_co], V_contra | None], /) -> Callable[[T, Any], Any]: ...


@dataclass(frozen=True, slots=True)
class Mark:
    """What ``on`` said of one handler."""

    events: tuple[type[Event], ...]
    match: Match | None
    keyword: str
    advertise: str
    blocking: bool
    mechanism: str = ""


@overload
def on(
    event: type[Question[E1, V1]],
    /,
    *,
    match: Match | None = ...,
    keyword: str = ...,
    advertise: str = ...,
    mechanism: str = ...,
    blocking: bool = ...,
) -> Decorator[E1, V1]: ...
@overload
def on(
    event: type[Question[E1, V1]], second: type[Question[E2, V2]], /, *, match: Match | None = ..., blocking: bool = ...
) -> Decorator[E1 | E2, V1 | V2]: ...
@overload
def on(
    event: type[Question[E1, V1]],
    second: type[Question[E2, V2]],
    third: type[Question[E3, V3]],
    /,
    *,
    match: Match | None = ...,
    blocking: bool = ...,
) -> Decorator[E1 | E2 | E3, V1 | V2 | V3]: ...
@overload
def on(
    event: type[Question[E1, V1]],
    second: type[Question[E2, V2]],
    third: type[Question[E3, V3]],
    fourth: type[Question[E4, V4]],
    /,
    *,
    match: Match | None = ...,
    blocking: bool = ...,
) -> Decorator[E1 | E2 | E3 | E4, V1 | V2 | V3 | V4]: ...
@overload
def on(
    event: type[Event],
    second: type[Event],
    third: type[Event],
    fourth: type[Event],
    fifth: type[Event],
    /,
    *others: type[Event],
    match: Match | None = ...,
    blocking: bool = ...,
) -> Callable[[H], H]: ...
def on(
    *events: type[Any], match: Match | None = None, keyword: str = "", advertise: str = "", mechanism: str = "", blocking: bool = True
) -> Callable[[Any], Any]:
    """Says that a method handles these events.

    Args:
        events: the events, from ``penstock.events``.
        match: conditions that must hold beside those of the binding.
        keyword: with ``Verb``, the verb; in any case.
        advertise: with ``Verb``, the line that EHLO offers; "" for none.
        mechanism: with ``Auth``, the SASL mechanism, which EHLO then offers; in any case.
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
    _check_mechanism(mechanism.upper(), names)
    mark = Mark(events, match, keyword.upper(), advertise, blocking, mechanism.upper())

    def decorate(handler: Any) -> Any:
        marks: list[Mark] = getattr(handler, MARKS, [])
        setattr(handler, MARKS, [*marks, mark])
        return handler

    return decorate


def _check_keyword(keyword: str, advertise: str) -> None:
    if not _KEYWORD.fullmatch(keyword):
        raise ValueError(f"keyword: {keyword!r} should be a word of letters, digits and hyphens that begins with a letter")
    if keyword in _BUILT_IN:
        raise ValueError(f"keyword: {keyword} changes the state of the session, so it is the server's own; bind to its event instead")
    if not _ONE_LINE.fullmatch(advertise):
        raise ValueError(f"advertise: {advertise!r} should be one line of printable ASCII")


def _check_mechanism(mechanism: str, names: set[str]) -> None:
    if mechanism and names != {"Auth"}:
        raise ValueError("mechanism goes with Auth alone")
    if "Auth" in names and not mechanism:
        raise ValueError("Auth needs a mechanism, as in @on(Auth, mechanism='X-OTP')")
    if mechanism and not _MECHANISM.fullmatch(mechanism):
        raise ValueError(f"mechanism: {mechanism!r} should be 1 to 20 letters, digits, hyphens or underscores (RFC 4422)")


def marks_of(sink: type[Any]) -> list[tuple[str, Mark]]:
    """The handlers of a sink class, by method name, in the order in which they were written; those of base classes first."""
    found: dict[str, list[Mark]] = {}
    for cls in reversed(sink.__mro__):
        for name, value in vars(cls).items():
            marks = getattr(value, MARKS, None)
            if marks is not None:
                found[name] = marks
    return [(name, mark) for name, marks in found.items() for mark in marks]
