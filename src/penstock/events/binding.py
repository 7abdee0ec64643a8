"""Bindings: which handler is asked at which event, in which order, on which conditions; checked whole before the server starts.

A binding as an administrator writes it names a sink; each handler of the sink becomes one element in the tuple of its event. What could
never fire, or could never be answered, is refused here with the place and the reason: silent non-firing was what cost the original's
users days."""

from __future__ import annotations

import ast
import builtins
import inspect
import typing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from ..errors import ConfigError
from ..observe.log import Log, get_log
from .canary import Canaries
from .catalog import CATALOG, Auth, Event, Verb
from .chain import EMPTY, Chain
from .condition import Condition
from .gate import Gate, gate_of
from .index import Index
from .live import Uses
from .plug import LAST, Counters, Plug, Standing
from .rule import compile_match
from .sink import Mark, marks_of
from .verdict import Verdict
from .work import Scope

Mode = Literal["inline", "loop", "thread", "process"]


# In which order conditions are tried: first what an index looks up, last what reads the content and what is not our code.
_LATE = {"header": 2, "when": 3}


@dataclass(slots=True)
class Binding:
    """One handler at one event.

    ``conditions`` must all hold, and are tried in this order. ``counted`` are its counters as far as they were written down: whoever shows
    them looks at ``counters``. ``generation`` is that of the bindings that it belongs to.
    """

    name: str
    event: type[Event]
    handler: Callable[[Any], Any]
    method: str
    mode: Mode
    plug: Plug
    conditions: tuple[Condition, ...]
    scope: Scope
    keyword: str = ""
    counted: Counters = field(default_factory=Counters)
    gate: Gate | None = None
    generation: int = 1
    index: Index | None = field(default=None, repr=False, compare=False)
    standing: Standing = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.standing = self.plug.standing

    @property
    def key(self) -> str:
        """Which of the sink's handlers this is, unique among all bindings."""
        return f"{self.name}:{self.method}"

    @property
    def counters(self) -> Counters:
        """What it did, up to now."""
        if self.index is not None:
            self.index.settle()
        return self.counted


class Bindings:
    """All bindings of one generation of the configuration; never changed once it is built.

    Args:
        plugs: what an administrator bound, the disabled included.
        before: the generation that this one follows, from which plugs of the same name take over how they fared.
        log: where it is said that a canary was taken back.

    ``chains`` has the tuple of each event in order; ``verbs`` those of Verb, by keyword; ``mechanisms`` those of
    Auth, by mechanism; ``advertised`` the EHLO lines of new verbs. What is disabled is in ``plugs``, ``all`` and ``listed`` alone.
    """

    __slots__ = ("_listed", "advertised", "all", "canaries", "chains", "generation", "mechanisms", "plugs", "uses", "verbs")

    def __init__(self, plugs: Sequence[Plug], before: Bindings | None = None, log: Log | None = None) -> None:
        _check_names(plugs)
        self.plugs = tuple(plugs) if before is None else tuple(_succeeding(plug, before) for plug in plugs)
        # Which one it is, counted in its process, and who still works with it.
        self.generation: int = before.generation + 1 if before is not None else 1
        self.uses = Uses()
        self.all = sorted((b for plug in self.plugs for b in _bind(plug)), key=lambda b: b.plug.priority)
        self.canaries = Canaries(self.plugs, self.all, log or get_log())
        gates = {plug.name: gate_of(plug, self.canaries) for plug in self.plugs}
        groups: dict[tuple[type[Event], str], list[Binding]] = {}
        for binding in self.all:
            binding.gate, binding.generation = gates[binding.name], self.generation
            groups.setdefault((binding.event, binding.keyword), []).append(binding)
        self._listed = {key: Chain.of(found) for key, found in groups.items()}
        asked = {key: chain for key, chain in self._listed.items() if chain}
        self.chains: dict[type[Event], Chain] = {event: chain for (event, _), chain in asked.items() if event not in (Auth, Verb)}
        self.verbs = {keyword: chain for (event, keyword), chain in sorted(asked.items(), key=_by_keyword) if event is Verb}
        self.mechanisms = {keyword: chain for (event, keyword), chain in sorted(asked.items(), key=_by_keyword) if event is Auth}
        self.advertised = list(dict.fromkeys(_advertised(self.plugs)))

    def chain(self, event: type[Event]) -> Chain:
        """The bindings of an event, in the order in which they are asked."""
        return self.chains.get(event, EMPTY)

    def listed(self, event: type[Event], keyword: str = "") -> tuple[Binding, ...]:
        """All that is bound to an event, in order, the disabled and the shadows included.

        Args:
            event: the event.
            keyword: of Verb the verb, of Auth the mechanism.
        """
        chain = self._listed.get((event, keyword))
        return chain.listed if chain is not None else ()

    def settle(self) -> None:
        """Brings the counters up to date, for who reads them later than this generation is there."""
        for chain in self._listed.values():
            if chain.finder is not None:
                chain.finder.settle()


