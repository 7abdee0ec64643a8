"""Verdicts refuse, where they are made, what nobody could carry out."""

from __future__ import annotations

import timeit
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from penstock import Address, verdicts
from penstock.verdicts import Bounce, Defer, Delay, Delivered, Discard, Disconnect, Drop, Forward, Quarantine, Reject, Respond, Rewrite

HOUR = timedelta(hours=1)
ALICE = Address.parse("alice@example.com")


@pytest.mark.parametrize(
    ("make", "error", "named"),
    [
        (lambda: Reject("550"), TypeError, "code"),
        (lambda: Reject(450), ValueError, "code"),
        (lambda: Reject(550.0), TypeError, "code"),
        (lambda: Reject(550, "5.7"), ValueError, "enhanced"),
        (lambda: Reject(550, "5.7.1\r\n"), ValueError, "enhanced"),
        (lambda: Reject(550, "5.7.1000"), ValueError, "enhanced"),
        (lambda: Reject(550, "4.7.1"), ValueError, "enhanced"),
        (lambda: Reject(550, None), TypeError, "enhanced"),
        (lambda: Reject(550, "5.7.1", b"no"), TypeError, "text"),
        (lambda: Defer(451, "5.7.1"), ValueError, "enhanced"),
        (lambda: Defer(after=3600), TypeError, "after"),
        (lambda: Defer(after=-HOUR), ValueError, "after"),
        (lambda: Disconnect(554), ValueError, "enhanced"),
        (lambda: Respond(550, "2.0.0"), ValueError, "enhanced"),
        (lambda: Respond(250, "2.0.0", None), TypeError, "text"),
        (lambda: Delay(5), TypeError, "time"),
        (lambda: Delay(-HOUR), ValueError, "time"),
        (lambda: Rewrite("no address"), ValueError, "no address"),
        (lambda: Rewrite(None), TypeError, "address"),
        (lambda: Discard(None), TypeError, "reason"),
        (lambda: Drop(5), TypeError, "reason"),
        (lambda: Quarantine(ValueError()), TypeError, "reason"),
        (lambda: Bounce("5.0"), ValueError, "enhanced"),
        (lambda: Bounce(""), ValueError, "enhanced"),
        (lambda: Bounce("2.0.0"), ValueError, "2.0.0"),
        (lambda: Bounce(550), TypeError, "enhanced"),
        (lambda: Bounce(text=None), TypeError, "text"),
        (lambda: Delivered(Path("/mail")), TypeError, "where"),
        (lambda: Forward("bob@example.com"), TypeError, "addresses"),
        (lambda: Forward(["bob@example.com"]), TypeError, "addresses"),
        (lambda: Forward(()), ValueError, "addresses"),
        (lambda: Forward(("bob@example.com", "nobody")), ValueError, "nobody"),
        (lambda: Forward(("",)), ValueError, "null"),
    ],
)
def test_an_argument_that_cannot_be_used_is_refused_by_name(make: Callable[[], Any], error: type[Exception], named: str) -> None:
    with pytest.raises(error, match=named):
        make()


@pytest.mark.parametrize(
    "make",
    [
        lambda: Reject(),
        lambda: Reject(554, "", "two\nlines"),
        lambda: Defer(after=timedelta(0)),
        lambda: Defer(421, "4.7.0", "later", after=HOUR),
        lambda: Disconnect(),
        lambda: Respond(354, "", "go on"),
        lambda: Respond(334),
        lambda: Respond(550, "5.1.1", "no"),
        lambda: Delay(HOUR),
        lambda: Rewrite(ALICE),
        lambda: Rewrite(""),
        lambda: Bounce("4.4.7", "too late"),
        lambda: Forward((ALICE, "bob@example.com")),
        lambda: Delivered("here"),
    ],
)
def test_what_can_be_used_is_taken(make: Callable[[], Any]) -> None:
    assert make() == make()


def test_the_defaults_of_all_verdicts_are_good() -> None:
    for name in ("Reject", "Defer", "Disconnect", "Respond", "Discard", "Quarantine", "Drop", "Bounce", "Delivered"):
        getattr(verdicts, name)()


def test_making_a_verdict_stays_cheap() -> None:
    assert min(timeit.repeat(lambda: Reject(550, "5.7.1", "no"), number=1000, repeat=5)) < 0.05
