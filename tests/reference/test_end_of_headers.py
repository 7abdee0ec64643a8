"""An example of EndOfHeaders."""

from penstock import Sink, on
from penstock.events import EndOfHeaders
from penstock.testing import SinkTesters
from penstock.verdicts import Reject


class NoSubject(Sink):
    """Refuses mail without a subject before its body has come."""

    @on(EndOfHeaders)
    async def look(self, event: EndOfHeaders) -> Reject | None:
        return None if event.message.header.get("Subject") else Reject(554, "5.6.0", "Please give a subject")


async def test_a_subject_is_wanted(sink_tester: SinkTesters) -> None:
    tester = sink_tester(NoSubject())
    assert await tester.end_of_headers(b"From: a@example.net\r\n\r\n") == Reject(554, "5.6.0", "Please give a subject")
    assert await tester.end_of_headers(b"Subject: hello\r\n\r\n") is None
