"""Aliases in the syntax of /etc/aliases, which administrators have had in their fingers since Sendmail.

Everything that can be wrong with a file is found when it is read: a line that does not parse, a name that stands twice, a chain that
bites its own tail. What is left at run time is one look-up a recipient, in a table in which every chain has been followed to its end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from penstock import Address, Recipient, Sink, on
from penstock.errors import AddressError, ConfigError
from penstock.events import Submission

# A name or destination: quoted parts, in which separators mean nothing, and other characters.
_NAME = re.compile(r'\s*((?:"(?:[^"\\]|\\.)*"|[^":])+?)\s*:')
_DESTINATION = re.compile(r'\s*((?:"(?:[^"\\]|\\.)*"|[^",])+?)\s*(?:,|\Z)')
_WHOLLY_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_HAS_DOMAIN = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^"@])*@')
_LATER = {"|": "a command", "/": "a file", ":include:": "an included list"}


@dataclass(frozen=True, slots=True)
class Alias:
    """One entry of an alias file.

    Args:
        name: the local part that it is for, in lower case.
        destinations: addresses or local names, as they are written.
        line: where it begins, counted from 1.
    """

    name: str
    destinations: tuple[str, ...]
    line: int


@dataclass(frozen=True, slots=True)
class AliasesSettings:
    """Which files hold the aliases.

    Args:
        files: the file of each domain.
        delimiter: what separates a name from what is added to it: ``sales+fair`` finds the alias ``sales``; "" for nothing.
    """

    files: dict[str, Path] = field(default_factory=dict)
    delimiter: str = "+"


class Aliases(Sink[AliasesSettings]):
    """Puts in the place of each alias those for whom it stands.

    What came with the recipient goes with each of them: properties, NOTIFY and other parameters, and ORCPT, which is set to the alias
    when the client gave none (RFC 3461 §5.2.7). Who is a recipient already gets no second copy. An alias that names itself, or a name
    with a backslash before it, means the mailbox of that name.

    Raises: ConfigError with file and line for what cannot be used.
    """

    def __init__(self, settings: AliasesSettings) -> None:
        super().__init__(settings)
        self._entries = {
            domain.lower(): {alias.name: alias for alias in read_aliases(Path(file))} for domain, file in settings.files.items()
        }
        self._files = {domain.lower(): Path(file) for domain, file in settings.files.items()}
        self._table = {
            (name, domain): tuple(dict.fromkeys(self._follow(domain, alias, [])))
            for domain, entries in self._entries.items()
            for name, alias in entries.items()
        }

    def names(self, domain: str) -> list[str]:
        """The names that are aliases in a domain, for LocalRecipients."""
        return list(self._entries.get(domain.lower(), {}))

    @on(Submission, blocking=False)
    def expand(self, event: Submission) -> None:
        """Expands every recipient that is an alias."""
        recipients = event.message.recipients
        expanded = [(recipient, targets) for recipient in recipients if (targets := self.find(recipient.address))]
        # All go before any come: what is an alias itself must not stand in the way of the mailbox of its name.
        for recipient, _ in expanded:
            recipients.remove(recipient)
        for recipient, targets in expanded:
            for target in targets:
                if recipients.find(target) is None:
                    self._add(event, recipient, target)

    def find(self, address: Address) -> tuple[Address, ...]:
        """Those for whom an address stands; empty when it is no alias."""
        entry = self._entry(address)
        return self._table[entry.name, address.domain] if entry else ()

    def _add(self, event: Submission, old: Recipient, target: Address) -> None:
        kind = "rfc822" if old.address.is_ascii else "utf-8"
        copy = old.copy()
        added = event.message.recipients.add(
            target, notify=copy.notify, orcpt=old.orcpt or f"{kind};{old.address}", properties=copy.properties
        )
        added.original, added.parameters = copy.original, copy.parameters

    def _entry(self, address: Address) -> Alias | None:
        entries = self._entries.get(address.domain)
        if not entries:
            return None
        local, delimiter = address.local.lower(), self.settings.delimiter
        found = entries.get(local)
        return entries.get(local.partition(delimiter)[0]) if found is None and delimiter else found

    def _follow(self, domain: str, alias: Alias, chain: list[str]) -> Iterator[Address]:
        """Where the chain of an alias ends. Raises ConfigError for one that has no end."""
        here = f"{alias.name}@{domain}"
        place = f"{self._files[domain]}:{alias.line}"
        if here in chain:
            raise ConfigError(place, f"the aliases lead in a circle: {' -> '.join([*chain[chain.index(here) :], here])}")
        for text in alias.destinations:
            address = _complete(place, text.removeprefix("\\"), domain)
            entry = None if text.startswith("\\") else self._entry(address)
            if entry is None or (entry.name == alias.name and address.domain == domain):
                yield address
            else:
                yield from self._follow(address.domain, entry, [*chain, here])


def read_aliases(path: Path) -> list[Alias]:
    """The entries of a file in the syntax of /etc/aliases, in order.

    A line that begins with white space goes on with the one before; ``#`` begins a comment; names and destinations may be quoted.

    Raises: ConfigError with file and line, for what does not parse, stands twice, or asks for a command, a file or an included list.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), f"the aliases cannot be read: {error}") from None
    found: dict[str, Alias] = {}
    for number, line in _logical_lines(path, text):
        alias = _parse(f"{path}:{number}", number, line)
        if alias.name in found:
            raise ConfigError(f"{path}:{number}", f"{alias.name!r} is there twice", f"the first one is in line {found[alias.name].line}")
        found[alias.name] = alias
    return list(found.values())


