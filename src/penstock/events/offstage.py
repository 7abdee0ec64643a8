"""What a shadow is shown: a copy of the event, of its session and its message, and a server that does nothing of what it is asked.

A shadow's message is its own to edit; what it submits, sends and releases is noted and not done. It hears what the client and the remote
server answered to those whose verdict counts, and nobody hears it. What it remembers is kept beside the session and the message, so that
it finds at RCPT what it noted at EHLO, and nobody else finds it."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import msgspec

from ..errors import PenstockError
from ..mail.content import Content
from ..mail.reply import Reply
from .catalog import Event, Greeting
from .drafts import copied
from .event import OneRecipient
from .work import Backplane, Dialogue, Exchange, Facts, MessageWork, OutboundWork, SessionWork, Wire

# So many sessions and messages a worker remembers for its shadows; the oldest go first.
MOST_REMEMBERED = 10_000
S = TypeVar("S", SessionWork, OutboundWork)
W = TypeVar("W", SessionWork, OutboundWork, MessageWork)
NOT_SENT = Reply(502, "5.5.1", "Not sent: a shadow only listens")


class NothingHeard(PenstockError):
    """A shadow wanted to hear more than was said, or to read what is gone by now; so it cannot be compared."""


class Memory:
    """What one shadow remembers about sessions and messages, the most recent ones, and the copies that it is shown of them.

    It is shown the same object for the same session, brought up to date each time, so that what a sink keeps for a session is kept; when
    the session is gone, so is its copy.
    """

    def __init__(self, most: int = MOST_REMEMBERED) -> None:
        self._most = most
        self._states: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._shown: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()

    def stand_in(self, real: W, copied: W) -> W:
        """What stands for a session or message: the copy that stood for it before, with all that this one has."""
        known: W = self._shown.setdefault(real, copied)
        if known is not copied:
            for name in type(real).__slots__:
                if name != "__weakref__":
                    setattr(known, name, getattr(copied, name))
        return known

    def of(self, key: str) -> dict[str, Any]:
        """What is remembered about one of them."""
        return self._states.get(key, {})

    def keep(self, key: str, state: dict[str, Any]) -> None:
        """Remembers this in place of what was."""
        self._states.pop(key, None)
        if state:
            self._states[key] = state
            while len(self._states) > self._most:
                self._states.popitem(last=False)


class _States(dict[str, dict[str, Any]]):
    """What sinks remember in this worker: a shadow's own is real, all others' are copies.

    Args:
        real: the server's.
        owner: the shadow.
    """

    def __init__(self, real: dict[str, dict[str, Any]], owner: str) -> None:
        super().__init__()
        self._real = real
        self._owner = owner

    def setdefault(self, name: str, default: dict[str, Any] | None = None) -> dict[str, Any]:
        if name == self._owner:
            return self._real.setdefault(name, {})
        return super().setdefault(name, copied(self._real.get(name, default or {})))


class Offstage:
    """The server as a shadow sees it: it looks like the real one, and nothing comes of what it is asked to do.

    Args:
        server: the real one.
        owner: the shadow's binding.
    """

    def __init__(self, server: Backplane, owner: str) -> None:
        self._server = server
        self.name = server.name
        self.hostname = server.hostname
        self.states: dict[str, dict[str, Any]] = _States(server.states, owner)
        self.done: list[str] = []

    def new_id(self) -> str:
        """A fresh id; nothing will have it."""
        return self._server.new_id()

    def now(self) -> float:
        """Seconds since 1970."""
        return self._server.now()

    async def submit(self, work: MessageWork) -> str:
        """Notes a message, and lets it go."""
        envelope = work.record.envelope
        self.done.append(f"submit from <{envelope.sender}> to {', '.join(str(r.address) for r in envelope.recipients)}")
        return work.record.id

    def queue_depth(self, queue: str = "") -> int | Awaitable[int]:
        """How many messages the spool keeps."""
        return self._server.queue_depth(queue)

    def release_queue(self, queue: str) -> int | Awaitable[int]:
        """Releases nothing."""
        self.done.append(f"release {queue}")
        return self._server.queue_depth(queue)

    async def reset_routes(self) -> int:
        """Resets nothing."""
        self.done.append("reset routes")
        return 0


class Overheard:
    """What a client, or a remote server, said to those whose verdict counts, for those who only listen.

    Stands in for the event's own dialogue or wire, and passes everything on.

    Args:
        real: the dialogue or the wire.
    """

    def __init__(self, real: Dialogue | Exchange | Wire) -> None:
        # Which of them it is shows in which of the methods is called.
        self._real: Any = real
        self.heard: list[bytes] = []
        self.replies: list[tuple[str, Reply]] = []

    async def line(self, prompt: Reply | None) -> bytes:
        """The next line of the client."""
        return self._note(await self._real.line(prompt))

    async def block(self, size: int) -> bytes:
        """The next octets of the client."""
        return self._note(await self._real.block(size))

    async def response(self, challenge: bytes) -> bytes:
        """The client's answer to a challenge."""
        return self._note(await self._real.response(challenge))

    async def send(self, line: str) -> Reply:
        """The remote server's reply to a line."""
        reply: Reply = await self._real.send(line)
        self.replies.append((line, reply))
        return reply

    def _note(self, data: bytes) -> bytes:
        self.heard.append(data)
        return data


