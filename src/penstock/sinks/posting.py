"""One POST over HTTP/1.1, with a body that is streamed and an answer that is bounded.

The protocol is h11's, which does no I/O; the connection is asyncio's. A connection is made for each message: mail that leaves the server
for good can afford it, and no answer can be taken for that to another message.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass

import h11

Headers = list[tuple[bytes, bytes]]
# Of the answer's body so much is kept; its header has the limit of h11, 16 KiB.
_KEPT, _MOST = 4096, 1024 * 1024
_CHUNK = 64 * 1024


class PostFailed(Exception):
    """There was no answer, or none that is HTTP."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where to.

    Args:
        host: the host, or its address without brackets.
        port: the TCP port.
        path: path and query.
        authority: what the field Host says.
        tls: with what the host is verified; None for no TLS.
        connect: seconds that the connection may take to come about.
    """

    host: str
    port: int
    path: str
    authority: str
    tls: ssl.SSLContext | None
    connect: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    Args:
        status: 200 to 599.
        body: its beginning.
        is_text: whether it is meant for people.
        retry_after: the field Retry-After, or "".
    """

    status: int
    body: bytes
    is_text: bool
    retry_after: str


async def post(target: Target, headers: Headers, body: AsyncIterator[bytes]) -> Answer:
    """Posts a body whose length ``headers`` tell. Raises PostFailed; OSError; TimeoutError for the connection alone."""
    async with asyncio.timeout(target.connect):
        reader, writer = await asyncio.open_connection(target.host, target.port, ssl=target.tls)
    try:
        connection = h11.Connection(h11.CLIENT)
        answering = asyncio.ensure_future(_answer(connection, reader))
        sending = asyncio.ensure_future(_send(connection, writer, target, headers, body))
        try:
            # The answer may come before all is sent, as that to a body which is too large.
            return await answering
        finally:
            for task in (answering, sending):
                task.cancel()
                await asyncio.wait((task,))
                if not task.cancelled():
                    task.exception()  # looked at, so that asyncio does not complain that nobody did
    except h11.ProtocolError as error:
        raise PostFailed(f"not HTTP: {error}") from None
    finally:
        writer.transport.abort()


async def _send(
    connection: h11.Connection, writer: asyncio.StreamWriter, target: Target, headers: Headers, body: AsyncIterator[bytes]
) -> None:
    """Sends the request; a service that reads no more may have answered all the same."""
    fields = [(b"Host", target.authority.encode()), (b"Connection", b"close"), (b"Accept", b"text/plain, */*"), *headers]
    _write(connection, writer, h11.Request(method="POST", target=target.path.encode(), headers=fields))
    with contextlib.suppress(ConnectionError, h11.LocalProtocolError):
        async for piece in body:
            _write(connection, writer, h11.Data(data=piece))
            await writer.drain()
        _write(connection, writer, h11.EndOfMessage())
        await writer.drain()


def _write(connection: h11.Connection, writer: asyncio.StreamWriter, event: h11.Event) -> None:
    data = connection.send(event)
    if data:
        writer.write(data)


async def _answer(connection: h11.Connection, reader: asyncio.StreamReader) -> Answer:
    """Reads the answer. Raises PostFailed, h11.RemoteProtocolError, OSError."""
    response: h11.Response | None = None
    body, read = bytearray(), 0
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(_CHUNK))
        elif isinstance(event, h11.Response):
            response = event
        elif isinstance(event, h11.Data):
            read += len(event.data)
            body += bytes(event.data)[: _KEPT - len(body)]
            if read > _MOST:
                break
        elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed) or event is h11.PAUSED:
            break
    if response is None:
        raise PostFailed("the connection was closed without an answer")
    fields = {name: value.decode("latin-1") for name, value in response.headers}
    kind = fields.get(b"content-type", "text/plain")
    return Answer(response.status_code, bytes(body), kind.startswith("text/plain"), fields.get(b"retry-after", ""))
