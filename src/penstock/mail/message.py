"""What must survive of a message beside its content: the record that a spool keeps and a restart reads.

It is encoded with MessagePack under short, stable field names, so that a newer version reads what an older one wrote: fields are only ever
added, with defaults.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from .content import Content, JoinedContent
from .envelope import Envelope, Recipient

Origin = Literal["smtp", "submission-api", "pickup", "milter", "dsn", "sink"]
Direction = Literal["in", "out", "internal"]


class MessageRecord(msgspec.Struct, omit_defaults=True):
    """One message on its way, without its content.

    Args:
        id: the queue id.
        received: when it entered, in seconds since 1970.
        envelope: sender, recipients still to be served, parameters.
        origin: how it entered.
        direction: from outside, to outside, or neither.
        size: octets of the content as it was accepted.
        listener: the name of the listener that took it, or "".
        client_ip: the client's address, or "".
        client_name: the client's host name, or "".
        helo: what the client called itself, or "".
        user: the authenticated user, or "".
        header: the header fields after edits; None while they are as they came.
        body_offset: how many octets of the content ``header`` replaces.
        state: what sinks remember about this message, by sink.
        done: bindings that were asked at the present stage and need not be asked again.
        skip: bindings that are not asked at Submission, since the message came from them.
        attempt: how often the present stage was begun before.
        deferrals: how often delivery was put off.
        generation: how many submissions by sinks led here; ends loops.
        parent: the id of the message it was forked from, or "".
        message_class: the class that routing gave it, which has a queue of its own; "" for the common one.
        variants: the sender of each variant, as text, until the message is split into them.
        depth: how many forks led here; ends loops.
        tried: when delivery was last tried, in seconds since 1970; 0 for never.
        told: when the sender was told of a delay, in seconds since 1970; 0 for never.
        schedule: when the queue that routing chose is worked on, as RouteTo says it; "" for what the configuration says.
        session: the id of the SMTP session that it came in, or "".
        release: before when nobody is to deliver it, in seconds since 1970; 0 for at once (RFC 4865).
    """

    id: str
    received: float = 0.0
    envelope: Envelope = msgspec.field(default_factory=Envelope)
    origin: Origin = "smtp"
    direction: Direction = "in"
    size: int = 0
    listener: str = ""
    client_ip: str = ""
    client_name: str = ""
    helo: str = ""
    user: str = ""
    header: bytes | None = None
    body_offset: int = 0
    state: dict[str, dict[str, Any]] = {}
    done: list[str] = []
    skip: list[str] = []
    attempt: int = 0
    deferrals: int = 0
    generation: int = 0
    parent: str = ""
    message_class: str = ""
    variants: dict[str, str] = {}
    depth: int = 0
    tried: float = 0.0
    told: float = 0.0
    schedule: str = ""
    session: str = ""
    release: float = 0.0


def began(record: MessageRecord) -> float:
    """From when on a message is on its way, in seconds since 1970: what was held for its sender is not older for that (RFC 4865 §4.3)."""
    return max(record.received, record.release)


def with_edits(record: MessageRecord, content: Content) -> Content:
    """The message as it is now: the content as it was accepted, with the header as sinks left it."""
    return content if record.header is None else JoinedContent(record.header, content, record.body_offset)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(MessageRecord)
_recipient_decoder = msgspec.msgpack.Decoder(Recipient)


def encode_record(record: MessageRecord) -> bytes:
    """The record as octets; raises TypeError when a sink put something into it that is not plain data."""
    return _encoder.encode(record)


def decode_record(data: bytes) -> MessageRecord:
    """The record from its octets; raises msgspec.DecodeError when they are none."""
    try:
        return _decoder.decode(data)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(f"the record is damaged: {error}") from None


def keep_record(record: MessageRecord) -> MessageRecord:
    """The record as a restart would read it: a copy that shares nothing with what a sink may still hold.

    Raises: TypeError when a sink put something into it that is not of its type, or not plain data.
    """
    # The header is octets that nobody changes, and may be large.
    bare = msgspec.structs.replace(record, header=None)
    try:
        kept = _decoder.decode(_encoder.encode(bare))
    except msgspec.DecodeError as error:
        raise TypeError(f"the message cannot be kept: {error}") from None
    kept.header = record.header
    return kept


def keep_recipient(recipient: Recipient) -> Recipient:
    """The recipient as a restart would read it; a copy as with ``keep_record``. Raises TypeError as that does."""
    try:
        return _recipient_decoder.decode(_encoder.encode(recipient))
    except msgspec.DecodeError as error:
        raise TypeError(f"the recipient cannot be kept: {error}") from None
