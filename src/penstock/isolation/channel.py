"""One end of the pair of sockets: frames in and out, with descriptors, without ever waiting.

Belongs to the loop. What cannot be written at once waits in memory, for as many calls as may be under way."""

from __future__ import annotations

import array
import asyncio
import contextlib
import os
import socket
import struct
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import msgspec

from .frames import HEAD_SIZE, MAGIC, MOST_DESCRIPTORS, MOST_FRAME, ToChild, ToServer

T = TypeVar("T")
_HEAD = struct.Struct("<HHI")
_READ = 256 * 1024
_ROOM = socket.CMSG_SPACE(MOST_DESCRIPTORS * 4)


class GarbageError(Exception):
    """What came is no frame of the other side's."""


@dataclass(slots=True)
class _Waiting:
    """A frame that is not written yet, or not whole."""

    data: memoryview
    descriptors: Sequence[int] = ()


@dataclass(slots=True)
class Incoming(Generic[T]):
    """A frame that came, and its descriptors, which belong to whoever takes it."""

    frame: T
    descriptors: list[int] = field(default_factory=list)


class Channel(Generic[T]):
    """Frames over one socket.

    Args:
        sock: a stream socket of the Unix family; belongs to this object from now on.
        decoder: of what the other side may say.
        take: told each frame.
        gone: told once when nothing more will come: the other side is gone, or what came is garbage.
    """

    def __init__(
        self,
        sock: socket.socket,
        decoder: msgspec.msgpack.Decoder[T],
        take: Callable[[Incoming[T]], None],
        gone: Callable[[Exception | None], None],
    ) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._decoder = decoder
        self._take = take
        self._gone = gone
        self._loop = asyncio.get_running_loop()
        self._encoder = msgspec.msgpack.Encoder()
        self._waiting: deque[_Waiting] = deque()
        self._buffer = bytearray()
        self._descriptors: deque[int] = deque()
        self._open = True
        self._loop.add_reader(sock.fileno(), self._read)

    def send(self, frame: ToChild | ToServer, descriptors: Sequence[int] = ()) -> None:
        """Sends a frame, now or soon; the descriptors are closed when they are sent. Raises ValueError for a frame that is too large."""
        data = self._encoder.encode(frame)
        if len(data) > MOST_FRAME or len(descriptors) > MOST_DESCRIPTORS:
            close_all(descriptors)
            raise ValueError(f"{len(data)} octets and {len(descriptors)} contents are too much for one answer")
        if not self._open:
            close_all(descriptors)
            return
        head = _HEAD.pack(MAGIC, len(descriptors), len(data))
        self._waiting.append(_Waiting(memoryview(head + data), descriptors))
        if len(self._waiting) == 1:
            self._write()

    def close(self) -> None:
        """Closes the socket and all descriptors that nobody took."""
        if not self._open:
            return
        self._open = False
        self._loop.remove_reader(self._sock.fileno())
        self._loop.remove_writer(self._sock.fileno())
        self._sock.close()
        close_all(self._descriptors)
        for waiting in self._waiting:
            close_all(waiting.descriptors)
        self._waiting.clear()
        self._buffer.clear()

    def drain(self) -> None:
        """Takes all that came already; for when the other side is gone."""
        while self._open and self._read():
            pass

    def _write(self) -> None:
        while self._waiting:
            first = self._waiting[0]
            rights: list[tuple[int, int, Any]] = []
            if first.descriptors:
                rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", first.descriptors))]
            try:
                sent = self._sock.sendmsg([first.data], rights)
            except BlockingIOError:
                self._loop.add_writer(self._sock.fileno(), self._write)
                return
            except OSError:
                # The other side is gone; reading says so too, and tells everybody.
                break
            close_all(first.descriptors)
            first.descriptors = ()
            first.data = first.data[sent:]
            if not first.data:
                self._waiting.popleft()
        self._loop.remove_writer(self._sock.fileno())

    def _read(self) -> bool:
        """Takes what came; False when nothing did."""
        try:
            data, rights, flags, _ = self._sock.recvmsg(_READ, _ROOM, socket.MSG_CMSG_CLOEXEC)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            self._end(error)
            return False
        for level, kind, octets in rights:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                found = array.array("i")
                found.frombytes(octets[: len(octets) - len(octets) % found.itemsize])
                self._descriptors.extend(found)
        if not data:
            self._end(None)
            return False
        self._buffer += data
        try:
            if flags & socket.MSG_CTRUNC or len(self._descriptors) > 2 * MOST_DESCRIPTORS:
                raise GarbageError("too many descriptors came at once")
            self._frames()
        except GarbageError as error:
            self._end(error)
        return True

    def _frames(self) -> None:
        """Gives out the frames that are whole."""
        while self._open and len(self._buffer) >= HEAD_SIZE:
            magic, count, length = _HEAD.unpack_from(self._buffer)
            if magic != MAGIC or length > MOST_FRAME:
                raise GarbageError(f"what came is no frame: {bytes(self._buffer[:40])!r}")
            end = HEAD_SIZE + length
            if len(self._buffer) < end:
                return
            if count > len(self._descriptors):
                raise GarbageError("a frame names descriptors that did not come")
            data = bytes(memoryview(self._buffer)[HEAD_SIZE:end])
            del self._buffer[:end]
            descriptors = [self._descriptors.popleft() for _ in range(count)]
            try:
                frame = self._decoder.decode(data)
            except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
                close_all(descriptors)
                raise GarbageError(f"a frame cannot be read: {error}") from None
            self._take(Incoming(frame, descriptors))

    def _end(self, error: Exception | None) -> None:
        if self._open:
            self.close()
            self._gone(error)


def close_all(descriptors: Sequence[int] | deque[int]) -> None:
    """Closes descriptors that nobody needs any more."""
    for descriptor in descriptors:
        with contextlib.suppress(OSError):
            os.close(descriptor)
