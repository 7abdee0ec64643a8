"""Addresses are resolved in batches until nothing new comes up: rewritten, expanded, failed, put off; and nobody gets two copies."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hosts.running import Running
from penstock import Sink, on
from penstock.events import Bounce, Expanded, Item, LocalDelivery, Resolve, Submission
from penstock.events.plug import Plug
from penstock.mail.message import decode_record
from transport.directories import Box, Directory, forwarded, rewritten
from transport.sinks import deliver_one, empty


async def resolved(*to: str, **table: Any) -> Box:
    """What is delivered of one message to these local parts, with a directory of this table."""
    box = Box()
    async with Running(Directory(**table), box) as server:
        await deliver_one(server, *(f"{t}@example.com" for t in to))
        await empty(server)
    return box


def reports(box: Box) -> list[str]:
    """The failures that the sender was told of."""
    told = [c.decode() for c, (sender, r) in zip(box.contents, box.got, strict=True) if sender == "" and r.address.local == "a"]
    found = []
    for report in told:
        fields = [line.partition(": ")[2] for line in report.splitlines() if line.startswith(("Final-Recipient", "Status:"))]
        found += [f"{fields[i].partition(';')[2].strip()} {fields[i + 1]}" for i in range(0, len(fields), 2)]
    return sorted(found)


async def test_an_address_that_nobody_decides_stays_as_it_is() -> None:
    """The directory is asked once, about sender and recipients."""
    directory, box = Directory(), Box()
    async with Running(directory, box) as server:
        await deliver_one(server, "x@example.com", "y@example.com")
        await empty(server)
    assert directory.asked == [(1, ["a@client.example", "x@example.com", "y@example.com"])]
    assert box.who == ["x", "y"]


async def test_what_an_address_leads_to_is_asked_about_in_turn() -> None:
    """old to new to newest, in rounds."""
    directory, box = Directory(old=rewritten("new"), new=rewritten("newest")), Box()
    async with Running(directory, box) as server:
        await deliver_one(server, "old@example.com")
        await empty(server)
    assert [asked for _, asked in directory.asked] == [["a@client.example", "old@example.com"], ["new@example.com"], ["newest@example.com"]]
    assert [number for number, _ in directory.asked] == [1, 2, 3]
    assert box.who == ["newest"]
    assert box.of("newest").orcpt == "rfc822;old@example.com"
    assert box.of("newest").original == "old@example.com"


async def test_lists_within_lists_reach_each_member_once() -> None:
    """A diamond: both halves have bob, and he is named by the client too."""
    box = await resolved("all", "bob", all=["north", "south"], north=["ann", "bob"], south=["bob", "cid"])
    assert box.who == ["ann", "bob", "cid"]
    assert box.of("bob").orcpt == ""


async def test_a_list_that_holds_itself_fails_and_its_members_get_the_message() -> None:
    """The loop is cut where it closes; who is in it gets one copy, and the sender hears of the loop once (5.4.6)."""
    box = await resolved("a1", a1=["x", "a2"], a2=["y", "a3"], a3=["z", "a1"])
    assert [w for w in box.who if w != "a"] == ["x", "y", "z"]
    assert reports(box) == ["a1@example.com 5.4.6"]


async def test_two_who_forward_to_one_another_and_keep_get_one_copy_each() -> None:
    """That is a circle, but nobody loses anything by it."""
    box = await resolved("ann", ann=forwarded("bob", keep=True), bob=forwarded("ann", keep=True))
    assert box.who == ["ann", "bob"]


async def test_two_who_forward_to_one_another_without_keeping_are_a_loop() -> None:
    """Nobody would ever have it."""
    box = await resolved("ann", ann=forwarded("bob"), bob=forwarded("ann"))
    assert box.who == ["a"]
    assert reports(box) == ["ann@example.com 5.4.6"]


async def test_a_forward_to_itself_is_the_mailbox() -> None:
    """As in /etc/aliases: root: root, admin."""
    box = await resolved("root", root=forwarded("root", "admin"))
    assert box.who == ["admin", "root"]


async def test_one_recipient_that_fails_leaves_the_others_alone() -> None:
    """The sender hears of the one; the others are delivered to."""
    box = await resolved("good", "bad", "fine", bad=lambda item: item.fail("5.1.1", "no such user"))
    assert box.who == ["a", "fine", "good"]
    assert reports(box) == ["bad@example.com 5.1.1"]


async def test_when_all_fail_only_the_report_is_left() -> None:
    """One report for all of them."""
    box = await resolved("b1", "b2", b1=lambda item: item.fail(), b2=lambda item: item.fail("5.2.1", "off"))
    assert box.who == ["a"]
    assert reports(box) == ["b1@example.com 5.1.1", "b2@example.com 5.2.1"]


async def test_an_empty_list_is_a_failure_not_a_silent_loss() -> None:
    """5.2.4: the list cannot be expanded."""
    assert reports(await resolved("empty", empty=[])) == ["empty@example.com 5.2.4"]


async def test_postmaster_exists_whatever_a_directory_says() -> None:
    """RFC 5321 §4.5.1."""
    assert (await resolved("Postmaster", Postmaster=lambda item: item.fail())).who == ["Postmaster"]


async def test_a_recipient_that_is_put_off_waits_alone() -> None:
    """The others go on; it is asked about again later, and the try is counted."""
    tries: list[int] = []

    def slow(item: Item) -> None:
        tries.append(1)
        if len(tries) < 3:
            item.defer("the directory is down")

    box, directory = Box(), Directory(slow=slow)
    async with Running(directory, box) as server:
        await deliver_one(server, "quick@example.com", "slow@example.com")
        await server.until(lambda: box.who == ["quick"], "the quick one is not kept waiting")
        (entry,) = server.kept()
        assert [r.address.local for r in decode_record(entry.record).envelope.recipients] == ["slow"]
        await empty(server)
    assert box.who == ["quick", "slow"]


async def test_a_directory_that_fails_puts_the_whole_message_off() -> None:
    """What was found in the rounds before is found again."""

    class Fragile(Sink[None]):
        attempts: list[tuple[int, int]] = []

        @on(Resolve)
        async def look_up(self, event: Resolve) -> None:
            self.attempts.append((event.round, event.attempt))
            if event.round == 2 and event.attempt == 1:
                raise OSError("connection lost")
            for item in event.open:
                if item.address.local == "all":
                    item.expand(["x@example.com", "y@example.com"])

    sink, box = Fragile(), Box()
    async with Running(sink, box) as server:
        await deliver_one(server, "all@example.com")
        await empty(server)
    assert sink.attempts == [(1, 1), (2, 1), (1, 2), (2, 2)]
    assert box.who == ["x", "y"]


async def test_properties_and_attributes_go_along() -> None:
    """What a sink noted goes to all that the address leads to; what directories found of an address stays with that mailbox."""

    def mark(event: Submission) -> None:
        event.message.recipients[0].properties["bill"] = "42"

    class Marks(Sink[None]):
        @on(Submission)
        async def mark(self, event: Submission) -> None:
            mark(event)

    def known(item: Item) -> None:
        item.attributes["quota"] = 10
        item.resolve()

    def listed(item: Item) -> None:
        item.attributes["size"] = 2
        item.expand(["x@example.com", "y@example.com"])

    box = Box()
    async with Running(Marks(), Directory(all=listed, x=known), box) as server:
        await deliver_one(server, "all@example.com")
        await empty(server)
    assert box.of("x").properties == {"bill": "42", "attributes": {"quota": 10}}
    assert box.of("y").properties == {"bill": "42"}


async def test_attributes_that_are_no_plain_data_are_the_sinks_fault() -> None:
    """They could not be kept; with on_error = "continue" the address stays as it is."""

    def odd(item: Item) -> None:
        item.attributes["connection"] = object()
        item.rewrite("nobody@example.com")

    box = Box()
    async with Running(Plug("directory", Directory(bob=odd), on_error="continue"), box) as server:
        await deliver_one(server, "bob@example.com")
        await empty(server)
    assert box.who == ["bob"]


async def test_the_sender_can_be_rewritten() -> None:
    """It is an item like the recipients."""
    box = Box()
    async with Running(Directory(a=rewritten("b")), box) as server:
        await deliver_one(server, "x@example.com")
        await empty(server)
    assert [sender for sender, _ in box.got] == ["b@example.com"]


async def test_a_delivery_of_its_own_goes_with_the_recipient() -> None:
    """The same mailbox by two ways is not a duplicate."""
    box = await resolved("ann", "shop", ann=forwarded("box", keep=True), box=lambda item: item.deliver_by("pipe:/bin/vacation ann"))
    assert box.who == ["ann", "box", "shop"]
    assert box.of("box").route == "pipe:/bin/vacation ann"


async def send_with(server: Running, *rcpt: str, mail: str = "") -> None:
    client = await server.client()
    await client.say("EHLO x", f"MAIL FROM:<a@client.example>{mail}", *(f"RCPT TO:{r}" for r in rcpt), "DATA")
    client.writer.write(b"Subject: hi\r\n\r\nhi\r\n.\r\n")
    assert "queued as" in await client.reply()
    client.close()


@pytest.mark.parametrize(
    ("notify", "one", "several"),
    [
        ("NEVER", {"never"}, {"never"}),
        ("SUCCESS", {"success"}, {"never"}),
        ("SUCCESS,FAILURE", {"success", "failure"}, {"failure"}),
        ("DELAY", {"delay"}, {"delay"}),
    ],
)
async def test_notify_is_carried_on_as_the_rfc_says(notify: str, one: set[str], several: set[str]) -> None:
    """To a single address all of it (RFC 3461 §5.2.7.2); to several all but SUCCESS, which is reported as "expanded" (§5.2.7.3)."""
    box = Box()
    async with Running(Directory(single=forwarded("s"), multi=["m", "n"]), box) as server:
        await send_with(server, f"<single@example.com> NOTIFY={notify}", f"<multi@example.com> NOTIFY={notify} ORCPT=rfc822;orig@x.example")
        await server.until(lambda: {"s", "m", "n"} <= set(box.who), "delivered")
    assert box.of("s").notify == one
    assert box.of("m").notify == box.of("n").notify == several
    assert box.of("s").orcpt == "rfc822;single@example.com"
    assert box.of("m").orcpt == "rfc822;orig@x.example"


async def test_a_list_with_an_owner_takes_the_message_over() -> None:
    """Reports about members go to the owner, and nothing of what the sender asked for is passed on (RFC 3461 §5.2.7.1)."""

    def listed(item: Item) -> None:
        item.expand(["x@example.com", "bad@example.com"], sender="owner@example.com")

    box, found = Box(), list[str]()

    class Look(Sink[None]):
        @on(LocalDelivery, blocking=False)
        def look(self, event: LocalDelivery) -> None:
            if event.recipient.address.local == "x":
                found.append(event.message.parameters.envid)

    directory = Directory(list=listed, bad=lambda item: item.fail())
    async with Running(directory, Look(), box) as server:
        await send_with(server, "<list@example.com> NOTIFY=FAILURE ORCPT=rfc822;o@x.example", "<direct@example.com>", mail=" ENVID=e1")
        await empty(server)
    senders = {recipient.address.local: sender for sender, recipient in box.got}
    assert senders == {"x": "owner@example.com", "direct": "a@client.example", "owner": ""}
    assert (box.of("x").notify, box.of("x").orcpt, found) == (frozenset(), "", [""])


async def test_a_list_that_is_too_large_fails_and_the_others_go_on() -> None:
    """The limit is of all addresses that a message comes to."""
    directory, box = Directory(huge=[f"m{n}" for n in range(30_000)]), Box()
    async with Running(directory, box) as server:
        await deliver_one(server, "huge@example.com", "bob@example.com")
        await empty(server)
    assert box.who == ["a", "bob"]
    assert reports(box) == ["huge@example.com 5.2.4"]


async def test_addresses_that_lead_on_and_on_end() -> None:
    """Each leads to a new one, so no loop is to be found; the depth ends it."""

    def on_and_on(item: Item) -> None:
        if item.address.local.startswith("n"):
            item.rewrite(f"n{int(item.address.local[1:]) + 1}@example.com")

    class Endless(Sink[None]):
        @on(Resolve, blocking=False)
        def look_up(self, event: Resolve) -> None:
            for item in event.open:
                on_and_on(item)

    box = Box()
    async with Running(Endless(), box) as server:
        await deliver_one(server, "n0@example.com")
        await empty(server)
    assert box.who == ["a"]
    assert reports(box) == ["n51@example.com 5.4.6"]


async def test_a_thousand_members_are_delivered_to_once_each() -> None:
    """Ten lists of a hundred, in one."""
    table: dict[str, Any] = {f"l{n}": [f"m{n}x{m}" for m in range(100)] for n in range(10)}
    box = await resolved("all", all=list(table), **table)
    assert len(box.got) == len(set(box.who)) == 1000


async def test_a_recipient_that_is_added_or_removed_while_addresses_are_resolved() -> None:
    """The message's own recipients may be edited as at any stage: who is added is asked about, who is removed goes with all he led to."""

    class Edits(Sink[None]):
        @on(Resolve)
        async def edit(self, event: Resolve) -> None:
            if event.round == 2:
                event.message.recipients.remove("all@example.com")
                event.message.recipients.add("late@example.com")

    box = Box()
    async with Running(Directory(all=["x", "y"], late=rewritten("later")), Edits(), box) as server:
        await deliver_one(server, "all@example.com", "bob@example.com")
        await empty(server)
    assert box.who == ["bob", "later"]


