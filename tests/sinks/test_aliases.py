"""Aliases: the file is judged when it is read, and read again when it changes; an alias leads to all that it stands for."""

from __future__ import annotations

from pathlib import Path

import pytest

from events.harness import Harness, message_work, session_work
from hosts.running import Running, until
from penstock import Address, Recipient
from penstock.errors import ConfigError
from penstock.events import Item, RcptTo, Resolve
from penstock.sinks import Aliases, AliasesSettings
from penstock.sinks.aliasfile import read_aliases
from transport.directories import Box
from transport.sinks import deliver_one, empty


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a test writes its aliases."""
    return tmp_path / "aliases"


def aliases(file: Path, text: str) -> Aliases:
    """The sink for example.com with this file."""
    file.write_text(text)
    return Aliases(AliasesSettings({"example.com": file}))


async def asked(sink: Aliases, address: str, *trail: str, sender: str = "a@client.example") -> Item:
    """What the sink decides about a recipient that these led to."""
    harness = Harness.of(sink)
    work = message_work(sender=sender)
    item = Item(Address.parse(address), recipient=Recipient(Address.parse(address)), trail=trail)
    event = Resolve(harness.facts(work), [item], 1)
    assert await harness.ask(event) is None
    assert harness.bindings.all[-1].counters.errors == 0
    return event.kept[0]


async def members(sink: Aliases, address: str, *trail: str) -> list[str]:
    """The addresses that one leads to."""
    return [str(member) for member in (await asked(sink, address, *trail)).members]


def test_the_syntax_of_etc_aliases_is_read(file: Path) -> None:
    file.write_text(
        "# a comment\n\npostmaster: root\nroot:alice,\n\t bob@other.example ,\n   # a comment between\n  carol\n"
        '"the whole team" : alice, "odd, name"@example.com, \\dave\nTrailing: alice,\n'
        'program: "|/usr/bin/vacation -r \\"a b\\"", /var/mail/box\nlist: :include:/etc/list\n'
    )
    found = read_aliases(file, "example.com")
    assert {name: [(d.kind, d.text or str(d.address)) for d in alias.destinations] for name, alias in found.items()} == {
        "postmaster": [("address", "root@example.com")],
        "root": [("address", "alice@example.com"), ("address", "bob@other.example"), ("address", "carol@example.com")],
        "the whole team": [("address", "alice@example.com"), ("address", '"odd, name"@example.com'), ("mailbox", "dave@example.com")],
        "trailing": [("address", "alice@example.com")],
        "program": [("pipe", '/usr/bin/vacation -r "a b"'), ("file", "/var/mail/box")],
        "list": [("include", "/etc/list")],
    }
    assert [alias.line for alias in found.values()] == [3, 4, 8, 9, 10, 11]


def test_a_quoted_colon_belongs_to_the_name(file: Path) -> None:
    file.write_text('"a:b": alice\n')
    assert list(read_aliases(file, "example.com")) == ["a:b"]


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("a: |\n", 1, "no command"),
        ("list: :INCLUDE:list\n", 1, "begins with '/'"),
        ("a: b\n\nA: c\n", 3, "twice"),
        ("no colon here\n", 1, "does not look like"),
        ("empty:\n", 1, "stands for nobody"),
        ("  a: b\n", 1, "white space"),
        ('a: "unfinished\n', 1, "quotation mark"),
        ("a: not an address\n", 1, "not an address"),
        ("a: b@-bad-.example\n", 1, "malformed"),
        ("a: , b\n", 1, "does not look like a destination"),
    ],
)
def test_what_cannot_be_used_is_refused_with_file_and_line(file: Path, text: str, line: int, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        aliases(file, text)
    assert f"{file}:{line}" in str(caught.value)
    assert reason in str(caught.value)


def test_a_file_that_is_not_there_is_refused_with_its_path(file: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        Aliases(AliasesSettings({"example.com": file}))
    assert str(file) in str(caught.value)


async def test_an_alias_leads_to_what_it_stands_for_and_no_further(file: Path) -> None:
    """The rest is for the next round, in which other directories are asked too."""
    sink = aliases(file, "all: team, boss\nteam: alice, bob@other.example\nboss: alice\n")
    item = await asked(sink, "all@example.com")
    assert (item.decision, [str(m) for m in item.members]) == ("expanded", ["team@example.com", "boss@example.com"])
    assert (await asked(sink, "boss@example.com")).decision == "forwarded"
    assert not (await asked(sink, "nobody@example.com")).decided
    assert not (await asked(sink, "all@other.example")).decided


@pytest.mark.parametrize("text", ["alice: alice, archive\n", "alice: \\alice, archive\n", "Alice: ALICE@example.com, archive\n"])
async def test_an_alias_that_names_itself_keeps_the_mailbox(file: Path, text: str) -> None:
    item = await asked(aliases(file, text), "alice@example.com")
    assert (item.decision, [str(m) for m in item.members]) == ("forwarded", ["alice@example.com", "archive@example.com"])


async def test_a_backslash_means_the_mailbox_whatever_its_alias(file: Path) -> None:
    sink = aliases(file, "alice: \\bob\nbob: carol\n")
    assert await members(sink, "alice@example.com") == ["bob@example.com"]
    assert (await asked(sink, "bob@example.com", "alice@example.com")).decision == "resolved"
    assert await members(sink, "bob@example.com") == ["carol@example.com"]


async def test_names_are_found_in_any_case_and_with_a_detail(file: Path) -> None:
    sink = aliases(file, "Sales: alice\nsales+fair: bob\n")
    assert await members(sink, "SALES@example.com") == ["alice@example.com"]
    assert await members(sink, "sales+x@example.com") == ["alice@example.com"]
    assert await members(sink, "sales+fair@example.com") == ["bob@example.com"]


async def test_a_list_with_an_owner_has_the_owner_as_its_sender(file: Path) -> None:
    sink = aliases(file, "list: a, b\nowner-list: boss\nother: a, b\n")
    assert str((await asked(sink, "list@example.com")).sender) == "owner-list@example.com"
    assert (await asked(sink, "other@example.com")).sender is None
    assert (await asked(sink, "owner-list@example.com")).sender is None
    # A report to a list stays a report.
    assert (await asked(sink, "list@example.com", sender="")).sender is None


async def test_a_command_or_file_alone_is_the_delivery_of_the_alias(file: Path) -> None:
    sink = aliases(file, "vacation: |/usr/bin/vacation alice\nbox: /var/mail/box\n")
    assert (await asked(sink, "vacation@example.com")).route == "pipe:/usr/bin/vacation alice"
    assert (await asked(sink, "box@example.com")).route == "file:/var/mail/box"


async def test_a_command_beside_others_is_found_again_by_its_place(file: Path) -> None:
    sink = aliases(file, "both: alice, /var/mail/box, |/bin/true\n")
    assert await members(sink, "both@example.com") == ["alice@example.com", "both|0@example.com", "both|1@example.com"]
    item = await asked(sink, "both|1@example.com", "both@example.com")
    assert (item.route, item.attributes) == ("pipe:/bin/true", {"alias": "both@example.com"})


@pytest.mark.parametrize("trail", [(), ("alice@example.com",), ("both@elsewhere.example",), ("other@example.com",)])
async def test_nobody_runs_a_command_by_its_place_who_did_not_come_through_its_alias(file: Path, trail: tuple[str, ...]) -> None:
    sink = aliases(file, "both: alice, |/bin/true\nother: alice\n")
    assert not (await asked(sink, "both|0@example.com", *trail)).decided


async def test_an_included_list_is_read_again_when_it_changes_and_defers_its_alias_while_it_is_wrong(file: Path, tmp_path: Path) -> None:
    listed, nested = tmp_path / "list", tmp_path / "nested"
    sink = aliases(file, f"list: :include:{listed}, boss\n")
    item = await asked(sink, "list@example.com")
    assert (item.decision, item.status) == ("deferred", "4.3.5")
    assert str(listed) not in item.text
    listed.write_text(f"# members\nalice, bob@other.example\n\n:include:{nested}\n")
    nested.write_text("carol\n\\dave\n")
    sink.refresh()
    assert await members(sink, "list@example.com") == [
        "alice@example.com", "bob@other.example", "carol@example.com", "dave@example.com", "boss@example.com",
    ]  # fmt: skip
    assert (await asked(sink, "dave@example.com", "list@example.com")).decision == "resolved"
    listed.write_text("|/bin/sh\n")
    sink.refresh()
    assert (await asked(sink, "list@example.com")).decision == "deferred"
    assert not (await asked(sink, "boss@example.com")).decided


async def test_lists_that_include_one_another_end(file: Path, tmp_path: Path) -> None:
    (tmp_path / "one").write_text(f":include:{tmp_path / 'two'}\n")
    (tmp_path / "two").write_text(f"alice, :include:{tmp_path / 'one'}\n")
    sink = aliases(file, f"list: :include:{tmp_path / 'one'}\n")
    assert (await asked(sink, "list@example.com")).decision == "deferred"


async def test_a_changed_file_is_used_and_a_broken_one_leaves_the_old(file: Path) -> None:
    sink = aliases(file, "sales: alice\n")
    file.write_text("sales: bob\n")
    sink.refresh()
    assert await members(sink, "sales@example.com") == ["bob@example.com"]
    file.write_text("this is broken\n")
    sink.refresh()
    assert await members(sink, "sales@example.com") == ["bob@example.com"]
    file.unlink()
    sink.refresh()
    assert await members(sink, "sales@example.com") == ["bob@example.com"]
    file.write_text("sales: carol\n")
    sink.refresh()
    assert await members(sink, "sales@example.com") == ["carol@example.com"]


async def test_changes_are_found_while_the_server_runs(file: Path) -> None:
    file.write_text("sales: alice\n")
    sink = Aliases(AliasesSettings({"example.com": file}, interval=0.01))
    await sink.start()
    try:
        file.write_text("sales: bob, carol\n")
        await until(lambda: len(sink.find(Address.parse("sales@example.com")).destinations) == 2, "the file is read again")
    finally:
        await sink.stop()


async def test_an_alias_is_known_at_rcpt(file: Path) -> None:
    harness = Harness.of(aliases(file, "sales: alice\n"))
    for name, known in (("sales+x", True), ("nobody", False)):
        event = RcptTo(harness.facts(message_work(), session_work()), Recipient(Address.parse(f"{name}@example.com")))
        assert await harness.ask(event) is None
        assert ("known_by" in event.work.properties) == known


async def test_mail_reaches_each_member_once_through_lists_within_lists(file: Path) -> None:
    """In a running server, whose categorizer asks round after round."""
    sink, box = aliases(file, "all: team, boss, alice\nteam: alice, bob\nboss: \\boss, bob\nloop: pool\npool: loop\n"), Box()
    async with Running(sink, box) as server:
        await deliver_one(server, "all@example.com", "loop@example.com")
        await empty(server)
    reports = [content for content, (sender, _) in zip(box.contents, box.got, strict=True) if sender == ""]
    assert box.who == ["a", "alice", "bob", "boss"]
    assert len(reports) == 1
    assert b"leads back to itself" in reports[0]
