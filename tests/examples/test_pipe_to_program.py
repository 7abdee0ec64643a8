"""The pipe: what the program gets, and what its exit codes mean."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from examples.pipe_to_program import PipeToProgram

from penstock.testing import SinkTester, SinkTesters
from penstock.verdicts import Bounce, Defer, Delivered

TAKE = "import os, pathlib, sys; pathlib.Path(sys.argv[1]).write_bytes(repr(dict(os.environ)).encode() + b'\\n' + sys.stdin.buffer.read())"


def running(sink_tester: SinkTesters, code: str, *arguments: object, seconds: float = 20.0) -> SinkTester:
    return sink_tester(PipeToProgram, command=[sys.executable, "-c", code, *map(str, arguments)], seconds=seconds)


async def test_the_program_gets_the_message_and_its_envelope(sink_tester: SinkTesters, tmp_path: Path) -> None:
    content = b"Subject: large\r\n\r\n" + b"0123456789abcdef\r\n" * 50_000
    tester = running(sink_tester, TAKE, tmp_path / "taken")
    assert await tester.local_delivery("tickets@example.com", content=content, sender="ann@client.example") == Delivered(sys.executable)
    environment, _, taken = (tmp_path / "taken").read_bytes().partition(b"\n")
    assert taken == content
    for pair in ("'SENDER': 'ann@client.example'", "'RECIPIENT': 'tickets@example.com'", "'LOCAL': 'tickets'", "'HOST': 'example.com'"):
        assert pair.encode() in environment


@pytest.mark.parametrize(
    ("code", "kind", "status"),
    [
        (os.EX_NOUSER, Bounce, "5.1.1"),
        (os.EX_NOPERM, Bounce, "5.7.1"),
        (os.EX_UNAVAILABLE, Bounce, "5.7.1"),
        (os.EX_DATAERR, Bounce, "5.7.1"),
        (os.EX_TEMPFAIL, Defer, "4.3.0"),
        (1, Defer, "4.3.0"),
    ],
)
async def test_exit_codes_have_the_meaning_of_sysexits(sink_tester: SinkTesters, code: int, kind: type, status: str) -> None:
    verdict = await running(sink_tester, f"raise SystemExit({code})").local_delivery()
    assert (type(verdict), verdict.enhanced) == (kind, status)


async def test_a_program_that_does_not_read_decides_all_the_same(sink_tester: SinkTesters) -> None:
    assert await running(sink_tester, "").local_delivery(content=b"x" * 3_000_000) == Delivered(sys.executable)


async def test_a_program_that_hangs_is_killed_and_the_message_waits(sink_tester: SinkTesters, tmp_path: Path) -> None:
    code = "import os, sys, time; print(os.getpid(), file=open(sys.argv[1], 'w'), flush=True); time.sleep(600)"
    tester = running(sink_tester, code, tmp_path / "pid", seconds=1.0)
    assert isinstance(await tester.local_delivery(content=b"x" * 3_000_000), Defer)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


async def test_a_program_that_is_killed_and_one_that_is_missing_make_the_message_wait(sink_tester: SinkTesters) -> None:
    assert isinstance(await running(sink_tester, "import os; os.kill(os.getpid(), 9)").local_delivery(), Defer)
    assert isinstance(await sink_tester(PipeToProgram, command=["/nonexistent/program"]).local_delivery(), Defer)