def _by_keyword(item: tuple[tuple[type[Event], str], Chain]) -> str:
    return item[0][1]


def _advertised(plugs: Sequence[Plug]) -> Iterator[str]:
    """The EHLO lines of the verbs that somebody would answer."""
    for plug in plugs:
        for _, mark in marks_of(type(plug.sink)):
            if mark.advertise and plug.enabled and plug.mode == "active":
                yield mark.advertise


def _succeeding(plug: Plug, before: Bindings) -> Plug:
    """The plug with the standing of its predecessor; what a sink did wrong is not laid to the charge of another object's account."""
    old = next((other for other in before.plugs if other.name == plug.name), None)
    if old is None:
        return plug
    before.settle()
    standing = old.standing
    if old.sink is not plug.sink:
        standing = Standing(firings=standing.firings, trial=standing.trial, counters=standing.counters)
    return replace(plug, standing=standing)


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
    if plug.run_in not in ("", "loop", "thread", "process"):
        raise ConfigError(f"{plug.where}.run_in", f"{plug.run_in!r} is none of 'loop', 'thread' and 'process'")
    if plug.threads < 1:
        raise ConfigError(f"{plug.where}.threads", "a handler needs at least one thread")
    _check_limits(plug)
    marks = marks_of(type(plug.sink))
    if not marks:
        sink = type(plug.sink).__qualname__
        raise ConfigError(plug.where, f"sink {sink} handles no event", "decorate a method with @on(...) and an event class")
    bound = [_bind_one(plug, name, mark, event) for name, mark in marks for event in mark.events]
    seen: dict[str, int] = {}
    for binding in bound:
        key = " ".join(filter(None, (f"{binding.method}:{binding.event.__name__}", binding.keyword)))
        seen[key] = seen.get(key, 0) + 1
        # A handler may be bound twice to one event, on different conditions.
        binding.counted = plug.standing.counters.setdefault(key if seen[key] == 1 else f"{key} {seen[key]}", Counters())
    return bound


def _check_limits(plug: Plug) -> None:
    if plug.concurrency < 0:
        raise ConfigError(f"{plug.where}.concurrency", "so many calls at once cannot be fewer than none", "0 is for any number")
    if plug.max_firings < 0:
        raise ConfigError(f"{plug.where}.max_firings", "it cannot fire fewer times than never", "0 is for any number")
    if not 0 < plug.sample <= 100:
        raise ConfigError(f"{plug.where}.sample", f"{plug.sample:g} % is not above 0 % and up to 100 %")
    breaker = plug.breaker
    if breaker.failures < 0 or breaker.rest <= 0 or breaker.longest < breaker.rest:
        raise ConfigError(f"{plug.where}.breaker", "it takes failures of 0 or more, and a rest above 0 that is no longer than the longest")
    if plug.canary is not None and not 0 < plug.canary.percent <= 100:
        raise ConfigError(f"{plug.where}.canary", f"{plug.canary.percent:g} % is not above 0 % and up to 100 %")


def _bind_one(plug: Plug, method: str, mark: Mark, event: type[Event]) -> Binding:
    handler = getattr(plug.sink, method)
    place = f"{plug.where or plug.name}: {type(plug.sink).__qualname__}.{method}"
    _check_signature(place, handler, event)
    conditions: list[Condition] = []
    for match in (plug.match, mark.match):
        try:
            conditions += compile_match(match, event) if match else []
        except ValueError as error:
            raise ConfigError(f"{plug.where}.match", str(error)) from None
    mode = _mode(place, plug.run_in, inspect.iscoroutinefunction(handler), mark.blocking)
    conditions.sort(key=lambda each: 0 if each.keys is not None else _LATE.get(each.name, 1))
    keyword = mark.keyword or mark.mechanism
    return Binding(plug.name, event, handler, method, mode, plug, tuple(conditions), Scope(plug.name, plug.name), keyword)


def _mode(place: str, run_in: str, is_async: bool, blocking: bool) -> Mode:
    if run_in == "process":
        return "process"
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
