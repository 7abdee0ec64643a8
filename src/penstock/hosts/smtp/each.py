"""What becomes of single recipients when the content is known: the answer for each in LMTP and PRDR, and what stands for it elsewhere.

Who is refused is no longer in the envelope when the message is stored, so what a crash leaves is what was promised. Where the client takes
one reply for all, a refusal for now defers the whole message, of which nothing was stored, so that nobody gets it twice; a refusal for good
is stored with the message and becomes a DSN.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...events import verdict as v
from ...events.dispatch import Outcome
from ...events.work import MessageWork
from ...mail.envelope import Recipient
from ...mail.reply import Reply
from ...transport.refused import refused_route

Refused = tuple[Recipient, v.Reject | v.Defer, str]


def one_for_all(refused: Sequence[Refused], message: MessageWork) -> Outcome | None:
    """What a client hears that takes one reply for all, when it is a refusal; else those that were refused are back in the envelope.

    Args:
        refused: who was refused, how, and by which binding.
        message: the message without them.
    """
    envelope = message.record.envelope
    later = next(((verdict, by) for _, verdict, by in refused if isinstance(verdict, v.Defer)), None)
    if later is not None:
        return Outcome(*later)
    if not envelope.recipients and not message.forks:
        _, verdict, by = refused[0]
        return Outcome(verdict, by)
    for recipient, verdict, _ in refused:
        recipient.route = refused_route(verdict.enhanced or "5.7.1", verdict.text)
    envelope.recipients = [*envelope.recipients, *(recipient for recipient, _, _ in refused)]
    return None


def one_for_each(named: Sequence[str], refused: Sequence[Refused], accepted: Reply) -> tuple[list[Reply], Reply]:
    """The replies for the recipients, and the one that PRDR has for all.

    Args:
        named: for each accepted RCPT, the address that it gave; "" for one that a sink discarded.
        refused: who was refused.
        accepted: the reply for the others.
    """
    verdicts = {recipient.original: verdict for recipient, verdict, _ in refused}
    replies = [verdicts[name].reply if name in verdicts else accepted for name in named]
    if any(reply.is_positive for reply in replies):
        return replies, accepted
    # As in Exim: the last reply counts for all, so a 5xx would end the hope of those who are to be tried again.
    later = next((reply for reply in replies if not reply.is_permanent), None)
    return replies, later or Reply(550, "5.7.1", "Refused for all recipients")
