"""``penstock queue`` against a worker in the test's own loop: what is shown, chosen and changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from admin.live import CONTENT, Live


async def _rows(live: Live, *words: str) -> list[dict[str, Any]]:
    out, _ = await live.run("queue", "list", "--json", *words)
    return [json.loads(line) for line in out.splitlines()]


async def _ids(live: Live, *words: str) -> list[str]:
    return [row["queue_id"] for row in await _rows(live, *words)]


async def test_a_listing_has_the_field_names_of_postqueue(tmp_path: Path) -> None:
    """One object a line, for scripts; a line a message for people, in which nothing steers their terminal."""
    async with Live(tmp_path) as live:
        message = await live.keep("ann@far.example", "bob@far.example", reason="\x1b[31mrefused")
        (row,) = await _rows(live)
        assert (row["queue_name"], row["queue_id"], row["message_size"]) == ("deferred", message, len(CONTENT))
        assert row["sender"] == "carol@client.example"
        assert row["arrival_time"] > 1_600_000_000
        assert [r["address"] for r in row["recipients"]] == ["ann@far.example", "bob@far.example"]
        assert row["recipients"][0]["delay_reason"].endswith("refused")
        assert row["queue"] == "mx:far.example"
        out, _ = await live.run("queue", "list")
        assert len(out.splitlines()) == 2
        assert "ann@far.example,bob@far.example" in out
        assert "\x1b" not in out


async def test_each_condition_chooses(tmp_path: Path) -> None:
    """And several choose together."""
    async with Live(tmp_path) as live:
        plain = await live.keep("ann@far.example", age=7200)
        held = await live.keep("bob@other.example", queue="mx:other.example", held="looks odd")
        report = await live.keep("dave@far.example", sender="", queue="[192.0.2.1]:25", size=5_000_000, reason="Refused by peer")
        everything = [plain, held, report]
        for words, expected in [
            ((), everything),
            (("--queue", "far.example"), [plain]),
            (("--queue", "mx:*"), [plain, held]),
            (("--queue", "[192.0.2.1]:25"), [report]),
            (("--queue", "[192.0.2.?]:*"), [report]),
            (("--sender", "<>"), [report]),
            (("--sender", "client.example"), [plain, held]),
            (("--sender", "car*@client.example"), [plain, held]),
            (("--recipient", "BOB@other.example"), [held]),
            (("--recipient", "@far.example"), [plain, report]),
            (("--older-than", "1h"), [plain]),
            (("--younger-than", "1h"), [held, report]),
            (("--held",), [held]),
            (("--not-held",), [plain, report]),
            (("--reason", "refused"), [report]),
            (("--reason", "ODD"), [held]),
            (("--larger-than", "1 MiB"), [report]),
            (("--smaller-than", "1 MiB"), [plain, held]),
            (("--stage", "routed"), everything),
            (("--stage", "submitted"), []),
            (("--limit", "2"), [plain, held]),
            (("--recipient", "@far.example", "--sender", "<>"), [report]),
            ((report.lower(), plain), [plain, report]),
        ]:
            assert await _ids(live, *words) == expected, words


async def test_a_condition_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """One line of what is wrong, one of what to do."""
    async with Live(tmp_path) as live:
        _, err = await live.run("queue", "list", "--older-than", "soon", code=64)
        assert "--older-than: 'soon' is not a duration" in err
        _, err = await live.run("queue", "reroute", "[", "X", code=64)
        assert err.count("\n") == 2


async def test_all_that_is_known_of_a_message_is_shown(tmp_path: Path) -> None:
    """And its content octet for octet."""
    async with Live(tmp_path) as live:
        message = await live.keep(reason="refused")
        out, _ = await live.run("queue", "show", message.lower())
        for words in ("mx:far.example", "ann@far.example", "refused", "routed", "Subject: greetings"):
            assert words in out
        shown = json.loads((await live.run("queue", "show", message, "--json"))[0])
        assert (shown["queue_id"], shown["origin"], shown["recipient_details"][0]["reason"]) == (message, "smtp", "refused")
        assert (await live.run("queue", "cat", message))[0].encode() == CONTENT.replace(b"\r\n", b"\r\n")
        _, err = await live.run("queue", "cat", "NOSUCH", code=67)
        assert "no message 'NOSUCH'" in err


async def test_messages_are_held_released_rerouted_and_removed(tmp_path: Path) -> None:
    """By their ids, each told of; an id that is not there is named, and the others are done."""
    async with Live(tmp_path) as live:
        one, two = await live.keep(), await live.keep()
        assert (await live.run("queue", "hold", one, "--text", "wait for bob"))[0] == f"{one} is held\n"
        assert (await _rows(live, "--held"))[0]["reason"] == "wait for bob"
        assert "is held already" in (await live.run("queue", "hold", one))[0]
        assert "is not held" in (await live.run("queue", "release", two))[0]
        assert (await live.run("queue", "release", one))[0] == f"{one} is released\n"
        assert await _ids(live, "--held") == []
        assert (await live.run("queue", "reroute", "[192.0.2.1]:26", one))[0] == f"{one} is rerouted\n"
        assert await _ids(live, "--queue", "[192.0.2.1]:26") == [one]
        out, err = await live.run("queue", "remove", one, "NOSUCH", code=67)
        assert out == f"{one} is removed\n"
        assert "'NOSUCH'" in err
        assert await _ids(live) == [two]


async def test_a_bounced_message_is_reported_to_its_sender(tmp_path: Path) -> None:
    """With the words of who did it."""
    async with Live(tmp_path) as live:
        message = await live.keep(sender="carol@far.example")
        assert (await live.run("queue", "bounce", message, "--text", "Wrong town"))[0] == f"{message} is returned to the sender\n"
        await live.running.until(lambda: live.spool.get(message) is None, "it is gone")
        (report,) = await _rows(live, "--sender", "<>")
        assert report["recipients"][0]["address"] == "carol@far.example"
        assert "Wrong town" in (await live.run("queue", "cat", report["queue_id"]))[0]


@pytest.mark.parametrize("action", ["remove", "bounce"])
async def test_what_cannot_be_taken_back_is_asked_for_twice(tmp_path: Path, action: str) -> None:
    """Conditions need --yes; nothing at all needs --all."""
    async with Live(tmp_path) as live:
        kept = [await live.keep(sender="") for _ in range(3)]
        other = await live.keep("x@other.example", queue="mx:other.example", sender="")
        assert "add --yes" in (await live.run("queue", action, "--queue", "far.example", code=64))[1]
        assert "--all" in (await live.run("queue", action, code=64))[1]
        assert await _ids(live) == [*kept, other]
        await live.run("queue", action, "--queue", "far.example", "--yes")
        await live.running.until(lambda: live.spool.count() == 1, "they are gone")
        await live.run("queue", action, "--all")
        await live.running.until(lambda: live.spool.count() == 0, "all are gone")
        assert (await live.run("queue", "list"))[0] == "the queue is empty\n"


async def test_a_change_of_all_reaches_every_page(tmp_path: Path) -> None:
    """And says how many there were, with few of them by name."""
    async with Live(tmp_path) as live:
        for _ in range(450):
            await live.keep()
        out, _ = await live.run("queue", "hold", "--all")
        assert out.splitlines()[-1] == "450 messages held"
        assert len(out.splitlines()) < 30
        assert len(await _ids(live, "--held")) == 450


async def test_a_queue_is_suspended_resumed_and_flushed(tmp_path: Path) -> None:
    """By its domain, too."""
    async with Live(tmp_path) as live:
        await live.keep()
        assert (
            "mx:far.example is suspended for 1h"
            in (await live.run("queue", "suspend", "far.example", "--for", "1h", "--text", "moving"))[0]
        )
        (row,) = json.loads((await live.run("queue", "destinations", "--json"))[0])
        assert (row["queue"], row["state"], row["last_error"]) == ("mx:far.example", "suspended", "moving")
        assert row["next_try"] > 1_600_000_000
        assert (await live.run("queue", "resume", "far.example"))[0] == "mx:far.example goes on\n"
        assert (await live.run("queue", "flush", "far.example"))[0] == "mx:far.example is tried now\n"
        assert (await live.run("queue", "flush"))[0] == "1 queue tried now\n"
        assert "no queue" in (await live.run("queue", "resume", "nothing.example", code=67))[1]
        assert "nothing waits" in (await live.run("queue", "flush", "nothing.example", code=67))[1]
        assert "is a pattern" in (await live.run("queue", "suspend", "mx:*", code=64))[1]


async def test_queues_are_counted(tmp_path: Path) -> None:
    """How much, how much of it held, and how old."""
    async with Live(tmp_path) as live:
        await live.keep(age=60 * 15)
        await live.keep(held="odd")
        await live.keep(queue="mx:other.example", age=60 * 5000)
        rows = json.loads((await live.run("queue", "summary", "--json"))[0])
        assert [(row["queue"], row["count"], row["held"]) for row in rows] == [("mx:far.example", 2, 1), ("mx:other.example", 1, 0)]
        far, other = json.loads((await live.run("queue", "shape", "--json"))[0])
        assert (far["total"], far["<=5"], far["<=20"], other[">1280"]) == (2, 1, 1, 1)
        (worker,) = json.loads((await live.run("status", "--json"))[0])
        assert (worker["worker"], worker["messages"]) == ("worker-0", 3)


async def test_workers_are_asked_together_and_their_mail_is_in_order(tmp_path: Path) -> None:
    """A worker that does not answer is named; the others' mail is shown all the same."""
    async with Live(tmp_path, 1, 2) as second:
        async with Live(tmp_path, 0, 2) as first:
            kept = []
            for _ in range(3):
                kept += [await first.keep(), await second.keep()]
            assert await _ids(first) == sorted(kept)
            assert len(await _ids(first, "--limit", "2")) == 2
            assert len((await first.run("queue", "remove", kept[0], kept[1]))[0].splitlines()) == 2
            assert first.spool.count() == second.spool.count() == 2
        out, err = await second.run("queue", "list")
        assert len(out.splitlines()) == 3
        assert "worker-0 does not answer" in err


