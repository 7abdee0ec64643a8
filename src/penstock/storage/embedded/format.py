"""The bytes of the journal: how a segment begins, what a record is, and how records are found again among damage.

``docs/reference/spool-format.md`` describes the same byte by byte, for people without this code.

Three choices carry the rest:

* Every segment has a random *salt*, and every record begins with it. A recycled segment gets a new salt, so its old bytes can never be
  taken for new records; and as nobody outside can know it, no mail can be written that looks like a record.
* Every record has a sequence number that grows by one, and the number of the first record of its batch. A missing number is a damaged
  record; a later batch proves that all before it was durable. This is how a torn tail is told from damage.
* Meta data has a checksum, and each block of content has its own, so that one flipped bit costs one content and not its envelope, and
  a part of a content can be read and checked without the rest.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from ...mail.content import CHUNK
from ..base import Entry

# A batch begins at a multiple of this, so that a torn write never touches the block of an earlier batch.
BLOCK = 4096
VERSION = 1
MAGIC = b"PENSTOCK"

_SEGMENT = struct.Struct("<8sIIQ8sQQ")  # magic, version, flags, number, salt, first sequence number, size
_RECORD = struct.Struct("<8sQQIII")  # salt, sequence number, first of the batch, payload length, meta length, meta checksum
_CHECKSUM = struct.Struct("<I")
RECORD_HEADER = _RECORD.size + _CHECKSUM.size
# The segment header is written twice, in different sectors: one bad sector must not cost the whole segment.
_SEGMENT_COPIES = (0, BLOCK // 2)
_OPENED = 1
_AFTER_WHOLE = 2


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    """What the first block of a segment says.

    Args:
        number: grows by one with each segment of the spool.
        salt: eight random octets that begin each record of this segment.
        first: the sequence number of its first record; records of earlier segments with this or a greater number are void.
        size: octets of the file.
        opened: True when it is the first one after a recovery, which has judged all that lies before it.
        after_whole: True when that recovery saw the last batch before it, and that was whole.
    """

    number: int
    salt: bytes
    first: int
    size: int
    opened: bool = False
    after_whole: bool = False

    def pack(self) -> bytes:
        """The first block of the segment."""
        body = _SEGMENT.pack(
            MAGIC, VERSION, self.opened * _OPENED | self.after_whole * _AFTER_WHOLE, self.number, self.salt, self.first, self.size
        )
        body += _CHECKSUM.pack(zlib.crc32(body))
        half = BLOCK // 2
        return body.ljust(half, b"\0") + body.ljust(half, b"\0")

    @classmethod
    def unpack(cls, block: bytes) -> SegmentHeader | None:
        """The header from the first block, from whichever copy is whole; None when neither is."""
        for start in _SEGMENT_COPIES:
            body = block[start : start + _SEGMENT.size]
            stored = block[start + _SEGMENT.size : start + _SEGMENT.size + _CHECKSUM.size]
            if len(stored) == _CHECKSUM.size and _CHECKSUM.unpack(stored)[0] == zlib.crc32(body):
                magic, version, flags, number, salt, first, size = _SEGMENT.unpack(body)
                if magic == MAGIC and version == VERSION:
                    return cls(number, salt, first, size, bool(flags & _OPENED), bool(flags & _AFTER_WHOLE))
        return None


class Place(msgspec.Struct, frozen=True, array_like=True):
    """Where the octets of a content are.

    Args:
        size: the number of octets.
        checksums: CRC-32 of each block of 256 KiB, little endian, four octets each.
        file: the name of its own file; "" when it is in the journal.
        segment: the number of the segment that has it, or whose record names its file.
        offset: where it begins in the segment; without meaning for a file.
    """

    size: int
    checksums: bytes
    file: str = ""
    segment: int = 0
    offset: int = 0


class ContentHead(msgspec.Struct, frozen=True, array_like=True):
    """A content as the meta data of a record names it; those without a file follow the meta data, in this order."""

    id: str
    size: int
    checksums: bytes
    file: str = ""


class ChangeRow(msgspec.Struct, frozen=True, array_like=True):
    """A change as it is written: all fields of the entry, or the id alone for a removal."""

    id: str
    stage: str | None = None
    record: bytes = b""
    content: str = ""
    queue: str = ""
    due: float = 0.0
    held: str = ""

    def entry(self) -> Entry:
        """The entry that a Put kept."""
        return Entry(self.id, self.stage or "", self.record, self.content, self.queue, self.due, self.held)


class Meta(msgspec.Struct, frozen=True, array_like=True):
    """The meta data of one record: one atomic group of changes and the new contents they need."""

    changes: list[ChangeRow]
    contents: list[ContentHead]


_encode = msgspec.msgpack.Encoder().encode
_decode_meta = msgspec.msgpack.Decoder(Meta).decode
_decode_row = msgspec.msgpack.Decoder(ChangeRow).decode


def entry_fields(entry: Entry) -> tuple[str, str, bytes, str, str, float, str]:
    """The entry as a row of its fields, in the order of ``ChangeRow``."""
    return (entry.id, entry.stage, entry.record, entry.content, entry.queue, entry.due, entry.held)


def encode_entry(entry: Entry) -> bytes:
    """The entry as the index keeps it."""
    return _encode(entry_fields(entry))


def decode_entry(data: bytes) -> Entry:
    """The entry from what ``encode_entry`` made."""
    return _decode_row(data).entry()


def encode_meta(changes: Sequence[tuple[object, ...]], contents: Sequence[tuple[str, int, bytes, str]]) -> bytes:
    """The meta data of one record, from rows in the order of ``ChangeRow`` and ``ContentHead``."""
    return _encode((changes, contents))


def checksums(data: bytes) -> bytes:
    """CRC-32 of each 256 KiB of the data."""
    if len(data) <= CHUNK:
        return _CHECKSUM.pack(zlib.crc32(data))
    view = memoryview(data)
    return b"".join(_CHECKSUM.pack(zlib.crc32(view[at : at + CHUNK])) for at in range(0, len(data), CHUNK))


def pack_record(salt: bytes, sequence: int, batch: int, meta: bytes, length: int) -> bytes:
    """The header of one record.

    Args:
        salt: the salt of the segment.
        sequence: the number of the record.
        batch: the number of the first record of its batch.
        meta: the encoded meta data, which follows the header.
        length: octets of meta data and contents together.
    """
    body = _RECORD.pack(salt, sequence, batch, length, len(meta), zlib.crc32(meta))
    return body + _CHECKSUM.pack(zlib.crc32(body))


@dataclass(frozen=True, slots=True)
class Record:
    """A record found in a segment.

    Args:
        offset: where its header begins.
        sequence: its number.
        batch: the number of the first record of its batch.
        end: where it ends.
        meta: its meta data, or None when that is damaged.
        places: where its new contents are, by content id; files included.
        broken: the ids of contents in the record that do not match their checksums.
    """

    offset: int
    sequence: int
    batch: int
    end: int
    meta: Meta | None
    places: dict[str, Place]
    broken: tuple[str, ...] = ()


def scan(data: bytes, header: SegmentHeader) -> Iterator[Record]:
    """All records of a segment whose header is whole, in order; damaged ones say so.

    Searches for the salt, rather than trusting lengths, so that whatever lies between two records (padding, zeros, damage, the old bytes
    of a recycled segment) is simply passed over.
    """
    at = data.find(header.salt, BLOCK)
    while at >= 0:
        record = _record_at(data, header, at)
        if record is not None:
            yield record
        at = data.find(header.salt, record.end if record is not None and record.end <= len(data) else at + 1)


def _record_at(data: bytes, header: SegmentHeader, at: int) -> Record | None:
    body = data[at : at + _RECORD.size]
    stored = data[at + _RECORD.size : at + RECORD_HEADER]
    if len(stored) < _CHECKSUM.size or _CHECKSUM.unpack(stored)[0] != zlib.crc32(body):
        return None
    _, sequence, batch, length, meta_length, meta_checksum = _RECORD.unpack(body)
    start = at + RECORD_HEADER
    encoded = data[start : start + meta_length]
    if zlib.crc32(encoded) != meta_checksum:
        return Record(at, sequence, batch, start + length, None, {})
    meta = _decode_meta(encoded)
    places: dict[str, Place] = {}
    broken: list[str] = []
    offset = start + meta_length
    for head in meta.contents:
        if head.file:
            places[head.id] = Place(head.size, head.checksums, head.file, header.number)
            continue
        places[head.id] = Place(head.size, head.checksums, "", header.number, offset)
        if checksums(data[offset : offset + head.size]) != head.checksums:
            broken.append(head.id)
        offset += head.size
    return Record(at, sequence, batch, start + length, meta, places, tuple(broken))
