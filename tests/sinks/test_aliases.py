"""Aliases: the file is judged when it is read; a recipient that is an alias becomes those for whom it stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from events.harness import Harness, addresses, message_work
from penstock import Address, Recipient
from penstock.errors import ConfigError
from penstock.events import Submission
from penstock.events.work import MessageWork
from penstock.sinks import Aliases, AliasesSettings
from penstock.sinks.aliases import read_aliases


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a test writes its aliases."""
    return tmp_path / "aliases"


def aliases(file: Path, text: str) -> Aliases:
    """The sink for example.com with this file."""
    file.write_text(text)
    return Aliases(AliasesSettings({"example.com": file}))


async def expanded(sink: Aliases, *recipients: str | Recipient) -> MessageWork:
    """A message to these recipients, after the sink saw it."""
    work = message_work(recipients=recipients)
    harness = Harness.of(sink)
    assert await harness.ask(Submission(harness.facts(work))) is None
    assert harness.bindings.all[0].counters.errors == 0
    return work


def test_the_syntax_of_etc_aliases_is_read(file: Path) -> None:
    file.write_text(
        "# a comment\n"
        "\n"
        "postmaster: root\n"
        "root:alice,\n"
        "\t bob@other.example ,\n"
        "   # a comment between\n"
        "  carol\n"
        '"the whole team" : alice, "odd, name"@example.com, \\dave\n'
        "Trailing: alice,\n"
    )
    assert [(a.name, a.destinations, a.line) for a in read_aliases(file)] == [
        ("postmaster", ("root",), 3),
        ("root", ("alice", "bob@other.example", "carol"), 4),
        ("the whole team", ("alice", '"odd, name"@example.com', "\\dave"), 8),
        ("trailing", ("alice",), 9),
    ]


def test_a_quoted_colon_belongs_to_the_name(file: Path) -> None:
    file.write_text('"a:b": alice\n')
    assert [a.name for a in read_aliases(file)] == ["a:b"]


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("ok: alice\npipe: |/usr/bin/vacation\n", 2, "a command"),
        ('pipe: "|/usr/bin/vacation -r alice"\n', 1, "a command"),
        ("box: alice,\n /var/mail/box\n", 1, "a file"),
        ("list: :include:/etc/list\n", 1, "an included list"),
        ("list: :INCLUDE:/etc/list\n", 1, "an included list"),
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
    assert caught.value.where == f"{file}:{line}"
    assert reason in str(caught.value)


