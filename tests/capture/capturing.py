"""A server in the test's loop whose sessions are captured, and clients that say what a test wants."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from hosts.running import Client, Running
from penstock import Sink
from penstock.capture.format import CapturedSession, read
from penstock.capture.redact import Redaction
from penstock.capture.settings import CaptureSettings
from penstock.capture.writer import Capture
from penstock.events.plug import Plug
from penstock.observe.log import get_log


@asynccontextmanager
async def capturing(path: Path, *sinks: Sink[Any] | Plug, redaction: Redaction | None = None, **settings: Any) -> AsyncIterator[Running]:
    """A server that writes its sessions to a file, which is complete when this is over."""
    chosen = replace(CaptureSettings(path, redaction=redaction or Redaction()), **settings)
    capture = Capture(chosen, get_log())
    async with Running(*sinks) as server:
        server.host.tap = capture.tap
        yield server
    await capture.close()


def captured(path: Path) -> list[CapturedSession]:
    """The sessions of a file, all of which must be readable."""
    found = list(read(path)) if path.exists() else []
    assert all(isinstance(one, CapturedSession) for one in found), found
    return [one for one in found if isinstance(one, CapturedSession)]


async def whole(server: Running, *lines: str, content: bytes = b"Subject: hello\r\n\r\nHello.\r\n") -> Client:
    """A session with one message in it, and these lines before QUIT."""
    client = await server.client()
    await client.send(content)
    await client.say(*lines, "QUIT")
    assert await client.is_closed()
    client.close()
    return client


def steps(session: CapturedSession, *kinds: str) -> list[str]:
    """What was said, of some kinds."""
    return [step.octets for step in session.steps if step.kind in kinds]
