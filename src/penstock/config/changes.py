"""Changes of the bindings while the server runs: who may say what, checked as a whole before it is kept.

``apply`` is all that a command, the control socket or another program calls. It works on the file of the live changes alone: that the
running workers take it up is the business of whoever calls. A change that leaves everything as it was changes nothing, so a script may say
the same twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import msgspec

from ..errors import ConfigError
from ..events.binding import Bindings
from .kept import MAX_HISTORY, Deed, Kept, Override, encode, locked, read, set_aside, write
from .keys import at, changed, key_of, path_of
from .load import load
from .registry import plugs
from .schema import Config
from .sources import changes_path, in_files
from .tables import shipped_bindings

Op = Literal["add", "remove", "enable", "disable", "set", "reset"]


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be changed.

    Args:
        op: "add" makes a new binding of ``values``; "remove" takes one out; "enable" and "disable" switch; "set" sets the keys in
            ``values``, and takes out those that are None; "reset" takes back what was changed: of one binding, of some of its ``keys``, or
            of all where there is no name.
        name: of the binding; "" for all, with "reset".
        values: by dotted key, as in TOML: ``{"priority": 100, "match.recipient": "*@example.com", "settings.directory": "/srv"}``.
        keys: dotted keys, with "reset"; empty for all.
        replace: with "add", take the place of a binding of the same name that says something else.
    """

    op: Op
    name: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    keys: tuple[str, ...] = ()
    replace: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a change.

    Args:
        changed: whether anything is different now.
        what: in one sentence, for whoever asked.
        notes: what else there is to know, a sentence each.
    """

    changed: bool
    what: str
    notes: tuple[str, ...] = ()


def apply(path: Path, change: Change, by: str, now: float) -> Result:
    """Makes a change and keeps it; waits for another one that is being made, and imports sinks, so call it where waiting is allowed.

    Args:
        path: the configuration file.
        change: what.
        by: who: the name of a user of the system.
        now: seconds since 1970.

    Raises: ConfigError when it cannot be, with the reason; then nothing was changed.
    """
    config = load(path)
    file = changes_path(config)
    with locked(file):
        if change.op == "reset" and not change.name:
            return _reset_all(file, by, now)
        before = read(file)
        override = _Wish(config, before, change, by, now).override()
        old = before.bindings.get(change.name)
        if _same(old, override):
            return Result(False, _SAME[change.op].format(change.name))
        after = _with(before, change, override, by, now)
        notes = _checked(config, after, change)
        write(file, after)
    return Result(True, _DONE[change.op].format(change.name), notes)


_DONE = {
    "add": "binding {!r} is added", "remove": "binding {!r} is taken out", "enable": "binding {!r} is switched on",
    "disable": "binding {!r} is switched off", "set": "binding {!r} is changed", "reset": "binding {!r} is as the files have it",
}  # fmt: skip
_SAME = {
    "add": "binding {!r} is there already, and says the same", "remove": "binding {!r} is taken out already",
    "enable": "binding {!r} is switched on already", "disable": "binding {!r} is switched off already",
    "set": "binding {!r} says so already", "reset": "binding {!r} is as the files have it already",
}  # fmt: skip


def _reset_all(file: Path, by: str, now: float) -> Result:
    """Back to the files, even from live changes that cannot be read: those are set aside."""
    try:
        before = read(file)
    except ConfigError as error:
        aside = set_aside(file)
        write(file, Kept(history=[Deed(now, by, "reset", "")]))
        return Result(True, "all bindings are as the files have them", (f"{error.what}; they were set aside as {aside}",))
    if not before.bindings:
        return Result(False, "all bindings are as the files have them already")
    names = ", ".join(sorted(before.bindings))
    write(file, Kept(history=[*before.history, Deed(now, by, "reset", "")][-MAX_HISTORY:]))
    return Result(True, f"all bindings are as the files have them again: {names}")


def _with(before: Kept, change: Change, override: Override | None, by: str, now: float) -> Kept:
    """The live changes with this one."""
    bindings = {name: one for name, one in before.bindings.items() if name != change.name}
    if override is not None:
        bindings[change.name] = override
    keys = sorted({key_of(path_of(key)) for key in (*change.values, *change.keys)})
    history = [*before.history, Deed(now, by, change.op, change.name, keys)][-MAX_HISTORY:]
    # What is checked is what will be read.
    return msgspec.json.decode(encode(Kept(1, bindings, history)), type=Kept)


def _checked(config: Config, after: Kept, change: Change) -> tuple[str, ...]:
    """Builds all bindings as they would be. Raises ConfigError with what is wrong.

    To go back to the files is always allowed: where that is an error, it is one of the files, or of another change.
    """
    try:
        Bindings(plugs(config, after))
    except ConfigError as error:
        if change.op != "reset":
            raise
        return (f"the bindings still cannot be used: {error.where}: {error.what}",)
    return ()


def _same(one: Override | None, other: Override | None) -> bool:
    if one is None or other is None:
        return one is other
    return (one.table, one.replaces, one.removed, one.values) == (other.table, other.replaces, other.removed, other.values)


def _plain(value: Any) -> Any:
    """As JSON would give it back: dates become text."""
    return msgspec.json.decode(msgspec.json.encode(value))


class _Wish:
    """A change, on its way to what will be kept of it."""

    def __init__(self, config: Config, before: Kept, change: Change, by: str, now: float) -> None:
        self._change = change
        self._kept = before
        self._old = before.bindings.get(change.name)
        self._where = f"binding.{change.name}"
        self._by, self._now = by, now
        self._files = {one.table.name: one for one in in_files(config)}
        self._shipped = {table.name: table for table, _ in shipped_bindings(config)}

    def override(self) -> Override | None:
        """What is kept of the binding after the change; None for nothing. Raises ConfigError when it cannot be."""
        change = self._change
        if change.op == "add":
            return self._add()
        if not self._known():
            return self._unknown()
        if change.op == "remove":
            return self._remove()
        if change.op == "reset":
            return self._reset()
        values = {"enabled": change.op == "enable"} if change.op in ("enable", "disable") else dict(change.values)
        return self._set(values)

    def _known(self) -> bool:
        """Whether there is such a binding now, or one that a live change took out."""
        name = self._change.name
        return name in self._files or name in self._shipped or self._old is not None

    def _unknown(self) -> Override | None:
        change = self._change
        last = next((deed.op for deed in reversed(self._kept.history) if deed.name == change.name), "")
        if change.op in ("remove", "reset") and last in ("remove", "reset"):
            return None
        near = get_close_matches(change.name, [*self._files, *self._shipped, *self._kept.bindings], 1)
        hint = f"did you mean {near[0]!r}?" if near else "see: penstock bindings"
        raise ConfigError(self._where, f"there is no binding {change.name!r}", hint)

    def _made(self, override: Override | None, **values: Any) -> Override:
        old = override or Override(self._by, self._now)
        return msgspec.structs.replace(old, by=self._by, at=self._now, **values)

    def _add(self) -> Override | None:
        change, name = self._change, self._change.name
        if name in self._shipped:
            raise ConfigError(self._where, f"{name!r} is the name of a binding of the server's own", "choose another name")
        raw: dict[str, Any] = {}
        for key, value in change.values.items():
            raw = changed(raw, key, value, self._where)
        raw = {**_plain(raw), "name": name}
        base, old = self._files.get(name), self._old
        present = self._present()
        if present is not None and not change.replace and {**_plain(present), "name": name} != raw:
            where = base.where if base and not (old and old.table is not None) else "live"
            hint = f"'penstock bindings set {name}' changes it; 'add --replace' puts this one in its place"
            raise ConfigError(self._where, f"there is a binding {name!r} already, which says something else ({where})", hint)
        if base is not None and old is None and {**_plain(base.raw), "name": name} == raw:
            return None  # the files say so already
        return self._made(None, table=raw, replaces=base is not None)

    def _present(self) -> Mapping[str, Any] | None:
        """The binding as it is now; None where there is none."""
        base, old = self._files.get(self._change.name), self._old
        if old is not None and (old.removed or old.table is not None):
            return old.table if not old.removed else None
        raw: dict[str, Any] | None = dict(base.raw) if base is not None else None
        for key, value in old.values.items() if old is not None and raw is not None else ():
            raw = changed(raw or {}, key, value, self._where)
        return raw

    def _remove(self) -> Override | None:
        name = self._change.name
        if name in self._shipped:
            hint = f"it carries out a table of the file; 'penstock bindings disable {name}' switches it off"
            raise ConfigError(self._where, f"{name!r} is a binding of the server's own", hint)
        return self._made(None, removed=True) if name in self._files else None

    def _reset(self) -> Override | None:
        if not self._change.keys or self._old is None:
            return None
        wanted = [path_of(key, self._where) for key in self._change.keys]
        values = {key: value for key, value in self._old.values.items() if not any(_within(path_of(key), path) for path in wanted)}
        bare = not values and self._old.table is None and not self._old.removed
        return None if bare else self._made(self._old, values=values)

    def _set(self, wanted: Mapping[str, Any]) -> Override | None:
        old = self._old
        if old is not None and old.removed:
            raise ConfigError(self._where, f"binding {self._change.name!r} is taken out", "'penstock bindings reset' brings it back")
        if old is not None and old.table is not None:
            table = old.table
            for key, value in wanted.items():
                table = changed(table, self._allowed(key), _plain(value), self._where)
            return self._made(old, table=table)
        values = dict(old.values) if old else {}
        for key, value in wanted.items():
            path = path_of(self._allowed(key), self._where)
            values = {other: kept for other, kept in values.items() if not _within(path_of(other), path)}
            # What is as the files have it needs no live change, unless one of a table that it is in comes before it.
            beneath = any(_within(path, path_of(other)) for other in values)
            if beneath or _plain(value) != self._base(path):
                values[key_of(path)] = _plain(value)
        return self._made(old, values=values) if values else None

    def _allowed(self, key: str) -> str:
        if path_of(key, self._where)[0] == "name":
            raise ConfigError(f"{self._where}.name", "a binding keeps its name", "add one of the new name, and remove this one")
        return key

    def _base(self, path: tuple[str, ...]) -> object:
        """What the files have at a key; the default where they say nothing."""
        name = self._change.name
        base = self._files.get(name)
        if base is not None and (found := at(base.raw, path)) is not None:
            return _plain(found)
        table = base.table if base is not None else self._shipped.get(name)
        found = getattr(table, path[0], None) if len(path) == 1 else None
        return found if isinstance(found, bool | int | float | str) else None


def _within(path: tuple[str, ...], whole: tuple[str, ...]) -> bool:
    """Whether a key is this one, or one in the table that it names."""
    return path[: len(whole)] == whole
