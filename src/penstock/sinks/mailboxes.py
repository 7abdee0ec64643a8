"""Who a message says that it is from: the addresses of a From or Sender field (RFC 5322 §3.6.2), or nothing when two readings are possible.

For rights, not for display: where mail programs might disagree on which address a field shows, the answer is none, and the caller refuses.
Rejected: ``email.utils.getaddresses``, which takes what it can of a malformed list and passes over the rest.
"""

from __future__ import annotations

import re

from penstock import Address
from penstock.errors import AddressError

# A field that is longer is nobody's.
_LONGEST = 16 * 1024
# What may stand in a display name, and beside an address without one; a comment is looked at apart, since it nests.
_WORD = re.compile(r'[^\s()<>\[\]:;,"\\@]++|[@.]')
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*+"')
_ANGLE = re.compile(r'<((?:[^<>"\\\s]|"(?:[^"\\]|\\.)*+")*+)>')
_SPACE = re.compile(r"\s++")


def mailboxes(value: str) -> list[Address] | None:
    """The addresses of a list of mailboxes, as it was written; None when it is malformed, empty, or a group.

    Args:
        value: the field's value, unfolded, with encoded words left as they are.
    """
    if len(value) > _LONGEST:
        return None
    found: list[Address] = []
    for part in _parts(value) or []:
        address = _mailbox(part)
        if address is None:
            return None
        found.append(address)
    return found or None


def _parts(value: str) -> list[list[str]] | None:
    """The tokens of each mailbox; comments and white space left out, and None for what is no token."""
    parts: list[list[str]] = [[]]
    at = 0
    while at < len(value):
        if value[at] == "(":
            at = _after_comment(value, at)
            if not at:
                return None
        elif value[at] == ",":
            parts.append([])
            at += 1
        else:
            match = _SPACE.match(value, at) or _QUOTED.match(value, at) or _ANGLE.match(value, at) or _WORD.match(value, at)
            if match is None:
                return None
            if not match[0].isspace():
                parts[-1].append(match[0])
            elif parts[-1]:
                parts[-1].append(" ")
            at = match.end()
    # RFC 5322 §4.4: an empty element of a list is obsolete, and harmless.
    return [part for part in parts if any(piece != " " for piece in part)]


def _after_comment(value: str, at: int) -> int:
    """Where the comment that begins here is over; 0 when it never is."""
    depth = 0
    while at < len(value):
        character = value[at]
        depth += (character == "(") - (character == ")")
        at += 2 if character == "\\" else 1
        if not depth:
            return at
    return 0


def _mailbox(tokens: list[str]) -> Address | None:
    while tokens[-1] == " ":
        tokens = tokens[:-1]
    if tokens[-1].startswith("<"):
        # An address in the display name is what some programs show in place of the one in brackets.
        if any(piece.startswith("<") or piece == "@" for piece in tokens[:-1]):
            return None
        text = tokens[-1][1:-1]
    elif " " in tokens or any(piece.startswith("<") for piece in tokens):
        return None
    else:
        text = "".join(tokens)
    try:
        address = Address.parse(text)
    except AddressError:
        return None
    return address if address.domain else None
