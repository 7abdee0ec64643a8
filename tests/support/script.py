"""How a scripted remote differs from a good one: what it says it can do, and what it does at which point.

A script is data: places (``Phase``, or ``At`` for one of several) with the steps that are taken there instead of the usual reply.
Without steps a remote behaves well. ``Usual()`` among the steps is the usual reply, so that something can be put before or after it.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from .certificates import server_context
from .remote_wire import Gone, Wire

BASE_EXTENSIONS = ("PIPELINING", "8BITMIME", "SMTPUTF8", "DSN", "SIZE 104857600", "CHUNKING", "ENHANCEDSTATUSCODES")


class Phase(enum.StrEnum):
    """Where a script may step in."""

    BANNER = "banner"
    EHLO = "EHLO"  # and LHLO
    HELO = "HELO"
    STARTTLS = "STARTTLS"
    AUTH = "AUTH"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    CONTENT = "content"  # after 354, before the content is read
    CHUNK = "chunk"  # after a BDAT command, before its octets are read
    BDAT = "BDAT"  # the reply to a chunk that is not the last
    END = "end"  # the reply, or in LMTP the replies, to the whole content, however it came
    STATUS = "status"  # one of LMTP's replies to the content
    RSET = "RSET"
    NOOP = "NOOP"
    QUIT = "QUIT"


class Connect(enum.Enum):
    """What happens to a connection before anybody speaks."""

    ACCEPT = enum.auto()
    REFUSE = enum.auto()  # RST to SYN, until the remote is told to listen
    IGNORE = enum.auto()  # no answer to SYN


@dataclass(frozen=True, slots=True)
class At:
    """A place in a script.

    Args:
        phase: which.
        number: the n-th there, from 1: of the transaction for RCPT, BDAT, CHUNK and STATUS, else of the session. 0: each.
        connection: the n-th connection to this remote, from 1. 0: each.
    """

    phase: Phase
    number: int = 0
    connection: int = 0


@dataclass(frozen=True, slots=True)
class Face:
    """What a remote says it can do, and whom it lets in.

    Args:
        lmtp: speaks LMTP (RFC 2033).
        extensions: lines of the EHLO reply; STARTTLS and AUTH are added by the next two.
        tls: offers STARTTLS; its certificate is for ``names``.
        implicit_tls: speaks TLS from the first octet.
        accounts: user to password; when there are any, AUTH is offered.
        auth_needed: refuses MAIL without AUTH.
        window: octets of receive buffer, 0 for the kernel's choice.
    """

    lmtp: bool = False
    extensions: tuple[str, ...] = BASE_EXTENSIONS
    tls: bool = False
    implicit_tls: bool = False
    names: tuple[str, ...] = ("remote.example",)
    accounts: Mapping[str, str] = field(default_factory=dict)
    mechanisms: tuple[str, ...] = ("PLAIN", "LOGIN")
    auth_needed: bool = False
    window: int = 0


class Scripted(Protocol):
    """What a step sees of the session."""

    wire: Wire
    argument: str
    memory: set[str]

    async def say(self, data: bytes, code: int | None = None) -> None: ...
    async def usual(self) -> None: ...


class Step(Protocol):
    """One thing that a remote does."""

    async def take(self, session: Scripted) -> None: ...


@dataclass(frozen=True, slots=True)
class Script:
    """A remote's whole behaviour.

    Args:
        steps: what is done where; the most particular place wins, a number before a connection.
        face: what it says it can do.
        connect: what happens before the first octet.
    """

    steps: Mapping[Phase | At, Sequence[Step]] = field(default_factory=dict)
    face: Face = field(default_factory=Face)
    connect: Connect = Connect.ACCEPT

    def at(self, phase: Phase, number: int, connection: int) -> Sequence[Step]:
        """The steps for a place; empty when the usual reply is given."""
        for place in (At(phase, number, connection), At(phase, number), At(phase, 0, connection), At(phase), phase):
            if place in self.steps:
                return self.steps[place]
        return ()


@dataclass(frozen=True, slots=True)
class Usual:
    """What a good remote would do here."""

    async def take(self, session: Scripted) -> None:
        await session.usual()


@dataclass(frozen=True, slots=True)
class Say:
    """Any octets.

    Args:
        data: sent as they are.
        code: what they count as; by default their first three digits.
        every: seconds between two octets; 0 sends all at once.
    """

    data: bytes
    code: int | None = None
    every: float = 0.0

    async def take(self, session: Scripted) -> None:
        if self.every:
            for octet in self.data[:-1]:
                await session.wire.write(bytes([octet]))
                await asyncio.sleep(self.every)
        await session.say(self.data[-1:] if self.every else self.data, self.code or _code(self.data))


def reply(text: str) -> tuple[Say]:
    """The steps that say one reply; its lines are given without codes on all but the first, as ``550 5.1.1 no\\nsuch user``."""
    code, _, rest = text.partition(" ")
    lines = rest.split("\n")
    sent = [f"{code}{'-' if number < len(lines) else ' '}{line}\r\n" for number, line in enumerate(lines, 1)]
    return (Say("".join(sent).encode()),)


def _code(data: bytes) -> int:
    """What a reply of these octets means to who sends it: its last line's code, 0 when it has none."""
    lines = data.splitlines() or [b""]
    return int(lines[-1][:3]) if lines[-1][:3].isdigit() else 0


