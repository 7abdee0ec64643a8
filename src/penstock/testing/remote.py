"""A remote server as a test writes it: it takes mail, says what it is told to say, and breaks where it is told to break."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

from ..mail.reply import Reply
from .network import Network
from .stand_in import ReplyLike, as_reply

# Where something may go wrong: a verb, or one of these.
BANNER, CONTENT = "BANNER", "CONTENT"
EXTENSIONS = ("PIPELINING", "8BITMIME", "SIZE 52428800", "DSN", "ENHANCEDSTATUSCODES", "SMTPUTF8")
_PATH = re.compile(r"<([^>]*)>")
How = Literal["drop", "silent"]


@dataclass(frozen=True, slots=True)
class Received:
    """One message that a remote server took.

    Args:
        sender: the reverse-path.
        recipients: those that it accepted.
        content: header and body, as they came.
        at: when, in seconds since 1970.
        command: the MAIL command.
    """

    sender: str
    recipients: tuple[str, ...]
    content: bytes
    at: float
    command: str


@dataclass(slots=True)
class _Rule:
    """What is said to a verb; ``left`` times, or always when it is None."""

    reply: Reply
    about: str = ""
    left: int | None = None


@dataclass(slots=True)
class _Faults:
    """What goes wrong, where: by verb, how, and how long each reply takes."""

    breaks: dict[str, How] = field(default_factory=dict)
    slow: dict[str, float] = field(default_factory=dict)


class RemoteServer:
    """A remote server of a test.

    ``messages`` is what it took, ``commands`` every line that it was sent, ``sessions`` how often it was connected to. ``extensions`` may
    be changed at any time.

    Args:
        name: its host name.
        address: its IP address.
        network: where it listens, on port 25 where nothing else is said.
        now: the time, in seconds since 1970.
    """

    def __init__(self, name: str, address: str, network: Network, now: Callable[[], float]) -> None:
        self.name = name
        self.address = address
        self.extensions: list[str] = list(EXTENSIONS)
        self.messages: list[Received] = []
        self.commands: list[str] = []
        self.sessions = 0
        self.now = now
        self._network = network
        self._rules: dict[str, list[_Rule]] = {}
        self._faults = _Faults()

    def listen(self, *ports: int) -> None:
        """Takes connections on these ports too."""
        for port in ports:
            self._network.listen(self.address, port, lambda: _Session(self))

    # What a test says of it.

    def reply(self, verb: str, reply: ReplyLike, *, about: str = "", times: int | None = None) -> None:
        """Says what it answers; rules for the same verb are looked at in order of their age, the youngest first.

        Args:
            verb: such as "RCPT", or "BANNER", or "CONTENT" for the end of data.
            reply: such as 451, or "550 5.1.1 No such user".
            about: only for commands that contain this text, such as an address.
            times: how often; None for always.
        """
        self._rules.setdefault(verb.upper(), []).insert(0, _Rule(as_reply(reply), about, times))

    def drop(self, at: str) -> None:
        """Closes the connection without a word where it would answer this verb, BANNER or CONTENT."""
        self._faults.breaks[at.upper()] = "drop"

    def silence(self, at: str) -> None:
        """Says nothing any more from this verb, BANNER or CONTENT on."""
        self._faults.breaks[at.upper()] = "silent"

    def slow(self, seconds: float, at: str = "") -> None:
        """Takes so long for each reply, or for those to one verb."""
        self._faults.slow[at.upper()] = seconds

    def refuse(self) -> None:
        """Refuses connections."""
        self._network.set_reach(self.address, "refused")

    def vanish(self) -> None:
        """Does not answer to connections at all."""
        self._network.set_reach(self.address, "silent")

    def far(self, seconds: float) -> None:
        """Lets everything take so long on its way, in each direction."""
        self._network.set_reach(self.address, "open", seconds)

    def restore(self) -> None:
        """Ends all faults, and all that it was told to reply."""
        self._network.set_reach(self.address, "open")
        self._faults = _Faults()
        self._rules.clear()

    # What its sessions ask.

    def answer(self, verb: str, line: str, usual: Reply) -> Reply:
        """What is said to a command."""
        for rule in self._rules.get(verb, []):
            if rule.left != 0 and rule.about.lower() in line.lower():
                if rule.left is not None:
                    rule.left -= 1
                return rule.reply
        return usual

    def breaks(self, verb: str) -> How | None:
        """What goes wrong at a command."""
        return self._faults.breaks.get(verb)

    def delay(self, verb: str) -> float:
        """How long a reply takes."""
        return self._faults.slow.get(verb, self._faults.slow.get("", 0.0))


class _Session(asyncio.Protocol):
    """One session with a remote server: line by line, each answered in its turn."""

    def __init__(self, server: RemoteServer) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.BaseTransport | None = None
        self._buffer = b""
        self._busy = False
        self._silent = False
        self._in_content = False
        self._lmtp = False
        self._mail = ""
        self._recipients: list[str] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._server.sessions += 1
        self._say(BANNER, "", Reply(220, "", f"{self._server.name} ESMTP"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None

    def eof_received(self) -> bool:
        return False

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._go_on()

    def _go_on(self) -> None:
        while not self._busy and not self._silent and self._transport is not None:
            if self._in_content:
                end = 0 if self._buffer.startswith(b".\r\n") else self._buffer.find(b"\r\n.\r\n") + 2
                if end == 1:
                    return
                content, self._buffer = self._buffer[:end], self._buffer[end + 3 :]
                self._in_content = False
                self._take(re.sub(rb"(?m)^\.", b"", content))
            else:
                line, found, rest = self._buffer.partition(b"\r\n")
                if not found:
                    return
                self._buffer = rest
                self._command(line.decode("utf-8", "surrogateescape"))

    def _command(self, line: str) -> None:
        self._server.commands.append(line)
        verb = line.split(" ", 1)[0].upper()
        usual = self._usual(verb)
        reply = self._say(verb, line, usual)
        if reply is None or not reply.is_positive:
            return
        if verb in ("EHLO", "HELO", "LHLO", "RSET"):
            self._lmtp = verb == "LHLO" or (verb == "RSET" and self._lmtp)
            self._mail, self._recipients = "", []
        elif verb == "MAIL":
            self._mail, self._recipients = line, []
        elif verb == "RCPT":
            self._recipients.append(_path(line))
        elif verb == "DATA":
            self._in_content = True

    def _usual(self, verb: str) -> Reply:
        if verb in ("EHLO", "LHLO"):
            return Reply(250, "", "\n".join([self._server.name, *self._server.extensions]))
        if verb == "DATA":
            return Reply(354, "", "Go on") if self._recipients else Reply(503, "5.5.1", "No valid recipients")
        if verb == "QUIT":
            return Reply(221, "2.0.0", "Bye")
        known = verb in ("HELO", "MAIL", "RCPT", "RSET", "NOOP")
        return Reply(250, "2.0.0", "Ok") if known else Reply(500, "5.5.2", "Unknown command")

    def _take(self, content: bytes) -> None:
        """The content came: one reply, or one for each recipient in LMTP (RFC 2033)."""
        asked = self._recipients if self._lmtp else [""]
        taken = []
        for recipient in asked:
            reply = self._say(CONTENT, recipient, Reply(250, "2.0.0", "Ok: taken"))
            if reply is None:
                return
            if reply.is_positive:
                taken += [recipient] if recipient else self._recipients
        if taken:
            message = Received(_path(self._mail), tuple(taken), content, self._server.now(), self._mail)
            self._server.messages.append(message)
        self._mail, self._recipients = "", []

    def _say(self, verb: str, line: str, usual: Reply) -> Reply | None:
        """Answers, now or later; None when it breaks instead."""
        server, transport = self._server, self._transport
        assert isinstance(transport, asyncio.Transport)
        wrong = server.breaks(verb)
        if wrong == "drop":
            transport.abort()
            self._transport = None
            return None
        if wrong == "silent":
            self._silent = True
            return None
        reply = server.answer(verb, line, usual)
        delay = server.delay(verb)
        if delay:
            self._busy = True
            self._loop.call_later(delay, self._said, reply, verb)
        else:
            self._said(reply, verb)
        return reply

    def _said(self, reply: Reply, verb: str) -> None:
        transport = self._transport
        if not isinstance(transport, asyncio.Transport):
            return
        transport.write(reply.to_bytes())
        if verb == "QUIT" or reply.code == 421:
            transport.close()
            self._transport = None
        elif self._busy:
            self._busy = False
            self._go_on()


def _path(line: str) -> str:
    found = _PATH.search(line)
    return found[1] if found else ""


def all_recipients(messages: Iterable[Received]) -> list[str]:
    """The recipients of several messages, in order."""
    return [recipient for message in messages for recipient in message.recipients]