def _logical_lines(path: Path, text: str) -> Iterator[tuple[int, str]]:
    """The lines that hold something, with those joined that belong together, and the number of the first."""
    first, line = 0, ""
    for number, physical in enumerate(text.split("\n"), 1):
        bare = physical.strip()
        if not bare or bare.startswith("#"):
            continue
        if physical[0] in " \t":
            if not line:
                raise ConfigError(
                    f"{path}:{number}", "the first line begins with white space, so there is nothing that it could go on with"
                )
            line = f"{line} {bare}"
            continue
        if line:
            yield first, line
        first, line = number, bare
    if line:
        yield first, line


def _parse(place: str, number: int, line: str) -> Alias:
    match = _NAME.match(line)
    if not match:
        raise ConfigError(place, f"{line!r} does not look like 'name: destination, destination'")
    name, rest, position = _unquote(match[1]), line[match.end() :].strip(), 0
    destinations = []
    # A comma at the end, as people leave it when they add a line below, means nothing.
    while position < len(rest):
        item = _DESTINATION.match(rest, position)
        if not item:
            raise ConfigError(place, f"{rest[position:]!r} does not look like a destination", "is a quotation mark missing?")
        destinations.append(_destination(place, item[1]))
        position = item.end()
    if not destinations:
        raise ConfigError(place, f"{name!r} stands for nobody", "name at least one destination after the colon")
    return Alias(name.lower(), tuple(destinations), number)


def _destination(place: str, written: str) -> str:
    """A destination as it is written, but for what this sink does not do."""
    text = _unquote(written)
    for mark, what in _LATER.items():
        if text.lower().startswith(mark):
            raise ConfigError(
                place, f"{text!r} is {what}, which an alias cannot stand for yet", "deliver to an address, and bind a sink to it"
            )
    return written


def _unquote(text: str) -> str:
    quoted = _WHOLLY_QUOTED.fullmatch(text)
    return re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else text


def _complete(place: str, text: str, domain: str) -> Address:
    """The address of a destination; a local name is at the domain of its file."""
    try:
        return Address.parse(text if _HAS_DOMAIN.match(text) else f"{text}@{domain}")
    except AddressError as error:
        raise ConfigError(place, str(error)) from None
