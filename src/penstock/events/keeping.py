"""Objects that a sink keeps for one session or one message, made when they are first asked for and closed when it is gone.

    class Greylist(Sink):
        visits = PerSession(Visit)

        @on(RcptTo)
        async def look(self, event: RcptTo) -> Defer | None:
            self.visits[event].recipients += 1

All handlers of the sink get the same object for the same session. It is closed, by its ``close()`` or ``async def aclose()`` if it has one,
when nothing in the server holds the session or message any more, so a report that is told late still finds it. A message is gone when it
is served, and also when it only waits in the spool: its next try has an object of its own.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, overload

if TYPE_CHECKING:
    from .event import Event
    from .sink import Sink

T = TypeVar("T")
# How long ``aclose()`` may take, in seconds.
CLOSING = 10.0


class Keeping(Generic[T]):
    """The objects of one sink: ``keeping[event]`` is that of the event's session or message, and ``len(keeping)`` how many there are.

    Args:
        sink: whose.
        make: makes one.
        find: the session or message that an event is about; None for none.
        about: what that is, in a word.
    """

    def __init__(self, sink: Sink[Any], make: Callable[[], T], find: Callable[[Event], object | None], about: str) -> None:
        self._log = sink.log
        self._make, self._find, self._about = make, find, about
        self._lock = threading.Lock()
        self._kept: dict[int, T] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, event: Event) -> T:
        """The object of this event's session or message. Raises LookupError when the event is about none."""
        work = self._find(event)
        if work is None:
            raise LookupError(f"{type(event).__name__} is about no {self._about}")
        self._note_loop()
        key = id(work)
        with self._lock:
            if key not in self._kept:
                self._kept[key] = self._make()
                weakref.finalize(work, self._gone, key).atexit = False
            return self._kept[key]

    async def close(self) -> None:
        """Closes all that are left."""
        with self._lock:
            left, self._kept = list(self._kept.values()), {}
        for kept in left:
            self._close(kept)
        if self._closing:
            await asyncio.wait(set(self._closing), timeout=CLOSING)

    def _note_loop(self) -> None:
        if self._loop is None:
            try:
                self._loop = asyncio.get_running_loop()
            except RuntimeError:  # in a thread: then it is noted when the loop comes by
                return

    def _gone(self, key: int) -> None:
        """Nothing holds the session or message any more; called in whichever thread held it last."""
        with self._lock:
            if key not in self._kept:
                return
            kept = self._kept.pop(key)
        self._note_loop()
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        if here is not None or self._loop is None:
            self._close(kept)
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._close, kept)

    def _close(self, kept: T) -> None:
        close = getattr(kept, "aclose", None) or getattr(kept, "close", None)
        if close is None:
            return
        try:
            waiting = close()
        except Exception as error:
            self._failed(error)
            return
        if inspect.isawaitable(waiting):
            task = asyncio.ensure_future(self._wait(waiting))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def _wait(self, waiting: Any) -> None:
        try:
            async with asyncio.timeout(CLOSING):
                await waiting
        except Exception as error:
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        self._log.error("kept object does not close", about=self._about, error=f"{type(error).__name__}: {error}")


class _Kept(Generic[T]):
    """A class attribute that gives each sink object its own ``Keeping``."""

    _about = ""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._name = ""

    def __set_name__(self, owner: type[Any], name: str) -> None:
        self._name = name

    @overload
    def __get__(self, sink: None, owner: type[Any]) -> Self: ...
    @overload
    def __get__(self, sink: Sink[Any], owner: type[Any]) -> Keeping[T]: ...
    def __get__(self, sink: Sink[Any] | None, owner: type[Any]) -> Self | Keeping[T]:
        if sink is None:
            return self
        # The instance's own attribute goes before this one from now on, as it has no ``__set__``.
        found: Keeping[T] = vars(sink).setdefault(self._name, Keeping(sink, self._make, self._find, self._about))
        return found

    @staticmethod
    def _find(event: Event) -> object | None:
        raise NotImplementedError


class PerSession(_Kept[T]):
    """One object for each session, inbound or with a remote server.

    Args:
        make: makes one; a class, or a function without arguments.
    """

    _about = "session"

    @staticmethod
    def _find(event: Event) -> object | None:
        return event.facts.lives_as_session


class PerMessage(_Kept[T]):
    """One object for each message, as long as the server works on it.

    Args:
        make: makes one; a class, or a function without arguments.
    """

    _about = "message"

    @staticmethod
    def _find(event: Event) -> object | None:
        return event.facts.lives_as_message


def keeps(sink: type[Sink[Any]]) -> bool:
    """Whether sinks of a class keep objects for sessions or messages."""
    return any(isinstance(value, _Kept) for cls in sink.__mro__ for value in vars(cls).values())


async def close_kept(sink: Sink[Any]) -> None:
    """Closes all that a sink still keeps, when it has stopped."""
    for value in list(vars(sink).values()):
        if isinstance(value, Keeping):
            await value.close()
