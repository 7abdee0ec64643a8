"""The stages of a message before it is routed: whom they ask, what the answers mean, and what is recorded when one is over.

A stage that nobody is bound to is not even visited: the way of a message is worked out once, when the bindings are known. Where all
bindings answer at once the whole way is one plain call: no task, no coroutine. A copy that a sink splits off is asked about at the same
stage, by the bindings behind that sink, and the stage is only over with all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from ..events.catalog import Event, Submission
from ..events.chain import EMPTY, Chain
from ..events.dispatch import Outcome, Step
from ..events.reports import Step as Tracking
from ..events.transit import Categorized, PostCategorize, PreCategorize, Resolve
from ..events.verdict import Defer, Quarantine
from ..events.work import MessageWork
from .categorize import Categorizer
from .group import Group
from .parts import Shop
from .refused import has_refused
from .results import results_of
from .route import Router
from .settle import Settler
from .stage import Stage
from .steps import Call, in_turn
from .tell import Teller
from .variants import groups_of, split_variants

Way = Callable[[MessageWork, Stage], Step]
Concluded = list[tuple[MessageWork, Outcome]]


@dataclass(frozen=True, slots=True)
class Question:
    """One stage that asks: the bindings, how the event is made, and the stage that is over afterwards."""

    chain: Chain
    make: Callable[[MessageWork], Event]
    after: Stage


class Stages:
    """Takes messages from stage to stage.

    Args:
        shop: what every part of transport is given.
        settler: records how a message ends at a stage.
        router: takes what is categorized.
    """

    def __init__(self, shop: Shop, settler: Settler, router: Router) -> None:
        self._shop = shop
        self._parts = shop.parts
        self._settler = settler
        self._teller = Teller(shop)
        self._categorizer = Categorizer(shop, settler)
        self._way = self._ways(router)

    def proceed(self, work: MessageWork, stage: Stage) -> Step:
        """Goes on with a message of which this stage is the last that is over."""
        return self._way[stage](work, stage)

    def _ways(self, router: Router) -> dict[Stage, Way]:
        """What comes next after each stage; where nobody is bound, it is what comes after the next."""
        asked: dict[Stage, Way | None] = {
            Stage.SUBMITTED: self._asking(Submission, Stage.ADMITTED),
            Stage.ADMITTED: self._asking(PreCategorize, Stage.PRECATEGORIZED),
            Stage.PRECATEGORIZED: self._resolve if self._shop.bindings.chain(Resolve) else self._resolve_refused,
            Stage.RESOLVED: self._asking(Categorized, Stage.CATEGORIZED, _categorized) or self._split,
            Stage.CATEGORIZED: self._asking(PostCategorize, Stage.POSTCATEGORIZED),
        }
        ways: dict[Stage, Way] = {Stage.ROUTED: router.route, Stage.POSTCATEGORIZED: router.route}
        following: Way = router.route
        for stage in reversed(asked):
            following = ways[stage] = asked[stage] or following
        return ways

    def _resolve_refused(self, work: MessageWork, stage: Stage) -> Step:
        """Where nobody is bound to resolve addresses: only who was refused needs it."""
        if has_refused(work.record.envelope.recipients):
            return self._resolve(work, stage)
        return self._way[Stage.RESOLVED](work, stage)

    def _asking(self, event: type[Event], after: Stage, make: Callable[[Shop, MessageWork], Event] | None = None) -> Way | None:
        chain = self._shop.bindings.chain(event)
        if not chain:
            return None
        return partial(self._ask, Question(chain, partial(make, self._shop) if make else partial(_plain, self._shop, event), after))

    def _ask(self, question: Question, work: MessageWork, stage: Stage) -> Step:
        def over(outcome: Outcome) -> Step:
            if work.forks:
                return self._ask_forks(question, stage, work, outcome)
            return self._conclude(question, stage, [(work, outcome)])

        return self._parts.dispatcher.ask_then(question.make(work), question.chain, over)

    async def _ask_forks(self, question: Question, stage: Stage, work: MessageWork, outcome: Outcome) -> None:
        """Asks the bindings that are left about the copies; copies of copies too."""
        concluded, waiting = [(work, outcome)], work.forks
        work.forks = []
        while waiting:
            fork = waiting.pop(0)
            answer = self._parts.dispatcher.ask(question.make(fork), question.chain)
            concluded.append((fork, answer if isinstance(answer, Outcome) else await answer))
            waiting, fork.forks = [*waiting, *fork.forks], []
        step = self._conclude(question, stage, concluded)
        if step is not None:
            await step

    def _conclude(self, question: Question, stage: Stage, concluded: Concluded) -> Step:
        """Records a message and its copies in one group, and goes on with those that go on."""
        if question.after is Stage.CATEGORIZED:
            concluded = [(part, outcome) for work, outcome in concluded for part in self._parts_of(work, outcome)]
        group, ended, going, several = Group(self._shop), list[Call](), list[Call](), len(concluded) > 1
        main = concluded[0][0]
        for number, (work, outcome) in enumerate(concluded):
            verdict = outcome.verdict
            if verdict is None:
                if several or _touched(work):
                    group.keep(work, stage, question.after)
                going.insert(0, partial(self._go_on, work, question.after, number > 0))
            elif isinstance(verdict, Quarantine):
                _note_asked(work, question.chain, outcome.by)
                group.keep(work, stage, stage, held=verdict.reason or "quarantined")
                ended.append(partial(self._tell_quarantined, work, outcome))
            else:
                if isinstance(verdict, Defer):
                    work.record.attempt += 1
                if several or work.dirty or isinstance(verdict, Defer):
                    group.keep(work, stage, stage)
                results = results_of(work, verdict, outcome.by)
                ended.append(group.apart(work, main, partial(self._settler.settle, work, "", results)))
        # The message itself comes last: it may wait for a delivery.
        return group.write(main, partial(in_turn, [*ended, *going]))

    def _parts_of(self, work: MessageWork, outcome: Outcome) -> list[MessageWork]:
        """The message, and what is split off from it as its recipients need different handling; nothing is, of what ends here."""
        return split_variants(work, self._parts.server.new_id) if outcome.verdict is None else [work]

    def _go_on(self, work: MessageWork, stage: Stage, copy: bool) -> Step:
        if copy:
            # A copy is taken up from the spool like any other message, so that only one place ever starts it.
            self._shop.scheduler.soon(self._parts.server.now())
            return None
        return self.proceed(work, stage)

    def _resolve(self, work: MessageWork, stage: Stage) -> Step:
        self._teller.tracked(work, Tracking.SUBMITTED_TO_CATEGORIZER, {})
        return self._categorizer.resolve(work, stage, partial(self.proceed, work, Stage.RESOLVED))

    def _split(self, work: MessageWork, stage: Stage) -> Step:
        """Categorized without bindings: only what directories said of variants counts."""
        if not work.record.variants and not any(r.variant for r in work.record.envelope.recipients):
            return self.proceed(work, Stage.CATEGORIZED)
        question = Question(EMPTY, partial(_categorized, self._shop), Stage.CATEGORIZED)
        return self._conclude(question, stage, [(work, Outcome())])

    def _tell_quarantined(self, work: MessageWork, outcome: Outcome) -> Step:
        assert isinstance(outcome.verdict, Quarantine)
        self._settler.quarantined(work, outcome.verdict.reason, outcome.by)
        return None


def _plain(shop: Shop, event: type[Event], work: MessageWork) -> Event:
    return event(shop.parts.facts(work), work.record.attempt + 1)


def _categorized(shop: Shop, work: MessageWork) -> Event:
    return Categorized(shop.parts.facts(work), groups_of(work), work.record.attempt + 1)


def _touched(work: MessageWork) -> bool:
    """Whether there is something about this stage that a restart must know: edits, who was asked, or how often."""
    record = work.record
    return bool(work.dirty or record.done or record.attempt or record.deferrals)


def _note_asked(work: MessageWork, chain: Chain, by: str) -> None:
    """Who puts a message aside has been asked: when it is released, those behind it are."""
    keys = [binding.key for binding in chain if binding.name == by]
    work.record.done = [*work.record.done, *(key for key in keys if key not in work.record.done)]
