"""The router: asks where each recipient's mail goes next, and puts the message into the queues of these next hops.

It asks once for each domain, message class and route of its own that a recipient was given. What nobody is bound to decide goes the plain
way: a local domain is delivered to here, another one by its MX records (RFC 5321 §5.1). A message for one local domain needs no record of
that, and is delivered to at once; one for several next hops becomes an entry for each, all in one group, and all share the content.

Rejected: to record the decision for mail that is delivered to at once. After a crash it is routed again, which costs a question.
"""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ..events.dispatch import Outcome, Step
from ..events.reports import Step as Tracking
from ..events.transit import Route
from ..events.verdict import Verdict
from ..events.verdict_transit import Hold, RouteTo, Unreachable, as_next_hop
from ..events.work import MessageWork
from ..mail.envelope import Recipient
from ..mail.nexthop import NextHop
from .deliver import LocalDeliveries
from .group import Group
from .outcome import Action, Result
from .parts import Shop
from .results import result_of_verdict
from .settle import Settler
from .stage import Stage
from .steps import Call, in_turn
from .tell import Teller
from .variants import copy_of, with_recipients

LOCAL = RouteTo(NextHop("local"))
LOCAL_QUEUE = "local:"
# Stands among the bindings that need not be asked again: an administrator released the message, whatever holds its route.
RELEASED = "penstock:released"
_NO_WAY = Unreachable("5.1.2", "No mail can be sent to this domain")
# The domain, and the route that the recipient was given for itself.
Key = tuple[str, str]
Decisions = dict[Key, Verdict]


def class_of(work: MessageWork) -> str:
    """The class that a message's priority gives it where routing gives it none (RFC 6710): urgent mail waits behind no other, bulk may.

    A class has queues of its own, with sessions of their own. Rejected: an order within one queue, in which what is slow to deliver still
    keeps the urgent waiting, and which would have to be sorted while most of it is on disk.
    """
    priority = work.record.envelope.parameters.priority or 0
    return "urgent" if priority > 0 else "bulk" if priority < 0 else ""


@dataclass(slots=True)
class Share:
    """The part of a message that goes into one queue."""

    queue: str
    message_class: str
    schedule: str
    recipients: list[Recipient] = field(default_factory=list)

    @property
    def is_local(self) -> bool:
        """Whether it is delivered here."""
        return self.queue.startswith(LOCAL_QUEUE)


@dataclass(slots=True)
class Shares:
    """A message as routing divides it: what goes where, what is held for which reason, and what has a result already."""

    queues: dict[str, Share] = field(default_factory=dict)
    held: dict[str, list[Recipient]] = field(default_factory=dict)
    results: list[Result] = field(default_factory=list)


