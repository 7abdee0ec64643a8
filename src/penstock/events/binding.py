"""Bindings: which handler is asked at which event, in which order, on which conditions; checked whole before the server starts.

A binding as an administrator writes it names a sink; each handler of the sink becomes one element in the tuple of its event. What could
never fire, or could never be answered, is refused here with the place and the reason: silent non-firing was what cost the original's
users days."""

from __future__ import annotations

import ast
import builtins
import inspect
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from ..errors import ConfigError
from .catalog import CATALOG, Auth, Event, Verb
from .chain import EMPTY, Chain
from .live import Uses
from .plug import LAST, Counters, Plug
from .rule import Test, compile_match
from .sink import Mark, marks_of
from .verdict import Verdict
from .work import Scope

Mode = Literal["inline", "loop", "thread", "process"]


@dataclass(slots=True)
class Binding:
    """One handler at one event."""

    name: str
    event: type[Event]
    handler: Callable[[Any], Any]
    method: str
    mode: Mode
    plug: Plug
    tests: list[tuple[str, Test]]
    scope: Scope
    keyword: str = ""
    counters: Counters = field(default_factory=Counters)

    @property
    def key(self) -> str:
        """Which of the sink's handlers this is, unique among all bindings."""
        return f"{self.name}:{self.method}"


class Bindings:
    """All bindings of one generation of the configuration; never changed once it is built.

    ``chains`` has the tuple of each event in order; ``verbs`` those of Verb, by keyword; ``mechanisms`` those of
    Auth, by mechanism; ``advertised`` the EHLO lines of new verbs.
    """

    __slots__ = ("advertised", "all", "chains", "generation", "mechanisms", "plugs", "uses", "verbs")

    def __init__(self, plugs: Sequence[Plug]) -> None:
        self.plugs = tuple(plugs)
        # Which one it is, counted in its process, and who still works with it.
        self.generation, self.uses = 1, Uses()
        self.all = sorted((b for plug in plugs for b in _bind(plug)), key=lambda b: b.plug.priority)
        events = {b.event for b in self.all} - {Auth, Verb}
        self.chains: dict[type[Event], Chain] = {e: Chain([b for b in self.all if b.event is e]) for e in events}
        self.verbs = self._by_keyword(Verb)
        self.mechanisms = self._by_keyword(Auth)
        marks = [(plug, mark) for plug in plugs for _, mark in marks_of(type(plug.sink))]
        self.advertised = list(dict.fromkeys(mark.advertise for _, mark in marks if mark.advertise))
        _check_names(plugs)

    def _by_keyword(self, event: type[Event]) -> dict[str, Chain]:
        bound = [b for b in self.all if b.event is event]
        return {keyword: Chain(b for b in bound if b.keyword == keyword) for keyword in sorted({b.keyword for b in bound})}

    def chain(self, event: type[Event]) -> Chain:
        """The bindings of an event, in the order in which they are asked."""
        return self.chains.get(event, EMPTY)


def _check_names(plugs: Sequence[Plug]) -> None:
    seen: dict[str, Plug] = {}
    for plug in plugs:
        if plug.name in seen:
            first = seen[plug.name].where or "above"
            raise ConfigError(plug.where, f"there are two bindings with the name {plug.name!r}", f"the other one is {first}")
        seen[plug.name] = plug


def _bind(plug: Plug) -> list[Binding]:
    """The bindings of one plug. Raises ConfigError with what could never work."""
    if not 0 <= plug.priority <= LAST:
        raise ConfigError(f"{plug.where}.priority", f"{plug.priority} is not between 0 and {LAST}")
    if plug.timeout <= 0:
        raise ConfigError(f"{plug.where}.timeout", "a handler needs some time to answer", "give a duration such as '30s'")
    if plug.run_in not in ("", "loop", "thread"):
        raise ConfigError(f"{plug.where}.run_in", f"{plug.run_in!r} is neither 'loop' nor 'thread'")
    if plug.threads < 1:
        raise ConfigError(f"{plug.where}.threads", "a handler needs at least one thread")
    marks = marks_of(type(plug.sink))
    if not marks:
        sink = type(plug.sink).__qualname__
        raise ConfigError(plug.where, f"sink {sink} handles no event", "decorate a method with @on(...) and an event class")
    return [_bind_one(plug, name, mark, event) for name, mark in marks for event in mark.events]


