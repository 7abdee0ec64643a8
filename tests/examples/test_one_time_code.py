"""The login by one-time code, with the numbers of RFC 6238."""

from __future__ import annotations

import base64
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from examples.one_time_code import OneTimeCode

from penstock.testing import SinkTester, SinkTesters
from penstock.verdicts import Authenticated, Reject

REFUSED = Reject(535, "5.7.8", "Authentication credentials invalid")
# RFC 6238 appendix B: the secret, and the last six digits of what it gives at two times.
SECRET = base64.b32encode(b"12345678901234567890").decode()
NOW, CODE = 1111111109, "081804"
LATER, LATER_CODE = 1234567890, "005924"


@pytest.fixture
async def tester(sink_tester: SinkTesters, tmp_path: Path) -> SinkTester:
    made = sink_tester(OneTimeCode, database=tmp_path / "codes.db")
    made.server.now = lambda: float(NOW)
    await made.start()
    with closing(sqlite3.connect(tmp_path / "codes.db")) as database, database:
        database.execute("INSERT INTO code (user, secret) VALUES ('alice', ?)", (SECRET,))
    return made


async def test_the_right_code_lets_in_and_is_asked_for_in_two_steps(tester: SinkTester) -> None:
    assert await tester.auth("X-OTP", responses=["Alice", CODE]) == Authenticated("alice")
    assert tester.client.challenges == [b"User:", b"Code:"]


async def test_a_client_may_say_its_name_with_the_command(tester: SinkTester) -> None:
    assert await tester.auth("X-OTP", initial_response=b"alice", responses=[CODE]) == Authenticated("alice")
    assert tester.client.challenges == [b"Code:"]


async def test_wrong_users_and_wrong_codes_hear_the_same(tester: SinkTester) -> None:
    for responses in (["alice", "000000"], ["bob", CODE], ["", ""], [b"\xff\xfe", b"\xff"], ["alice", CODE + "0"], ["alice", "0\u0668"]):
        assert await tester.auth("X-OTP", responses=responses) == REFUSED
    assert len(tester.log.named("wrong code")) == 6


async def test_a_code_is_good_once_and_a_later_one_again(tester: SinkTester) -> None:
    assert await tester.auth("X-OTP", responses=["alice", CODE]) == Authenticated("alice")
    assert await tester.auth("X-OTP", responses=["alice", CODE]) == REFUSED
    tester.server.now = lambda: float(LATER)
    assert await tester.auth("X-OTP", responses=["alice", LATER_CODE]) == Authenticated("alice")


@pytest.mark.parametrize(("seconds", "good"), [(-31, True), (29, True), (59, False), (-60, False)])
async def test_the_clock_of_a_telephone_may_be_half_a_minute_wrong(tester: SinkTester, seconds: int, good: bool) -> None:
    tester.server.now = lambda: float(NOW + seconds)
    verdict = await tester.auth("X-OTP", responses=["alice", CODE])
    assert isinstance(verdict, Authenticated) is good
