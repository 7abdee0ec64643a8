"""Patterns of match conditions, compiled to tests: names with ``*``, domains, and addresses.

What a pattern can be found by, without trying it, is said in ``keys``; the index of a chain looks there.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from ..mail.address import Address

Strings = str | list[str]


def glob(pattern: str) -> re.Pattern[str]:
    """A pattern in which ``*`` stands for any characters, compared without regard to case."""
    first, *others = [re.escape(part) for part in pattern.split("*")]
    if not others:
        return re.compile(first, re.IGNORECASE)
    # The leftmost place of each part between two stars is as good as any, hence the atomic groups: without them a long value that almost
    # matches, such as a header field made for it, would be tried in more ways than there is time for.
    middle = "".join(f"(?>.*?{part})" for part in others[:-1])
    return re.compile(f"{first}{middle}.*{others[-1]}", re.IGNORECASE | re.DOTALL)


def many(value: Strings) -> list[str]:
    """The items of a condition that may be one or a list. Raises ValueError where there is none."""
    values = [value] if isinstance(value, str) else list(value)
    if not values or any(not item for item in values):
        raise ValueError("it is empty")
    return values


def domain_test(pattern: str) -> Callable[[str], bool]:
    """Whether a domain is the one named, or, for ``.example.com``, that one or below it; ``*`` stands for any characters."""
    wanted = pattern.lower()
    if "*" in wanted:
        compiled = glob(wanted)
        return lambda domain: compiled.fullmatch(domain) is not None
    if wanted.startswith("."):
        return lambda domain: domain == wanted[1:] or domain.endswith(wanted)
    return lambda domain: domain == wanted


def address_test(patterns: Strings) -> Callable[[Address], bool]:
    """Whether an address meets one of the patterns."""
    tests: list[Callable[[Address], bool]] = []
    for pattern in many(patterns):
        if "@" in pattern:
            local, _, domain = pattern.rpartition("@")
            tests.append(_mailbox_test(glob(local), domain_test(domain)))
        elif pattern == "<>":
            tests.append(lambda a: a.is_null)
        else:
            tests.append(_mailbox_test(glob("*"), domain_test(pattern)))
    return tests[0] if len(tests) == 1 else lambda address: any(test(address) for test in tests)


def _mailbox_test(local: re.Pattern[str], domain: Callable[[str], bool]) -> Callable[[Address], bool]:
    return lambda address: local.fullmatch(address.local) is not None and domain(address.domain)


@dataclass(frozen=True, slots=True)
class Keys:
    """What must be there if a condition is to hold; an index looks it up in place of trying the condition.

    Args:
        about: "recipient", "sender", "listener" or "verb".
        domains: exact, in lower case.
        below: with a leading dot; they stand for the domain itself, too.
        mailboxes: local part in lower case, and domain.
        texts: in lower case.
    """

    about: str
    domains: frozenset[str] = frozenset()
    below: frozenset[str] = frozenset()
    mailboxes: frozenset[tuple[str, str]] = frozenset()
    texts: frozenset[str] = frozenset()


def address_keys(about: str, patterns: Strings) -> Keys | None:
    """What addresses that meet one of the patterns are found by; None where a pattern leaves the domain open."""
    domains, below, mailboxes = set(), set(), set()
    for pattern in many(patterns):
        local, at, domain = ("*", "", "") if pattern == "<>" else pattern.rpartition("@")
        domain = domain.lower()
        if "*" in domain:
            return None
        if domain.startswith("."):
            below.add(domain)
        elif at and "*" not in local and local.isascii():
            mailboxes.add((local.lower(), domain))
        else:
            # A local part beyond ASCII is left to the condition: regular expressions have a notion of case of their own.
            domains.add(domain)
    return Keys(about, frozenset(domains), frozenset(below), frozenset(mailboxes))


def domain_keys(about: str, patterns: Strings) -> Keys | None:
    """The same for patterns of domains alone."""
    found = [pattern.lower() for pattern in many(patterns)]
    if any("*" in pattern for pattern in found):
        return None
    return Keys(about, frozenset(p for p in found if p[0] != "."), frozenset(p for p in found if p[0] == "."))


def text_keys(about: str, patterns: Strings) -> Keys | None:
    """The same for names."""
    found = many(patterns)
    if any("*" in pattern or not pattern.isascii() for pattern in found):
        return None
    return Keys(about, texts=frozenset(pattern.lower() for pattern in found))
