"""The numbered requirements for internationalized mail of the Universal Acceptance Steering Group, and which of them are tried here.

The tables lie beside the repository, in ``../shared/vectors/eai``, under a licence of their own. Each test says with ``meets`` what it
tries; what is no business of a mail transfer agent is named with its reason. That nothing is forgotten is a test as well.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

FOLDER = Path(__file__).parents[2].parent / "shared" / "vectors" / "eai"
TABLES = ("MTA", "MSA", "MDA")
TRIED: dict[str, list[str]] = {}

_Test = TypeVar("_Test", bound=Callable[..., object])
_IMAP = "IMAP is not served here: mailboxes are handed to others in Maildir, mbox or by LMTP"
_POP = "POP is not served here: mailboxes are handed to others in Maildir, mbox or by LMTP"
_HEADER = "of messages that are transformed; we return one whose header needs SMTPUTF8 to its sender, as EAI-MSA-011 allows"

NOT_OURS = {
    **{f"EAI-MDA-{number:03}": _IMAP for number in range(7, 29)},
    **{f"EAI-MDA-{number:03}": _POP for number in range(29, 40)},
    "EAI-MSA-014": _HEADER,
    "EAI-MSA-015": _HEADER,
    "EAI-MSA-016": _HEADER,
}


def meets(*identities: str) -> Callable[[_Test], _Test]:
    """Says which requirements a test tries."""

    def note(test: _Test) -> _Test:
        for identity in identities:
            TRIED.setdefault(identity, []).append(getattr(test, "__name__", ""))
        return test

    return note


def required() -> dict[str, str]:
    """Each requirement of the tables with its summary; skips the test where the tables are not there."""
    found = {}
    for table in TABLES:
        path = FOLDER / f"{table}.csv"
        if not path.exists():
            pytest.skip(f"the requirements are not there: {path}")
        with path.open(encoding="utf-8-sig", newline="") as file:
            found.update({row["Test ID"]: row["Summary"] for row in csv.DictReader(file)})
    return found
