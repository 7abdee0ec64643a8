"""Clients that mean no good, in a process of their own: some of each kind, who come again and again until their time is over.

Each kind has an address of its own in 127.0.0.0/8, so that what a server counts for an address counts for the kind and for nobody else.
They say what they were told at last, by kind, as one line of JSON: a test holds it against what each kind deserves::

    python -m support.attackers 127.0.0.1 2525 --each 25 --seconds 8        (with tests/ in PYTHONPATH)
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import uvloop

# How long a slow one waits between two octets, and how long anybody comes not again after he was sent away.
DRIP, REST = 0.05, 0.05
FINAL = re.compile(rb"^[2-5]\d\d ", re.MULTILINE)


@dataclass(slots=True)
class Line:
    """One connection of an attacker; everything ends at ``until`` (monotonic)."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    dice: random.Random
    until: float
    heard: bytes = b""

    async def hear(self) -> bytes:
        """The next line; b"" at the end."""
        line = await self.reader.readline()
        self.heard = line or self.heard
        return line

    async def reply(self) -> bytes:
        """The last line of a reply; b"" at the end."""
        while line := await self.hear():
            if FINAL.match(line):
                break
        return line

    async def say(self, *lines: bytes) -> bytes:
        """Says lines, each after the reply to the one before; the last reply."""
        said = b""
        for line in lines:
            self.writer.write(line + b"\r\n")
            said = await self.reply()
        return said

    async def to_the_end(self) -> None:
        """Listens until the server hangs up."""
        while await self.hear():
            pass


async def half_open(line: Line) -> None:
    """Says nothing at all."""
    await line.to_the_end()


async def slow_command(line: Line) -> None:
    """Drips a command that never ends."""
    await line.reply()
    await asyncio.gather(_drip(line, b"N"), line.to_the_end())


async def slow_content(line: Line) -> None:
    """Drips content that never ends."""
    await line.reply()
    await line.say(b"EHLO slow.example", b"MAIL FROM:<slow@slow.example>", b"RCPT TO:<alice@example.com>", b"DATA")
    await asyncio.gather(_drip(line, b"drip\r\n"), line.to_the_end())


async def _drip(line: Line, octets: bytes) -> None:
    while not line.reader.at_eof() and time.monotonic() < line.until:
        line.writer.write(octets)
        await asyncio.sleep(DRIP)


async def flood(line: Line) -> None:
    """Says as much of nothing as goes out."""
    await line.reply()
    line.writer.write(b"NOOP\r\n" * 20_000)
    await line.to_the_end()


async def deaf(line: Line) -> None:
    """Asks and asks, and reads no answer."""
    line.writer.transport.pause_reading()  # type: ignore[attr-defined] # one that was made for streams can
    while time.monotonic() < line.until:
        line.writer.write(b"HELP\r\n" * 1000)
        await line.writer.drain()
        await asyncio.sleep(DRIP)


async def garbage(line: Line) -> None:
    """Says octets that mean nothing, with line ends here and there."""
    await line.reply()
    for _ in range(50):
        line.writer.write(line.dice.randbytes(200) + b"\r\n")
    await line.to_the_end()


async def early(line: Line) -> None:
    """Says everything at once, before it is greeted."""
    line.writer.write(b"EHLO early.example\r\nMAIL FROM:<e@early.example>\r\nRCPT TO:<alice@example.com>\r\nDATA\r\nspam\r\n.\r\nQUIT\r\n")
    await line.to_the_end()


async def tls_garbage(line: Line) -> None:
    """Asks for TLS and then says octets that are none."""
    await line.reply()
    await line.say(b"EHLO tls.example", b"STARTTLS")
    line.writer.write(b"\x16\x03\x01\x02\x00" + line.dice.randbytes(600))
    await line.to_the_end()


async def tls_silent(line: Line) -> None:
    """Asks for TLS and then says nothing."""
    await line.reply()
    await line.say(b"EHLO tls.example", b"STARTTLS")
    await line.to_the_end()


async def harvester(line: Line) -> None:
    """Guesses names until it is sent away."""
    await line.reply()
    await line.say(b"EHLO harvest.example", b"MAIL FROM:<h@harvest.example>")
    while (await line.say(b"RCPT TO:<guess%d@nowhere.example.com>" % line.dice.randrange(10**9)))[:3] not in (b"", b"421"):
        pass


async def browser(line: Line) -> None:
    """Speaks HTTP, as a page that posts forms to our port does."""
    await line.reply()
    line.writer.write(b"POST / HTTP/1.1\r\nHost: mx\r\nContent-Length: 40\r\n\r\nMAIL FROM:<a@b.example>\r\nDATA\r\n")
    await line.to_the_end()


async def vanisher(line: Line) -> None:
    """Comes, begins, and resets the connection."""
    await line.reply()
    line.writer.write(b"EHLO gone.example\r\nMAIL FROM:<a@gone.example>\r\nRCPT TO:<alice@example.com>\r\nDATA\r\nhalf a mess")
    line.writer.transport.abort()


KINDS: tuple[Callable[[Line], Awaitable[None]], ...] = (
    half_open, slow_command, slow_content, flood, deaf, garbage, early, tls_garbage, tls_silent, harvester, browser, vanisher,
)  # fmt: skip


async def attack(address: tuple[str, int], each: int, seconds: float) -> dict[str, dict[str, int]]:
    """What the attackers of each kind were told at last, and how often, by the first three octets of it; "" for nothing."""
    until = time.monotonic() + seconds
    told: dict[str, Counter[str]] = {kind.__name__: Counter() for kind in KINDS}

    async def one(number: int, turn: int) -> None:
        dice, kind = random.Random(number * 1000 + turn), KINDS[number]
        while time.monotonic() < until:
            with contextlib.suppress(OSError, TimeoutError, ValueError):
                async with asyncio.timeout(max(until - time.monotonic(), 0)):
                    told[kind.__name__][await _come(kind, (address, f"127.0.1.{number + 1}"), dice, until)] += 1
            await asyncio.sleep(REST)

    await asyncio.gather(*(one(number, turn) for number in range(len(KINDS)) for turn in range(each)))
    return {name: dict(counts) for name, counts in told.items()}


async def _come(
    kind: Callable[[Line], Awaitable[None]], places: tuple[tuple[str, int], str], dice: random.Random, until: float
) -> str:  # fmt: skip
    """One connection, to its end."""
    (host, port), own = places
    reader, writer = await asyncio.open_connection(host, port, local_addr=(own, 0))
    line = Line(reader, writer, dice, until)
    try:
        await kind(line)
    except OSError:
        pass  # a reset is an end like others
    finally:
        writer.transport.abort()
    return line.heard[:3].decode("latin-1")


def main() -> None:
    """Attacks, and prints what was said."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--each", type=int, default=25, help="attackers of each kind")
    parser.add_argument("--seconds", type=float, default=8.0)
    given = parser.parse_args()
    print(json.dumps(uvloop.run(attack((given.host, given.port), given.each, given.seconds))))


if __name__ == "__main__":
    main()
