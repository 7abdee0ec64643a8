"""Clients that do everything right, and take the time: how long each message took from the connection to the reply to QUIT.

A message that was not taken, for whatever reason, is a failure with its reason: honest clients shall feel nothing of others.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

PATIENCE = 30.0
CONTENT = b"From: a@client.example\r\nSubject: honest\r\n\r\n" + (b"x" * 62 + b"\r\n") * 32 + b"."
TALK = (
    (b"", b"220"), (b"EHLO client.example", b"250"), (b"MAIL FROM:<a@client.example>", b"250"), (b"RCPT TO:<alice@example.com>", b"250"),
    (b"DATA", b"354"), (CONTENT, b"250"), (b"QUIT", b"221"),
)  # fmt: skip


@dataclass(slots=True)
class Honest:
    """What became of their messages."""

    seconds: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def quantile(self, part: float) -> float:
        """The time that this part of them (0 to 1) did not exceed."""
        return sorted(self.seconds)[min(int(len(self.seconds) * part), len(self.seconds) - 1)]


async def send_on(address: tuple[str, int], count: int, done: asyncio.Event) -> Honest:
    """So many clients send one message a session, one after the other, until it is enough."""
    found = Honest()

    async def one() -> None:
        while not done.is_set():
            began = time.monotonic()
            try:
                async with asyncio.timeout(PATIENCE):
                    await _send(address)
            except (OSError, TimeoutError) as error:
                found.failed.append(f"{type(error).__name__}: {error}")
            else:
                found.seconds.append(time.monotonic() - began)
            # A client is no flood: a few messages a second are plenty.
            await asyncio.sleep(0.1)

    await asyncio.gather(*(one() for _ in range(count)))
    return found


async def _send(address: tuple[str, int]) -> None:
    reader, writer = await asyncio.open_connection(*address)
    try:
        for line, expected in TALK:
            if line:
                writer.write(line + b"\r\n")
            while (reply := await reader.readline())[3:4] == b"-":
                pass
            if not reply.startswith(expected):
                raise ConnectionError(f"{reply!r} to {line[:20]!r}")
    finally:
        writer.transport.abort()
