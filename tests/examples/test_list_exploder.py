"""The mailing list: who gets it, in whose name, and who may write."""

from __future__ import annotations

from pathlib import Path

import pytest
from examples.list_exploder import ListExploder

from penstock.testing import SinkTester, SinkTesters

LIST = "friends@lists.example.com"
OWNER = "friends-owner@lists.example.com"


@pytest.fixture
def tester(sink_tester: SinkTesters, tmp_path: Path) -> SinkTester:
    (tmp_path / "friends.txt").write_text("ann@example.com\nBen@example.net\n")
    return sink_tester(ListExploder, address=LIST, owner="ann@example.com", members=tmp_path / "friends.txt")


def written(tester: SinkTester, more: str = "", sender: str = "ann@example.com", *others: str) -> None:
    tester.set_message(f"Subject: hello\n{more}\nHello.\n", sender=sender, recipients=[LIST, *others])


async def test_members_get_it_in_the_owners_name_and_others_are_left_alone(tester: SinkTester) -> None:
    written(tester, "", "BEN@example.net", "dora@example.org")
    friends, dora = await tester.resolve()
    assert (friends.decision, [str(member) for member in friends.members]) == ("expanded", ["ann@example.com", "Ben@example.net"])
    assert str(friends.sender) == OWNER
    assert dora.decision == ""


async def test_who_is_no_member_hears_it(tester: SinkTester) -> None:
    for sender in ("eve@example.org", ""):
        written(tester, "", sender)
        [friends] = await tester.resolve()
        assert (friends.decision, friends.status) == ("failed", "5.7.1")


async def test_what_came_from_the_list_is_not_sent_to_it_again(tester: SinkTester) -> None:
    written(tester, "List-Id: <friends.lists.example.com>\n")
    [friends] = await tester.resolve()
    assert (friends.decision, friends.status) == ("failed", "5.4.6")


async def test_bounces_go_to_the_owner_whoever_they_come_from(tester: SinkTester) -> None:
    tester.set_message(sender="", recipients=[OWNER])
    [owner] = await tester.resolve()
    assert (owner.decision, [str(member) for member in owner.members]) == ("forwarded", ["ann@example.com"])


async def test_the_copy_for_members_says_that_it_is_from_a_list(tester: SinkTester) -> None:
    await tester.post_categorize("Subject: hello\n\nHello.\n", sender=OWNER, recipients=["ann@example.com"])
    header = tester.message.header
    assert header.get_all("List-Id") == ["<friends.lists.example.com>"]
    assert header.get("List-Post") == f"<mailto:{LIST}>"
    assert header.get("Precedence") == "list"


async def test_other_mail_is_not_marked(tester: SinkTester) -> None:
    await tester.post_categorize("Subject: hello\n\nHello.\n", sender="ann@example.com", recipients=["ben@example.net"])
    assert "List-Id" not in tester.message.header


async def test_without_the_file_of_members_the_message_waits(tester: SinkTester, tmp_path: Path) -> None:
    (tmp_path / "friends.txt").unlink()
    written(tester)
    with pytest.raises(FileNotFoundError):
        await tester.resolve()
    tester.bound(on_error="defer")
    [friends] = await tester.resolve()
    assert friends.decision == ""
