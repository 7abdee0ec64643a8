"""Transactions: one message over one session, as many MAIL as it takes.

The events come in the order of the commands: MessageStart before MAIL, PerRecipient before each RCPT, BeforeData before DATA or BDAT, and
ServerResponse on each reply. How much is grouped (RFC 2920) follows from who is bound:

    nobody at BeforeData or ServerResponse     MAIL, all RCPT and DATA leave in one write, whatever is asked before each of them
    somebody at BeforeData                     MAIL and all RCPT in one write; DATA when the accepted recipients are known
    somebody at ServerResponse                 MAIL alone; all RCPT in one write; DATA alone

so that a sink that decides about a reply finds no command sent that depends on it. A handler that sends a line of its own has all answers
before it taken first. BDAT is never grouped with RCPT: content that leaves before anybody is known to want it makes each lost connection
an uncertain one.
"""

from __future__ import annotations

import asyncio

from ..errors import LocalProtocolError, StorageDamaged
from ..events.dispatch import Outcome
from ..events.verdict import Disconnect
from ..events.verdict_transit import Retry, TreatAs
from ..mail.envelope import Recipient
from ..mail.reply import Reply
from ..wire.smtp.client_events import Answer, Closed, ContentAnswer, Fate
from ..wire.smtp.client_state import ClientState
from ..wire.smtp.outgoing import Data, Mail, Rcpt, Reset, Sendable
from .attempt import Attempt, Trouble
from .exchange import Said
from .passage import Passage
from .sending import send_content, send_nothing
from .session import Session

_SHUTTING_DOWN = 421


async def deliver(session: Session, attempt: Attempt) -> None:
    """Hands a message to a server, for all recipients that it answers for; the rest stays with the attempt.

    Raises: StorageDamaged, OSError when the content cannot be read; the session is over then.
    """
    attempt.server = session.server
    session.replies = 0
    timeouts, connection = session.settings.timeouts, session.connection
    size = attempt.work.content.size if attempt.work.content else 0
    connection.until = connection.time() + timeouts.transaction + size / timeouts.rate
    passage = Passage(session, attempt)
    session.message = passage.hop
    try:
        if session.look() and await passage.prepare():
            await _transactions(passage)
    except asyncio.CancelledError:
        # This server stops: what was sent to its end may have arrived, and that has to be remembered.
        connection.give_up("this server stops")
        session.settle_end()
        raise
    except LocalProtocolError as error:
        # A sink's line, or an address, that cannot be sent to this server.
        session.note(Trouble(f"a command could not be sent: {error}", "4.5.4", None, session.server))
        connection.give_up(str(error))
        attempt.give_up(session.trouble or Trouble(str(error)), wide=False)
    except (StorageDamaged, OSError) as error:
        session.note(Trouble(f"the content could not be read: {error}", "4.3.0", None, session.server))
        connection.give_up("the content could not be read")
        raise
    finally:
        session.message = session.listener = None
        connection.until = float("inf")


async def _transactions(passage: Passage) -> None:
    """As many transactions as it takes, since a server may take fewer recipients at a time than there are (RFC 5321 §4.5.3.1.10)."""
    attempt, session = passage.attempt, passage.session
    while attempt.left and not session.over and not session.is_spent:
        before = len(attempt.left)
        attempt.pause()
        await Transaction(passage).run()
        if len(attempt.left) == before and not session.over:
            attempt.give_up(Trouble("the server answered, and to nothing that was asked", "4.5.0", None, session.server), wide=False)


