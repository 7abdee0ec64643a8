"""An example of PerRecipient."""

from penstock import Match, Sink, on
from penstock.events import PerRecipient
from penstock.testing import SinkTesters
from penstock.verdicts import Bounce


class NotThem(Sink):
    """Sends nothing to addresses that ended in a list of the courts."""

    @on(PerRecipient, match=Match(recipient="blocked.example"))
    async def refuse(self, event: PerRecipient) -> Bounce:
        return Bounce("5.7.1", f"Mail to {event.recipient.address} is not sent")


async def test_no_mail_goes_there(sink_tester: SinkTesters) -> None:
    verdict = await sink_tester(NotThem()).per_recipient("bob@blocked.example")
    assert verdict == Bounce("5.7.1", "Mail to bob@blocked.example is not sent")
