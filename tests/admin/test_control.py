"""The control socket: who may ask, and that nobody at the other end can hang or crash the worker."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import socket
import stat
from pathlib import Path
from typing import Any

import pytest

from penstock.admin.control import ControlSettings, serve_control
from penstock.admin.places import open_socket, socket_path
from penstock.admin.protocol import MAX_LINE, VERSION
from penstock.admin.taking import TakingLimits
from penstock.errors import PenstockError
from penstock.observe.log import get_log

from .live import Live


async def _ask(path: Path, *lines: bytes) -> list[dict[str, Any]]:
    """The answer to these lines."""
    reader, writer = await asyncio.open_unix_connection(str(path), limit=MAX_LINE * 2)
    writer.writelines(lines)
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return [json.loads(line) for line in answer.splitlines()]


def _question(op: str, **fields: Any) -> bytes:
    return json.dumps({"op": op, "version": VERSION, **fields}).encode() + b"\n"


async def test_folder_and_socket_are_for_the_owner_alone(tmp_path: Path) -> None:
    """Nobody else may even reach the socket."""
    async with Live(tmp_path) as live:
        assert stat.S_IMODE(live.path.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE(live.path.stat().st_mode) == 0o600
        assert (await _ask(live.path, _question("status")))[0]["worker"] == "worker-0"
    assert not live.path.exists()


async def test_a_socket_that_a_dead_worker_left_is_replaced(tmp_path: Path) -> None:
    """After kill -9 it is still there, and nobody listens."""
    path = socket_path(tmp_path / "run", 0)
    open_socket(path).close()
    async with Live(tmp_path) as live:
        assert (await _ask(live.path, _question("status")))[-1] == {"re": "done"}


async def test_an_old_worker_leaves_its_successors_socket(tmp_path: Path) -> None:
    """It ends after the new one began."""
    async with Live(tmp_path) as live:
        successor = await serve_control(live.path, live.operations, get_log())
        await live.server.close()
        assert (await _ask(live.path, _question("status")))[-1] == {"re": "done"}
        await successor.close()


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (lambda folder: (folder / "run").mkdir(mode=0o777) or (folder / "run").chmod(0o777), "others may write"),
        (lambda folder: (folder / "run" / "worker-0.sock").mkdir(parents=True), "in the way"),
        (lambda folder: (folder / "run").write_text(""), "cannot be made"),
    ],
)
def test_a_place_that_cannot_be_used_is_named(tmp_path: Path, prepare: Any, words: str) -> None:
    """With what is wrong with it."""
    prepare(tmp_path)
    with pytest.raises(PenstockError, match=words):
        open_socket(socket_path(tmp_path / "run", 0))


def test_a_path_that_is_too_long_for_a_socket_is_named(tmp_path: Path) -> None:
    """The system's own words would be "AF_UNIX path too long"."""
    with pytest.raises(PenstockError, match=r"the system allows 107: name a shorter 'server\.control'"):
        open_socket(socket_path(tmp_path / ("x" * 100), 0))


def test_a_group_that_there_is_not_is_named(tmp_path: Path) -> None:
    """Before anything is made."""
    with pytest.raises(PenstockError, match="no group 'nosuchgroup'"):
        open_socket(socket_path(tmp_path / "run", 0), "nosuchgroup")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "line",
    [b"\n", b"{}\n", b"null\n", b"[" * 99_999 + b"\n", b"\xff\n", b'{"op":"list"}\n', b'{"op":"nothing","version":1}\n', _question("show")],
)
async def test_what_is_no_question_gets_one_answer(tmp_path: Path, line: bytes) -> None:
    """And the worker goes on."""
    async with Live(tmp_path) as live:
        (answer,) = await _ask(live.path, line)
        assert (answer["re"], answer["kind"]) == ("failed", "usage")
        assert (await _ask(live.path, _question("status")))[-1] == {"re": "done"}


async def test_another_version_is_named(tmp_path: Path) -> None:
    """A command of a newer release beside an older server."""
    async with Live(tmp_path) as live:
        (answer,) = await _ask(live.path, _question("list", version=99))
        assert "version 99" in answer["what"]


async def _write_for_ever(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"x" * 65536)
        await writer.drain()


async def test_a_line_without_end_is_refused_without_being_kept(tmp_path: Path) -> None:
    """Who writes on after the answer is cut off soon."""
    async with Live(tmp_path) as live:
        reader, writer = await asyncio.open_unix_connection(str(live.path))
        writer.write(b"x" * 3 * MAX_LINE)
        assert b"has more than" in await asyncio.wait_for(reader.readline(), 5)
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(_write_for_ever(writer), 10)
        writer.close()
        assert (await _ask(live.path, _question("status")))[-1] == {"re": "done"}


async def test_who_says_nothing_is_let_go(tmp_path: Path) -> None:
    """And does not keep others out meanwhile, unless there are too many of them; then these wait."""
    async with Live(tmp_path, settings=ControlSettings(connections=2, read=0.3)) as live:
        silent = [await asyncio.open_unix_connection(str(live.path)) for _ in range(2)]
        assert (await _ask(live.path, _question("status")))[-1] == {"re": "done"}
        for reader, writer in silent:
            assert await asyncio.wait_for(reader.read(), 5) == b""
            writer.close()


