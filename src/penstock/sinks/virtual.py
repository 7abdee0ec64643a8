"""Virtual addresses, in the syntax of Postfix's virtual(5): whole addresses and whole domains that stand for others.

    sales@example.com    alice@example.com, bob@example.net
    @old.example         @new.example
    @example.com         everything-else@example.com

On the left an address, a local name, or ``@domain`` for all that is not named; on the right addresses, separated by commas or spaces, or
one ``@domain`` that keeps the local part. An address that stands for itself is a mailbox; so names are kept from a ``@domain`` line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from penstock import Address, Sink, on
from penstock.errors import AddressError, ConfigError
from penstock.events import Item, RcptTo, Resolve

from .aliasfile import complete, logical_lines
from .known import set_known, without_detail
from .lookup import Entry, decide
from .watched import Watch, WatchedFile, read_text

_LARGEST = 64 * 1024 * 1024
_WORD = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^\s,"])+')
# By whole address in lower case, or by "@domain"; a destination is an address, or "@domain" for the same name there.
Table = Mapping[str, tuple[Address | str, ...]]


@dataclass(frozen=True, slots=True)
class VirtualSettings:
    """Which files hold the virtual addresses.

    Args:
        files: the file of each domain; it decides about addresses of this domain alone.
        delimiter: what separates a name from the detail: ``sales+fair`` finds ``sales``, and its detail goes on with it; "" for nothing.
        interval: seconds between two looks at whether a file changed.
    """

    files: dict[str, Path] = field(default_factory=dict)
    delimiter: str = "+"
    interval: float = 1.0


class Virtual(Sink[VirtualSettings]):
    """Puts in the place of each virtual address those that its file names.

    Raises: ConfigError with file and line for what cannot be used.
    """

    def __init__(self, settings: VirtualSettings) -> None:
        super().__init__(settings)
        self._tables: dict[str, WatchedFile[Table]] = {}
        for domain, path in settings.files.items():
            table = WatchedFile(Path(path), partial(read_virtual, domain=domain.lower()))
            table.refresh()
            if table.value is None:
                raise ConfigError(str(path), table.error.removeprefix(f"{path}: "))
            self._tables[domain.lower()] = table
        self._watch = Watch(self.refresh, settings.interval)

    async def start(self) -> None:
        """Begins to look after the files."""
        self._watch.start()

    async def stop(self) -> None:
        """Ends that."""
        await self._watch.stop()

    def refresh(self) -> None:
        """Reads again what changed; waits for the disk."""
        for table in self._tables.values():
            if table.refresh() and table.error:
                self.log.error("file is wrong and the old one stays in use", path=str(table.path), error=table.error)

    @on(RcptTo, blocking=False)
    def know(self, event: RcptTo) -> None:
        """Says that a virtual address exists."""
        if self.find(event.recipient.address):
            set_known(event, "virtual")

    @on(Resolve, blocking=False)
    def resolve(self, event: Resolve) -> None:
        """Decides every recipient that is in its domain's file."""
        for item in event.open:
            if item.kind == "recipient" and item.address.domain in self._tables:
                self._decide(item)

    def find(self, address: Address) -> tuple[Address, ...]:
        """The addresses that one stands for; empty when it is not in its domain's file."""
        table = self._tables.get(address.domain)
        if table is None or not table.value:
            return ()
        found = table.value
        local = address.local.lower()
        exact = found.get(f"{local}@{address.domain}")
        if exact is not None:
            return _at(exact, address)
        bare = without_detail(address.local, self.settings.delimiter)
        base = found.get(f"{bare.lower()}@{address.domain}") if bare != address.local else None
        if base is not None:
            return tuple(_with_detail(member, address.local[len(bare) :]) for member in _at(base, address))
        return _at(found.get(f"@{address.domain}", ()), address)

    def _decide(self, item: Item) -> None:
        members = self.find(item.address)
        if members:
            decide(item, Entry(members), null_sender=True)


def read_virtual(path: Path, domain: str) -> Table:
    """The entries of a file in the syntax of virtual(5).

    Args:
        path: the file.
        domain: where names without a domain are.

    Raises: ConfigError with file and line.
    """
    found: dict[str, tuple[Address | str, ...]] = {}
    for number, line in logical_lines(path, read_text(path, _LARGEST)):
        place = f"{path}:{number}"
        words = _WORD.findall(line)
        if len(words) < 2:
            raise ConfigError(place, f"{line!r} does not look like 'address destination, destination'")
        key = _key(place, words[0], domain)
        if key in found:
            raise ConfigError(place, f"{words[0]!r} is there twice")
        destinations = tuple(word.lower() if word.startswith("@") else complete(place, word, domain) for word in words[1:])
        if any(isinstance(d, str) for d in destinations) and len(destinations) > 1:
            raise ConfigError(place, "'@domain' stands alone on the right, since it keeps the name of one address")
        for destination in destinations:
            if isinstance(destination, str):
                complete(place, f"postmaster{destination}", domain)
        found[key] = destinations
    return found


def _key(place: str, word: str, domain: str) -> str:
    if word.startswith("@"):
        return f"@{complete(place, f'postmaster{word}', domain).domain}"
    address = complete(place, word, domain)
    return f"{address.local.lower()}@{address.domain}"


def _at(destinations: tuple[Address | str, ...], address: Address) -> tuple[Address, ...]:
    return tuple(d if isinstance(d, Address) else address.with_domain(d[1:]) for d in destinations)


def _with_detail(address: Address, detail: str) -> Address:
    """The address with the detail that was asked for, as virtual(5) has it; without it where it would be too long."""
    if detail in address.local:
        return address
    try:
        return address.with_local(address.local + detail)
    except AddressError:
        return address
