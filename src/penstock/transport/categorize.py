"""The categorizer: asks the directories about sender and recipients, batch after batch, until there is nothing new, and records the result.

A recipient that fails or has to wait leaves the others alone: it becomes a message of its own, in the same group of changes, and that one
is settled. A message whose addresses are all what they were is not recorded, since asking again costs little and changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import msgspec

from ..events.dispatch import Outcome, Step
from ..events.transit import Resolve
from ..events.verdict import Defer
from ..events.work import MessageWork
from ..mail.envelope import Recipient
from .expansion import Bounds, Lead, Resolution
from .group import Group, begin_anew
from .outcome import Result
from .parts import Shop
from .results import results_of
from .settle import Settler
from .stage import Stage
from .steps import Call, in_turn
from .variants import copy_of, split_variants, with_recipients

# So often is begun anew when a sink takes recipients away between two batches; a sink that never ends with that must not keep us busy.
MOST_AGAIN = 10


@dataclass(slots=True)
class _Run:
    """One message while it is resolved."""

    work: MessageWork
    stage: Stage
    resolution: Resolution
    forks: list[MessageWork]
    then: Call
    again: int = 0


class Categorizer:
    """Resolves addresses.

    Args:
        shop: what every part of transport is given.
        settler: records what becomes of recipients that fail or wait.
    """

    def __init__(self, shop: Shop, settler: Settler) -> None:
        self._shop = shop
        self._settler = settler
        self._chain = shop.bindings.chain(Resolve)
        settings = shop.settings
        self._bounds = Bounds(settings.members, settings.nesting, settings.is_local)

    def resolve(self, work: MessageWork, stage: Stage, then: Call) -> Step:
        """Resolves the addresses of a message, and goes on with ``then`` where recipients are left."""
        return self._round(_Run(work, stage, Resolution(work.record, self._bounds), [], then), 1)

    def _round(self, run: _Run, number: int) -> Step:
        leads = run.resolution.batch()
        if not leads:
            return self._end(run)
        # Each batch is a question of its own: who answered the one before is asked again.
        run.work.record.done = []
        attempt = run.work.record.attempt + 1
        event = Resolve(self._shop.parts.facts(run.work), [lead.item() for lead in leads], number, attempt)
        before = run.work.record.envelope.recipients
        return self._shop.parts.dispatcher.ask_then(event, self._chain, lambda outcome: self._asked(run, leads, event, before, outcome))

    def _asked(self, run: _Run, leads: list[Lead], event: Resolve, before: list[Recipient], outcome: Outcome) -> Step:
        if outcome.verdict is not None:  # nothing is admitted here: a sink failed
            run.forks += run.work.forks  # those before it may have split off recipients, who are in the message no more
            run.work.forks = []
            return self._whole(run, outcome)
        run.resolution.take(leads, event.kept)
        if run.work.record.envelope.recipients is not before:
            self._follow_edits(run, before)
        return self._round(run, event.round + 1)

    def _whole(self, run: _Run, outcome: Outcome) -> Step:
        """The stage has to be begun anew, or fails, for all recipients: what was found so far is forgotten."""
        work, verdict = run.work, outcome.verdict
        assert verdict is not None
        work.record.done = []
        work.record.attempt += isinstance(verdict, Defer)
        group = Group(self._shop)
        for part in (work, *run.forks):
            group.keep(part, run.stage, run.stage)
        if run.forks:  # they need not wait as long as the message does
            self._shop.scheduler.soon(self._shop.parts.server.now())
        return group.write(work, partial(self._settler.settle, work, "", results_of(work, verdict, outcome.by)))

    def _follow_edits(self, run: _Run, before: list[Recipient]) -> None:
        """What a sink did to the recipients of the message itself: who was added is asked about, who was removed or forked is not."""
        old, now = {r.address for r in before}, {r.address: r for r in run.work.record.envelope.recipients}
        gone = old - now.keys()
        if gone and run.again < MOST_AGAIN:
            # What two of them led to was followed for the first one alone: if that one goes, the other would lose it.
            run.again += 1
            run.resolution = Resolution(run.work.record, self._bounds)
        else:
            run.resolution.drop(gone)
            for address in now.keys() - old:
                run.resolution.add(now[address])
        run.forks += run.work.forks
        run.work.forks = []

    def _end(self, run: _Run) -> Step:
        work, resolution = run.work, run.resolution
        recipients = resolution.recipients()
        if resolution.sender_waits:
            return self._whole(run, Outcome(Defer(451, "4.4.3", resolution.sender_waits)))
        envelope = work.record.envelope
        same = recipients == envelope.recipients and resolution.sender == envelope.sender and not run.forks
        if same and not resolution.results and not resolution.expanded and not work.dirty:
            begin_anew(work.record)
            return run.then()
        group, calls = Group(self._shop), list[Call]()
        expanded = with_recipients(copy_of(work, self._shop.parts.server.new_id()), [r.recipient for r in resolution.expanded])
        rest = self._rest(work, resolution, whole=not recipients)
        if recipients:
            work.record.envelope = msgspec.structs.replace(envelope, sender=resolution.sender, recipients=recipients)
            work.record.variants = resolution.variants
            group.keep(work, run.stage, Stage.RESOLVED)
        elif not rest:
            group.remove(work)
        for fork in run.forks:
            fork.record.done = []
            group.keep(fork, run.stage, run.stage)
        for part, results in rest:
            part.record.attempt += 1
            group.keep(part, run.stage, run.stage)
            calls.append(group.apart(part, work, partial(self._settler.settle, part, "", results)))
        if resolution.expanded:
            # In the spool it never is: after a crash only the report would be missing, not a recipient be there twice.
            calls.append(partial(self._settler.settle, expanded, "", resolution.expanded))
        if recipients:  # last, since a delivery may take its time
            calls.append(run.then)
        if run.forks:
            self._shop.scheduler.soon(self._shop.parts.server.now())
        return group.write(work, partial(in_turn, calls))

    def _rest(self, work: MessageWork, resolution: Resolution, whole: bool) -> list[tuple[MessageWork, list[Result]]]:
        """Those that failed or wait, in messages of their own: one for each sender that is to hear of them."""
        if not resolution.results:
            return []
        by_recipient = {id(result.recipient): result for result in resolution.results}
        new_id = self._shop.parts.server.new_id
        part = with_recipients(work if whole else copy_of(work, new_id()), [result.recipient for result in resolution.results])
        part.record.variants = resolution.variants
        part.record.done = []
        return [(p, [by_recipient[id(r)] for r in p.record.envelope.recipients]) for p in split_variants(part, new_id)]
