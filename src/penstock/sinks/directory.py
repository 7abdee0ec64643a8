"""What all directories that are asked over a connection have in common: when they are asked, about what, and what an outage does.

A directory says only how it looks keys up. Each address is looked up as a whole, without its detail, and as ``@domain``, all of a batch in
one question; the first of the three that is found decides.
"""

from __future__ import annotations

import asyncio
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from penstock import Address, Sink, on
from penstock.events import Item, RcptTo, Resolve
from penstock.verdicts import Defer, Reject

from .domains import DomainTable
from .known import is_known, set_known, without_detail
from .lookup import Entry, LookupFailed, decide

_UNKNOWN = Reject(550, "5.1.1", "No such user here")
# 4.4.3: "The mail system was unable to forward ... because a required directory server was unavailable" (RFC 3463 §3.5).
_UNAVAILABLE = Defer(451, "4.4.3", "The directory cannot be asked now")
_SELDOM = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectorySettings:
    """What all directories are told.

    Args:
        domains: the domains about which it knows all there is to know: recipients that it does not find are refused at RCPT, and fail
            later. ``.example.com`` means that domain and all below it. Empty: it is asked at Resolve, about recipients of all domains,
            and what it does not find is for others to say.
        authoritative: False when others may know recipients of ``domains`` too: then it is asked about them, and refuses nobody.
        delimiter: what separates a name from the detail, as in ``alice+lists``; "" for nothing.
        seconds: how long a look-up may take.
    """

    domains: list[str] = field(default_factory=list)
    authoritative: bool = True
    delimiter: str = "+"
    seconds: float = 5.0


class Directory(Sink[Any]):
    """Asks ``look_up`` about recipients, and decides them by what it answers.

    Raises: ValueError for a domain that is none, or a time that is none.
    """

    settings: DirectorySettings

    def __init__(self, settings: DirectorySettings) -> None:
        super().__init__(settings)
        self._domains = DomainTable(dict.fromkeys(settings.domains, True))
        if not settings.seconds > 0:
            raise ValueError("seconds: a look-up needs some time")
        self._said = -_SELDOM

    @abstractmethod
    async def look_up(self, keys: Sequence[str]) -> Mapping[str, Entry]:
        """What is found under keys such as "alice@example.com" and "@example.com", all in lower case. Raises LookupFailed."""

    @on(RcptTo)
    async def check(self, event: RcptTo) -> Reject | Defer | None:
        """Refuses a recipient that does not exist, in the domains of which this directory knows all."""
        address = event.recipient.address
        if not self._domains.find(address.domain) or is_known(event):
            return None
        try:
            found = await self._find([address])
        except LookupFailed as error:
            self._say(error)
            return _UNAVAILABLE
        if address in found:
            set_known(event, type(self).__name__.lower())
            return None
        # "Postmaster" exists wherever mail is taken (RFC 5321 §4.5.1).
        return _UNKNOWN if self.settings.authoritative and not _is_postmaster(address, self.settings.delimiter) else None

    @on(Resolve)
    async def resolve(self, event: Resolve) -> None:
        """Decides the recipients that it finds; fails, in domains of which it knows all, those that it does not."""
        asked = [item for item in event.open if item.kind == "recipient" and self._concerns(item.address)]
        if not asked:
            return
        try:
            found = await self._find([item.address for item in asked])
        except LookupFailed as error:
            self._say(error)
            for item in asked:
                item.defer("The directory cannot be asked", "4.4.3")
            return
        for item in asked:
            entry = found.get(item.address)
            if entry is None:
                self._not_found(item)
                continue
            if entry.problem:
                self.log.error("directory entry cannot be used", address=str(item.address), error=entry.problem)
            decide(item, entry, null_sender=event.message.sender.is_null)

    def _not_found(self, item: Item) -> None:
        if self.settings.domains and self.settings.authoritative and not _is_postmaster(item.address, self.settings.delimiter):
            item.fail("5.1.1", "The address does not exist")

    def _concerns(self, address: Address) -> bool:
        return not self.settings.domains or self._domains.find(address.domain) is not None

    async def _find(self, addresses: Sequence[Address]) -> dict[Address, Entry]:
        """The entry of each address that has one. Raises LookupFailed."""
        keys = {address: self._keys(address) for address in addresses}
        wanted = list(dict.fromkeys(key for several in keys.values() for key in several))
        try:
            async with asyncio.timeout(self.settings.seconds):
                found = await self.look_up(wanted)
        except TimeoutError:
            raise LookupFailed(f"no answer within {self.settings.seconds:g} seconds") from None
        result = {}
        for address, several in keys.items():
            entry = next((found[key] for key in several if key in found), None)
            if entry is not None:
                result[address] = entry
        return result

    def _keys(self, address: Address) -> list[str]:
        local = address.local.lower()
        names = dict.fromkeys((local, without_detail(local, self.settings.delimiter), ""))
        return [f"{name}@{address.domain}" for name in names]

    def _say(self, error: LookupFailed) -> None:
        now = time.monotonic()
        if now - self._said >= _SELDOM:
            self._said = now
            self.log.error("directory cannot be asked", error=str(error))


def _is_postmaster(address: Address, delimiter: str) -> bool:
    return without_detail(address.local.lower(), delimiter) == "postmaster"
