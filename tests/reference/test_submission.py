"""An example of Submission."""

from penstock import Sink, on
from penstock.events import Submission
from penstock.testing import SinkTesters
from penstock.verdicts import Bounce


class Passed(Sink):
    """Marks what enters transport, and sends back what has come too far."""

    @on(Submission)
    async def mark(self, event: Submission) -> Bounce | None:
        if len(event.message.header.get_all("Received")) > 20:
            return Bounce("5.4.6", "The message has come far enough")
        event.message.header.add("X-Passed", event.server.hostname)
        return None


async def test_a_message_is_marked(sink_tester: SinkTesters) -> None:
    tester = sink_tester(Passed())
    assert await tester.submission() is None
    assert tester.message.header.get("X-Passed") == tester.server.hostname
