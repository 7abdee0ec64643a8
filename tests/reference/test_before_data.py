"""An example of BeforeData."""

from penstock import Sink, on
from penstock.events import BeforeData
from penstock.testing import SinkTesters
from penstock.verdicts import Defer


class AllOrNone(Sink):
    """Sends a message only when the server took every recipient."""

    @on(BeforeData)
    async def count(self, event: BeforeData) -> Defer | None:
        return Defer() if len(event.accepted) < len(event.message.recipients) else None


async def test_one_of_two_is_not_enough(sink_tester: SinkTesters) -> None:
    tester = sink_tester(AllOrNone())
    tester.set_message(recipients=["a@example.net", "b@example.net"])
    assert await tester.before_data(["a@example.net"]) == Defer()