@dataclass(frozen=True, slots=True)
class Flood:
    """The same octets again and again, until the client has enough or ``octets`` are sent."""

    data: bytes
    octets: int = 16 << 20

    async def take(self, session: Scripted) -> None:
        block = self.data * max(1, 65536 // len(self.data))
        for _ in range(self.octets // len(block)):
            await session.wire.write(block)


@dataclass(frozen=True, slots=True)
class Wait:
    """A pause, in seconds."""

    seconds: float

    async def take(self, session: Scripted) -> None:
        await asyncio.sleep(self.seconds)


@dataclass(frozen=True, slots=True)
class Never:
    """Silence without reading, until the client hangs up or ``seconds`` are over."""

    seconds: float = 30.0

    async def take(self, session: Scripted) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + self.seconds
        while loop.time() < end and not session.wire.hung_up():
            await asyncio.sleep(0.01)
        raise Gone("silence")


@dataclass(frozen=True, slots=True)
class Close:
    """FIN; what the client still sends is read and ignored."""

    async def take(self, session: Scripted) -> None:
        await session.wire.finish()
        raise Gone("script: close")


@dataclass(frozen=True, slots=True)
class Reset:
    """RST."""

    async def take(self, session: Scripted) -> None:
        session.wire.reset()
        raise Gone("script: reset")


@dataclass(frozen=True, slots=True)
class Read:
    """Reads content without using it up: ``octets`` in all, ``step`` at a time with a pause of ``every`` seconds between."""

    octets: int
    step: int = 65536
    every: float = 0.0

    async def take(self, session: Scripted) -> None:
        while len(session.wire.buffer) < self.octets:
            await session.wire.more(self.step)
            if self.every:
                await asyncio.sleep(self.every)


@dataclass(frozen=True, slots=True)
class Forget:
    """Throws away what the client sent ahead, as servers do that cannot pipeline but say so."""

    async def take(self, session: Scripted) -> None:
        session.wire.buffer.clear()


@dataclass(frozen=True, slots=True)
class Handshake:
    """TLS, with a certificate for other names, or with versions that nobody should take."""

    names: tuple[str, ...] = ("remote.example",)
    oldest: bool = False

    async def take(self, session: Scripted) -> None:
        await session.wire.handshake(server_context(*self.names, oldest=self.oldest))


@dataclass(frozen=True, slots=True)
class ReadHello:
    """Waits for the first octets of the client's handshake and does not answer them."""

    async def take(self, session: Scripted) -> None:
        session.wire.buffer.clear()
        await session.wire.fill(5)


@dataclass(frozen=True, slots=True)
class Greylist:
    """451 when this argument is seen for the first time by this remote, the usual reply later."""

    async def take(self, session: Scripted) -> None:
        if session.argument in session.memory:
            await session.usual()
            return
        session.memory.add(session.argument)
        await session.say(b"451 4.7.1 Greylisted, try again later\r\n", 451)
