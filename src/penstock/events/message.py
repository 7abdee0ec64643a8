"""A message as a sink sees it: envelope, header and content, to read and to edit.

A sink edits a draft. When its handler returns, the dispatcher calls ``commit`` and the draft becomes the message; when it raises or
takes too long, the draft is dropped and nothing happened. Content is never re-printed: an edited header takes the place of the old one,
and every other octet stays what it was."""

from __future__ import annotations

import asyncio
import email
import email.policy
import errno
import io
import os
import re
from collections.abc import AsyncIterator, Iterable, Iterator
from copy import deepcopy
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

import msgspec

from ..errors import PenstockError
from ..mail.address import Address
from ..mail.content import CHUNK, Content, JoinedContent, MemoryContent, chunks
from ..mail.envelope import MailParameters, Recipient
from ..mail.header import Header, read_fields, split_header
from ..mail.message import Direction, MessageRecord, Origin, keep_record, with_edits
from .parsing import parsed
from .recipients import Recipients, as_address, tidy
from .work import Backplane, MessageWork, Scope

# Whether a view shows a message of the server's, or one that its sink made, and has or has not submitted yet.
Fate = Literal["shown", "new", "submitted"]
# A copy of a copy of a copy ... this often is a loop.
MAX_DEPTH = 50
_BARE_LF = re.compile(rb"(?<!\r)\n")
# Octets that are parsed in the loop; of more, a thread.
_AT_ONCE = 16 * 1024


