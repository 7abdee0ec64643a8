"""An example of MaxMessageSize."""

from penstock import Match, Sink, on
from penstock.events import MaxMessageSize
from penstock.testing import SinkTesters
from penstock.verdicts import Allow


class BigForKnown(Sink):
    """Lets authenticated users send up to 100 MiB."""

    @on(MaxMessageSize, match=Match(authenticated=True))
    async def judge(self, event: MaxMessageSize) -> Allow | None:
        return Allow() if event.size <= 100 * 1024 * 1024 else None


async def test_users_may_send_more(sink_tester: SinkTesters) -> None:
    tester = sink_tester(BigForKnown())
    assert await tester.max_message_size(50_000_000) is None
    tester.set_session(user="alice")
    assert await tester.max_message_size(50_000_000) == Allow()
