"""Shadows: bindings that are asked about a copy, never answer, and are only compared with what counted.

A shadow is how a new sink meets real mail before it decides over any. It is asked when the others were, in the background, so that nobody
waits for it. It agrees when it gave the same kind of verdict with the same reply code, and edited nothing that the others did not edit.
Rejected: to want of it all edits that the others made; beside a second sink that adds a field no shadow would ever agree."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import SinkError
from ..observe.log import Log
from .binding import Binding
from .catalog import Event
from .chain import Chain
from .offstage import Memory, NothingHeard, Offstage, overhear, recall, understudy
from .picture import Picture, edits, picture
from .running import Runner, Seldom
from .verdict import Verdict
from .work import Facts

if TYPE_CHECKING:
    from .dispatch import Outcome

# So many events wait for one shadow at most, and so many octets of content in memory for all of them.
MOST_WAITING = 200
MOST_OCTETS = 64 * 1024 * 1024
# How many calls of one shadow run at once, where its binding does not say.
AT_ONCE = 8
_FAILURES = (Exception, SystemExit, asyncio.CancelledError, GeneratorExit)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of an event without its shadows.

    Args:
        verdict: the verdict that a shadow is compared with; None to proceed.
        before: the event before anybody was asked.
        after: the event when all were.
    """

    verdict: Verdict | None
    before: Picture
    after: Picture


@dataclass(frozen=True, slots=True)
class Role:
    """One shadow at one event.

    Args:
        binding: which.
        event: its copy.
        server: what the copy shows as the server.
        real: what the copy's facts were made from.
        before: the copy before it was asked.
        octets: of content that it holds in memory.
    """

    binding: Binding
    event: Event
    server: Offstage
    real: Facts
    before: Picture
    octets: int

    @property
    def keys(self) -> list[tuple[str, str]]:
        """What it is asked about one after the other, so that it finds what it remembers."""
        facts = self.event.facts
        about = [work.id for work in (facts.session, facts.outbound) if work is not None]
        about += [facts.message.record.id] if facts.message is not None else []
        return [(self.binding.name, one) for one in about]


class Rehearsal:
    """The shadows of one event, from before the others are asked until they were.

    Args:
        event: the event.
        chain: who is asked, and whose verdict counts.
        roles: the shadows.
        go: begins with one of them, in the background.
    """

    __slots__ = ("_before", "_chain", "_event", "_go", "_roles")

    def __init__(self, event: Event, chain: Chain, roles: list[Role], go: Callable[[Role, Answer | None], None]) -> None:
        self._event = event
        self._chain = chain
        self._roles = roles
        self._go = go
        self._before = picture(event)

    def after(self, outcome: Outcome | None) -> None:
        """The others were asked, or told: now the shadows are, in the background.

        Args:
            outcome: what came of it; None for a report, which has no outcome.
        """
        after = picture(self._event) if outcome is not None else self._before
        for role in self._roles:
            if outcome is None:
                self._go(role, None)
            elif not self._was_over(role.binding, outcome):
                self._go(role, Answer(_theirs(role.binding, outcome), self._before, after))

    def _was_over(self, shadow: Binding, outcome: Outcome) -> bool:
        """Whether the event was decided before the shadow would have been asked, were it none."""
        if outcome.verdict is None:
            return False
        decided = next((binding for binding in self._chain if binding.name == outcome.by), None)
        return decided is not None and decided.plug.priority < shadow.plug.priority