class Router:
    """Finds the next hops of messages.

    Args:
        shop: what every part of transport is given.
        settler: records what becomes of recipients without a way.
        local: delivers here.
    """

    def __init__(self, shop: Shop, settler: Settler, local: LocalDeliveries) -> None:
        self._shop = shop
        self._settler = settler
        self._local = local
        self._teller = Teller(shop)
        self._chain = shop.bindings.chain(Route)
        self._is_local = shop.settings.is_local

    def route(self, work: MessageWork, stage: Stage) -> Step:
        """Routes a message and delivers here what is for here."""
        recipients = work.record.envelope.recipients
        if not recipients:
            self._shop.parts.log.info("no recipient is left", message=work.record.id)
            group = Group(self._shop)
            group.remove(work)
            return group.write(work, _nothing)
        decisions: Decisions = {}
        if len(recipients) == 1 and not self._chain:
            # The everyday message, without the bookkeeping for all others.
            key = (recipients[0].address.domain, recipients[0].route)
            decisions[key] = self._start(*key, work.record.message_class) or _NO_WAY
        step = None if decisions else self.decide(work, decisions)
        if step is None:
            return self._carry_out(work, stage, decisions)
        return self._later(work, stage, decisions, step)

    async def _later(self, work: MessageWork, stage: Stage, decisions: Decisions, deciding: Coroutine[Any, Any, None]) -> None:
        await deciding
        step = self._carry_out(work, stage, decisions)
        if step is not None:
            await step

    def decide(self, work: MessageWork, decisions: Decisions) -> Step:
        """Asks for all recipients of a message, at once or in the coroutine that is returned; ``decisions`` is filled in."""
        recipients = work.record.envelope.recipients
        for key, members in _by_key(recipients).items():
            if key in decisions:
                continue
            event = self._question(work, key, members)
            answer = self._shop.parts.dispatcher.ask(event, self._chain) if self._chain else Outcome()
            if not isinstance(answer, Outcome):
                return self._decide_later(work, decisions, key, event, answer)
            decisions[key] = _decision(work, event, answer)
            if work.record.envelope.recipients is not recipients:  # a sink changed them
                return self.decide(work, decisions)
        return None

    async def _decide_later(
        self, work: MessageWork, decisions: Decisions, key: Key, event: Route, answer: Coroutine[Any, Any, Outcome]
    ) -> None:
        decisions[key] = _decision(work, event, await answer)
        step = self.decide(work, decisions)
        if step is not None:
            await step

    def shares(self, work: MessageWork, decisions: Decisions) -> Shares:
        """What the decisions make of the message."""
        shares = Shares()
        for key, members in _by_key(work.record.envelope.recipients).items():
            verdict = decisions[key]
            if isinstance(verdict, RouteTo):
                hop = as_next_hop(verdict.next_hop)
                chosen = verdict.message_class or class_of(work)
                queue = self._local_queue(key[0]) if hop.kind == "local" else hop.queue(chosen)
                share = shares.queues.setdefault(queue, Share(queue, chosen, verdict.schedule))
                share.recipients += members
            elif isinstance(verdict, Hold):
                shares.held.setdefault(verdict.reason or "held", []).extend(members)
            elif isinstance(verdict, Unreachable):
                shares.results += [Result(r, Action.FAILED, verdict.enhanced, verdict.text) for r in members]
            else:  # what stands for a sink that failed
                shares.results += [result_of_verdict(r, verdict, "") for r in members]
        return shares

    def _carry_out(self, work: MessageWork, stage: Stage, decisions: Decisions) -> Step:
        if len(decisions) == 1 and not work.dirty and not work.forks:
            ((domain, _), decision), *_ = decisions.items()
            queue = self._local_queue(domain)
            if decision is LOCAL and self._local.has_room(queue):
                return self._local.serve(work, queue)
        shares = self.shares(work, decisions)
        ordered = sorted(shares.queues.values(), key=lambda share: not share.is_local)
        inline = ordered[0] if ordered and ordered[0].is_local and self._local.has_room(ordered[0].queue) else None
        group, calls = Group(self._shop), list[Call]()
        forks, work.forks = work.forks, []
        # The parts are made before the first is kept: each is a copy of the message as it was.
        parts = self._parts(work, ordered, shares)
        for part, share, held in parts:
            if share is not None and share is not inline:
                part.record.message_class, part.record.schedule = share.message_class, share.schedule
                group.keep(part, stage, Stage.ROUTED, share.queue)
                calls.append(partial(self._enqueue, part, share))
            elif share is not None:
                group.keep(part, stage, Stage.POSTCATEGORIZED)
            elif held:
                group.keep(part, stage, Stage.POSTCATEGORIZED, held=held)
            else:
                part.record.attempt += 1
                group.keep(part, stage, stage)
                calls.append(group.apart(part, work, partial(self._settler.settle, part, "", shares.results)))
        for fork in forks:
            group.keep(fork, stage, stage)
        if forks:
            self._shop.scheduler.soon(self._shop.parts.server.now())
        if inline is not None:
            calls.append(partial(self._local.serve, work, inline.queue))
        return group.write(work, partial(in_turn, calls))

    def _parts(self, work: MessageWork, ordered: list[Share], shares: Shares) -> list[tuple[MessageWork, Share | None, str]]:
        """The messages that this one becomes, the message itself first: one a queue, one a reason to hold, one for what has a result."""
        wanted: list[tuple[list[Recipient], Share | None, str]] = [(share.recipients, share, "") for share in ordered]
        wanted += [(recipients, None, reason) for reason, recipients in shares.held.items()]
        if shares.results:
            wanted.append(([result.recipient for result in shares.results], None, ""))
        copies = [work, *(copy_of(work, self._shop.parts.server.new_id()) for _ in wanted[1:])]
        return [(with_recipients(c, recipients), share, held) for c, (recipients, share, held) in zip(copies, wanted, strict=True)]

    def _enqueue(self, work: MessageWork, share: Share) -> Step:
        if share.schedule:
            tell_schedule(self._shop, share.queue, share.schedule)
        record = work.record
        # The only line that says under which ids the parts of a message go on.
        self._shop.parts.log.info("queued", message=record.id, parent=record.parent, queue=share.queue, recipients=len(share.recipients))
        self._teller.tracked(work, Tracking.QUEUED_OUTBOUND, {"queue": share.queue})
        self._shop.scheduler.enqueue(share.queue, work)
        return None

    def _question(self, work: MessageWork, key: Key, members: list[Recipient]) -> Route:
        domain, route = key
        return Route(self._shop.parts.facts(work), domain, tuple(members), self._start(domain, route, work.record.message_class))

    def _start(self, domain: str, route: str, message_class: str) -> RouteTo | None:
        """What is proposed before anybody is asked; None where no way is known."""
        if route:
            hop = hop_of_route(route)
            return LOCAL if hop is None or hop.kind == "local" else RouteTo(hop, message_class)
        if not domain or self._is_local(domain):
            return LOCAL
        try:
            return RouteTo(NextHop.of_domain(domain), message_class)
        except ValueError:
            return None

    def _local_queue(self, domain: str) -> str:
        return LOCAL_QUEUE + (domain or self._shop.parts.server.hostname)


def hop_of_route(route: str) -> NextHop | None:
    """The next hop that a recipient's own route names, or None for one that a sink of LocalDelivery knows, such as "pipe:COMMAND"."""
    if not any(c in route for c in ".:["):
        return None
    try:
        return NextHop.parse(route)
    except ValueError:
        return None


def tell_schedule(shop: Shop, queue: str, schedule: str) -> None:
    """Gives a queue the schedule that routing chose; one that cannot be read is as none, and said in the log."""
    try:
        shop.scheduler.set_schedule(queue, schedule)
    except ValueError as error:
        shop.parts.log.warning("a schedule cannot be used", queue=queue, error=str(error))


def _decision(work: MessageWork, event: Route, outcome: Outcome) -> Verdict:
    verdict = outcome.verdict
    if verdict is None or (isinstance(verdict, Hold) and RELEASED in work.record.done):
        return event.proposal or _NO_WAY
    return verdict


def _by_key(recipients: list[Recipient]) -> dict[Key, list[Recipient]]:
    found: dict[Key, list[Recipient]] = {}
    for recipient in recipients:
        found.setdefault((recipient.address.domain, recipient.route), []).append(recipient)
    return found


def _nothing() -> Step:
    return None
