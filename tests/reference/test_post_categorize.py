"""An example of PostCategorize."""

from penstock import Sink, on
from penstock.events import PostCategorize
from penstock.testing import SinkTesters


class Journal(Sink):
    """Sends a copy of everything to the journal, when it is known who gets it."""

    @on(PostCategorize)
    async def copy(self, event: PostCategorize) -> None:
        event.message.recipients.add("journal@example.com", notify={"never"})


async def test_the_journal_gets_a_copy(sink_tester: SinkTesters) -> None:
    tester = sink_tester(Journal())
    await tester.post_categorize(recipients=["bob@example.com"])
    assert tester.recipients == ["bob@example.com", "journal@example.com"]
