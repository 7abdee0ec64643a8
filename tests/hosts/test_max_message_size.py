"""MaxMessageSize: sinks decide about content above the limit, as it is declared or as it comes."""

from __future__ import annotations

import pytest

from hosts.running import Running
from penstock import Sink, on
from penstock.events import LocalDelivery, MaxMessageSize
from penstock.verdicts import Allow, Delivered, Reject
from penstock.wire.smtp.limits import Limits

LIMIT = 2000
LIMITS = Limits(message_size=LIMIT, asks_size=True)
BIG = "Subject: big\r\n\r\n" + "x" * 70 + "\r\n" + ("y" * 70 + "\r\n") * 100


class Sizes(Sink):
    """Answers as it was told, and notes what it was asked."""

    def __init__(self, answer: Allow | Reject | None) -> None:
        super().__init__()
        self.answer = answer
        self.asked: list[tuple[int, int]] = []
        self.delivered: list[int] = []

    @on(MaxMessageSize)
    async def judge(self, event: MaxMessageSize) -> Allow | Reject | None:
        self.asked.append((event.size, event.limit))
        return self.answer

    @on(LocalDelivery)
    async def deliver(self, event: LocalDelivery) -> Delivered:
        self.delivered.append(event.message.size)
        return Delivered()


async def _replies(running: Running, declared: str = "") -> list[str]:
    client = await running.client()
    replies = []
    await client.say("EHLO client.example")
    replies.append(await client.say(f"MAIL FROM:<a@client.example>{declared}"))
    if replies[-1].startswith("2"):
        await client.say("RCPT TO:<b@example.com>")
        await client.say("DATA")
        replies.append(await client.say(BIG + "."))
        replies.append(await client.say("NOOP"))
    client.close()
    return replies


@pytest.mark.parametrize(("answer", "code"), [(Allow(), "250"), (Reject(550, "5.7.1", "Not from you"), "550"), (None, "552")])
async def test_content_above_the_limit_is_asked_about_once(answer: Allow | Reject | None, code: str) -> None:
    """When it comes, without having been declared; the session goes on either way."""
    sink = Sizes(answer)
    async with Running(sink, limits=LIMITS) as running:
        replies = await _replies(running)
        assert replies[1].startswith(code)
        assert replies[2].startswith("250")
        assert len(sink.asked) == 1
        assert sink.asked[0][0] > LIMIT == sink.asked[0][1]
        if code == "250":
            await running.until(lambda: sink.delivered, "the delivery")
            assert sink.delivered[0] > len(BIG)


@pytest.mark.parametrize(("answer", "code"), [(Allow(), "250"), (Reject(550, "5.7.1", "Not from you"), "550"), (None, "552")])
async def test_a_size_that_is_declared_is_asked_about_at_mail(answer: Allow | Reject | None, code: str) -> None:
    """And what was allowed there is not asked about again when it comes."""
    sink = Sizes(answer)
    async with Running(sink, limits=LIMITS) as running:
        replies = await _replies(running, f" SIZE={len(BIG)}")
        assert replies[0].startswith(code)
        assert sink.asked == [(len(BIG), LIMIT)]
        if code == "250":
            assert replies[1].startswith("250")
