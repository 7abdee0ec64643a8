"""An example of MailFrom."""

from penstock import Match, Sink, on
from penstock.events import MailFrom
from penstock.testing import SinkTesters
from penstock.verdicts import Reject


class SenderDomain(Sink):
    """Refuses senders in a domain that sends no mail."""

    @on(MailFrom, match=Match(sender="nomail.example"))
    async def refuse(self, event: MailFrom) -> Reject:
        return Reject(550, "5.7.27", f"{event.sender.domain} sends no mail")


async def test_a_domain_that_sends_no_mail(sink_tester: SinkTesters) -> None:
    tester = sink_tester(SenderDomain())
    assert await tester.mail_from("a@nomail.example") == Reject(550, "5.7.27", "nomail.example sends no mail")
    assert await tester.mail_from("a@example.net") is None
