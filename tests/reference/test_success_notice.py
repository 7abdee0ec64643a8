"""An example of SuccessNotice."""

from penstock import Match, Sink, on
from penstock.events import SuccessNotice
from penstock.testing import SinkTesters
from penstock.verdicts import Suppress


class NoReceipts(Sink):
    """Tells strangers nothing of what arrived."""

    @on(SuccessNotice, match=Match(authenticated=False))
    async def keep(self, event: SuccessNotice) -> Suppress:
        return Suppress("no receipts for strangers")


async def test_strangers_get_no_receipt(sink_tester: SinkTesters) -> None:
    assert await sink_tester(NoReceipts()).success_notice() == Suppress("no receipts for strangers")