@pytest.mark.parametrize("words", [("queue", "list"), ("queue", "show", "X"), ("queue", "hold", "X"), ("mailq",), ("status",)])
async def test_without_a_server_the_command_says_so(tmp_path: Path, words: tuple[str, ...]) -> None:
    """69, and how to start it."""
    live = Live(tmp_path)
    out, err = await live.run(*words, code=69)
    assert out == ""
    assert err.startswith("penstock: no server is running")
    assert "penstock serve --config" in err


async def test_mailq_looks_like_that_of_postfix(tmp_path: Path) -> None:
    """Scripts look for the marks behind the id and the number in the last line."""
    async with Live(tmp_path) as live:
        assert (await live.run("mailq"))[0] == "Mail queue is empty\n"
        held, deferred = await live.keep(held="looks odd"), await live.keep(sender="", reason="refused")
        lines = (await live.run("mailq"))[0].splitlines()
        assert lines[0].startswith("-Queue ID-")
        assert lines[1].startswith(f"{held}!")
        assert "(looks odd)" in lines[2]
        assert lines[3].strip() == "ann@far.example"
        assert lines[5].startswith(f"{deferred} ")
        assert lines[5].endswith("MAILER-DAEMON")
        assert lines[-1] == "-- 1 Kbytes in 2 Requests."
        assert (await live.run("sendmail", "-bp"))[0].splitlines() == lines
