"""``penstock bindings``: which handler is asked at which event, in which order, and how it does.

The list is the one that the server works with, built in the same way from the same files; it is not a description of it. What only the
running workers know, counters and open breakers, is asked of them.
"""

from __future__ import annotations

import difflib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from ..config import Config, load, plugs
from ..config.kept import Kept, visible
from ..config.sources import Written, changes_path, in_files, with_changes
from ..events.binding import Binding, Bindings
from ..events.catalog import CATALOG
from ..events.plug import Plug
from ..events.rule import Match
from ..events.sink import marks_of
from .bindings_live import COUNTED, Live, ask_workers
from .exits import EX_USAGE, Stop, complain
from .listing import Layout, Row, show

FILES = Layout(
    columns=("event", "order", "priority", "binding", "sink", "handler", "mode", "match", "on_error", "timeout", "state", "from"),
    narrow=("event", "priority", "binding", "handler", "mode", "match", "state"),
    right=("order", "priority", "timeout"),
    fold=("binding", "sink", "match", "from", "state"),
)
SERVER = Layout(
    columns=(*FILES.columns[:8], "state", *COUNTED, "on_error", "timeout", "from"),
    narrow=("event", "priority", "binding", "handler", "match", "state", "asked", "errors"),
    right=(*FILES.right, *COUNTED),
    fold=FILES.fold,
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which bindings.

    Args:
        event: of this event; "" for any.
        sink: with this text in the import path of their sinks.
        files: as the files say, without asking the running server.
    """

    event: str = ""
    sink: str = ""
    files: bool = False


def show_bindings(path: Path, wanted: Wanted, as_json: bool) -> None:
    """Lists the bindings of a configuration. Raises ConfigError; Stop for an event that there is not."""
    event = event_named(wanted.event) if wanted.event else ""
    config = load(path)
    kept, hidden = visible(changes_path(config))
    made = plugs(config, kept)
    found = [*rows(Bindings(made)), *_left_out(config, kept, made)]
    live = None if wanted.files else ask_workers(config)
    if live is not None:
        found = [_joined(row, live) for row in found]
    found = [row for row in found if not event or row["event"] == event or str(row["event"]).startswith(f"{event} ")]
    found = [row for row in found if wanted.sink in str(row["sink"])]
    show(found, FILES if live is None else SERVER, as_json)
    if hidden:
        complain(0, hidden)
    if live is None and not wanted.files and not as_json:
        complain(0, "no server answers, so this is what the files say")


def event_named(name: str) -> str:
    """The event's name as the catalogue has it. Raises Stop for one that is not there."""
    known = {event.lower(): event for event in CATALOG}
    if name.lower() in known:
        return known[name.lower()]
    near = difflib.get_close_matches(name.lower(), known, 1)
    hint = f"did you mean {known[near[0]]}?" if near else f"there are: {', '.join(CATALOG)}"
    raise Stop(EX_USAGE, f"there is no event {name!r}", hint)


def rows(bound: Bindings) -> list[Row]:
    """All bindings, by event in the order of the catalogue, and in the order in which they are asked."""
    by_event: dict[str, list[Binding]] = {}
    for binding in bound.all:
        by_event.setdefault(event_label(binding), []).append(binding)
    order = {name: number for number, name in enumerate(CATALOG)}
    labels = sorted(by_event, key=lambda label: (order[label.partition(" ")[0]], label))
    return [_row(label, number, binding) for label in labels for number, binding in _numbered(by_event[label])]


def event_label(binding: Binding) -> str:
    """The event's name in the catalogue, with the verb or mechanism of one that has such."""
    name = next(name for name, event in CATALOG.items() if event is binding.event)
    return f"{name} {binding.keyword}".rstrip()


def _numbered(chain: Sequence[Binding]) -> Iterator[tuple[int | str, Binding]]:
    """The bindings of an event with their place among those that are asked; a dash for those that are not."""
    number = 0
    for binding in chain:
        asked = binding.plug.enabled and binding.plug.mode == "active"
        number += asked
        yield (number if asked else "-"), binding


def _row(event: str, order: int | str, binding: Binding) -> Row:
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
        "match": "; ".join(conditions(binding)),
        "on_error": "-" if binding.event.report else plug.on_error,
        "timeout": f"{plug.timeout:g}s",
        "state": state_of(plug, time.time()),
        "from": _origin(plug.provenance.source),
        "changed_by": plug.provenance.by,
        "changed_at": plug.provenance.at,
    }


def _origin(source: str) -> str:
    """Where a binding is from, in few letters: the name of the file, which has the binding's own name in it anyway."""
    return Path(source.partition(": ")[0]).name


def state_of(plug: Plug, now: float) -> str:
    """What can be said of a binding without asking the server."""
    if not plug.enabled:
        return "disabled"
    if plug.expires and plug.expires <= now:
        return "expired"
    if plug.mode == "shadow":
        return "shadow"
    return f"canary {plug.canary.percent:g}%" if plug.canary is not None else "active"


def _left_out(config: Config, kept: Kept, made: Sequence[Plug]) -> list[Row]:
    """Bindings that are switched off and whose sinks cannot be imported: nobody knows what they would handle."""
    names = {plug.name for plug in made}
    written = with_changes(config, in_files(config), kept)
    return [_unknown_row(one) for one in written if one.table.name not in names]


def _unknown_row(one: Written) -> Row:
    table = one.table
    return {
        "event": "-", "order": "-", "priority": table.priority, "binding": table.name, "sink": table.sink, "handler": "-", "mode": "-",
        "match": "", "on_error": table.on_error, "timeout": f"{table.timeout:g}s", "state": "disabled",
        "from": _origin(one.provenance.source),
        "changed_by": one.provenance.by, "changed_at": one.provenance.at,
    }  # fmt: skip


def _joined(row: Row, live: Live) -> Row:
    """A row with what the workers say of it."""
    known: Mapping[str, object] = live.get((str(row["binding"]), str(row["handler"]), str(row["event"])), {})
    counted = {name: known.get(name, 0) for name in COUNTED}
    return {
        **row,
        **counted,
        **{name: value for name, value in known.items() if name not in counted},
        "state": known.get("state", "not loaded"),
    }


def conditions(binding: Binding) -> list[str]:
    """The conditions of the binding and of the handler, as they were written."""
    marks = [mark for name, mark in marks_of(type(binding.plug.sink)) if name == binding.method and binding.event in mark.events]
    given: list[Match | None] = [binding.plug.match, *(mark.match for mark in marks if binding.keyword in (mark.keyword, mark.mechanism))]
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
