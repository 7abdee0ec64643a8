"""The control socket of a worker: lets in who may ask, reads one question, writes the answer, and hangs up.

Whoever is at the other end may be broken or hostile: a line has a greatest length, reading and writing have deadlines, a bounded number of
questions is open at once (further ones wait in the kernel), and an error of ours ends one question, never the worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import StorageUnavailable
from ..observe.log import Log
from .answers import Administration
from .operations import Operations
from .places import open_socket
from .protocol import MAX_LINE, AnyQuestion, ControlError, Done, Failed, Lend, Question, Submit, decode_data, decode_question, encode
from .protocol import Answer as Line
from .taking import Taking, TakingLimits

# How long a refused client may go on sending, in seconds.
LINGER = 2.0
# struct ucred of unix(7): pid, uid, gid.
_CREDENTIALS = struct.Struct("3i")


@dataclass(frozen=True, slots=True)
class ControlSettings:
    """How the control socket behaves.

    Args:
        group: a group whose members may hand in mail, beside the server's user and root; "" for none.
        limits: what mail is taken.
        connections: questions at the same time.
        reserved: of these, for administrators: members of the group may be slow, and many.
        read: seconds that the other side may take for a line.
        write: seconds that it may take to read on.
        whole: seconds that one question may take in all.
    """

    group: str = ""
    limits: TakingLimits = field(default_factory=TakingLimits)
    connections: int = 32
    reserved: int = 8
    read: float = 15.0
    write: float = 30.0
    whole: float = 600.0


async def serve_control(path: Path, operations: Operations, log: Log, settings: ControlSettings | None = None) -> ControlServer:
    """Answers questions at this path until the server is closed.

    Args:
        path: of the socket; one that a dead worker left is replaced.
        operations: what the worker can do.
        log: where changes and refusals are noted.
        settings: how it behaves.

    Raises: PenstockError when the socket cannot be made.
    """
    settings = settings or ControlSettings()
    return ControlServer(path, open_socket(path, settings.group), operations, log, settings)


class ControlServer:
    """Made by ``serve_control``.

    Args:
        path: of the socket.
        sock: the listening socket.
        operations: what the worker can do.
        log: where changes and refusals are noted.
        settings: how it behaves.
    """

    def __init__(self, path: Path, sock: socket.socket, operations: Operations, log: Log, settings: ControlSettings) -> None:
        self._path, self._sock = path, sock
        self._inode = path.stat().st_ino
        self._operations = operations
        self._taking = Taking(operations, settings.limits)
        self._log = log
        self._settings = settings
        self._open: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(settings.connections)
        self._guests = 0
        self._accepting = asyncio.get_running_loop().create_task(self._accept())

    async def close(self, seconds: float = 2.0) -> None:
        """Takes no more questions, and ends those that are open after so long."""
        self._accepting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._accepting
        self._sock.close()
        with contextlib.suppress(OSError):
            # A successor may have put its own there.
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()
        if self._open:
            _, late = await asyncio.wait(self._open, timeout=seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._room.acquire()
            try:
                client, _ = await loop.sock_accept(self._sock)
            except OSError as error:  # no descriptors, most likely: they come back
                self._room.release()
                self._log.warning("control connection not accepted", error=str(error))
                await asyncio.sleep(0.5)
                continue
            except asyncio.CancelledError:
                self._room.release()
                raise
            task = loop.create_task(self._serve(client))
            self._open.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._open.discard(task)
        self._room.release()
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.error("control connection failed", error=f"{type(error).__name__}: {error}", exc_info=error)

    async def _serve(self, client: socket.socket) -> None:
        """One connection, from its beginning to its end."""
        try:
            peer = _CREDENTIALS.unpack(client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
            reader, writer = await asyncio.open_unix_connection(sock=client, limit=MAX_LINE)
        except OSError:
            client.close()
            return
        guest = not is_administrator(peer[1])
        self._guests += guest
        crowded = guest and self._guests > self._settings.connections - self._settings.reserved
        session = _Session(reader, writer, self._settings, peer[1])
        try:
            async with asyncio.timeout(self._settings.whole) as limit:
                await session.run(self._operations, self._taking, self._log, crowded, limit)
        except (OSError, TimeoutError, ValueError):
            # It went away, was too slow, or sent a line without end: nobody is there to be told.
            writer.transport.abort()
        finally:
            self._guests -= guest
            writer.close()


class _Session:
    """One question and its answer."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, settings: ControlSettings, uid: int) -> None:
        self._reader, self._writer = reader, writer
        self._settings = settings
        self._uid = uid

    async def run(self, operations: Operations, taking: Taking, log: Log, crowded: bool, limit: asyncio.Timeout) -> None:
        try:
            if crowded:
                raise ControlError("later", "too many programs hand in mail at once")
            question = await self._question()
            if isinstance(question, Submit):
                await self._submit(question, taking, log)
                return
            if isinstance(question, Lend):
                # It is answered when the customer has got his mail; the deliveries have times of their own.
                limit.reschedule(None)
            async for line in Administration(operations, log, user_name(self._uid)).answer(question):
                await self._write(line)
        except ControlError as error:
            await self._write(Failed(error.kind, error.what))
            await self._linger()
        except (OSError, TimeoutError, ValueError):
            raise
        except Exception as error:
            log.error("control question failed", error=f"{type(error).__name__}: {error}", exc_info=error)
            await self._write(Failed("internal", "an error in the server itself, which its log describes"))

    async def _question(self) -> AnyQuestion:
        administrator = is_administrator(self._uid)
        if not administrator and not self._settings.group:
            raise ControlError("denied", "only the server's user and root may ask")
        question = decode_question(await self._line())
        # The kernel let in none but members of the group.
        if not administrator and not isinstance(question, Submit):
            raise ControlError("denied", "only the server's user and root may ask this; you may hand in mail")
        return question

    async def _submit(self, question: Submit, taking: Taking, log: Log) -> None:
        user = user_name(self._uid)
        try:
            message_id = await taking.take(question, self._pieces(), (user, self._uid))
        except StorageUnavailable as error:
            log.error("message cannot be stored", user=user, error=str(error))
            raise ControlError("later", "the message cannot be stored now") from error
        log.info("accepted", message=message_id, sender=question.sender, recipients=len(question.recipients), user=user)
        await self._write(Done(id=message_id))

    async def _pieces(self) -> AsyncIterator[bytes]:
        while True:
            yield decode_data(await self._line())

    async def _line(self) -> bytes:
        """The next line. Raises ControlError when it is too long; TimeoutError; ConnectionError at the end."""
        try:
            async with asyncio.timeout(self._settings.read):
                line = await self._reader.readuntil(b"\n")
        except asyncio.LimitOverrunError:
            raise ControlError("usage", f"a line has more than {MAX_LINE} octets") from None
        except asyncio.IncompleteReadError:
            raise ConnectionResetError from None
        return line

    async def _linger(self) -> None:
        """Reads what still comes, for a while: closing before would take the answer away from who is still sending."""
        self._writer.write_eof()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(LINGER):
                while await self._reader.read(65536):
                    pass

    async def _write(self, line: Line | Question) -> None:
        """Writes a line. Raises TimeoutError when the other side reads nothing for too long."""
        self._writer.write(encode(line))
        async with asyncio.timeout(self._settings.write):
            await self._writer.drain()


def is_administrator(uid: int) -> bool:
    """Whether a user may ask everything: the server's own, and root."""
    return uid in (0, os.geteuid())


def user_name(uid: int) -> str:
    """The login name of a user, or the number where there is none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"
