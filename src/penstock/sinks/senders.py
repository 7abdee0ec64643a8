"""Who may send as whom: the sender of a message from one of our users belongs to that user (RFC 6409 §6.1)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from penstock import Address
from penstock.errors import AddressError, ConfigError

from .known import without_detail
from .watched import Watch, WatchedFile, read_text
from .wildcard import wildcard

# Seconds between two looks at the file.
_INTERVAL = 1.0
_LARGEST = 64 * 1024 * 1024
_EVERYBODY = "*"


@dataclass(frozen=True, slots=True)
class SendersSettings:
    """Who may send as whom.

    Args:
        senders: by user, the addresses; ``*`` stands for any characters, and as a user for all of them.
        file: a file with a line ``user: address, address`` for each; None for none.
        domain: of users whose name has none; "" when such a name is nobody's address.
        delimiter: what separates a user's name from what he adds to it, as in ``alice+lists``; "" for nothing.
    """

    senders: dict[str, list[str]] = field(default_factory=dict)
    file: Path | None = None
    domain: str = ""
    delimiter: str = "+"


class _Rights:
    """The addresses of each user.

    Args:
        senders: the patterns, by user.

    Raises: ValueError for a pattern that is none.
    """

    def __init__(self, senders: Mapping[str, Iterable[str]]) -> None:
        self._exact: dict[str, frozenset[str]] = {}
        self._patterns: dict[str, tuple[re.Pattern[str], ...]] = {}
        for user, patterns in senders.items():
            told = list(patterns)
            self._exact[user.lower()] = frozenset(_address(text) for text in told if "*" not in text)
            wild = tuple(_pattern(text) for text in told if "*" in text)
            if wild:
                self._patterns[user.lower()] = wild

    def allow(self, user: str, address: str) -> bool:
        """Whether the user, or everybody, may send from this address; both in lower case."""
        return any(
            address in self._exact.get(name, ()) or any(pattern.fullmatch(address) for pattern in self._patterns.get(name, ()))
            for name in (user, _EVERYBODY)
        )


class Senders:
    """Knows who may send as whom: a user's own address, also with a detail, and what settings and file give.

    Args:
        settings: what is known.

    Raises: ValueError for an address that is none; ConfigError for a file that cannot be read.
    """

    def __init__(self, settings: SendersSettings) -> None:
        self._settings = settings
        self._rights = _Rights(settings.senders)
        self._file = WatchedFile(settings.file, _read) if settings.file is not None else None
        self._watch: Watch | None = None
        if self._file is not None:
            self._file.refresh()
            if self._file.error:
                raise ConfigError(str(settings.file), self._file.error.removeprefix(f"{settings.file}: "))

    def start(self, say: Callable[[str, str], None]) -> None:
        """Reads the file again when it changes.

        Args:
            say: is told the path, and what is wrong with the file or "", each time that it was read.
        """
        file = self._file
        if file is None:
            return

        def look() -> None:
            if file.refresh():
                say(str(file.path), file.error)

        self._watch = Watch(look, _INTERVAL)
        self._watch.start()

    async def stop(self) -> None:
        """Looks at the file no more."""
        if self._watch is not None:
            await self._watch.stop()

    def may_send(self, user: str, address: Address) -> bool:
        """Whether an address is one that the user may send from; nobody may where there is no user."""
        name = user.lower()
        if not name:
            return False
        wanted = _plain(address)
        found = self._file.value if self._file is not None else None
        return any(wanted == own or self._without_detail(address) == own for own in self._own(name)) or any(
            rights.allow(name, wanted) for rights in (self._rights, found) if rights is not None
        )

    def _own(self, name: str) -> Iterator[str]:
        if "@" in name:
            yield _plain_or(name)
        elif self._settings.domain:
            yield _plain_or(f"{name}@{self._settings.domain}")

    def _without_detail(self, address: Address) -> str:
        return _plain(address.with_local(without_detail(address.local, self._settings.delimiter)))


def _read(path: Path) -> _Rights:
    senders: dict[str, list[str]] = {}
    for number, line in enumerate(read_text(path, _LARGEST).splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        user, colon, addresses = line.partition(":")
        if not colon or not user.strip():
            raise ConfigError(str(path), f"line {number} is not 'user: address, address'")
        senders.setdefault(user.strip().lower(), []).extend(text.strip() for text in addresses.split(",") if text.strip())
    try:
        return _Rights(senders)
    except ValueError as error:
        raise ConfigError(str(path), str(error)) from None


def _plain(address: Address) -> str:
    return str(address).lower()


def _plain_or(text: str) -> str:
    try:
        return _plain(Address.parse(text))
    except AddressError:
        return ""


def _address(text: str) -> str:
    try:
        address = Address.parse(text)
    except AddressError as error:
        raise ValueError(f"{text!r} is no address: {error}") from None
    if not address.domain:
        raise ValueError(f"{text!r} has no domain")
    return _plain(address)


def _pattern(text: str) -> re.Pattern[str]:
    if "@" not in text and text != "*":
        raise ValueError(f"{text!r} should be an address in which * stands for any characters, such as '*@example.com'")
    return wildcard(text)
