"""Replies for single recipients after the content: LMTP, PRDR, and what stands for them where there is one reply for all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from hosts.running import Client, Running
from penstock import Sink, on
from penstock.events import Accepted, EndOfData, LocalDelivery, RcptTo, Resolve
from penstock.events.plug import Plug
from penstock.events.wording import verdict_words
from penstock.storage.memory import MemorySpool
from penstock.verdicts import Defer, Delivered, Discard, Quarantine, RefuseRecipients, Reject, Rewrite

FULL = Reject(552, "5.2.2", "Mailbox full")
BUSY = Defer(450, "4.2.1", "Mailbox busy")
CONTENT = "Subject: hello\r\n\r\nHello.\r\n."


class Boxes(Sink):
    """Refuses the recipients that it was told, discards ``nobody``, takes ``alias`` for bob, and keeps what is delivered."""

    def __init__(self, refused: Mapping[str, Reject | Defer], quarantined: bool = False) -> None:
        super().__init__()
        self.refused = refused
        self.quarantined = quarantined
        self.asked: list[bool] = []
        self.delivered: list[tuple[str, bytes]] = []
        self.accepted: list[list[str]] = []

    @on(RcptTo)
    def take(self, event: RcptTo) -> Discard | Rewrite | None:
        local = event.recipient.address.local
        return Discard() if local == "nobody" else Rewrite("bob@example.com") if local == "alias" else None

    @on(EndOfData)
    async def judge(self, event: EndOfData) -> RefuseRecipients | Quarantine | None:
        self.asked.append(event.per_recipient)
        refused = {r.address: self.refused[r.address.local] for r in event.message.recipients if r.address.local in self.refused}
        return RefuseRecipients(refused) if refused else None

    @on(EndOfData)
    async def judge_later(self, event: EndOfData) -> Quarantine | None:
        return Quarantine("looked at first") if self.quarantined else None

    @on(LocalDelivery, blocking=False)
    def deliver(self, event: LocalDelivery) -> Delivered:
        self.delivered.append((str(event.recipient.address), event.message.content.read()))
        return Delivered()

    @on(Accepted)
    async def note(self, event: Accepted) -> None:
        self.accepted.append([str(r.address) for r in event.message.recipients])


def lmtp(server: Running) -> Running:
    server.settings = replace(server.settings, wire=replace(server.settings.wire, lmtp=True), service="lmtp")
    return server


async def transact(client: Client, *to: str, greeting: str = "LHLO", mail: str = "", replies: int = 1) -> list[str]:
    """One transaction; the replies to the content."""
    await client.say(
        f"{greeting} client.example", f"MAIL FROM:<ann@client.example>{mail}", *(f"RCPT TO:<{t}@example.com>" for t in to), "DATA"
    )
    first = await client.say(CONTENT)
    return [first] + [await client.reply() for _ in range(replies - 1)]


async def test_lmtp_answers_each_accepted_rcpt_in_order_equal_ones_too() -> None:
    boxes = Boxes({"full": FULL, "busy": BUSY})
    async with lmtp(Running(boxes)) as server:
        client = await server.client()
        assert client.banner == "220 mx.example.com LMTP Penstock"
        replies = await transact(client, "bob", "full", "bob", "nobody", "busy", "alias", "full", replies=7)
        assert [reply[:9] for reply in replies] == [
            "250 2.0.0", "552 5.2.2", "250 2.0.0", "250 2.0.0", "450 4.2.1", "250 2.0.0", "552 5.2.2",
        ]  # fmt: skip
        assert (await client.say("NOOP")).startswith("250")
        await server.until(lambda: boxes.accepted, "the message was accepted")
        assert boxes.accepted == [["bob@example.com"]], "what was stored has only those who were accepted"
        await server.until(lambda: boxes.delivered, "bob has it")
        await server.until(lambda: not server.kept(), "the spool is empty")
        assert [to for to, _ in boxes.delivered] == ["bob@example.com"], "nobody gets a DSN, since the client was told"
        assert boxes.asked == [True]


async def test_two_rcpts_that_led_to_one_address_are_answered_alike() -> None:
    async with lmtp(Running(Boxes({"bob": FULL}))) as server:
        client = await server.client()
        assert [r[:3] for r in await transact(client, "bob", "carol", "alias", replies=3)] == ["552", "250", "552"]


async def test_lmtp_answers_each_when_all_are_refused_and_stores_nothing() -> None:
    spool = MemorySpool()
    boxes = Boxes({"full": FULL, "busy": BUSY})
    async with lmtp(Running(boxes, spool=spool)) as server:
        client = await server.client()
        assert [r[:3] for r in await transact(client, "full", "busy", replies=2)] == ["552", "450"]
        assert (await client.say("NOOP")).startswith("250")
        assert not server.kept()
        assert not boxes.accepted


async def test_lmtp_repeats_a_refusal_of_the_whole_content_for_each() -> None:
    class No(Sink):
        @on(EndOfData)
        async def judge(self, event: EndOfData) -> Reject:
            return Reject(554, "5.7.1", "No")

    async with lmtp(Running(No())) as server:
        client = await server.client()
        assert await transact(client, "bob", "carol", replies=2) == ["554 5.7.1 No"] * 2
        assert (await client.say("NOOP")).startswith("250")


async def test_lmtp_repeats_what_the_machine_refuses_for_each() -> None:
    async with lmtp(Running(Boxes({}))) as server:
        client = await server.client()
        await client.say(
            "LHLO client.example", "MAIL FROM:<ann@client.example>", "RCPT TO:<a@example.com>", "RCPT TO:<b@example.com>", "DATA"
        )
        assert [(await client.say("x" * 2000 + "\r\n."))[:3], (await client.reply())[:3]] == ["554", "554"]
        assert (await client.say("NOOP")).startswith("250")


async def test_prdr_answers_each_and_then_all() -> None:
    boxes = Boxes({"full": FULL})
    async with Running(boxes) as server:
        client = await server.client()
        assert "PRDR" in await client.say("EHLO client.example")
        replies = await transact(client, "bob", "full", "carol", greeting="EHLO", mail=" PRDR", replies=5)
        assert [reply[:3] for reply in replies] == ["353", "250", "552", "250", "250"]
        await server.until(lambda: len(boxes.delivered) == 2, "both have it")
        # The next transaction did not ask for it.
        assert (await transact(client, "bob", "carol", greeting="EHLO"))[0].startswith("250")
        assert boxes.asked == [True, False]


async def test_prdr_says_at_last_whether_anybody_may_be_tried_again() -> None:
    async with Running(Boxes({"full": FULL, "busy": BUSY})) as server:
        client = await server.client()
        replies = await transact(client, "full", "busy", greeting="EHLO", mail=" PRDR", replies=4)
        assert [reply[:3] for reply in replies] == ["353", "552", "450", "450"]
        replies = await transact(client, "full", greeting="EHLO", mail=" PRDR", replies=3)
        assert [reply[:3] for reply in replies] == ["353", "552", "550"]
        assert not server.kept()


@pytest.mark.parametrize("resolving", [False, True])
async def test_smtp_has_one_reply_so_the_sender_of_a_refused_recipient_gets_a_dsn(resolving: bool) -> None:
    class Resolves(Sink):
        @on(Resolve)
        async def resolve(self, event: Resolve) -> None:
            for item in event.open:
                if item.address.local == "full":
                    item.forward(["elsewhere@example.com"])

    boxes = Boxes({"full": FULL})
    async with Running(boxes, *([Resolves()] if resolving else [])) as server:
        client = await server.client()
        assert (await transact(client, "bob", "full", greeting="EHLO"))[0].startswith("250")
        await server.until(lambda: len(boxes.delivered) == 2, "bob has it, and the sender knows")
        delivered = dict(boxes.delivered)
        assert delivered.keys() == {"bob@example.com", "ann@client.example"}
        assert b"full@example.com" in delivered["ann@client.example"]
        assert b"5.2.2" in delivered["ann@client.example"]
        assert b"Mailbox full" in delivered["ann@client.example"]


async def test_smtp_defers_the_whole_message_when_one_is_to_be_tried_later() -> None:
    boxes = Boxes({"full": FULL, "busy": BUSY})
    async with Running(boxes) as server:
        client = await server.client()
        assert await transact(client, "bob", "full", "busy", greeting="EHLO") == ["450 4.2.1 Mailbox busy"]
        assert await transact(client, "full", greeting="EHLO") == ["552 5.2.2 Mailbox full"]
        assert not server.kept()
        assert not boxes.accepted


async def test_what_is_quarantined_holds_only_those_who_were_not_refused() -> None:
    async with lmtp(Running(Boxes({"full": FULL}, quarantined=True))) as server:
        client = await server.client()
        assert [r[:3] for r in await transact(client, "bob", "full", replies=2)] == ["250", "552"]
        await server.until(server.kept, "it is held")
        (entry,) = server.kept()
        assert entry.held


@pytest.mark.parametrize(
    ("verdict", "what"),
    [
        (RefuseRecipients({"stranger@example.com": FULL}), "not among the recipients"),
        (RefuseRecipients({"added@example.com": FULL}), "added by a sink"),
    ],
)
async def test_only_who_was_named_by_the_client_can_be_refused(
    verdict: RefuseRecipients, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    class Wrong(Sink):
        @on(EndOfData)
        async def judge(self, event: EndOfData) -> RefuseRecipients:
            event.message.recipients.add("added@example.com")
            return verdict

    async with Running(Plug("wrong", Wrong())) as server:
        client = await server.client()
        assert (await transact(client, "bob", greeting="EHLO"))[0].startswith("451")
        assert not server.kept()
    assert what in capsys.readouterr().out


@pytest.mark.parametrize("protocol", ["SMTP", "LMTP"])
async def test_a_message_whose_recipients_all_went_to_copies_is_not_lost(protocol: str) -> None:
    class Splits(Sink):
        @on(EndOfData)
        async def split(self, event: EndOfData) -> None:
            for recipient in list(event.message.recipients):
                event.message.fork([recipient])

    boxes = Boxes({"full": FULL})
    server = Running(Plug("boxes", boxes, 0), Plug("splits", Splits(), 100))
    async with lmtp(server) if protocol == "LMTP" else server:
        client = await server.client()
        greeting, replies = ("LHLO", 3) if protocol == "LMTP" else ("EHLO", 1)
        said = await transact(client, "bob", "full", "carol", greeting=greeting, replies=replies)
        assert [reply[:3] for reply in said] == (["250", "552", "250"] if protocol == "LMTP" else ["250"])
        expected = {"bob@example.com", "carol@example.com"} | ({"ann@client.example"} if protocol == "SMTP" else set())
        await server.until(lambda: {to for to, _ in boxes.delivered} == expected, "all have it")
        await server.until(lambda: not server.kept(), "the spool is empty")
        assert len(boxes.delivered) == len(expected)


def test_refuse_recipients_takes_addresses_and_refusals() -> None:
    assert RefuseRecipients({"bob@Example.COM": FULL}).recipients == {"bob@example.com": FULL}
    assert (
        verdict_words(RefuseRecipients({"bob@example.com": FULL}))
        == "RefuseRecipients recipients bob@example.com: Reject 552 5.2.2 Mailbox full"
    )
    with pytest.raises(TypeError, match="at least one"):
        RefuseRecipients({})
    with pytest.raises(TypeError, match="Reject or Defer"):
        RefuseRecipients({"bob@example.com": Discard()})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no address"):
        RefuseRecipients({"no address": FULL})
