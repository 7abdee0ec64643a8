"""The message that ``penstock send`` sends: written from options, or a file as it is.

A file goes out to the octet, but for line ends, so that what is tried is the file and not our opinion of it.
"""

from __future__ import annotations

import email.policy
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from pathlib import Path

from ..errors import AddressError, HeaderError
from ..mail.address import Address
from ..mail.header import make_field, split_header
from .exits import EX_DATAERR, EX_NOINPUT, EX_USAGE, Stop

_LINE_END = re.compile(rb"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class Words:
    """What the options say of the message; None where they say nothing.

    Args:
        subject: the subject.
        body: the text; "-" for standard input.
        file: a whole message; "-" for standard input.
        headers: further header fields, each as ``Name: value``.
    """

    subject: str | None
    body: str | None
    file: str | None
    headers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Letter:
    """One message and its envelope.

    Args:
        sender: the reverse-path.
        recipients: at least one.
        content: header and body, with CRLF line ends.
    """

    sender: Address
    recipients: tuple[Address, ...]
    content: bytes


def write(sender: str, to: Sequence[str], words: Words, helo: str) -> Letter:
    """The letter that the options describe. Raises Stop."""
    recipients = tuple(_address("--to", text) for text in to)
    for recipient in recipients:
        if recipient.is_null:
            raise Stop(EX_USAGE, "--to: a recipient cannot be the null path")
    origin = _address("--from", sender)
    fields = b"".join(_field(text) for text in words.headers)
    if words.file is None:
        return Letter(origin, recipients, _with_fields(fields, _written(origin, recipients, words, helo)))
    if words.subject is not None or words.body is not None:
        raise Stop(EX_USAGE, "--file is a whole message; --subject and --body do not go with it", "use --header to add a field")
    return Letter(origin, recipients, fields + _read(words.file))


def _address(option: str, text: str) -> Address:
    try:
        return Address.parse(text)
    except AddressError as error:
        raise Stop(EX_USAGE, f"{option}: {error}", "an address looks like alice@example.com") from None


def _field(text: str) -> bytes:
    name, colon, value = text.partition(":")
    try:
        if not colon:
            raise HeaderError(f"there is no colon in {text!r}")
        return make_field(name.strip(), value.strip()).raw
    except HeaderError as error:
        raise Stop(EX_USAGE, f"--header: {error}", "a header field looks like 'X-Colour: blue'") from None


def _written(sender: Address, recipients: Sequence[Address], words: Words, helo: str) -> bytes:
    message = EmailMessage(policy=email.policy.SMTPUTF8)
    message["Date"] = formatdate(localtime=True)
    message["From"] = f"<{sender}>" if not sender.is_null else "MAILER-DAEMON"
    message["To"] = ", ".join(f"<{recipient}>" for recipient in recipients)
    try:
        message["Subject"] = words.subject if words.subject is not None else "A message to try things"
    except ValueError as error:
        raise Stop(EX_USAGE, f"--subject: {error}") from None
    message["Message-ID"] = make_msgid(domain=helo.strip("[]") or "client.example")
    text = sys.stdin.read() if words.body == "-" else words.body if words.body is not None else "Sent by penstock send."
    message.set_content(text if text.endswith("\n") else f"{text}\n", cte="8bit" if not text.isascii() else None)
    return message.as_bytes()


def _with_fields(fields: bytes, content: bytes) -> bytes:
    """The content with further fields after its own."""
    header, body = split_header(content)
    return header + fields + b"\r\n" + content[body:]


def _read(name: str) -> bytes:
    try:
        raw = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise Stop(EX_NOINPUT, f"--file: {name} cannot be read: {error.strerror}") from None
    if not split_header(raw)[0]:
        what = f"--file: {'standard input' if name == '-' else name} does not begin with a header field, so it is no message"
        raise Stop(EX_DATAERR, what, "to send it as text, use: --body - < FILE")
    content = _LINE_END.sub(b"\r\n", raw)
    return content if content.endswith(b"\r\n") else content + b"\r\n"
