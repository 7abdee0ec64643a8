"""An example of RcptTo."""

from penstock import Sink, on
from penstock.events import RcptTo
from penstock.testing import SinkTesters
from penstock.verdicts import Discard, Reject, Rewrite


class Departed(Sink):
    """Knows who has left, and who is not read."""

    @on(RcptTo)
    async def check(self, event: RcptTo) -> Reject | Rewrite | Discard | None:
        match event.recipient.address.local:
            case "mallory":
                return Reject(550, "5.1.1", "Mallory has left")
            case "noreply":
                return Discard("nobody reads noreply")
            case "alice.smith":
                return Rewrite("alice@example.com")
        event.recipient.properties["seen_by"] = "departed"
        return None


async def test_each_recipient_gets_its_answer(sink_tester: SinkTesters) -> None:
    tester = sink_tester(Departed())
    assert await tester.rcpt_to("mallory@example.com") == Reject(550, "5.1.1", "Mallory has left")
    assert await tester.rcpt_to("noreply@example.com") == Discard("nobody reads noreply")
    await tester.rcpt_to("alice.smith@example.com")
    assert tester.recipients == ["alice@example.com"]
