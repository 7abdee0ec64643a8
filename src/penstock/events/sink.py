"""``Sink``: what a user writes; ``on`` (in ``marks``) says which of its methods run when.

A handler is found by its decorator, never by its name, so that a misspelt name cannot be silently ignored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar, get_args, get_origin

from ..observe.log import Log, get_log
from .marks import Mark as Mark
from .marks import marks_of as marks_of
from .marks import on as on

if TYPE_CHECKING:
    # To a type checker a bare ``Sink`` is a sink without settings; Python itself knows no defaults here before 3.13.
    from typing_extensions import TypeVar as TypeVarWithDefault

    S = TypeVarWithDefault("S", default=None)
else:
    S = TypeVar("S")


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


def settings_type(sink: type[Sink[Any]]) -> type[Any] | None:
    """The settings class named in ``Sink[...]``, or None."""
    for cls in sink.__mro__:
        for base in getattr(cls, "__orig_bases__", ()):
            if get_origin(base) is Sink and not isinstance(get_args(base)[0], TypeVar):
                found: type[Any] = get_args(base)[0]
                # ``Sink[None]`` is what a bare ``Sink`` means to a type checker.
                return None if found is type(None) else found
    return None
