"""What a verb's handler says to the client, and hears from it, while its decision is open (``Verb.read_line``, ``Verb.read_bytes``)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ...errors import ClientGone, RemoteProtocolError
from ...mail.reply import Reply
from ...wire.smtp.command import decode_response
from ...wire.smtp.happening import Block, Closed, Line, Refused, Signal

if TYPE_CHECKING:
    from .connection import Connection

MAX_BLOCK = 1024 * 1024
_GONE = "the client is gone"


class ClientDialogue:
    """The dialogue of one connection; one handler at a time waits in it.

    ``refused`` says that the machine refused a line of it, and has answered the verb already.

    Args:
        connection: the connection.
    """

    __slots__ = ("_awaited", "_block", "_connection", "refused")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._awaited: asyncio.Future[bytes] | None = None
        self._block = bytearray()
        self.refused = False

    @property
    def is_open(self) -> bool:
        """True while a handler waits for the client."""
        return self._awaited is not None

    async def line(self, prompt: Reply | None) -> bytes:
        """Sends the prompt, if any, and returns the client's next line. Raises ClientGone, RemoteProtocolError."""
        self._need_client()
        self._connection.machine.request_line(prompt)
        return await self._wait()

    async def response(self, challenge: bytes) -> bytes:
        """Sends a challenge of AUTH and returns the response. Raises ClientGone, RemoteProtocolError."""
        self._need_client()
        self._connection.machine.challenge(challenge)
        line = await self._wait()
        # RFC 4954 §4: "If the client wishes to cancel the authentication exchange, it issues a line with a single "*"."
        if line == b"*":
            raise RemoteProtocolError("cancelled", 501, "5.7.0", "Authentication cancelled")
        return decode_response(line)

    async def block(self, size: int) -> bytes:
        """The client's next octets. Raises ValueError, ClientGone."""
        self._need_client()
        if not 0 < size <= MAX_BLOCK:
            raise ValueError(f"read_bytes takes from 1 to {MAX_BLOCK} octets")
        self._connection.machine.request_bytes(size)
        return await self._wait()

    def serve(self) -> None:
        """Gives the handler what it asked for, when it is there."""
        awaited = self._awaited
        self._connection.flush()
        while awaited is not None and not awaited.done():
            happening = self._connection.machine.next_event()
            tap = self._connection.tap
            if tap is not None and not isinstance(happening, Signal):
                tap.happened(happening, self._connection.machine.pending)
            if isinstance(happening, Line):
                awaited.set_result(happening.data)
            elif isinstance(happening, Block):
                self._block += happening.data
                if not happening.remaining:
                    awaited.set_result(bytes(self._block))
                    self._block.clear()
            elif isinstance(happening, Refused):
                self.refused = True
                reply = happening.reply
                awaited.set_exception(RemoteProtocolError("the line is too long", reply.code, reply.enhanced, reply.text))
            elif isinstance(happening, Closed):
                self._connection.note_end(happening.reason)
                awaited.set_exception(ClientGone(_GONE))
            else:
                return

    def lose(self) -> None:
        """The client is gone."""
        if self._awaited is not None and not self._awaited.done():
            self._awaited.set_exception(ClientGone(_GONE))

    def _need_client(self) -> None:
        if self._connection.is_lost:
            raise ClientGone(_GONE)

    async def _wait(self) -> bytes:
        self._awaited = asyncio.get_running_loop().create_future()
        self._connection.clock.client_is_asked()
        try:
            self.serve()
            return await self._awaited
        finally:
            self._awaited = None
            self._connection.clock.stop()
