"""An example of Helo."""

from penstock import Sink, on
from penstock.events import Helo
from penstock.testing import SinkTesters
from penstock.verdicts import Reject


class NoOldClients(Sink):
    """Takes mail only from clients that say EHLO."""

    @on(Helo, blocking=False)
    def refuse(self, event: Helo) -> Reject:
        return Reject(550, "5.5.1", f"{event.name}, please say EHLO")


async def test_helo_is_refused(sink_tester: SinkTesters) -> None:
    assert await sink_tester(NoOldClients()).helo("old.example") == Reject(550, "5.5.1", "old.example, please say EHLO")
