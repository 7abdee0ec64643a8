"""Puts a disclaimer below mail that leaves the house: in its text and in its HTML, once in a thread, and never into signed mail.

Bind it with:

    [[binding]]
    name = "disclaimer"
    sink = "disclaimer:Disclaimer"
    match = { sender = "*@example.com" }
    settings = { domains = ["example.com"], text = "Example Ltd, 1 Main Street", html = "<p>Example Ltd, 1 Main Street</p>" }
"""

import base64
import binascii
import email.message
import re
from dataclasses import dataclass

from penstock import Sink, on
from penstock.events import Submission

_SEALED = ("multipart/signed", "multipart/encrypted", "multipart/report")


@dataclass(frozen=True, slots=True)
class DisclaimerSettings:
    """What is added.

    Args:
        domains: our own; who is there reads the message without it.
        text: for text, in ASCII, so that it fits into every character set.
        html: for HTML, in ASCII, with entities for the rest.
    """

    domains: list[str]
    text: str
    html: str


class Disclaimer(Sink[DisclaimerSettings]):
    """Edits the first text and its HTML alternative, and not an octet elsewhere; what it cannot read it leaves alone."""

    def __init__(self, settings: DisclaimerSettings) -> None:
        super().__init__(settings)
        if not (settings.text + settings.html).isascii():
            raise ValueError("text and html: write them in ASCII")
        self._said = (_words(settings.text), _words(settings.html))

    @on(Submission)
    async def add(self, event: Submission) -> None:
        """Colleagues get the message as it is, so whoever is outside gets a copy of his own."""
        message = event.message
        outside = [recipient for recipient in message.recipients if recipient.address.domain not in self.settings.domains]
        before = await message.read()
        if not outside or "DKIM-Signature" in message.header or (after := self._edited(before)) == before:
            return
        (message if len(outside) == len(message.recipients) else message.fork(outside)).replace_content(after)

    def _edited(self, entity: bytes) -> bytes:
        """A MIME entity with the disclaimer, or as it was."""
        head, empty, body = entity.partition(b"\r\n\r\n") if entity[:2] != b"\r\n" else (b"", b"\r\n", entity[2:])
        part = email.message_from_bytes(head + empty)
        if part.get_content_type() in _SEALED or part.get_content_disposition() == "attachment":
            return entity
        if (boundary := part.get_boundary()) is None:
            return head + empty + self._added(email.message_from_bytes(entity), body)
        pieces = re.split(rb"((?:^|\r\n)--%b(?:--)?[ \t]*(?:\r\n|\Z))" % re.escape(boundary.encode()), body)
        # The first part is what is read; of alternatives, all are.
        last = len(pieces) - 1 if part.get_content_type() == "multipart/alternative" else 4
        pieces[2:last:2] = [self._edited(piece) for piece in pieces[2:last:2]]
        return head + empty + b"".join(pieces)

    def _added(self, part: email.message.Message, body: bytes) -> bytes:
        encoding = str(part.get("Content-Transfer-Encoding", "7bit")).strip().lower()
        charset, raw = part.get_content_charset("us-ascii"), part.get_payload(decode=True)
        try:
            text = raw.decode(charset) if isinstance(raw, bytes) else ""
        except (LookupError, ValueError):
            return body
        if not text or any(said in _words(text) for said in self._said) or "-----BEGIN PGP" in text:
            return body
        if part.get_content_type() == "text/plain":
            text = text.rstrip() + f"\r\n\r\n{self.settings.text}\r\n"
        elif part.get_content_type() == "text/html":
            cut = text.lower().rfind("</body>") if "</body>" in text.lower() else len(text)
            text = text[:cut] + self.settings.html + text[cut:]
        else:
            return body
        raw = text.encode(charset)
        if encoding == "base64":
            return base64.encodebytes(raw).replace(b"\n", b"\r\n")
        return binascii.b2a_qp(raw) if encoding == "quoted-printable" else raw


def _words(text: str) -> str:
    """What is said, however a reply quotes it."""
    return " ".join(re.sub(r"<[^>]*>|>", " ", text).split())
