"""An example of Tracked."""

from penstock import Sink, on
from penstock.events import Step, Tracked
from penstock.testing import SinkTesters


class TrackingLog(Sink):
    """A tracking log: a line for each step of each message."""

    @on(Tracked)
    async def write(self, event: Tracked) -> None:
        self.log.info("tracked", message=event.message.id, step=int(event.step), name=event.step.name)


async def test_each_step_is_a_line(sink_tester: SinkTesters) -> None:
    tester = sink_tester(TrackingLog())
    await tester.tracked(Step.SUBMITTED)
    assert tester.log[0]["name"] == "SUBMITTED"
