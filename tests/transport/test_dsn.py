"""Reports through the whole server: what a client asks for in MAIL and RCPT comes back to its sender, and what a power cut leaves."""

from __future__ import annotations

import asyncio
import shutil
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

from hosts.running import Running
from penstock import Address, Sink, on
from penstock.events import LocalDelivery
from penstock.storage.embedded import EmbeddedSettings, EmbeddedSpool
from penstock.transport.outcome import Action, Result
from penstock.verdicts import Bounce, Delivered, Forward
from transport.desk import QUEUE, Desk, names, to
from transport.sinks import empty


class Mixed(Sink[None]):
    """Delivers to the sender's box, bounces "no", forwards "list", and delivers all else."""

    def __init__(self) -> None:
        super().__init__()
        self.reports: list[Any] = []

    @on(LocalDelivery, blocking=False)
    def deliver(self, event: LocalDelivery) -> Any:
        local = event.recipient.address.local
        if event.origin == "dsn":
            self.reports.append(message_from_bytes(event.message.content.read(), policy=policy.default))
            return Delivered("reports")
        if local == "list":
            return Forward(("x@example.com", "y@example.com"))
        return Bounce("5.1.1", "No such user") if local == "no" else Delivered("box")


async def test_what_was_asked_for_in_mail_and_rcpt_comes_back() -> None:
    sink = Mixed()
    async with Running(sink) as server:
        client = await server.client()
        await client.say(
            "EHLO x",
            "MAIL FROM:<alice@client.example> RET=HDRS ENVID=QQ+2B1",
            "RCPT TO:<no@example.com> ORCPT=rfc822;First+2BLast@x.example",
            "RCPT TO:<yes@example.com> NOTIFY=SUCCESS",
            "RCPT TO:<list@example.com> NOTIFY=SUCCESS,FAILURE",
            "RCPT TO:<quiet@example.com>",
            "DATA",
        )
        client.writer.write(b"Subject: hello\r\nMessage-ID: <1@x>\r\n\r\nSecret.\r\n.\r\n")
        await client.reply()
        client.close()
        await empty(server)
    assert len(sink.reports) == 2
    groups = []
    for report in sink.reports:
        assert report["In-Reply-To"] == "<1@x>"
        assert b"Secret" not in report.as_bytes()
        about, *recipients = list(report.iter_parts())[1].get_payload()
        assert about["Original-Envelope-Id"] == "QQ+1"
        groups += [(group["Final-Recipient"], group["Action"], group["Original-Recipient"]) for group in recipients]
    assert sorted(groups) == [
        ("rfc822; list@example.com", "expanded", None),
        ("rfc822; no@example.com", "failed", "rfc822;First+Last@x.example"),
        ("rfc822; yes@example.com", "delivered", None),
    ]


async def test_at_no_instant_is_there_a_copy_of_the_spool_with_both_or_neither(tmp_path: Path) -> None:
    """The folder is copied again and again while messages are settled; each copy is recovered as after a power cut."""
    spool = EmbeddedSpool(EmbeddedSettings(tmp_path / "spool"))
    copies: list[Path] = []
    async with Desk(spool=spool) as desk:
        for number in range(4):
            work = await desk.message("failed@far.example", to("waits@far.example", "never"))
            failed, waits = work.record.envelope.recipients
            await desk.settle(work, Result(failed, Action.FAILED, "5.1.1", "unknown"), Result(waits, Action.DEFERRED), queue=QUEUE)
            for pause in (0.0, 0.02):
                await asyncio.sleep(pause)
                copies.append(tmp_path / f"copy-{number}-{pause}")
                await asyncio.to_thread(shutil.copytree, tmp_path / "spool", copies[-1])
    seen = set()
    for copy in copies:
        async with Desk(spool=EmbeddedSpool(EmbeddedSettings(copy))) as again:
            unreported = [entry for entry in again.kept() if "failed@far.example" in names(entry)]
            assert len(unreported) + len(again.reports()) == len(again.kept())
            seen.add(bool(unreported))
            assert all(record.envelope.recipients[0].address == Address.parse("alice@client.example") for record, _ in again.reports())
    assert False in seen
