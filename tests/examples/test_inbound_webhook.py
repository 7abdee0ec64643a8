"""The webhook: what the application gets, and what its answers mean."""

from __future__ import annotations

import json
from email import policy
from email.message import EmailMessage

import pytest
from examples.inbound_webhook import InboundWebhook

from penstock.testing import SinkTesters
from penstock.verdicts import Bounce, Defer, Delivered

from .web import web


def letter() -> EmailMessage:
    message = EmailMessage(policy=policy.SMTP)
    message["From"], message["Subject"] = "ann@client.example", "Hilfe f\u00fcr Gr\u00fc\u00dfe"
    message.set_content("plain\n")
    message.add_alternative("<p>html</p>", subtype="html")
    message.add_attachment(b"data", maintype="application", subtype="pdf", filename="a.pdf")
    return message


async def test_the_application_gets_the_message_taken_apart(sink_tester: SinkTesters) -> None:
    async with web(201) as service:
        tester = sink_tester(InboundWebhook, url=service.url, token="secret")
        assert await tester.local_delivery("support@example.com", content=letter(), sender="ann@client.example") == Delivered(service.url)
    [asked] = service.asked
    assert asked.line == "POST /mail HTTP/1.1"
    assert asked.fields["authorization"] == "Bearer secret"
    document = json.loads(asked.body)
    assert document.pop("id") == tester.message.id
    assert document == {
        "sender": "ann@client.example", "recipient": "support@example.com", "subject": "Hilfe f\u00fcr Gr\u00fc\u00dfe",
        "text": "plain\r\n", "html": "<p>html</p>\r\n", "attachments": ["a.pdf"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "kind"),
    [(200, Delivered), (204, Delivered), (400, Bounce), (410, Bounce), (408, Defer), (429, Defer), (500, Defer), (301, Defer)],
)
async def test_a_yes_a_no_and_everything_else(sink_tester: SinkTesters, answer: int, kind: type) -> None:
    async with web(answer) as service:
        assert type(await sink_tester(InboundWebhook, url=service.url).local_delivery()) is kind


@pytest.mark.parametrize("answer", [0, "SSH-2.0-OpenSSH\r\n", "", "HTTP/1.1 huh\r\n\r\n"])
async def test_silence_and_nonsense_make_the_message_wait(sink_tester: SinkTesters, answer: int | str) -> None:
    async with web(answer) as service:
        tester = sink_tester(InboundWebhook, url=service.url, seconds=0.2)
        assert isinstance(await tester.local_delivery(), Defer)
    assert tester.log.named("application cannot be reached")


async def test_nobody_there_makes_the_message_wait(sink_tester: SinkTesters) -> None:
    async with web() as service:
        pass
    assert isinstance(await sink_tester(InboundWebhook, url=service.url).local_delivery(), Defer)


async def test_a_character_set_that_there_is_not_does_not_keep_the_message_for_ever(sink_tester: SinkTesters) -> None:
    async with web(200) as service:
        tester = sink_tester(InboundWebhook, url=service.url)
        content = b"Content-Type: text/plain; charset=no-such\r\n\r\nGr\xfc\xdfe\r\n"
        assert isinstance(await tester.local_delivery(content=content), Delivered)
    assert json.loads(service.asked[0].body)["text"] == "Gr\u00fc\u00dfe\r\n"
