"""An example of Route."""

from penstock import Sink, on
from penstock.events import Route
from penstock.testing import SinkTesters
from penstock.verdicts import RouteTo


class BulkAtNight(Sink):
    """Gives list mail a queue of its own, which is open at night."""

    @on(Route)
    async def choose(self, event: Route) -> RouteTo | None:
        if "List-Id" in event.message.header and event.next_hop:
            return RouteTo(event.next_hop, message_class="bulk", schedule="20:00-06:00")
        return None


async def test_lists_wait_for_the_night(sink_tester: SinkTesters) -> None:
    tester = sink_tester(BulkAtNight())
    tester.set_message(b"List-Id: <news.example.com>\r\n\r\n", recipients=["bob@example.net"])
    verdict = await tester.route()
    assert isinstance(verdict, RouteTo)
    assert (verdict.message_class, verdict.schedule) == ("bulk", "20:00-06:00")
