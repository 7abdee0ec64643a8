"""An example of Data."""

from penstock import Sink, on
from penstock.events import Data
from penstock.testing import SinkTesters
from penstock.verdicts import Defer


class Quota(Sink):
    """Lets nobody begin a message with too many recipients."""

    @on(Data)
    async def count(self, event: Data) -> Defer | None:
        return Defer(452, "4.5.3", "Too many at once") if len(event.message.recipients) > 2 else None


async def test_too_many_recipients(sink_tester: SinkTesters) -> None:
    tester = sink_tester(Quota())
    for name in ("a", "b", "c"):
        await tester.rcpt_to(f"{name}@example.com")
    assert await tester.data() == Defer(452, "4.5.3", "Too many at once")