async def test_who_does_not_read_is_dropped(tmp_path: Path) -> None:
    """What waits for him is bounded, and ends."""
    async with Live(tmp_path, settings=ControlSettings(connections=1, write=0.3)) as live:
        message = await live.keep(content=b"Subject: large\r\n\r\n" + b"x" * 3_000_000)
        sock = socket.socket(socket.AF_UNIX)
        sock.setblocking(False)
        sock.connect(str(live.path))
        sock.send(_question("cat", id=message))
        # The only place is free again when he is dropped.
        assert (await _ask(live.path, _question("status")))[-1] == {"re": "done"}
        sock.close()


async def test_an_error_of_ours_ends_one_question(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is in the log, and not told to who asked."""
    async with Live(tmp_path) as live:

        class Broken:
            worker = "worker-0"

            def __getattr__(self, name: str) -> Any:
                raise RuntimeError("secret")

        live.server._operations = Broken()  # type: ignore[assignment]
        (answer,) = await _ask(live.path, _question("status"))
        assert (answer["kind"], "secret" in answer["what"]) == ("internal", False)
        live.server._operations = live.operations
        assert (await _ask(live.path, _question("status")))[-1] == {"re": "done"}


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be another user")
async def test_another_user_may_not_ask_even_with_a_socket_that_is_open_to_all(tmp_path: Path) -> None:
    """The kernel says who he is. With a group configured he may hand in mail, and nothing else."""
    for group, op, kind in (("", "status", "denied"), ("root", "status", "denied"), ("root", "submit", "data")):
        async with Live(tmp_path, settings=ControlSettings(group=group)) as live:
            for path in (tmp_path, *tmp_path.parents[:-2]):
                path.chmod(0o755)
            live.path.parent.chmod(0o755)
            live.path.chmod(0o666)
            answer = json.loads(await asyncio.to_thread(_ask_as_nobody, live.path, _question(op, sender="", recipients=[])))
            assert (answer["re"], answer["kind"]) == ("failed", kind)
            live.path.parent.chmod(0o700)


def _ask_as_nobody(path: Path, line: bytes) -> bytes:
    reads, writes = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(str(path))
                sock.sendall(line)
                os.write(writes, sock.makefile("rb").readline())
        finally:
            os._exit(0)
    os.close(writes)
    os.waitpid(child, 0)
    with os.fdopen(reads, "rb") as answer:
        return answer.read()


def _submission(content: bytes, **fields: Any) -> list[bytes]:
    pieces = [content[start : start + 30_000] for start in range(0, len(content), 30_000)]
    lines = [json.dumps({"re": "data", "octets": base64.b64encode(piece).decode()}).encode() + b"\n" for piece in [*pieces, b""]]
    return [_question("submit", **{"sender": "root@example.com", "recipients": ["ann@far.example"], **fields}), *lines]


@pytest.mark.parametrize("size", [10, 5_000_000])
async def test_a_message_is_durable_before_its_id_is_told(tmp_path: Path, size: int) -> None:
    """Small or large, octet for octet behind our trace field."""
    async with Live(tmp_path) as live:
        content = b"Subject: x\r\n\r\n" + b"y" * size
        (answer,) = await _ask(live.path, *_submission(content, notify=["success"], envid="e1", ret="HDRS"))
        entry = live.spool.get(answer["id"])
        assert entry is not None
        whole = live.spool.content(entry).read()
        assert whole.endswith(content)
        assert whole.startswith(b"Received: by mx.example.com (Penstock, from userid 0)\r\n\tid " if os.geteuid() == 0 else b"Received: by")
        (detail, _) = await _ask(live.path, _question("show", id=answer["id"]))
        assert (detail["facts"]["envid"], detail["facts"]["ret"], detail["facts"]["origin"]) == ("e1", "HDRS", "submission-api")
        assert detail["recipients"][0]["notify"] == ["success"]


@pytest.mark.parametrize(
    ("fields", "content", "words"),
    [
        ({"recipients": []}, b"x", "at least one recipient"),
        ({"recipients": ["not an address"]}, b"x", "address|local part|@"),
        ({"recipients": [f"u{n}@far.example" for n in range(4)]}, b"x", "more than"),
        ({"notify": ["never", "delay"]}, b"x", "NOTIFY"),
        ({}, b"x" * 200_000, "octets"),
        ({}, b"Received: x\r\n" * 6 + b"\r\n", "hops"),
    ],
)
async def test_what_cannot_be_taken_is_refused_with_the_reason(tmp_path: Path, fields: Any, content: bytes, words: str) -> None:
    """And nothing of it is kept."""
    limits = TakingLimits(message_size=100_000, recipients=3, hops=5)
    async with Live(tmp_path, settings=ControlSettings(limits=limits)) as live:
        (answer,) = await _ask(live.path, *_submission(content, **fields))
        assert answer["re"] == "failed"
        assert re.search(words, answer["what"]), answer
        assert live.spool.count() == 0
        assert live.server._taking.memory.used == 0


async def test_a_message_that_is_not_handed_in_whole_is_forgotten(tmp_path: Path) -> None:
    """Its program died: half a message is none."""
    async with Live(tmp_path) as live:
        reader, writer = await asyncio.open_unix_connection(str(live.path))
        writer.writelines(_submission(b"x" * 100_000)[:-1])
        writer.write_eof()
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
        assert live.spool.count() == 0
        assert live.server._taking.memory.used == 0
