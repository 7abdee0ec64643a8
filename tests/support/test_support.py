"""The tests' own instruments are tested: a checker that sees no damage would make every crash test pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from .mailboxes import Mailboxes
from .messages import Message, MessageMaker, inspect

PREPENDED = b"Return-Path: <load@client.example>\r\nDelivered-To: alice@example.com\r\nReceived: from client.example\r\n"


@pytest.fixture
def message() -> Message:
    """Some message."""
    return MessageMaker(3000).make()


def _deliver(folder: Path, name: str, data: bytes) -> Path:
    path = folder / "example.com" / "alice" / "new" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_messages_of_one_maker_differ_in_token_and_bytes() -> None:
    """No two are the same, so mixing parts of two cannot go unseen."""
    maker = MessageMaker(1000)
    made = [maker.make() for _ in range(1000)]
    assert len({message.token for message in made}) == len({message.digest for message in made}) == 1000


def test_dots_are_doubled_on_the_wire_only(message: Message) -> None:
    """The wire form ends with a dot alone, and without doubling is the content."""
    assert b"\r\n." in message.content
    assert message.wire.endswith(b"\r\n.\r\n")
    assert message.wire.removesuffix(b".\r\n").replace(b"\r\n..", b"\r\n.") == message.content


def test_prepended_fields_do_not_count_as_content(message: Message) -> None:
    """A delivered copy has the digest of what was sent."""
    assert inspect(PREPENDED + message.content) == (message.token, message.digest, True)


@pytest.mark.parametrize("damage", ["flipped", "cut", "longer", "unstuffed"])
def test_damage_is_seen_in_a_copy_whether_or_not_it_was_acknowledged(tmp_path: Path, message: Message, damage: str) -> None:
    """A changed byte, a missing end, an additional line and a lost dot all count as corrupt."""
    content = message.content
    spoiled = {
        "flipped": content[:-9] + bytes([content[-9] ^ 1]) + content[-8:],
        "cut": content[:-100],
        "longer": content + b"\r\n",
        "unstuffed": content.replace(b"\r\n.", b"\r\n", 1),
    }[damage]
    path = _deliver(tmp_path, "1.a", PREPENDED + spoiled)
    assert Mailboxes(tmp_path).compare({message.token: message.digest}).corrupt == [path]
    assert Mailboxes(tmp_path).compare({}).corrupt == [path]


def test_copies_missing_messages_and_strangers_are_counted(tmp_path: Path, message: Message) -> None:
    """Two copies are a duplicate, none is a loss, and a file without a token is corrupt."""
    lost = MessageMaker(100).make()
    _deliver(tmp_path, "1.a", PREPENDED + message.content)
    _deliver(tmp_path, "2.a", PREPENDED + message.content)
    stranger = _deliver(tmp_path, "3.b", b"Subject: who are you\r\n\r\n")
    found = Mailboxes(tmp_path).compare({message.token: message.digest, lost.token: lost.digest})
    assert found.missing == {lost.token}
    assert found.duplicates == {message.token: 2}
    assert found.corrupt == [stranger]
