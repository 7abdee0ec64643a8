"""How sessions end: what is said, what the log calls it, and how a connection closes so that the client can still read why."""

from __future__ import annotations

import asyncio

from ...mail.reply import Reply
from ...wire.smtp.happening import Reason
from .encryption import TlsLayer

# How long a client that was sent away may take to read why.
LINGER = 2.0
SHUTTING_DOWN = Reply(421, "4.3.2", "Service shutting down")
TOO_MANY = Reply(421, "4.7.0", "Too many commands without a message")
TIMED_OUT = Reply(421, "4.4.2", "Timed out, closing the connection")
REASONS = {
    Reason.QUIT: "quit",
    Reason.EOF: "lost",
    Reason.TOO_MANY_ERRORS: "too many errors",
    Reason.CROSS_PROTOCOL: "dropped",
    Reason.OUT_OF_STEP: "dropped",
    Reason.DISCONNECTED: "dropped",
}


def part(transport: asyncio.Transport, layer: TlsLayer | None, agreed: bool) -> bool:
    """Closes a connection, but so that a client in the middle of its octets can still read why.

    A close with octets unread makes the kernel send a reset, which throws away the reply that the client has not read yet. So our
    side is closed first, and what still comes is ignored for a moment.

    Args:
        transport: of the connection.
        layer: its TLS, if it has any.
        agreed: the client asked for the end, or is gone.

    Returns: whether the client is still to be waited for.
    """
    if layer is not None:
        transport.write(layer.farewell())
    if agreed:
        transport.close()
    else:
        transport.write_eof()
    if not agreed or transport.get_write_buffer_size():
        # Nor may a client that never reads hold the connection open.
        asyncio.get_running_loop().call_later(LINGER, transport.abort)
    return not agreed
