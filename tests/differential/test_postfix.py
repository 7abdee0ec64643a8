"""Penstock answers odd conversations as Postfix does, but for the differences that ``differences.toml`` explains."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from differential.comparing import Difference, commands, difference, replies, rules
from differential.odd import WRITTEN, conversation
from differential.peers import both
from support.needs import needs, needs_root

ALL = 5000
AT_ONCE = 12


async def compare(folder: Path, conversations: list[bytes]) -> tuple[Counter[str], list[tuple[bytes, Difference]]]:
    """How often each rule explained a difference, and what none explains."""
    known, used, unexplained = rules(), Counter[str](), list[tuple[bytes, Difference]]()
    room = asyncio.Semaphore(AT_ONCE)
    with both(folder) as (postfix, penstock):

        async def one(says: bytes) -> None:
            async with room:
                theirs, ours = await asyncio.gather(replies(postfix, says), replies(penstock, says))
            found = difference(says, theirs, ours)
            if found is None:
                used[""] += 1
                return
            rule = next((rule for rule in known if rule.explains(found)), None)
            if rule is None:
                unexplained.append((says, found))
            else:
                used[rule.name] += 1

        await asyncio.gather(*map(one, conversations))
    return used, unexplained


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_every_difference_from_postfix_is_explained(tmp_path: Path) -> None:
    """5,000 conversations from seeds and those written by hand; more than half are answered alike to the last reply."""
    needs("postfix")
    needs_root("Postfix gives up rights")
    used, unexplained = await compare(tmp_path, [*WRITTEN, *map(conversation, range(ALL))])
    for says, found in unexplained[:20]:
        print(found, "in", says)
    assert not unexplained
    assert sum(used.values()) == ALL + len(WRITTEN)
    assert used[""] > ALL / 2
    assert {rule.name for rule in rules()} - set(used) <= {"etrn"}, "rules that explain nothing any more"


def test_each_reply_is_laid_to_its_command() -> None:
    says = b"EHLO x\r\nDATA\r\na\r\n.\r\nBDAT 4\r\na\nb\nDATA\r\nQUIT\r\n"
    answered = ["220", "250", "354", "250", "250", "503", "221"]
    assert commands(says, answered) == [b"EHLO x\r\n", b"DATA\r\n", b"a\r\n.\r\n", b"BDAT 4\r\na\nb\n", b"DATA\r\n", b"QUIT\r\n"]


def test_a_difference_that_nobody_explains_is_found() -> None:
    found = difference(b"NOOP\r\nQUIT\r\n", ["220 a", "250 ok", "221 bye"], ["220 b", "550 no", "221 bye"])
    assert found is not None
    assert (found.command, found.postfix, found.penstock) == ("NOOP\r\n", "250 ok", "550 no")
    assert not any(rule.explains(found) for rule in rules())
