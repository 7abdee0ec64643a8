"""The programming model, and the events where a sink author finds them: ``from penstock.events import RcptTo``."""

from .catalog import (
    Accepted,
    Connected,
    Data,
    Delivered,
    Ehlo,
    EndOfData,
    EndOfHeaders,
    Event,
    Helo,
    LocalDelivery,
    MailFrom,
    RcptTo,
    Rejected,
    SessionEnded,
    Submission,
    Verb,
)

__all__ = [
    "Accepted",
    "Connected",
    "Data",
    "Delivered",
    "Ehlo",
    "EndOfData",
    "EndOfHeaders",
    "Event",
    "Helo",
    "LocalDelivery",
    "MailFrom",
    "RcptTo",
    "Rejected",
    "SessionEnded",
    "Submission",
    "Verb",
]
