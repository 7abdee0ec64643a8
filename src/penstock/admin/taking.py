"""Takes a message that a local program hands in, as ``sendmail`` does: the content as it comes, durable before the answer.

It enters transport where mail by SMTP does after its 250. The events of a session are not asked, for there is none.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from ..errors import AddressError
from ..events.work import MessageWork
from ..hosts.smtp.intake import Intake, Memory
from ..hosts.smtp.received import mail_date
from ..mail.address import Address
from ..mail.content import Content
from ..mail.envelope import NOTIFY_VALUES, Envelope, MailParameters, Recipient
from ..mail.header import HEADER_LOOK, Section, split_header
from ..mail.message import MessageRecord
from .operations import Operations
from .protocol import ControlError, Submit

IN_MEMORY = 1024 * 1024


@dataclass(frozen=True, slots=True)
class TakingLimits:
    """What is taken.

    Args:
        message_size: octets of one message.
        recipients: recipients of one message.
        hops: Received fields at which a message is taken to loop: a program that answers mail by sendmail may answer itself.
    """

    message_size: int = 25 * 1024 * 1024
    recipients: int = 1000
    hops: int = 50


@dataclass(slots=True)
class Taking:
    """What hands in messages.

    Args:
        operations: the worker.
        limits: what is taken.
    """

    operations: Operations
    limits: TakingLimits
    memory: Memory = field(default_factory=lambda: Memory(16 * 1024 * 1024, 128 * 1024 * 1024))

    async def take(self, asked: Submit, pieces: AsyncIterator[bytes], user: tuple[str, int]) -> str:
        """Takes one message; its id, when it is durable.

        Args:
            asked: the envelope.
            pieces: the content as it comes; an empty one is the last.
            user: the name and number of who hands it in.

        Raises: ControlError for what can never be taken; StorageUnavailable.
        """
        if self.memory.is_full:
            raise ControlError("later", "too much mail is handed in at once")
        record = self._record(asked, user[0])
        intake = Intake(self.operations.incoming, self._received(record, user[1]), IN_MEMORY, self.memory)
        try:
            async for piece in pieces:
                if not piece:
                    break
                if intake.add(piece):
                    await intake.flush()
                if intake.size > self.limits.message_size:
                    raise ControlError("data", f"the message has more than {self.limits.message_size} octets")
            content = await intake.finish() if intake.spilled else intake.content()
            self._must_not_loop(content)
            record.size = content.size
            return await self.operations.submit(MessageWork(record, content))
        finally:
            # What was committed stays; what is in memory is the message's from here on.
            intake.abort()

    def _record(self, asked: Submit, user: str) -> MessageRecord:
        limits, operations = self.limits, self.operations
        if not asked.recipients:
            raise ControlError("data", "a message needs at least one recipient")
        if len(asked.recipients) > limits.recipients:
            raise ControlError("data", f"{len(asked.recipients)} recipients are more than {limits.recipients} that a message may have")
        try:
            sender = Address.parse(asked.sender)
            addresses = list(dict.fromkeys(Address.parse(text) for text in asked.recipients))
        except AddressError as error:
            raise ControlError("data", str(error)) from None
        if any(address.is_null for address in addresses):
            raise ControlError("data", "a recipient is empty")
        notify = frozenset(asked.notify)
        if not notify <= NOTIFY_VALUES or ("never" in notify and len(notify) > 1):
            raise ControlError("usage", "NOTIFY is never, or some of success, failure and delay")
        recipients = [Recipient(address, str(address), notify) for address in addresses]
        parameters = MailParameters(body=asked.body, smtputf8=asked.smtputf8, ret=asked.ret, envid=asked.envid[:100])
        return MessageRecord(
            id=operations.new_id(),
            received=operations.now(),
            envelope=Envelope(sender, recipients, parameters),
            origin="submission-api",
            direction="out",
            user=user,
        )

    def _received(self, record: MessageRecord, uid: int) -> bytes:
        """The trace field. RFC 5321 §4.4 asks for "from" of SMTP alone; that of local programs names the user, as is the custom."""
        name = self.operations.hostname
        return f"Received: by {name} (Penstock, from userid {uid})\r\n\tid {record.id};\r\n\t{mail_date(int(record.received))}\r\n".encode()

    def _must_not_loop(self, content: Content) -> None:
        fields, _ = split_header(content.read(0, HEADER_LOOK))
        if len(Section(fields).starts("Received")) > self.limits.hops:
            raise ControlError("data", "too many hops, the message is looping")
