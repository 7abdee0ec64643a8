"""``penstock bindings``: which handler is asked at which event, in which order.

The list is the one that the server works with, built in the same way from the same file; it is not a description of it.
"""

from __future__ import annotations

import difflib
from dataclasses import fields
from pathlib import Path

from ..config import load, plugs
from ..events.binding import Binding, Bindings
from ..events.catalog import CATALOG
from ..events.rule import Match
from ..events.sink import marks_of
from .exits import EX_USAGE, Stop
from .listing import Layout, Row, show

LAYOUT = Layout(
    columns=("event", "order", "priority", "binding", "sink", "handler", "mode", "match", "on_error", "timeout"),
    narrow=("event", "priority", "binding", "handler", "mode", "match"),
    right=("order", "priority", "timeout"),
    fold=("binding", "sink", "match"),
)


def show_bindings(path: Path, event: str, as_json: bool) -> None:
    """Lists the bindings of a configuration, or those of one event. Raises ConfigError; Stop for an event that there is not."""
    wanted = _event(event) if event else ""
    bound = Bindings(plugs(load(path)))
    found = [row for row in rows(bound) if not wanted or row["event"] == wanted or str(row["event"]).startswith(f"{wanted} ")]
    show(found, LAYOUT, as_json)


def _event(name: str) -> str:
    """The event's name as the catalogue has it."""
    known = {event.lower(): event for event in CATALOG}
    if name.lower() in known:
        return known[name.lower()]
    near = difflib.get_close_matches(name.lower(), known, 1)
    hint = f"did you mean {known[near[0]]}?" if near else f"there are: {', '.join(CATALOG)}"
    raise Stop(EX_USAGE, f"there is no event {name!r}", hint)


def rows(bound: Bindings) -> list[Row]:
    """All bindings, by event in the order of the catalogue, and in the order in which they are asked."""
    chains = [(name, bound.chain(event)) for name, event in CATALOG.items()]
    chains += [(f"Verb {keyword}", chain) for keyword, chain in sorted(bound.verbs.items())]
    return [_row(name, order, binding) for name, chain in chains for order, binding in enumerate(chain, 1)]


def _row(event: str, order: int, binding: Binding) -> Row:
    plug = binding.plug
    sink = type(plug.sink)
    return {
        "event": event,
        "order": order,
        "priority": plug.priority,
        "binding": plug.name,
        "sink": f"{sink.__module__}:{sink.__qualname__}",
        "handler": binding.method,
        "mode": binding.mode,
        "match": "; ".join(_conditions(binding)),
        "on_error": "-" if binding.event.report else plug.on_error,
        "timeout": f"{plug.timeout:g}s",
    }


def _conditions(binding: Binding) -> list[str]:
    """The conditions of the binding and of the handler, as they were written."""
    marks = [mark for name, mark in marks_of(type(binding.plug.sink)) if name == binding.method and binding.event in mark.events]
    given: list[Match | None] = [binding.plug.match, *(mark.match for mark in marks if mark.keyword == binding.keyword)]
    return [
        f"{field.name}={_shown(value)}"
        for match in given
        if match is not None
        for field in fields(match)
        if (value := getattr(match, field.name)) is not None
    ]


def _shown(value: object) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    if callable(value):
        return getattr(value, "__name__", "a function")
    return str(value)
