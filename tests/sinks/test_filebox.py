"""Delivery to files that aliases name: appended under a lock, whole or not at all."""

from __future__ import annotations

import fcntl
import mailbox
import os
import resource
import signal
from pathlib import Path

import pytest

from penstock.sinks import FileBox, FileBoxSettings
from penstock.sinks.filebox import _lines, _lock
from penstock.verdicts import Bounce, Defer, Delivered

from .asking import delivered

MAIL = b"Subject: x\r\n\r\nFrom me\r\n>From you\r\nlast line"


async def to(path: object, raw: bytes = MAIL, **more: object) -> object:
    """What comes of a delivery to this path."""
    return await delivered(FileBox(FileBoxSettings(lock=0.2)), route=f"file:{path}", raw=raw, **more)


async def test_messages_are_appended_as_other_programs_read_them(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "box"
    assert await to(path) == Delivered(str(path))
    assert await to(path, sender="") == Delivered(str(path))
    box = mailbox.mbox(path)
    assert [m.get_from().split()[0] for m in box] == ["alice@example.com", "MAILER-DAEMON"]
    assert box[0]["Delivered-To"] == "alice@example.com"
    assert box[0]["Return-Path"] == "<alice@example.com>"
    assert path.read_bytes().count(b"\n\n>From me\n>>From you\nlast line\n\n") == 2
    assert b"\r" not in path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("size", [64 * 1024 + n for n in range(-3, 3)])
def test_line_ends_are_found_across_pieces(tmp_path: Path, size: int) -> None:
    raw = b"x" * size + b"\r\nFrom a\r\nb\rc\r\n"
    (tmp_path / "raw").write_bytes(raw)
    with (tmp_path / "raw").open("rb") as file:
        assert b"".join(_lines(file)) == b"x" * size + b"\n>From a\nb\rc\n"


async def test_a_file_that_is_locked_is_waited_for_and_then_put_off(tmp_path: Path) -> None:
    path = tmp_path / "box"
    path.touch()
    # A lock of this process would not hold against itself, so another one has it.
    ready, told = os.pipe()
    child = os.fork()
    if not child:
        with path.open("r+b") as file:
            fcntl.lockf(file, fcntl.LOCK_EX)
            os.write(told, b"x")
            signal.pause()
    os.read(ready, 1)
    try:
        assert await to(path) == Defer(451, "4.2.0", "The mailbox is in use")
        assert path.read_bytes() == b""
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
        os.close(ready)
        os.close(told)
    assert isinstance(await to(path), Delivered)


async def test_a_disk_that_is_full_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "box"
    assert isinstance(await to(path), Delivered)
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 5000, hard))
    try:
        assert isinstance(await to(path, raw=b"\r\n" + b"x" * 100_000), Defer)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before


async def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    for name in ("link", "fifo", "folder"):
        assert isinstance(await to(tmp_path / name), Bounce), name
    assert not (tmp_path / "target").exists()


async def test_a_slash_at_the_end_makes_it_a_maildir_and_dev_null_takes_all(tmp_path: Path) -> None:
    assert await to(f"{tmp_path}/{{box}}/") == Delivered(str(tmp_path / "{box}"))
    (file,) = (tmp_path / "{box}" / "new").iterdir()
    assert file.read_bytes().endswith(MAIL)
    assert await to("/dev/null") == Delivered("/dev/null")


async def test_the_alias_is_named_as_the_one_it_was_delivered_to(tmp_path: Path) -> None:
    await to(tmp_path / "box", properties={"attributes": {"alias": "list@example.com"}})
    assert b"Delivered-To: list@example.com\n" in (tmp_path / "box").read_bytes()
    loop = await to(tmp_path / "box", raw=b"Delivered-To: alice@example.com\r\n\r\n")
    assert isinstance(loop, Bounce)
    assert loop.enhanced == "5.4.6"


@pytest.mark.parametrize("route", ["", "pipe:/bin/true", "file:relative", "local"])
async def test_other_recipients_are_not_its_business(route: str) -> None:
    assert await delivered(FileBox(FileBoxSettings()), route=route) is None


async def test_a_file_is_locked_against_other_threads_too(tmp_path: Path) -> None:
    """A worker delivers in several threads: two messages for one file must not be woven into each other."""
    path = tmp_path / "box"
    with path.open("ab") as first, path.open("ab") as second:
        assert _lock(first.fileno(), 0)
        assert not _lock(second.fileno(), 0)
        path.open("ab").close()  # which would end a lock of the whole process
        assert not _lock(second.fileno(), 0)
        assert isinstance(await to(path), Defer)
    assert await to(path) == Delivered(str(path))


async def test_nothing_of_a_message_stays_that_found_no_room(tmp_path: Path) -> None:
    """Neither what was written, nor what still waited to be."""
    path = tmp_path / "box"
    path.write_bytes(b"From a\n\nold\n\n")
    ignored, limits = signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        assert isinstance(await to(path, b"Subject: x\r\n\r\n" + (b"z" * 70 + b"\r\n") * 3000), Defer)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert path.read_bytes() == b"From a\n\nold\n\n"
