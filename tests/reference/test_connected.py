"""An example of Connected."""

from datetime import timedelta

from penstock import Sink, on
from penstock.events import Connected
from penstock.testing import SinkTesters
from penstock.verdicts import Delay, Disconnect


class Doorman(Sink):
    """Turns one address away, and lets everybody else wait a little."""

    @on(Connected)
    async def look(self, event: Connected) -> Delay | Disconnect:
        if event.session.client_ip == "192.0.2.66":
            return Disconnect(554, "5.7.1", "Not from there")
        return Delay(timedelta(seconds=2))


async def test_one_address_is_turned_away(sink_tester: SinkTesters) -> None:
    tester = sink_tester(Doorman())
    assert await tester.connected() == Delay(timedelta(seconds=2))
    tester.set_session("192.0.2.66")
    assert await tester.connected() == Disconnect(554, "5.7.1", "Not from there")
