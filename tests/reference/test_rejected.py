"""An example of Rejected."""

from penstock import Match, Sink, on
from penstock.events import Rejected
from penstock.testing import SinkTesters


class Refusals(Sink):
    """Writes a line for each refusal of a recipient."""

    @on(Rejected, match=Match(verb="RCPT", code="5xx"))
    async def note(self, event: Rejected) -> None:
        self.log.info("recipient refused", command=event.command, reply=str(event.reply), by=event.by)


async def test_a_refusal_is_logged(sink_tester: SinkTesters) -> None:
    tester = sink_tester(Refusals())
    await tester.rejected("RCPT TO:<bob@example.com>", "550 5.1.1 No such user")
    assert tester.log.events == ["recipient refused"]
