"""The bindings of one event, in the order in which they are asked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .binding import Binding
    from .event import Event


class Chain(tuple["Binding", ...]):
    """The bindings of one event: a tuple, so that an event that nobody bound costs one look at its length.

    ``shadows`` are asked about a copy and never answer; they are not among the others.
    """

    shadows: tuple[Binding, ...]

    def __new__(cls, bindings: Iterable[Binding] = (), shadows: Iterable[Binding] = ()) -> Chain:
        chain = super().__new__(cls, bindings)
        chain.shadows = tuple(shadows)
        return chain

    def candidates(self, event: Event) -> Sequence[Binding]:
        """The bindings whose conditions may hold at an event, in order; those left out could not."""
        return self


EMPTY = Chain()
