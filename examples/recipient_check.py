"""Asks an inner mail server at RCPT whether it would take the recipient, so that the refusal is its, and nobody has to bounce later.

Bind it with:

    [[binding]]
    name = "recipient-check"
    sink = "recipient_check:RecipientCheck"
    match = { recipient = "*@example.com", authenticated = false }
    on_error = "continue"
    settings = { host = "127.0.0.1", port = 2526, bypass = ["192.0.2.0/24"] }
"""

import asyncio
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

from penstock import Sink, on
from penstock.events import RcptTo
from penstock.verdicts import Defer, Reject

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True, slots=True)
class RecipientCheckSettings:
    """Who is asked, and for how long.

    Args:
        host: the inner server.
        port: its port.
        seconds: how long an answer may take; then the recipient passes.
        bypass: networks of clients for whom nothing is asked, such as the inner server's own.
    """

    host: str
    port: int = 25
    seconds: float = 3.0
    bypass: list[str] = field(default_factory=list)


class RecipientCheck(Sink[RecipientCheckSettings]):
    """A refusal of the inner server is passed on; silence, an error or a lost connection lets the recipient pass."""

    def __init__(self, settings: RecipientCheckSettings) -> None:
        super().__init__(settings)
        self._bypass = [ip_network(network) for network in settings.bypass]
        self._idle: list[Connection] = []  # as many as questions were ever asked at once

    @on(RcptTo)
    async def check(self, event: RcptTo) -> Reject | Defer | None:
        """Fails open: to take too much is better here than to refuse everybody while the inner server restarts."""
        if any(ip_address(event.session.client_ip) in network for network in self._bypass):
            return None
        try:
            async with asyncio.timeout(self.settings.seconds):
                code, text = await self._ask(event.server.hostname, f"<{event.message.sender}>", f"<{event.recipient.address}>")
        except (OSError, ValueError) as error:
            self.log.warning("inner server did not answer", host=self.settings.host, error=repr(error))
            return None
        if code >= 500:
            return Reject(550, "5.1.1", f"Unable to relay to {event.recipient.address}: {text}"[:400])
        return Defer(450, "4.2.0", "Please try again later") if code >= 400 else None

    async def _ask(self, us: str, sender: str, recipient: str) -> tuple[int, str]:
        """A kept connection may have died meanwhile; the next one, or a new one, is asked then, within the same time."""
        reused = bool(self._idle)
        to = self._idle.pop() if reused else await asyncio.open_connection(self.settings.host, self.settings.port, limit=4096)
        try:
            for line in () if reused else ("", f"EHLO {us}"):
                await _said(to, line)
            code, text = await _said(to, f"MAIL FROM:{sender}")
            if code < 400:
                code, text = await _said(to, f"RCPT TO:{recipient}")
            await _said(to, "RSET")
        except BaseException as error:
            to[1].close()
            if not reused or not isinstance(error, OSError | ValueError):
                raise
            return await self._ask(us, sender, recipient)
        self._idle.append(to)
        return code, text

    async def stop(self) -> None:
        """Hangs up."""
        for _, writer in self._idle:
            writer.close()


async def _said(to: Connection, line: str) -> tuple[int, str]:
    """The reply to a line, or the banner when there is none to send. Raises OSError, or ValueError for what is no reply."""
    reader, writer = to
    if line:
        writer.write(f"{line}\r\n".encode("ascii"))
    while (reply := await reader.readline())[3:4] == b"-":
        pass
    if reply.startswith(b"421"):
        raise ConnectionAbortedError("the inner server closes the connection")
    return int(reply[:3]), reply[4:].decode("ascii", "replace").strip()
