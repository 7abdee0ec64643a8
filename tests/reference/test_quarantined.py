"""An example of Quarantined."""

from penstock import Sink, on
from penstock.events import Quarantined
from penstock.testing import SinkTesters


class Alarm(Sink):
    """Tells an administrator of mail that was put aside."""

    @on(Quarantined)
    async def tell(self, event: Quarantined) -> None:
        notice = event.server.new_message(
            sender="", recipients=["admin@example.com"], content=f"Subject: put aside: {event.reason}\r\n\r\n".encode()
        )
        await event.server.submit(notice)


async def test_an_administrator_is_told(sink_tester: SinkTesters) -> None:
    tester = sink_tester(Alarm())
    await tester.quarantined(reason="virus")
    assert tester.submitted[0].header.get("Subject") == "put aside: virus"
