"""A worker's bindings as administrators see them: how each fares, and reloads."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from ..admin.protocol import ControlError
from ..admin.protocol_bindings import BindingChanged, BindingRow, ChangeBinding, ReloadRow
from ..config.changes import Change, apply
from ..errors import ConfigError, PenstockError
from ..events.binding import Binding
from ..events.plug import Plug
from .aside import Aside
from .generations import Generations

# So much of an error is shown in a list, in characters.
SHOWN = 500
# How long a change may take: it is checked as a whole, with all sinks.
CHANGE = 60.0


class LiveBindings:
    """The bindings of one worker; ``admin.bindings.BindingOperations``.

    Args:
        worker: its name.
        generations: what is in force.
    """

    def __init__(self, worker: str, generations: Generations) -> None:
        self._worker = worker
        self._generations = generations

    @property
    def generation(self) -> int:
        return self._generations.bindings.generation

    @property
    def retiring(self) -> int:
        return self._generations.retiring

    @property
    def last_error(self) -> str:
        return self._generations.last_error

    def rows(self) -> Sequence[BindingRow]:
        return list(self._rows())

    async def reload(self, refused: str = "") -> ReloadRow:
        if refused:
            self._generations.note_refusal(refused)
            return ReloadRow(worker=self._worker, generation=self.generation, error=refused)
        try:
            done = await self._generations.reload()
        except ConfigError as error:
            what = f"{error.where}: {error.what}"
            return ReloadRow(worker=self._worker, generation=self.generation, error=what, hint=error.hint)
        except PenstockError as error:
            return ReloadRow(worker=self._worker, generation=self.generation, error=str(error))
        return ReloadRow(worker=self._worker, generation=done.generation, changed=list(done.changed), restart=list(done.restart))

    async def change(self, change: ChangeBinding, user: str) -> BindingChanged:
        wish = Change(change.action, change.name, change.values, tuple(change.keys), change.replace)
        path = self._generations.config.path
        try:
            # It imports sinks and waits for a lock: not on the loop.
            done = await Aside(lambda: apply(path, wish, user, time.time()), "penstock-change").result(CHANGE)
        except ConfigError as error:
            raise ControlError("data", f"{error.where}: {error.what}") from error
        except TimeoutError as error:
            raise ControlError("later", f"the change was not made within {CHANGE:g} s: it hangs {error}") from error
        return BindingChanged(done.changed, done.what, list(done.notes))

    def _rows(self) -> Iterator[BindingRow]:
        bindings = self._generations.bindings
        for binding in bindings.all:
            counters = binding.counters
            state, detail = state_of(binding.plug, time.time())
            yield BindingRow(
                name=binding.name,
                event=event_name(binding),
                handler=binding.method,
                keyword=binding.keyword,
                priority=binding.plug.priority,
                asked=counters.asked,
                matched=counters.matched,
                verdicts=counters.verdicts,
                errors=counters.errors,
                seconds=round(counters.seconds, 6),
                late=counters.late,
                dropped=counters.dropped,
                refused=counters.refused,
                agreed=counters.agreed,
                differed=counters.differed,
                state=state,
                detail=detail,
                version=binding.plug.version,
                generation=bindings.generation,
                last_error=binding.plug.standing.last_error[:SHOWN],
                worker=self._worker,
            )


def event_name(binding: Binding) -> str:
    """The event's name as the catalogue has it."""
    return binding.event.__name__.removesuffix("Report")


def state_of(plug: Plug, now: float) -> tuple[str, str]:
    """How a binding stands, and the detail of that, as in ``BindingRow``."""
    standing = plug.standing
    if not plug.enabled:
        return "disabled", ""
    if plug.expires and now >= plug.expires:
        return "expired", ""
    if plug.max_firings and standing.firings >= plug.max_firings:
        return "used up", f"{standing.firings} calls"
    if standing.rolled_back:
        return "rolled back", standing.rolled_back
    if standing.open_until:
        left = standing.open_until - time.monotonic()
        return "breaker open", f"tried again in {left:.0f} s" if left > 0 else "tried again with the next call"
    if plug.mode == "shadow":
        return "shadow", ""
    if plug.canary is not None:
        return "canary", f"{plug.canary.percent:g}%"
    return "active", ""
