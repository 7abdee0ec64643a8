"""An example of Connecting."""

from penstock import Sink, on
from penstock.events import Connecting
from penstock.testing import SinkTesters


class OtherPort(Sink):
    """Reaches one network on another port, and with TLS."""

    @on(Connecting)
    async def edit(self, event: Connecting) -> None:
        if event.address.startswith("192.0.2."):
            event.port, event.tls = 587, "encrypt"


async def test_the_port_is_another(sink_tester: SinkTesters) -> None:
    tester = sink_tester(OtherPort())
    await tester.connecting("192.0.2.25")
    assert isinstance(tester.event, Connecting)
    assert (tester.event.port, tester.event.tls) == (587, "encrypt")
