"""An example of ResolveHost."""

from penstock import Sink, on
from penstock.events import ResolveHost
from penstock.testing import SinkTesters
from penstock.verdicts import Addresses


class Inside(Sink):
    """Answers for a host that no DNS knows."""

    @on(ResolveHost)
    async def find(self, event: ResolveHost) -> Addresses | None:
        return Addresses(("192.0.2.10",)) if event.name == "mail.inside.example" else None


async def test_a_host_of_our_own(sink_tester: SinkTesters) -> None:
    assert await sink_tester(Inside()).resolve_host("mail.inside.example", "address") == Addresses(("192.0.2.10",))
