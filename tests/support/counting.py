"""A receiver that counts: a fast SMTP sink that writes down which messages it acknowledged, for load and kill tests.

It runs as a process of its own, so that it neither shares the sender's processor time nor dies with it::

    python -m support.counting --port-file port --ids ids        (with tests/ in PYTHONPATH)

or through ``CountingReceiver``. A message is known by its X-Test-Number or, without one, its Message-ID. Its id is written to the file
before the 250 is: so an id that is missing was never acknowledged, and a 250 that got lost shows as an id the sender does not know of.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import signal
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import uvloop

from .processes import end, spawn
from .waiting import wait_until

IDENTITY = re.compile(rb"^(?:X-Test-Number|(Message-ID)):[ \t]*([^\r\n]*?)[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
END = b"\r\n.\r\n"
EXTENSIONS = (b"PIPELINING", b"8BITMIME", b"SMTPUTF8", b"DSN", b"SIZE 104857600", b"ENHANCEDSTATUSCODES")
HELLO = b"250-counting.example\r\n" + b"".join(b"250-%b\r\n" % name for name in EXTENSIONS[:-1]) + b"250 %b\r\n" % EXTENSIONS[-1]
OK = b"250 2.0.0 Ok\r\n"


@dataclass(frozen=True, slots=True)
class Manners:
    """How it treats mail; probabilities are for each message, drawn from ``seed``.

    Args:
        defer: answers 451 to the content.
        shut: says 421 to MAIL and closes.
        drop: closes after the content was taken, acknowledged to the file and not to the client.
        lose: resets when the content begins to come.
        delay: seconds before each reply to a content.
    """

    defer: float = 0.0
    shut: float = 0.0
    drop: float = 0.0
    lose: float = 0.0
    delay: float = 0.0
    seed: int = 1


class Books:
    """What all sessions share: the file of ids, the manners, and the dice."""

    def __init__(self, ids: BinaryIO, manners: Manners) -> None:
        self.manners = manners
        self.sessions = 0
        self.acknowledged = 0
        self._ids = ids
        self._dice = random.Random(manners.seed)

    def happens(self, probability: float) -> bool:
        """Throws the dice."""
        return bool(probability) and self._dice.random() < probability

    def write(self, identity: bytes, recipients: int, *, told: bool) -> None:
        """One line, in the kernel's hands when this returns: it survives this process, if not the machine."""
        self.acknowledged += told
        self._ids.write(b"%b %d %b\n" % (b"250" if told else b"---", recipients, identity))


