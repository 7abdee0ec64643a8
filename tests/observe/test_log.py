"""Log lines: JSON for programs, readable for people, and never forged by what came from outside."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from penstock.observe.log import get_log, set_up


class Stream(io.TextIOWrapper):
    """A text stream over octets, like standard error."""

    def __init__(self, terminal: bool = False) -> None:
        super().__init__(io.BytesIO(), "utf-8", write_through=True)
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal

    @property
    def text(self) -> str:
        raw = self.buffer
        assert isinstance(raw, io.BytesIO)
        return raw.getvalue().decode()

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]


def test_a_line_is_json_with_time_level_event_and_its_values() -> None:
    stream = Stream()
    set_up(stream=stream, process="worker-0")
    get_log(session="S1").info("accepted", message="M1", size=3)
    (line,) = stream.lines()
    assert line.pop("time").endswith("Z")
    assert line == {"level": "info", "event": "accepted", "session": "S1", "message": "M1", "size": 3, "process": "worker-0"}


def test_what_a_client_sends_cannot_begin_a_line() -> None:
    stream = Stream()
    set_up(stream=stream)
    get_log().info("rejected", command='MAIL\r\n{"event": "accepted"}')
    (line,) = stream.lines()
    assert line["event"] == "rejected"


def test_an_exception_comes_with_its_traceback() -> None:
    stream = Stream()
    set_up(stream=stream)
    try:
        raise RuntimeError("oops")
    except RuntimeError as error:
        get_log().error("sink failed", exc_info=error)
    (line,) = stream.lines()
    assert "RuntimeError: oops" in line["exception"]


def test_values_that_are_no_json_are_written_as_text() -> None:
    stream = Stream()
    set_up(stream=stream)
    get_log().info("odd", value=object)
    assert stream.lines()[0]["value"] == "<class 'object'>"


def test_the_level_decides_what_is_written() -> None:
    stream = Stream()
    set_up("warning", stream=stream)
    get_log().info("accepted")
    get_log().warning("held")
    assert [line["event"] for line in stream.lines()] == ["held"]


def test_a_terminal_gets_readable_lines_and_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Stream(terminal=True)
    set_up(stream=stream)
    get_log().info("accepted", message="M1")
    assert "accepted" in stream.text
    assert "message=M1" in stream.text
    assert "\x1b" not in stream.text


STEERING = "\x7f\x85\x9b31m\u2028\u2029\u202etxt.exe\u2066\u200b\ufeff\U000e0041\x1b]0;x\x07"


@pytest.mark.parametrize("form", ["json", "human"])
def test_no_value_steers_a_terminal_or_turns_a_line_around(form: Any) -> None:
    """Neither controls of ASCII and of the upper half (C1), nor marks of direction, nor what is not seen."""
    stream = Stream()
    set_up(stream=stream, form=form)
    get_log().info("rejected", helo=STEERING, more={"deep": [STEERING]}, plain="é ü 漢 🙂")
    assert all(c.isprintable() for c in stream.text.rstrip("\n"))
    assert "é ü 漢 🙂" in stream.text
    if form == "json":
        (line,) = stream.lines()
        assert line["helo"] == line["more"]["deep"][0] == STEERING


def test_octets_that_are_no_utf_8_do_not_cost_the_line() -> None:
    stream = Stream()
    set_up(stream=stream)
    get_log().info("file", path=b"a\xffb\x7f\xc2\x9b".decode("utf-8", "surrogateescape"))
    (line,) = stream.lines()
    assert line["path"] == "a\udcffb\x7f\x9b"
    assert stream.text.isascii()
