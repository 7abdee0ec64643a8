"""An example of DelayNotice."""

from penstock import Sink, on
from penstock.events import DelayNotice
from penstock.testing import SinkTesters
from penstock.verdicts import Suppress


class Patience(Sink):
    """Tells nobody of delays."""

    @on(DelayNotice)
    async def keep(self, event: DelayNotice) -> Suppress:
        return Suppress("it will arrive")


async def test_nobody_is_told_of_a_delay(sink_tester: SinkTesters) -> None:
    assert await sink_tester(Patience()).delay_notice() == Suppress("it will arrive")
