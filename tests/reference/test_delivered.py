"""An example of Delivered."""

from penstock import Sink, events, on
from penstock.testing import SinkTesters


class Arrivals(Sink):
    """Notes what arrived in which mailbox."""

    @on(events.Delivered)
    async def note(self, event: events.Delivered) -> None:
        self.log.info("arrived", recipient=str(event.recipient.address), where=event.where)


async def test_an_arrival_is_noted(sink_tester: SinkTesters) -> None:
    tester = sink_tester(Arrivals())
    await tester.delivered("bob@example.com", "INBOX")
    assert tester.log[0]["where"] == "INBOX"
