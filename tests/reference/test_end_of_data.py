"""An example of EndOfData."""

from penstock import Sink, on
from penstock.events import EndOfData
from penstock.testing import SinkTesters
from penstock.verdicts import Quarantine


class NoMacros(Sink):
    """Puts aside what carries a document with macros."""

    @on(EndOfData)
    async def look(self, event: EndOfData) -> Quarantine | None:
        parsed = await event.message.parse()
        names = [part.get_filename() or "" for part in parsed.walk()]
        return Quarantine("macros") if any(name.endswith(".docm") for name in names) else None


async def test_macros_are_put_aside(sink_tester: SinkTesters) -> None:
    letter = b'Content-Disposition: attachment; filename="bill.docm"\r\n\r\nx\r\n'
    assert await sink_tester(NoMacros()).end_of_data(letter) == Quarantine("macros")
