"""An example of ServerStarted."""

from penstock import Sink, on
from penstock.events import ServerStarted
from penstock.testing import SinkTesters


class Hello(Sink):
    """Says that the server is there."""

    @on(ServerStarted)
    async def say(self, event: ServerStarted) -> None:
        self.log.info("at your service", server=event.server.hostname)


async def test_the_server_says_hello(sink_tester: SinkTesters) -> None:
    tester = sink_tester(Hello())
    await tester.server_started()
    assert tester.log.events == ["at your service"]
