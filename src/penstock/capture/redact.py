"""What is taken out of a session before it is written down, and how.

Filler has the length and the lines of what it stands for, so that limits, dots and MIME parts come out the same when the session is run
again. What a client said to AUTH is never kept, whatever the settings say, nor any line whose verb is not known: after a failed AUTH that
may be the password."""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Literal

from ..mail.header import Header, split_header

Bodies = Literal["keep", "fill", "drop"]
# The verbs whose lines say nothing secret.
OPEN_VERBS = frozenset({
    b"HELO", b"EHLO", b"LHLO", b"MAIL", b"RCPT", b"DATA", b"BDAT", b"RSET", b"NOOP", b"QUIT", b"HELP", b"VRFY", b"EXPN", b"STARTTLS",
})  # fmt: skip
# Of these the word itself may be kept, and nothing behind it: how the server refuses them depends on it.
_WORDS = frozenset({
    b"AUTH", b"ETRN", b"ATRN", b"TURN", b"SEND", b"SOML", b"SAML", b"BURL", b"XCLIENT", b"XFORWARD",
    b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"TRACE", b"PATCH", b"CONNECT", b"PRI",
})  # fmt: skip
_BDAT = re.compile(rb"BDAT ([0-9]{1,12})(?: LAST)?\r\n", re.IGNORECASE)
_LOCAL = rb"[^\s<>@:;,\"'()\[\]=\\]{1,128}|\"[^\"\r\n]{1,128}\""
_DOMAIN = rb"[A-Za-z0-9\x80-\xff][A-Za-z0-9.\x80-\xff-]{0,253}|\[[^\]\s]{1,64}\]"
_ADDRESS = re.compile(b"(" + _LOCAL + b")@(" + _DOMAIN + b")")
_LETTERS = bytes.maketrans(bytes(c for c in range(256) if c not in b"\r\n"), b"x" * 254)
_BOUNDARY = re.compile(rb"boundary\s*=\s*(?:\"([^\"\r\n]{1,200})\"|([^\s;\"]{1,200}))", re.IGNORECASE)
# Of the header of a part only what says how it is built is kept.
_STRUCTURE = re.compile(rb"(?:content-type|content-transfer-encoding|mime-version)\s*:", re.IGNORECASE)
_FILENAME = re.compile(rb"((?:file)?name\*?[0-9]*\*?\s*=\s*)(\"[^\"\r\n]*\"|[^\s;]+)", re.IGNORECASE)
POSTMASTER = b"postmaster"


