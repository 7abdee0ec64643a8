"""An example of Verb."""

from penstock import Reply, Sink, on
from penstock.events import Verb
from penstock.testing import SinkTesters
from penstock.verdicts import Respond


class Echo(Sink):
    """A verb that reads on: XECHO, and then a line."""

    @on(Verb, keyword="XECHO", advertise="XECHO")
    async def echo(self, event: Verb) -> Respond:
        line = await event.read_line(Reply(354, "", "Say something"))
        return Respond(250, "2.0.0", f"You said {line.decode('ascii', 'replace')}")


async def test_the_line_comes_back(sink_tester: SinkTesters) -> None:
    verdict = await sink_tester(Echo()).verb("XECHO", lines=[b"hello"])
    assert verdict == Respond(250, "2.0.0", "You said hello")
