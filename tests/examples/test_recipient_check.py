"""The recipient check: the inner server decides, over a connection that is kept, and whoever cannot ask lets pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from examples.recipient_check import RecipientCheck

from penstock.testing import SinkTester, SinkTesters
from penstock.verdicts import Defer, Reject
from support.remote import Remote
from support.script import At, Close, Never, Phase, Script, Step, reply


def scripted(steps: Mapping[Phase | At, Sequence[Step]]) -> Remote:
    return Remote(Script(steps))


def asking(sink_tester: SinkTesters, inner: Remote, seconds: float = 5.0, **more: object) -> SinkTester:
    return sink_tester(RecipientCheck, host="127.0.0.1", port=inner.port, seconds=seconds, **more)


async def test_a_recipient_whom_the_inner_server_takes_passes(sink_tester: SinkTesters) -> None:
    async with scripted({}) as inner:
        tester = asking(sink_tester, inner)
        assert await tester.rcpt_to("bob@example.com") is None
        assert inner.commands == [
            "EHLO mx.example.com", "MAIL FROM:<alice@client.example>", "RCPT TO:<bob@example.com>", "RSET",
        ]  # fmt: skip
        await tester.stop()


async def test_its_refusals_are_passed_on_by_their_kind(sink_tester: SinkTesters) -> None:
    steps = {At(Phase.RCPT, connection=1): reply("550 5.1.1 no such user here")}
    async with scripted(steps) as inner:
        tester = asking(sink_tester, inner)
        refusal = await tester.rcpt_to("ghost@example.com")
        assert isinstance(refusal, Reject)
        assert refusal.text == "Unable to relay to ghost@example.com: 5.1.1 no such user here"
        await tester.stop()
    async with scripted({Phase.RCPT: reply("452 4.2.2 full")}) as inner:
        tester = asking(sink_tester, inner)
        assert isinstance(await tester.rcpt_to("full@example.com"), Defer)
        await tester.stop()


async def test_a_refusal_of_the_sender_counts_as_well(sink_tester: SinkTesters) -> None:
    async with scripted({Phase.MAIL: reply("550 5.7.1 not from there")}) as inner:
        tester = asking(sink_tester, inner)
        assert isinstance(await tester.rcpt_to("bob@example.com"), Reject)
        await tester.stop()


async def test_one_connection_serves_many_questions(sink_tester: SinkTesters) -> None:
    async with scripted({}) as inner:
        tester = asking(sink_tester, inner)
        for number in range(5):
            assert await tester.rcpt_to(f"user{number}@example.com") is None
        assert len(inner.sessions) == 1
        await tester.stop()


@pytest.mark.parametrize("ending", [Close(), *reply("421 4.3.2 too long idle")], ids=["closed", "421"])
async def test_a_kept_connection_that_ended_is_replaced_without_a_word(sink_tester: SinkTesters, ending: Step) -> None:
    # The second MAIL of the first connection is that of the second question.
    async with scripted({At(Phase.MAIL, 2, 1): [ending, Close()]}) as inner:
        tester = asking(sink_tester, inner)
        assert await tester.rcpt_to("bob@example.com") is None
        assert await tester.rcpt_to("carol@example.com") is None
        assert len(inner.sessions) == 2
        assert tester.log.named("inner server did not answer") == []
        await tester.stop()


@pytest.mark.parametrize("phase", [Phase.BANNER, Phase.EHLO, Phase.RCPT])
async def test_silence_lets_pass_after_the_time_that_is_set(sink_tester: SinkTesters, phase: Phase) -> None:
    async with scripted({phase: [Never()]}) as inner:
        tester = asking(sink_tester, inner, seconds=0.1)
        assert await tester.rcpt_to("bob@example.com") is None
        assert tester.log.named("inner server did not answer")


async def test_nobody_there_lets_pass(sink_tester: SinkTesters) -> None:
    async with scripted({}) as inner:
        pass
    tester = asking(sink_tester, inner)
    assert await tester.rcpt_to("bob@example.com") is None
    assert tester.log.named("inner server did not answer")


async def test_an_answer_that_is_no_smtp_lets_pass(sink_tester: SinkTesters) -> None:
    async with scripted({Phase.BANNER: [*reply("SSH-2.0-OpenSSH_9.9"), Close()]}) as inner:
        assert await asking(sink_tester, inner).rcpt_to("bob@example.com") is None


async def test_for_clients_of_the_bypass_list_nothing_is_asked(sink_tester: SinkTesters) -> None:
    async with scripted({Phase.RCPT: reply("550 5.1.1 no")}) as inner:
        tester = asking(sink_tester, inner, bypass=["192.0.2.0/24", "2001:db8::/32"])
        assert await tester.rcpt_to("bob@example.com") is None
        tester.set_session("2001:db8::25")
        assert await tester.rcpt_to("bob@example.com") is None
        assert inner.sessions == []
        tester.set_session("198.51.100.1")
        assert isinstance(await tester.rcpt_to("bob@example.com"), Reject)
        await tester.stop()