@dataclass(frozen=True, slots=True)
class Redaction:
    """What is taken out beside what always is.

    Args:
        bodies: "keep"; "fill" for filler that keeps lines and MIME structure; "drop" for the header alone.
        fields: header fields, in lower case, whose values become filler.
        addresses: True to put a pseudonym in the place of each local part, the same for the same address.
        answers: True to keep what clients answered to sinks of new verbs, and those verbs' arguments.
        key: makes pseudonyms that nobody can work out by trying addresses.
    """

    bodies: Bodies = "fill"
    fields: frozenset[bytes] = frozenset()
    addresses: bool = False
    answers: bool = False
    key: bytes = b""

    @property
    def hides(self) -> list[str]:
        """What is taken out, in words."""
        found = [] if self.bodies == "keep" else ["bodies" if self.bodies == "fill" else "bodies dropped"]
        found += ["addresses"] if self.addresses else []
        found += [] if self.answers else ["answers"]
        return [*found, *(f"header {name.decode('latin-1')}" for name in sorted(self.fields))]

    def text(self, octets: bytes) -> bytes:
        """Commands and replies: with pseudonyms, where they are wanted."""
        return _ADDRESS.sub(self._pseudonym, octets) if self.addresses else octets

    def refused(self, line: bytes) -> bytes:
        """A line that the server did not understand: whole when its verb is known, else filler."""
        verb = line.split(b" ", 1)[0].rstrip(b"\r\n").upper()
        if verb in OPEN_VERBS and b"\n" not in line.rstrip(b"\r\n"):
            return self.text(line)
        # With a line end in it, only what comes before that was the command.
        kept = len(verb) + (line[len(verb) : len(verb) + 1] == b" ") if verb in OPEN_VERBS | _WORDS else int(line[:1] == b"\x16")
        return line[:kept] + _blank(line[kept:])

    def verb(self, line: bytes) -> tuple[bytes, bool]:
        """A command of a sink's own; and whether something was taken out."""
        if self.answers:
            return self.text(line), False
        verb, space, rest = line.partition(b" ")
        return verb + space + _blank(rest), bool(rest.strip())

    def unread(self, octets: bytes) -> bytes:
        """What came between two commands, or after the last: refused chunks, the rest of lines that were too long, and what nobody read."""
        kept, at = [], 0
        while at < len(octets):
            chunk = _BDAT.match(octets, at)
            if chunk:
                end = chunk.end() + int(chunk[1])
                kept += [chunk[0], _blank(octets[chunk.end() : end])]
            else:
                end = octets.find(b"\r\n", at) + 2
                end = end if end > 1 else len(octets)
                kept.append(self.refused(octets[at:end]))
            at = min(end, len(octets))
        return b"".join(kept)

    def content(self, octets: bytes) -> bytes:
        """A message's content as it came, dots and all. Its length changes with pseudonyms alone."""
        section, body = split_header(octets)
        boundaries = _boundaries(section)
        header = b"".join(self._field(field.raw) for field in Header(section)) if section else b""
        return header + octets[len(section) : body] + self.body(octets[body:], boundaries)

    def body(self, octets: bytes, boundaries: list[bytes] | None = None) -> bytes:
        """A body, or what comes of it after its beginning.

        Args:
            octets: as they came.
            boundaries: what separates its parts, as the header says it.
        """
        if self.bodies == "keep":
            return self.text(octets)
        return b"" if self.bodies == "drop" else _fill_body(octets, boundaries or [])

    def _field(self, raw: bytes) -> bytes:
        name, colon, value = raw.partition(b":")
        return name + colon + _fold(value) if name.strip().lower() in self.fields else self.text(raw)

    def _pseudonym(self, found: re.Match[bytes]) -> bytes:
        local, domain = found[1], found[2]
        if local.lower() == POSTMASTER:
            return found[0]
        digest = hmac.new(self.key, local + b"@" + domain.lower(), hashlib.sha256).hexdigest()[:12]
        # Whether an address is ASCII decides what the server makes of it.
        return b"p" + digest.encode() + (b"" if local.isascii() else "ä".encode()) + b"@" + domain


def _blank(octets: bytes) -> bytes:
    """Filler of the same length, with the same line ends."""
    return octets.translate(_LETTERS)


def _fold(value: bytes) -> bytes:
    """Filler for a field's value that keeps its folding: a line that goes on begins with white space."""
    return re.sub(rb"[^\s]", b"x", value)


def _boundaries(section: bytes) -> list[bytes]:
    return [b"--" + (found[1] or found[2]) for found in _BOUNDARY.finditer(section)]


def _fill_body(octets: bytes, boundaries: list[bytes]) -> bytes:
    """Filler for a body that keeps boundaries, the fields of parts that say how they are built, and the dots that were stuffed in."""
    known, lines, in_header = list(boundaries), [], False
    for line in octets.splitlines(keepends=True):
        bare = line.rstrip(b"\r\n")
        if any(bare.rstrip().startswith(mark) for mark in known):
            mark = next(m for m in known if bare.rstrip().startswith(m))
            rest = bare[len(mark) :]
            lines.append(mark + (rest if rest in (b"", b"--") else _blank(rest)) + line[len(bare) :])
            in_header = rest.strip() == b""
        elif in_header and bare:
            known += _boundaries(bare)
            structure = _STRUCTURE.match(bare) or (bare[:1] in b" \t" and _BOUNDARY.search(bare))
            lines.append(_FILENAME.sub(_unnamed, line) if structure else _part_field(line))
        else:
            in_header = False
            dot = line[:1] if line[:1] == b"." else b""
            lines.append(dot + _blank(line[len(dot) :]) if bare != b"." else line)
    return b"".join(lines)


def _part_field(line: bytes) -> bytes:
    """A field of a part's header: its name, and filler."""
    name, colon, value = line.partition(b":")
    return name + colon + _fold(value) if colon and name.strip() and name[:1] not in b" \t" else _fold(line)


def _unnamed(found: re.Match[bytes]) -> bytes:
    value = found[2]
    return found[1] + (b'"' + b"x" * (len(value) - 2) + b'"' if value.startswith(b'"') else b"x" * len(value))
