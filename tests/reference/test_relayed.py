"""An example of Relayed."""

from penstock import Sink, on
from penstock.events import Relayed
from penstock.testing import SinkTesters


class Receipts(Sink):
    """Keeps what the next server said, with its queue id."""

    @on(Relayed)
    async def keep(self, event: Relayed) -> None:
        event.server.state[str(event.recipient.address)] = str(event.reply)


async def test_the_answer_is_kept(sink_tester: SinkTesters) -> None:
    tester = sink_tester(Receipts())
    await tester.relayed("bob@example.net", reply="250 2.0.0 queued as 4711")
    assert tester.server_state == {"bob@example.net": "250 2.0.0 queued as 4711"}
