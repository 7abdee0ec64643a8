"""An example of Expanded."""

from penstock import Sink, on
from penstock.events import Expanded
from penstock.testing import SinkTesters


class ListSizes(Sink):
    """Notes how large lists are."""

    @on(Expanded)
    async def note(self, event: Expanded) -> None:
        event.server.state[str(event.recipient.address)] = len(event.members)


async def test_a_list_has_a_size(sink_tester: SinkTesters) -> None:
    tester = sink_tester(ListSizes())
    await tester.expanded("team@example.com", ["ann@example.com", "ben@example.com"])
    assert tester.server_state == {"team@example.com": 2}
