"""The file format: what is written is read again, and nothing that is in a file stops the reader."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.capture import format as module
from penstock.capture.format import CapturedSession, CaptureError, Step, Unreadable, encode, read, read_lines

OCTETS = st.binary(max_size=200).map(lambda data: data.decode("latin-1"))
STEPS = st.builds(
    Step,
    at=st.floats(0, 1000),
    kind=st.sampled_from(["command", "refused", "auth", "answer", "content", "unread", "reply"]),
    octets=OCTETS,
    missing=st.integers(0, 1 << 30),
    hidden=st.booleans(),
)
SESSIONS = st.builds(
    CapturedSession,
    id=st.text(max_size=20),
    client_ip=st.just("192.0.2.1"),
    started=st.floats(0, 1e10),
    ended=st.sampled_from(["quit", "lost"]),
    steps=st.lists(STEPS, max_size=5),
)


def lines(data: bytes) -> list[CapturedSession | Unreadable]:
    """What the reader makes of octets."""
    return list(read_lines(io.BytesIO(data)))


@given(st.lists(SESSIONS, max_size=4))
def test_what_is_written_is_read_again(sessions: list[CapturedSession]) -> None:
    assert lines(b"".join(map(encode, sessions))) == sessions


@given(SESSIONS)
def test_octets_come_back_as_they_were(session: CapturedSession) -> None:
    (again,) = lines(encode(session))
    assert isinstance(again, CapturedSession)
    assert [step.raw for step in again.steps] == [step.octets.encode("latin-1") for step in session.steps]


@settings(max_examples=300)
@given(st.lists(SESSIONS, min_size=1, max_size=3), st.data())
def test_a_file_that_is_cut_off_loses_its_last_line_alone(sessions: list[CapturedSession], data: st.DataObject) -> None:
    octets = b"".join(map(encode, sessions))
    cut = octets[: data.draw(st.integers(0, len(octets)))]
    found = lines(cut)
    complete = cut.count(b"\n")
    assert found[:complete] == sessions[:complete]
    # A line that lacks nothing but its end is as good as whole.
    assert len(found) <= complete + 1
    assert all(isinstance(one, Unreadable) or one in sessions for one in found[complete:])


@settings(max_examples=300)
@given(st.binary(max_size=2000), SESSIONS)
def test_garbage_before_a_session_stops_nobody(garbage: bytes, session: CapturedSession) -> None:
    assert lines(garbage + b"\n" + encode(session))[-1] == session


@settings(max_examples=300)
@given(SESSIONS, st.data())
def test_flipped_octets_are_named_or_give_another_session(session: CapturedSession, data: st.DataObject) -> None:
    octets = bytearray(encode(session))
    for _ in range(data.draw(st.integers(1, 5))):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    for one in lines(bytes(octets)):
        if isinstance(one, CapturedSession):
            assert all(len(step.raw) == len(step.octets) for step in one.steps)
        else:
            assert one.why


@pytest.mark.parametrize(
    "line",
    [
        b"{}x",
        b"[]",
        b"null",
        b'{"steps": 3}',
        b'{"version": 2}',
        b'{"version": 0}',
        b'{"steps": [{"at": 0, "kind": "other"}]}',
        b'{"steps": [{"at": 0, "kind": "reply", "octets": "\xc4\x80"}]}',
        b"[" * 100_000,
        b"\xff\xfe",
        b'{"started": 1e300}',
        b'{"seconds": -1}',
        b'{"steps": [{"at": 1e20, "kind": "reply"}]}',
        b'{"steps": [{"at": 1, "kind": "content", "missing": 99999999999}]}',
        b'{"id": "\x80"}',
    ],
)
def test_a_line_that_is_no_session_is_named_with_its_number(line: bytes) -> None:
    good = encode(CapturedSession(id="a"))
    (first, bad, last) = lines(good + line + b"\n" + good)
    assert isinstance(bad, Unreadable)
    assert bad.line == 2
    assert first == last


def test_fields_of_a_newer_server_are_passed_over() -> None:
    (session,) = lines(b'{"id": "a", "colour": "blue", "steps": [{"at": 1, "kind": "reply", "mood": 3}]}\n')
    assert isinstance(session, CapturedSession)
    assert session.id == "a"


def test_a_line_that_is_too_long_is_passed_over_without_keeping_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST_LINE", 1000)
    good = encode(CapturedSession(id="a"))
    bad, last = lines(b"x" * 5000 + b"\n" + good)
    assert isinstance(bad, Unreadable)
    assert last == CapturedSession(id="a")


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="No such file"):
        list(read(tmp_path / "none"))
    with pytest.raises(CaptureError, match="directory"):
        list(read(tmp_path))
