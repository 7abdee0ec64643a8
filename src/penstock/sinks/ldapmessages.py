"""The messages of LDAP that a look-up needs, as octets and back: bind, search, StartTLS. No I/O.

Nothing from an address ever becomes text of a filter: a filter is built of octets here, with the value as it is, so there is nothing to
escape and nothing to forget. Only the administrator's own filter is parsed from text.

Source: RFC 4511; filters as text: RFC 4515.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

BIND, BIND_DONE, UNBIND, SEARCH, ENTRY, SEARCH_DONE, REFERENCE = 0x60, 0x61, 0x42, 0x63, 0x64, 0x65, 0x73
EXTENDED, EXTENDED_DONE = 0x77, 0x78
SUCCESS, NO_SUCH_OBJECT = 0, 32
SCOPES = {"base": 0, "one": 1, "sub": 2}
START_TLS = b"1.3.6.1.4.1.1466.20037"
_INTEGER, _OCTETS, _ENUMERATED, _BOOLEAN, _SEQUENCE = 0x02, 0x04, 0x0A, 0x01, 0x30
_AND, _OR, _NOT, _EQUAL, _SUBSTRINGS, _GREATER, _LESS, _PRESENT, _APPROXIMATE = 0xA0, 0xA1, 0xA2, 0xA3, 0xA4, 0xA5, 0xA6, 0x87, 0xA8
_OPERATORS = {"=": _EQUAL, ">=": _GREATER, "<=": _LESS, "~=": _APPROXIMATE}
_ITEM = re.compile(r"\(\s*([A-Za-z0-9.;\-]+)\s*(=|>=|<=|~=)((?:[^()\\\0]|\\[0-9A-Fa-f]{2})*)\)")
_DEEPEST = 50


class NotLdap(Exception):
    """What came is no message of LDAP."""


@dataclass(frozen=True, slots=True)
class Response:
    """One message from the server.

    Args:
        number: of the request that it answers.
        kind: such as ENTRY.
        content: the octets of the operation.
    """

    number: int
    kind: int
    content: bytes


@dataclass(frozen=True, slots=True)
class Found:
    """One entry.

    Args:
        name: its DN.
        values: by attribute in lower case.
    """

    name: str
    values: dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class Search:
    """What is searched for.

    Args:
        base: the DN below which.
        scope: "base", "one" or "sub".
        condition: a filter, as ``equal``, ``any_of``, ``all_of`` or ``parse_filter`` make it.
        attributes: those that are wanted.
        most: entries above which the server gives up.
        seconds: after which it gives up.
    """

    base: str
    scope: str
    condition: bytes
    attributes: Sequence[str]
    most: int
    seconds: int


def bind(number: int, name: str, password: str) -> bytes:
    """A simple bind, with name and password or without both."""
    return _message(number, BIND, _integer(3) + _text(name) + _value(0x80, password.encode()))


def unbind(number: int) -> bytes:
    """The end."""
    return _message(number, UNBIND, b"")


def start_tls(number: int) -> bytes:
    """The wish for TLS."""
    return _message(number, EXTENDED, _value(0x80, START_TLS))


def search(number: int, wanted: Search) -> bytes:
    """A search."""
    head = _text(wanted.base) + _value(_ENUMERATED, bytes([SCOPES[wanted.scope]])) + _value(_ENUMERATED, b"\0")
    limits = _integer(wanted.most) + _integer(wanted.seconds) + _value(_BOOLEAN, b"\0")
    names = b"".join(_text(name) for name in wanted.attributes)
    return _message(number, SEARCH, head + limits + wanted.condition + _value(_SEQUENCE, names))


def equal(attribute: str, value: str) -> bytes:
    """The condition that an attribute has a value."""
    return _value(_EQUAL, _text(attribute) + _text(value))


def any_of(conditions: Iterable[bytes]) -> bytes:
    """The condition that one of several holds."""
    return _value(_OR, b"".join(conditions))


def all_of(conditions: Iterable[bytes]) -> bytes:
    """The condition that all hold."""
    return _value(_AND, b"".join(conditions))


def parse_filter(text: str) -> bytes:
    """The condition that is written in the syntax of RFC 4515, but for extensible matches.

    Raises: ValueError.
    """
    found, position = _filter(text.strip(), 0, 0)
    if position != len(text.strip()):
        raise ValueError(f"{text!r}: something follows after the filter")
    return found


def length_of(start: bytes) -> int | None:
    """How many octets the first message in the buffer has; None while that cannot be told. Raises NotLdap."""
    if not start:
        return None
    if start[0] != _SEQUENCE:
        raise NotLdap("a message does not begin like one")
    if len(start) < 2:
        return None
    if start[1] < 0x80:
        return 2 + start[1]
    count = start[1] & 0x7F
    if not 1 <= count <= 4:
        raise NotLdap("a message has no length that can be used")
    return 2 + count + int.from_bytes(start[2 : 2 + count]) if len(start) >= 2 + count else None


def read(message: bytes) -> Response:
    """A whole message. Raises NotLdap."""
    tag, content, _ = _element(message, 0)
    if tag != _SEQUENCE:
        raise NotLdap("a message does not begin like one")
    tag, number, position = _element(content, 0)
    if tag != _INTEGER or len(number) > 4:
        raise NotLdap("a message has no number")
    kind, operation, _ = _element(content, position)
    return Response(int.from_bytes(number), kind, operation)


def result(content: bytes) -> tuple[int, str]:
    """The code and the words of a response that ends something. Raises NotLdap."""
    tag, code, position = _element(content, 0)
    if tag != _ENUMERATED or len(code) > 4:
        raise NotLdap("a result has no code")
    _, _, position = _element(content, position)
    _, words, _ = _element(content, position)
    return int.from_bytes(code), words.decode("utf-8", "replace")


def entry(content: bytes) -> Found:
    """An entry. Raises NotLdap."""
    _, name, position = _element(content, 0)
    _, attributes, _ = _element(content, position)
    values: dict[str, list[str]] = {}
    for attribute in _elements(attributes):
        _, kind, after = _element(attribute, 0)
        _, several, _ = _element(attribute, after)
        # "mail;lang-de" is mail: options say more about an attribute, not another one.
        key = kind.decode("utf-8", "replace").lower().partition(";")[0]
        values.setdefault(key, []).extend(value.decode("utf-8", "replace") for value in _elements(several))
    return Found(name.decode("utf-8", "replace"), values)


def _filter(text: str, position: int, depth: int) -> tuple[bytes, int]:
    if depth > _DEEPEST:
        raise ValueError(f"a filter of more than {_DEEPEST} levels")
    item = _ITEM.match(text, position)
    if item:
        return _item(item[1], item[2], item[3].strip(), text), item.end()
    tags = {"&": _AND, "|": _OR, "!": _NOT}
    mark = text[position + 1 : position + 2]
    if text[position : position + 1] != "(" or mark not in tags:
        raise ValueError(f"{text!r}: {text[position:]!r} is no filter such as '(objectClass=person)'")
    parts, position = [], position + 2
    while text[position : position + 1] == "(":
        part, position = _filter(text, position, depth + 1)
        parts.append(part)
    if text[position : position + 1] != ")" or not parts or (mark == "!" and len(parts) != 1):
        raise ValueError(f"{text!r}: a ')' is missing, or there is nothing, or too much, behind '{mark}'")
    return _value(tags[mark], b"".join(parts)), position + 1


def _item(attribute: str, operator: str, value: str, text: str) -> bytes:
    if operator == "=" and value == "*":
        return _value(_PRESENT, attribute.encode())
    pieces = [_unescaped(piece) for piece in value.split("*")]
    if len(pieces) == 1:
        return _value(_OPERATORS[operator], _text(attribute) + _value(_OCTETS, pieces[0]))
    if operator != "=":
        raise ValueError(f"{text!r}: '*' goes with '=' alone")
    last = len(pieces) - 1
    tags = [0x80 if n == 0 else 0x82 if n == last else 0x81 for n in range(len(pieces))]
    parts = b"".join(_value(tag, piece) for tag, piece in zip(tags, pieces, strict=True) if piece)
    return _value(_SUBSTRINGS, _text(attribute) + _value(_SEQUENCE, parts))


def _unescaped(text: str) -> bytes:
    return re.sub(rb"\\([0-9A-Fa-f]{2})", lambda found: bytes([int(found[1], 16)]), text.encode())


def _message(number: int, tag: int, content: bytes) -> bytes:
    return _value(_SEQUENCE, _integer(number) + _value(tag, content))


def _value(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes([tag, 0x80 | len(octets)]) + octets + content


def _text(text: str) -> bytes:
    return _value(_OCTETS, text.encode())


def _integer(number: int) -> bytes:
    return _value(_INTEGER, number.to_bytes(number.bit_length() // 8 + 1))


def _element(data: bytes, position: int) -> tuple[int, bytes, int]:
    """The tag and content of the element that begins here, and where the next one does. Raises NotLdap."""
    if position + 2 > len(data):
        raise NotLdap("a message ends within an element")
    tag, size, position = data[position], data[position + 1], position + 2
    if size & 0x80:
        count = size & 0x7F
        if not 1 <= count <= 4:
            raise NotLdap("an element has no length that can be used")
        size, position = int.from_bytes(data[position : position + count]), position + count
    if position + size > len(data):
        raise NotLdap("an element is longer than its message")
    return tag, data[position : position + size], position + size


def _elements(data: bytes) -> Iterable[bytes]:
    position = 0
    while position < len(data):
        _, content, position = _element(data, position)
        yield content
