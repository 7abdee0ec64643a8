"""Files of traces: bounded, private, harmless when torn, and never waited for."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from penstock.observe.trace_entries import Asked, Entry, Looked, decode_entry, encode_entry
from penstock.observe.trace_reading import lately, story
from penstock.observe.traces import PATTERN, TraceSettings, TraceStore


def _store(folder: Path, size: int = 1024 * 1024, waiting: int = 1024 * 1024) -> TraceStore:
    return TraceStore(TraceSettings(folder / "worker-0", size=size, waiting=waiting))


def _keep(folder: Path, *entries: Entry) -> None:
    store = _store(folder)
    for entry in entries:
        store.put(entry)
    store.close()


def _names(entries: list[Entry]) -> list[str]:
    return [entry.what for entry in entries]


def test_what_was_put_is_read_again(tmp_path: Path) -> None:
    asked = Asked("archive", "copy", "sinks:Archive", "1a2b", 100, [Looked("listener", "mx", "in", False)], "condition")
    entry = Entry(5.0, "RcptTo", message="M1", session="S1", about="<a@b.example>", asked=[asked], verdict="Reject 550 no", by="x")
    _keep(tmp_path, entry)
    (found,) = story(tmp_path, "M1")
    assert found.worker == "worker-0"
    found.worker = ""
    assert found == entry


def test_a_message_is_shown_with_its_session_and_with_no_other_message(tmp_path: Path) -> None:
    _keep(
        tmp_path,
        Entry(1.0, "Ehlo", session="S1"),
        Entry(2.0, "RcptTo", message="M1", session="S1"),
        Entry(3.0, "RcptTo", message="M2", session="S1"),
        Entry(4.0, "Connecting", outbound="O1"),
        Entry(5.0, "MessageStart", message="M1", outbound="O1"),
        Entry(6.0, "relayed", "step", "M1"),
        Entry(7.0, "Ehlo", session="S2"),
    )
    assert _names(story(tmp_path, "M1")) == ["Ehlo", "RcptTo", "Connecting", "MessageStart", "relayed"]


def test_a_session_is_shown_with_all_that_became_of_its_messages(tmp_path: Path) -> None:
    """Also the steps that the log tells with the message's id alone."""
    _keep(
        tmp_path,
        Entry(1.0, "Ehlo", session="S1"),
        Entry(2.0, "RcptTo", message="M1", session="S1"),
        Entry(3.0, "RcptTo", message="M2", session="S1"),
        Entry(4.0, "delivered", "step", "M1"),
        Entry(5.0, "deferred", "step", "M2"),
        Entry(6.0, "delivered", "step", "M3"),
    )
    assert _names(story(tmp_path, "S1")) == ["Ehlo", "RcptTo", "RcptTo", "delivered", "deferred"]


def test_a_report_about_a_message_and_its_copies_are_in_its_story(tmp_path: Path) -> None:
    _keep(
        tmp_path,
        Entry(1.0, "failed", "step", "M1"),
        Entry(2.0, "reported", "step", "M2", details={"about": "M1"}),
        Entry(3.0, "queued", "step", "M3", details={"parent": "M1"}),
    )
    assert _names(story(tmp_path, "M1")) == ["failed", "reported", "queued"]


def test_stories_go_through_all_workers_in_order_of_time(tmp_path: Path) -> None:
    for worker, entry in (("worker-1", Entry(2.0, "later", "step", "M1")), ("worker-0", Entry(1.0, "earlier", "step", "M1"))):
        store = TraceStore(TraceSettings(tmp_path / worker))
        store.put(entry)
        store.close()
    assert _names(story(tmp_path, "M1")) == ["earlier", "later"]


def test_the_last_ones_are_listed_with_what_became_of_them(tmp_path: Path) -> None:
    entries = [Entry(float(number), "delivered", "step", f"M{number}") for number in range(30)]
    _keep(tmp_path, *entries, Entry(40.0, "Ehlo", session="S1"))
    found = lately(tmp_path, 3)
    assert [(one.id, one.kind, one.entries) for one in found] == [("M28", "message", 1), ("M29", "message", 1), ("S1", "session", 1)]
    assert _names(found[0].ends) == ["delivered"]


