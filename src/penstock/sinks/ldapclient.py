"""A connection to an LDAP server, with one request at a time; whatever goes wrong with it, it is closed, and another one is made."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from . import ldapmessages as ldap
from .lookup import LookupFailed

T = TypeVar("T")
# Octets of one message, and of all that a search finds.
_LARGEST, _MOST = 4 * 1024 * 1024, 64 * 1024 * 1024
_CHUNK = 64 * 1024


class Refused(LookupFailed):
    """The server said no.

    Args:
        text: in words.
        code: of the result (RFC 4511 §4.1.9).
    """

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class Server:
    """Where the server is, and who we are there.

    Args:
        host: its name or address.
        port: the TCP port.
        tls: with what it is verified; None for no TLS.
        start_tls: whether TLS begins with StartTLS, and not at once.
        name: the DN to bind as; "" for nobody.
        password: for it.
        connect: seconds until it has to be ready.
    """

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    start_tls: bool = False
    name: str = ""
    password: str = field(default="", repr=False)
    connect: float = 3.0


class Connection:
    """A connection that is bound; made by ``open``."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._buffer = bytearray()
        self._number = 0

    @classmethod
    async def open(cls, server: Server) -> Connection:
        """Connects and binds. Raises OSError, TimeoutError, LookupFailed."""
        async with asyncio.timeout(server.connect):
            at_once = server.tls if not server.start_tls else None
            connection = cls(*await asyncio.open_connection(server.host, server.port, ssl=at_once))
            try:
                await connection._begin(server)
            except BaseException:
                connection.close()
                raise
            return connection

    async def search(self, wanted: ldap.Search) -> tuple[int, list[ldap.Found]]:
        """The result's code and the entries. Raises OSError, LookupFailed for a code other than "success" and "no such object"."""
        number = self._next()
        self._writer.write(ldap.search(number, wanted))
        found, octets = [], 0
        while True:
            response = await self._receive(number)
            octets += len(response.content)
            if octets > _MOST:
                raise LookupFailed("the server finds more than there is room for")
            if response.kind == ldap.ENTRY:
                found.append(_checked(ldap.entry, response.content))
            elif response.kind == ldap.SEARCH_DONE:
                code, words = _checked(ldap.result, response.content)
                if code not in (ldap.SUCCESS, ldap.NO_SUCH_OBJECT):
                    raise LookupFailed(f"the server answered {code}: {words}")
                return code, found
            elif response.kind != ldap.REFERENCE:
                raise LookupFailed("the server answers a search with something else")

    def close(self) -> None:
        """Says goodbye, as far as that is possible, and closes."""
        with contextlib.suppress(OSError, RuntimeError):
            self._writer.write(ldap.unbind(self._next()))
        self._writer.close()

    async def _begin(self, server: Server) -> None:
        if server.tls is not None and server.start_tls:
            await self._ask(ldap.start_tls(self._next()), ldap.EXTENDED_DONE, "StartTLS")
            if self._buffer:
                # What came before TLS could be anybody's.
                raise LookupFailed("the server said something before TLS")
            await self._writer.start_tls(server.tls, server_hostname=server.host)
        if server.name:
            await self._ask(ldap.bind(self._next(), server.name, server.password), ldap.BIND_DONE, "bind")

    async def _ask(self, request: bytes, kind: int, what: str) -> None:
        self._writer.write(request)
        response = await self._receive(self._number)
        if response.kind != kind:
            raise LookupFailed(f"{what}: the server answers something else")
        code, words = _checked(ldap.result, response.content)
        if code != ldap.SUCCESS:
            raise Refused(f"{what}: the server answered {code}: {words}", code)

    async def _receive(self, number: int) -> ldap.Response:
        await self._writer.drain()
        while True:
            response = _checked(ldap.read, await self._message())
            if response.number == number:
                return response
            # 0 is a notice that the server closes the connection (RFC 4511 §4.4.1); others nobody asked for.
            raise LookupFailed("the server is about to close the connection" if not response.number else "an answer to no request")

    async def _message(self) -> bytes:
        while True:
            try:
                size = ldap.length_of(bytes(self._buffer[:6]))
            except ldap.NotLdap as error:
                raise LookupFailed(str(error)) from None
            if size is not None and size > _LARGEST:
                raise LookupFailed("the server's message is too large")
            if size is not None and len(self._buffer) >= size:
                message = bytes(self._buffer[:size])
                del self._buffer[:size]
                return message
            piece = await self._reader.read(_CHUNK)
            if not piece:
                raise ConnectionResetError("the server closed the connection")
            self._buffer += piece

    def _next(self) -> int:
        self._number += 1
        return self._number


class Connections:
    """The connections to one server: idle ones are used again, one that failed never is.

    Args:
        server: where.
        most: at the same time.
    """

    def __init__(self, server: Server, most: int) -> None:
        self._server = server
        self._room = asyncio.Semaphore(most)
        self._idle: list[Connection] = []

    async def search(self, searches: Sequence[ldap.Search]) -> list[tuple[int, list[ldap.Found]]]:
        """What several searches find, one after the other on one connection. Raises OSError, TimeoutError, LookupFailed."""
        async with self._room:
            # An idle connection may be gone without a word; that it was is no reason to say that the server is.
            for old in self._taken():
                with contextlib.suppress(OSError, LookupFailed):
                    return await self._with(old, searches)
            return await self._with(await Connection.open(self._server), searches)

    def close(self) -> None:
        """Closes those that are idle."""
        while self._idle:
            self._idle.pop().close()

    def _taken(self) -> Iterator[Connection]:
        if self._idle:
            yield self._idle.pop()

    async def _with(self, connection: Connection, searches: Sequence[ldap.Search]) -> list[tuple[int, list[ldap.Found]]]:
        try:
            found = [await connection.search(search) for search in searches]
        except BaseException:
            # An answer that is still on its way would be taken for that to the next question.
            connection.close()
            raise
        self._idle.append(connection)
        return found


def _checked(read: Callable[[bytes], T], content: bytes) -> T:
    try:
        return read(content)
    except ldap.NotLdap as error:
        raise LookupFailed(str(error)) from None
