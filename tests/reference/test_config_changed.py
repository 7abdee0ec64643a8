"""An example of ConfigChanged."""

from penstock import Sink, on
from penstock.events import ConfigChanged
from penstock.testing import SinkTesters


class Announce(Sink):
    """Says which bindings a reload changed."""

    @on(ConfigChanged)
    async def say(self, event: ConfigChanged) -> None:
        self.log.info("other bindings", generation=event.generation, changed=", ".join(event.changed))


async def test_a_reload_is_announced(sink_tester: SinkTesters) -> None:
    tester = sink_tester(Announce())
    await tester.config_changed(3, ("archive", "stamp"))
    assert tester.log[0]["changed"] == "archive, stamp"