async def test_nobody_who_is_put_off_at_resolve_for_too_long_is_forgotten() -> None:
    """The sender is told in the end."""
    box = Box()
    async with Running(Directory(slow=lambda item: item.defer("down")), box) as server:
        await deliver_one(server, "slow@example.com")
        await server.until(lambda: server.kept() and server.kept()[0].due, "put off")
        server.node.ahead = 4000
        server.transport.scheduler.wake()
        await empty(server)
    assert box.who == ["a"]
    assert reports(box)[0].startswith("slow@example.com 4.4")


@pytest.mark.parametrize(("owner", "action"), [(None, "expanded"), ("owner@example.com", "delivered")])
async def test_success_of_a_list_is_reported_once(owner: str | None, action: str) -> None:
    """An alias is expanded; for a list with an owner it is the final delivery (RFC 3461 §5.2.7)."""
    box, told = Box(), list[tuple[str, list[str]]]()

    class Told(Sink[None]):
        @on(Expanded)
        async def note(self, event: Expanded) -> None:
            told.append((str(event.recipient.address), [str(m) for m in event.members]))

    async with Running(Directory(all=lambda item: item.expand(["x@example.com", "y@example.com"], sender=owner)), Told(), box) as server:
        await send_with(server, "<all@example.com> NOTIFY=SUCCESS")
        await server.until(lambda: len(box.got) == 3, "two members and a report")
        await empty(server)
        await server.dispatcher.drain()
    (report,) = [content for content in box.contents if b"Final-Recipient" in content]
    assert f"Action: {action}".encode() in report
    assert told == [("all@example.com", ["x@example.com", "y@example.com"])]


