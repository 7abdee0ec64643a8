"""A worker's tracing: put together from the configuration, changed by a reload, and by administrators for a while."""

from __future__ import annotations

import asyncio
import math
import time

from ..admin.protocol import ControlError
from ..admin.protocol_trace import AskTracing, TracingRow
from ..config import Config
from ..config.load import convert
from ..config.tracing import trace_settings
from ..errors import ConfigError
from ..events.dispatch import Dispatcher
from ..events.recording import Order, Recorder, Recording
from ..events.rule import Match
from ..observe.log import Log
from ..observe.traces import TraceStore

FLUSH = 5.0


class LiveTracing:
    """The tracing of one worker; ``admin.tracing.TracingOperations``.

    Args:
        worker: its name.
        config: what is traced, and where it is kept.
        dispatcher: tells of events.
        log: where it is said that traces cannot be written, and who changed what is traced.
    """

    def __init__(self, worker: str, config: Config, dispatcher: Dispatcher, log: Log) -> None:
        self._worker = worker
        self._log = log
        self._store = TraceStore(trace_settings(config, worker), lambda what: log.warning("traces cannot be written", error=what))
        self._recording = Recording(dispatcher, Recorder(self._store, config.trace.recording()))
        self._ordered, self._until = False, math.inf

    def take_up(self, config: Config) -> None:
        """Goes on as another configuration says; where traces are kept, only a restart changes. An order of an administrator ends."""
        self._recording.change(config.trace.recording())
        self._ordered, self._until = False, math.inf

    async def ask(self, question: AskTracing) -> TracingRow:
        if question.action != "ask":
            self._change(question)
        await asyncio.to_thread(self._store.flush, FLUSH)
        return self._row()

    async def close(self) -> None:
        """Writes down what is left."""
        await asyncio.to_thread(self._recording.close)

    def _change(self, question: AskTracing) -> None:
        self._until = math.inf if question.seconds is None else time.monotonic() + question.seconds
        if question.action == "on":
            try:
                match = convert(question.match, Match, "match") if question.match else None
                self._recording.order(Order(match, self._until))
            except (ConfigError, ValueError) as error:
                raise ControlError("usage", f"{error.where}: {error.what}" if isinstance(error, ConfigError) else str(error)) from None
        elif question.action == "off":
            self._recording.stop()
        else:
            self._recording.order(None)
        self._ordered = question.action != "reset"

    def _row(self) -> TracingRow:
        over = time.monotonic() >= self._until
        settings, ordered = self._recording.recorder.settings, self._ordered and not over
        return TracingRow(
            worker=self._worker,
            active=self._recording.active and (not over or settings.sample > 0 or settings.match is not None),
            ordered=ordered,
            left=round(self._until - time.monotonic(), 1) if ordered and self._until != math.inf else None,
            sample=settings.sample,
            rate=settings.rate,
            written=self._store.written,
            dropped=self._store.dropped,
        )
