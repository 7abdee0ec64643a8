"""The header section of a message, exact to the byte where nobody edits it.

Fields are kept as the octets that came, folding and odd spacing included; only what is added or replaced is written by us. Rejected: the
standard library's ``email`` package for this, since parsing and printing with it does not give back the same bytes, and a signature that
was valid would no longer be. It is used only to write encoded words (RFC 2047).
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterator, Sequence
from email.header import Header as EncodedHeader
from functools import lru_cache
from typing import Any, Self, TypeVar, overload

import msgspec

from ..errors import FrozenError, HeaderError
from .content import Content
from .encoded import decode_words

# RFC 5322 §2.2: "A field name MUST be composed of printable US-ASCII characters (i.e., characters that have values between 33 and 126,
# inclusive), except colon." White space before the colon is the obsolete form of RFC 5322 §4.5.
_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:([^\n]*(?:\n[ \t][^\n]*)*\n?)")
_SECTION = re.compile(rb"(?:[!-9;-~]++[ \t]*+:[^\n]*+(?:\n|\Z))(?:[!-9;-~]++[ \t]*+:[^\n]*+(?:\n|\Z)|[ \t]++[^\n]*+(?:\n|\Z))*+")
_BEGINNING = re.compile(rb"^[!-9;-~]++[ \t]*+:", re.MULTILINE)
_PRINTABLE = re.compile(r"[!-9;-~]+")
_NAME = re.compile(r"[!-9;-~]{1,76}")
_FOLD = re.compile(r"\r?\n(?=[ \t])")
# RFC 5322 §2.1.1: "Each line of characters MUST be no more than 998 characters, and SHOULD be no more than 78 characters".
SOFT_LINE, HARD_LINE = 78, 998
# How much of a content is read at first to find its header; Postfix' header_size_limit is 100 KiB.
HEADER_LOOK = 128 * 1024
# So many answers about one header are remembered.
MOST_REMEMBERED = 64
T = TypeVar("T")


class Field(msgspec.Struct, frozen=True):
    """One header field.

    Args:
        name: as it was written.
        raw: the whole field with name, folding and line ends, as octets.
    """

    name: str
    raw: bytes

    @property
    def value(self) -> str:
        """The value, unfolded, with encoded words decoded (RFC 2047); octets that are no UTF-8 become replacement characters.

        A value of more than 16 KiB is not decoded.
        """
        return decode_words(self.plain)

    @property
    def plain(self) -> str:
        """The value, unfolded, with encoded words as they were written."""
        return _FOLD.sub("", self.raw.partition(b":")[2].decode("utf-8", "replace")).strip()


def split_header(start: bytes) -> tuple[bytes, int]:
    """Where the header ends: the octets of its fields, and the offset at which the body begins (after the empty line, if there is one).

    Content that does not begin with a field has no header: ``(b"", 0)``; a line that is no field ends the header (RFC 5322 §2.1).
    """
    section = _SECTION.match(start)
    end = section.end() if section else 0
    for blank in (b"\r\n", b"\n"):
        if start.startswith(blank, end):
            return start[:end], end + len(blank)
    return start[:end], end


def read_fields(content: Content) -> bytes:
    """The octets of a content's header fields, however many they are; reads no more of the content than it must."""
    look = HEADER_LOOK
    while True:
        start = content.read(0, look)
        fields = split_header(start)[0]
        # Only a whole line that is no field ends the header; what was cut off may be the beginning of one.
        if b"\n" in start[len(fields) :] or len(start) < look:
            return fields
        look *= 4


class Section:
    """The octets of a header section, for all who only read them; what somebody looked for is remembered for the others.

    Fields are looked for where they are wanted and not listed: a header of 1 MiB may have 300,000 of them, and a thousand readers.

    Args:
        raw: the octets of all fields, without the empty line that ends the section.
    """

    __slots__ = ("_known", "raw")

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self._known: dict[object, Any] = {}

    def starts(self, name: str) -> Sequence[int]:
        """Where the fields of this name begin, first to last."""
        wanted = name.lower()
        return self._remember(("starts", wanted), lambda: array("I", _starts(self.raw, wanted)))

    def field(self, start: int) -> Field:
        """The field that begins here."""
        match = _FIELD.match(self.raw, start)
        assert match is not None
        return Field(match[1].decode("ascii"), match[0])

    def named(self, name: str) -> Iterator[Field]:
        """The fields of this name, first to last."""
        return map(self.field, self.starts(name))

    def has(self, name: str, value: str) -> bool:
        """Whether a field of this name has this value, as it was written, without regard to case."""
        values = self._remember(("values", name.lower()), lambda: frozenset(f.plain.lower() for f in self.named(name)))
        return value.lower() in values

    def matches(self, name: str, pattern: re.Pattern[str]) -> bool:
        """Whether the decoded value of a field of this name matches the whole pattern."""
        return self._remember((pattern, name.lower()), lambda: any(pattern.fullmatch(f.value) for f in self.named(name)))

    def _remember(self, key: object, find: Callable[[], T]) -> T:
        if key not in self._known:
            if len(self._known) >= MOST_REMEMBERED:
                self._known = {}
            self._known[key] = find()
        found: T = self._known[key]
        return found


