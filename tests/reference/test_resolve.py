"""An example of Resolve."""

from penstock import Sink, on
from penstock.events import Resolve
from penstock.testing import SinkTesters


class Team(Sink):
    """A list of two members."""

    @on(Resolve)
    async def expand(self, event: Resolve) -> None:
        for item in event.open:
            if item.address.local == "team":
                item.expand(["ann@example.com", "ben@example.com"], sender="owner-team@example.com")


async def test_the_team_is_two(sink_tester: SinkTesters) -> None:
    (item,) = await sink_tester(Team()).resolve("team@example.com")
    assert [str(member) for member in item.members] == ["ann@example.com", "ben@example.com"]
