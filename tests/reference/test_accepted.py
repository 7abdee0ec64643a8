"""An example of Accepted."""

from penstock import Sink, on
from penstock.events import Accepted
from penstock.testing import SinkTesters


class Volume(Sink):
    """Adds up the octets of what was accepted."""

    @on(Accepted, blocking=False)
    def add(self, event: Accepted) -> None:
        event.server.state["octets"] = event.server.state.get("octets", 0) + event.message.size


async def test_octets_are_added_up(sink_tester: SinkTesters) -> None:
    tester = sink_tester(Volume())
    tester.set_message(b"Subject: x\r\n\r\n12345")
    await tester.accepted()
    assert tester.server_state == {"octets": 19}
