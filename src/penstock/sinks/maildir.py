"""Delivery to Maildirs: one file a message, written under ``tmp``, which appears in ``new`` whole and durable or not at all.

The name of the file is made from the message and its recipient, not from time and process as the Maildir paper has it: transport may
repeat a delivery after a crash, and the repeated file then takes the place of the first one. Only a mail program that moved the file to
``cur`` between the two can see a second copy.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from zlib import crc32

from penstock import Address, Sink, on
from penstock.events import LocalDelivery
from penstock.verdicts import Bounce, Defer, Delivered

from .failures import put_off
from .folders import Folders
from .routes import has_own_delivery

_FIELDS = ("local", "domain", "detail")
_PRIVATE = 0o700
# What may stand in a file name as it is; a dot only between others, so that neither "..", nor a hidden name can be made.
_PLAIN = re.compile(rb"[A-Za-z0-9_+=\-]|(?<=[^.])\.(?=[^.])")
# Three of these fit into the 255 octets of a name; what is longer is cut and told apart by a hash.
_LONGEST, _LONGEST_UNIQUE, _HASH = 80, 200, 16
_LOOP = Bounce("5.4.6", "The message was delivered to this address before: mail loop")


@dataclass(frozen=True, slots=True)
class MaildirSettings:
    """Where the Maildirs are.

    Args:
        path: the Maildir of a recipient; ``{local}``, ``{domain}`` and ``{detail}`` stand for the parts of the address.
        delimiter: what separates a user's name from the detail, as in ``alice+lists``; "" for nothing.
    """

    path: str
    delimiter: str = "+"


class Maildir(Sink[MaildirSettings]):
    """Delivers each recipient's mail to a Maildir of its own, made where it is missing.

    ``Return-Path`` and ``Delivered-To`` are put on top (RFC 5321 §4.4); the rest is the message, octet for octet. A message that was
    delivered to the same address before is a loop and bounces. A disk that is full, or refuses, puts the recipient off.

    Raises: ValueError for a path with other names in braces, or a relative one.
    """

    def __init__(self, settings: MaildirSettings) -> None:
        super().__init__(settings)
        _check_template(settings.path)
        self._folders = Folders()

    @on(LocalDelivery)
    def deliver(self, event: LocalDelivery) -> Delivered | Defer | Bounce | None:
        """Writes the message, durably."""
        return None if has_own_delivery(event) else self.put(event, str(event.recipient.address))

    def put(self, event: LocalDelivery, to: str) -> Delivered | Defer | Bounce:
        """Writes the message to the Maildir of an address, which is named in it as Delivered-To."""
        address, message = Address.parse(to), event.message
        if message.header.has("Delivered-To", to):
            return _LOOP
        top = f"Return-Path: <{message.sender}>\r\nDelivered-To: {to}\r\n".encode()
        folder = self.folder(address)
        unique = f"{int(message.received.timestamp())}.{message.id}R{crc32(to.encode()):08x}.{event.server.hostname}"
        name = f"{safe_name(unique, _LONGEST_UNIQUE)},S={len(top) + message.size}"
        try:
            for part in ("tmp", "new", "cur"):
                self._folders.make(folder / part, _PRIVATE)
            message.save_now(folder / "new" / name, top, part=folder / "tmp" / name)
        except OSError as error:
            self.log.error("delivery failed", message=message.id, to=to, folder=str(folder), error=str(error))
            return put_off(error)
        return Delivered(str(folder))

    def folder(self, address: Address) -> Path:
        """The Maildir of an address; whatever the address holds, it is where the template says, and nowhere else."""
        local, detail = address.local.lower(), ""
        delimiter = self.settings.delimiter
        if delimiter and local.find(delimiter) > 0:
            local, _, detail = local.partition(delimiter)
        # Without detail, "{local}/.{detail}" is the user's inbox itself, which is what Maildir++ asks for.
        parts = {"local": safe_name(local), "domain": safe_name(address.domain), "detail": safe_name(detail) if detail else ""}
        return Path(self.settings.path.format_map(parts))


def _check_template(template: str) -> None:
    """Refuses a template that could not be filled in, or whose place would depend on where the server was started."""
    if not template.startswith("/"):
        raise ValueError(f"path: {template!r} should begin with '/'")
    for _, name, form, conversion in Formatter().parse(template):
        if name is not None and (name not in _FIELDS or form or conversion):
            raise ValueError(f"path: {template!r} may hold {{local}}, {{domain}} and {{detail}}; not {{{name}}}")


def safe_name(text: str, longest: int = _LONGEST) -> str:
    """The text as a part of a file name: every octet that is not plain becomes ``%XX``, so two texts never share a name.

    The empty text becomes ``%``; a text that would be too long is cut, and ends in ``%-`` and a hash.
    """
    raw = text.encode("utf-8", "surrogateescape")
    pieces, end = [], 0
    for plain in _PLAIN.finditer(raw):
        pieces += [f"%{octet:02X}" for octet in raw[end : plain.start()]]
        pieces.append(plain[0].decode("ascii"))
        end = plain.end()
    encoded = "".join([*pieces, *(f"%{octet:02X}" for octet in raw[end:])])
    if len(encoded) > longest:
        return f"{encoded[: longest - _HASH - 2]}%-{hashlib.sha256(raw).hexdigest()[:_HASH]}"
    return encoded or "%"
