"""The part of a report that people read: words with gaps, ours or the administrator's.

``string.Template`` is all the language that such a text needs. Rejected: a template engine, whose loops and calls would make of a text for
senders a program that can fail while somebody's mail is at stake."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from string import Template
from typing import Literal, Self

from .report_fields import Reported
from .report_part import Part, encoded, safe

Kind = Literal["failed", "delayed", "success"]
GAPS = frozenset({"hostname", "id", "recipients", "arrived", "until", "returned"})
# So many recipients are named in the words; the fields name all.
_MOST_NAMED = 100

_OURS: dict[Kind, tuple[str, str]] = {
    "failed": (
        "Undelivered mail returned to sender",
        """This is the mail system at $hostname.

Your message could not be delivered to the following recipients.
The mail system will not try again.

$recipients

$returned is attached.
If you ask for help, please give this number: $id.
""",
    ),
    "delayed": (
        "Delayed mail: still trying",
        """This is the mail system at $hostname.

Your message of $arrived could not be delivered yet
to the following recipients. You need not send it again:
the mail system goes on trying until $until.

$recipients

$returned is attached.
If you ask for help, please give this number: $id.
""",
    ),
    "success": (
        "Successful mail delivery report",
        """This is the mail system at $hostname.

You asked to be told what became of your message.

$recipients

$returned is attached.
If you ask for help, please give this number: $id.
""",
    ),
}
_DONE = {
    "delivered": "delivered",
    "relayed": "passed on to a mail system that sends no such reports",
    "expanded": "passed on to the addresses that it stands for",
}


@dataclass(frozen=True, slots=True)
class Text:
    """The words of a report.

    Args:
        subject: the subject.
        body: the text, with gaps like ``$recipients``; ``$$`` is a dollar sign.

    Raises: ValueError for a gap that nobody knows, or a subject of more than one line.
    """

    subject: str
    body: str

    def __post_init__(self) -> None:
        template = Template(self.body)
        unknown = sorted(set(template.get_identifiers()) - GAPS) if template.is_valid() else ["$"]
        if unknown:
            known = ", ".join(f"${name}" for name in sorted(GAPS))
            raise ValueError(f"{unknown[0]!r} is none of the gaps of a report's text: {known}; a dollar sign is written $$")
        if not self.subject.strip() or not self.subject.isprintable() or len(self.subject) > 200:
            raise ValueError(f"{self.subject[:80]!r} is no subject: one line of at most 200 characters")

    @classmethod
    def of(cls, kind: Kind) -> Self:
        """Our words."""
        return cls(*_OURS[kind])

    @classmethod
    def parse(cls, kind: Kind, source: str) -> Self:
        """Words from a file: ``Subject: ...`` in the first line and an empty line before the text, or the text alone.

        Raises: ValueError.
        """
        first, _, rest = source.partition("\n")
        name, colon, subject = first.partition(":")
        if colon and name.strip().lower() == "subject":
            return cls(subject.strip(), rest.lstrip("\r\n"))
        return cls(_OURS[kind][0], source)


@dataclass(frozen=True, slots=True)
class Words:
    """What fills the gaps.

    Args:
        hostname: the reporting server.
        id: the queue id of the message.
        arrived: when it came, as text.
        until: up to when it is tried again, as text; "" for not at all.
        returned: what is attached, as the beginning of a sentence.
        reported: what became of whom.
    """

    hostname: str
    id: str
    arrived: str
    until: str
    returned: str
    reported: Sequence[Reported]


def text_part(words: Words, text: Text, utf8: bool) -> Part:
    """The part; its characters are all there, whatever the encoding."""
    lines = [_of_recipient(one) for one in words.reported[:_MOST_NAMED]]
    if len(words.reported) > _MOST_NAMED:
        lines.append(f"and {len(words.reported) - _MOST_NAMED} more")
    filled = Template(text.body).safe_substitute(
        hostname=safe(words.hostname, True),
        id=safe(words.id, True),
        arrived=words.arrived,
        until=words.until or "-",
        returned=words.returned,
        recipients="\n".join(lines),
    )
    data = "\r\n".join(filled.splitlines()).encode("utf-8", "replace") + b"\r\n"
    charset = "us-ascii" if data.isascii() else "utf-8"
    return Part(f"text/plain; charset={charset}", *encoded(data, utf8))


def _of_recipient(one: Reported) -> str:
    reason = _DONE.get(one.action) or _reason(one)
    if one.reply is None or one.action in _DONE or one.code != one.reply.enhanced:
        reason = f"{reason} ({one.code})"
    return f"<{safe(str(one.recipient.address), True)}>: {reason}"


def _reason(one: Reported) -> str:
    """Our words, and what the remote server said where they do not say it already."""
    ours, said = safe(one.text, True), safe(str(one.reply), True) if one.reply is not None else ""
    if said and one.remote:
        said = f"{safe(one.remote, True, 255)} said: {said}"
    if ours and said:
        return ours if said in ours else f"{ours}; {said}"
    return ours or said or "no reason was given"
