"""Aliases: names that stand for others, for commands, files and lists, from files in the syntax of /etc/aliases.

What an alias stands for is asked about in turn, by this sink and by all others, so chains and circles are nobody's business here. The files
are read again when they change. A file that is wrong when the server starts is an error; one that becomes wrong later leaves the aliases as
they were. An included list that cannot be read puts off the mail for that list alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from penstock import Address, Sink, on
from penstock.errors import ConfigError
from penstock.events import Item, RcptTo, Resolve

from .aliasfile import Alias, Destination, read_aliases, read_list
from .known import set_known, without_detail
from .watched import Watch, WatchedFile

# Lists within lists of files: deeper is a circle, or as good as one.
_NESTED = 20


@dataclass(frozen=True, slots=True)
class AliasesSettings:
    """Which files hold the aliases.

    Args:
        files: the file of each domain.
        delimiter: what separates a name from what is added to it: ``sales+fair`` finds the alias ``sales``; "" for nothing.
        interval: seconds between two looks at whether a file changed.
    """

    files: dict[str, Path] = field(default_factory=dict)
    delimiter: str = "+"
    interval: float = 1.0


class _Unreadable(Exception):
    """An included list that could not be read."""


class Aliases(Sink[AliasesSettings]):
    """Puts in the place of each alias what it stands for.

    ``|command`` and ``/file`` become deliveries of their own. When there is an alias ``owner-NAME``, it becomes the envelope sender of what
    goes to the members of NAME, so that failures reach who can do something about them (RFC 5321 §3.9.2).

    Raises: ConfigError with file and line for what cannot be used.
    """

    def __init__(self, settings: AliasesSettings) -> None:
        super().__init__(settings)
        self._tables: dict[str, WatchedFile[dict[str, Alias]]] = {}
        self._lists: dict[tuple[str, str], WatchedFile[tuple[Destination, ...]]] = {}
        for domain, path in settings.files.items():
            name = domain.lower()
            self._tables[name] = WatchedFile(Path(path), partial(read_aliases, domain=name))
        self._watch = Watch(self.refresh, settings.interval)
        self._say(self._read())
        for table in self._tables.values():
            if table.value is None:
                raise ConfigError(str(table.path), table.error.removeprefix(f"{table.path}: "))

    async def start(self) -> None:
        """Begins to look after the files."""
        self._watch.start()

    async def stop(self) -> None:
        """Ends that."""
        await self._watch.stop()

    def refresh(self) -> None:
        """Reads again what changed; waits for the disk."""
        self._say(self._read())

    @on(RcptTo, blocking=False)
    def know(self, event: RcptTo) -> None:
        """Says that an alias exists."""
        if self.find(event.recipient.address) is not None:
            set_known(event, "aliases")

    @on(Resolve, blocking=False)
    def resolve(self, event: Resolve) -> None:
        """Decides every recipient that is an alias, or that an alias gave a delivery."""
        for item in event.open:
            if item.kind != "recipient" or item.address.domain not in self._tables:
                continue
            if item.trail and self._decided_by_its_alias(item):
                continue
            alias = self.find(item.address)
            if alias is not None:
                self._decide(event, item, alias)

    def find(self, address: Address) -> Alias | None:
        """The alias that an address is: its whole local part, or else that without detail."""
        table = self._tables.get(address.domain)
        if table is None or not table.value:
            return None
        local = address.local.lower()
        return table.value.get(local) or table.value.get(without_detail(local, self.settings.delimiter))

    def _decide(self, event: Resolve, item: Item, alias: Alias) -> None:
        domain = item.address.domain
        try:
            destinations = tuple(dict.fromkeys(self._flat(domain, alias.destinations, _NESTED)))
        except _Unreadable as error:
            self.log.error("included list cannot be read", alias=str(item.address), error=str(error))
            item.defer("The members of the list cannot be read", "4.3.5")
            return
        routes = _routes(alias)
        if len(destinations) == 1 and routes:
            item.deliver_by(_route(routes[0]))
            return
        # A delivery beside others needs an address of its own, by which it is found again in the next round.
        members = [d.address or _place(alias, domain, routes.index(d)) for d in destinations]
        # "alice: alice, archive", and alice+lists too: the mailbox is meant.
        itself = Address(alias.name, domain)
        members = [item.address if _same(member, itself) else member for member in members]
        owner = self._owner(event, alias, domain)
        if owner is not None and item.address not in members:
            item.expand(members, sender=owner)
        elif len(members) == 1 or item.address in members:
            item.forward([member for member in members if member != item.address], keep=item.address in members)
        else:
            item.expand(members)

    def _decided_by_its_alias(self, item: Item) -> bool:
        """Decides an item that an alias leads to as something other than an alias.

        What led here is looked up, not believed: nobody runs a command by writing to an address that looks like one of ours.
        """
        parent = self.find(Address.parse(item.trail[-1]))
        if parent is None or Address.parse(item.trail[-1]).domain != item.address.domain:
            return False
        for number, route in enumerate(_routes(parent)):
            if item.address == _place(parent, item.address.domain, number):
                item.attributes["alias"] = item.trail[-1]
                item.deliver_by(_route(route))
                return True
        try:
            listed = tuple(self._flat(item.address.domain, parent.destinations, _NESTED))
        except _Unreadable:  # a moment ago it could be read
            listed = parent.destinations
        if any(d.kind == "mailbox" and d.address is not None and _same(d.address, item.address) for d in listed):
            item.resolve()
            return True
        return False

    def _owner(self, event: Resolve, alias: Alias, domain: str) -> Address | None:
        table = self._tables[domain].value or {}
        # A report stays one: with a sender of its own it could be answered by another, and so on for ever (RFC 5321 §4.5.5).
        if alias.name.startswith("owner-") or f"owner-{alias.name}" not in table or event.message.sender.is_null:
            return None
        return Address(f"owner-{alias.name}", domain)

    def _flat(self, domain: str, destinations: tuple[Destination, ...], depth: int) -> Iterator[Destination]:
        """The destinations with those of included lists in their place. Raises _Unreadable."""
        for destination in destinations:
            if destination.kind != "include":
                yield destination
                continue
            listed = self._lists.get((domain, destination.text))
            if listed is None or listed.value is None or listed.error:
                raise _Unreadable(listed.error if listed is not None else f"{destination.text}: not read yet")
            if not depth:
                raise _Unreadable(f"{destination.text}: more than {_NESTED} lists include one another")
            yield from self._flat(domain, listed.value, depth - 1)

    def _read(self) -> list[WatchedFile[dict[str, Alias]]]:
        """Reads what changed, and lists that are included for the first time; the alias files that are wrong since now."""
        wrong = [table for table in self._tables.values() if table.refresh() and table.error]
        wanted: dict[tuple[str, str], None] = {}
        for domain, table in self._tables.items():
            for alias in (table.value or {}).values():
                self._include(domain, alias.destinations, wanted)
        for gone in self._lists.keys() - wanted.keys():
            del self._lists[gone]
        return wrong

    def _include(self, domain: str, destinations: tuple[Destination, ...], wanted: dict[tuple[str, str], None]) -> None:
        for destination in destinations:
            key = (domain, destination.text)
            if destination.kind != "include" or key in wanted:
                continue
            wanted[key] = None
            listed = self._lists.get(key)
            if listed is None:
                listed = WatchedFile(Path(destination.text), partial(read_list, domain=domain))
                listed.refresh()
                self._lists[key] = listed
            else:
                listed.refresh()
            self._include(domain, listed.value or (), wanted)

    def _say(self, wrong: list[WatchedFile[dict[str, Alias]]]) -> None:
        for table in wrong:
            if table.value is not None:
                self.log.error("file is wrong and the old one stays in use", path=str(table.path), error=table.error)


def _route(destination: Destination) -> str:
    return f"{destination.kind}:{destination.text}"


def _routes(alias: Alias) -> tuple[Destination, ...]:
    """The commands and files of an alias; included lists have none."""
    return tuple(dict.fromkeys(d for d in alias.destinations if d.kind in ("pipe", "file")))


def _place(alias: Alias, domain: str, number: int) -> Address:
    """The address that a command or file of an alias has while the message is resolved."""
    return Address(f"{alias.name}|{number}", domain)


def _same(one: Address, other: Address) -> bool:
    return one.domain == other.domain and one.local.lower() == other.local.lower()
