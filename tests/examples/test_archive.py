"""The archive: a copy of what came, in the folder of the day; no copy, no passage."""

from __future__ import annotations

from pathlib import Path

import pytest
from examples.archive import DailyArchive

from penstock.testing import SinkTesters
from penstock.verdicts import Defer


async def test_the_copy_is_what_came_to_the_octet(sink_tester: SinkTesters, tmp_path: Path) -> None:
    tester = sink_tester(DailyArchive, directory=tmp_path)
    assert await tester.submission(b"Subject: one\r\nX-Odd:   spaced\r\n\r\nbody\r\n") is None
    message = tester.message
    assert (tmp_path / f"{message.received:%Y-%m-%d}" / f"{message.id}.eml").read_bytes() == tester.content


async def test_a_message_whose_copy_cannot_be_written_waits(sink_tester: SinkTesters, tmp_path: Path) -> None:
    (tmp_path / "full").write_text("a file, where the folder should be")
    tester = sink_tester(DailyArchive, directory=tmp_path / "full")
    with pytest.raises(OSError):
        await tester.submission()
    tester.bound(on_error="defer")
    assert isinstance(await tester.submission(), Defer)