class Listening:
    """A dialogue or wire for one shadow: it hears in order what the others heard.

    Args:
        overheard: what was said.
        done: where is noted what it wanted to say.
    """

    def __init__(self, overheard: Overheard, done: list[str]) -> None:
        self._overheard = overheard
        self._done = done
        self._read = 0

    async def line(self, prompt: Reply | None) -> bytes:
        """What the client said next."""
        return self._next()

    async def block(self, size: int) -> bytes:
        """What the client said next."""
        return self._next()

    async def response(self, challenge: bytes) -> bytes:
        """What the client said next."""
        return self._next()

    async def send(self, line: str) -> Reply:
        """The reply that the server gave to the same line, or that it was not sent."""
        self._done.append(f"send {line}")
        return next((reply for sent, reply in self._overheard.replies if sent == line), NOT_SENT)

    def _next(self) -> bytes:
        if self._read >= len(self._overheard.heard):
            raise NothingHeard("a shadow hears what the client said to others, and there is no more of it")
        self._read += 1
        return self._overheard.heard[self._read - 1]


class _Lent:
    """A content that may be gone when it is read, since nobody waits for a shadow."""

    __slots__ = ("_content",)
    in_memory = False

    def __init__(self, content: Content) -> None:
        self._content = content

    @property
    def size(self) -> int:
        return self._content.size

    def read(self, offset: int = 0, length: int = -1) -> bytes:
        try:
            return self._content.read(offset, length)
        except (PenstockError, OSError) as error:
            raise NothingHeard(f"the content is gone: {error}") from error


_TALKS = ("_dialogue", "_wire")


def overhear(event: Event) -> Overheard | None:
    """Begins to listen to what is said at an event, if there is somebody to talk to."""
    for name in _TALKS:
        real = getattr(event, name, None)
        if real is not None:
            overheard = Overheard(real)
            setattr(event, name, overheard)
            return overheard
    return None


def understudy(event: Event, server: Offstage, overheard: Overheard | None) -> Event:
    """A copy of an event that shares nothing with it that a handler could change.

    Args:
        event: as it is before anybody was asked.
        server: what the copy shows as the server.
        overheard: what is said at it.
    """
    other = event.clone()
    facts = event.facts
    session = _with_states(facts.session) if facts.session is not None else None
    outbound = _with_states(facts.outbound) if facts.outbound is not None else None
    other.facts = Facts(server, session, _message(facts.message), outbound)
    if isinstance(other, OneRecipient):
        other.work = other.work.copy()
    if isinstance(other, Greeting):
        other.offered = list(other.offered)
    if overheard is not None:
        for name in _TALKS:
            if hasattr(other, name):
                setattr(other, name, Listening(overheard, server.done))
    return other


def _with_states(work: S) -> S:
    other = copy.copy(work)
    other.states = {name: dict(state) for name, state in work.states.items()}
    return other


def _message(work: MessageWork | None) -> MessageWork | None:
    if work is None:
        return None
    other = copy.copy(work)
    # Whatever else is in a record is replaced when it changes, and never changed in place.
    other.record = msgspec.structs.replace(work.record, envelope=work.record.envelope.copy())
    other.forks = []
    if work.content is not None and not work.content.in_memory:
        other.content = _Lent(work.content)
    return other


def recall(event: Event, real: Facts, owner: str, memory: Memory) -> Callable[[], None]:
    """Gives a shadow's copy what it remembers, and returns what keeps it afterwards.

    Args:
        event: the copy.
        real: the facts that it was made from.
        owner: the shadow's binding.
        memory: what it remembers.
    """
    facts = event.facts
    if facts.session is not None and real.session is not None:
        facts.session = memory.stand_in(real.session, facts.session)
    if facts.outbound is not None and real.outbound is not None:
        facts.outbound = memory.stand_in(real.outbound, facts.outbound)
    if facts.message is not None and real.message is not None:
        facts.message = memory.stand_in(real.message, facts.message)
    session, message = facts.session or facts.outbound, facts.message
    if session is not None:
        session.states[owner] = dict(memory.of(session.id))
    if message is not None:
        state = memory.of(message.record.id)
        message.record.state = {**message.record.state, owner: state} if state else message.record.state

    def remember() -> None:
        if session is not None:
            memory.keep(session.id, session.states.get(owner, {}))
        if message is not None:
            memory.keep(message.record.id, message.record.state.get(owner, {}))

    return remember
