"""No regular expression of ours can be made to run for long: each is tried with strings that are made against it.

From the parse tree of an expression come the characters that it can tell apart; strings of one or two of them, very long, behind a
beginning that matches and before an end that does not, are what catastrophic back-tracking needs. The time must grow with the length and
not with its square, by the way in which the expression is used: a search may start anywhere, a full match only at the beginning.
"""

from __future__ import annotations

import ast
import importlib
import itertools
import pkgutil
import re
import time
from collections.abc import Iterator
from pathlib import Path
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

import pytest

import penstock
from penstock.events.pattern import address_test, domain_test, glob
from penstock.mail.address import Address
from penstock.sinks.wildcard import wildcard

SOURCE = Path(penstock.__file__).parent
LONG = 1000
BUDGET = 0.015
# Where a pattern is made while the server runs: all of it is escaped, or it is a list of words.
MADE_LATER = {
    ("admin/selecting.py", "fnmatch.translate: of the administrator, matches names of at most some hundred octets"),
    ("cli/replay_seen.py", "words joined by |, escaped"),
    ("config/checks.py", "a template's gaps"),
    ("delivery/downgrade.py", "a boundary, escaped"),
    ("events/condition.py", "a reply code, escaped"),
    ("events/pattern.py", "glob: atomic groups, tried below"),
    ("mail/address.py", "pieces of the grammar in the same file"),
    ("mail/header.py", "a field's name, escaped"),
    ("sinks/wildcard.py", "the same glob, tried below"),
    ("wire/smtp/command.py", "pieces of the grammar in the same file"),
    ("wire/smtp/extension.py", "pieces of the grammar in the same file"),
    ("wire/smtp/client_parameters.py", "pieces of the grammar in the same file"),
    ("capture/redact.py", "pieces of the grammar in the same file"),
}


def patterns() -> dict[tuple[str, str], re.Pattern[Any]]:
    """All compiled expressions of all modules, by module and name."""
    found: dict[tuple[str, str], re.Pattern[Any]] = {}
    for module in pkgutil.walk_packages(penstock.__path__, "penstock."):
        if module.name.endswith("__main__"):
            continue
        try:
            names = vars(importlib.import_module(module.name))
        except ImportError:  # an extra that is not installed
            continue
        known = {id(pattern) for pattern in found.values()}
        found |= {(module.name, name): one for name, one in names.items() if isinstance(one, re.Pattern) and id(one) not in known}
    return found


PATTERNS = patterns()


def uses(module: str, name: str) -> set[str]:
    """How a module uses its expression: "match", "search" and so on."""
    text = Path(importlib.import_module(module).__file__ or "").read_text()
    return set(re.findall(rf"\b{re.escape(name)}\.(match|fullmatch|search|sub|subn|split|findall|finditer)\b", text)) or {"fullmatch"}


def characters(tree: Any) -> Iterator[int]:
    """One character for each thing that the expression tells apart."""
    for code, value in tree:
        if code in (codes.LITERAL, codes.NOT_LITERAL):
            yield value
        elif code is codes.IN:
            yield from (one for kind, given in value for one in _of_class(kind, given))
        elif code in (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT):
            yield from characters(value[2])
        elif code is codes.SUBPATTERN:
            yield from characters(value[-1])
        elif code is codes.ATOMIC_GROUP:
            yield from characters(value)
        elif code is codes.BRANCH:
            for branch in value[1]:
                yield from characters(branch)
        elif code in (codes.ASSERT, codes.ASSERT_NOT):
            yield from characters(value[1])


def _of_class(kind: Any, given: Any) -> Iterator[int]:
    if kind is codes.LITERAL:
        yield given
    elif kind is codes.RANGE:
        yield given[0]
    elif kind is codes.CATEGORY:
        yield {codes.CATEGORY_SPACE: 32, codes.CATEGORY_DIGIT: 48, codes.CATEGORY_WORD: 97}.get(given, 33)


def example(tree: Any) -> str:
    """A text that the expression, or most of it, matches."""
    made = ""
    for code, value in tree:
        if code is codes.LITERAL:
            made += chr(value)
        elif code is codes.IN:
            made += next((chr(one) for kind, given in value for one in _of_class(kind, given)), "a")
        elif code in (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT):
            made += example(value[2]) * max(1, min(value[0], 5))
        elif code is codes.SUBPATTERN:
            made += example(value[-1])
        elif code is codes.ATOMIC_GROUP:
            made += example(value)
        elif code is codes.BRANCH:
            made += example(value[1][0])
        elif code in (codes.ANY, codes.NOT_LITERAL):
            made += "a"
    return made


