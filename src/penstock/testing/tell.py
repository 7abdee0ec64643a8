"""The reports of transport and of the server, each as a method that returns when the sink was told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..events import reports
from ..events.reports import Told
from ..events.views import MessageSnapshot
from ..events.work import Facts
from ..mail.address import Address
from ..mail.envelope import Recipient
from .asking import Asking, as_recipient
from .stand_in import ReplyLike, as_reply


class Tell(Asking):
    """What became of a recipient, of a message, of a queue, of the server."""

    async def delivered(self, recipient: str | Recipient | None = None, where: str = "mailbox", status: str = "2.0.0") -> None:
        """A recipient was delivered to, here."""
        await self._attempted(reports.DeliveredReport, recipient, Told(where, status))

    async def relayed(
        self, recipient: str | Recipient | None = None, where: str = "mx.example.net", reply: ReplyLike = "250 2.0.0 Ok"
    ) -> None:
        """Another server took responsibility for a recipient."""
        said = as_reply(reply)
        await self._attempted(reports.Relayed, recipient, Told(where, said.enhanced, said.text, said))

    async def failed(
        self, recipient: str | Recipient | None = None, where: str = "mx.example.net", reply: ReplyLike = "550 5.1.1 No such user"
    ) -> None:
        """A recipient cannot be delivered to."""
        said = as_reply(reply)
        await self._attempted(reports.Failed, recipient, Told(where, said.enhanced, said.text, said))

    async def expired(
        self, recipient: str | Recipient | None = None, where: str = "mx.example.net", status: str = "4.4.7", text: str = "No answer"
    ) -> None:
        """A recipient is given up, since it could not be delivered to for too long."""
        await self._attempted(reports.Expired, recipient, Told(where, status, text))

    async def deferred(
        self,
        recipient: str | Recipient | None = None,
        where: str = "mx.example.net",
        reply: ReplyLike = "451 4.3.0 Try again later",
        until: float = 0.0,
    ) -> None:
        """A recipient is tried again later; ``until`` is when, in seconds since 1970, or 0 when its queue decides."""
        said = as_reply(reply)
        told = Told(where, said.enhanced, said.text, said)
        await self.put(reports.Deferred(self._about(), self._shown(), self._who(recipient), told, until))

    async def expanded(self, recipient: str | Recipient | None = None, members: Iterable[str] = ()) -> None:
        """A recipient was replaced by others."""
        listed = tuple(Address.parse(member) for member in members)
        await self.put(reports.Expanded(self._about(), self._shown(), self._who(recipient), listed))

    async def dropped(self, recipient: str | Recipient | None = None, reason: str = "", by: str = "administrator") -> None:
        """A recipient was dropped without a report to the sender."""
        await self.put(reports.Dropped(self._about(), self._shown(), self._who(recipient), reason, by))

    async def quarantined(self, recipient: str | Recipient | None = None, reason: str = "", by: str = "administrator") -> None:
        """A message was put aside for one of its recipients."""
        await self.put(reports.Quarantined(self._about(), self._shown(), self._who(recipient), reason, by))

    async def tracked(self, step: reports.Step = reports.Step.SUBMITTED, details: Mapping[str, object] | None = None) -> None:
        """One trackable step of the message."""
        await self.put(reports.Tracked(self._about(), self._shown(), step, dict(details or {})))

    async def queue_state_changed(
        self, queue: str = "mx:example.net", state: str = "backing-off", reason: str = "refused", until: float = 0.0
    ) -> None:
        """A queue changed its state; ``until`` is when it goes on, in seconds since 1970, 0 when that is not known."""
        await self.put(reports.QueueStateChanged(self._server_facts(), queue, state, reason, until))

    async def routes_changed(self, moved: int = 0) -> None:
        """Next hops were computed again, and so many messages got another."""
        await self.put(reports.RoutesChanged(self._server_facts(), moved))

    async def config_changed(self, generation: int = 2, changed: tuple[str, ...] = ()) -> None:
        """The worker has reloaded: the number of the bindings in force, and the names of those that changed."""
        await self.put(reports.ConfigChanged(self._server_facts(), generation, changed))

    async def server_started(self) -> None:
        """The worker accepts connections."""
        await self.put(reports.ServerStarted(self._server_facts()))

    async def server_stopping(self) -> None:
        """The worker takes no new sessions any more."""
        await self.put(reports.ServerStopping(self._server_facts()))

    async def _attempted(self, report: type[reports.Attempted], recipient: str | Recipient | None, told: Told) -> None:
        await self.put(report(self._about(), self._shown(), self._who(recipient), told))

    def _server_facts(self) -> Facts:
        return self.facts(session=False, message=False)

    def _about(self) -> Facts:
        return self.facts(session=False)

    def _shown(self) -> MessageSnapshot:
        return MessageSnapshot.of(self._the_message())

    def _who(self, recipient: str | Recipient | None) -> Recipient:
        return as_recipient(recipient) if recipient is not None else self._the_message().record.envelope.recipients[0]