def test_the_oldest_files_go_when_there_is_no_room(tmp_path: Path) -> None:
    store = _store(tmp_path, size=128 * 1024)
    for number in range(3000):
        store.put(Entry(float(number), "delivered", "step", f"M{number:05}", details={"to": "x" * 200}))
        if number % 100 == 0:
            assert store.flush()
    store.close()
    files = list((tmp_path / "worker-0").glob(PATTERN))
    assert sum(path.stat().st_size for path in files) <= 128 * 1024
    assert story(tmp_path, "M00000") == []
    assert _names(story(tmp_path, "M02999")) == ["delivered"]
    assert store.dropped == 0


def test_files_that_are_too_old_go(tmp_path: Path) -> None:
    _keep(tmp_path, Entry(1.0, "old", "step", "M1"))
    (path,) = (tmp_path / "worker-0").glob(PATTERN)
    os.utime(path, (1, 1))
    _keep(tmp_path, Entry(2.0, "new", "step", "M2"))
    assert story(tmp_path, "M1") == []
    assert _names(story(tmp_path, "M2")) == ["new"]


def test_only_the_user_of_the_server_may_read_them(tmp_path: Path) -> None:
    _keep(tmp_path, Entry(1.0, "delivered", "step", "M1"))
    (path,) = (tmp_path / "worker-0").glob(PATTERN)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_torn_last_line_is_left_out_and_the_next_start_writes_elsewhere(tmp_path: Path) -> None:
    _keep(tmp_path, Entry(1.0, "accepted", "step", "M1"), Entry(2.0, "delivered", "step", "M1"))
    (path,) = (tmp_path / "worker-0").glob(PATTERN)
    path.write_bytes(path.read_bytes()[:-20])
    _keep(tmp_path, Entry(3.0, "relayed", "step", "M1"))
    assert _names(story(tmp_path, "M1")) == ["accepted", "relayed"]


def test_strangers_files_and_lines_are_no_traces(tmp_path: Path) -> None:
    folder = tmp_path / "worker-0"
    folder.mkdir()
    (folder / "trace-x.jsonl").write_bytes(b'M1 \xff\n[]\n{"time": "M1"}\n' + b"[" * 100_000 + b"M1\n")
    _keep(tmp_path, Entry(1.0, "delivered", "step", "M1"))
    assert _names(story(tmp_path, "M1")) == ["delivered"]
    assert len(lately(tmp_path, 5)) == 1


def test_nobody_waits_for_a_disk_that_is_slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What there is no room for while the disk hangs is dropped and counted; then it goes on."""
    free, write = threading.Event(), os.write

    def hanging(fd: int, octets: bytes) -> int:
        free.wait(20)
        return write(fd, octets)

    store = _store(tmp_path, waiting=4096)
    monkeypatch.setattr("penstock.observe.traces.os.write", hanging)
    for number in range(1000):
        store.put(Entry(1.0, "delivered", "step", f"M{number}"))
    assert store.dropped > 0
    assert not store.flush(0.05)
    free.set()
    assert store.flush()
    store.put(Entry(1.0, "relayed", "step", "LAST"))
    store.close()
    assert _names(story(tmp_path, "LAST")) == ["relayed"]
    assert store.written + store.dropped == 1001


def test_a_disk_that_refuses_is_told_of_once_and_costs_only_the_traces(tmp_path: Path) -> None:
    (tmp_path / "worker-0").write_text("in the way")
    said: list[str] = []
    store = TraceStore(TraceSettings(tmp_path / "worker-0"), said.append)
    for number in range(5):
        store.put(Entry(1.0, "delivered", "step", f"M{number}"))
        assert store.flush()
    store.close()
    assert store.dropped == 5
    assert len(said) == 1


def test_nothing_is_taken_after_the_end(tmp_path: Path) -> None:
    store = _store(tmp_path)
    store.close()
    store.put(Entry(1.0, "delivered", "step", "M1"))
    assert store.dropped == 1
    assert not (tmp_path / "worker-0").exists()


@pytest.mark.parametrize("room", [1024, 4096, 16 * 1024])
def test_an_entry_fits_its_room_and_keeps_who_was_asked(room: int) -> None:
    idle = [Asked(f"idle{n}", conditions=[Looked("recipient", "w" * 500, "f" * 500, False)], reason="condition") for n in range(150)]
    asked = Asked("last", verdict="Reject 550", error="e" * 3000, edits=["+ header " + "x" * 300] * 100)
    line = encode_entry(Entry(1.0, "EndOfData", message="M1", about="a" * 5000, asked=[*idle, asked]), room)
    assert len(line) <= room
    entry = decode_entry(line)
    assert entry is not None
    assert entry.asked[-1].binding == "last"
    assert entry.more + len(entry.asked) == 151