def attacks(pattern: re.Pattern[Any]) -> Iterator[str]:
    """Texts made against an expression: much of the same in its middle, and an end that spoils the match."""
    tree = parser.parse(pattern.pattern, pattern.flags & ~re.DEBUG & ~re.UNICODE if isinstance(pattern.pattern, bytes) else pattern.flags)
    kinds = [chr(code) for code in dict.fromkeys(characters(tree)) if code < 0x110000 and not 0xD800 <= code < 0xE000]
    kinds = list(dict.fromkeys([*kinds, *"a 0"]))[:8]
    whole = example(tree)
    beginnings = dict.fromkeys(("", whole[: len(whole) // 2], whole))
    pumps = [*kinds, *("".join(pair) for pair in itertools.permutations(kinds[:4], 2)), whole or "a"]
    for beginning, pump in itertools.product(beginnings, pumps):
        yield beginning + (pump * LONG)[:LONG] + "\n!"


def took(pattern: re.Pattern[Any], way: str, text: str) -> float:
    """Seconds for one use, the best of three where the first was slow."""
    given: Any = text.encode("utf-8", "replace") if isinstance(pattern.pattern, bytes) else text
    best = 9.0
    for _ in range(2):
        begin = time.thread_time()
        if way in ("sub", "subn"):
            pattern.sub(b"" if isinstance(given, bytes) else "", given)
        elif way == "finditer":
            for _found in pattern.finditer(given):
                pass
        else:
            getattr(pattern, way)(given)
        best = min(best, time.thread_time() - begin)
        if best < BUDGET:
            break
    return best


@pytest.mark.parametrize(("module", "name"), PATTERNS, ids=[f"{module}.{name}" for module, name in PATTERNS])
def test_no_text_makes_an_expression_run_for_long(module: str, name: str) -> None:
    pattern = PATTERNS[module, name]
    ways = uses(module, name)
    # What is used beside a full match is at least as slow with a search.
    worst = max(((took(pattern, way, text), way, text) for text in attacks(pattern) for way in ways), key=lambda one: one[0])
    assert worst[0] < BUDGET, f"{pattern.pattern!r}: {worst[0]:.2f} s to {worst[1]} {worst[2][:60]!r}... of {len(worst[2])}"


@pytest.mark.parametrize("slow", [r"(?:a|b|ab)*c", r"\s*([^:]+?)\s*:", r"a*a*a*b"])
def test_an_expression_that_back_tracks_is_found(slow: str) -> None:
    pattern = re.compile(slow)
    assert any(took(pattern, "search", text[:600]) > BUDGET / 20 for text in attacks(pattern))


def test_patterns_that_are_made_later_are_known() -> None:
    """Whoever compiles an expression out of anything but constants has to stand in the list, with the reason why that is safe."""
    allowed = {place for place, _why in MADE_LATER}
    found = set()
    for path in SOURCE.rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and _is_re(call.func) and call.args and not _is_constant(call.args[0]):
                found.add(str(path.relative_to(SOURCE)))
    assert found <= allowed, "made of what?"


def _is_re(function: ast.expr) -> bool:
    return (
        isinstance(function, ast.Attribute)
        and isinstance(function.value, ast.Name)
        and function.value.id == "re"
        and function.attr != "escape"
    )


def _is_constant(argument: ast.expr) -> bool:
    return isinstance(argument, ast.Constant) or (
        isinstance(argument, ast.BinOp) and _is_constant(argument.left) and _is_constant(argument.right)
    )


@pytest.mark.parametrize("stars", [1, 5, 30, 200])
def test_patterns_of_users_are_bounded(stars: int) -> None:
    """Match rules and table look-ups, with as many stars as one likes, against values that almost match."""
    pattern = "a*" * stars + "b"
    begin = time.thread_time()
    for value in ("a" * LONG, "a" * LONG + "c", "ab" * LONG + "c"):
        glob(pattern).fullmatch(value)
        wildcard(pattern).fullmatch(value)
        domain_test(pattern)(value)
        address_test([f"{pattern}@{pattern}"])(Address(value, value))
    assert time.thread_time() - begin < 1.0
