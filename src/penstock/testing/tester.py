"""``sink_tester``: one sink, every event, no server.

async def test_refuses(sink_tester):
    verdict = await sink_tester(ShieldsUp()).ehlo("client.example")
    assert verdict == Disconnect(421, "4.3.2", "Please try again later.")
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..events import catalog
from ..events.event import Event, Report
from ..events.sink import Sink, settings_type
from ..events.verdict import Verdict
from .ask_inbound import AskInbound
from .ask_outbound import AskOutbound
from .ask_transport import AskTransport
from .asking import Asking
from .captured import CapturedLog
from .tell import Tell

_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class SinkTester(AskInbound, AskTransport, AskOutbound, Tell, Asking):
    """Asks one sink about every event, each by the method of its name, on one session and one message.

    A question returns the verdict, or None. What the handler raises is raised in the test, unless the sink is ``bound`` with ``on_error``.
    Beside the verdict there are ``message`` with its edits, ``forks``, ``submitted``, ``log``, ``session_state``, ``message_state`` and
    ``server_state``, ``event`` as it was left, and ``fired``.
    """

    async def ask(self, event: type[Event] | Event) -> Verdict | None:
        """Asks or tells about an event: one made with ``facts``, or a class of the catalogue, with what its method takes by default.

        Raises: ValueError for a class that there is no method for.
        """
        if isinstance(event, Event):
            return await self.put(event)
        method: Callable[[], Any] | None = getattr(self, method_name(event), None)
        if method is None:
            raise ValueError(f"{event.__name__} has no method here; make the event yourself and give it to ask()")
        answer = await method()
        return answer if isinstance(answer, Verdict) else None


def method_name(event: type[Event]) -> str:
    """The method that asks about an event: ``rcpt_to`` for RcptTo."""
    name = event.__name__.removesuffix("Report") if issubclass(event, Report) else event.__name__
    names = {cls: shown for shown, cls in catalog.CATALOG.items()}
    return _WORD.sub("_", names.get(event, name)).lower()


def made(sink: Sink[Any] | type[Sink[Any]], table: Mapping[str, object] | None, settings: Mapping[str, object]) -> Sink[Any]:
    """The sink itself, or one made with settings.

    Args:
        sink: a sink, or its class.
        table: settings as they stand in the configuration, to be converted as there; None for none.
        settings: settings as Python objects.

    Raises: ConfigError for settings that do not fit.
    """
    if isinstance(sink, Sink):
        if table or settings:
            raise TypeError("settings go with the class of a sink; this one is made already")
        return sink
    wanted = settings_type(sink)
    if wanted is None:
        if table or settings:
            raise ConfigError(f"{sink.__qualname__}.settings", f"{sink.__qualname__} takes no settings")
        return sink()
    where = f"{sink.__qualname__}.settings"
    if table is not None:
        from ..config.load import convert  # most testers need nothing of the configuration

        return sink(convert(dict(table), wanted, where, Path.cwd()))
    try:
        return sink(wanted(**settings))
    except TypeError as error:
        raise ConfigError(where, str(error)) from error


class SinkTesters:
    """What the fixture ``sink_tester`` is: makes testers, and stops their sinks when the test is over."""

    def __init__(self) -> None:
        self.log = CapturedLog()
        self._made: list[SinkTester] = []

    def __call__(self, sink: Sink[Any] | type[Sink[Any]], table: Mapping[str, object] | None = None, /, **settings: object) -> SinkTester:
        """A tester of this sink.

        Args:
            sink: a sink, or its class.
            table: with a class, its settings as they stand in the configuration.
            settings: with a class, its settings as Python objects.

        Raises: ConfigError when the settings do not fit, or a handler could never work.
        """
        tester = SinkTester(made(sink, table, settings), self.log)
        self._made.append(tester)
        return tester

    async def close(self) -> None:
        """Stops all sinks that were started, the last one first."""
        while self._made:
            await self._made.pop().stop()
