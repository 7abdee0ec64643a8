"""The syntax of /etc/aliases, which administrators have had in their fingers since Sendmail; files alone, no sinks.

    name: destination, destination
        further destinations, on lines that begin with white space

A destination is an address, a local name, ``\\name`` for the mailbox of that name whatever its alias, ``|command``, ``/file``, or
``:include:/file``. An included file has destinations alone, on as many lines as it likes; commands and files are not taken from it, since
who may write it, such as the owner of a list, is often not who may run programs as the server's user.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from penstock import Address
from penstock.errors import AddressError, ConfigError

from .watched import read_text

Kind = Literal["address", "mailbox", "pipe", "file", "include"]
# A name or destination: quoted parts, in which separators mean nothing, and other characters.
# Possessive, with white space taken as a whole, so that no line takes long: included lists may be anybody's.
_NAME = re.compile(r'\s*+((?:"(?:[^"\\]|\\.)*+"|[^":\s]|\s++(?!:))++)\s*+:')
_DESTINATION = re.compile(r'\s*+((?:"(?:[^"\\]|\\.)*+"|[^",\s]|\s++(?!,|\Z))++)\s*+(?:,|\Z)')
_WHOLLY_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_HAS_DOMAIN = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^"@])*@')
_INCLUDE = ":include:"
# 64 MiB of aliases are a million of them.
_LARGEST = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Destination:
    """What an alias stands for.

    Args:
        kind: "address", "mailbox" (an address that is no alias, whatever the file says), "pipe", "file" or "include".
        text: the command or path; "" for addresses.
        address: the address; None for the others.
    """

    kind: Kind
    text: str = ""
    address: Address | None = None


@dataclass(frozen=True, slots=True)
class Alias:
    """One entry of an alias file.

    Args:
        name: the local part that it is for, in lower case.
        destinations: what it stands for.
        line: where it begins, counted from 1.
    """

    name: str
    destinations: tuple[Destination, ...]
    line: int


def read_aliases(path: Path, domain: str) -> dict[str, Alias]:
    """The entries of a file in the syntax of /etc/aliases, by name.

    A line that begins with white space goes on with the one before; ``#`` begins a comment line; names and destinations may be quoted.

    Args:
        path: the file.
        domain: where local names are.

    Raises: ConfigError with file and line, for what does not parse or stands twice.
    """
    found: dict[str, Alias] = {}
    for number, line in logical_lines(path, read_text(path, _LARGEST)):
        place = f"{path}:{number}"
        match = _NAME.match(line)
        if not match:
            raise ConfigError(place, f"{line!r} does not look like 'name: destination, destination'")
        name = unquote(match[1]).lower()
        destinations = tuple(_destinations(place, line[match.end() :], domain))
        if not destinations:
            raise ConfigError(place, f"{name!r} stands for nobody", "name at least one destination after the colon")
        if name in found:
            raise ConfigError(place, f"{name!r} is there twice", f"the first one is in line {found[name].line}")
        found[name] = Alias(name, destinations, number)
    return found


def read_list(path: Path, domain: str) -> tuple[Destination, ...]:
    """The destinations of an included file, each line of which may name several.

    Args:
        path: the file.
        domain: where local names are.

    Raises: ConfigError with file and line, for what does not parse, and for commands and files.
    """
    found: list[Destination] = []
    for number, line in enumerate(read_text(path, _LARGEST).split("\n"), 1):
        bare, place = line.strip(), f"{path}:{number}"
        if not bare or bare.startswith("#"):
            continue
        for destination in _destinations(place, bare, domain):
            if destination.kind in ("pipe", "file"):
                raise ConfigError(place, f"{destination.text!r} is a command or file, which an included list cannot name")
            found.append(destination)
    return tuple(dict.fromkeys(found))


def logical_lines(path: Path, text: str) -> Iterator[tuple[int, str]]:
    """The lines that hold something, with those joined that belong together, and the number of the first. Raises ConfigError."""
    first, parts = 0, list[str]()
    for number, physical in enumerate(text.split("\n"), 1):
        bare = physical.strip()
        if not bare or bare.startswith("#"):
            continue
        if physical[0] in " \t":
            if not parts:
                what = "the first line begins with white space, so there is nothing that it could go on with"
                raise ConfigError(f"{path}:{number}", what)
            parts.append(bare)
            continue
        if parts:
            yield first, " ".join(parts)
        first, parts = number, [bare]
    if parts:
        yield first, " ".join(parts)


def unquote(text: str) -> str:
    """A text without the quotation marks around the whole of it."""
    quoted = _WHOLLY_QUOTED.fullmatch(text)
    return re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else text


def complete(place: str, text: str, domain: str) -> Address:
    """The address that is written here; a local name is at ``domain``. Raises ConfigError."""
    try:
        address = Address.parse(text if _HAS_DOMAIN.match(text) else f"{text}@{domain}")
    except AddressError as error:
        raise ConfigError(place, str(error)) from None
    if address.is_null:
        raise ConfigError(place, f"{text!r} is the null path, which nobody can be sent to")
    return address


def _destinations(place: str, text: str, domain: str) -> Iterator[Destination]:
    rest, position = text.strip(), 0
    # A comma at the end, as people leave it when they add a line below, means nothing.
    while position < len(rest):
        item = _DESTINATION.match(rest, position)
        if not item:
            raise ConfigError(place, f"{rest[position:]!r} does not look like a destination", "is a quotation mark missing?")
        yield _destination(place, item[1], domain)
        position = item.end()


def _destination(place: str, written: str, domain: str) -> Destination:
    text = unquote(written)
    if text.startswith("|"):
        command = text[1:].strip()
        if not command:
            raise ConfigError(place, "there is no command behind '|'")
        return Destination("pipe", command)
    if text.startswith("/"):
        return Destination("file", text)
    if text.lower().startswith(_INCLUDE):
        path = text[len(_INCLUDE) :].strip()
        if not path.startswith("/"):
            raise ConfigError(place, f"{text!r}: the path of an included file begins with '/'")
        return Destination("include", path)
    if text.startswith("\\"):
        return Destination("mailbox", "", complete(place, text[1:], domain))
    # An address whose local part alone is quoted has to keep its quotation marks.
    return Destination("address", "", complete(place, text if _WHOLLY_QUOTED.fullmatch(written) and "@" in text else written, domain))
