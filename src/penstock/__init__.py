"""Penstock: a mail server whose behaviour is written in Python.

This is all that most sinks import, beside ``penstock.events`` and ``penstock.verdicts``.
"""

from .events.keeping import PerMessage, PerSession
from .events.message import Message
from .events.rule import Match
from .events.secret import Secret
from .events.sink import Sink, on
from .events.views import MessageSnapshot, Server, Session
from .mail.address import Address
from .mail.envelope import Recipient
from .mail.header import Header
from .mail.nexthop import NextHop
from .mail.reply import Reply

__version__ = "0.1.0"
__all__ = [
    "Address",
    "Header",
    "Match",
    "Message",
    "MessageSnapshot",
    "NextHop",
    "PerMessage",
    "PerSession",
    "Recipient",
    "Reply",
    "Secret",
    "Server",
    "Session",
    "Sink",
    "on",
]
