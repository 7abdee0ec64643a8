"""An example of PreCategorize."""

from penstock import Match, Sink, on
from penstock.events import PreCategorize
from penstock.testing import SinkTesters
from penstock.verdicts import Drop


class NoMailToSelf(Sink):
    """Drops what a robot sends to itself."""

    @on(PreCategorize, match=Match(sender="robot@example.com"))
    async def look(self, event: PreCategorize) -> Drop | None:
        addresses = {str(recipient.address) for recipient in event.message.recipients}
        return Drop("to itself") if addresses == {"robot@example.com"} else None


async def test_a_robot_does_not_hear_itself(sink_tester: SinkTesters) -> None:
    tester = sink_tester(NoMailToSelf())
    assert await tester.pre_categorize(sender="robot@example.com", recipients=["robot@example.com"]) == Drop("to itself")
