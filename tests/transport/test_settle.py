"""What is recorded after a try: who is done is gone, who waits is kept with time and reason, in one group, whatever happens meanwhile."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock import Address, Sink, on
from penstock.events import Deferred, Delivered, Dropped, Expanded, Expired, Failed, Quarantined, Relayed, Tracked
from penstock.events.reports import Step, Timings
from penstock.mail.message import decode_record
from penstock.mail.reply import Reply
from penstock.queue.policy import Policies, RetryPolicy
from penstock.storage.base import Put, Remove
from penstock.storage.embedded import EmbeddedSettings, EmbeddedSpool
from penstock.storage.memory import MemorySpool
from penstock.transport.outcome import Action, Result
from transport.desk import HOUR, QUEUE, Desk, each, names, to

BUSY = Reply(451, "4.3.2", "busy")


async def test_what_is_done_is_gone_in_one_change() -> None:
    """The everyday outcome: no look at the entry, no report, one Remove."""
    groups: list[list[Any]] = []

    class Watched(MemorySpool):
        def append(self, changes: Any) -> None:
            groups.append(list(changes))
            super().append(changes)

        def get(self, entry_id: str) -> Any:
            raise AssertionError("nobody has to look")

    async with Desk(spool=Watched()) as desk:
        work = await desk.message("a@far.example", "b@far.example")
        a, b = work.record.envelope.recipients
        assert not await desk.settle(work, Result(a, Action.RELAYED, "2.0.0"), Result(b, Action.DELIVERED, "2.0.0"))
        assert not desk.kept()
        assert groups == [[Remove(work.record.id)]]
        assert not desk.scheduler.soons


async def test_a_deferred_recipient_is_kept_with_time_and_reason() -> None:
    async with Desk() as desk:
        work = await desk.message("a@far.example", "b@far.example")
        a, b = work.record.envelope.recipients
        deferred = Result(b, Action.DEFERRED, "4.3.2", reply=BUSY, remote="mx.far.example")
        await desk.settle(work, Result(a, Action.RELAYED, "2.0.0"), deferred)
        (entry,) = desk.kept()
        record = decode_record(entry.record)
        assert (entry.id, entry.stage, entry.queue, entry.held) == (work.record.id, "routed", QUEUE, "")
        assert names(entry) == ["b@far.example"]
        assert entry.due == pytest.approx(desk.node.now() + 60, abs=5)
        assert (record.deferrals, record.tried > 0) == (1, True)
        assert record.envelope.recipients[0].reason == "mx.far.example said: 451 4.3.2 busy"
        assert desk.scheduler.laters == [(QUEUE, entry.due)]
        assert desk.spool.content(entry).read().endswith(b"Hello.\r\n")


async def test_a_failure_of_the_whole_destination_costs_the_message_no_time() -> None:
    """Its due time stays, and it counts as no deferral; the queue rests instead."""
    async with Desk() as desk:
        work = await desk.message("a@far.example")
        await desk.settle(work, *each(work, Action.DEFERRED, "4.4.1", "no route to host", wide=True))
        (entry,) = desk.kept()
        record = decode_record(entry.record)
        assert (entry.id, entry.due, record.deferrals) == (work.record.id, 0.0, 0)
        assert record.tried > 0
        assert record.envelope.recipients[0].reason == "no route to host"


async def test_recipients_that_wait_for_different_times_wait_apart() -> None:
    """A time that a sink asked for is kept, for that recipient alone; the content is shared."""
    async with Desk() as desk:
        work = await desk.message("a@far.example", "b@far.example", "c@far.example")
        a, b, c = work.record.envelope.recipients
        later = Result(b, Action.DEFERRED, "4.3.0", "tomorrow", after=timedelta(days=1))
        await desk.settle(work, Result(a, Action.DEFERRED), later, Result(c, Action.DEFERRED))
        first, second = desk.kept()
        assert (names(first), names(second)) == (["a@far.example", "c@far.example"], ["b@far.example"])
        assert second.due - first.due == pytest.approx(86400 - 60, abs=1)
        assert first.content == second.content
        assert decode_record(second.record).parent == first.id == work.record.id


async def test_what_is_deferred_before_it_is_routed_stays_at_its_stage() -> None:
    async with Desk() as desk:
        work = await desk.message("a@far.example", queue="")
        await desk.settle(work, *each(work, Action.DEFERRED, "4.4.3", "directory is down"), queue="")
        (entry,) = desk.kept()
        assert (entry.stage, entry.queue) == ("categorized", "")
        assert desk.scheduler.soons == [entry.due]


async def test_fresh_local_mail_that_was_recorded_nowhere_waits_in_its_queue() -> None:
    """The stages before were not recorded, since nothing happened at them."""
    async with Desk() as desk:
        work = await desk.message("a@here.example", queue="")
        await desk.settle(work, *each(work, Action.DEFERRED), queue="local:here.example")
        (entry,) = desk.kept()
        assert (entry.stage, entry.queue) == ("routed", "local:here.example")


async def test_a_hold_made_meanwhile_is_respected() -> None:
    """Nothing that was kept goes on, wherever it was to go."""
    async with Desk() as desk:
        work = await desk.message("a@far.example", "b@far.example", "c@far.example")
        entry = desk.spool.get(work.record.id)
        assert entry
        desk.spool.append([Put(msgspec.structs.replace(entry, held="by root"))])
        a, b, c = work.record.envelope.recipients
        forwarded = Result(b, Action.FORWARDED, to=(Address.parse("x@far.example"),))
        await desk.settle(work, Result(a, Action.DEFERRED), forwarded, Result(c, Action.REROUTED, next_hop="[relay.example]:25"))
        assert [kept.held for kept in desk.kept()] == ["by root"] * 3
        assert not desk.scheduler.laters


async def test_what_was_removed_meanwhile_does_not_come_back() -> None:
    async with Desk() as desk:
        work = await desk.message("a@far.example", "b@far.example")
        desk.spool.append([Remove(work.record.id)])
        a, b = work.record.envelope.recipients
        await desk.settle(work, Result(a, Action.DEFERRED), Result(b, Action.FORWARDED, to=(Address.parse("x@y.example"),)))
        assert not desk.kept()


async def test_what_was_moved_to_another_queue_meanwhile_stays_there() -> None:
    async with Desk() as desk:
        work = await desk.message("a@far.example")
        entry = desk.spool.get(work.record.id)
        assert entry
        desk.spool.append([Put(msgspec.structs.replace(entry, queue="[relay.example]:25"))])
        await desk.settle(work, *each(work, Action.DEFERRED))
        assert [kept.queue for kept in desk.kept()] == ["[relay.example]:25"]


async def test_forwarded_recipients_go_back_to_be_resolved() -> None:
    async with Desk() as desk:
        work = await desk.message(to("list@here.example", "success", "failure"), "b@far.example")
        listed, other = work.record.envelope.recipients
        listed.properties["kept"] = 1
        listed.route = "maildir:/x"
        where = (Address.parse("x@y.example"), Address.parse("z@y.example"), Address.parse("x@y.example"))
        await desk.settle(work, Result(listed, Action.FORWARDED, to=where), Result(other, Action.RELAYED))
        (entry,) = desk.kept()
        record = decode_record(entry.record)
        assert (entry.stage, entry.queue, entry.due) == ("precategorized", "", 0.0)
        assert names(entry) == ["x@y.example", "z@y.example"]
        for recipient in record.envelope.recipients:
            assert recipient.notify == {"failure"}
            assert recipient.orcpt == "rfc822;list@here.example"
            assert recipient.properties["kept"] == 1
            assert recipient.route == ""
        assert desk.scheduler.soons
        # RFC 3461 §5.2.7.3: success is reported here, and by none of the members.
        assert [group["Action"] for group in desk.fields()] == ["expanded"]


async def test_forwarding_to_one_address_hands_all_that_was_asked_for_on() -> None:
    """RFC 3461 §5.2.7.2."""
    async with Desk() as desk:
        work = await desk.message(to("a@here.example", "success", orcpt="rfc822;first@x.example"))
        await desk.settle(work, *each(work, Action.FORWARDED, to=(Address.parse("x@y.example"),)))
        (recipient,) = decode_record(desk.kept()[0].record).envelope.recipients
        assert (recipient.notify, recipient.orcpt) == ({"success"}, "rfc822;first@x.example")
        assert not desk.reports()


@pytest.mark.parametrize("action", [Action.FORWARDED, Action.REROUTED])
async def test_going_round_in_a_circle_ends_with_a_failure(action: Action) -> None:
    async with Desk() as desk:
        await desk.message("a@here.example")
        for _ in range(20):
            if not desk.kept():
                break
            (entry,) = desk.kept()
            record = decode_record(entry.record)
            work = await desk.message(*record.envelope.recipients)
            desk.spool.append([Remove(entry.id)])
            more: dict[str, Any] = (
                {"to": (Address.parse("a@here.example"),)} if action is Action.FORWARDED else {"next_hop": "[x.example]:25"}
            )
            await desk.settle(work, *each(work, action, **more))
        assert not desk.kept()
        assert desk.fields()[0]["Status"] == "5.4.6"


async def test_rerouted_recipients_wait_in_the_other_queue() -> None:
    async with Desk() as desk:
        work = await desk.message("a@far.example", "b@far.example", deferrals=3)
        a, b = work.record.envelope.recipients
        await desk.settle(
            work, Result(a, Action.REROUTED, next_hop="[relay.example]:25;bulk"), Result(b, Action.REROUTED, next_hop="local")
        )
        first, second = desk.kept()
        assert {(e.stage, e.queue, e.due) for e in (first, second)} == {
            ("routed", "[relay.example]:25;bulk", 0.0),
            ("routed", "local:far.example", 0.0),
        }
        assert decode_record(first.record).deferrals == 0
        assert {queue for queue, _ in desk.scheduler.laters} == {"[relay.example]:25;bulk", "local:far.example"}


async def test_nobody_to_deliver_is_held_and_a_report_ends() -> None:
    async with Desk() as desk:
        work = await desk.message("a@here.example", queue="local:here.example")
        await desk.settle(work, *each(work, Action.UNSERVED), queue="local:here.example")
        assert [entry.held for entry in desk.kept()] == ["nothing delivers to a@here.example"]
        report = await desk.message("a@here.example", sender="", origin="dsn", queue="local:here.example")
        await desk.settle(report, *each(report, Action.UNSERVED), queue="local:here.example")
        assert len(desk.kept()) == 1
        assert not desk.reports()


async def test_each_domain_is_given_up_when_its_policy_says() -> None:
    policies = Policies(RetryPolicy(expire=HOUR, notices=()), {"slow.example": RetryPolicy(expire=100 * HOUR, notices=())})
    async with Desk(policies=policies) as desk:
        work = await desk.message("a@far.example", "b@slow.example")
        desk.node.ahead = 2 * HOUR
        await desk.settle(work, *each(work, Action.DEFERRED, "4.3.2", reply=BUSY, remote="mx.far.example"))
        assert [names(entry) for entry in desk.kept()] == [["b@slow.example"]]
        (group,) = desk.fields()
        assert (group["Final-Recipient"], group["Action"], group["Status"]) == ("rfc822; a@far.example", "failed", "4.4.7")
        assert group["Diagnostic-Code"] == "smtp; 451 4.3.2 busy"
        words = next(desk.reports()[0][1].iter_parts()).get_content()
        assert "too long; last: mx.far.example said: 451 4.3.2 busy" in words


class Listens(Sink[None]):
    """Notes every report."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[tuple[str, Any]] = []
        self.events: list[Any] = []

    @on(Delivered, Relayed, Deferred, Failed, Expired, Expanded, Dropped, Quarantined)
    async def note(self, event: Any) -> None:
        self.heard.append((type(event).__name__, str(event.recipient.address)))
        self.events.append(event)

    @on(Tracked)
    async def track(self, event: Tracked) -> None:
        self.heard.append(("Tracked", event.step))


