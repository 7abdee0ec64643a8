"""Greylisting as it ships: who waits, who does not, and that no state of the database keeps mail out."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import sqlite3
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from penstock import Address
from penstock.errors import ConfigError
from penstock.sinks.greylist import Greylist, GreylistSettings, network_of, one_of_all
from penstock.testing import MailServer, SinkTester, SinkTesters
from penstock.verdicts import Defer

DAY = 86400.0
BOB, ANN = "bob@example.com", "ann@client.example"
Make = Callable[..., SinkTester]


@pytest.fixture
def make(sink_tester: SinkTesters, tmp_path: Path) -> Make:
    return lambda **settings: sink_tester(Greylist, **{"database": tmp_path / "grey.db", "clients": 0, **settings})


async def asked(tester: SinkTester, after: float = 0.0, sender: str = ANN, recipient: str = BOB) -> bool:
    """Whether a recipient is let in so many seconds after the beginning."""
    tester.server.now = lambda: 1_800_000_000.0 + after  # type: ignore[method-assign]  # what the clock of a tester is for
    await tester.mail_from(sender)
    verdict = await tester.rcpt_to(recipient)
    assert verdict in (None, Defer(450, "4.7.1", "Greylisted, please try again later"))
    return verdict is None


def rows(path: Path, query: str = "SELECT count(*) FROM triplets") -> Any:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(query).fetchone()[0]
    finally:
        connection.close()


def counted(path: Path) -> bool:
    """Whether the tally says what is there."""
    return all(
        rows(path, f"SELECT rows FROM tally WHERE kind = {kind}") == rows(path, f"SELECT count(*) FROM {what}")
        for kind, what in ((0, "triplets WHERE passed = 0"), (1, "triplets WHERE passed = 1"), (2, "clients"))
    )


async def test_the_first_try_is_put_off_and_one_after_the_wait_passes(make: Make, tmp_path: Path) -> None:
    tester = make()
    assert not await asked(tester)
    assert not await asked(tester, 299)
    assert await asked(tester, 300)
    assert await asked(tester, 301)
    assert rows(tmp_path / "grey.db") == 1
    assert counted(tmp_path / "grey.db")


async def test_another_sender_recipient_or_network_is_new(make: Make) -> None:
    tester = make()
    await asked(tester)
    assert not await asked(tester, 400, recipient="carol@example.com")
    assert not await asked(tester, 400, sender="eve@client.example")
    assert not await asked(tester, 400, sender="ann@other.example")
    tester.set_session("198.51.100.1")
    assert not await asked(tester, 400)
    tester.set_session("192.0.2.250")
    assert await asked(tester, 400, "ANN@client.example", "BOB@example.com")


async def test_the_null_sender_waits_too(make: Make) -> None:
    tester = make()
    assert not await asked(tester, 0, "")
    assert await asked(tester, 300, "")


async def test_who_comes_again_only_after_the_window_is_new(make: Make) -> None:
    tester = make(window=1000.0)
    await asked(tester)
    assert not await asked(tester, 1001)
    assert not await asked(tester, 1200)
    assert await asked(tester, 1301)


async def test_who_has_passed_is_remembered_from_the_last_use_on(make: Make) -> None:
    tester = make()
    await asked(tester)
    assert await asked(tester, 300)
    assert await asked(tester, 30 * DAY)
    assert await asked(tester, 60 * DAY)
    assert not await asked(tester, 96 * DAY)


async def test_a_network_that_has_passed_often_waits_no_more(make: Make, tmp_path: Path) -> None:
    tester = make(clients=2, wait=10.0)
    for number, after in enumerate((0, 100)):
        sender = f"{'ab'[number]}@client.example"
        assert not await asked(tester, after, sender)
        assert await asked(tester, after + 10, sender)
    assert await asked(tester, 111, "new@client.example")
    tester.set_session("198.51.100.1")
    assert not await asked(tester, 111, "new@client.example")
    tester.set_session("192.0.2.1")
    assert await asked(tester, 30 * DAY, "more@client.example")
    assert await asked(tester, 60 * DAY, "again@client.example")
    assert not await asked(tester, 96 * DAY, "late@client.example")
    assert counted(tmp_path / "grey.db")


async def test_one_message_to_many_that_is_sent_again_is_no_habit(make: Make) -> None:
    tester = make(clients=2)
    for after in (0, 300):
        for name in "abcdef":
            await asked(tester, after, recipient=f"{name}@example.com")
    assert not await asked(tester, 301, recipient="new@example.com")


async def test_without_clients_a_network_waits_for_ever(make: Make) -> None:
    tester = make()
    for number in range(10):
        sender = f"{chr(97 + number)}@client.example"
        assert not await asked(tester, number * 1000, sender)
        assert await asked(tester, number * 1000 + 300, sender)


async def test_clients_that_are_known_do_not_wait(make: Make) -> None:
    tester = make(exempt=["192.0.2.0/25", "2001:db8::1"])
    for client_ip, passes in (("192.0.2.1", True), ("192.0.2.200", False), ("::ffff:192.0.2.9", True), ("2001:db8::1", True)):
        tester.set_session(client_ip)
        assert await asked(tester) is passes, client_ip


async def test_users_postmasters_and_sessions_without_address_do_not_wait(make: Make, tmp_path: Path) -> None:
    tester = make()
    assert await asked(tester, recipient="Postmaster@example.com")
    tester.set_session(user="alice")
    assert await asked(tester)
    tester.set_session("", user="")
    assert await asked(tester)
    tester.set_session("192.0.2.1")
    assert not await asked(tester)
    assert rows(tmp_path / "grey.db") == 1


@pytest.mark.parametrize(
    ("client_ip", "network"),
    [("192.0.2.7", "192.0.2.0/24"), ("::ffff:192.0.2.7", "192.0.2.0/24"), ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
     ("fe80::1%eth0", "fe80::/64"), ("", ""), ("unix:/run/x", ""), ("192.0.2.300", "")],
)  # fmt: skip
def test_a_client_is_its_network(client_ip: str, network: str) -> None:
    assert network_of(client_ip) == network


@pytest.mark.parametrize(
    ("sender", "same"),
    [("Ann@client.example", "ann@client.example"), ("ann+list-17@client.example", "ann@client.example"),
     ("prvs=1234abcdef=ann@client.example", "prvs=5678012345=ann@client.example"),
     ("prvs=1234abcdef=ann@client.example", "ann@client.example"),
     ("prvs=ann=1234abcdef@client.example", "ann@client.example"), ("btv1==046a1b2c3d4==ann@client.example", "ann@client.example"),
     ("SRS0=HHH=TT=a.example=ann@f.example", "srs0+h+x=ty=a.example=ann@f.example"),
     ("SRS0=HHH=TT=a.example=ann@f.example", "SRS0=xyz=AB=a.example=ann@f.example"),
     ("SRS1=HHH=f.example==HHH=TT=a.example=ann@g.example", "SRS1=xxx=f.example==yyy=ZZ=a.example=ann@g.example"),
     ("bounces-17-bob=example.com@l.example", "bounces-2345-bob=example.com@l.example"),
     ("bounces-bob=example.com@l.example", "bounces-carol=example.org@l.example"),
     ("0102018f1a2b3c4d-6f1e2d3c-aaaa-4bcd-8e9f-0123456789ab-000000@ses.example",
      "0102018fffffff00-00112233-bbbb-4fff-9abc-ba9876543210-000000@ses.example"),
     ("news.2026-01-05@l.example", "news.2027-12-31@l.example"), ("x@out7.l.example", "x@out12.l.example"),
     ("m-CABx9Zk3LmNoPqRs@l.example", "m-DDEe0Zz1AaBbCcDd@l.example")],
)  # fmt: skip
def test_a_sender_who_writes_as_somebody_else_each_time_is_one(sender: str, same: str) -> None:
    assert one_of_all(Address.parse(sender)) == one_of_all(Address.parse(same))


@pytest.mark.parametrize(
    ("sender", "other"),
    [(ANN, "eve@client.example"), (ANN, "ann@other.example"), ("+ann@client.example", "+eve@client.example"), (ANN, ""),
     ("SRS0=HHH=TT=a.example=ann@f.example", "SRS0=HHH=TT=b.example=ann@f.example"),
     ("SRS0=HHH=TT=a.example=ann@f.example", "SRS0=HHH=TT=a.example=eve@f.example"), ("prvs=x=ann@f.example", "prvs=x=eve@f.example"),
     ("facade@f.example", "decade@f.example")],
)  # fmt: skip
def test_different_senders_stay_different(sender: str, other: str) -> None:
    assert one_of_all(Address.parse(sender)) != one_of_all(Address.parse(other))


@pytest.mark.parametrize(
    "sender",
    ["x" * 240 + "@e.co", '"a\\"b c; DROP TABLE triplets"@client.example', "пётр@почта.example", "=" * 100 + "@client.example",
     "-" * 200 + "1@client.example", "prvs=" + "=" * 200 + "@client.example", "SRS0=" + "=a" * 100 + "@client.example",
     "1a" * 110 + "@client.example", "'--@client.example", "%s%n@client.example", "+@client.example", "=.x@client.example"],
)  # fmt: skip
async def test_hostile_senders_wait_like_others_and_cost_no_more(make: Make, tmp_path: Path, sender: str) -> None:
    tester = make()
    assert not await asked(tester, 0, sender)
    assert await asked(tester, 300, sender)
    assert not tester.log.errors
    assert rows(tmp_path / "grey.db", "SELECT max(length(key)) FROM triplets") == 16


async def test_nobody_learns_from_the_file_who_writes_to_whom(make: Make, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        await asked(make())
    finally:
        os.umask(before)
    files = list(tmp_path.glob("grey.db*"))
    assert len(files) > 1
    for file in files:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
        assert b"client.example" not in file.read_bytes()


async def test_a_flood_of_new_triplets_pushes_out_what_never_passed(make: Make, tmp_path: Path) -> None:
    tester = make(most=20)
    await asked(tester)
    assert await asked(tester, 300)
    for number in range(50):
        assert not await asked(tester, 301 + number, recipient=f"r{number}@example.com")
        assert rows(tmp_path / "grey.db") <= 20
    assert counted(tmp_path / "grey.db")
    assert await asked(tester, 400)
    assert await asked(tester, 700, recipient="r49@example.com")
    assert not await asked(tester, 700, recipient="r10@example.com")
    assert len(tester.log.named("greylist is full")) in range(1, 4)


async def test_a_file_full_of_who_has_passed_still_lets_a_new_one_pass(make: Make, tmp_path: Path) -> None:
    tester = make(most=10)
    for number in range(15):
        assert not await asked(tester, number * 1000, recipient=f"r{number}@example.com")
        assert await asked(tester, number * 1000 + 300, recipient=f"r{number}@example.com")
    assert rows(tmp_path / "grey.db") == 10
    assert counted(tmp_path / "grey.db")


async def test_what_nobody_will_ask_for_is_cleaned_away(make: Make, tmp_path: Path) -> None:
    tester = make(clients=5)
    for number in range(10):
        await asked(tester, number, recipient=f"r{number}@example.com")
    await asked(tester, 305, recipient="r0@example.com")
    await asked(tester, 3 * DAY)
    assert rows(tmp_path / "grey.db") == 2
    await asked(tester, 60 * DAY)
    assert rows(tmp_path / "grey.db") == 1
    assert rows(tmp_path / "grey.db", "SELECT count(*) FROM clients") == 0
    assert counted(tmp_path / "grey.db")


async def test_a_clock_that_was_wrong_keeps_nobody_out(make: Make) -> None:
    tester = make()
    await asked(tester, 4000 * DAY)
    assert not await asked(tester)
    assert await asked(tester, 300)


async def test_what_it_knows_outlives_a_restart(make: Make) -> None:
    first = make()
    await asked(first)
    await first.stop()
    assert await asked(make(), 300)


@pytest.mark.parametrize("content", [b"this is no database" * 300, b"SQLite format 3\0" + b"\xff" * 5000])
async def test_with_a_broken_file_mail_passes_and_the_log_says_so_once_a_minute(make: Make, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "grey.db").write_bytes(content)
    tester = make()
    for after in range(0, 60, 3):
        assert await asked(tester, after)
    lines = tester.log.named("greylist cannot be used")
    assert 1 <= len(lines) <= 3
    assert lines[0]["path"] == str(tmp_path / "grey.db")
    assert (tmp_path / "grey.db").read_bytes() == content


async def test_a_file_that_is_taken_away_or_made_whole_is_used_again(make: Make, tmp_path: Path) -> None:
    tester = make()
    assert not await asked(tester)
    for path in tmp_path.glob("grey.db*"):
        path.unlink()
    (tmp_path / "grey.db").write_bytes(b"broken" * 1000)
    assert await asked(tester, 1)
    (tmp_path / "grey.db").unlink()
    assert not await asked(tester, 10)
    assert await asked(tester, 310)


async def test_a_file_that_somebody_keeps_locked_lets_mail_pass_after_a_moment(make: Make, tmp_path: Path) -> None:
    tester = make()
    await tester.start()
    lock = sqlite3.connect(tmp_path / "grey.db", isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    begun = time.monotonic()
    assert await asked(tester)
    waited = time.monotonic() - begun
    for after in range(1, 5):
        assert await asked(tester, after)
    # Only the first one has waited; the others did not even ask.
    assert time.monotonic() - begun - waited < waited
    lock.execute("COMMIT")
    lock.close()
    assert not await asked(tester, 10)


async def test_a_folder_that_is_not_there_is_said_at_the_start(make: Make, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no folder"):
        await make(database=tmp_path / "missing" / "grey.db").start()


@pytest.mark.parametrize(
    "settings",
    [{"wait": -1.0}, {"wait": 10.0, "window": 10.0}, {"keep": 0.0}, {"clients": -1}, {"most": 0}, {"wait": float("nan")},
     {"exempt": ["everybody"]}],
)  # fmt: skip
def test_settings_with_which_nothing_could_pass_are_refused(tmp_path: Path, settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"wait|keep|clients|everybody"):
        Greylist(GreylistSettings(tmp_path / "grey.db", **settings))


def _ask_many(path: Path, name: str, ready: Any, told: Any) -> None:
    """What a worker process does: first tries of its own, and one that all of them have."""

    async def run() -> None:
        sinks = SinkTesters()
        tester = sinks(Greylist, database=path, clients=0)
        ready.wait(20)
        refused = [not await asked(tester, 0, recipient=f"{name}{'x' * number}@example.com") for number in range(1, 41)]
        refused.append(not await asked(tester, 0))
        await sinks.close()
        told.put((name, all(refused), tester.log.errors))

    asyncio.run(run())


def test_processes_that_start_at_once_share_one_file(tmp_path: Path) -> None:
    """Each makes tables and rows, and none fails, waits for ever, or sees less than all."""
    context = multiprocessing.get_context("spawn")
    ready, told = context.Barrier(3), context.Queue()
    workers = [context.Process(target=_ask_many, args=(tmp_path / "grey.db", name, ready, told)) for name in "abc"]
    for worker in workers:
        worker.start()
    answers = [told.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join(20)
    assert sorted(answers) == [(name, True, []) for name in "abc"]
    assert rows(tmp_path / "grey.db") == 3 * 40 + 1
    assert counted(tmp_path / "grey.db")


async def test_threads_and_generations_share_one_file(make: Make, tmp_path: Path) -> None:
    """As after a reload: the old sink and the new one in one process, each asked in a thread of its own."""
    testers = [make(), make()]
    for tester in testers:
        await tester.start()

    async def many(tester: SinkTester, name: str) -> None:
        for number in range(1, 31):
            assert not await asked(tester, 0, recipient=f"{name}{'x' * number}@example.com")

    await asyncio.gather(*(many(tester, name) for tester, name in zip(testers, "ab", strict=True)))
    await testers[0].stop()
    assert await asked(testers[1], 300, recipient="ax@example.com")
    assert rows(tmp_path / "grey.db") == 60
    assert not testers[0].log.errors


async def test_a_real_server_defers_the_first_try_and_takes_a_later_one(mail_server: MailServer, tmp_path: Path) -> None:
    """Refused recipients are not greylisted: the built-in policy is asked before."""
    mail_server.configure(
        {
            "domain": {"example.com": {"recipients": ["bob"]}},
            "binding": [{"name": "greylist", "sink": "penstock.sinks.greylist:Greylist", "on_error": "continue",
                         "settings": {"database": str(tmp_path / "grey.db")}}],
        }
    )  # fmt: skip
    first = await mail_server.send("Subject: hello", recipients=[BOB, "nobody@example.com"])
    assert not first.accepted
    assert first.refused[BOB].code == 450
    assert first.refused["nobody@example.com"].code == 550
    await mail_server.advance(minutes=4)
    assert not (await mail_server.send("Subject: hello")).accepted
    await mail_server.advance(minutes=2)
    assert (await mail_server.send("Subject: hello")).accepted
    await mail_server.run_until_idle()
    assert len(mail_server.mailbox(BOB)) == 1
    assert rows(tmp_path / "grey.db") == 1
