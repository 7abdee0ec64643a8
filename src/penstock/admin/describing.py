"""Says of a message what a listing shows, and all that is known of it; the field names of a listing are those of ``postqueue -j``."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import PenstockError
from ..mail.content import Content
from ..mail.envelope import MailParameters, Recipient
from ..mail.header import split_header
from ..mail.message import with_edits
from .operations import Questions
from .protocol import Detail, MessageRow, RecipientDetail, RecipientRow
from .selecting import Kept

# More of a header than this is not shown; ``cat`` gives all.
MAX_HEADER = 128 * 1024
# Of one message's recipients, so many are listed; ``show`` says more of each and would pass the length of a line.
MAX_RECIPIENTS = 1000
# A reason may hold a whole reply of a remote server, which is a stranger's to choose.
MAX_REASON = 500
_FACTS = (
    "origin", "direction", "listener", "client_ip", "client_name", "helo", "user", "parent", "received", "size", "attempt", "deferrals",
    "generation", "depth", "message_class", "tried", "told",
)  # fmt: skip


def row(kept: Kept, source: Questions) -> MessageRow:
    """What a listing says of a message."""
    entry, record = kept.entry, kept.record
    recipients = record.envelope.recipients[:MAX_RECIPIENTS] if record is not None else []
    waits = kept.due > source.now()
    return MessageRow(
        queue_name="hold" if entry.held else "deferred" if waits else "active",
        queue_id=entry.id,
        arrival_time=int(record.received) if record is not None else 0,
        message_size=record.size if record is not None else 0,
        sender=str(record.envelope.sender) if record is not None else "",
        recipients=[RecipientRow(str(r.address), (entry.held or r.reason or kept.rests_for)[:MAX_REASON]) for r in recipients],
        queue=entry.queue,
        stage=entry.stage,
        # JSON has no word for a time that is not set.
        due=kept.due if kept.due < float("inf") else 0.0,
        reason=kept.reason[:MAX_REASON],
        attempts=record.deferrals if record is not None else 0,
        worker=source.worker,
    )


def detail(kept: Kept, source: Questions) -> Detail:
    """All that is known of a message."""
    record = kept.record
    if record is None:
        return Detail(row(kept, source), [], {}, _header(kept, source))
    parameters = record.envelope.parameters
    facts: dict[str, str | int | float | bool] = {name: getattr(record, name) for name in _FACTS}
    facts |= {"body": parameters.body, "smtputf8": parameters.smtputf8, "ret": parameters.ret, "envid": parameters.envid}
    facts |= {"parameters": _asked(parameters), "content": kept.entry.content}
    shown = [_recipient(r) for r in record.envelope.recipients[: MAX_RECIPIENTS // 2]]
    return Detail(row(kept, source), shown, facts, _header(kept, source))


def _asked(parameters: MailParameters) -> str:
    """What else MAIL asked for, as it would say it."""
    words = [f"{name}={value}" for name, value in parameters.other.items()]
    words += ["REQUIRETLS"] * parameters.requiretls
    words += [f"BY={parameters.by};{parameters.by_mode}{'T' * parameters.by_trace}"] * (parameters.by is not None)
    words += [f"HOLDFOR={parameters.hold_for}"] * (parameters.hold_for is not None)
    words += [f"HOLDUNTIL={parameters.hold_until}"] * bool(parameters.hold_until)
    words += [f"MT-PRIORITY={parameters.priority}"] * (parameters.priority is not None)
    words += [f"SOLICIT={','.join(sorted(parameters.solicit))}"] * bool(parameters.solicit)
    return " ".join(words)


def content(kept: Kept, source: Questions) -> Content:
    """The message as it is now: the header with what sinks edited, and the body as it came. Raises StorageDamaged."""
    whole = source.content(kept.entry)
    return whole if kept.record is None else with_edits(kept.record, whole)


def _recipient(recipient: Recipient) -> RecipientDetail:
    return RecipientDetail(
        str(recipient.address), recipient.original, recipient.orcpt, sorted(recipient.notify), recipient.route, recipient.variant,
        recipient.reason[:MAX_REASON], recipient.parameters,
    )  # fmt: skip


def _header(kept: Kept, source: Questions) -> str:
    return header_text(lambda: content(kept, source), MAX_HEADER)


def header_text(content_of: Callable[[], Content], most: int) -> str:
    """The header fields of a message as text, or why they cannot be read.

    Args:
        content_of: gives the message; may raise as reading it does.
        most: octets that are looked at.
    """
    try:
        fields, _ = split_header(content_of().read(0, most))
    except (PenstockError, OSError) as error:
        return f"(the content cannot be read: {error})"
    return fields.decode("utf-8", "replace").replace("\r\n", "\n")