async def test_every_outcome_is_told_once_and_after_it_is_recorded() -> None:
    listens = Listens()
    outcomes = ("delivered", "relayed", "deferred", "failed", "dropped", "listed")
    async with Desk(listens) as desk:
        work = await desk.message(*(f"{name}@far.example" for name in outcomes))
        delivered, relayed, deferred, failed, dropped, listed = work.record.envelope.recipients
        await desk.settle(
            work,
            Result(delivered, Action.DELIVERED, "2.0.0", address="/var/mail/x"),
            Result(relayed, Action.RELAYED, "2.0.0", reply=Reply(250, "2.0.0", "ok"), remote="mx.far.example", timings=Timings(1, 2, 3, 4)),
            Result(deferred, Action.DEFERRED, "4.3.2", reply=BUSY),
            Result(failed, Action.FAILED, "5.1.1", "unknown"),
            Result(dropped, Action.DROPPED, text="unwanted", by="policy"),
            Result(listed, Action.FORWARDED, to=(Address.parse("x@y.example"), Address.parse("z@y.example"))),
        )
        await desk.dispatcher.drain()
        told = {event.recipient.address.local: event for event in listens.events}
        assert {name: type(event).__name__ for name, event in told.items()} == {
            "delivered": "DeliveredReport",
            "relayed": "Relayed",
            "deferred": "Deferred",
            "failed": "Failed",
            "dropped": "Dropped",
            "listed": "Expanded",
        }
        assert (told["relayed"].where, told["relayed"].timings.sent, told["relayed"].reply.code) == ("mx.far.example", 4, 250)
        assert told["deferred"].until == pytest.approx(desk.node.now() + 60, abs=5)
        assert (told["dropped"].reason, told["dropped"].by) == ("unwanted", "policy")
        assert [str(m) for m in told["listed"].members] == ["x@y.example", "z@y.example"]
        steps = [step for kind, step in listens.heard if kind == "Tracked"]
        assert sorted(steps) == sorted([Step.LOCAL_DELIVERY, Step.TRANSFERRED_OUTBOUND, Step.FAILED, Step.REPORT_GENERATED])
        desk.settler.quarantined(work, "odd", "policy")
        desk.node.ahead = 2 * HOUR
        await desk.settle(work, *each(work, Action.DEFERRED))
        await desk.dispatcher.drain()
        assert {kind for kind, _ in listens.heard} >= {"Quarantined", "Expired"}


