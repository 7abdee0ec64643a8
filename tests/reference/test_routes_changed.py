"""An example of RoutesChanged."""

from penstock import Sink, on
from penstock.events import RoutesChanged
from penstock.testing import SinkTesters


class Moves(Sink):
    """Notes how much a change of routes moved."""

    @on(RoutesChanged)
    async def note(self, event: RoutesChanged) -> None:
        event.server.state["moved"] = event.moved


async def test_moves_are_noted(sink_tester: SinkTesters) -> None:
    tester = sink_tester(Moves())
    await tester.routes_changed(12)
    assert tester.server_state == {"moved": 12}
