"""A sink that refuses single recipients at the end of data, for servers in processes of their own."""

from __future__ import annotations

from penstock import Sink, on
from penstock.events import EndOfData
from penstock.verdicts import Defer, RefuseRecipients, Reject


class FullAndBusy(Sink):
    """The mailboxes of ``full`` are full, and that of ``busy`` is busy, at any domain."""

    @on(EndOfData)
    async def judge(self, event: EndOfData) -> RefuseRecipients | None:
        answers: dict[str, Reject | Defer] = {"full": Reject(552, "5.2.2", "Mailbox full"), "busy": Defer(450, "4.2.1", "Mailbox busy")}
        refused = {r.address: answers[r.address.local] for r in event.message.recipients if r.address.local in answers}
        return RefuseRecipients(refused) if refused else None
