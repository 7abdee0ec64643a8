"""An example of ServerResponse."""

from datetime import timedelta

from penstock import Match, Sink, on
from penstock.events import ServerResponse
from penstock.testing import SinkTesters
from penstock.verdicts import Defer


class Trap501(Sink):
    """Tries later where a server calls our sender malformed."""

    @on(ServerResponse, match=Match(verb="MAIL", code="501"))
    async def trap(self, event: ServerResponse) -> Defer:
        self.log.warning("sender refused", remote=event.remote.name, reply=str(event.reply))
        return Defer(after=timedelta(hours=1))


async def test_a_501_is_trapped(sink_tester: SinkTesters) -> None:
    tester = sink_tester(Trap501())
    assert await tester.server_response("MAIL", "501 5.1.7 Bad sender") == Defer(after=timedelta(hours=1))
    assert await tester.server_response("MAIL", "250 2.1.0 Ok") is None
