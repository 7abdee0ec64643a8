"""The Drop folder of the original: mail for local domains as files, for a program that fetches them.

The file begins with one ``x-sender:`` line and an ``x-receiver:`` line for each recipient; what follows is the message as it came. So a
program has the envelope without asking anybody, and a Pickup folder takes the file back as it is.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from penstock import Address, Sink, on
from penstock.events import LocalDelivery
from penstock.verdicts import Defer, Delivered

from .domains import DomainTable
from .failures import put_off
from .folders import must_be_writable
from .routes import has_own_delivery, is_own_delivery


@dataclass(frozen=True, slots=True)
class DropSettings:
    """Where files are dropped, and whose mail.

    Args:
        directory: the folder; made when it is missing.
        domains: the domains that are served, ``.example.com`` with all below it; empty for every recipient of a message.
    """

    directory: Path
    domains: list[str] = field(default_factory=list)


class Drop(Sink[DropSettings]):
    """Writes one .eml file a message, for all its recipients whom this sink serves.

    The file appears whole and is on stable storage before anybody is told. Delivery may be repeated after a crash; the file is then
    written once more under the same name.

    Raises: ValueError for a domain that is none.
    """

    def __init__(self, settings: DropSettings) -> None:
        super().__init__(settings)
        self._domains = DomainTable(dict.fromkeys(settings.domains, True))

    async def start(self) -> None:
        """Makes the folder and tries it out. Raises ConfigError."""
        await asyncio.to_thread(must_be_writable, "Drop: directory", self.settings.directory)

    @on(LocalDelivery)
    def deliver(self, event: LocalDelivery) -> Delivered | Defer | None:
        """Writes the file when the first recipient comes, and remembers for whom."""
        asked = event.recipient.address
        if has_own_delivery(event) or not self._serves(asked):
            return None
        state, message = event.message.state, event.message
        written: list[list[str]] = state.setdefault("written", [])
        name = str(asked)
        for number, receivers in enumerate(written):
            if name in receivers:
                return Delivered(str(self._path(message.id, number)))
        path = self._path(message.id, len(written))
        # Who was served already by an earlier file is not named again: a recipient may join late, by forwarding.
        served = {receiver for receivers in written for receiver in receivers}
        receivers = list(
            dict.fromkeys(
                str(r.address)
                for r in message.recipients
                if self._serves(r.address) and not is_own_delivery(r.route) and str(r.address) not in served
            )
        )
        if name not in receivers:
            receivers.append(name)
        lines = [f"x-sender: {message.sender}", *(f"x-receiver: {receiver}" for receiver in receivers)]
        try:
            message.save_now(path, "".join(f"{line}\r\n" for line in lines).encode())
        except OSError as error:
            self.log.error("file cannot be dropped", message=message.id, path=str(path), error=str(error))
            return put_off(error)
        written.append(receivers)
        return Delivered(str(path))

    def _serves(self, address: Address) -> bool:
        return not self.settings.domains or self._domains.find(address.domain) is not None

    def _path(self, message_id: str, number: int) -> Path:
        return self.settings.directory / (f"{message_id}-{number}.eml" if number else f"{message_id}.eml")
