"""Settings as they may be shown: a secret by where it comes from, never by what it is."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import Field, fields, is_dataclass
from typing import Any

from ..events.secret import Secret

HIDDEN = "***"


def shown(value: object, kind: Any) -> object:
    """A value as it was written, with ``***`` in the place of each secret.

    Args:
        value: as it was read from the file.
        kind: the type that it is to become; None when that is not known, and all text might be a secret.
    """
    if kind is None:
        return _all_hidden(value)
    if kind is Secret:
        return value if Secret.is_reference(value) else HIDDEN
    parts = typing.get_args(kind)
    if is_dataclass(kind) and isinstance(value, Mapping):
        known = {field.name: field for field in fields(kind)}
        hints = typing.get_type_hints(kind)
        return {name: _field(item, known.get(name), hints.get(name)) for name, item in value.items()}
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        fitting = [part for part in parts if part is Secret or is_dataclass(part) or typing.get_origin(part)]
        return shown(value, Secret if Secret in fitting else fitting[0]) if fitting else value
    if isinstance(value, list) and parts:
        return [shown(item, parts[0]) for item in value]
    if isinstance(value, Mapping) and len(parts) == 2:
        return {name: shown(item, parts[1]) for name, item in value.items()}
    return value


def _field(value: object, field: Field[Any] | None, kind: Any) -> object:
    # A field that its author keeps out of repr is one that he does not want to be seen.
    if field is not None and not field.repr and not Secret.is_reference(value):
        return HIDDEN
    return shown(value, kind) if field is not None else _all_hidden(value)


def _all_hidden(value: object) -> object:
    if isinstance(value, Mapping):
        return {name: _all_hidden(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_all_hidden(item) for item in value]
    return HIDDEN if isinstance(value, str) and not Secret.is_reference(value) else value
