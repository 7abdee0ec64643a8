"""An example of ServerStopping."""

from penstock import Sink, on
from penstock.events import ServerStopping
from penstock.testing import SinkTesters


class Goodbye(Sink):
    """Says that the server is going."""

    @on(ServerStopping)
    async def say(self, event: ServerStopping) -> None:
        self.log.info("until soon", server=event.server.hostname)


async def test_the_server_says_goodbye(sink_tester: SinkTesters) -> None:
    tester = sink_tester(Goodbye())
    await tester.server_stopping()
    assert tester.log.events == ["until soon"]