async def test_log_lines_have_the_same_fields_whatever_strangers_say(capsys: pytest.CaptureFixture[str]) -> None:
    async with Desk() as desk:
        work = await desk.message("a@far.example")
        said = Reply(550, "5.7.1", "x" * 5000)
        timings = Timings(0.5, 0.25, 1, 2)
        await desk.settle(work, *each(work, Action.FAILED, "5.7.1", reply=said, remote="mx.far.example", timings=timings))
        line = next(line for line in capsys.readouterr().out.splitlines() if "failed" in line)
        for field in ("message=", "to=", "queue=", "status=", "remote=", "reply=", "delay=", "delays=0.5/0.25/1/2"):
            assert field in line
        assert len(line) < 1200


@pytest.mark.parametrize("after", [False, True])
async def test_a_crash_leaves_the_message_or_its_report_never_both_or_neither(tmp_path: Path, after: bool) -> None:
    """The removal and the report are one group in the journal."""
    async with Desk(spool=EmbeddedSpool(EmbeddedSettings(tmp_path / "spool"))) as desk:
        work = await desk.message("a@far.example", "b@far.example")
        a, b = work.record.envelope.recipients
        if after:
            await desk.settle(work, Result(a, Action.FAILED, "5.1.1", "unknown"), Result(b, Action.DEFERRED))
            await desk.spool.commit([])
    async with Desk(spool=EmbeddedSpool(EmbeddedSettings(tmp_path / "spool"))) as again:
        (entry,) = again.kept()
        assert names(entry) == (["b@far.example"] if after else ["a@far.example", "b@far.example"])
        assert len(again.reports()) == after
