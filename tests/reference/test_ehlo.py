"""An example of Ehlo."""

from penstock import Match, Sink, on
from penstock.events import Ehlo
from penstock.testing import SinkTesters


class NoChunking(Sink):
    """Offers no CHUNKING to clients that get it wrong."""

    @on(Ehlo, match=Match(helo=".broken.example"))
    async def hide(self, event: Ehlo) -> None:
        event.extensions[:] = [line for line in event.extensions if line != "CHUNKING"]


async def test_chunking_is_not_offered(sink_tester: SinkTesters) -> None:
    tester = sink_tester(NoChunking())
    await tester.ehlo("mail.broken.example")
    assert "CHUNKING" not in tester.event.offered
