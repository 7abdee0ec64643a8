"""An example of Deferred."""

from penstock import Sink, on
from penstock.events import Deferred
from penstock.testing import SinkTesters


class Trouble(Sink):
    """Counts deferrals by server."""

    @on(Deferred)
    async def count(self, event: Deferred) -> None:
        event.server.state[event.where] = event.server.state.get(event.where, 0) + 1


async def test_deferrals_are_counted(sink_tester: SinkTesters) -> None:
    tester = sink_tester(Trouble())
    await tester.deferred(where="mx.example.net")
    assert tester.server_state == {"mx.example.net": 1}