def test_a_file_that_is_not_there_is_refused_with_its_path(file: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        Aliases(AliasesSettings({"example.com": file}))
    assert str(file) in str(caught.value)


def test_a_circle_is_refused_with_the_whole_chain(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"b@example\.com -> c@example\.com -> d@example\.com -> b@example\.com"):
        aliases(file, "a: b\nb: c\nc: x, d@EXAMPLE.com\nd: B+more\n")


def test_a_circle_through_two_files_is_found(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("a: b@two.example\n")
    (tmp_path / "two").write_text("b: a@one.example\n")
    with pytest.raises(ConfigError, match="circle"):
        Aliases(AliasesSettings({"one.example": tmp_path / "one", "two.example": tmp_path / "two"}))


async def test_chains_are_followed_to_their_ends_and_nobody_gets_two_copies(file: Path) -> None:
    sink = aliases(file, "all: team, boss\nteam: alice, bob@other.example\nboss: alice\n")
    assert addresses(await expanded(sink, "all@example.com")) == ["alice@example.com", "bob@other.example"]


async def test_an_alias_that_names_itself_means_the_mailbox(file: Path) -> None:
    sink = aliases(file, "alice: alice, archive\n\nbob: \\bob, alice\n")
    assert addresses(await expanded(sink, "alice@example.com")) == ["alice@example.com", "archive@example.com"]
    assert addresses(await expanded(sink, "bob@example.com")) == ["bob@example.com", "alice@example.com", "archive@example.com"]


async def test_a_backslash_ends_the_chain_at_the_mailbox(file: Path) -> None:
    sink = aliases(file, "alice: \\bob\nbob: carol\n")
    assert addresses(await expanded(sink, "alice@example.com")) == ["bob@example.com"]


@pytest.mark.parametrize("asked", [("a", "b"), ("b", "a")])
async def test_an_alias_among_the_recipients_is_no_reason_to_keep_a_copy_from_the_mailbox_of_its_name(
    file: Path, asked: tuple[str, str]
) -> None:
    """The one goes to the mailbox b; the other is the alias b, and goes on to c."""
    sink = aliases(file, "a: \\b\nb: c\n")
    work = await expanded(sink, *(f"{name}@example.com" for name in asked))
    assert sorted(addresses(work)) == ["b@example.com", "c@example.com"]


async def test_names_are_found_in_any_case_and_with_a_detail(file: Path) -> None:
    sink = aliases(file, "Sales: alice\nsales+fair: bob\n")
    assert addresses(await expanded(sink, "SALES@example.com")) == ["alice@example.com"]
    assert addresses(await expanded(sink, "sales+x@example.com")) == ["alice@example.com"]
    assert addresses(await expanded(sink, "sales+fair@example.com")) == ["bob@example.com"]


async def test_other_recipients_and_other_domains_stay_as_they_are(file: Path) -> None:
    sink = aliases(file, "sales: alice\n")
    work = await expanded(sink, "bob@example.com", "sales@other.example")
    assert addresses(work) == ["bob@example.com", "sales@other.example"]
    assert not work.dirty


async def test_postmaster_without_an_alias_stays(file: Path) -> None:
    assert addresses(await expanded(aliases(file, "sales: alice\n"), "postmaster@example.com")) == ["postmaster@example.com"]


async def test_everybody_gets_the_parameters_and_properties_of_the_alias(file: Path) -> None:
    old = Recipient(Address.parse("all@example.com"), "all@example.com", frozenset({"failure"}), "", {"XOTHER": "1"}, {"colour": ["red"]})
    work = await expanded(aliases(file, "all: alice, bob\n"), old)
    for recipient in work.record.envelope.recipients:
        assert recipient.original == "all@example.com"
        assert recipient.notify == {"failure"}
        assert recipient.parameters == {"XOTHER": "1"}
        assert recipient.properties == {"colour": ["red"]}
    first, second = work.record.envelope.recipients
    first.properties["colour"].append("green")
    assert second.properties == {"colour": ["red"]}


async def test_orcpt_is_set_when_the_client_gave_none_and_kept_when_it_did(file: Path) -> None:
    sink = aliases(file, "all: alice\n")
    work = await expanded(sink, "all@example.com")
    assert work.record.envelope.recipients[0].orcpt == "rfc822;all@example.com"
    work = await expanded(sink, Recipient(Address.parse("all@example.com"), orcpt="rfc822;first@elsewhere.example"))
    assert work.record.envelope.recipients[0].orcpt == "rfc822;first@elsewhere.example"


async def test_who_is_a_recipient_already_keeps_what_came_with_him(file: Path) -> None:
    bob = Recipient(Address.parse("bob@example.com"), "bob@example.com", orcpt="rfc822;robert@x.example", properties={"n": 1})
    work = await expanded(aliases(file, "all: bob, alice\n"), "all@example.com", bob)
    assert addresses(work) == ["bob@example.com", "alice@example.com"]
    assert work.record.envelope.recipients[0].orcpt == "rfc822;robert@x.example"
    assert work.record.envelope.recipients[0].properties == {"n": 1}
    assert work.record.envelope.recipients[0].original == "bob@example.com"


def test_names_are_told_for_recipient_checks(file: Path) -> None:
    sink = aliases(file, "Sales: alice\nall: bob\n")
    assert sink.names("EXAMPLE.com") == ["sales", "all"]
    assert sink.names("other.example") == []
