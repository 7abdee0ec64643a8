"""Hands mail for an address to a web application, as JSON in a POST; ``penstock.sinks:Webhook`` posts the message as it is.

Bind it with:

    [[binding]]
    name = "support"
    sink = "inbound_webhook:InboundWebhook"
    priority = 8191                     # before the domain's own delivery
    match = { recipient = "support@example.com" }
    settings = { url = "http://127.0.0.1:8000/mail", token = "secret" }
"""

import asyncio
import json
from dataclasses import dataclass, field
from email.message import MIMEPart
from urllib.parse import urlsplit

from penstock import Sink, on
from penstock.events import LocalDelivery
from penstock.verdicts import Bounce, Defer, Delivered


@dataclass(frozen=True, slots=True)
class InboundWebhookSettings:
    """Where the application is.

    Args:
        url: ``https://...``, or ``http://...`` on the same machine.
        token: what the application knows us by; sent as a bearer token.
        seconds: how long it may take to answer.
    """

    url: str
    token: str = field(default="", repr=False)
    seconds: float = 20.0


class InboundWebhook(Sink[InboundWebhookSettings]):
    """A 2xx means that the application has the message; 4xx that it does not want it; all else that it is to be asked again."""

    @on(LocalDelivery)
    async def deliver(self, event: LocalDelivery) -> Delivered | Defer | Bounce:
        """The application may see a message twice, after an answer that got lost: the id is the same then."""
        parsed = await event.message.parse()
        text, html = (parsed.get_body((kind,)) for kind in ("plain", "html"))
        document = {
            "id": event.message.id,
            "sender": str(event.message.sender),
            "recipient": str(event.recipient.address),
            "subject": event.message.header.get("Subject", ""),
            "text": _text(text),
            "html": _text(html),
            "attachments": [part.get_filename("") for part in parsed.iter_attachments()],
        }
        try:
            async with asyncio.timeout(self.settings.seconds):
                status = await self._post(json.dumps(document).encode())
        except (OSError, ValueError, TimeoutError) as error:
            self.log.warning("application cannot be reached", message=event.message.id, error=repr(error))
            return Defer(451, "4.4.1", "The application cannot be reached")
        if 200 <= status < 300:
            return Delivered(self.settings.url)
        if 400 <= status < 500 and status not in (408, 425, 429):
            return Bounce("5.7.1", f"The application answered {status}")
        return Defer(451, "4.3.0", f"The application answered {status}")

    async def _post(self, body: bytes) -> int:
        """The status of the answer. Raises OSError, or ValueError for an answer that is not HTTP."""
        to, token = urlsplit(self.settings.url), self.settings.token
        tls = to.scheme == "https"
        reader, writer = await asyncio.open_connection(to.hostname, to.port or (443 if tls else 80), ssl=tls or None)
        try:
            head = f"POST {to.path or '/'} HTTP/1.1\r\nHost: {to.netloc}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n"
            writer.write(f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            version, _, status = (await reader.readline()).partition(b" ")
            if not version.startswith(b"HTTP/1."):
                raise ValueError("this is not HTTP")
            return int(status[:3])
        finally:
            writer.close()


def _text(part: MIMEPart | None) -> str:
    """The text of a part; where its character set is none that there is, every octet counts for a character."""
    raw = part.get_payload(decode=True) if part is not None else None
    if part is None or not isinstance(raw, bytes):
        return ""
    try:
        return raw.decode(part.get_content_charset("utf-8"), "replace")
    except (LookupError, ValueError):
        return raw.decode("latin-1")
