"""An example of Expired."""

from penstock import Sink, on
from penstock.events import Expired
from penstock.testing import SinkTesters


class GivenUp(Sink):
    """Says to the log what was given up after days."""

    @on(Expired)
    async def note(self, event: Expired) -> None:
        self.log.warning("given up", recipient=str(event.recipient.address), last=event.text)


async def test_what_is_given_up_is_logged(sink_tester: SinkTesters) -> None:
    tester = sink_tester(GivenUp())
    await tester.expired("bob@example.net", text="Connection refused")
    assert tester.log[0]["last"] == "Connection refused"
