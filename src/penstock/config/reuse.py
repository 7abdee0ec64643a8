"""Which sink objects a reload may keep: those whose code, settings and place did not change, and those that take new settings.

An object that is kept keeps what it knows: its connections, its caches, what it counted. A sink says that it can take other settings while
it runs by having ``async def settings_changed(self, settings)``.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass

from ..events.plug import Plug
from ..events.sink import Sink


@dataclass(frozen=True, slots=True)
class NewSettings:
    """Settings that a sink is to be told of.

    Args:
        name: of the binding.
        sink: the object that is kept, with the old settings.
        settings: the new ones.
    """

    name: str
    sink: Sink[object]
    settings: object


class Reuse:
    """What of a generation may be kept by the next.

    ``told`` are the sinks that are to be told of new settings.

    Args:
        before: the plugs of the generation.
    """

    def __init__(self, before: Sequence[Plug] = ()) -> None:
        self._before = {plug.name: plug for plug in before}
        self.told: list[NewSettings] = []

    def sink(self, name: str, cls: type[Sink[object]], settings: object, where: tuple[str, bool]) -> Sink[object] | None:
        """The object that a binding keeps; None when it needs a new one.

        Args:
            name: of the binding.
            cls: the sink's class, as it is now.
            settings: as they are now; None for a sink without settings.
            where: the place that the sink runs in (``run_in``), and whether it is enabled; only the shell of a sink exists elsewhere.
        """
        old = self._before.get(name)
        # A module that was imported anew has other classes: so this says that the code is the same, too.
        if old is None or type(old.sink) is not cls or (old.run_in == "process", old.enabled) != (where[0] == "process", where[1]):
            return None
        if _same(getattr(old.sink, "settings", None), settings):
            return old.sink
        if where[0] != "process" and inspect.iscoroutinefunction(getattr(cls, "settings_changed", None)):
            self.told.append(NewSettings(name, old.sink, settings))
            return old.sink
        return None


def _same(old: object, new: object) -> bool:
    """Whether settings are the same; those that cannot be compared are not."""
    if old is new:
        return True
    if type(old) is not type(new) or not is_dataclass(old) or isinstance(old, type):
        return False
    try:
        return all(bool(getattr(old, field.name) == getattr(new, field.name)) for field in fields(old))
    except Exception:  # a comparison is code of the user's
        return False
