"""Variants: the parts of a message whose recipients need different handling, such as members of a list, whose reports go to its owner.

Each becomes a message of its own when its addresses are resolved. They share one content; what differs is in the record alone."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from ..errors import AddressError
from ..events.work import MessageWork
from ..mail.address import Address
from ..mail.envelope import Envelope, Recipient


def groups_of(work: MessageWork) -> tuple[tuple[Recipient, ...], ...]:
    """The recipients of each variant, those of the common one first, which may be none."""
    groups: dict[str, list[Recipient]] = {"": []}
    for recipient in work.record.envelope.recipients:
        groups.setdefault(recipient.variant, []).append(recipient)
    return tuple(tuple(group) for group in groups.values())


def split_variants(work: MessageWork, new_id: Callable[[], str]) -> list[MessageWork]:
    """The message itself with its first variant, and a copy for each further one."""
    groups: dict[str, list[Recipient]] = {}
    for recipient in work.record.envelope.recipients:
        groups.setdefault(recipient.variant, []).append(recipient)
    if not groups or (list(groups) == [""] and not work.record.variants):
        return [work]
    senders, parts = work.record.variants, []
    # The common one stays the message, where there is a common one.
    for number, variant in enumerate(sorted(groups, key=bool)):
        part = work if number == 0 else copy_of(work, new_id())
        parts.append((part, variant, groups[variant]))
    for part, variant, recipients in parts:
        record = part.record
        record.variants = {}
        record.envelope = msgspec.structs.replace(record.envelope, recipients=recipients)
        if variant in senders:
            _hand_over(record.envelope, senders[variant])
        for recipient in recipients:
            recipient.variant = ""
        part.dirty = True
    return [part for part, _, _ in parts]


def _hand_over(envelope: Envelope, sender: str) -> None:
    """Makes somebody else the sender, who asked for nothing: ENVID and RET are not passed on (RFC 3461 §5.2.7.1)."""
    try:
        envelope.sender = Address.parse(sender)
    except AddressError:  # a sink may write anything into the record
        return
    envelope.parameters = msgspec.structs.replace(envelope.parameters, envid="", ret="")


def copy_of(work: MessageWork, message_id: str) -> MessageWork:
    """The same message under another id, for a part of its recipients; the content is shared."""
    record = msgspec.structs.replace(work.record, id=message_id, parent=work.record.id)
    copy = MessageWork(record, work.content, work.content_id)
    copy.rewritten = work.rewritten
    return copy


def with_recipients(work: MessageWork, recipients: list[Recipient]) -> MessageWork:
    """The message with these recipients in the place of those it had."""
    work.record.envelope = msgspec.structs.replace(work.record.envelope, recipients=recipients)
    return work
