"""An example of QueueStateChanged."""

from penstock import Sink, on
from penstock.events import QueueStateChanged
from penstock.testing import SinkTesters


class QueueAlarm(Sink):
    """Says when a destination is in trouble."""

    @on(QueueStateChanged)
    async def say(self, event: QueueStateChanged) -> None:
        if event.state == "backing-off":
            self.log.warning("destination in trouble", queue=event.queue, reason=event.reason)


async def test_trouble_is_told(sink_tester: SinkTesters) -> None:
    tester = sink_tester(QueueAlarm())
    await tester.queue_state_changed("mx:example.net", "backing-off", "refused")
    assert tester.log[0]["queue"] == "mx:example.net"
