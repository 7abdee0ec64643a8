"""Drop: one file a message, with the envelope on top."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from events.harness import MAIL, Harness, message_work
from penstock.events import LocalDelivery
from penstock.events.work import MessageWork
from penstock.mail.message import decode_record, encode_record
from penstock.sinks import Drop, DropSettings
from penstock.verdicts import Defer, Delivered, Verdict


async def deliver(sink: Drop, work: MessageWork) -> list[Verdict | None]:
    """Offers each recipient, as transport does."""
    harness = Harness.of(sink)
    return [await harness.ask(LocalDelivery(harness.facts(work), r)) for r in work.record.envelope.recipients]


async def test_one_file_names_sender_and_all_recipients_and_then_is_the_message(tmp_path: Path) -> None:
    work = message_work(recipients=("bob@example.com", "carol@example.com"))
    verdicts = await deliver(Drop(DropSettings(tmp_path)), work)
    assert verdicts == [Delivered(str(tmp_path / "m1.eml"))] * 2
    assert [p.name for p in tmp_path.iterdir()] == ["m1.eml"]
    top = b"x-sender: alice@example.com\r\nx-receiver: bob@example.com\r\nx-receiver: carol@example.com\r\n"
    assert (tmp_path / "m1.eml").read_bytes() == top + MAIL


async def test_the_file_is_written_once_and_never_again_for_later_recipients(tmp_path: Path) -> None:
    work = message_work(recipients=("bob@example.com", "carol@example.com"))
    harness = Harness.of(Drop(DropSettings(tmp_path)))
    first, second = work.record.envelope.recipients
    await harness.ask(LocalDelivery(harness.facts(work), first))
    (tmp_path / "m1.eml").unlink()  # the program that fetches files was quick
    work.record = decode_record(encode_record(work.record))  # and the server was restarted
    assert isinstance(await harness.ask(LocalDelivery(harness.facts(work), second)), Delivered)
    assert list(tmp_path.iterdir()) == []


async def test_only_the_domains_that_it_serves_are_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    work = message_work(recipients=("bob@example.com", "dave@other.example", "eve@sub.served.example"))
    verdicts = await deliver(Drop(DropSettings(tmp_path, ["example.com", ".served.example"])), work)
    assert verdicts == [Delivered(str(tmp_path / "m1.eml")), None, Delivered(str(tmp_path / "m1.eml"))]
    text = (tmp_path / "m1.eml").read_text()
    assert "x-receiver: bob@example.com\n" in text
    assert "x-receiver: eve@sub.served.example\n" in text
    assert "dave" not in text


async def test_a_recipient_who_joins_late_gets_a_file_of_his_own(tmp_path: Path) -> None:
    work = message_work(recipients=("bob@example.com",))
    await deliver(Drop(DropSettings(tmp_path)), work)
    work.record.envelope.recipients = message_work(recipients=("late@example.com", "bob@example.com")).record.envelope.recipients
    wanted = [Delivered(str(tmp_path / "m1-1.eml")), Delivered(str(tmp_path / "m1.eml"))]
    assert await deliver(Drop(DropSettings(tmp_path)), work) == wanted
    assert (tmp_path / "m1-1.eml").read_bytes().startswith(b"x-sender: alice@example.com\r\nx-receiver: late@example.com\r\nFrom: ")
    assert (tmp_path / "m1.eml").exists()


async def test_the_null_sender_is_an_empty_line(tmp_path: Path) -> None:
    await deliver(Drop(DropSettings(tmp_path)), message_work(sender=""))
    assert (tmp_path / "m1.eml").read_bytes().startswith(b"x-sender: \r\nx-receiver: bob@example.com\r\n")


async def test_a_full_disk_puts_the_recipient_off_and_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    work = message_work()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert await deliver(Drop(DropSettings(tmp_path)), work) == [Defer(452, "4.3.1", "Insufficient system storage")]
    assert list(tmp_path.iterdir()) == []
    assert await deliver(Drop(DropSettings(tmp_path)), work) == [Delivered(str(tmp_path / "m1.eml"))]
