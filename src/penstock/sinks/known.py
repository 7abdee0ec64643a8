"""How the sinks that know recipients tell each other, at RCPT, who exists.

One that knows a recipient says so in a property; one that has the last word refuses whom nobody knows. A verdict could not do it: there is
none for "yes", since whatever is not refused goes on to all who might refuse.
"""

from __future__ import annotations

from penstock.events import RcptTo

# The property of a recipient; its value is the kind of directory that knows it.
KNOWN_BY = "known_by"


def set_known(event: RcptTo, by: str) -> None:
    """Says that the recipient exists, or that what it stands for will be found."""
    event.recipient.properties[KNOWN_BY] = by


def is_known(event: RcptTo) -> bool:
    """Whether a sink that was asked before said that the recipient exists."""
    return KNOWN_BY in event.recipient.properties


def without_detail(local: str, delimiter: str) -> str:
    """A local part without its detail: ``sales+fair`` is ``sales``; what begins with the delimiter has none."""
    return local.partition(delimiter)[0] if delimiter and local.find(delimiter) > 0 else local
