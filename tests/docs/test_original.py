"""The page that leads from the original to Penstock names only what there is."""

from __future__ import annotations

import re

import pytest

import penstock
from penstock import events, verdicts
from penstock.events import event as bases
from penstock.events import outbound, reports
from penstock.events.catalog import AuthenticatedReport
from penstock.events.message import Message
from penstock.events.outbound import Remote
from penstock.events.recipients import Recipients
from penstock.events.resolve import Item
from penstock.events.views import Queue, Routes, Server, Session
from penstock.mail.address import Address
from penstock.mail.envelope import Recipient
from penstock.mail.reply import Reply

from .pages import ROOT

PAGE = ROOT / "docs" / "reference" / "original.md"
KNOWN = {
    **{cls.__name__: cls for cls in (Message, Remote, Recipients, Item, Queue, Routes, Server, Session, Address, Recipient, Reply)},
    **{name: getattr(events, name) for name in events.__all__},
    "AuthenticatedReport": AuthenticatedReport,
    "Event": bases.Event,
    "InSession": bases.InSession,
    "AboutMessage": bases.AboutMessage,
    "OnTheWire": outbound.OnTheWire,
    "Attempted": reports.Attempted,
    "Step": reports.Step,
    "Sink": penstock.Sink,
}
# Interfaces of the original that look like it.
THEIRS = re.compile(r"I[A-Z]\w+|CDO|Cdo\w+|RecipsAdd|IEvent\w*")


def _named() -> list[str]:
    here = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    cells = [cell for line in here for cell in line.split(" | ")[1:]]
    return sorted({name for cell in cells for name in re.findall(r"`([A-Z]\w+\.\w+)`", cell) if not THEIRS.match(name)})


@pytest.mark.parametrize("name", _named())
def test_what_is_named_is_there(name: str) -> None:
    """A class that sinks see, and one of its members."""
    cls, _, member = name.partition(".")
    fields = {*getattr(KNOWN[cls], "__struct_fields__", ()), *getattr(KNOWN[cls], "__annotations__", ())}
    assert member in fields or hasattr(KNOWN[cls], member)


def test_the_verdicts_that_it_speaks_of_are_there() -> None:
    """So that a verdict that is renamed is renamed here too."""
    text = PAGE.read_text()
    for verdict in ("Reject", "Defer", "Disconnect", "Respond", "Drop", "Quarantine", "TreatAs", "Retry", "Split", "Unreachable", "Hold"):
        assert verdict in verdicts.__all__
        assert f"`{verdict}" in text
