"""A small careful client: it proves that the catalogue of misbehaviour can be survived, and that its expected outcomes are possible.

It is slow and simple on purpose: one command at a time or, with ``pipelining``, the envelope at once; DATA or, with ``chunking``, BDAT.
It shares nothing with Penstock.
"""

from __future__ import annotations

import asyncio
import base64
import re
import ssl
from dataclasses import dataclass, field

from support.misbehaviour import BOUNCED, DEFERRED, DELIVERED, UNCERTAIN, Behaviour, Outcome, Security

PATIENCE = 0.5
LONGEST_REPLY = 128 * 1024
LINE = re.compile(rb"([2-5][0-9]{2})(?:([ -])([^\n]*))?\r?\n")


class Broken(Exception):
    """The remote ended, said nothing in time, or said what is no reply."""


@dataclass
class Conversation:
    """One connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    extensions: dict[str, str] = field(default_factory=dict)

    async def reply(self) -> int:
        """The code of the next reply."""
        return (await self.lines())[0]

    async def lines(self) -> tuple[int, list[str]]:
        """The next reply: all its lines have one code, and there is a bound to them."""
        texts: list[str] = []
        octets = 0
        code = 0
        try:
            async with asyncio.timeout(PATIENCE):
                while octets < LONGEST_REPLY:
                    found = LINE.fullmatch(await self.reader.readline())
                    if found is None or (code and int(found[1]) != code):
                        raise Broken("not a reply")
                    code = int(found[1])
                    texts.append((found[3] or b"").decode(errors="replace").strip())
                    octets += len(texts[-1]) + 1
                    if found[2] != b"-":
                        return code, texts
        except (OSError, TimeoutError, ValueError) as error:
            raise Broken(str(error)) from error
        raise Broken("an endless reply")

    async def ask(self, line: str) -> int:
        """Sends a command; the code of what is answered."""
        await self.send(line.encode() + b"\r\n")
        return await self.reply()

    async def send(self, data: bytes) -> None:
        """Writes all of it, in bounded time."""
        try:
            self.writer.write(data)
            async with asyncio.timeout(PATIENCE):
                await self.writer.drain()
        except (OSError, TimeoutError) as error:
            raise Broken(str(error)) from error


class Client:
    """Delivers a behaviour's mail once, and says what became of each recipient."""

    def __init__(self, behaviour: Behaviour, address: tuple[str, int], *, pipelining: bool = False, chunking: bool = False) -> None:
        self.mail = behaviour.mail
        self.outcomes: dict[str, Outcome] = dict.fromkeys(self.mail.addresses, DEFERRED)
        self._behaviour = behaviour
        self._address = address
        self._pipelining = pipelining
        self._chunking = chunking
        self._talk: Conversation

    async def deliver(self) -> tuple[Outcome, ...]:
        """One attempt."""
        try:
            async with asyncio.timeout(PATIENCE):
                streams = await asyncio.open_connection(*self._address, limit=LONGEST_REPLY)
        except (OSError, TimeoutError):
            return tuple(self.outcomes.values())
        self._talk = Conversation(*streams)
        try:
            if await self._prepare():
                await self._transaction()
                await self._talk.ask("QUIT")
        except Broken:
            pass
        finally:
            self._talk.writer.transport.abort()
        return tuple(self.outcomes.values())

    async def _prepare(self) -> bool:
        """Everything before MAIL; False when the mail has to wait."""
        talk = self._talk
        if await talk.reply() != 220 or not await self._hello():
            return False
        if "STARTTLS" in talk.extensions:
            code = await talk.ask("STARTTLS")
            if code == 220:
                await self._secure()
                if not await self._hello():
                    return False
            elif self._behaviour.security is not Security.OPPORTUNISTIC:
                return False
        elif self._behaviour.security is not Security.OPPORTUNISTIC:
            return False
        return self.mail.login is None or await self._login(*self.mail.login)

    async def _hello(self) -> bool:
        talk = self._talk
        await talk.send(b"LHLO client.example\r\n" if self._behaviour.lmtp else b"EHLO client.example\r\n")
        code, texts = await talk.lines()
        if code == 250:
            words = [text.upper().split() or [""] for text in texts[1:]]
            talk.extensions = {word[0]: " ".join(word[1:]) for word in words}
            return True
        return not self._behaviour.lmtp and code // 100 == 5 and await talk.ask("HELO client.example") == 250

    async def _secure(self) -> None:
        if self._talk.reader._buffer:  # type: ignore[attr-defined]
            raise Broken("text before TLS")
        context = ssl.create_default_context()
        if self._behaviour.security is not Security.VERIFIED:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        try:
            async with asyncio.timeout(PATIENCE):
                await self._talk.writer.start_tls(context, server_hostname="remote.example")
        except (OSError, TimeoutError) as error:
            raise Broken(str(error)) from error

    async def _login(self, user: str, password: str) -> bool:
        if "PLAIN" not in self._talk.extensions.get("AUTH", ""):
            return False
        return await self._talk.ask("AUTH PLAIN " + base64.b64encode(f"\0{user}\0{password}".encode()).decode()) == 235

    async def _transaction(self) -> None:
        known = self._talk.extensions
        size = known.get("SIZE", "")
        parameters = ""
        if size.isdigit() and 0 < int(size) < len(self.mail.content):
            return self._all(BOUNCED)
        if not self.mail.content.isascii():
            if "8BITMIME" not in known:
                return self._all(BOUNCED)
            parameters = " BODY=8BITMIME"
        if not self.mail.sender.isascii():
            if "SMTPUTF8" not in known:
                return self._all(BOUNCED)
            parameters += " SMTPUTF8"
        commands = [f"MAIL FROM:<{self.mail.sender}>{parameters}"]
        commands += [f"RCPT TO:<{address}>" for address in self.mail.addresses]
        ahead = self._pipelining and "PIPELINING" in known
        if ahead:
            await self._talk.send("".join(command + "\r\n" for command in [*commands, "DATA"]).encode())
        return await self._envelope(commands, ahead=ahead)

    async def _envelope(self, commands: list[str], *, ahead: bool) -> None:
        talk = self._talk
        code = await (talk.reply() if ahead else talk.ask(commands[0]))
        accepted: list[str] = []
        if code // 100 != 2:
            self._all(BOUNCED if code // 100 == 5 else DEFERRED)
            if not ahead:
                return
        for command, address in zip(commands[1:], self.mail.addresses, strict=True):
            answer = await (talk.reply() if ahead else talk.ask(command))
            if code // 100 == 2 and answer // 100 == 2:
                accepted.append(address)
            elif answer // 100 == 5 and answer != 552 and self.outcomes[address] is DEFERRED and code // 100 != 4:
                self.outcomes[address] = BOUNCED
        if accepted and self._chunking and "CHUNKING" in talk.extensions:
            await self._chunks(accepted)
        elif accepted or ahead:
            await self._content(accepted, await (talk.reply() if ahead else talk.ask("DATA")))

    async def _content(self, accepted: list[str], code: int) -> None:
        talk = self._talk
        if code != 354:
            return self._some(accepted, BOUNCED if code // 100 == 5 else DEFERRED)
        if not accepted:
            return await talk.send(b".\r\n")
        if talk.reader._buffer:  # type: ignore[attr-defined]
            raise Broken("a reply before the content")
        wire = ("\r\n" + self.mail.content.decode()).encode().replace(b"\r\n.", b"\r\n..")[2:]
        await talk.send(wire)
        self._some(accepted, UNCERTAIN)
        await talk.send(b".\r\n")
        return await self._final(accepted)

    async def _chunks(self, accepted: list[str]) -> None:
        """The content in two chunks (RFC 3030 §2); only after the last the remote may have it."""
        talk, content = self._talk, self.mail.content
        half = len(content) // 2
        await talk.send(b"BDAT %d\r\n" % half + content[:half])
        code = await talk.reply()
        if code // 100 != 2:
            return self._some(accepted, BOUNCED if code // 100 == 5 else DEFERRED)
        self._some(accepted, UNCERTAIN)
        await talk.send(b"BDAT %d LAST\r\n" % (len(content) - half) + content[half:])
        return await self._final(accepted)

    async def _final(self, accepted: list[str]) -> None:
        """What the remote says of the whole content."""
        for addresses in [[address] for address in accepted] if self._behaviour.lmtp else [accepted]:
            final = await self._talk.reply()
            self._some(addresses, {2: DELIVERED, 4: DEFERRED, 5: BOUNCED}.get(final // 100, UNCERTAIN))

    def _all(self, outcome: Outcome) -> None:
        self._some(self.mail.addresses, outcome)

    def _some(self, addresses: list[str], outcome: Outcome) -> None:
        self.outcomes.update(dict.fromkeys(addresses, outcome))
