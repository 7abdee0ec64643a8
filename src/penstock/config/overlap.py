"""Whether two patterns, or two networks, can hold for one and the same thing; so that what excludes itself is found before it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from ipaddress import ip_network
from itertools import product

# Of longer patterns only whether they might overlap is said, which is that they do.
_LONGEST = 200


def texts(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether a text can meet a pattern of each; ``*`` stands for any characters, and case does not matter."""
    return _any(one, other, lambda a, b: _meet(a.lower(), b.lower()))


def domains(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether a domain can; ``.example.com`` is that one or one below it."""
    return texts(_domains(one), _domains(other))


def addresses(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether an address can; ``<>`` is the null path, and what has no ``@`` is a domain."""
    return _any(one, other, _one_address)


def networks(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether an IP address can be in a network of each."""
    return _any(one, other, _one_network)


def _any(one: Iterable[str], other: Iterable[str], meet: Callable[[str, str], bool]) -> bool:
    return any(meet(a, b) for a, b in product(one, list(other)))


def _one_address(one: str, other: str) -> bool:
    if "<>" in (one, other):
        # The null path has neither local part nor domain: only patterns for anything at all hold for it.
        return one == other or _holds_for_null(one) or _holds_for_null(other)
    (local, _, domain), (second, _, further) = _split(one), _split(other)
    return texts([local], [second]) and domains([domain], [further])


def _holds_for_null(pattern: str) -> bool:
    local, _, domain = _split(pattern)
    return not local.strip("*") and not domain.strip("*")


def _split(pattern: str) -> tuple[str, str, str]:
    return pattern.rpartition("@") if "@" in pattern else ("*", "@", pattern)


def _domains(patterns: Sequence[str]) -> list[str]:
    found: list[str] = []
    for pattern in patterns:
        found += [pattern[1:], f"*{pattern}"] if pattern.startswith(".") and "*" not in pattern else [pattern]
    return found


def _one_network(one: str, other: str) -> bool:
    try:
        first, second = ip_network(one, strict=False), ip_network(other, strict=False)
    except ValueError:  # told where the condition is compiled
        return True
    # A socket for both families shows IPv4 clients as IPv6: those are taken for what they are before they are compared.
    return first.version == second.version and first.overlaps(second)


def _meet(one: str, other: str) -> bool:
    """Whether a text is there that both patterns stand for."""
    if len(one) > _LONGEST or len(other) > _LONGEST:
        return True

    @cache
    def meet(i: int, j: int) -> bool:
        rest, others = one[i : i + 1], other[j : j + 1]
        if not rest and not others:
            return True
        if rest == "*" and (meet(i + 1, j) or (bool(others) and meet(i, j + 1))):
            return True
        if others == "*" and (meet(i, j + 1) or (bool(rest) and meet(i + 1, j))):
            return True
        return rest == others and rest not in ("", "*") and meet(i + 1, j + 1)

    return meet(0, 0)
