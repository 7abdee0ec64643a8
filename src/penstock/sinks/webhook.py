"""Delivery to a web service: the message as it is, in the body of a POST, with the envelope in header fields and a signature over it.

A 2xx is a yes; that the service does not want the message it says with 4xx; all else is tried again. A delivery can come twice, after a
crash or an answer that got lost, so each carries the same ``Idempotency-Key`` each time.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ssl
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit

from penstock import Message, Sink, on
from penstock.errors import ConfigError
from penstock.events import LocalDelivery
from penstock.verdicts import Bounce, Defer, Delivered

from .pipe import delivered_to
from .posting import Answer, Headers, PostFailed, Target, post
from .routes import has_own_delivery
from .said import fit, split_status
from .secret import FileSecret, read_secret

_TOO_LONG = timedelta(days=1)
_OWN = frozenset({"host", "content-length", "content-type", "connection", "transfer-encoding", "idempotency-key"})


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """Which service, and how it is asked.

    Args:
        url: ``https://...``, or ``http://...`` for a service on the same machine.
        secret: the key of the signature: text, ``"${env:NAME}"``, or ``{ file = "PATH" }``; "" for no signature.
        headers: further header fields, such as Authorization.
        defer: answers below 500 after which it is tried again; all other 4xx are a refusal.
        connect: seconds that a connection may take to come about, TLS included.
        seconds: how long all of it may take.
        ca_file: certificates to verify the service with, in PEM; None for the system's.
    """

    url: str
    secret: str | FileSecret = field(default="", repr=False)
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    defer: list[int] = field(default_factory=lambda: [408, 421, 425, 429])
    connect: float = 10.0
    seconds: float = 60.0
    ca_file: Path | None = None


class Webhook(Sink[WebhookSettings]):
    """Posts each recipient's message as ``message/rfc822``.

    ``X-Penstock-Id``, ``-Sender`` and ``-Recipient`` say whose it is. ``X-Penstock-Signature`` is ``sha256=`` and the HMAC-SHA256, in hex,
    of ``X-Penstock-Timestamp``, a full stop and the body. Certificates are verified, redirects are not followed.

    Raises: ValueError for a URL or a field that cannot be used; ConfigError for a secret or certificates that cannot be read.
    """

    def __init__(self, settings: WebhookSettings) -> None:
        super().__init__(settings)
        parts = urlsplit(settings.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None or not settings.url.isprintable():
            raise ValueError("url: write https://HOST/PATH; a name and password go into the header field Authorization")
        for name, value in settings.headers.items():
            if name.lower() in _OWN or name.lower().startswith("x-penstock-") or not (name + value).isprintable() or not name.isascii():
                raise ValueError(f"headers: {name!r} cannot be set")
        tls = _verifying(settings.ca_file) if parts.scheme == "https" else None
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        port = parts.port or (443 if tls else 80)
        self._target = Target(parts.hostname, port, path, parts.netloc, tls, settings.connect)
        self._key = read_secret("Webhook: secret", settings.secret).encode()

    @on(LocalDelivery)
    async def deliver(self, event: LocalDelivery) -> Delivered | Defer | Bounce | None:
        """Posts the message."""
        if has_own_delivery(event):
            return None
        message, to = event.message, delivered_to(event)
        try:
            async with asyncio.timeout(self.settings.seconds):
                answer = await post(self._target, await self._headers(message, to), message.stream())
        except (PostFailed, OSError, TimeoutError) as error:
            self.log.warning("web service cannot be reached", message=message.id, host=self._target.host, error=str(error) or "timeout")
            return Defer(451, "4.4.1", "The service cannot be reached")
        return self._verdict(message, answer)

    def _verdict(self, message: Message, answer: Answer) -> Delivered | Defer | Bounce:
        if 200 <= answer.status < 300:
            return Delivered(f"{self._target.host} {answer.status}")
        said = fit(answer.body) if answer.is_text else ""
        if 400 <= answer.status < 500 and answer.status not in self.settings.defer:
            status, text = split_status(said, "5", "5.3.0")
            return Bounce(status, f"The service answered {answer.status}{f': {text}' if text else ''}")
        self.log.warning("web service put a message off", message=message.id, host=self._target.host, status=answer.status, said=said)
        return Defer(451, "4.3.0", f"The service answered {answer.status}", after=_after(answer.retry_after))

    async def _headers(self, message: Message, to: str) -> Headers:
        headers: Headers = [
            (b"Content-Type", b"message/rfc822"),
            (b"Content-Length", str(message.size).encode()),
            (b"User-Agent", b"Penstock"),
            (b"Idempotency-Key", hashlib.sha256(f"{message.id} {to}".encode()).hexdigest().encode()),
            (b"X-Penstock-Id", message.id.encode()),
            (b"X-Penstock-Sender", str(message.sender).encode()),
            (b"X-Penstock-Recipient", to.encode()),
            *((name.encode(), value.encode()) for name, value in self.settings.headers.items()),
        ]
        if self._key:
            stamp = str(int(time.time())).encode()
            signed = hmac.new(self._key, stamp + b".", hashlib.sha256)
            async for piece in message.stream():
                signed.update(piece)
            headers += [(b"X-Penstock-Timestamp", stamp), (b"X-Penstock-Signature", b"sha256=" + signed.hexdigest().encode())]
        return headers


def _verifying(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError("Webhook: ca_file", f"{ca_file} cannot be used: {error}") from None


def _after(value: str) -> timedelta | None:
    """What Retry-After asks for: seconds, or a date (RFC 9110 §10.2.3); None for nothing that can be understood."""
    try:
        wanted = timedelta(seconds=int(value)) if value.isdigit() else parsedate_to_datetime(value) - datetime.now(UTC)
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(wanted, timedelta(0)), _TOO_LONG)
