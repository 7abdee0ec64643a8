"""The bindings of one event, in the order in which they are asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from .index import FEWEST, Index, best_keys

if TYPE_CHECKING:
    from .binding import Binding
    from .event import Event


class Chain(tuple["Binding", ...]):
    """The bindings of one event: a tuple, so that an event that nobody bound costs one look at its length.

    ``shadows`` are asked about a copy and never answer; they are not among the others. ``listed`` are all, in order, the shadows and those
    that are disabled included. ``finder`` is None where trying them all is as fast.
    """

    shadows: tuple[Binding, ...]
    listed: tuple[Binding, ...]
    finder: Index | None

    def __new__(cls, bindings: Iterable[Binding] = (), shadows: Iterable[Binding] = (), listed: Iterable[Binding] = ()) -> Chain:
        chain = super().__new__(cls, bindings)
        chain.shadows = tuple(shadows)
        chain.listed = tuple(listed) or tuple(chain)
        chain.finder = Index(chain) if sum(best_keys(binding) is not None for binding in chain) >= FEWEST else None
        return chain

    @classmethod
    def of(cls, listed: Iterable[Binding]) -> Chain:
        """The chain of all that an administrator bound to an event, in order."""
        listed = tuple(listed)
        enabled = [binding for binding in listed if binding.plug.enabled]
        shadows = [binding for binding in enabled if binding.plug.mode == "shadow"]
        active = [binding for binding in enabled if binding.plug.mode != "shadow"]
        return (WithShadows if shadows else cls)(active, shadows, listed)

    def candidates(self, event: Event) -> Sequence[Binding]:
        """The bindings whose conditions may hold at an event, in order; those left out could not."""
        return self if self.finder is None else [self[position] for position in self.finder.due(event)]

    def walk(self, event: Event) -> Iterator[Binding]:
        """The same, one by one; a handler that is called on the way may change who is due."""
        return iter(self) if self.finder is None else self.finder.walk(event)


class WithShadows(Chain):
    """A chain with shadows: worth asking even where nobody else is bound."""

    def __bool__(self) -> bool:
        return True


EMPTY = Chain()