class Header:
    """The header fields of one message, in order.

    Names are compared without regard to case. A header that is only shown refuses to be changed with FrozenError.

    Args:
        section: all fields, without the empty line that ends the section.
        frozen: True for a header that may only be read.

    Source: RFC 5322 §2.2, §3.6.
    """

    __slots__ = ("_frozen", "_section", "edited")

    def __init__(self, section: Section | bytes = b"", frozen: bool = False) -> None:
        self._section = Section(section) if isinstance(section, bytes) else section
        self._frozen = frozen
        self.edited = False

    @classmethod
    def from_content(cls, content: bytes, frozen: bool = False) -> Self:
        """The header of a whole message, or of its beginning."""
        return cls(split_header(content)[0], frozen)

    @overload
    def get(self, name: str, default: None = None) -> str | None: ...
    @overload
    def get(self, name: str, default: str) -> str: ...
    def get(self, name: str, default: str | None = None) -> str | None:
        """The decoded value of the first field of this name."""
        return next((field.value for field in self._section.named(name)), default)

    def get_all(self, name: str) -> list[str]:
        """The decoded values of all fields of this name, first to last."""
        return [field.value for field in self._section.named(name)]

    def has(self, name: str, value: str) -> bool:
        """Whether a field of this name has this value, as it was written, without regard to case."""
        return self._section.has(name, value)

    def fields(self, name: str | None = None) -> list[Field]:
        """The fields (of this name), as they are."""
        return list(self) if name is None else list(self._section.named(name))

    def add(self, name: str, value: str, first: bool = False) -> None:
        """Adds a field after the last one, or before all others.

        Raises: HeaderError for a name that is none, or a value with a line end that is not a fold.
        """
        added, raw = make_field(name, value).raw, self._section.raw
        ended = raw if first or not raw or raw.endswith(b"\n") else raw + b"\r\n"
        self._edit(added + ended if first else ended + added)

    def replace(self, name: str, value: str) -> None:
        """Puts one field in the place of the first of this name and removes the others; adds it when there is none. Raises HeaderError."""
        starts = self._section.starts(name)
        if not starts:
            self.add(name, value)
            return
        new = make_field(name, value).raw
        self._edit(self._section.raw[: starts[0]] + new + self._without(starts, starts[0]))

    def remove(self, name: str) -> int:
        """Removes all fields of this name; the number of those that were there."""
        starts = self._section.starts(name)
        if starts:
            self._edit(self._without(starts))
        return len(starts)

    def to_bytes(self) -> bytes:
        """All fields as octets, without the empty line."""
        return self._section.raw

    def _without(self, starts: Sequence[int], begin: int = 0) -> bytes:
        """The octets from ``begin`` on, without the fields that begin at these places."""
        raw, pieces, end = self._section.raw, [], begin
        for start in starts:
            pieces.append(raw[end:start])
            end = start + len(self._section.field(start).raw)
        return b"".join([*pieces, raw[end:]])

    def _edit(self, raw: bytes) -> None:
        if self._frozen:
            raise FrozenError("this header is only shown; change it in an event that asks (Submission, EndOfData)")
        self._section = Section(raw)
        self.edited = True

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and len(self._section.starts(name)) > 0

    def __iter__(self) -> Iterator[Field]:
        section = self._section
        return (section.field(match.start()) for match in _BEGINNING.finditer(section.raw))

    def __len__(self) -> int:
        return sum(1 for _ in _BEGINNING.finditer(self._section.raw))


def _starts(raw: bytes, name: str) -> Iterator[int]:
    """Where the fields of a name, in lower case, begin: with the line, since what goes on with a field begins with white space."""
    if not _PRINTABLE.fullmatch(name):
        return iter(())
    # With a line end before the first line too, the expression begins with what can be searched for at the speed of memory.
    return (match.start() for match in _expression(name).finditer(b"\n" + raw.lower()))


@lru_cache(maxsize=256)
def _expression(name: str) -> re.Pattern[bytes]:
    return re.compile(rb"\n" + re.escape(name.encode("ascii")) + rb"[ \t]*+:")


def make_field(name: str, value: str) -> Field:
    """A field as we write it: folded at white space, beyond ASCII as encoded words (RFC 2047).

    Raises: HeaderError for a name that is none, or a value that would begin another field.
    """
    if not _NAME.fullmatch(name):
        raise HeaderError(f"{name!r} cannot be the name of a header field")
    lines = re.split(r"\r?\n", value)
    if any(c in line for line in lines for c in "\r\0") or any(not line.strip() or line[0] not in " \t" for line in lines[1:]):
        raise HeaderError(f"the value of {name} holds a line end that is not a fold")
    if not value.isascii():
        encoded = EncodedHeader(" ".join(line.strip() for line in lines), "utf-8", SOFT_LINE, name).encode(linesep="\r\n")
        return Field(name, f"{name}: {encoded}\r\n".encode("ascii"))
    folded = "\r\n".join(_fold(line, len(name) + 2 if number == 0 else 0) for number, line in enumerate(lines))
    if any(len(line) > HARD_LINE for line in folded.split("\r\n")):
        raise HeaderError(f"the value of {name} has a word that is longer than a line may be")
    return Field(name, f"{name}: {folded}\r\n".encode("ascii"))


def _fold(line: str, used: int) -> str:
    """The line broken before white space where it would pass 78 characters."""
    pieces, room = [], SOFT_LINE - used
    while len(line) > room and (cut := line.rfind(" ", 1, room)) > 0 and line[:cut].strip():
        pieces.append(line[:cut])
        line, room = line[cut:], SOFT_LINE
    return "\r\n".join([*pieces, line])
