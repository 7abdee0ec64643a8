"""One session of a scripted remote: a good SMTP or LMTP server that steps aside wherever the script has steps.

It writes down all that a client says and, unlike a real server, whatever the client should not have done: those are its ``faults``.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from .certificates import server_context
from .remote_auth import exchange, side
from .remote_wire import Gone, Wire
from .script import Phase, Script

END = b"\r\n.\r\n"
ADDRESS = re.compile(r"(?:FROM|TO):\s?<([^>]*)>(.*)", re.IGNORECASE)
NEEDS = {"SIZE": "SIZE", "RET": "DSN", "ENVID": "DSN", "NOTIFY": "DSN", "ORCPT": "DSN", "SMTPUTF8": "SMTPUTF8", "AUTH": "AUTH"}
BODIES = {"BODY=7BIT": "8BITMIME", "BODY=8BITMIME": "8BITMIME", "BODY=BINARYMIME": "BINARYMIME"}
LONGEST_COMMAND = 512 + 26 + 39 + 10 + 500 + 100 + 500  # RFC 5321 §4.5.3.1.4 with what SIZE, DSN and SMTPUTF8 add


@dataclass(slots=True)
class Transaction:
    """One envelope, and what came of it.

    Args:
        sender: the reverse-path, with ``parameters`` as they stood after it.
        recipients: those accepted at RCPT, each with its parameters.
        content: what was read of it, dots undone.
        whole: the end of it was seen.
        refused: the content was answered with 4xx or 5xx.
        acknowledged: recipients for whom a 2xx after the content was handed to the kernel: theirs is the copy that counts.
        tls: the content came in TLS.
    """

    sender: str
    parameters: str
    recipients: dict[str, str] = field(default_factory=dict)
    content: bytes = b""
    whole: bool = False
    refused: bool = False
    acknowledged: list[str] = field(default_factory=list)
    tls: bool = False


@dataclass(slots=True)
class Record:
    """What one session was.

    Args:
        number: of the connection, from 1.
        commands: every line that was taken as one.
        transactions: in order, the last perhaps unfinished.
        logins: mechanism, user and password of each AUTH, good or not.
        faults: what the client should not have done.
        end: why it ended: ``QUIT``, or what happened.
        server_name: what the client asked for in TLS, known after the EHLO in it.
    """

    number: int
    commands: list[str] = field(default_factory=list)
    transactions: list[Transaction] = field(default_factory=list)
    logins: list[tuple[str, str, str]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    end: str = ""
    server_name: str | None = None


class Session:
    """Talks to one client to its end."""

    def __init__(self, wire: Wire, script: Script, record: Record, memory: set[str]) -> None:
        self.wire = wire
        self.argument = ""
        self.memory = memory
        self.record = record
        self._script = script
        self._face = script.face
        self._counts: dict[Phase, int] = {}
        self._offered: set[str] = set()
        self._current: Transaction | None = None
        self._authenticated = False
        self._code = 0
        self._usual = (250, "2.0.0", "Ok")
        self._chunks = bytearray()
        self._commands: dict[str, Callable[[], Awaitable[None]]] = {
            "HELO": self._helo,
            "EHLO": self._ehlo,
            "LHLO": self._ehlo,
            "STARTTLS": self._starttls,
            "AUTH": self._auth,
            "MAIL": self._mail,
            "RCPT": self._rcpt,
            "DATA": self._data,
            "BDAT": self._bdat,
            "RSET": self._rset,
            "NOOP": self._noop,
            "QUIT": self._quit,
        }

    async def run(self) -> None:
        """The whole session."""
        try:
            if self._face.implicit_tls:
                await self.wire.handshake(server_context(*self._face.names))
            if await self._step(Phase.BANNER, 220, "", "remote.example ESMTP ready") // 100 != 2:
                await self._refused()
            while True:
                await self._command()
        except Gone as gone:
            self.record.end = self.record.end or str(gone)

    async def say(self, data: bytes, code: int | None = None) -> None:
        """Sends octets that count as a reply with this code; the first at a place is the one that counts."""
        await self.wire.write(data)
        self._code = self._code or code or 0

    async def usual(self) -> None:
        """Sends what a good remote says at this point."""
        code, enhanced, text = self._usual
        told = f"{enhanced} {text}" if enhanced and "ENHANCEDSTATUSCODES" in self._offered else text
        lines = told.split("\n")
        sent = [f"{code}{'-' if number < len(lines) else ' '}{line}\r\n" for number, line in enumerate(lines, 1)]
        await self.say("".join(sent).encode(), code)

    async def _step(self, phase: Phase, code: int, enhanced: str, text: str) -> int:
        """Replies as the script says or as usual; the code that was said first, 0 for none."""
        self._usual = (code, enhanced, text)
        self._code = 0
        self._counts[phase] = number = self._counts.get(phase, 0) + 1
        steps = self._script.at(phase, number, self.record.number)
        if not steps:
            await self.usual()
        for step in steps:
            await step.take(self)
        return self._code

    async def _answer(self, text: str) -> None:
        """A reply that no script changes."""
        await self.wire.write(text.encode() + b"\r\n")

    async def _refused(self) -> None:
        """After a banner that turns the client away, only QUIT is taken (RFC 5321 §3.1)."""
        while (await self.wire.line()).strip().upper() != b"QUIT":
            await self._answer("503 5.5.1 Bad sequence")
        await self._quit()

    def _fault(self, text: str) -> None:
        self.record.faults.append(text)

    async def _command(self) -> None:
        line = await self.wire.line()
        self.record.commands.append(line.decode(errors="backslashreplace").rstrip("\r\n"))
        if not line.endswith(b"\r\n"):
            self._fault(f"a bare LF ends {line!r}")
        if len(line) > LONGEST_COMMAND:
            self._fault(f"a command of {len(line)} octets")
        verb, _, self.argument = line.decode(errors="surrogateescape").rstrip("\r\n").partition(" ")
        self._check_ahead(verb.upper())
        handler = self._commands.get(verb.upper())
        if handler is None:
            self._fault(f"an unknown command: {verb}")
            await self._answer("500 5.5.2 What?")
        else:
            await handler()

    def _check_ahead(self, verb: str) -> None:
        """RFC 2920 §3.1: what may be followed without waiting, and that only when PIPELINING was offered."""
        if self.wire.buffer and verb != "BDAT":
            if "PIPELINING" not in self._offered:
                self._fault(f"more was sent after {verb} without PIPELINING")
            elif verb in {"EHLO", "LHLO", "HELO", "DATA", "STARTTLS", "AUTH", "NOOP", "QUIT"}:
                self._fault(f"more was sent after {verb} before its reply")

    async def _helo(self) -> None:
        if self._face.lmtp:
            self._fault("HELO in LMTP")
        if await self._step(Phase.HELO, 250, "", "remote.example") == 250:
            self._offered = set()
            self._current = None

    async def _ehlo(self) -> None:
        verb = self.record.commands[-1][:4].upper()
        self.record.server_name = self.wire.server_name
        if self._face.lmtp is not (verb == "LHLO"):
            self._fault(f"{verb} in {'LMTP' if self._face.lmtp else 'SMTP'}")
        extensions = list(self._face.extensions)
        if self._face.tls and self.wire.tls is None:
            extensions.append("STARTTLS")
        if self._face.accounts:
            extensions.append("AUTH " + " ".join(self._face.mechanisms))
        self._offered = set()
        if await self._step(Phase.EHLO, 250, "", "\n".join(["remote.example", *extensions])) == 250:
            self._offered = {extension.split(" ")[0].upper() for extension in extensions}
            self._current = None

    async def _starttls(self) -> None:
        if "STARTTLS" not in self._offered:
            self._fault("STARTTLS was not offered")
            await self._answer("502 5.5.1 Not offered")
        elif await self._step(Phase.STARTTLS, 220, "2.0.0", "Go ahead") == 220 and self.wire.tls is None:
            await self.wire.handshake(server_context(*self._face.names))
        if self.wire.tls is not None:  # RFC 3207 §4.2: what was known of the client before is forgotten
            self._offered = set()
            self._current = None

    async def _auth(self) -> None:
        if "AUTH" not in self._offered or self._authenticated:
            self._fault("AUTH was not offered, or is done")
        mechanism, _, initial = self.argument.partition(" ")
        mechanism = mechanism.upper()
        if self._script.at(Phase.AUTH, self._counts.get(Phase.AUTH, 0) + 1, self.record.number):
            good = False  # the script plays the server's part of the exchange
        elif mechanism == "PLAIN":
            told = (_decoded(initial) if initial else await self._challenge("")).split("\0")
            good = self._login(mechanism, *told[1:]) if len(told) == 3 else False
        elif mechanism != "LOGIN":
            good = await self._with_kit(mechanism, initial)
        else:
            user = _decoded(initial) if initial else await self._challenge("Username:")
            good = self._login(mechanism, user, await self._challenge("Password:"))
        usual = (235, "2.7.0", "Welcome") if good else (535, "5.7.8", "Authentication credentials invalid")
        self._authenticated = await self._step(Phase.AUTH, *usual) == 235

    async def _with_kit(self, mechanism: str, initial: str) -> bool:
        async def ask(challenge: str) -> str:
            await self._answer("334 " + challenge)
            return (await self.wire.line()).decode(errors="replace").strip()

        about = side(self._face.names, self._face.mechanisms, self.wire.tls is not None), self._face.accounts
        first = None if not initial else b"" if initial == "=" else base64.b64decode(initial)
        good, user, proof = await exchange(mechanism, first, about, ask)
        self.record.logins.append((mechanism, user, proof))
        return good

    async def _challenge(self, text: str) -> str:
        await self._answer("334 " + base64.b64encode(text.encode()).decode())
        line = await self.wire.line()
        return _decoded(line.decode(errors="replace").strip())

    def _login(self, mechanism: str, user: str, password: str) -> bool:
        self.record.logins.append((mechanism, user, password))
        return self._face.accounts.get(user) == password

    async def _mail(self) -> None:
        sender, parameters = self._path()
        if self._current is not None:
            self._fault("MAIL within a transaction")
        self._check_parameters(parameters, sender)
        usual = (250, "2.1.0", "Ok")
        if self._face.auth_needed and not self._authenticated:
            usual = (530, "5.7.0", "Authentication required")
        for phase in (Phase.RCPT, Phase.BDAT, Phase.CHUNK, Phase.STATUS):
            self._counts[phase] = 0
        if await self._step(Phase.MAIL, *usual) // 100 == 2:
            self._current = Transaction(sender, parameters.strip(), tls=self.wire.tls is not None)
            self.record.transactions.append(self._current)

    async def _rcpt(self) -> None:
        recipient, parameters = self._path()
        self._check_parameters(parameters, recipient)
        if self._current is None:
            await self._answer("503 5.5.1 MAIL first")
        elif await self._step(Phase.RCPT, 250, "2.1.5", "Ok") // 100 == 2:
            self._current.recipients[recipient] = parameters.strip()

    def _path(self) -> tuple[str, str]:
        found = ADDRESS.fullmatch(self.argument)
        if found is None:
            self._fault(f"no path in {self.argument!r}")
            return self.argument, ""
        return found[1], found[2]

    def _check_parameters(self, parameters: str, address: str) -> None:
        for parameter in parameters.upper().split():
            extension = BODIES.get(parameter) or NEEDS.get(parameter.split("=")[0], "nothing")
            if extension not in self._offered:
                self._fault(f"{parameter} needs {extension}, which was not offered")
        if not address.isascii() and "SMTPUTF8" not in self._offered:
            self._fault(f"{address} needs SMTPUTF8, which was not offered")

    async def _data(self) -> None:
        usual = (354, "", "Go ahead")
        if self._current is None or not self._current.recipients:
            usual = (503, "5.5.1", "No valid recipients")
        if await self._step(Phase.DATA, *usual) != 354:
            return
        self._counts[Phase.CONTENT] = number = self._counts.get(Phase.CONTENT, 0) + 1
        for step in self._script.at(Phase.CONTENT, number, self.record.number):
            await step.take(self)
        transaction = self._current or Transaction("?", "")
        await self._content(transaction)
        await self._end(transaction)

    async def _content(self, transaction: Transaction) -> None:
        """Reads to the dot; only CRLF.CRLF ends (RFC 5321 §4.1.1.4)."""
        buffer = self.wire.buffer
        looked = 0
        try:
            while (end := 0 if buffer.startswith(END[2:]) else buffer.find(END, looked)) < 0 or len(buffer) < len(END) - 2:
                looked = max(0, len(buffer) - len(END))
                await self.wire.more()
        except BaseException:
            transaction.content = _undotted(bytes(buffer))
            raise
        raw = self.wire.take(end + 2) if end else b""
        self.wire.take(3)
        transaction.content = _undotted(raw)
        self._check_content(transaction)

    def _check_content(self, transaction: Transaction) -> None:
        content = transaction.content
        transaction.whole = True
        if re.search(rb"(?<!\r)\n|\r(?!\n)", content):
            self._fault("a bare CR or LF in the content")
        if any(len(line) > 998 for line in content.split(b"\r\n")):
            self._fault("a line of more than 998 octets")
        if not content.isascii() and "BODY=8BITMIME" not in transaction.parameters.upper():
            self._fault("8-bit content without BODY=8BITMIME")

    async def _end(self, transaction: Transaction) -> None:
        """The reply to the content, or LMTP's one for each accepted recipient."""
        self._current = None
        recipients = list(transaction.recipients)
        number = self._counts.get(Phase.END, 0) + 1
        if not self._face.lmtp or self._script.at(Phase.END, number, self.record.number):
            await self._final(transaction, recipients, Phase.END, "Ok: taken")
            return
        for recipient in recipients:
            await self._final(transaction, [recipient], Phase.STATUS, f"<{recipient}> Ok")

    async def _final(self, transaction: Transaction, recipients: list[str], phase: Phase, text: str) -> None:
        """One reply to the content; what it said counts even when the script ends the connection after it."""
        self._code = 0
        try:
            await self._step(phase, 250, "2.0.0", text)
        finally:
            transaction.refused = self._code // 100 in {4, 5}
            if self._code // 100 == 2:
                transaction.acknowledged += recipients

    async def _bdat(self) -> None:
        """RFC 3030 §2: the octets follow at once, and are read even when the chunk is refused."""
        octets, _, last = self.argument.partition(" ")
        if "CHUNKING" not in self._offered:
            self._fault("BDAT was not offered")
        self._counts[Phase.CHUNK] = number = self._counts.get(Phase.CHUNK, 0) + 1
        for step in self._script.at(Phase.CHUNK, number, self.record.number):
            await step.take(self)
        await self.wire.fill(int(octets))
        chunk = self.wire.take(int(octets))
        if self._current is None or not self._current.recipients:
            self._chunks.clear()
            await self._answer("503 5.5.1 No valid recipients")
            return
        self._chunks += chunk
        self._current.content = bytes(self._chunks)
        if not last:
            if await self._step(Phase.BDAT, 250, "2.0.0", f"{octets} octets received") // 100 != 2:
                self._current = None
                self._chunks.clear()
            return
        self._chunks.clear()
        self._check_content(self._current)
        await self._end(self._current)

    async def _rset(self) -> None:
        self._current = None
        self._chunks.clear()
        await self._step(Phase.RSET, 250, "2.0.0", "Ok")

    async def _noop(self) -> None:
        await self._step(Phase.NOOP, 250, "2.0.0", "Ok")

    async def _quit(self) -> None:
        self.record.end = "QUIT"
        await self._step(Phase.QUIT, 221, "2.0.0", "Bye")
        await self.wire.say_goodbye()
        raise Gone("QUIT")


def _decoded(text: str) -> str:
    """Base64 as AUTH uses it, where a lone ``=`` is the empty string; garbage is the empty string too."""
    try:
        return base64.b64decode("" if text == "=" else text, validate=True).decode(errors="replace")
    except (binascii.Error, ValueError):
        return ""


def _undotted(raw: bytes) -> bytes:
    """Content without the dots that were doubled on the wire (RFC 5321 §4.5.2)."""
    return (raw[1:] if raw.startswith(b".") else raw).replace(b"\r\n..", b"\r\n.")