class Message:
    """One message, as one sink sees and edits it.

    Edits are saved when the handler returns, and undone when it raises. ``work``, ``fate``, ``commit``, ``prepared``,
    ``descendants`` and ``shown_recipients`` are the server's, not a sink's.
    """

    __slots__ = ("_children", "_content", "_header", "_recipients", "_scope", "_sender", "_server", "_shown", "_states", "fate", "work")

    def __init__(self, work: MessageWork, scope: Scope, server: Backplane, fate: Fate = "shown") -> None:
        self.work = work
        self.fate: Fate = fate
        self._scope = scope
        self._server = server
        self._sender: Address | None = None
        self._shown: tuple[Recipient, ...] = ()
        self._recipients: Recipients | None = None
        self._header: Header | None = None
        self._content: Content | None = None
        self._states: dict[str, dict[str, Any]] = {}
        self._children: list[Message] = []

    @property
    def id(self) -> str:
        """The queue id, as the client reads it in ``250 2.0.0 Ok: queued as ID``."""
        return self.work.record.id

    @property
    def origin(self) -> Origin:
        """How the message entered: "smtp", "submission-api", "pickup", "milter", "dsn" or "sink"."""
        return self.work.record.origin

    @property
    def direction(self) -> Direction:
        """ "in" from outside, "out" to outside, or "internal"."""
        return self.work.record.direction

    @property
    def received(self) -> datetime:
        """When the message entered, in UTC."""
        return datetime.fromtimestamp(self.work.record.received, UTC)

    @property
    def parent(self) -> str:
        """The id of the message that this one was forked from, or ""."""
        return self.work.record.parent

    @property
    def parameters(self) -> MailParameters:
        """What the client asked for on MAIL; a copy."""
        return self.work.record.envelope.parameters.copy()

    @property
    def sender(self) -> Address:
        """The reverse-path; may be set, to an address or its text."""
        return self.work.record.envelope.sender if self._sender is None else self._sender

    @sender.setter
    def sender(self, address: Address | str) -> None:
        self._sender = as_address(address)

    @property
    def recipients(self) -> Recipients:
        """The recipients: iterate, add, remove, or change one in place."""
        if self._recipients is None:
            self._shown = tuple(r.copy() for r in self.work.record.envelope.recipients)
            self._recipients = Recipients(list(self._shown))
        return self._recipients

    @property
    def header(self) -> Header:
        """The header fields: get, add, replace, remove."""
        if self._header is None:
            self._need_content()
            self._header = Header(self.work.section() if self._content is None else read_fields(self._content))
        return self._header

    @property
    def state(self) -> dict[str, Any]:
        """What this sink remembers about this message; plain data, private to the sink, kept across restarts."""
        return self.shared(self._scope.owner)

    def shared(self, name: str) -> dict[str, Any]:
        """What all sinks that know this name remember together about this message."""
        if name not in self._states:
            self._states[name] = deepcopy(self.work.record.state.get(name, {}))
        return self._states[name]

    @property
    def content(self) -> Content:
        """The whole content with all edits, to be read in parts with ``read(offset, length)``; this may block, so use it in threads."""
        content = self._content or self._need_content()
        record = self.work.record
        if self._header is not None and self._header.edited:
            return self._with_header(self._header, content, record if self._content is None else None)
        return with_edits(record, content) if self._content is None else content

    @property
    def size(self) -> int:
        """Octets of the content with all edits."""
        return self.content.size

    async def read(self) -> bytes:
        """The whole content with all edits."""
        content = self.content
        return content.read() if content.in_memory else await asyncio.to_thread(content.read)

    async def stream(self, size: int = CHUNK) -> AsyncIterator[bytes]:
        """The content in pieces of at most ``size`` octets, so that a large message need not be in memory."""
        content, offset = self.content, 0
        while True:
            piece = content.read(offset, size) if content.in_memory else await asyncio.to_thread(content.read, offset, size)
            if not piece:
                return
            yield piece
            offset += len(piece)

    def open(self) -> BinaryIO:
        """The content as a file to read from, for code that wants one; reading may block, so use it in a ``def`` handler."""
        return cast(BinaryIO, io.BufferedReader(_ContentFile(self.content), CHUNK))

    async def parse(self) -> EmailMessage:
        """The content as Python's ``EmailMessage``; changing that changes nothing here until it is given to ``replace_content``.

        Raises: PenstockError for a message of thousands of parts or levels, which is made to keep a parser busy.
        """
        raw = await self.read()
        return parsed(raw) if len(raw) <= _AT_ONCE else await asyncio.to_thread(parsed, raw)

    async def save(self, path: Path | str, prefix: bytes = b"") -> None:
        """Writes the content with all edits to a file that appears whole, and is on stable storage when this returns.

        Args:
            path: where to; a file that is there already is replaced.
            prefix: octets to put on top, such as further header fields with their line ends.

        Raises: OSError; then nothing is there under this name that was not there before.
        """
        await asyncio.to_thread(write_durably, Path(path), self.content, prefix)

    def save_now(self, path: Path | str, prefix: bytes = b"", *, part: Path | str | None = None) -> None:
        """Does what ``save`` does, in this thread; for plain ``def`` handlers, since it waits for the disk.

        Args:
            path: where to; a file that is there already is replaced.
            prefix: octets to put on top, such as further header fields with their line ends.
            part: where the file grows before it gets its name, on the same file system; None for a hidden name beside it.

        Raises: OSError; then nothing is there under this name that was not there before.
        """
        write_durably(Path(path), self.content, prefix, None if part is None else Path(part))

    def replace_content(self, content: bytes | EmailMessage) -> None:
        """Puts another content, header and all, in the place of the present one; line ends become CRLF.

        Raises: PenstockError while the content has not arrived whole.
        """
        self._need_whole()
        self._content, self._header = MemoryContent(as_content(content)), None

    def fork(self, recipients: Iterable[Recipient | Address | str]) -> Message:
        """Moves recipients, with their properties, to a copy that goes on after this sink; the copy, which may be edited too.

        Raises: ValueError when one is not among the recipients or none is given, or for a new message; PenstockError while the content has
        not arrived whole.
        """
        self._need_whole()
        if self.fate != "shown":
            raise ValueError("a message from new_message cannot be forked; make another one")
        if self.work.record.depth >= MAX_DEPTH:
            raise ValueError(f"more than {MAX_DEPTH} forks led to one another: this is a loop")
        moved = []
        for wanted in list(recipients):
            recipient = wanted if isinstance(wanted, Recipient) else self.recipients.find(wanted)
            if recipient is None:
                raise ValueError(f"{wanted} is not among the recipients")
            self.recipients.remove(recipient)
            moved.append(recipient)
        if not moved:
            raise ValueError("a fork needs at least one recipient")
        record, content = self._settled()
        record.envelope.recipients, record.state = list(moved), deepcopy(record.state)
        record.id, record.parent, record.depth = self._server.new_id(), self.id, record.depth + 1
        child_work = MessageWork(record, content, self.work.content_id)
        child_work.rewritten = self.work.rewritten or self._content is not None
        child = Message(child_work, self._scope, self._server)
        # What the handler does yet to a recipient that it moved goes with it.
        child._shown, child._recipients = tuple(moved), Recipients(moved)
        self._children.append(child)
        return child

    def commit(self) -> None:
        """Makes the draft, and those of its copies, the message; called by the dispatcher, not by sinks.

        Raises: AddressError, ValueError, TypeError for edits that cannot be kept; then nothing of them is.
        """
        for message, record, content in [self.prepared(), *(child.prepared(new=True) for child in self.descendants())]:
            work = message.work
            if record is not work.record or content is not work.content:
                work.rewritten = work.rewritten or content is not work.content
                work.record, work.content, work.dirty = record, content, True
        self.work.forks += [message.work for message in self.descendants()]

    def prepared(self, new: bool = False) -> tuple[Message, MessageRecord, Content | None]:
        """This message as it will be, once it is clear that it can be; nothing in it is the sink's. Raises as ``commit``."""
        for recipient in self._recipients or ():
            tidy(recipient)
        draft, content = self._settled()
        return self, keep_record(draft) if new or draft != self.work.record else self.work.record, content

    def descendants(self) -> Iterator[Message]:
        """The copies that were split off, and those that were split off from them."""
        for child in self._children:
            yield child
            yield from child.descendants()

    def shown_recipients(self) -> tuple[Recipient, ...]:
        """The recipients that this view began with, whatever became of the list since."""
        return self._shown if self._recipients is not None else tuple(self.recipients)

    def _settled(self) -> tuple[MessageRecord, Content | None]:
        """The record and the content as they are with this draft, of which the record still shares parts."""
        old, content = self.work.record, self._content or self.work.content
        envelope = msgspec.structs.replace(old.envelope, sender=self.sender)
        if self._recipients is not None:
            envelope.recipients = list(self._recipients.items)
        record = msgspec.structs.replace(old, envelope=envelope)
        states = {name: state for name, state in self._states.items() if state or name in old.state}
        if states:
            record.state = {**old.state, **states}
        if self._content is not None:
            record.header, record.body_offset = None, 0
        if self._header is not None and self._header.edited and content is not None:
            joined = self._with_header(self._header, content, record)
            record.header, record.body_offset = joined.head, joined.skip
        return record, content

    def _need_whole(self) -> None:
        if not self.work.complete:
            raise PenstockError("the content has not arrived whole yet; do this at EndOfData or Submission")

    def _need_content(self) -> Content:
        content = self.work.content
        if content is None:
            raise PenstockError("the content has not arrived yet; use EndOfData or a transport event")
        return content

    def _with_header(self, header: Header, content: Content, record: MessageRecord | None) -> JoinedContent:
        """The content with these header fields in the place of those it has; all that follows, from the empty line on, stays as it came.

        ``record`` tells of an earlier edit; None when there was none.
        """
        if record is not None and record.header is not None:
            separator, skip = record.header[len(split_header(record.header)[0]) :], record.body_offset
        else:
            skip = len(self.work.came().section.raw if content is self.work.content else read_fields(content))
            follows = content.read(skip, 2)
            # Where a body follows without an empty line, or there was no header at all, we have to put one.
            separator = b"\r\n" if follows and follows != b"\r\n" and follows[:1] != b"\n" else b""
        return JoinedContent(header.to_bytes() + separator, content, skip)


