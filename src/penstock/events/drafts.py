"""Drafts of what a sink remembers: copies that can be dropped when a handler fails, as far as a value can be copied.

Dictionaries, lists and sets are copied, however deep. Any other object is the same in the draft, since a copy of a connection, a task or
a lock would be no connection, task or lock; what a handler changes within such an object is not undone.
"""

from __future__ import annotations

from typing import Any


def copied(value: Any) -> Any:
    """The value with its dictionaries, lists, sets and tuples copied; one that holds itself is not copied at all."""
    try:
        return _copied(value)
    except RecursionError:
        return value


def _copied(value: Any) -> Any:
    kind = type(value)
    if kind is dict:
        return {key: _copied(item) for key, item in value.items()}
    if kind is list:
        return [_copied(item) for item in value]
    if kind is tuple:
        items = tuple(_copied(item) for item in value)
        return value if all(a is b for a, b in zip(items, value, strict=True)) else items
    return value.copy() if kind in (set, bytearray) else value


def unchanged(before: Any, now: Any) -> bool:
    """Whether nothing happened to a copy; what was not copied must be the same object, whatever it thinks that it is equal to."""
    kind = type(before)
    if before is now or kind is not type(now):
        return before is now
    if kind is dict:
        return before.keys() == now.keys() and all(unchanged(before[key], now[key]) for key in before)
    if kind in (list, tuple):
        return len(before) == len(now) and all(unchanged(a, b) for a, b in zip(before, now, strict=True))
    return kind in (set, bytearray) and bool(before == now)
