"""The questions of transport, each as a method: from the message that enters to the report that is about to be sent.

A test that gives content, sender or recipients begins a new message; one that gives none goes on with the message that there is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, cast

from .. import events
from ..events import verdict as v
from ..events import verdict_transit as t
from ..events.resolve import Item
from ..events.transit import Notice
from ..events.work import Facts, MessageWork
from ..mail.envelope import Recipient
from ..mail.message import MessageRecord, with_edits
from ..mail.report import Kind, Reported, ReportFacts, ReportSettings, make_report
from ..mail.report_fields import About, Action
from .asking import Asking, as_recipient, with_message
from .stand_in import ContentLike

StageVerdict = v.Drop | v.Bounce | v.Defer | v.Quarantine
DeliveryVerdict = v.Delivered | v.Defer | v.Bounce | v.Forward | v.Drop | t.Reroute
Recipients = Iterable[str | Recipient]
_ACTIONS: dict[Kind, Action] = {"failed": "failed", "delayed": "delayed", "success": "delivered"}


class AskTransport(Asking):
    """The stages of transport, routing, delivery here, and reports (DSNs)."""

    async def submission(
        self, content: ContentLike | None = None, *, sender: str | None = None, recipients: Recipients | None = None, attempt: int = 1
    ) -> StageVerdict | None:
        """A message enters transport.

        Args:
            content: header and body; None for that of the message that there is.
            sender: the reverse-path.
            recipients: addresses, or recipients with all their parameters.
            attempt: which time the stage is begun, from 1.
        """
        with_message(self, content, sender, recipients)
        return cast(StageVerdict | None, await self.put(events.Submission(self._transit(), attempt)))

    async def pre_categorize(
        self, content: ContentLike | None = None, *, sender: str | None = None, recipients: Recipients | None = None, attempt: int = 1
    ) -> StageVerdict | None:
        """The addresses are about to be resolved; arguments as with ``submission``."""
        with_message(self, content, sender, recipients)
        return cast(StageVerdict | None, await self.put(events.PreCategorize(self._transit(), attempt)))

    async def resolve(self, *addresses: str, sender: str | None = None, round_number: int = 1, attempt: int = 1) -> tuple[Item, ...]:
        """A batch of addresses is to be resolved; the items, as the sink left them.

        Args:
            addresses: of recipients; none for the message's own.
            sender: is to be resolved too; None for no sender.
            round_number: which batch it is, from 1.
            attempt: which time the stage is begun, from 1.
        """
        if addresses:
            self.set_message(recipients=addresses)
        listed = self._the_message().record.envelope.recipients
        items = [Item(as_recipient(sender).address, "sender")] if sender is not None else []
        items += [Item(recipient.address, recipient=recipient.copy(), trail=(str(recipient.address),)) for recipient in listed]
        event = events.Resolve(self._transit(), items, round_number, attempt)
        await self.put(event)
        return event.kept

    async def categorized(
        self, content: ContentLike | None = None, *, sender: str | None = None, recipients: Recipients | None = None, attempt: int = 1
    ) -> StageVerdict | t.Split | None:
        """All addresses are resolved; arguments as with ``submission``. The variants are those that the recipients name."""
        with_message(self, content, sender, recipients)
        groups: dict[str, list[Recipient]] = {"": []}
        for recipient in self._the_message().record.envelope.recipients:
            groups.setdefault(recipient.variant, []).append(recipient.copy())
        event = events.Categorized(self._transit(), tuple(tuple(group) for group in groups.values() if group), attempt)
        return cast(StageVerdict | t.Split | None, await self.put(event))

    async def post_categorize(
        self, content: ContentLike | None = None, *, sender: str | None = None, recipients: Recipients | None = None, attempt: int = 1
    ) -> StageVerdict | None:
        """The recipients are final; arguments as with ``submission``."""
        with_message(self, content, sender, recipients)
        return cast(StageVerdict | None, await self.put(events.PostCategorize(self._transit(), attempt)))

    async def route(
        self, destination: str = "", *, proposal: t.RouteTo | None = None, unroutable: bool = False
    ) -> t.RouteTo | t.Unreachable | t.Hold | None:
        """A next hop is wanted.

        Args:
            destination: the domain; "" for that of the first recipient.
            proposal: what was proposed so far; None for the domain's mail servers.
            unroutable: True when nothing was proposed.
        """
        listed = self._the_message().record.envelope.recipients
        wanted = destination or (listed[0].address.domain if listed else "example.net")
        going = tuple(recipient.copy() for recipient in listed if recipient.address.domain == wanted)
        proposed = None if unroutable else proposal or t.RouteTo(f"mx:{wanted}")
        return cast(t.RouteTo | t.Unreachable | t.Hold | None, await self.put(events.Route(self._transit(), wanted, going, proposed)))

    async def resolve_host(
        self, name: str = "example.net", kind: Literal["mx", "address"] = "mx", next_hop: str = ""
    ) -> t.Addresses | t.NotFound | None:
        """The mail servers of a domain ("mx"), or the addresses of a host ("address"), are wanted for a connection."""
        event = events.ResolveHost(self.facts(session=False, message=False), name, kind, next_hop or f"mx:{name}")
        return cast(t.Addresses | t.NotFound | None, await self.put(event))

    async def local_delivery(
        self,
        recipient: str | Recipient | None = None,
        *,
        content: ContentLike | None = None,
        sender: str | None = None,
        attempt: int = 1,
    ) -> DeliveryVerdict | None:
        """A recipient is to be served here.

        Args:
            recipient: who; None for the first of the message.
            content: header and body; None for that of the message that there is.
            sender: the reverse-path.
            attempt: which try it is, from 1.
        """
        given = None if recipient is None else (recipient,)
        listed = self._the_message().record.envelope.recipients
        known = recipient is None or any(str(r.address) == str(recipient) for r in listed)
        with_message(self, content, sender, given if not known or content is not None or sender is not None else None)
        listed = self._the_message().record.envelope.recipients
        served = next((r for r in listed if isinstance(recipient, str) and str(r.address) == recipient), listed[0])
        event = events.LocalDelivery(self._transit(), served, attempt)
        verdict = await self.put(event)
        listed[listed.index(served)] = event.work
        return cast(DeliveryVerdict | None, verdict)

    async def bounce(self, text: str = "No such user", *, status: str = "5.1.1", recipients: Recipients | None = None) -> t.Suppress | None:
        """A failure report about the message is about to be sent; ``tester.notice`` is the report.

        Args:
            text: why it failed.
            status: the enhanced status code (RFC 3463).
            recipients: who could not be served; None for all.
        """
        return await self._notice_of("failed", events.Bounce, Reported(as_recipient("x@x"), "failed", status, text), recipients)

    async def delay_notice(
        self, text: str = "No answer", *, status: str = "4.4.1", recipients: Recipients | None = None
    ) -> t.Suppress | None:
        """A delay report about the message is about to be sent; arguments as with ``bounce``."""
        return await self._notice_of("delayed", events.DelayNotice, Reported(as_recipient("x@x"), "delayed", status, text), recipients)

    async def success_notice(
        self, text: str = "Delivered", *, status: str = "2.0.0", recipients: Recipients | None = None
    ) -> t.Suppress | None:
        """A report of success about the message is about to be sent; arguments as with ``bounce``."""
        return await self._notice_of("success", events.SuccessNotice, Reported(as_recipient("x@x"), "delivered", status, text), recipients)

    async def _notice_of(self, kind: Kind, event: type[Notice], said: Reported, recipients: Recipients | None) -> t.Suppress | None:
        about = self._the_message()
        record, content = about.record, about.content
        assert content is not None
        who = [as_recipient(r).copy() for r in (record.envelope.recipients if recipients is None else recipients)]
        reported = [Reported(one, _ACTIONS[kind], said.status, said.text, tried=self.server.now()) for one in who]
        facts = ReportFacts(
            About(self.server.hostname, record.id, record.envelope, record.received),
            self.server.new_id(),
            with_edits(record, content),
            record.envelope.sender,
            self.server.now(),
        )
        report = make_report(kind, facts, reported, ReportSettings())
        drawn = MessageRecord(facts.report_id, facts.now, report.envelope, "dsn", "internal", report.content.size, parent=record.id)
        self._notice = MessageWork(drawn, report.content, facts.report_id)
        notice_facts = self._transit()
        notice_facts.message = self._notice
        verdict = await self.put(event(notice_facts, about, tuple(who), tuple(said.text for _ in who)))
        return cast(t.Suppress | None, verdict)

    def _transit(self) -> Facts:
        """In transport the session is long gone."""
        work = self._the_message()
        if work.content is None:
            with_message(self, None, str(work.record.envelope.sender), list(work.record.envelope.recipients))
        return self.facts(session=False)