class Shadowing:
    """Asks the shadows of a worker.

    Args:
        runner: runs handlers under their deadlines.
        log: where it is said how shadows differ.
        seldom: keeps that from being said too often.
        wanted: whether a binding is to be asked about an event; what the dispatcher asks of all bindings.
    """

    def __init__(self, runner: Runner, log: Log, seldom: Seldom, wanted: Callable[[Binding, Event], bool]) -> None:
        self._runner = runner
        self._log = log
        self._seldom = seldom
        self._wanted = wanted
        self._octets = 0
        self._memories: dict[str, Memory] = {}
        self._places: dict[str, asyncio.Semaphore] = {}
        self._last: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def before(self, event: Event, chain: Chain) -> Rehearsal | None:
        """Takes copies for the shadows of a chain, before anybody is asked; None when there is nobody to take one for."""
        asked = [(binding, event.matched) for binding in chain.shadows if self._is_asked(binding, event)]
        if not asked:
            return None
        try:
            return self._rehearsal(event, chain, asked)
        except Exception as error:  # whatever it is, those whose verdict counts are asked
            for binding, _ in asked:
                self._failed(binding, error)
            return None

    def _rehearsal(self, event: Event, chain: Chain, asked: list[tuple[Binding, tuple[int, ...]]]) -> Rehearsal:
        overheard = overhear(event)
        roles = []
        for binding, matched in asked:
            server = Offstage(event.facts.server, binding.plug.name)
            copy = understudy(event, server, overheard)
            copy.matched = matched
            roles.append(Role(binding, copy, server, event.facts, picture(copy), _octets(copy)))
        return Rehearsal(event, chain, roles, self._begin)

    async def drain(self) -> None:
        """Waits until all shadows were asked."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    def _is_asked(self, binding: Binding, event: Event) -> bool:
        try:
            if not self._wanted(binding, event):
                return False
            if binding.gate is not None and binding.gate.refuses(event):
                binding.counted.refused += 1
                return False
        except _FAILURES as error:
            self._failed(binding, error)
            return False
        message = event.facts.message
        octets = message.content.size if message is not None and message.content is not None and message.content.in_memory else 0
        if binding.counted.waiting < MOST_WAITING and self._octets + octets <= MOST_OCTETS:
            return True
        binding.counted.dropped += 1
        if self._seldom("shadow late", binding.key):
            self._log.warning("shadow is too slow", binding=binding.name, method=binding.method, dropped=binding.counted.dropped)
        return False

    def _begin(self, role: Role, answer: Answer | None) -> None:
        role.binding.counted.waiting += 1
        self._octets += role.octets
        keys = role.keys
        earlier = {self._last[key] for key in keys if key in self._last}
        task = asyncio.get_running_loop().create_task(self._rehearse(role, answer, earlier))
        self._tasks.add(task)
        self._last.update(dict.fromkeys(keys, task))

        def ended(task: asyncio.Task[None]) -> None:
            role.binding.counted.waiting -= 1
            self._octets -= role.octets
            self._tasks.discard(task)
            for key in keys:
                if self._last.get(key) is task:
                    del self._last[key]
            if not task.cancelled() and (error := task.exception()) is not None:
                self._failed(role.binding, error)

        task.add_done_callback(ended)

    async def _rehearse(self, role: Role, answer: Answer | None, earlier: set[asyncio.Task[None]]) -> None:
        binding = role.binding
        if earlier:
            await asyncio.wait(earlier)
        places = self._places.setdefault(binding.plug.name, asyncio.Semaphore(binding.plug.concurrency or AT_ONCE))
        async with places:
            started = time.perf_counter()
            try:
                verdict = await self._play(role)
            except NothingHeard as error:
                self._not_compared(binding, error)
                return
            except _FAILURES as error:
                # Nobody cancels these tasks: a CancelledError is the handler's own.
                self._failed(binding, error)
                return
            finally:
                binding.counted.seconds += time.perf_counter() - started
        if answer is not None:
            await self._compare(role, verdict, answer)

    async def _play(self, role: Role) -> Verdict | None:
        """What the shadow says, with its edits made to its copy; None also for a verdict that is an edit."""
        binding, event = role.binding, role.event
        memory = self._memories.setdefault(binding.plug.name, Memory())
        remember = recall(event, role.real, binding.scope.owner, memory)
        binding.counted.matched += 1
        binding.standing.firings += 1
        event.begin(binding.scope)
        verdict = binding.handler(event) if binding.mode == "inline" else await self._runner.run(binding, event)
        if verdict is not None and not isinstance(verdict, event.admits):
            raise SinkError(binding.name, f"{type(event).__name__} cannot be answered with {verdict!r}")
        edit = event.judge(verdict) if verdict is not None and type(verdict) in event.edits else None
        event.commit()
        remember()
        if verdict is None:
            return None
        binding.counted.verdicts += 1
        if edit is None:
            final: Verdict = verdict
            return final
        event.edit(edit)
        return None

    async def _compare(self, role: Role, verdict: Verdict | None, answer: Answer) -> None:
        """Counts whether a shadow agreed, and says it when not."""
        only = Counter[str]()
        same = same_kind(verdict, answer.verdict)
        if same and verdict is None:
            after = picture(role.event)
            only = await asyncio.to_thread(_only, role.before, after, answer) if after != role.before else only
        counters = role.binding.counted
        if same and not only:
            counters.agreed += 1
            return
        counters.differed += 1
        if self._seldom("differs", role.binding.key):
            self._log.info(
                "shadow differs",
                binding=role.binding.name,
                method=role.binding.method,
                event_name=type(role.event).__name__,
                verdict=spoken(verdict),
                counted=spoken(answer.verdict),
                edits=[line[:200] for line in sorted(only)[:10]],
                done=role.server.done[:10],
                differed=counters.differed,
                agreed=counters.agreed,
                **_ids(role.event),
            )

    def _not_compared(self, binding: Binding, error: NothingHeard) -> None:
        binding.counted.dropped += 1
        if self._seldom("not compared", binding.key):
            self._log.info("shadow cannot be compared", binding=binding.name, method=binding.method, error=str(error))

    def _failed(self, binding: Binding, error: BaseException) -> None:
        binding.counted.errors += 1
        binding.plug.standing.last_error = f"{type(error).__name__}: {error}"
        if self._seldom("shadow failed", binding.key):
            self._log.error(
                "shadow failed",
                binding=binding.name,
                method=binding.method,
                error=f"{type(error).__name__}: {error}",
                exc_info=None if isinstance(error, SinkError) else error,
            )


def same_kind(one: Verdict | None, other: Verdict | None) -> bool:
    """Whether two verdicts are of one kind, with the same reply code where they have one."""
    return type(one) is type(other) and getattr(one, "code", None) == getattr(other, "code", None)


def spoken(verdict: Verdict | None) -> str:
    """A verdict in a few words, for log lines."""
    return "proceed" if verdict is None else str(verdict)[:200]


def _theirs(shadow: Binding, outcome: Outcome) -> Verdict | None:
    """The verdict that a shadow is compared with: what came of it all, or what the binding said that it is to replace."""
    canary = shadow.plug.canary
    return outcome.verdict if canary is None or not canary.replaces or outcome.by == canary.replaces else None


def _only(before: Picture, after: Picture, answer: Answer) -> Counter[str]:
    """The edits that a shadow made and nobody else did."""
    return edits(before, after) - edits(answer.before, answer.after)


def _octets(event: Event) -> int:
    content = event.facts.message.content if event.facts.message is not None else None
    return content.size if content is not None and content.in_memory else 0


def _ids(event: Event) -> dict[str, Any]:
    facts = event.facts
    ids = {"message": facts.message.record.id} if facts.message is not None else {}
    return {**ids, "session": facts.session.id} if facts.session is not None else ids
