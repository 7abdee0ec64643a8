"""Lets clamd look at each message before it is accepted: refuses what is infected, puts it aside, or takes the infected parts out.

Bind it with:

    [[binding]]
    name = "virus-scan"
    sink = "virus_scan:VirusScan"
    match = { size = "<= 25 MiB" }      # clamd refuses more than its StreamMaxLength
    settings = { socket = "/run/clamav/clamd.ctl", found = "reject" }
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal

from penstock import Message, Sink, on
from penstock.events import EndOfData
from penstock.verdicts import Quarantine, Reject


@dataclass(frozen=True, slots=True)
class VirusScanSettings:
    """Where clamd is, and what becomes of a find.

    Args:
        socket: the path of its socket, or "HOST:PORT".
        found: "reject" to refuse the message, "quarantine" to put it aside, "remove" to put a note in the place of the infected parts.
        seconds: how long a scan may take.
    """

    socket: str
    found: Literal["reject", "quarantine", "remove"] = "reject"
    seconds: float = 25.0


class VirusScan(Sink[VirusScanSettings]):
    """Asks while the client waits, so that a refusal needs no bounce. No answer is a failure: ``on_error`` says what it means."""

    @on(EndOfData)
    async def scan(self, event: EndOfData) -> Reject | Quarantine | None:
        """The message goes to clamd in pieces, and is never whole in memory unless something was found in it."""
        virus = await self._scan(event.message.stream())
        if not virus:
            return None
        self.log.warning("virus found", message=event.message.id, virus=virus, client=event.session.client_ip)
        if self.settings.found == "reject":
            return Reject(550, "5.7.1", f"The message holds a virus: {virus}"[:200])
        if self.settings.found == "quarantine" or not await self._remove(event.message):
            return Quarantine(f"virus: {virus}")
        return None

    async def _remove(self, message: Message) -> bool:
        """Whether the message was infected in its parts alone, and is clean without them."""
        parsed, removed = await message.parse(), False
        for part in parsed.walk():
            data = part.get_payload(decode=True)
            if isinstance(data, bytes) and (virus := await self._scan(_pieces(data))):
                part.set_content(f"The attachment {part.get_filename('')!r} held {virus} and was removed.\n")
                removed = True
        if removed:
            del parsed["Subject"]
            parsed["Subject"] = f"[virus removed] {message.header.get('Subject', '')}"
            message.replace_content(parsed)
        return removed and not await self._scan(message.stream())

    async def _scan(self, pieces: AsyncIterator[bytes]) -> str:
        """The name of what clamd found, or "". Raises OSError, TimeoutError; ValueError for an answer that is neither yes nor no."""
        host, colon, port = self.settings.socket.rpartition(":")
        async with asyncio.timeout(self.settings.seconds):
            to = asyncio.open_connection(host, int(port)) if colon else asyncio.open_unix_connection(self.settings.socket)
            reader, writer = await to
            try:
                writer.write(b"zINSTREAM\0")
                async for piece in pieces:
                    writer.write(len(piece).to_bytes(4, "big") + piece)
                    await writer.drain()
                writer.write(bytes(4))
                answer = (await reader.read(1000)).rstrip(b"\0\n").decode("utf-8", "replace").removeprefix("stream: ")
            finally:
                writer.close()
        if answer != "OK" and not answer.endswith(" FOUND"):
            raise ValueError(f"clamd says {answer!r}")
        return answer.removesuffix("OK").removesuffix(" FOUND")


async def _pieces(data: bytes) -> AsyncIterator[bytes]:
    yield data
