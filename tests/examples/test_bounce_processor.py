"""The bounce processor, with reports as Penstock writes them and as others do."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from examples.bounce_processor import BounceProcessor

from penstock.testing import SinkTester, SinkTesters
from penstock.verdicts import Defer, Delivered

REPORT = """\
From: Mail Delivery System <MAILER-DAEMON@mx.example.net>
To: bounces@example.com
Subject: Undelivered Mail Returned to Sender
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="b"

--b
Content-Type: text/plain

I'm sorry to have to inform you ...

--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.net

{groups}

--b
Content-Type: message/rfc822-headers

From: news@example.com

--b--
"""
GONE = "Final-Recipient: rfc822; Gone@Example.net\nAction: failed\nStatus: 5.1.1\nDiagnostic-Code: smtp; 550 5.1.1 no such\n user"
FORWARDED = "Original-Recipient: rfc822;old@example.net\nFinal-Recipient: rfc822;new@example.org\nAction: Failed\nStatus: 5.2.1"
FULL = "Final-Recipient: rfc822; full@example.net\nAction: failed\nStatus: 4.2.2"
DELAYED = "Final-Recipient: rfc822; slow@example.net\nAction: delayed\nStatus: 4.4.1"
ODD = "Final-Recipient: rfc822; @@@\nAction: failed\nStatus: 5.1.1"
X400 = "Final-Recipient: x400; /PN=x/\nAction: failed\nStatus: 5.1.1"


@pytest.fixture
def tester(sink_tester: SinkTesters, tmp_path: Path) -> SinkTester:
    return sink_tester(BounceProcessor, database=tmp_path / "bounces.db")


def bad(folder: Path) -> dict[str, tuple[str, str, int]]:
    with closing(sqlite3.connect(folder / "bounces.db")) as database:
        return {address: rest for address, *rest in database.execute("SELECT address, status, reason, times FROM bad")}


async def came(tester: SinkTester, *groups: str) -> object:
    return await tester.local_delivery("bounces@example.com", content=REPORT.format(groups="\n\n".join(groups)), sender="")


async def test_addresses_that_failed_for_good_are_noted_and_no_others(tester: SinkTester, tmp_path: Path) -> None:
    assert await came(tester, GONE, FORWARDED, FULL, DELAYED, ODD, X400) == Delivered(str(tmp_path / "bounces.db"))
    assert bad(tmp_path) == {
        "gone@example.net": ["5.1.1", "smtp; 550 5.1.1 no such user", 1],
        "old@example.net": ["5.2.1", "", 1],
    }


async def test_it_counts_how_often(tester: SinkTester, tmp_path: Path) -> None:
    await came(tester, GONE)
    await came(tester, GONE)
    assert bad(tmp_path)["gone@example.net"][2] == 2


async def test_it_reads_the_reports_that_penstock_writes(tester: SinkTester, tmp_path: Path) -> None:
    tester.set_message(sender="bounces@example.com", recipients=["gone@example.net"])
    await tester.bounce("No such user", status="5.1.1")
    tester.follow(tester.notice)
    assert isinstance(await tester.local_delivery(), Delivered)
    assert bad(tmp_path)["gone@example.net"][0] == "5.1.1"


async def test_what_is_no_report_goes_on_to_the_mailbox(tester: SinkTester, tmp_path: Path) -> None:
    assert await tester.local_delivery("bounces@example.com", content="Subject: out of office\n\nI am away.\n", sender="") is None
    assert bad(tmp_path) == {}


async def test_a_report_that_cannot_be_noted_waits(tester: SinkTester, tmp_path: Path) -> None:
    await tester.start()
    (tmp_path / "bounces.db").write_bytes(b"no database")
    tester.bound(on_error="defer")
    assert isinstance(await came(tester, GONE), Defer)


@pytest.mark.parametrize(
    "field", ["Content-Type: text/plain; charset*=\x00''x", "Subject: =?utf-8?q?=00?=", "Content-Disposition: inline; a*0*"]
)
async def test_a_header_that_nobody_can_read_keeps_no_report_waiting(tester: SinkTester, field: str) -> None:
    """Python's newer parser raises at some of them."""
    content = REPORT.format(groups=GONE).replace("Content-Type: text/plain", field)
    assert isinstance(await tester.local_delivery("bounces@example.com", content=content, sender=""), Delivered)
