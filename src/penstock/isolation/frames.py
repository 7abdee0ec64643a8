"""What the server and a sink process say to each other: frames of MessagePack over a pair of sockets, with descriptors beside them.

Each frame is checked against its type when it comes, by whom it may come from: the process runs code that may do anything, also write to
our socket. What is no frame of the other side's ends the process, never the server.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ..mail.address import Address
from ..mail.envelope import Recipient

# A number that says that a frame begins here; the number of descriptors; the octets that follow.
HEAD_SIZE = 8
MAGIC = 0x5051
# A frame of more octets is no answer but a fault: contents travel as descriptors.
MOST_FRAME = 16 * 1024 * 1024
MOST_DESCRIPTORS = 64
# A content of more octets than this travels as a descriptor.
INLINE = 64 * 1024


class ContentFrame(msgspec.Struct, array_like=True):
    """A content: its octets, or which of the frame's descriptors has them.

    Args:
        size: in octets.
        data: the octets; None where a descriptor has them.
        descriptor: its number in the frame.
        checksums: of each 256 KiB, 4 octets little-endian, where the spool keeps them; "" for none.
    """

    size: int
    data: bytes | None = None
    descriptor: int = -1
    checksums: bytes = b""


class MessageFrame(msgspec.Struct, array_like=True):
    """A message as the server holds it."""

    record: bytes
    content_id: str
    complete: bool
    content: ContentFrame | None


class Hello(msgspec.Struct, array_like=True, tag="hello"):
    """What a new process is to be; the only frame with something pickled in it, and only from the server.

    Args:
        binding: the name of the binding.
        module: where the sink's class is.
        qualname: its name there.
        settings: pickled; "" for none.
        path: of Python's imports.
        memory: octets of address space; 0 for no limit.
        threads: calls of plain ``def`` handlers at once.
        server: name and host name of the server.
    """

    binding: str
    module: str
    qualname: str
    settings: bytes
    path: list[str]
    memory: int
    threads: int
    server: tuple[str, str]


class Call(msgspec.Struct, array_like=True, tag="call"):
    """A handler is to be called with an event.

    Args:
        id: of the call.
        method: the handler.
        event: its name in the catalogue.
        attempt: of the stage.
        matched: the recipients that met the binding's condition.
        scope: the binding, and the owner of its private state.
        now: the server's time.
        session: the SMTP session, as a value.
        outbound: the session with a remote server, as a value.
        message: the message.
        fields: what the event carries beside, as a value.
    """

    id: int
    method: str
    event: str
    attempt: int
    matched: tuple[int, ...]
    scope: tuple[str, str]
    now: float
    session: bytes
    outbound: bytes
    message: MessageFrame | None
    fields: bytes


class Answer(msgspec.Struct, array_like=True, tag="answer"):
    """What became of a question to the server: a value, or the exception's class and text."""

    number: int
    value: bytes
    error: tuple[str, str] | None = None


class Cancel(msgspec.Struct, array_like=True, tag="cancel"):
    """Nobody waits for this call any more."""

    id: int


class Over(msgspec.Struct, array_like=True, tag="over"):
    """These sessions and messages are gone; each as ``living`` names it."""

    keys: list[str]


class Settings(msgspec.Struct, array_like=True, tag="settings"):
    """The sink's settings are others now; pickled."""

    settings: bytes


class Stop(msgspec.Struct, array_like=True, tag="stop"):
    """The sink is to stop."""


class Ready(msgspec.Struct, array_like=True, tag="ready"):
    """The sink was started, stopped or told its settings; ``error`` says why not."""

    error: str = ""


class Draft(msgspec.Struct, array_like=True):
    """What a handler made of a message; the first of a call is the message itself, the others are the copies it split off.

    Args:
        sender: the reverse-path.
        recipients: all of them.
        state: what sinks remember about it.
        header: the fields after edits, or None.
        body_offset: octets of the content that the header replaces.
        content: which of the answer's contents it has; -1 for that of the message as it was.
        id: of a copy.
        parent: the message that a copy was split off from.
        depth: of a copy.
    """

    sender: Address
    recipients: list[Recipient]
    state: dict[str, dict[str, Any]]
    header: bytes | None
    body_offset: int
    content: int = -1
    id: str = ""
    parent: str = ""
    depth: int = 0


class Done(msgspec.Struct, array_like=True, tag="done"):
    """A handler returned.

    Args:
        id: of the call.
        verdict: as a value.
        drafts: what it made of the message; () when nothing.
        contents: new ones.
        fields: what it changed in the event, as a value.
        states: what it remembers of the session: by name, what was set and which keys went, as a value.
    """

    id: int
    verdict: bytes
    drafts: list[Draft]
    contents: list[ContentFrame]
    fields: bytes
    states: bytes


class Failed(msgspec.Struct, array_like=True, tag="failed"):
    """A handler did not return.

    Args:
        id: of the call.
        kind: the exception's class.
        text: in one line.
        trace: where it came from, for the log.
        number: the question to the server that the exception came from; -1 for none.
    """

    id: int
    kind: str
    text: str
    trace: str
    number: int = -1


class Ask(msgspec.Struct, array_like=True, tag="ask"):
    """A handler wants something of the server.

    Args:
        number: of the question.
        id: of the call.
        what: one of the words of ``serving``.
        value: what is asked, as a value.
        message: that is submitted.
    """

    number: int
    id: int
    what: str
    value: bytes
    message: MessageFrame | None = None


class Line(msgspec.Struct, array_like=True, tag="line"):
    """A line for the log."""

    level: str
    event: str
    values: dict[str, Any]


ToChild = Hello | Call | Answer | Cancel | Over | Settings | Stop
ToServer = Ready | Done | Failed | Ask | Line
