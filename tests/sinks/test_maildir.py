"""Maildir: durable, whole, private, once, and nowhere but where the template says."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tracemalloc
from pathlib import Path
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.harness import MAIL, Harness, message_work
from penstock import Address, Recipient
from penstock.events import LocalDelivery
from penstock.events.work import MessageWork
from penstock.sinks import Maildir, MaildirSettings
from penstock.sinks.maildir import safe_name
from penstock.verdicts import Bounce, Defer, Delivered, Verdict

TOP = b"Return-Path: <alice@example.com>\r\nDelivered-To: bob@example.com\r\n"


async def deliver(sink: Maildir, work: MessageWork, recipient: Recipient | None = None) -> Verdict | None:
    """Offers one recipient, as transport does."""
    harness = Harness.of(sink)
    return await harness.ask(LocalDelivery(harness.facts(work), recipient or work.record.envelope.recipients[0]))


def maildir(root: Path, template: str = "{local}", delimiter: str = "+") -> Maildir:
    """The sink with Maildirs below a folder."""
    return Maildir(MaildirSettings(f"{root}/{template}", delimiter))


async def test_a_message_is_in_new_with_two_fields_on_top_and_otherwise_as_it_came(tmp_path: Path) -> None:
    raw = b"Odd  :  spacing\r\n\tfolded\r\nSubject: \xff\xfe\r\n\r\nbare \n and \r and \x00\r\n.\r\nno end"
    assert await deliver(maildir(tmp_path), message_work(raw)) == Delivered(str(tmp_path / "bob"))
    (file,) = (tmp_path / "bob" / "new").iterdir()
    assert file.read_bytes() == TOP + raw
    assert list((tmp_path / "bob" / "tmp").iterdir()) == []


async def test_the_name_is_made_from_time_id_recipient_host_and_size(tmp_path: Path) -> None:
    await deliver(maildir(tmp_path), message_work(id="ABC123", received=1_700_000_000.75))
    (file,) = (tmp_path / "bob" / "new").iterdir()
    assert file.name == f"1700000000.ABC123R{crc32(b'bob@example.com'):08x}.mx.example.com,S={len(TOP + MAIL)}"


async def test_a_delivery_that_is_repeated_makes_no_second_copy(tmp_path: Path) -> None:
    for _ in range(2):
        assert isinstance(await deliver(maildir(tmp_path), message_work()), Delivered)
    assert len(list((tmp_path / "bob" / "new").iterdir())) == 1


async def test_two_recipients_of_one_message_in_one_maildir_get_two_files(tmp_path: Path) -> None:
    work = message_work(recipients=("bob+a@example.com", "bob+b@example.com"))
    for recipient in work.record.envelope.recipients:
        await deliver(maildir(tmp_path), work, recipient)
    assert len(list((tmp_path / "bob" / "new").iterdir())) == 2


async def test_the_file_grows_in_tmp_and_everything_is_synced_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if path.is_relative_to(tmp_path):  # those above it are synced too, once
            synced.append(str(path.relative_to(tmp_path)).split("17000", maxsplit=1)[0])
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    await deliver(maildir(tmp_path, "{domain}/{local}"), message_work())
    assert synced == [".", "example.com", *["example.com/bob"] * 3, "example.com/bob/tmp/", "example.com/bob/new"]


async def test_a_folder_that_somebody_else_made_is_synced_once_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever made it may have died before the sync."""
    synced: list[Path] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        real(descriptor)

    (tmp_path / "bob" / "new").mkdir(parents=True)
    monkeypatch.setattr(os, "fsync", fsync)
    sink = maildir(tmp_path)
    await deliver(sink, message_work())
    assert synced.count(tmp_path) == 1
    await deliver(sink, message_work())
    assert synced.count(tmp_path) == 1


async def test_a_maildir_that_was_removed_is_made_again(tmp_path: Path) -> None:
    sink = maildir(tmp_path)
    await deliver(sink, message_work())
    shutil.rmtree(tmp_path / "bob")
    assert isinstance(await deliver(sink, message_work()), Delivered)


