"""An example of MessageStart."""

from datetime import timedelta

from penstock import Sink, on
from penstock.events import MessageStart
from penstock.testing import SinkTesters
from penstock.verdicts import Defer


class HoldMarked(Sink):
    """Sends marked mail a day later."""

    @on(MessageStart)
    async def hold(self, event: MessageStart) -> Defer | None:
        return Defer(after=timedelta(days=1)) if "X-Hold" in event.message.header else None


async def test_marked_mail_waits(sink_tester: SinkTesters) -> None:
    tester = sink_tester(HoldMarked())
    tester.set_message(b"X-Hold: yes\r\n\r\n")
    assert await tester.message_start() == Defer(after=timedelta(days=1))