class Receiver(asyncio.Protocol):
    """One session; parses as little as counting needs, in as few calls as it can."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._buffer = bytearray()
        self._in_content = False
        self._losing = False
        self._looked = 0
        self._recipients = 0
        self._pausing = False
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._books.sessions += 1
        self._transport.write(b"220 counting.example ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._go_on()

    def _go_on(self) -> None:
        """All that is whole in the buffer; replies to pipelined commands leave in one write."""
        replies: list[bytes] = []
        while self._buffer and not self._pausing and not self._transport.is_closing():
            answered = self._content() if self._in_content else self._command()
            if answered is None:
                break
            replies.append(answered)
        if replies and not self._transport.is_closing():
            self._transport.write(b"".join(replies))
            if replies[-1].startswith((b"221", b"421")):
                self._transport.close()

    def _command(self) -> bytes | None:
        """The reply to one command, None when there is no whole one."""
        end = self._buffer.find(b"\n")
        if end < 0:
            return None
        verb = bytes(self._buffer[:4]).upper()
        del self._buffer[: end + 1]
        if verb == b"RCPT":
            self._recipients += 1
        elif verb == b"MAIL":
            self._recipients = 0
            if self._books.happens(self._books.manners.shut):
                self._buffer.clear()
                return b"421 4.3.2 Closing\r\n"
        elif verb == b"DATA":
            if not self._recipients:
                return b"503 5.5.1 No recipients\r\n"
            self._in_content = True
            self._looked = 0
            self._losing = self._books.happens(self._books.manners.lose)
            return b"354 Go ahead\r\n"
        elif verb == b"QUIT":
            return b"221 2.0.0 Bye\r\n"
        elif verb == b"EHLO":
            return HELLO
        return OK

    def _content(self) -> bytes | None:
        """The reply to a content, None while it is not whole (or when it is answered later, or never)."""
        manners = self._books.manners
        end = self._buffer.find(END, self._looked)
        if self._losing:
            self._transport.abort()
            return None
        if end < 0:
            self._looked = max(1, len(self._buffer) - len(END) + 1)
            return None
        identity = _identity(bytes(self._buffer[: min(end, 16384)]))
        del self._buffer[: end + len(END)]
        self._in_content = False
        if self._books.happens(manners.defer):
            return b"451 4.3.0 Later\r\n"
        if self._books.happens(manners.drop):
            self._books.write(identity, self._recipients, told=False)
            self._transport.abort()
            return None
        if manners.delay:
            self._pausing = True
            asyncio.get_running_loop().call_later(manners.delay, self._late, identity, self._recipients)
            return None
        self._books.write(identity, self._recipients, told=True)
        return OK

    def _late(self, identity: bytes, recipients: int) -> None:
        """A delayed reply."""
        self._pausing = False
        if not self._transport.is_closing():
            self._books.write(identity, recipients, told=True)
            self._transport.write(OK)
            self._go_on()


def _identity(head: bytes) -> bytes:
    """What a message is known by; ``?`` when it has neither field. Fields that stand before an X-Test-Number do not hide it."""
    fields, _, _ = head.partition(b"\r\n\r\n")
    other = b"?"
    for found in IDENTITY.finditer(fields):
        if not found[1]:
            return found[2]
        other = found[2]
    return other


@dataclass(frozen=True, slots=True)
class Count:
    """What a receiver wrote down.

    Args:
        acknowledged: how often each id got a 250 (its ``write`` was called; the client may have gone before it came).
        untold: ids of contents that were taken without a reply.
    """

    acknowledged: Counter[str]
    untold: Counter[str]

    @property
    def copies(self) -> Counter[str]:
        """Every copy that the remote has, told or not."""
        return self.acknowledged + self.untold


class CountingReceiver:
    """A receiver in a process of its own; a context manager. It can be stopped and started again on its port, its ids go on.

    Args:
        folder: where its files go.
        manners: how it treats mail.
    """

    def __init__(self, folder: Path, manners: Manners | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.ids = folder / "ids"
        self.port = 0
        self._folder = folder
        self._manners = manners or Manners()

    def __enter__(self) -> CountingReceiver:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Starts it; on the same port as before, if there was one."""
        told = self._folder / "port"
        told.unlink(missing_ok=True)
        command = [sys.executable, "-m", "support.counting", "--port", str(self.port), "--port-file", str(told), "--ids", str(self.ids)]
        for name in ("defer", "shut", "drop", "lose", "delay", "seed"):
            command += [f"--{name}", str(getattr(self._manners, name))]
        with (self._folder / "stderr").open("ab") as errors:
            self._process = spawn(command, stderr=errors, cwd=Path(__file__).parent.parent)
        wait_until(self._started, "the counting receiver listens")
        self.port = int(told.read_text())

    def _started(self) -> bool:
        assert self._process.poll() is None, (self._folder / "stderr").read_text()
        return (self._folder / "port").exists()

    def stop(self) -> None:
        """Kills it."""
        end(self._process)

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        return "127.0.0.1", self.port

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def count(self) -> Count:
        """What it wrote by now."""
        acknowledged: Counter[str] = Counter()
        untold: Counter[str] = Counter()
        for line in self.ids.read_text(errors="replace").splitlines() if self.ids.exists() else []:
            code, _, rest = line.partition(" ")
            (acknowledged if code == "250" else untold)[rest.partition(" ")[2]] += 1
        return Count(acknowledged, untold)

    def wait_for(self, messages: int, timeout: float = 60.0) -> Count:
        """Waits until so many different messages are there."""
        wait_until(lambda: len(self.count().copies) >= messages, f"{messages} messages received", timeout, interval=0.1)
        return self.count()


async def serve(books: Books, port: int, port_file: Path) -> None:
    """Receives until SIGTERM or SIGINT; the port file appears whole, when it is listened on."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    server = await loop.create_server(lambda: Receiver(books), "127.0.0.1", port, backlog=1024)
    with tempfile.NamedTemporaryFile("w", dir=port_file.parent, delete=False) as new:
        new.write(str(server.sockets[0].getsockname()[1]))
    Path(new.name).rename(port_file)
    await stop.wait()
    server.close()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Receive mail and write down which messages were acknowledged.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--port-file", type=Path, required=True, help="is written when it listens")
    parser.add_argument("--ids", type=Path, required=True, help="is appended to: 250 or ---, the recipients' number, the id")
    for name, meaning in [("defer", "451"), ("shut", "421"), ("drop", "taking it and closing"), ("lose", "closing within it")]:
        parser.add_argument(f"--{name}", type=float, default=0.0, help=f"probability of {meaning}")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each reply to a content")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    manners = Manners(given.defer, given.shut, given.drop, given.lose, given.delay, given.seed)
    with given.ids.open("ab", buffering=0) as ids:
        books = Books(ids, manners)
        uvloop.run(serve(books, given.port, given.port_file))
    print(f"{books.sessions} sessions, {books.acknowledged} messages acknowledged", file=sys.stderr)


if __name__ == "__main__":
    main()