async def test_the_folders_are_for_their_owner_only(tmp_path: Path) -> None:
    await deliver(maildir(tmp_path, "{domain}/{local}"), message_work())
    box = tmp_path / "example.com" / "bob"
    for folder in (box.parent, box, box / "tmp", box / "new", box / "cur"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


async def test_a_message_that_was_delivered_to_the_same_address_is_a_loop(tmp_path: Path) -> None:
    verdict = await deliver(maildir(tmp_path), message_work(b"delivered-to:  BOB@example.com\r\n" + MAIL))
    assert isinstance(verdict, Bounce)
    assert verdict.enhanced == "5.4.6"
    assert not (tmp_path / "bob").exists()


async def test_a_message_that_was_delivered_to_another_address_is_none(tmp_path: Path) -> None:
    raw = b"Delivered-To: list@example.com\r\n" + MAIL + b"\r\nDelivered-To: bob@example.com\r\n"
    assert isinstance(await deliver(maildir(tmp_path), message_work(raw)), Delivered)


async def test_the_null_sender_is_written_as_such(tmp_path: Path) -> None:
    await deliver(maildir(tmp_path), message_work(sender=""))
    (file,) = (tmp_path / "bob" / "new").iterdir()
    assert file.read_bytes().startswith(b"Return-Path: <>\r\n")


async def test_the_detail_chooses_a_folder_and_without_one_it_is_the_inbox(tmp_path: Path) -> None:
    sink = maildir(tmp_path, "{local}/.{detail}")
    assert sink.folder(Address.parse("Bob+Lists@example.com")) == tmp_path / "bob" / ".lists"
    assert sink.folder(Address.parse("bob@example.com")) == tmp_path / "bob"
    assert sink.folder(Address.parse("+bob@example.com")) == tmp_path / "+bob"


async def test_without_a_delimiter_the_whole_local_part_is_the_name(tmp_path: Path) -> None:
    assert maildir(tmp_path, delimiter="").folder(Address.parse("bob+x@example.com")) == tmp_path / "bob+x"


HOSTILE = [
    "../../etc/passwd",
    "a/b",
    ".",
    "..",
    "",
    "nul\0",
    "x" * 5000,
    "ü" * 2000,
    "\udcff",
    "...",
    "/",
    "~",
    "a\nb",
    "%2e%2e",
    "-rf",
    " ",
]


@pytest.mark.parametrize("local", HOSTILE)
@pytest.mark.parametrize("domain", ["example.com", "..", "", "a/../..", "d" * 300])
async def test_a_hostile_address_stays_where_the_template_says(tmp_path: Path, local: str, domain: str) -> None:
    folder = maildir(tmp_path, "{domain}/{local}").folder(Address(local, domain))
    assert folder.parent.parent == tmp_path
    assert Path(os.path.normpath(folder)) == folder
    (folder / "new").mkdir(parents=True)


@given(st.text(), st.text())
def test_two_names_never_share_a_file_name(one: str, other: str) -> None:
    assert (safe_name(one) == safe_name(other)) == (one.encode("utf-8", "surrogatepass") == other.encode("utf-8", "surrogatepass"))


@given(st.text(max_size=400))
def test_a_file_name_holds_only_harmless_octets_and_is_short(text: str) -> None:
    name = safe_name(text)
    assert 1 <= len(name) <= 80
    assert set(name) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+=-.%")
    assert not name.startswith(".")
    assert not name.endswith(".")


@pytest.mark.parametrize(
    "template", ["relative/{local}", "/var/{user}", "/var/{}", "/var/{local!r}", "/var/{local:9}", "/var/{local.x}", "/v/{local"]
)
def test_a_template_that_cannot_be_filled_in_is_refused(template: str) -> None:
    with pytest.raises(ValueError):
        Maildir(MaildirSettings(template))


@pytest.mark.parametrize(
    ("number", "verdict"),
    [
        (errno.ENOSPC, Defer(452, "4.3.1", "Insufficient system storage")),
        (errno.EDQUOT, Defer(452, "4.2.2", "The mailbox is full")),
        (errno.EACCES, Defer(451, "4.2.0", "The mailbox cannot be used now")),
        (errno.EIO, Defer(451, "4.3.0", "The mail system has a temporary problem")),
    ],
)
async def test_a_disk_that_refuses_puts_the_recipient_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, verdict: Defer
) -> None:
    sink = maildir(tmp_path)
    await deliver(sink, message_work())

    def refuse(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    assert await deliver(sink, message_work(id="second")) == verdict
    assert [p.name.split(".")[1][:2] for p in (tmp_path / "bob").rglob("1700*")] == ["m1"]


async def test_a_file_in_the_way_puts_the_recipient_off(tmp_path: Path) -> None:
    (tmp_path / "bob").write_text("not a folder")
    assert isinstance(await deliver(maildir(tmp_path), message_work()), Defer)


class Huge:
    """Content of 50 MiB that is nowhere."""

    size = 50 * 1024 * 1024
    in_memory = False

    def read(self, offset: int = 0, length: int = -1) -> bytes:
        wanted = self.size - offset if length < 0 else min(length, self.size - offset)
        head = b"Subject: big\r\n\r\n"[offset : offset + wanted]
        return head + b"x" * (wanted - len(head))


async def test_fifty_mebibytes_are_delivered_without_being_in_memory(tmp_path: Path) -> None:
    tracemalloc.start()
    try:
        assert isinstance(await deliver(maildir(tmp_path), message_work(Huge())), Delivered)
        assert tracemalloc.get_traced_memory()[1] < 5 * 1024 * 1024
    finally:
        tracemalloc.stop()
    (file,) = (tmp_path / "bob" / "new").iterdir()
    assert file.stat().st_size == len(TOP) + Huge.size