class Transaction:
    """One MAIL and what follows it; the session's listener meanwhile.

    Args:
        passage: the message.
    """

    __slots__ = (
        "_accepted", "_again", "_attempt", "_began", "_counted", "_ended", "_granted", "_passage", "_retried", "_session", "_vetoed",
    )  # fmt: skip

    def __init__(self, passage: Passage) -> None:
        self._passage = passage
        self._session = passage.session
        self._attempt: Attempt = passage.attempt
        self._began = passage.session.connection.time()
        # Recipients that the server took, in order, which is what LMTP's answers go by.
        self._accepted: list[Recipient] = []
        # Commands that a sink wants sent again, and those that were.
        self._again: list[Sendable] = []
        self._retried: set[int] = set()
        # MAIL was granted; the transaction is over for everybody; a recipient was taken by the server that a sink does not want it to have.
        self._granted = self._ended = self._vetoed = False
        self._counted = False

    async def run(self) -> None:
        """Says MAIL, RCPT and the content. Raises StorageDamaged, OSError, LocalProtocolError."""
        session, machine = self._session, self._session.machine
        session.listener = self
        if not session.look():
            return
        if machine.state is not ClientState.READY and not await self._put(Reset()):
            session.note(Trouble("RSET could not be sent", "4.5.0", None, session.server))
            return
        data_sent = await self._envelope()
        if session.over:
            return
        if data_sent:
            # It was answered already, and its answer heard.
            await self._content_if_asked()
        elif self._accepted and not self._vetoed and await self._passage.before_data(self._accepted):
            await self._data()

    async def _envelope(self) -> bool:
        """MAIL and RCPT, answered; True when DATA was grouped with them."""
        session, passage = self._session, self._passage
        hooks = session.context.hooks
        alone = bool(hooks.response)
        session.mails += 1
        await self._put(passage.mail)
        if alone:
            await self._settle()
        most = session.settings.limits.recipients
        most = min(most, session.machine.offered.limit("RCPTMAX") or most)
        sent = False
        for recipient in self._within_domains(self._attempt.left[:most]):
            if self._ended or session.over:
                break
            command = await passage.rcpt(recipient)
            if command is not None and not self._ended:
                if not await self._put(command):
                    break
                sent = True
        alone = alone or bool(hooks.before_data) or self._chunked or not session.settings.pipelining
        grouped = sent and not alone and not self._ended and session.machine.send_if_it_may(Data())
        await self._settle()
        return grouped

    def _within_domains(self, recipients: list[Recipient]) -> list[Recipient]:
        """Those of so many domains as the server takes in one transaction (RFC 9422 §4.3); the others come in a further one."""
        most = self._session.machine.offered.limit("RCPTDOMAINMAX")
        if not most:
            return recipients
        first = list(dict.fromkeys(recipient.address.domain for recipient in recipients))[:most]
        return [recipient for recipient in recipients if recipient.address.domain in first]

    async def _data(self) -> None:
        session = self._session
        if session.over:
            return
        if self._chunked:
            await send_content(session, self._passage.parcel, chunked=True)
            await session.settle()
        else:
            await self._put(Data())
            await self._settle()
            await self._content_if_asked()

    async def _content_if_asked(self) -> None:
        """Sends the content after a 354, and hears what becomes of it."""
        session = self._session
        # What came behind the 354 cannot be the answer to the content, and must not be taken for it.
        while not session.over and await session.step_if_any():
            pass
        if session.over or session.machine.state is not ClientState.GO_AHEAD:
            return
        if self._accepted:
            await send_content(session, self._passage.parcel, chunked=False)
        else:
            send_nothing(session)
        await session.settle()

    @property
    def _chunked(self) -> bool:
        """Whether the content goes as BDAT; not with a bare CR or LF, since its octets go as they are, but always where it is binary."""
        session, parcel = self._session, self._passage.parcel
        return parcel.binary or (session.settings.chunking and "CHUNKING" in session.machine.offered and parcel.clean)

    async def _settle(self) -> None:
        """Takes all answers, and sends again what sinks want sent again."""
        await self._session.settle()
        while self._again and not self._session.over:
            if await self._put(self._again.pop(0)):
                await self._session.settle()

    async def _put(self, command: Sendable) -> bool:
        """Sends a command as soon as it may be sent; False when it never may."""
        session = self._session
        while (not session.settings.pipelining and session.machine.oldest is not None) or not session.machine.send_if_it_may(command):
            if session.machine.oldest is None:
                return False
            await session.step()
        return True

    # What the session calls.

    def recipient_of(self, index: int) -> Recipient | None:
        """The accepted recipient with this number."""
        return self._accepted[index] if index < len(self._accepted) else None

    def hear(self, said: Said) -> None:
        """An answer, or the end."""
        event = said.event
        if isinstance(event, Answer):
            command = event.command
            if isinstance(command, Rcpt):
                self._hear_rcpt(command, event.reply, said)
            elif isinstance(command, Mail):
                self._hear_mail(command, event.reply, said)
            elif isinstance(command, Data):
                self._hear_data(command, event.reply, said)
        elif isinstance(event, ContentAnswer):
            self._hear_content(event, said)
        elif isinstance(event, Closed) and event.fate is Fate.UNCERTAIN:
            trouble = self._session.trouble or Trouble(event.ending.value, "4.4.2", None, self._session.server)
            self._attempt.lose(self._still_left(self._accepted), trouble)

    def _hear_mail(self, command: Mail, reply: Reply, said: Said) -> None:
        granted = reply.code // 100 == 2
        if self._sends_again(command, granted, said) or self._obeys(said, list(self._attempt.left)):
            self._ended = not self._again
        elif said.reply.code // 100 == 2:
            if not granted:
                self._session.machine.treat_as_accepted()
            self._granted = True
        else:
            self._ended = True
            self._refuse(list(self._attempt.left), said.reply, "MAIL FROM")

    def _hear_rcpt(self, command: Rcpt, reply: Reply, said: Said) -> None:
        if not self._granted:
            # After a refused MAIL, what is said to a RCPT is about the missing MAIL.
            return
        granted = reply.code // 100 == 2
        if self._sends_again(command, granted, said):
            return
        recipient = command.recipient
        if self._obeys(said, [recipient]):
            self._vetoed = self._vetoed or granted
        elif said.reply.code // 100 == 2:
            if granted or self._treats_as_accepted(said):
                self._accepted.append(recipient)
            else:
                self._refuse([recipient], reply, "RCPT TO")
        elif self._is_one_too_many(said.reply) and not granted:
            # It stays with the attempt, for a further transaction.
            return
        else:
            self._vetoed = self._vetoed or granted
            self._refuse([recipient], said.reply, "RCPT TO")

    def _treats_as_accepted(self, said: Said) -> bool:
        try:
            self._session.machine.treat_as_accepted()
        except LocalProtocolError as error:
            self._session.disobey(said.outcome, str(error))
            return False
        return True

    def _hear_data(self, command: Data, reply: Reply, said: Said) -> None:
        recipients = self._still_left(self._accepted)
        if not recipients:
            return
        granted = reply.code // 100 == 3
        if self._sends_again(command, granted, said):
            return
        answer = said.reply
        if not granted and answer.is_positive and answer is not reply:
            self._session.disobey(said.outcome, "nobody but the server can ask for the content")
            answer = reply
        if self._obeys(said, recipients) or not answer.is_positive:
            self._refuse(self._still_left(recipients), answer, "DATA")
            if granted:
                # There is no way back from a 354 but to hang up: a dot would be a message.
                self._session.connection.give_up("a sink ended the transaction after the server had asked for the content")
                self._session.note(Trouble("a sink ended the transaction", "4.3.2", answer, self._session.server))

    def _hear_content(self, event: ContentAnswer, said: Said) -> None:
        one = self.recipient_of(event.recipient) if event.recipient is not None else None
        recipients = self._still_left([one] if one is not None else self._accepted)
        if not recipients:
            return
        sent = self._session.connection.time() - self._began
        if event.reply.code // 100 == 2:
            # The server has the message. Whatever a sink says, sending it again or bouncing it would be wrong now.
            if said.outcome.verdict is not None and not isinstance(said.outcome.verdict, Disconnect):
                self._session.disobey(said.outcome, "the server has taken the message")
            self._count(len(recipients))
            self._attempt.answer(recipients, event.reply, "the content", sent)
            if isinstance(said.outcome.verdict, Disconnect):
                self._session.note(self._session.decided(said))
            return
        if isinstance(said.outcome.verdict, Retry):
            self._session.disobey(said.outcome, "content cannot be sent again within its transaction")
        elif self._obeys(said, recipients):
            return
        if said.reply.code // 100 == 3:
            self._session.disobey(said.outcome, "3xx answers no content")
            self._refuse(recipients, event.reply, "the content")
        elif said.reply.is_positive:
            self._attempt.answer(recipients, said.reply, "the content", sent)
        else:
            self._refuse(recipients, said.reply, "the content")

    # What an answer leads to.

    def _refuse(self, recipients: list[Recipient], reply: Reply, verb: str) -> None:
        """A refusal; a server that is about to go away has said nothing about the mail, so another may be asked."""
        if reply.is_positive:
            # A reply that answers nothing of the kind, a 354 to MAIL, say: the machine gives up the session next.
            return
        if reply.code == _SHUTTING_DOWN:
            self._session.note(Trouble(f"the server goes away, in reply to {verb}", "4.3.2", reply, self._session.server))
        else:
            self._attempt.answer(recipients, reply, verb)

    def _obeys(self, said: Said, recipients: list[Recipient]) -> bool:
        """Does what a sink decided about these; False when it decided nothing."""
        verdict = said.outcome.verdict
        if verdict is None or isinstance(verdict, TreatAs | Retry):
            return False
        if isinstance(verdict, Disconnect):
            self._session.note(self._session.decided(said))
        else:
            self._attempt.decide(recipients, said.outcome, said.reply)
        return True

    def _sends_again(self, command: Sendable, granted: bool, said: Said) -> bool:
        """Whether a sink wants a refused command sent again, which is done once."""
        outcome: Outcome = said.outcome
        if not isinstance(outcome.verdict, Retry):
            return False
        key = id(command.recipient) if isinstance(command, Rcpt) else id(type(command))
        if granted or key in self._retried:
            self._session.disobey(outcome, "it was granted" if granted else "it was sent again once")
            return False
        again = self._session.again(command, outcome)
        if again is None:
            return False
        self._retried.add(key)
        self._again.append(again)
        return True

    def _is_one_too_many(self, reply: Reply) -> bool:
        """Whether a RCPT was refused only because there are enough recipients already.

        552 too: "the client SHOULD treat a 552 response in this case as a temporary, rather than permanent, failure" (RFC 5321
        §4.5.3.1.10).
        Without an enhanced code it may be about this mailbox alone; then the further transaction says so.
        """
        return reply.code in (452, 552) and bool(self._accepted) and reply.enhanced[1:] in ("", ".5.3")

    def _still_left(self, recipients: list[Recipient]) -> list[Recipient]:
        left = {id(recipient) for recipient in self._attempt.left}
        return [recipient for recipient in recipients if id(recipient) in left]

    def _count(self, recipients: int) -> None:
        work = self._session.work
        work.messages += not self._counted
        work.recipients += recipients
        self._counted = True
