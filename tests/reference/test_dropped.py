"""An example of Dropped."""

from penstock import Sink, on
from penstock.events import Dropped
from penstock.testing import SinkTesters


class Dropping(Sink):
    """Leaves a trace of what nobody is told of."""

    @on(Dropped)
    async def note(self, event: Dropped) -> None:
        self.log.info("dropped", recipient=str(event.recipient.address), reason=event.reason, by=event.by)


async def test_a_drop_is_noted(sink_tester: SinkTesters) -> None:
    tester = sink_tester(Dropping())
    await tester.dropped("bob@example.com", "spam", "filter")
    assert (tester.log[0]["reason"], tester.log[0]["by"]) == ("spam", "filter")
