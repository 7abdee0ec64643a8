"""Delivery of a message here: each recipient in turn is offered to the sinks of LocalDelivery, and what came of it is settled at once.

What no sink takes is held, not bounced: a recipient without a delivery is a fault of the configuration, and mail must not pay for it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from ..events.binding import Bindings
from ..events.catalog import LocalDelivery
from ..events.dispatch import Outcome, Step
from ..events.reports import DeliveredReport, Told
from ..events.verdict import Delivered
from ..events.views import MessageSnapshot
from ..events.work import Facts, MessageWork
from ..mail.envelope import Recipient

if TYPE_CHECKING:
    from .pipeline import Parts

Result = tuple[Recipient, Outcome]
Asked = tuple[LocalDelivery, Coroutine[Any, Any, Outcome]]


class Deliveries:
    """Asks the sinks of LocalDelivery.

    Args:
        parts: what transport works with.
        bindings: the bindings of the present generation.
        settle: records what came of it; may return further recipients to serve.
    """

    def __init__(self, parts: Parts, bindings: Bindings, settle: Callable[[MessageWork, list[Result]], bool]) -> None:
        self._parts = parts
        self._chain = bindings.chain(LocalDelivery)
        self._told = bindings.chain(DeliveredReport)
        self._settle = settle

    def start(self, work: MessageWork) -> Step:
        """Serves all recipients: at once, or in the coroutine it returns."""
        results: list[Result] = []
        recipients = list(work.record.envelope.recipients)
        for index, recipient in enumerate(recipients):
            # Made one by one and let go: what handlers parse of a large message hangs on the event.
            event = self._event(work, recipient)
            answer = self._parts.dispatcher.ask(event, self._chain)
            if not isinstance(answer, Outcome):
                return self._rest(work, recipients[index + 1 :], results, (event, answer))
            results.append((event.work, answer))
        return self.start(work) if self._end(work, results) else None

    async def _rest(self, work: MessageWork, recipients: list[Recipient], results: list[Result], first: Asked) -> None:
        event, waiting = first
        outcome = await waiting
        # After the handlers: what they changed about the recipient goes on with it.
        results.append((event.work, outcome))
        for recipient in recipients:
            event = self._event(work, recipient)
            answer = self._parts.dispatcher.ask(event, self._chain)
            outcome = answer if isinstance(answer, Outcome) else await answer
            results.append((event.work, outcome))
        if self._end(work, results):
            step = self.start(work)
            if step is not None:
                await step

    def _event(self, work: MessageWork, recipient: Recipient) -> LocalDelivery:
        return LocalDelivery(Facts(self._parts.server, None, work), recipient, work.record.deferrals + 1)

    def _end(self, work: MessageWork, results: list[Result]) -> bool:
        """Reports and settles; True when forwarding left new recipients to serve now."""
        for recipient, outcome in results:
            if type(outcome.verdict) is Delivered:
                self._tell(work, recipient, outcome.verdict)
        return self._settle(work, results)

    def _tell(self, work: MessageWork, recipient: Recipient, verdict: Delivered) -> None:
        record = work.record
        delay = round(self._parts.server.now() - record.received, 3)
        self._parts.log.info("delivered", message=record.id, to=str(recipient.address), where=verdict.where, delay=delay)
        if self._told:
            facts = Facts(self._parts.server, None, work)
            report = DeliveredReport(facts, MessageSnapshot.of(work), recipient.copy(), Told(verdict.where, "2.0.0"))
            self._parts.dispatcher.tell(report, self._told)
