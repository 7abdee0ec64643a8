"""Delivery to web services: scripted ones on 127.0.0.1 that take, refuse, hang and talk nonsense."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from email.utils import formatdate
from pathlib import Path

import pytest

from penstock.errors import ConfigError
from penstock.sinks import Webhook, WebhookSettings
from penstock.sinks.secret import FileSecret
from penstock.verdicts import Bounce, Defer, Delivered, Verdict
from support.certificates import certificate, server_context

from .asking import delivered

MAIL = b"Subject: x\r\n\r\n" + b"line\r\n" * 60_000
AWAY = Defer(451, "4.4.1", "The service cannot be reached")


class Service:
    """A web service that answers with these octets; ``early`` before it has read the body."""

    def __init__(self, answer: bytes, early: bool = False) -> None:
        self.answer = answer
        self.early = early
        self.url = ""
        self.requests: list[tuple[str, dict[str, str], bytes]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
            body = b"" if self.early else await reader.readexactly(int(fields["content-length"]))
            self.requests.append((head[0], fields, body))
            writer.write(self.answer)
            await writer.drain()
            if not self.answer or self.early:
                await reader.read(1)
                await asyncio.sleep(30)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def service(answer: str | bytes, *, tls: ssl.SSLContext | None = None, early: bool = False) -> AsyncIterator[Service]:
    """A running service."""
    running = Service(answer if isinstance(answer, bytes) else f"HTTP/1.1 {answer}\r\n\r\n".encode(), early)
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.ensure_future(running.serve(reader, writer)))

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    running.url = f"{'https' if tls else 'http'}://{'localhost' if tls else '127.0.0.1'}:{port}/mail?a=b"
    try:
        yield running
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def post(running: Service, **settings: object) -> Verdict | None:
    """What comes of a delivery there."""
    return await delivered(Webhook(WebhookSettings(url=running.url, **settings)), raw=MAIL, sender="b@client.example")


async def test_the_message_is_posted_with_envelope_and_signature(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("s3cret\n")
    settings = {"secret": FileSecret(tmp_path / "key"), "headers": {"Authorization": "Bearer abc"}}
    async with service("204 No Content") as running:
        assert isinstance(await post(running, **settings), Delivered)
        assert isinstance(await post(running, **settings), Delivered)
    (line, fields, body), (_, again, _) = running.requests
    assert line == "POST /mail?a=b HTTP/1.1"
    assert body == MAIL
    assert fields["content-type"] == "message/rfc822"
    assert (fields["x-penstock-id"], fields["x-penstock-sender"]) == ("m1", "b@client.example")
    assert (fields["x-penstock-recipient"], fields["authorization"]) == ("alice@example.com", "Bearer abc")
    stamp = fields["x-penstock-timestamp"]
    assert abs(int(stamp) - time.time()) < 60
    assert fields["x-penstock-signature"] == "sha256=" + hmac.new(b"s3cret", stamp.encode() + b"." + MAIL, hashlib.sha256).hexdigest()
    assert fields["idempotency-key"] == again["idempotency-key"]


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        ("200 OK", Delivered("127.0.0.1 200")),
        ("202 Accepted\r\nContent-Length: 2\r\n\r\nok", Delivered("127.0.0.1 202")),
        ("403 No\r\nContent-Length: 14\r\n\r\n5.7.1 No\r\nway!", Bounce("5.7.1", "The service answered 403: No way!")),
        ("404 Not Found\r\nContent-Type: text/html\r\n\r\n<p>", Bounce("5.3.0", "The service answered 404")),
        ("301 Moved\r\nLocation: http://127.0.0.1:1/", Defer(451, "4.3.0", "The service answered 301")),
        ("500 Oops", Defer(451, "4.3.0", "The service answered 500")),
        ("429 Slow\r\nRetry-After: 120", Defer(451, "4.3.0", "The service answered 429", after=timedelta(seconds=120))),
        ("503 Slow\r\nRetry-After: 99999999", Defer(451, "4.3.0", "The service answered 503", after=timedelta(days=1))),
        ("503 Slow\r\nRetry-After: soon", Defer(451, "4.3.0", "The service answered 503")),
        ("100 Continue\r\n\r\nHTTP/1.1 200 OK", Delivered("127.0.0.1 200")),
    ],
)  # fmt: skip
async def test_the_status_decides(answer: str, verdict: Verdict) -> None:
    async with service(answer) as running:
        assert await post(running) == verdict


async def test_retry_after_may_be_a_date() -> None:
    async with service(f"503 Later\r\nRetry-After: {formatdate(time.time() + 600, usegmt=True)}") as running:
        verdict = await post(running)
    assert isinstance(verdict, Defer)
    assert verdict.after is not None
    assert 500 < verdict.after.total_seconds() <= 600


async def test_which_answers_put_off_is_a_setting() -> None:
    async with service("404 Not yet") as running:
        assert isinstance(await post(running, defer=[404]), Defer)


@pytest.mark.parametrize("answer", [b"not HTTP at all\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000, b"HTTP/1.1 2", b"\0\xff" * 9])
async def test_nonsense_puts_off(answer: bytes) -> None:
    async with service(answer) as running:
        assert await post(running, seconds=5.0) == AWAY


async def test_a_service_that_says_nothing_is_given_up(tmp_path: Path) -> None:
    async with service(b"") as running:
        assert await post(running, seconds=0.3) == AWAY
    assert await post(running) == AWAY


async def test_an_answer_that_never_ends_is_not_read_to_its_end() -> None:
    async with service(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n" + b"x" * 8_000_000) as running:
        assert isinstance(await post(running, seconds=10.0), Delivered)


async def test_an_answer_before_the_body_is_read_counts() -> None:
    async with service("413 Too large\r\nContent-Length: 0", early=True) as running:
        assert await delivered(Webhook(WebhookSettings(url=running.url)), raw=b"\r\n" + b"x" * 20_000_000) == (
            Bounce("5.3.0", "The service answered 413")
        )


async def test_certificates_are_verified() -> None:
    mine = certificate("localhost")
    async with service("200 OK", tls=server_context("localhost")) as running:
        assert await post(running) == AWAY
        trusted = await post(running, ca_file=mine.certificate)
        assert trusted == Delivered("localhost 200")
    async with service("200 OK", tls=server_context("other.example")) as running:
        assert await post(running, ca_file=certificate("other.example").certificate) == AWAY


def test_what_cannot_be_used_is_refused(tmp_path: Path) -> None:
    for url in ("ftp://x/", "https:///path", "https://user:password@host/", "https://h/\r\nX: y"):
        with pytest.raises(ValueError, match="url"):
            Webhook(WebhookSettings(url=url))
    for name in ("Content-Length", "X-Penstock-Id", "Bad\r\n"):
        with pytest.raises(ValueError, match="headers"):
            Webhook(WebhookSettings(url="https://x.example/", headers={name: "x"}))
    with pytest.raises(ConfigError, match="NO_SUCH"):
        Webhook(WebhookSettings(url="https://x.example/", secret="${env:NO_SUCH_VARIABLE}"))
    with pytest.raises(ConfigError, match="ca_file"):
        Webhook(WebhookSettings(url="https://x.example/", ca_file=tmp_path / "missing"))
    assert "s3cret" not in repr(WebhookSettings(url="https://x.example/", secret="s3cret"))
