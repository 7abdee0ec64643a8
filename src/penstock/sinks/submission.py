"""What a message submission agent does to a message of its users before it goes out into the world (RFC 6409 §6, §8).

It adds fields that have to be there and takes away Bcc, and nothing else: every other octet stays, or signatures would break. At the end of
data and not in transport, since what is wrong is refused while the user's program still listens.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Literal

from penstock import Address, Sink, on
from penstock.events import EndOfData, MailFrom
from penstock.verdicts import Reject

from .mailboxes import mailboxes
from .senders import Senders, SendersSettings

# What a sink that was asked before may say in the message's shared state of this name: {"sender": "allowed", "from": "allowed"}.
SHARED, ALLOWED = "submission", "allowed"

CheckFrom = Literal["off", "sender", "refuse"]
NullSender = Literal["reports", "yes", "no"]
_NO_FROM = Reject(554, "5.6.0", "The message has no From field")
_MANY_FROM = Reject(554, "5.6.0", "The message has more than one From field")
_BAD_FROM = Reject(554, "5.6.0", "The From field cannot be understood")
_NOT_YOUR_SENDER = Reject(550, "5.7.1", "This user may not send from that address")
_NOT_YOURS = Reject(550, "5.7.1", "This user may not send with that address in the From field")
_NO_NULL = Reject(550, "5.7.1", "Only reports may be sent without a sender")


@dataclass(frozen=True, slots=True)
class SubmissionSettings:
    """What is done to messages of our users.

    Args:
        rights: who may send as whom.
        add_missing: From, Date and Message-ID are added where a client left them out.
        drop_fields: fields that are taken away.
        check_from: what happens when an address in From is not the user's: nothing ("off"), a Sender field says whose message it is
            ("sender"), or it is refused ("refuse").
        null_sender: what may come without a sender: reports and automatic answers ("reports"), everything ("yes") or nothing ("no").
    """

    rights: SendersSettings = field(default_factory=SendersSettings)
    add_missing: bool = True
    drop_fields: list[str] = field(default_factory=lambda: ["Bcc", "Resent-Bcc"])
    check_from: CheckFrom = "off"
    null_sender: NullSender = "reports"


class Submitted(Sink[SubmissionSettings]):
    """Completes messages of authenticated users, and refuses what they may not send.

    A sink that is asked before may let a sender pass, as ``event.message.shared("submission")["sender"] = "allowed"`` at MailFrom.

    Raises: ValueError, ConfigError as Senders does.
    """

    def __init__(self, settings: SubmissionSettings) -> None:
        super().__init__(settings)
        self._senders = Senders(settings.rights)

    async def start(self) -> None:
        self._senders.start(self._say)

    async def stop(self) -> None:
        await self._senders.stop()

    def _say(self, path: str, error: str) -> None:
        if error:
            self.log.error("file of senders is wrong, what was read before stays in force", error=error)
        else:
            self.log.info("file of senders read", path=path)

    @on(MailFrom, blocking=False)
    def check(self, event: MailFrom) -> Reject | None:
        """Goes on when the sender is the user's; whether there may be none is known when the content is."""
        sender = event.sender
        if sender.is_null:
            return _NO_NULL if self.settings.null_sender == "no" else None
        if self._senders.may_send(event.session.user, sender) or event.message.shared(SHARED).get("sender") == ALLOWED:
            return None
        return _NOT_YOUR_SENDER

    @on(EndOfData, blocking=False)
    def complete(self, event: EndOfData) -> Reject | None:
        """Refuses what may not go out, or makes the header complete."""
        refusal = self._refusal(event)
        if refusal is not None:
            return refusal
        header = event.message.header
        for name in self.settings.drop_fields:
            if name in header:
                header.remove(name)
        if self.settings.add_missing:
            _add_missing(event)
        return None

    def _refusal(self, event: EndOfData) -> Reject | None:
        header, sender = event.message.header, event.message.sender
        if sender.is_null and not self._may_be_null(event):
            return _NO_NULL
        fields = header.fields("From")
        if len(fields) > 1:
            return _MANY_FROM
        if not fields:
            # What is beyond ASCII has no place in a field that is not the client's own.
            return None if self.settings.add_missing and not sender.is_null and str(sender).isascii() else _NO_FROM
        return self._check_from(event, fields[0].plain) if self.settings.check_from != "off" else None

    def _may_be_null(self, event: EndOfData) -> bool:
        """RFC 8098 §3 and RFC 3834 §3.3 have reports and automatic answers sent without a sender, by mail programs too."""
        if self.settings.null_sender != "reports":
            return self.settings.null_sender == "yes"
        header = event.message.header
        kind = header.get("Content-Type", "").partition(";")[0].strip().lower()
        return kind == "multipart/report" or header.get("Auto-Submitted", "no").partition(";")[0].strip().lower() != "no"

    def _check_from(self, event: EndOfData, value: str) -> Reject | None:
        addresses = mailboxes(value)
        if addresses is None:
            return _BAD_FROM
        user = event.session.user
        if event.message.shared(SHARED).get("from") == ALLOWED or all(self._senders.may_send(user, one) for one in addresses):
            return None
        sender = event.message.sender
        if self.settings.check_from == "refuse" or sender.is_null or not str(sender).isascii():
            return _NOT_YOURS
        # RFC 6409 §8.1: "The MSA MAY add or replace the 'Sender' field, if the identity of the sender is known and this is not given in
        # the 'From' field."
        event.message.header.replace("Sender", _written(sender))
        return None


def _add_missing(event: EndOfData) -> None:
    """RFC 6409 §8.2, §8.3; From too, as Postfix and Exim do, whose absence RFC 5322 §3.6 does not allow."""
    header = event.message.header
    if "From" not in header:
        header.add("From", _written(event.message.sender))
    if "Date" not in header:
        header.add("Date", format_datetime(datetime.now(UTC)))
    if "Message-ID" not in header:
        header.add("Message-ID", f"<{event.message.id}@{event.server.hostname}>")


def _written(address: Address) -> str:
    """An address as a header field has it."""
    return f"<{address}>"
