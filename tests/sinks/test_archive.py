"""Archive: a durable copy of each message, or the message waits."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from events.harness import MAIL, Harness, message_work, view
from penstock.errors import ConfigError
from penstock.events import Submission
from penstock.sinks import Archive, ArchiveSettings
from penstock.verdicts import Defer


async def test_a_copy_is_kept_under_the_queue_id(tmp_path: Path) -> None:
    archive = Archive(ArchiveSettings(tmp_path / "a" / "b"))
    await archive.start()
    harness = Harness.of(archive)
    assert await harness.ask(harness.make(Submission, message_work(id="m77"))) is None
    assert (tmp_path / "a" / "b" / "m77.eml").read_bytes() == MAIL
    assert [p.name for p in (tmp_path / "a" / "b").iterdir()] == ["m77.eml"]


async def test_the_copy_and_its_name_are_synced_before_the_message_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []

    def fsync(descriptor: int) -> None:
        synced.append((Path(f"/proc/self/fd/{descriptor}").readlink(), sorted(p.name for p in tmp_path.iterdir())))

    monkeypatch.setattr(os, "fsync", fsync)
    harness = Harness.of(Archive(ArchiveSettings(tmp_path)))
    await harness.ask(harness.make(Submission))
    assert synced == [(tmp_path / ".m1.eml.part", [".m1.eml.part"]), (tmp_path, ["m1.eml"])]


async def test_a_message_that_cannot_be_copied_waits_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    harness = Harness.of(Archive(ArchiveSettings(tmp_path)))
    assert isinstance(await harness.ask(harness.make(Submission)), Defer)
    assert list(tmp_path.iterdir()) == []


async def test_edits_of_earlier_sinks_are_in_the_copy(tmp_path: Path) -> None:
    work = message_work()
    edited = view(work)
    edited.header.add("X-Seen", "yes")
    edited.commit()
    harness = Harness.of(Archive(ArchiveSettings(tmp_path)))
    await harness.ask(harness.make(Submission, work))
    assert (tmp_path / "m1.eml").read_bytes() == MAIL.replace(b"\r\n\r\n", b"\r\nX-Seen: yes\r\n\r\n")


async def test_a_folder_that_cannot_be_made_is_refused_at_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError) as caught:
        await Archive(ArchiveSettings(tmp_path / "file" / "archive")).start()
    assert caught.value.where == "Archive: directory"
    assert str(tmp_path / "file" / "archive") in str(caught.value)
