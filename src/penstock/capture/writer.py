"""Keeps the sessions that are wanted: one file a worker, written in a thread, never longer than it may be.

A session is written when it is over, as one line, so that lines never mix. What the disk cannot take is not kept: a capture is no reason to
slow down mail, or to lose any."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ..events.work import Facts
from ..observe.log import Log
from .format import CapturedSession, encode
from .moment import Moment
from .redact import Redaction
from .settings import CaptureSettings
from .tap import Listener

# Sessions that are over and wait to be written.
MOST_WAITING = 1000
KEY_FILE = "pseudonyms.key"


def pseudonym_key(folder: Path) -> bytes:
    """The key of a folder's pseudonyms, made when it is not there: all its files name an address the same. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / KEY_FILE
    with contextlib.suppress(FileExistsError):
        part = folder / f".{KEY_FILE}.{os.getpid()}"
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(secrets.token_bytes(32))
        try:
            # The first of several workers wins, and nobody reads half a key.
            os.link(part, path)
        finally:
            part.unlink()
    return path.read_bytes()


class Capture:
    """Captures the sessions of one worker.

    Args:
        settings: what, how much, and where. Raises ConfigError for conditions that no session can meet.
        log: where it is said that the file is full, or cannot be written.
    """

    def __init__(self, settings: CaptureSettings, log: Log) -> None:
        self._stopped = ""
        self._closed = False
        if settings.redaction.addresses and not settings.redaction.key:
            settings = replace(settings, redaction=self._keyed(settings))
        self.settings = settings
        self.moment = Moment.of(settings.match)
        self.held = 0
        self.captured = 0
        self._log = log
        self._waiting: list[CapturedSession] = []
        self._writing: asyncio.Task[None] | None = None

    def _keyed(self, settings: CaptureSettings) -> Redaction:
        """With the key of the folder; without one nothing is captured, since pseudonyms that can be guessed are none."""
        try:
            return replace(settings.redaction, key=pseudonym_key(settings.path.parent))
        except OSError as error:
            self._stopped = f"{type(error).__name__}: {error}"
            return settings.redaction

    def tap(self, facts: Callable[[], Facts]) -> Listener | None:
        """Who listens to the session that just began; None when it is not wanted, or there is no room."""
        settings = self.settings
        if self._closed or self._stopped or self.held >= settings.under_way:
            return None
        if settings.until and time.time() >= settings.until:
            self._stop("its time is over")
            return None
        if self.moment.is_at_once and not self.moment.begins(facts()):
            return None
        return Listener(facts, self)

    def over(self, listener: Listener) -> None:
        """A session has ended."""
        if not listener.wanted or self._stopped or len(self._waiting) >= MOST_WAITING:
            return
        self._waiting.append(listener.session)
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write())

    @property
    def is_over(self) -> bool:
        """Whether nothing more is captured."""
        return bool(self._stopped)

    async def close(self) -> None:
        """Begins with no further session, and returns when those that are over are written; the others are written when they are over."""
        self._closed = True
        if self._writing is not None:
            await self._writing

    async def _write(self) -> None:
        try:
            while self._waiting and not self._stopped:
                sessions, self._waiting = self._waiting, []
                why = await asyncio.to_thread(self._append, sessions)
                if why:
                    self._stop(why)
        finally:
            self._writing = None

    def _append(self, sessions: list[CapturedSession]) -> str:
        """Writes what there is room for; why nothing more can be, or ""."""
        path = self.settings.path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Mail is nobody else's business; and a link that somebody put there leads nowhere.
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(path, flags, 0o600), "ab") as file:
                room = self.settings.size - os.fstat(file.fileno()).st_size
                for session in sessions:
                    line = encode(session)
                    room -= len(line)
                    if room < 0:
                        return "the file is full"
                    file.write(line)
                    self.captured += 1
        except (OSError, ValueError) as error:
            return f"{type(error).__name__}: {error}"
        return ""

    def _stop(self, why: str) -> None:
        self._stopped = why
        self._waiting.clear()
        self._log.warning("capture stopped", file=str(self.settings.path), reason=why, sessions=self.captured)
