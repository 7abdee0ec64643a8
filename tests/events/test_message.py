"""A message as a sink sees it: content to the byte, edits where they were made and nowhere else."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.harness import MAIL, FakeBackplane, content_of, message_work, view
from penstock import Message
from penstock.errors import AddressError, HeaderError, PenstockError
from penstock.events.views import Server
from penstock.events.work import MessageWork, Scope
from penstock.mail.content import MemoryContent
from penstock.mail.message import decode_record, encode_record


class FileContent:
    """Content in a file, as a spool gives it for what is large; counts the octets that are read."""

    in_memory = False

    def __init__(self, path: Path) -> None:
        self.path, self.size, self.was_read = path, path.stat().st_size, 0

    def read(self, offset: int = 0, length: int = -1) -> bytes:
        with self.path.open("rb") as file:
            file.seek(offset)
            piece = file.read(length)
        self.was_read += len(piece)
        return piece


def edited(work: MessageWork, edit: Callable[[Message], object]) -> bytes:
    """The content after one sink edited the message; read as drafted, as committed and as read back from a spool, which must be one."""
    message = view(work)
    edit(message)
    drafted = message.content.read()
    message.commit()
    assert content_of(work) == drafted
    assert message.size == len(drafted)
    work.record = decode_record(encode_record(work.record))
    assert content_of(work) == drafted
    return drafted


SHAPES = {
    "normal mail": (MAIL, b"From: alice@example.com\r\nSubject: hello\r\nX-A: 1\r\n\r\nfirst line\r\nsecond line\r\n"),
    "without header": (b"\r\nbody\r\n", b"X-A: 1\r\n\r\nbody\r\n"),
    "without header and empty line": (b"just a body\r\n", b"X-A: 1\r\n\r\njust a body\r\n"),
    "without empty line": (b"A: 1\r\nno field\r\n", b"A: 1\r\nX-A: 1\r\n\r\nno field\r\n"),
    "header only": (b"A: 1\r\n", b"A: 1\r\nX-A: 1\r\n"),
    "header only, unfinished": (b"A: 1", b"A: 1\r\nX-A: 1\r\n"),
    "header and empty line only": (b"A: 1\r\n\r\n", b"A: 1\r\nX-A: 1\r\n\r\n"),
    "empty line only": (b"\r\n", b"X-A: 1\r\n\r\n"),
    "empty": (b"", b"X-A: 1\r\n"),
    "bare LF": (b"A: 1\nB: 2\n\nbody\n", b"A: 1\nB: 2\nX-A: 1\r\n\nbody\n"),
    "bare LF, no body": (b"A: 1\n\n", b"A: 1\nX-A: 1\r\n\n"),
    "folded and odd": (b"A :\r\n 1\r\nb:2\r\n\r\n\xff\x00", b"A :\r\n 1\r\nb:2\r\nX-A: 1\r\n\r\n\xff\x00"),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_field_is_added_and_every_other_octet_stays(shape: str) -> None:
    raw, wanted = SHAPES[shape]
    assert edited(message_work(raw), lambda m: m.header.add("X-A", "1")) == wanted


@pytest.mark.parametrize("shape", SHAPES)
def test_a_second_edit_by_another_sink_changes_only_its_own_field(shape: str) -> None:
    raw, wanted = SHAPES[shape]
    work = message_work(raw)
    edited(work, lambda m: m.header.add("X-B", "2"))
    edited(work, lambda m: m.header.add("X-A", "1"))
    assert edited(work, lambda m: m.header.remove("X-B")) == wanted


@pytest.mark.parametrize("shape", SHAPES)
def test_a_field_that_was_added_and_removed_leaves_no_trace_but_what_makes_a_header(shape: str) -> None:
    raw, _ = SHAPES[shape]
    work = message_work(raw)
    edited(work, lambda m: m.header.add("X-A", "1"))
    left = edited(work, lambda m: m.header.remove("X-A"))
    if shape in ("without header and empty line", "without empty line"):
        left = left.replace(b"\r\n\r\n", b"\r\n", 1).removeprefix(b"\r\n")
    assert left == (raw + b"\r\n" if shape == "header only, unfinished" else raw)


def test_a_replaced_field_stays_in_its_place() -> None:
    raw = b"A: 1\r\nSubject: old\r\n folded\r\nB: 2\r\n\r\nSubject: body\r\n"
    assert (
        edited(message_work(raw), lambda m: m.header.replace("subject", "new")) == b"A: 1\r\nsubject: new\r\nB: 2\r\n\r\nSubject: body\r\n"
    )


def test_the_last_field_may_be_removed() -> None:
    assert edited(message_work(b"A: 1\r\n\r\nB: body"), lambda m: m.header.remove("A")) == b"\r\nB: body"


def test_reading_the_header_edits_nothing() -> None:
    work = message_work()
    message = view(work)
    assert message.header.get("subject") == "hello"
    assert "Subject" in message.header
    message.commit()
    assert not work.dirty
    assert work.record.header is None


def test_a_header_of_many_mebibytes_is_edited_at_its_end_and_nowhere_else() -> None:
    head = b"".join(b"X-%d: %s\r\n" % (n, b"v" * 500) for n in range(6000))
    work = message_work(head + b"\r\nbody")
    assert edited(work, lambda m: m.header.add("X-A", "1")) == head + b"X-A: 1\r\n\r\nbody"


@given(st.lists(st.sampled_from([b"A: 1\r\n", b"B:2\n", b" fold\r\n", b"\r\n", b"\n", b"text\r\n", b"\xff", b"X", b":\r\n"]), max_size=12))
def test_an_added_field_is_one_insertion_whatever_the_content_is(pieces: list[bytes]) -> None:
    raw = b"".join(pieces)
    work = message_work(raw)
    result = edited(work, lambda m: m.header.add("X-Added", "1"))
    before, _, after = result.partition(b"X-Added: 1\r\n")
    if not raw.startswith(before):  # a last field that did not end was ended
        before = before.removesuffix(b"\r\n")
    assert raw.startswith(before)
    assert after in (raw[len(before) :], b"\r\n" + raw[len(before) :])
    assert view(work).header.get_all("X-Added") == ["1"]


def test_only_the_beginning_of_a_large_content_is_read_to_edit_its_header(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(MAIL + b"x" * 8_000_000)
    content = FileContent(path)
    work = message_work(content)
    message = view(work)
    message.header.add("X-A", "1")
    message.commit()
    assert content.was_read < 500_000
    assert not work.rewritten
    assert content_of(work) == MAIL.replace(b"\r\n\r\n", b"\r\nX-A: 1\r\n\r\n") + b"x" * 8_000_000


async def test_content_is_read_streamed_and_opened_with_all_edits(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(MAIL + b"y" * 1_000_000)
    wanted = MAIL.replace(b"\r\n\r\n", b"\r\nX-A: 1\r\n\r\n") + b"y" * 1_000_000
    message = view(message_work(FileContent(path)))
    message.header.add("X-A", "1")
    assert await message.read() == wanted
    pieces = [piece async for piece in message.stream(4096)]
    assert b"".join(pieces) == wanted
    assert max(map(len, pieces)) <= 4096

    def through_a_file() -> None:
        with message.open() as file:
            assert file.read(10) == wanted[:10]
            assert file.seek(-5, io.SEEK_END) == len(wanted) - 5
            assert file.read() == wanted[-5:]
            assert file.tell() == len(wanted)
            file.seek(0)
            assert file.readline() == b"From: alice@example.com\r\n"

    await asyncio.to_thread(through_a_file)


async def test_content_is_parsed_and_replaced() -> None:
    work = message_work()
    message = view(work)
    parsed = await message.parse()
    assert parsed["subject"] == "hello"
    parsed.replace_header("subject", "changed")
    assert content_of(work) == MAIL
    message.replace_content(parsed)
    message.header.add("X-A", "1")
    message.commit()
    assert b"subject: changed\r\n" in content_of(work).lower()
    assert b"\r\nX-A: 1\r\n\r\n" in content_of(work)
    assert work.rewritten


def test_replaced_content_gets_crlf_and_forgets_the_header_of_before() -> None:
    work = message_work()
    edited(work, lambda m: m.header.add("X-Old", "1"))

    def replace(message: Message) -> None:
        message.replace_content(b"Subject: new\n\nlines\r\nof two kinds\n")
        assert message.header.get("Subject") == "new"
        assert "X-Old" not in message.header
        message.header.add("X-New", "1")

    assert edited(work, replace) == b"Subject: new\r\nX-New: 1\r\n\r\nlines\r\nof two kinds\r\n"
    assert work.rewritten


async def test_a_saved_message_has_its_prefix_and_edits_and_replaces_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "saved.eml"
    path.write_text("old")
    message = view(message_work())
    message.header.add("X-A", "1")
    await message.save(path, b"Return-Path: <>\r\n")
    wanted = b"Return-Path: <>\r\n" + MAIL.replace(b"\r\n\r\n", b"\r\nX-A: 1\r\n\r\n")
    assert path.read_bytes() == wanted
    message.save_now(str(path), part=tmp_path / "part")
    assert path.read_bytes() == wanted[len(b"Return-Path: <>\r\n") :]
    assert [p.name for p in tmp_path.iterdir()] == ["saved.eml"]


async def test_a_saved_message_is_for_the_servers_user_alone(tmp_path: Path) -> None:
    await view(message_work()).save(tmp_path / "saved.eml")
    assert (tmp_path / "saved.eml").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("link", ["symlink_to", "hardlink_to"])
def test_a_part_that_is_there_already_is_replaced_and_never_written_into(tmp_path: Path, link: str) -> None:
    """It may be a dead process's, or a link to a file that somebody else means to have overwritten."""
    other, part = tmp_path / "other", tmp_path / "part"
    other.write_text("other")
    getattr(part, link)(other)
    view(message_work()).save_now(tmp_path / "saved.eml", part=part)
    assert other.read_text() == "other"
    assert (tmp_path / "saved.eml").read_bytes() == MAIL
    assert not part.exists()
    assert not (tmp_path / "saved.eml").is_symlink()


