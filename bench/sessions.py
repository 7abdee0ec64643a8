"""Measures what a session costs in memory: ``python -m bench.sessions``, or with ``--count 1000``.

One worker, and clients of this machine that greet and then wait, in clear or with TLS, or that stand in the middle of a message. What
counts is how much the worker's resident memory grew, divided by the sessions: transports, buffers and what the kernel maps for the process
are in it, sockets in the kernel are not. The first hundred sessions are there before it is measured, so that what is made once is not
counted.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import platform
import resource
import ssl
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import uvloop
from tests.support.certificates import certificate
from tests.support.server import Server

WARM = 100
# Handshakes and greetings at the same time: more would only wait in the queue of the listening socket.
TOGETHER = 100
CONFIG = """
[limits]
connections = 20000
connections_per_client = 20000
idle = "1h"
data = "1h"
[tls]
certificates = [{{ certificate = "{certificate}", key = "{key}" }}]
"""
HELLO = b"EHLO client.example\r\n"
MESSAGE = b"MAIL FROM:<a@client.example>\r\n", b"RCPT TO:<bob@example.com>\r\n", b"DATA\r\n"


@dataclass(frozen=True, slots=True)
class Case:
    """What the sessions do: how many, with TLS or not, and whether each is in the middle of a message's content."""

    count: int
    tls: bool
    active: bool

    def __str__(self) -> str:
        doing = "in the middle of a message of 4 KiB" if self.active else "idle"
        return f"{self.count:,} {doing}, {'TLS' if self.tls else 'in clear'}"


def main() -> None:
    """Measures all four cases and prints Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=5000, help="idle sessions (default 5,000; a fifth of them active)")
    count = parser.parse_args().count
    # A descriptor each, here as in the worker, which is started with the same limits.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard < count + 2 * WARM:
        sys.exit(f"only {hard} descriptors; try --count {hard // 2}")
    print(f"Linux {platform.release()}, Python {platform.python_version()}, one worker\n")
    print("| sessions | KiB a session |\n| --- | ---: |")
    for case in (Case(count, tls, active) for tls in (False, True) for active in (False, True)):
        case = Case(count // 5, case.tls, True) if case.active else case
        print(f"| {case} | {measure(case) / 1024:.1f} |", flush=True)


def measure(case: Case) -> float:
    """Octets a session, of a server of its own."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        own = certificate("mx.example.com")
        more = CONFIG.format(certificate=own.certificate, key=own.key)
        with Server(Path(folder), deliver="discard:", more=more) as server:
            return uvloop.run(_sessions(server, case))


async def _sessions(server: Server, case: Case) -> float:
    """Opens them all, and says by how much each made the worker larger."""
    (worker,) = server.workers
    with _closing() as clients:
        await _open(server, case, WARM, clients)
        before = resident(worker)
        await _open(server, case, case.count, clients)
        return (resident(worker) - before) / case.count


@contextlib.contextmanager
def _closing() -> Iterator[list[asyncio.StreamWriter]]:
    clients: list[asyncio.StreamWriter] = []
    try:
        yield clients
    finally:
        for writer in clients:
            writer.transport.abort()


async def _open(server: Server, case: Case, count: int, clients: list[asyncio.StreamWriter]) -> None:
    turns = asyncio.Semaphore(TOGETHER)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # The certificate is made for the measurement, and nothing is secret.
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

    async def one() -> None:
        async with turns:
            clients.append(await asyncio.wait_for(_begin(server, context if case.tls else None, case.active), 120.0))

    await asyncio.gather(*(one() for _ in range(count)))


async def _begin(server: Server, context: ssl.SSLContext | None, active: bool) -> asyncio.StreamWriter:
    """One session up to where it waits."""
    reader, writer = await asyncio.open_connection(*server.address)
    await _reply(reader, b"220")
    await _say(reader, writer, HELLO)
    if context is not None:
        await _say(reader, writer, b"STARTTLS\r\n")
        await writer.start_tls(context)
        await _say(reader, writer, HELLO)
    if active:
        for line in MESSAGE:
            await _say(reader, writer, line)
        writer.write(_content())
        await writer.drain()
    return writer


def _content() -> bytes:
    return b"Subject: measured\r\n\r\n" + (b"x" * 62 + b"\r\n") * 64


async def _say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: bytes) -> None:
    writer.write(line)
    await _reply(reader, b"354" if line == b"DATA\r\n" else b"2")


async def _reply(reader: asyncio.StreamReader, expected: bytes) -> None:
    while True:
        line = await reader.readline()
        if not line.startswith(expected):
            raise ConnectionError(f"{line!r} in place of {expected!r}")
        if line[3:4] != b"-":
            return


def resident(pid: int) -> int:
    """Octets of a process that are in memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(pid)


if __name__ == "__main__":
    main()
