"""Those parts of transport that ask sinks, for one generation of bindings: a reload makes new ones beside them.

A message keeps the crew that began with it until it is recorded: what it was asked at its stage, and what its delivery tells, come from one
generation. What lives through reloads (scheduler, wishes, sessions of local queues) is not here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from ..events.dispatch import Step
from ..events.work import MessageWork
from ..mail.envelope import Recipient
from ..queue.job import Job
from .deliver import LocalDeliveries
from .later import Later
from .outcome import Result
from .parts import Shop
from .route import Router
from .settle import Settler
from .stage import Stage
from .stages import Stages


class Crew:
    """Takes messages from stage to stage, delivers here, and records what came of it; a ``Handover`` for its deliveries.

    Args:
        shop: what every part of transport is given.
        later: carries out what was wished while a message was worked on.
        waiting: how many local deliveries of each queue wait for their sinks.
        load: gives the message of a job.
    """

    def __init__(self, shop: Shop, later: Later, waiting: Counter[str], load: Callable[[Job], MessageWork | None]) -> None:
        self.shop = shop
        self.uses = shop.bindings.uses
        self.settler = Settler(shop, shop.settings.policies, shop.settings.notices)
        self.local = LocalDeliveries(shop, self, waiting)
        self.router = Router(shop, self.settler, self.local)
        self._stages = Stages(shop, self.settler, self.router)
        self._later = later
        self.load = load

    def proceed(self, work: MessageWork, stage: Stage) -> Step:
        """Goes on with a message of which this stage is the last that is over."""
        return self._later.after(work.record.id, self._counted(self._stages.proceed(work, stage)))

    def served(self, work: MessageWork, results: list[Result], left: list[Recipient]) -> None:
        """Records who has the message by now, as ``Handover`` says."""
        self.settler.served(work, results, left)

    def settle(self, work: MessageWork, queue: str, results: list[Result]) -> Step:
        """Records what came of a try, in one atomic group; as ``Handover`` says."""
        return self._later.after(work.record.id, self._counted(self.settler.settle(work, queue, results)))

    def _counted(self, step: Step) -> Step:
        return None if step is None else self.uses.during(step)
