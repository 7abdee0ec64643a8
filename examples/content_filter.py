"""Scores each message by words, senders and the names of attachments; refuses the worst, puts the bad aside, and marks the rest.

Bind it with:

    [[binding]]
    name = "content-filter"
    sink = "content_filter:ContentFilter"
    match = { authenticated = false }
    settings = { words = { "free money" = 3.0 }, senders = { "*.bulk.example" = 2.0 }, attachments = { "*.exe" = 9.0 } }
"""

from dataclasses import dataclass, field
from email.message import MIMEPart
from fnmatch import fnmatch

from penstock import Sink, on
from penstock.events import EndOfData
from penstock.verdicts import Quarantine, Reject


@dataclass(frozen=True, slots=True)
class ContentFilterSettings:
    """What counts for how much, and what follows.

    Args:
        words: points for each that is found in subject or text.
        senders: points by pattern of the sender's domain; may be below zero.
        attachments: points by pattern of a file's name.
        quarantine: from so many points on the message is put aside.
        reject: from so many on it is refused.
    """

    words: dict[str, float] = field(default_factory=dict)
    senders: dict[str, float] = field(default_factory=dict)
    attachments: dict[str, float] = field(default_factory=dict)
    quarantine: float = 4.0
    reject: float = 8.0


class ContentFilter(Sink[ContentFilterSettings]):
    """Judges while the client waits: who is refused by mistake hears of it."""

    @on(EndOfData)
    async def judge(self, event: EndOfData) -> Reject | Quarantine | None:
        """Mail programs and users' own filters go by the score in the header."""
        parsed = await event.message.parse()
        body = parsed.get_body(("plain", "html"))
        text = f"{event.message.header.get('Subject', '')}\n{_text(body)}".lower()
        names = [(part.get_filename() or "").lower() for part in parsed.walk()]
        settings, domain = self.settings, event.message.sender.domain
        found = [points for word, points in settings.words.items() if word.lower() in text]
        found += [points for pattern, points in settings.senders.items() if fnmatch(domain, pattern)]
        found += [points for pattern, points in settings.attachments.items() if any(fnmatch(name, pattern) for name in names)]
        score = sum(found)
        if score >= settings.reject:
            return Reject(550, "5.7.1", "The message looks like spam")
        if score >= settings.quarantine:
            return Quarantine(f"score {score:g}")
        event.message.header.replace("X-Spam-Score", f"{score:g}")
        return None


def _text(part: MIMEPart | None) -> str:
    """The text of a part; where its character set is none that there is, every octet counts for a character."""
    raw = part.get_payload(decode=True) if part is not None else None
    if part is None or not isinstance(raw, bytes):
        return ""
    try:
        return raw.decode(part.get_content_charset("utf-8"), "replace")
    except (LookupError, ValueError):
        return raw.decode("latin-1")
