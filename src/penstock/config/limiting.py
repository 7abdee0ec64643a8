"""``[limits]``: what a client may cost; part of the schema, apart for the length of the file."""

from __future__ import annotations

from dataclasses import dataclass

from .values import Duration, Size


@dataclass(slots=True)
class LimitsTable:
    """``[limits]``, for each worker.

    Args:
        message_size: octets of one message.
        recipients: recipients of one message.
        errors: commands in error after which a session is ended; 0 for never.
        messages_per_session: messages in one session; 0 for unlimited.
        connections: sessions at the same time.
        connections_per_client: of these, from one address.
        idle: how long a client may wait with its next command.
        command: how long it may take to send one command line.
        data: how long it may pause within content.
        message: how long one content may take in all.
        hops: Received fields at which a message is taken to loop.
        idle_commands: commands without a message after which a session is ended; 0 for never.
    """

    message_size: Size = Size(25 * 1024 * 1024)
    recipients: int = 1000
    errors: int = 20
    messages_per_session: int = 0
    connections: int = 10_000
    connections_per_client: int = 50
    idle: Duration = Duration(300)
    command: Duration = Duration(300)
    data: Duration = Duration(300)
    message: Duration = Duration(3600)
    hops: int = 50
    idle_commands: int = 1000
