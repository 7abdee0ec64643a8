"""What a sink keeps for a session or a message (``PerSession``, ``PerMessage``) in a process that sees each of them anew in every call.

In the process something stands for each session and message that was shown, and lives until the server says that it is gone: the server
hears of that from the garbage collector, as it does for sinks of its own. Nobody pays for this where the sink keeps nothing."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Sequence

from ..events.event import Event
from ..events.work import Facts


def _keys(facts: Facts) -> tuple[str, str]:
    """The names of the session and of the message; "" for none."""
    session, message = facts.session or facts.outbound, facts.message
    return f"s{session.id}" if session is not None else "", f"m{message.record.id}" if message is not None else ""


class Seen:
    """The sessions and messages that one process was shown, on the server's side.

    Args:
        over: told of those that are gone, on the loop.
    """

    def __init__(self, over: Callable[[list[str]], None]) -> None:
        self._over = over
        self._keys: set[str] = set()

    def note(self, event: Event) -> None:
        """Notes what an event is about, once."""
        facts = event.facts
        for key, work in zip(_keys(facts), (facts.lives_as_session, facts.lives_as_message), strict=True):
            if key and key not in self._keys:
                self._keys.add(key)
                weakref.finalize(work, self._gone, key, asyncio.get_running_loop()).atexit = False

    def clear(self) -> None:
        """Forgets all, as the process is another now."""
        self._keys.clear()

    def _gone(self, key: str, loop: asyncio.AbstractEventLoop) -> None:
        """Called in whichever thread held it last."""
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._tell, key)

    def _tell(self, key: str) -> None:
        if key in self._keys:
            self._keys.remove(key)
            self._over([key])


class _Stand:
    """Stands for a session or a message."""

    __slots__ = ("__weakref__",)


class Stands:
    """Those of a process, by name."""

    def __init__(self) -> None:
        self._all: dict[str, _Stand] = {}

    def facts(self, facts: Facts) -> Facts:
        """The same facts, with what stands for their session and message."""
        return _LivingFacts.of(facts, [self._all.setdefault(key, _Stand()) if key else None for key in _keys(facts)])

    def over(self, keys: Sequence[str]) -> None:
        """These are gone."""
        for key in keys:
            self._all.pop(key, None)


class _LivingFacts(Facts):
    """Facts whose session and message live longer than one call."""

    __slots__ = ("_stands",)
    _stands: list[_Stand | None]

    @classmethod
    def of(cls, facts: Facts, stands: list[_Stand | None]) -> Facts:
        """The facts, with what stands for the session and for the message."""
        living = cls(facts.server, facts.session, facts.message, facts.outbound)
        living._stands = stands
        return living

    @property
    def lives_as_session(self) -> object | None:
        return self._stands[0]

    @property
    def lives_as_message(self) -> object | None:
        return self._stands[1]
