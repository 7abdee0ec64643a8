"""An example of Failed."""

from penstock import Match, Sink, on
from penstock.events import Failed
from penstock.testing import SinkTesters


class DeadAddresses(Sink):
    """Counts addresses that do not exist."""

    @on(Failed, match=Match(code="5.1.1"))
    async def count(self, event: Failed) -> None:
        event.server.state.setdefault("dead", []).append(str(event.recipient.address))


async def test_a_dead_address_is_counted(sink_tester: SinkTesters) -> None:
    tester = sink_tester(DeadAddresses())
    await tester.failed("bob@example.net", reply="550 5.1.1 No such user")
    await tester.failed("ann@example.net", reply="550 5.7.1 Go away")
    assert tester.server_state == {"dead": ["bob@example.net"]}
