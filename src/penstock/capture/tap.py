"""Listens to one session and keeps what was said, with what must not be kept taken out before anything is.

What the client said is cut into steps where the server's own machine cut it, by counting the octets that it has read. Rejected: to parse
the octets a second time here; where two parsers differ, one of them takes a password for a command."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol

from ..events.work import Facts, SessionWork
from ..wire.smtp import happening as wire
from .content import Gathered
from .format import CapturedSession, Kind, Step
from .moment import Moment
from .settings import CaptureSettings

# Questions whose whole line may be kept.
_COMMANDS = (wire.Greeting, wire.Mail, wire.Rcpt, wire.Reset, wire.Noop, wire.Help, wire.Vrfy, wire.Expn, wire.Quit)
# What is kept of a content at least: its header decides most.
HEADER = 64 * 1024
P = ParamSpec("P")
# What a step costs beside its octets.
_STEP = 100


def quietly(method: Callable[Concatenate[Listener, P], None]) -> Callable[Concatenate[Listener, P], None]:
    """Keeps an error of ours from the session: what is captured of it ends there, and says so."""

    def guarded(listener: Listener, /, *args: P.args, **named: P.kwargs) -> None:
        try:
            method(listener, *args, **named)
        except Exception as error:
            listener.session.cut = listener.session.cut or f"error: {type(error).__name__}: {error}"

    return guarded


class Keeper(Protocol):
    """Who keeps the sessions that are over; ``held`` are the octets of those that are not."""

    settings: CaptureSettings
    moment: Moment
    held: int

    def over(self, listener: Listener) -> None:
        """A session has ended."""


class Listener:
    """One session while it lasts.

    Args:
        facts: what the session is about at this moment.
        keeper: who keeps it afterwards.
    """

    def __init__(self, facts: Callable[[], Facts], keeper: Keeper) -> None:
        now = facts()
        assert now.session is not None
        self._facts = facts
        self._keeper = keeper
        self._settings = settings = keeper.settings
        self._moment = moment = keeper.moment
        self._work: SessionWork = now.session
        self._began = time.monotonic()
        self._raw = bytearray()
        self._content: Gathered | None = None
        self._talking = ""
        self._heard = self._halfway = False
        self.wanted = moment.is_at_once
        self.held = 0
        work = self._work
        self.session = CapturedSession(
            id=work.id, listener=work.listener, hostname=now.server.hostname, client_ip=work.client_ip, client_port=work.client_port,
            client_name=work.client_name, started=work.started, tls=str(work.tls or ""), hides=settings.redaction.hides,
        )  # fmt: skip

    @quietly
    def received(self, data: bytes) -> None:
        """Octets came, and are not parsed yet."""
        if not self.session.cut:
            self._raw += data

    @quietly
    def happened(self, happening: wire.Happening, unread: int) -> None:
        """The machine read something."""
        if self.session.cut:
            return
        if not self.wanted:
            self.wanted = self._moment.comes(happening, self._facts())
        if isinstance(happening, wire.Closed):
            return
        read = bytes(self._raw[: len(self._raw) - unread])
        del self._raw[: len(read)]
        if isinstance(happening, wire.Chunk | wire.ContentEnd):
            self._content_comes(happening, read)
        elif isinstance(happening, wire.Line | wire.Block):
            self._answered(read)
        elif isinstance(happening, wire.Refused):
            self._refused(read)
        else:
            self._commanded(happening, read)

    @quietly
    def sent(self, data: bytes) -> None:
        """Octets go to the client."""
        if self.session.cut:
            return
        self._end_auth()
        redaction = self._settings.redaction
        if self._talking == "auth" or (self._talking and not redaction.answers):
            # A challenge belongs to the secret, and what is said after an answer may repeat it.
            data = b"".join(_without_text(line, self._heard) for line in data.split(b"\r\n") if line)
        self._add("reply", redaction.text(data))

    @quietly
    def ended(self, reason: str) -> None:
        """The session is over."""
        session, work = self.session, self._work
        self._end_auth()
        self._end_content(whole=False)
        if self._raw and not session.cut:
            octets, self._raw = bytes(self._raw), bytearray()
            self._add("unread", self._settings.redaction.unread(octets))
        session.ended, session.seconds = reason, round(time.monotonic() - self._began, 3)
        session.messages, session.rejections, session.client_name = work.messages, work.rejections, work.client_name
        self._keeper.held -= self.held
        self._keeper.over(self)

    def _commanded(self, happening: wire.Happening, read: bytes) -> None:
        """A command: the last line of what was read. What is before it, no happening told of."""
        self._end_content(whole=False)
        start = read.rfind(b"\r\n", 0, max(len(read) - 2, 0)) + 2
        start = start if start > 1 else 0
        if start:
            self._add("unread", self._settings.redaction.unread(read[:start]))
        line = read[start:]
        self._talking, self._heard = "", False
        if isinstance(happening, wire.Auth):
            # An initial response is a secret that was heard.
            self._talking, self._heard = "auth", True
            self._add("auth", happening.line.encode("utf-8", "replace") + b"\r\n", hidden=True)
        elif isinstance(happening, wire.Verb):
            self._talking = "verb"
            kept, hidden = self._settings.redaction.verb(line)
            self._add("command", kept, hidden=hidden)
        elif isinstance(happening, wire.DataStart):
            self._data_starts(happening, line)
        else:
            known = isinstance(happening, _COMMANDS)
            self._add("command", self._settings.redaction.text(line) if known else self._settings.redaction.refused(line))

    def _data_starts(self, happening: wire.DataStart, line: bytes) -> None:
        """With BDAT the command goes with its octets, since it says how many they are."""
        self._halfway = False
        if happening.bdat:
            self._content = Gathered(self._limit, line)
        else:
            self._add("command", line)
            self._content = Gathered(self._limit)

    def _refused(self, read: bytes) -> None:
        """A line that the machine refused. One that is too long or has a bare LF is not read yet: it will stand before the next command."""
        self._end_content(whole=False)
        self._talking, self._heard = "", False
        if read:
            self._add("refused", self._settings.redaction.unread(read))

    def _answered(self, read: bytes) -> None:
        """A line or octets that a sink asked for."""
        redaction = self._settings.redaction
        self._heard = True
        if self._talking == "auth" or not redaction.answers:
            self._add("answer", b"", hidden=True)
        else:
            self._add("answer", redaction.text(read))

    def _content_comes(self, happening: wire.Chunk | wire.ContentEnd, read: bytes) -> None:
        if self._content is None:
            # Another command came between two chunks.
            self._content = Gathered(self._limit, b"", continued=self._halfway)
        before = self._content.kept
        self._content.add(read, happening.data if isinstance(happening, wire.Chunk) else b"")
        self._hold(self._content.kept - before)
        if isinstance(happening, wire.ContentEnd):
            self._end_content(whole=True)

    def _end_content(self, whole: bool) -> None:
        """The content is whole, or nothing more of it comes for now."""
        gathered, self._content = self._content, None
        if gathered is None or self.session.cut:
            return
        self._hold(-gathered.kept)
        self._halfway = not whole
        octets, missing = gathered.redacted(self._settings.redaction, whole)
        if octets:
            self._add("content", octets, missing=missing)

    def _end_auth(self) -> None:
        """Notes with an AUTH whom the server believed the client to be; nothing else of it can be said again."""
        if self._talking == "auth" and self._work.user:
            last = next((step for step in reversed(self.session.steps) if step.kind == "auth"), None)
            if last is not None and not last.user:
                last.user = self._settings.redaction.text(self._work.user.encode()).decode("utf-8", "replace")

    @property
    def _limit(self) -> int:
        return max(min(self._settings.content, self._settings.session - self.held), HEADER)

    def _add(self, kind: Kind, octets: bytes, missing: int = 0, hidden: bool = False) -> None:
        session = self.session
        if session.cut:
            return
        if self.held + len(octets) > self._settings.session + HEADER:
            session.cut = f"the session is longer than {self._settings.session} octets"
            self._raw, self._content = bytearray(), None
            return
        self._hold(len(octets) + _STEP)
        at = round(time.monotonic() - self._began, 4)
        session.steps.append(Step(at, kind, octets.decode("latin-1"), missing, hidden))

    def _hold(self, octets: int) -> None:
        self.held += octets
        self._keeper.held += octets


def _without_text(line: bytes, heard: bool) -> bytes:
    """A reply's line with its code alone, when it asks for something or comes after something was heard."""
    return (line[:4] if heard or line[:1] == b"3" else line) + b"\r\n"
