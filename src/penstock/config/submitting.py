"""``[submission]``: what holds for mail of our own users (RFC 6409); part of the schema, apart for the length of the file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

SERVICES = ("submission", "submissions")


@dataclass(slots=True)
class SubmissionTable:
    """``[submission]``: for mail of users who logged in, at any listener.

    Args:
        senders: by user, the addresses that are the user's beside the own one; ``*`` stands for any characters, and as a user for all.
        senders_file: a file with more of them, a line ``user: address, address`` each; it is read again when it changes.
        domain: of users whose name is no address; "" for the only local domain, where there is but one.
        check_from: what happens when the From field has an address that is not the user's: "off", "sender" (a Sender field is added) or
            "refuse".
        null_sender: what may come without a sender: "reports" and automatic answers, everything ("yes"), or nothing ("no").
        add_missing: From, Date and Message-ID are added where a client left them out (RFC 6409 §8).
        drop_fields: fields that are taken out of the header.
        hide_client: the Received field does not say where the message came from.
    """

    senders: dict[str, list[str]] = field(default_factory=dict)
    senders_file: Path | None = None
    domain: str = ""
    check_from: Literal["off", "sender", "refuse"] = "off"
    null_sender: Literal["reports", "yes", "no"] = "reports"
    add_missing: bool = True
    drop_fields: list[str] = field(default_factory=lambda: ["Bcc", "Resent-Bcc"])
    hide_client: bool = False
