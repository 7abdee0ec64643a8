"""Begins and ends what a worker captures, as the configuration in force says."""

from __future__ import annotations

import asyncio

from ..capture.settings import CaptureSettings
from ..capture.writer import Capture
from ..config import Config
from ..config.capturing import CaptureTable, capture_settings
from ..hosts.smtp.host import SmtpHost
from ..observe.log import Log


class Capturing:
    """What a worker captures.

    Args:
        host: whose sessions.
        worker: its number.
        log: where it is said.
    """

    def __init__(self, host: SmtpHost, worker: int, log: Log) -> None:
        self._host = host
        self._worker = worker
        self._log = log
        self._table: CaptureTable | None = None
        self._capture: Capture | None = None
        self._closing: set[asyncio.Task[None]] = set()

    def take_up(self, config: Config) -> None:
        """Captures as this configuration says; sessions under way are kept as they began. Raises ConfigError."""
        settings = capture_settings(config, self._worker)
        if settings is None or self._capture is None or self._capture.is_over or config.capture != self._table:
            self._change(settings)
        self._table = config.capture

    async def close(self) -> None:
        """Ends, when what was captured is written."""
        self._change(None)
        if self._closing:
            await asyncio.wait(set(self._closing))

    def _change(self, settings: CaptureSettings | None) -> None:
        old = self._capture
        self._capture = Capture(settings, self._log) if settings is not None else None
        self._host.tap = self._capture.tap if self._capture is not None else None
        if settings is not None:
            self._log.info("capture begins", file=str(settings.path), hides=settings.redaction.hides)
        if old is not None:
            task = asyncio.get_running_loop().create_task(old.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