def as_content(content: bytes | EmailMessage) -> bytes:
    """The octets of a content given by a sink, with CRLF line ends (RFC 5321 §2.3.8)."""
    raw = content if isinstance(content, bytes) else content.as_bytes(policy=email.policy.SMTP)
    return _BARE_LF.sub(b"\r\n", raw)


def write_durably(path: Path, content: Content, prefix: bytes = b"", part: Path | None = None) -> None:
    """Writes ``prefix`` and the content to a file that appears whole and on stable storage, or not at all. Raises OSError.

    The file is for the server's user alone. A part that a dead process left is replaced, never written into: whoever can make names in the
    folder could have put a link there.
    """
    passing = part or path.with_name(f".{path.name}.part")
    passing.unlink(missing_ok=True)
    descriptor = os.open(passing, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        try:
            file.write(prefix)
            file.writelines(chunks(content))
            file.flush()
            os.fsync(descriptor)
            if not _is_at(passing, descriptor):
                raise FileNotFoundError(errno.ENOENT, "another delivery of the same message took this one's place", str(passing))
            passing.rename(path)
        except BaseException:
            if _is_at(passing, descriptor):
                passing.unlink()
            raise
    sync_directory(path.parent)


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether this name is that of this open file: a delivery that hung may find that a later one replaced its part."""
    try:
        return os.path.samestat(path.stat(follow_symlinks=False), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def sync_directory(path: Path) -> None:
    """Makes the names in a folder durable. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _ContentFile(io.RawIOBase):
    """A content read as a file."""

    def __init__(self, content: Content) -> None:
        self._content = content
        self._offset = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._offset, io.SEEK_END: self._content.size}[whence]
        self._offset = max(0, base + offset)
        return self._offset

    def tell(self) -> int:
        return self._offset

    def readinto(self, buffer: Any) -> int:  # the buffer protocol has no name before Python 3.12
        view = memoryview(buffer)
        piece = self._content.read(self._offset, len(view))
        view[: len(piece)] = piece
        self._offset += len(piece)
        return len(piece)