async def test_each_address_is_asked_about_once_however_many_ways_lead_to_it() -> None:
    """Ten levels of two lists that both hold the next two: twenty questions, not a thousand."""
    table = {f"{side}{level}": [f"l{level + 1}", f"r{level + 1}"] for level in range(10) for side in "lr"}
    directory, box = Directory(**table), Box()
    async with Running(directory, box) as server:
        await deliver_one(server, "l0@example.com", "r0@example.com")
        await empty(server)
    assert box.who == ["l10", "r10"]
    assert sum(len(asked) for _, asked in directory.asked) == 1 + 22


async def test_a_recipient_that_failed_is_left_alone_while_sinks_are_asked_about_the_report() -> None:
    """It is in the spool meanwhile, and nobody takes it up from there."""
    asked, go = asyncio.Event(), asyncio.Event()

    class Slow(Sink[None]):
        @on(Bounce)
        async def wait(self, event: Bounce) -> None:
            asked.set()
            await go.wait()

    directory, box = Directory(bad=lambda item: item.fail()), Box()
    async with Running(directory, Slow(), box) as server:
        await deliver_one(server, "bad@example.com", "bob@example.com")
        await asyncio.wait_for(asked.wait(), 5.0)
        for _ in range(3):
            server.transport.scheduler.wake()
            await asyncio.sleep(0.01)
        assert len([who for _, who in directory.asked if "bad@example.com" in who]) == 1
        go.set()
        await empty(server)
    assert (box.who, reports(box)) == (["a", "bob"], ["bad@example.com 5.1.1"])
