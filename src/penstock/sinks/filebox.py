"""Delivery to a file that an alias names: appended in the mbox format, or to a Maildir where the name ends with a slash.

A message is appended whole or not at all: the file is locked, and cut back to what it was when the disk fills up on the way. After a crash
between that and its record it is appended once more, which this format has no way to find out; a Maildir has.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from penstock import Message, Sink, on
from penstock.events import LocalDelivery
from penstock.verdicts import Bounce, Defer, Delivered

from .failures import put_off
from .folders import Folders
from .maildir import Maildir, MaildirSettings
from .pipe import delivered_to
from .routes import own_delivery

_LOCKED = Defer(451, "4.2.0", "The mailbox is in use")
_NO_FILE = Bounce("5.2.1", "The address does not lead to a file that mail can be appended to")
_LOOP = Bounce("5.4.6", "The message was delivered to this address before: mail loop")
_CHUNK = 64 * 1024
_PATIENCE = 0.05
# struct flock of fcntl(2), aligned as the machine has it: a lock for writing, from the beginning, to wherever the end may come to be.
_WHOLE_FILE = struct.pack("hhqqi0q", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class FileBoxSettings:
    """How files are written.

    Args:
        lock: seconds to wait for a file that another program has locked.
    """

    lock: float = 10.0


class FileBox(Sink[FileBoxSettings]):
    """Takes recipients whose route is ``file:/PATH``, with locks of fcntl, as most mail programs use them.

    ``/dev/null`` takes everything, as administrators expect.
    """

    def __init__(self, settings: FileBoxSettings) -> None:
        super().__init__(settings)
        self._folders = Folders()

    @on(LocalDelivery)
    def deliver(self, event: LocalDelivery) -> Delivered | Defer | Bounce | None:
        """Appends the message, durably."""
        kind, _, path = own_delivery(event).partition(":")
        if kind != "file" or not path.startswith("/"):
            return None
        if path == "/dev/null":
            return Delivered(path)
        if path.endswith("/"):
            # A brace in the name is one, and no field to be filled in.
            return Maildir(MaildirSettings(path.rstrip("/").replace("{", "{{").replace("}", "}}") or "/")).put(event, delivered_to(event))
        if event.message.header.has("Delivered-To", delivered_to(event)):
            return _LOOP
        try:
            return self._append(Path(path), event.message, delivered_to(event))
        except OSError as error:
            self.log.error("delivery failed", message=event.message.id, path=path, error=str(error))
            # A symbolic link where a file should be is refused: whoever may make one could have mail written to any file of the server's.
            return _NO_FILE if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO) else put_off(error)

    def _append(self, path: Path, message: Message, to: str) -> Delivered | Defer | Bounce:
        self._folders.make(path.parent, 0o700)
        new = not path.exists()
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        descriptor = os.open(path, flags, 0o600)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return _NO_FILE
            if not _lock(descriptor, self.settings.lock):
                return _LOCKED
            size = os.fstat(descriptor).st_size
            try:
                # Closed before the file is cut back: what is left in its buffer would be written behind the cut.
                with open(descriptor, "wb", closefd=False) as file:
                    _write(file, message, to)
                os.fsync(descriptor)
            except BaseException:
                os.ftruncate(descriptor, size)
                raise
        finally:
            os.close(descriptor)
        if new:
            _sync_folder(path.parent)
        return Delivered(str(path))


def _lock(descriptor: int, seconds: float) -> bool:
    """Locks a file, which is unlocked when it is closed; False when somebody else has it for too long.

    The lock is that of the open file and not of the process, which would not keep out another thread of it that delivers to the same file,
    and would be lost when that one closes its own. Other programs' locks of fcntl and lockf keep it out, and it them.
    """
    end = time.monotonic() + seconds
    while True:
        try:
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _WHOLE_FILE)
            return True
        except (BlockingIOError, PermissionError):
            if time.monotonic() >= end:
                return False
            time.sleep(_PATIENCE)


def _write(file: BinaryIO, message: Message, to: str) -> None:
    """One message as it stands in an mbox file (the "mboxrd" kind, from which the original can be had back)."""
    sender = str(message.sender)
    received = time.asctime(time.gmtime(message.received.timestamp()))
    file.write(f"From {sender.replace(' ', '_') or 'MAILER-DAEMON'} {received}\n".encode())
    file.write(f"Return-Path: <{sender}>\nDelivered-To: {to}\n".encode())
    file.writelines(_lines(message.open()))
    file.write(b"\n")


def _lines(content: BinaryIO) -> Iterator[bytes]:
    """The content with LF at the end of each line, and ">" before lines that would begin a message."""
    begins, last = True, b""
    while piece := content.readline(_CHUNK):
        if begins and piece.lstrip(b">").startswith(b"From "):
            yield b">"
        begins = piece.endswith(b"\n")
        last = piece[-1:]
        if piece.endswith(b"\r\n"):
            yield piece[:-2] + b"\n"
        elif piece.endswith(b"\r"):
            # Its LF may be in the next piece; one octet more tells.
            follows = content.read(1)
            begins, last = follows == b"\n", follows or last
            yield piece[:-1] + b"\n" if begins else piece + follows
        else:
            yield piece
    if last != b"\n":
        yield b"\n"


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