def test_a_delivery_that_hung_does_not_put_the_part_of_a_later_one_in_place(tmp_path: Path) -> None:
    class Overtaken(MemoryContent):
        def read(self, offset: int = 0, length: int = -1) -> bytes:
            (tmp_path / "part").unlink(missing_ok=True)
            (tmp_path / "part").write_text("half of it")
            return super().read(offset, length)

    with pytest.raises(FileNotFoundError, match="took this one's place"):
        view(message_work(Overtaken(MAIL))).save_now(tmp_path / "saved.eml", part=tmp_path / "part")
    assert not (tmp_path / "saved.eml").exists()
    assert (tmp_path / "part").read_text() == "half of it"


async def test_a_message_that_cannot_be_saved_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "saved.eml").write_text("old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        await view(message_work()).save(tmp_path / "saved.eml")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("saved.eml", "old")]


def test_content_before_it_arrived_is_an_error_that_says_where_it_is() -> None:
    work = message_work()
    work.content = None
    with pytest.raises(PenstockError, match="EndOfData"):
        _ = view(work).header
    with pytest.raises(PenstockError, match="EndOfData"):
        _ = view(work).content


def test_a_fork_takes_its_recipients_with_all_they_have() -> None:
    work = message_work(recipients=("a@x", "b@x", "c@x"))
    work.record.envelope.recipients[1].properties["colour"] = "red"
    message = view(work)
    child = message.fork([message.recipients[1]])
    assert [str(r.address) for r in message.recipients] == ["a@x", "c@x"]
    assert work.forks == []
    message.commit()
    (forked,) = work.forks
    assert forked.record.id == child.id == "new1"
    assert forked.record.parent == "m1"
    assert [(str(r.address), r.properties) for r in forked.record.envelope.recipients] == [("b@x", {"colour": "red"})]
    assert [str(r.address) for r in work.record.envelope.recipients] == ["a@x", "c@x"]
    assert content_of(forked) == MAIL


def test_a_fork_has_the_edits_made_before_it_and_not_those_made_after() -> None:
    work = message_work(recipients=("a@x", "b@x"))
    message = view(work)
    message.header.add("X-Before", "1")
    message.state["seen"] = [1]
    child = message.fork(["b@x"])
    message.header.add("X-After", "1")
    message.state["seen"].append(2)
    child.header.add("X-Child", "1")
    child.sender = "bounces@x"
    message.commit()
    (forked,) = work.forks
    assert view(work).header.get("X-Child") is None
    assert b"X-Before: 1\r\nX-After: 1\r\n" in content_of(work)
    assert b"X-Before: 1\r\nX-Child: 1\r\n\r\n" in content_of(forked)
    assert (str(work.record.envelope.sender), str(forked.record.envelope.sender)) == ("alice@example.com", "bounces@x")
    assert (work.record.state, forked.record.state) == ({"sink0": {"seen": [1, 2]}}, {"sink0": {"seen": [1]}})


def test_a_fork_of_a_fork_goes_on_too() -> None:
    work = message_work(recipients=("a@x", "b@x", "c@x"))
    message = view(work)
    message.fork(["b@x", "c@x"]).fork(["c@x"])
    message.commit()
    assert [[str(r.address) for r in f.record.envelope.recipients] for f in work.forks] == [["b@x"], ["c@x"]]
    assert [f.record.parent for f in work.forks] == ["m1", "new1"]


def test_a_fork_with_nobody_or_with_a_stranger_is_refused() -> None:
    message = view(message_work())
    with pytest.raises(ValueError, match="at least one"):
        message.fork([])
    with pytest.raises(ValueError, match="not among"):
        message.fork(["stranger@x"])


@pytest.mark.parametrize("spoil", ["address", "properties", "null"])
def test_a_fork_that_cannot_be_kept_undoes_the_whole_edit(spoil: str) -> None:
    work = message_work(recipients=("a@x", "b@x"))
    before = encode_record(work.record)
    message = view(work)
    message.sender = "new@x"
    moved = message.recipients[1]
    message.fork([moved])
    if spoil == "properties":
        moved.properties["x"] = object()
    else:
        moved.address = "no address" if spoil == "address" else ""  # type: ignore[assignment]
    with pytest.raises((AddressError, TypeError)):
        message.commit()
    assert encode_record(work.record) == before
    assert work.forks == []


def server(backplane: FakeBackplane, name: str = "sink0", generation: int = 0) -> Server:
    """The server as a sink of this name sees it."""
    return Server(backplane, Scope(name, name), generation)


async def test_a_new_message_is_submitted_and_never_comes_back_to_its_sink() -> None:
    backplane = FakeBackplane()
    content = EmailMessage()
    content["Subject"] = "notice"
    content.set_content("text\n")
    one = server(backplane)
    notice = one.new_message(sender="", recipients=["audit@example.com", "audit@example.com"], content=content)
    notice.header.add("X-A", "1")
    assert await one.submit(notice) == "new1"
    (work,) = backplane.submitted
    assert work.record.origin == "sink"
    assert work.record.direction == "internal"
    assert work.record.skip == ["sink0"]
    assert work.record.generation == 1
    assert work.record.envelope.sender.is_null
    assert [str(r.address) for r in work.record.envelope.recipients] == ["audit@example.com"]
    assert b"Subject: notice\r\n" in content_of(work)
    assert b"\r\nX-A: 1\r\n\r\ntext\r\n" in content_of(work)


async def test_a_sink_may_ask_to_see_its_own_mail() -> None:
    backplane = FakeBackplane()
    one = server(backplane)
    await one.submit(one.new_message(sender="", recipients=["a@x"], content=b"A: 1\n\n"), reenter=True)
    assert backplane.submitted[0].record.skip == []


async def test_sinks_that_answer_one_another_for_ever_are_stopped() -> None:
    backplane = FakeBackplane()
    for generation in (19, 20):
        one = server(backplane, generation=generation)
        message = one.new_message(sender="", recipients=["a@x"], content=b"A: 1\n\n")
        if generation == 20:
            with pytest.raises(ValueError, match="loop"):
                await one.submit(message)
        else:
            await one.submit(message)
    assert len(backplane.submitted) == 1


async def test_a_message_to_nobody_is_not_submitted() -> None:
    one = server(FakeBackplane())
    with pytest.raises(ValueError, match="at least one recipient"):
        await one.submit(one.new_message(sender="", recipients=[], content=b""))


@pytest.mark.parametrize("recipient", ["", "no address", None])
def test_a_new_message_takes_addresses_only(recipient: str) -> None:
    with pytest.raises((AddressError, TypeError)):
        server(FakeBackplane()).new_message(sender="", recipients=[recipient], content=b"")


def test_a_header_value_cannot_begin_another_field() -> None:
    message = view(message_work())
    for value in ("a\r\nBcc: x", "a\nBcc: x", "a\rBcc: x", "a\r\n\r\nbody"):
        with pytest.raises(HeaderError):
            message.header.add("X-A", value)
    assert message.content.read() == MAIL


def test_an_untouched_message_shows_the_spools_own_content() -> None:
    work = message_work()
    assert view(work).content is work.content
    assert isinstance(work.content, MemoryContent)
