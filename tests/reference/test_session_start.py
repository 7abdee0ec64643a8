"""An example of SessionStart."""

from penstock import Sink, on
from penstock.events import SessionStart
from penstock.testing import SinkTesters


class AskDepth(Sink):
    """Asks a server that knows XQDEPTH how much it has to do."""

    @on(SessionStart)
    async def ask(self, event: SessionStart) -> None:
        if "XQDEPTH" in event.remote.extensions:
            reply = await event.send("XQDEPTH")
            event.session.state["depth"] = reply.text


async def test_the_depth_is_kept(sink_tester: SinkTesters) -> None:
    tester = sink_tester(AskDepth())
    tester.set_remote(extensions=["XQDEPTH"], replies={"XQDEPTH": "250 2.0.0 7 messages queued"})
    await tester.session_start()
    assert tester.remote_state == {"depth": "7 messages queued"}
