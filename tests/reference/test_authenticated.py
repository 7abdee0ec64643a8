"""An example of Authenticated."""

from penstock import Sink, events, on
from penstock.testing import SinkTesters


class LastSeen(Sink):
    """Remembers who came from where."""

    @on(events.Authenticated)
    async def note(self, event: events.Authenticated) -> None:
        event.server.state[event.user] = event.session.client_ip


async def test_the_address_is_remembered(sink_tester: SinkTesters) -> None:
    tester = sink_tester(LastSeen())
    await tester.authenticated("alice", "X-OTP")
    assert tester.server_state == {"alice": "192.0.2.1"}
