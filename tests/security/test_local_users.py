"""Users of the same machine: who may hand in mail may not keep others from anything."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from pathlib import Path

import pytest

from admin.live import Live
from penstock.admin.control import ControlSettings

NOBODY = 65534


def _crowd(path: Path, silent: int, told: int, until: int) -> None:
    """As nobody: holds so many connections without a word, passes on what one more is answered, and waits."""
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(silent + 1)]
        for sock in held:
            sock.connect(str(path))
        os.write(told, held[-1].makefile("rb").readline())
        os.read(until, 1)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be another user")
async def test_members_of_the_group_cannot_take_all_connections(tmp_path: Path) -> None:
    """Slow ones, or many, are told to come later, and administrators are answered meanwhile."""
    async with Live(tmp_path, settings=ControlSettings(group="root", connections=4, reserved=2)) as live:
        for folder in (tmp_path, *tmp_path.parents[:-2]):
            folder.chmod(0o755)
        live.path.parent.chmod(0o755)
        live.path.chmod(0o666)
        (reads, told), (until, ends) = os.pipe(), os.pipe()
        child = os.fork()
        if not child:
            try:
                _crowd(live.path, 2, told, until)
            finally:
                os._exit(0)
        os.close(told)
        try:
            answer = json.loads(await asyncio.to_thread(os.read, reads, 4096))
            assert (answer["re"], answer["kind"]) == ("failed", "later")
            out, _ = await live.run("status")
            assert "worker-0" in out
        finally:
            os.write(ends, b"x")
            await asyncio.to_thread(os.waitpid, child, 0)
            for descriptor in (reads, until, ends):
                os.close(descriptor)
            live.path.parent.chmod(0o700)
