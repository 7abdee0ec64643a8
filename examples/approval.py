"""Holds messages until somebody approves: a web service is told of each, and asked again until it has decided.

Bind it with:

    [[binding]]
    name = "approval"
    sink = "approval:Approval"
    match = { recipient = "everybody@example.com", origin = "smtp" }
    settings = { url = "http://127.0.0.1:8000/approvals", token = "secret" }
"""

import asyncio
import json
from dataclasses import dataclass, field
from datetime import timedelta
from urllib.parse import urlsplit

from penstock import Sink, on
from penstock.events import Submission
from penstock.verdicts import Bounce, Defer


@dataclass(frozen=True, slots=True)
class ApprovalSettings:
    """Who decides.

    Args:
        url: of the service. It gets ``PUT URL/ID`` with sender, recipients and subject, as often as it takes, and answers 200 to let the
            message go on, 202 while nobody has decided, or 403 to send it back.
        token: what it knows us by; sent as a bearer token.
        again: seconds between two questions.
        days: after which what nobody approved goes back.
        seconds: how long the service may take to answer.
    """

    url: str
    token: str = field(default="", repr=False)
    again: float = 60.0
    days: float = 3.0
    seconds: float = 10.0


class Approval(Sink[ApprovalSettings]):
    """The message waits in the queue meanwhile, through restarts too. A service that is down has not approved: it fails closed."""

    @on(Submission)
    async def ask(self, event: Submission) -> Bounce | Defer | None:
        """Asking is all that is done: the service tells those who decide, and remembers what they said."""
        message = event.message
        recipients = [str(recipient.address) for recipient in message.recipients]
        told = {"sender": str(message.sender), "recipients": recipients, "subject": message.header.get("Subject", "")}
        try:
            async with asyncio.timeout(self.settings.seconds):
                status = await self._put(message.id, json.dumps(told).encode())
        except (OSError, ValueError, TimeoutError) as error:
            self.log.warning("approval cannot be asked for", message=message.id, error=repr(error))
            status = 0
        if status == 200:
            return None
        if status == 403:
            return Bounce("5.7.1", "The message was not approved")
        if event.server.now - message.received > timedelta(days=self.settings.days):
            return Bounce("5.7.1", f"The message was not approved in {self.settings.days:g} days")
        return Defer(451, "4.7.0", "Waits for approval", after=timedelta(seconds=self.settings.again))

    async def _put(self, message_id: str, body: bytes) -> int:
        """The status of the answer. Raises OSError, or ValueError for an answer that is not HTTP."""
        to, token = urlsplit(self.settings.url), self.settings.token
        tls = to.scheme == "https"
        reader, writer = await asyncio.open_connection(to.hostname, to.port or (443 if tls else 80), ssl=tls or None)
        try:
            head = f"PUT {to.path}/{message_id} HTTP/1.1\r\nHost: {to.netloc}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n"
            writer.write(f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            version, _, status = (await reader.readline()).partition(b" ")
            if not version.startswith(b"HTTP/1."):
                raise ValueError("this is not HTTP")
            return int(status[:3])
        finally:
            writer.close()
