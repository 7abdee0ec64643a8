"""An example of LocalDelivery."""

from dataclasses import dataclass
from pathlib import Path

from penstock import Sink, on
from penstock.events import LocalDelivery
from penstock.testing import SinkTesters
from penstock.verdicts import Delivered, Forward


@dataclass(frozen=True, slots=True)
class TicketSettings:
    folder: Path


class Tickets(Sink[TicketSettings]):
    """Files mail to one address, and forwards that to another."""

    @on(LocalDelivery)
    async def take(self, event: LocalDelivery) -> Delivered | Forward | None:
        match event.recipient.address.local:
            case "tickets":
                await event.message.save(self.settings.folder / f"{event.message.id}.eml")
                return Delivered("tickets")
            case "office":
                return Forward(("ann@example.com", "ben@example.com"))
        return None


async def test_tickets_are_filed(sink_tester: SinkTesters, tmp_path: Path) -> None:
    tester = sink_tester(Tickets, folder=tmp_path)
    assert await tester.local_delivery("tickets@example.com") == Delivered("tickets")
    assert len(list(tmp_path.glob("*.eml"))) == 1