def _bind_one(plug: Plug, method: str, mark: Mark, event: type[Event]) -> Binding:
    handler = getattr(plug.sink, method)
    place = f"{plug.where or plug.name}: {type(plug.sink).__qualname__}.{method}"
    _check_signature(place, handler, event)
    tests = []
    for match in (plug.match, mark.match):
        try:
            tests += compile_match(match, event) if match else []
        except ValueError as error:
            raise ConfigError(f"{plug.where}.match", str(error)) from None
    mode = _mode(place, plug.run_in, inspect.iscoroutinefunction(handler), mark.blocking)
    return Binding(plug.name, event, handler, method, mode, plug, tests, Scope(plug.name, plug.name), mark.keyword or mark.mechanism)


def _mode(place: str, run_in: str, is_async: bool, blocking: bool) -> Mode:
    if run_in == "thread" and is_async:
        raise ConfigError(place, "'run_in = \"thread\"' is for a plain 'def'", "write 'def' in place of 'async def', or run it on the loop")
    if is_async:
        return "loop"
    return "inline" if run_in == "loop" or (not blocking and run_in != "thread") else "thread"


def _check_signature(place: str, handler: Callable[..., Any], event: type[Event]) -> None:
    """A handler takes one event, of this type, and returns None or a verdict that the event admits."""
    if inspect.isasyncgenfunction(handler) or inspect.isgeneratorfunction(handler):
        raise ConfigError(place, "a handler returns its verdict; this one uses 'yield'")
    parameters = list(inspect.signature(handler).parameters.values())
    if sum(1 for p in parameters if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)) != 1:
        raise ConfigError(place, f"a handler takes one event; this one takes {inspect.signature(handler)}", _wanted(event))
    hints = _hints(place, handler, event)
    shown = hints.get(parameters[0].name)
    if shown is not None and shown is not Any and not any(isinstance(t, type) and issubclass(event, t) for t in _members(shown)):
        raise ConfigError(place, f"the handler is bound to {event.__name__} but takes {_show(shown)}", _wanted(event))
    for answer in _members(hints["return"]) if "return" in hints else []:
        if answer is type(None) or answer is Any:
            continue
        if not (isinstance(answer, type) and issubclass(answer, (*event.admits, _Nothing))):
            raise ConfigError(place, f"{event.__name__} cannot be answered with {_show(answer)}", _wanted(event))


def _hints(place: str, handler: Callable[..., Any], event: type[Event]) -> dict[str, Any]:
    """The handler's annotations; empty where a name in them is there for a type checker only.

    Such a name cannot be looked up, but that of an event or a verdict says what it is; any other is taken for a slip of the pen.
    """
    try:
        return typing.get_type_hints(handler)
    except (NameError, AttributeError, TypeError):
        pass
    function = inspect.unwrap(getattr(handler, "__func__", handler))
    known = {*vars(builtins), *vars(typing), *getattr(function, "__globals__", {})}
    verdicts = {verdict.__name__ for cls in CATALOG.values() for verdict in cls.admits}
    events = {base.__name__ for cls in CATALOG.values() for base in cls.__mro__} | set(CATALOG)
    for parameter, text in getattr(handler, "__annotations__", {}).items():
        for name in _names(text) if isinstance(text, str) else ():
            if name not in known | verdicts | events:
                raise ConfigError(place, f"{name!r} in the annotation of {parameter!r} is not known: {text}", _wanted(event))
            if parameter == "return" and name in verdicts - {v.__name__ for v in event.admits}:
                raise ConfigError(place, f"{event.__name__} cannot be answered with {name}", _wanted(event))
    return {}


def _names(text: str) -> list[str]:
    """The names in an annotation; of ``verdicts.Reject`` the last one, which is what counts."""
    try:
        tree = ast.parse(text, mode="eval")
    except SyntaxError:
        return []
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Name | ast.Attribute) and id(node) not in inner]
    return [node.id if isinstance(node, ast.Name) else node.attr for node in found]


class _Nothing(Verdict):
    """No verdict at all; stands in where an event admits none."""


def _members(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _show(hint: Any) -> str:
    return getattr(hint, "__name__", str(hint))


def _wanted(event: type[Event]) -> str:
    answers = " | ".join([*(verdict.__name__ for verdict in event.admits), "None"])
    return f"it should be (self, event: {event.__name__}) -> {answers}"
