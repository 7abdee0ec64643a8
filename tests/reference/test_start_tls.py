"""An example of StartTls."""

from penstock import Match, Sink, on
from penstock.events import StartTls
from penstock.testing import SinkTesters
from penstock.verdicts import Defer


class NotForOldPrinters(Sink):
    """Spares printers a handshake that they break off every time."""

    @on(StartTls, match=Match(client="192.0.2.0/28"))
    async def judge(self, event: StartTls) -> Defer:
        return Defer(454, "4.7.0", "TLS is not available to you")


async def test_printers_go_on_in_clear(sink_tester: SinkTesters) -> None:
    tester = sink_tester(NotForOldPrinters())
    tester.set_session("192.0.2.5")
    assert await tester.start_tls() == Defer(454, "4.7.0", "TLS is not available to you")
    tester.set_session("192.0.2.99")
    assert await tester.start_tls() is None
