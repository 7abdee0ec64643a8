"""An example of Categorized."""

from penstock import Sink, on
from penstock.events import Categorized
from penstock.mail.envelope import Recipient
from penstock.testing import SinkTesters
from penstock.verdicts import Split


class Apart(Sink):
    """Gives outsiders a message of their own."""

    @on(Categorized)
    async def split(self, event: Categorized) -> Split | None:
        outside = tuple(r for r in event.message.recipients if r.address.domain != "example.com")
        return Split((outside,)) if outside and len(outside) < len(event.message.recipients) else None


async def test_outsiders_are_split_off(sink_tester: SinkTesters) -> None:
    verdict = await sink_tester(Apart()).categorized(recipients=["a@example.com", "b@example.net"])
    assert isinstance(verdict, Split)
    assert [[str(r.address) for r in group if isinstance(r, Recipient)] for group in verdict.groups] == [["b@example.net"]]
