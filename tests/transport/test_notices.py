"""Which reports go to whom: what NOTIFY and RET ask for, what sinks say of it, who hears when nobody else can, and what a crash leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from penstock import Address, Sink, on
from penstock.errors import StorageDamaged, StorageFull
from penstock.events import Bounce, DelayNotice, SuccessNotice
from penstock.events.plug import Plug
from penstock.mail.message import decode_record
from penstock.mail.reply import Reply
from penstock.mail.report import ReportSettings
from penstock.storage.base import Query
from penstock.storage.embedded import EmbeddedSettings, EmbeddedSpool
from penstock.storage.memory import MemorySpool
from penstock.transport.notices import NoticeSettings
from penstock.transport.outcome import Action, Result
from penstock.verdicts import Suppress
from transport.desk import Desk, each, names, to

Act = Callable[[Any], Any]


class AtNotice(Sink[None]):
    """Does what a test wants when a report is about to be sent, at once."""

    def __init__(self, act: Act) -> None:
        super().__init__()
        self.act = act
        self.asked: list[str] = []

    @on(Bounce, DelayNotice, SuccessNotice, blocking=False)
    def run(self, event: Bounce | DelayNotice | SuccessNotice) -> Any:
        self.asked.append(type(event).__name__)
        return self.act(event)


class AtNoticeLater(Sink[None]):
    """The same, but waits for ``go`` first."""

    def __init__(self, act: Act) -> None:
        super().__init__()
        self.act = act
        self.go = asyncio.Event()
        self.came = asyncio.Event()

    @on(Bounce, DelayNotice, SuccessNotice)
    async def run(self, event: Bounce | DelayNotice | SuccessNotice) -> Any:
        self.came.set()
        await self.go.wait()
        return self.act(event)


@pytest.mark.parametrize(
    ("action", "notify", "dsn", "reported"),
    [
        (Action.FAILED, (), False, "failed"),
        (Action.FAILED, ("failure",), False, "failed"),
        (Action.FAILED, ("success", "delay"), False, ""),
        (Action.FAILED, ("never",), False, ""),
        (Action.DELIVERED, (), False, ""),
        (Action.DELIVERED, ("success",), False, "delivered"),
        (Action.RELAYED, ("success",), False, "relayed"),
        (Action.RELAYED, ("success",), True, ""),
        (Action.EXPANDED, ("success",), False, "expanded"),
        (Action.EXPANDED, (), False, ""),
        (Action.DROPPED, ("success", "failure"), False, ""),
    ],
)
async def test_a_report_is_sent_when_it_was_asked_for(action: Action, notify: tuple[str, ...], dsn: bool, reported: str) -> None:
    """RFC 3461 §5.2."""
    async with Desk() as desk:
        work = await desk.message(to("b@far.example", *notify))
        await desk.settle(work, *each(work, action, dsn=dsn))
        assert not desk.kept()
        assert [group["Action"] for group in (desk.fields() if desk.reports() else [])] == ([reported] if reported else [])


async def test_several_recipients_stand_in_one_report_of_each_kind() -> None:
    """Who did not ask is in none (RFC 3461 §5.2.8)."""
    async with Desk() as desk:
        work = await desk.message(
            "a@x.example", "b@x.example", to("c@x.example", "success"), to("d@x.example", "success"), to("e@x.example", "never")
        )
        a, b, c, d, e = work.record.envelope.recipients
        failed = [Result(r, Action.FAILED, "5.1.1", "unknown") for r in (a, b, e)]
        await desk.settle(work, *failed, Result(c, Action.DELIVERED), Result(d, Action.RELAYED))
        assert [[group["Final-Recipient"] for group in desk.fields(number)] for number in range(2)] == [
            ["rfc822; a@x.example", "rfc822; b@x.example"],
            ["rfc822; c@x.example", "rfc822; d@x.example"],
        ]
        for record, report in desk.reports():
            assert record.envelope.sender.is_null
            assert [str(r.address) for r in record.envelope.recipients] == ["alice@client.example"]
            assert (record.origin, record.parent) == ("dsn", work.record.id)
            assert report["Auto-Submitted"] == "auto-replied"
        assert desk.scheduler.soons


async def test_a_report_says_what_the_remote_server_said() -> None:
    async with Desk() as desk:
        work = await desk.message("b@far.example", envid="E1")
        reply = Reply(550, "5.1.1", "No such\nuser")
        await desk.settle(work, *each(work, Action.FAILED, "5.1.1", reply=reply, remote="mx.far.example"))
        (group,) = desk.fields()
        assert group["Remote-MTA"] == "dns; mx.far.example"
        assert group["Last-Attempt-Date"]
        assert "550 5.1.1 user" in group["Diagnostic-Code"]


@pytest.mark.parametrize(("ret", "whole"), [("FULL", True), ("HDRS", False), ("", True)])
async def test_ret_decides_what_comes_back(ret: str, whole: bool) -> None:
    async with Desk() as desk:
        work = await desk.message("b@far.example", ret=ret)
        await desk.settle(work, *each(work, Action.FAILED))
        assert (b"\nHello." in desk.reports()[0][1].as_bytes()) == whole


async def test_what_comes_back_has_the_edits_that_sinks_made() -> None:
    async with Desk() as desk:
        work = await desk.message("b@far.example")
        work.record.header, work.record.body_offset = b"Subject: edited\r\n", work.content.read().index(b"\r\n\r\n") + 2  # type: ignore[union-attr]
        await desk.settle(work, *each(work, Action.FAILED))
        text = desk.reports()[0][1].as_bytes()
        assert b"Subject: edited\n\nHello." in text
        assert b"Subject: hello" not in text


@pytest.mark.parametrize(("notify", "told"), [((), True), (("delay",), True), (("failure",), False), (("never",), False)])
async def test_a_delay_is_told_once_when_its_time_has_come(notify: tuple[str, ...], told: bool) -> None:
    async with Desk() as desk:
        work = await desk.message(to("b@far.example", *notify))
        await desk.settle(work, *each(work, Action.DEFERRED, "4.3.2", "busy"))
        assert not desk.reports()
        for _ in range(3):
            (entry,) = desk.kept()
            work.record = decode_record(entry.record)
            desk.node.ahead += 700
            await desk.settle(work, *each(work, Action.DEFERRED, "4.3.2", "busy"))
        assert len(desk.reports()) == told
        if told:
            (group,) = desk.fields()
            assert (group["Action"], group["Status"], group["Will-Retry-Until"] is not None) == ("delayed", "4.3.2", True)
            assert desk.reports()[0][1]["Subject"] == "Delayed mail: still trying"


@pytest.mark.parametrize("double", ["", "postmaster@here.example"])
async def test_a_bounce_of_a_bounce_goes_to_the_postmaster_or_nowhere_and_never_further(double: str) -> None:
    async with Desk(notices=NoticeSettings(Address.parse(double))) as desk:
        work = await desk.message(to("forged@far.example", "never"), sender="", origin="dsn")
        await desk.settle(work, *each(work, Action.FAILED, "5.1.1", "unknown"))
        assert not desk.kept()
        assert [names(e) for e in desk.spool.select(Query()).entries] == ([[double]] if double else [])
        if double:
            (entry,) = desk.spool.select(Query()).entries
            record = decode_record(entry.record)
            assert record.envelope.sender.is_null
            # Wherever an alias leads it, nobody is told when this one fails too.
            record.envelope.recipients[0].address = Address.parse("root@elsewhere.example")
            again = await desk.message(*record.envelope.recipients, sender="", origin="dsn")
            before = desk.spool.count()
            await desk.settle(again, *each(again, Action.FAILED))
            assert desk.spool.count() == before - 1


@pytest.mark.parametrize("action", [Action.DELIVERED, Action.DEFERRED])
async def test_nobody_is_told_of_success_or_delay_of_mail_from_the_null_path(action: Action) -> None:
    async with Desk(notices=NoticeSettings(Address.parse("postmaster@here.example"))) as desk:
        work = await desk.message(to("b@far.example", "success", "delay"), sender="")
        desk.node.ahead = 700
        await desk.settle(work, *each(work, action))
        assert not desk.reports()


@pytest.mark.parametrize("waiting", [False, True])
async def test_a_sink_may_suppress_a_report(waiting: bool) -> None:
    """The message ends all the same."""
    sink = (AtNoticeLater if waiting else AtNotice)(lambda event: Suppress("spam"))
    if isinstance(sink, AtNoticeLater):
        sink.go.set()
    async with Desk(sink) as desk:
        work = await desk.message("b@far.example")
        assert await desk.settle(work, *each(work, Action.FAILED)) == waiting
        assert desk.spool.count() == 0


@pytest.mark.parametrize("waiting", [False, True])
async def test_a_sink_may_edit_a_report(waiting: bool) -> None:
    """Header, recipients and content; the sink sees whom it is about, and why."""
    seen: list[Any] = []

    def edit(event: Bounce) -> None:
        seen.append((event.about, [str(r.address) for r in event.recipients], event.reasons, event.origin, event.message.parent))
        event.message.header.replace("Subject", "Sorry")
        event.message.recipients.add("audit@here.example")

    sink = (AtNoticeLater if waiting else AtNotice)(edit)
    if isinstance(sink, AtNoticeLater):
        sink.go.set()
    async with Desk(sink) as desk:
        work = await desk.message("b@far.example")
        await desk.settle(work, *each(work, Action.FAILED, "5.1.1", "unknown"))
        ((record, report),) = desk.reports()
        assert report["Subject"] == "Sorry"
        assert [str(r.address) for r in record.envelope.recipients] == ["alice@client.example", "audit@here.example"]
        assert seen == [(work.record.id, ["b@far.example"], ("unknown",), "dsn", work.record.id)]


async def test_a_sink_may_replace_a_report_and_split_it() -> None:
    def split(event: Bounce) -> None:
        event.message.replace_content(b"Subject: new\r\n\r\nNew.\r\n")
        event.message.recipients.add("audit@here.example")
        event.message.fork([event.message.recipients[1]])

    async with Desk(AtNotice(split)) as desk:
        work = await desk.message("b@far.example")
        await desk.settle(work, *each(work, Action.FAILED))
        reports = desk.reports()
        assert [[str(r.address) for r in record.envelope.recipients] for record, _ in reports] == [
            ["alice@client.example"],
            ["audit@here.example"],
        ]
        assert {report["Subject"] for _, report in reports} == {"new"}


@pytest.mark.parametrize("on_error", ["defer", "reject", "continue"])
@pytest.mark.parametrize("waiting", [False, True])
async def test_a_sink_that_fails_has_no_say(on_error: Any, waiting: bool) -> None:
    """The report goes out as it was."""

    def fail(event: Bounce) -> None:
        event.message.header.replace("Subject", "half-done")
        raise RuntimeError("oops")

    sink = (AtNoticeLater if waiting else AtNotice)(fail)
    if isinstance(sink, AtNoticeLater):
        sink.go.set()
    async with Desk(Plug("broken", sink, on_error=on_error)) as desk:
        work = await desk.message("b@far.example")
        await desk.settle(work, *each(work, Action.FAILED))
        assert [report["Subject"] for _, report in desk.reports()] == ["Undelivered mail returned to sender"]
        assert not desk.kept()


async def test_while_a_sink_thinks_the_failed_are_kept_and_the_served_are_not(tmp_path: Path) -> None:
    """A crash meanwhile neither loses a report nor sends a second copy."""
    sink = AtNoticeLater(lambda event: None)
    spool = EmbeddedSpool(EmbeddedSettings(tmp_path / "spool"))
    async with Desk(sink, spool=spool) as desk:
        work = await desk.message("served@far.example", "failed@far.example", "later@far.example", to("asked@far.example", "success"))
        served, failed, later, asked = work.record.envelope.recipients
        step = desk.settler.settle(
            work,
            "mx:far.example",
            [
                Result(served, Action.RELAYED),
                Result(failed, Action.FAILED),
                Result(later, Action.DEFERRED),
                Result(asked, Action.RELAYED),
            ],
        )
        assert step is not None
        task = asyncio.ensure_future(step)
        await asyncio.wait_for(sink.came.wait(), 5)
        (entry,) = desk.kept()
        assert names(entry) == ["failed@far.example", "later@far.example", "asked@far.example"]
        assert not desk.reports()
        sink.go.set()
        await task
        (entry,) = desk.kept()
        assert names(entry) == ["later@far.example"]
        assert len(desk.reports()) == 2


async def test_without_a_sink_to_wait_for_nothing_waits() -> None:
    async with Desk(AtNotice(lambda event: None)) as desk:
        work = await desk.message("b@far.example")
        assert desk.settler.settle(work, "mx:far.example", each(work, Action.FAILED)) is None
        assert len(desk.reports()) == 1


async def test_a_message_that_cannot_be_read_is_reported_without_it() -> None:
    class Damaged:
        size = 10
        in_memory = False

        def read(self, offset: int = 0, length: int = -1) -> bytes:
            raise StorageDamaged("checksum of segment 7")

    async with Desk() as desk:
        work = await desk.message("b@far.example")
        work.content = Damaged()
        await desk.settle(work, *each(work, Action.FAILED))
        assert len(desk.fields()) == 1
        assert not desk.kept()


async def test_a_large_message_comes_back_whole_and_durable(tmp_path: Path) -> None:
    """From the disk to the disk, in the group that removes it."""
    content = b"Subject: large\r\n\r\n" + b"0123456789\r\n" * 200_000
    settings = NoticeSettings(report=ReportSettings(return_full=10_000_000))
    folder = EmbeddedSettings(tmp_path / "spool")
    async with Desk(spool=EmbeddedSpool(folder), notices=settings) as desk:
        work = await desk.message("b@far.example", content=content, ret="FULL")
        assert await desk.settle(work, *each(work, Action.FAILED))
    async with Desk(spool=EmbeddedSpool(folder)) as again:
        assert not again.kept()
        (entry,) = again.spool.select(Query()).entries
        assert content in again.spool.content(entry).read()


async def test_a_full_disk_puts_the_outcome_off_and_sends_nobody_a_second_copy() -> None:
    class Full(MemorySpool):
        full = False

        def commit(self, changes: Any) -> Any:
            if not self.full:
                return super().commit(changes)
            future = asyncio.get_running_loop().create_future()
            future.set_exception(StorageFull("no room"))
            return future

    spool = Full()
    async with Desk(spool=spool, notices=NoticeSettings(report=ReportSettings(return_full=10_000_000))) as desk:
        work = await desk.message("a@far.example", "b@far.example", content=b"Subject: x\r\n\r\n" + b"y\r\n" * 50_000)
        a, b = work.record.envelope.recipients
        spool.full = True
        await desk.settle(work, Result(a, Action.RELAYED), Result(b, Action.FAILED))
        (entry,) = desk.kept()
        assert names(entry) == ["b@far.example"]
        assert entry.due > desk.node.now() + 30
        assert desk.scheduler.laters == [(entry.queue, entry.due)]
        assert not desk.reports()
