"""An example of SessionEnd."""

from penstock import Sink, on
from penstock.events import SessionEnd
from penstock.testing import SinkTesters


class Count(Sink):
    """Notes how much each session with a server was good for."""

    @on(SessionEnd)
    async def note(self, event: SessionEnd) -> None:
        event.server.state["sent"] = event.server.state.get("sent", 0) + event.messages


async def test_messages_are_counted(sink_tester: SinkTesters) -> None:
    tester = sink_tester(Count())
    await tester.session_end(messages=3)
    await tester.session_end(messages=4)
    assert tester.server_state == {"sent": 7}
