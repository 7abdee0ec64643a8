"""A table keyed by domain pattern, which Relay, LocalRecipients and Drop share so that a pattern means the same to all of them.

The patterns are those of match conditions without ``*``: ``example.com`` is that domain, ``.example.com`` that domain and all below it.
Without ``*`` a look-up is one or a few dictionary look-ups, however many domains there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar

V = TypeVar("V")


class DomainTable(Generic[V]):
    """Finds the value for a domain; an exact pattern wins over one with a dot, a longer one over a shorter one.

    Args:
        values: by pattern.

    Raises: ValueError for a pattern that could never match.
    """

    __slots__ = ("_below", "_exact")

    def __init__(self, values: Mapping[str, V]) -> None:
        self._exact: dict[str, V] = {}
        self._below: dict[str, V] = {}
        for pattern, value in values.items():
            domain = pattern.lower().rstrip(".")
            if not domain.lstrip(".") or any(c in domain for c in "*@ "):
                raise ValueError(f"{pattern!r} should be a domain such as 'example.com', or '.example.com' with all below it")
            if domain.startswith("."):
                self._below[domain[1:]] = value
            else:
                self._exact[domain] = value

    def find(self, domain: str) -> V | None:
        """The value for this domain, given in lower case; None when no pattern matches."""
        value = self._exact.get(domain)
        if value is not None or not self._below:
            return value
        while domain:
            value = self._below.get(domain)
            if value is not None:
                return value
            domain = domain.partition(".")[2]
        return None
