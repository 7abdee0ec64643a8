"""What the server itself holds of a session and a message while sinks are asked, and what it does for sinks.

Sinks never touch these: an event shows them *views* (``views``) that edit a copy, and the dispatcher copies back what a handler changed
when it returns. So an exception, a deadline or a runaway thread can leave nothing half-edited behind."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, Protocol

from ..mail.content import Content
from ..mail.header import Section, read_fields, split_header
from ..mail.message import MessageRecord
from ..mail.reply import Reply
from ..wire.tls import TlsFacts


class SessionWork:
    """One SMTP session as the server holds it.

    ``states`` is what sinks remember, by sink; the counters are told at the end of the session.
    """

    __slots__ = (
        "__weakref__", "client_ip", "client_name", "client_port", "forwarded", "helo", "id", "listener", "messages", "rejections",
        "started", "states", "tls", "unknown", "user",
    )  # fmt: skip

    def __init__(self, session_id: str, client: tuple[str, int], listener: str, started: float) -> None:
        self.id = session_id
        self.client_ip, self.client_port = client
        self.client_name = ""
        self.helo = ""
        self.tls: TlsFacts | None = None
        self.user = ""
        self.listener = listener
        self.started = started
        self.states: dict[str, dict[str, Any]] = {}
        self.messages = 0
        self.rejections = 0
        self.unknown = 0
        # What a filter before us says of the client of the next message (XFORWARD).
        self.forwarded: dict[str, str] = {}


class OutboundWork:
    """One session with a remote server as we hold it.

    ``remote`` is an ``events.outbound.Remote``, replaced when more is known; ``states`` is what sinks remember, by sink.
    """

    __slots__ = ("__weakref__", "id", "messages", "queue", "recipients", "remote", "started", "states")

    def __init__(self, session_id: str, queue: str, remote: object, started: float) -> None:
        self.id = session_id
        self.queue = queue
        self.remote = remote
        self.started = started
        self.states: dict[str, dict[str, Any]] = {}
        self.messages = 0
        self.recipients = 0


class ContentHeader:
    """The header section of a content, read when it is asked for first."""

    __slots__ = ("_section", "content")

    def __init__(self, content: Content) -> None:
        self.content = content
        self._section: Section | None = None

    @property
    def section(self) -> Section:
        """The fields; reading them may wait for the disk, where the content is large."""
        if self._section is None:
            self._section = Section(read_fields(self.content))
        return self._section


class MessageWork:
    """One message as the server holds it: its record, its content once there is one, and what sinks made of it.

    ``content_id`` names the content in the spool, "" while it is not there; ``dirty`` says that something must be recorded; ``rewritten``
    that the content itself is another than the spool's; ``forks`` are the copies that sinks split off, each to go on after the binding that
    did it. ``complete`` is False while the content still comes: only its beginning is here then.
    """

    __slots__ = ("__weakref__", "_came", "_edited", "complete", "content", "content_id", "dirty", "forks", "record", "rewritten")

    def __init__(self, record: MessageRecord, content: Content | None = None, content_id: str = "") -> None:
        self.record = record
        self.content = content
        self.content_id = content_id
        self.complete = True
        self.forks: list[MessageWork] = []
        self.dirty = False
        self.rewritten = False
        self._came: ContentHeader | None = None
        self._edited: tuple[bytes, Section] | None = None

    def came(self) -> ContentHeader:
        """The header of the content as it is, before edits; the same object for all who ask. The content must be there."""
        assert self.content is not None
        if self._came is None or self._came.content is not self.content:
            self._came = ContentHeader(self.content)
        return self._came

    def section(self) -> Section:
        """The header fields with the edits that were kept; the same object for all who ask. The content must be there."""
        header = self.record.header
        if header is None:
            return self.came().section
        if self._edited is None or self._edited[0] is not header:
            self._edited = (header, Section(split_header(header)[0]))
        return self._edited[1]


class Backplane(Protocol):
    """What the server does for sinks; made by the composition root."""

    name: str
    hostname: str
    states: dict[str, dict[str, Any]]

    def new_id(self) -> str:
        """A fresh queue id."""

    def now(self) -> float:
        """Seconds since 1970."""

    async def submit(self, work: MessageWork) -> str:
        """Takes a message into transport; returns its id when it is durable. Raises StorageUnavailable."""

    def queue_depth(self, queue: str = "") -> int | Awaitable[int]:
        """How many messages the spool keeps, in all or in one queue; to be awaited where another process has to be asked."""

    def release_queue(self, queue: str) -> int | Awaitable[int]:
        """Releases what is held in a queue and works on it now; how many messages there are, to be awaited as with ``queue_depth``."""

    async def reset_routes(self) -> int:
        """Asks for the next hop of what is queued again; how many messages got another."""


class Dialogue(Protocol):
    """Reads on while a verb's decision is open."""

    async def line(self, prompt: Reply | None) -> bytes:
        """Sends the prompt, if any, and returns the next line without its line end."""

    async def block(self, size: int) -> bytes:
        """The next ``size`` octets."""


class Exchange(Protocol):
    """Reads on while the decision on AUTH is open."""

    async def response(self, challenge: bytes) -> bytes:
        """Sends a challenge and returns the response, both without their base64.

        Raises: RemoteProtocolError when the client cancels or breaks the protocol; ClientGone when it is gone.
        """


class Wire(Protocol):
    """Talks to a remote server while a decision is open."""

    async def send(self, line: str) -> Reply:
        """Sends one command line and returns the reply to it. Raises ValueError; ConnectionError when the server is gone."""


@dataclass(slots=True)
class Facts:
    """What an event is about: the server, and the session and message where there are such.

    ``outbound`` is the session with a remote server, at the events of delivery.
    """

    server: Backplane
    session: SessionWork | None = None
    message: MessageWork | None = None
    outbound: OutboundWork | None = None

    @property
    def lives_as_session(self) -> object | None:
        """What lives as long as the session, of either kind; in a sink process it is not what each call shows of it."""
        return self.session or self.outbound

    @property
    def lives_as_message(self) -> object | None:
        """What lives as long as the message is worked on."""
        return self.message


@dataclass(slots=True)
class Scope:
    """Whose view it is: the binding that is being asked, and the owner of the private state it sees.

    ``loop`` is the server's, for a handler that runs in a thread; None for one that runs on the loop itself.
    """

    binding: str
    owner: str
    loop: asyncio.AbstractEventLoop | None = None
