"""An example of Bounce."""

from penstock import Sink, events, on
from penstock.testing import SinkTesters
from penstock.verdicts import Suppress


class KindWords(Sink):
    """Writes the subject of bounces anew, and sends none about a hundred people at once."""

    @on(events.Bounce)
    async def edit(self, event: events.Bounce) -> Suppress | None:
        if len(event.recipients) > 100:
            return Suppress("too many to tell")
        event.message.header.replace("Subject", "Your message did not arrive")
        return None


async def test_a_bounce_has_another_subject(sink_tester: SinkTesters) -> None:
    tester = sink_tester(KindWords())
    assert await tester.bounce() is None
    assert tester.notice.header.get("Subject") == "Your message did not arrive"
