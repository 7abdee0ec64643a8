"""An example of SessionEnded."""

from penstock import Sink, on
from penstock.events import SessionEnded
from penstock.testing import SinkTesters


class Impatient(Sink):
    """Notes clients that go without QUIT."""

    @on(SessionEnded)
    async def note(self, event: SessionEnded) -> None:
        if event.reason == "lost":
            self.log.info("client went away", client=event.session.client_ip, seconds=event.seconds)


async def test_a_lost_client_is_noted(sink_tester: SinkTesters) -> None:
    tester = sink_tester(Impatient())
    await tester.session_ended("lost", 3.0)
    assert tester.log[0]["seconds"] == 3.0
