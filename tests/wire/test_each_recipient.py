"""The server machine in LMTP and with PRDR: how many replies an end of content has, in which order, however the octets come."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conversations import runner
from penstock.errors import LocalProtocolError
from penstock.mail.reply import Reply
from penstock.wire.smtp.happening import ContentEnd, DataStart, Question
from penstock.wire.smtp.limits import Limits
from penstock.wire.smtp.server import ServerMachine
from penstock.wire.smtp.settings import ServerSettings
from wire.driver import HOSTNAME, Host

LMTP = ServerSettings(HOSTNAME, lmtp=True)
YES, NO, LATER = Reply(250, "2.0.0", "Ok"), Reply(552, "5.2.2", "Mailbox full"), Reply(450, "4.2.1", "Busy")


@pytest.mark.parametrize("step", [1, 7, 1 << 20])
@pytest.mark.parametrize("path", sorted((runner.FOLDER / "lmtp").glob("*.smtp")), ids=lambda path: path.stem)
def test_a_conversation_of_lmtp_goes_as_written(path: Path, step: int) -> None:
    host = Host(LMTP)
    lines = deque(host.said.splitlines(keepends=True))

    def send(data: bytes) -> None:
        for at in range(0, len(data), step):
            lines.extend(host.feed(data[at : at + step]).splitlines(keepends=True))

    runner.play(runner.load(path), send, lambda: lines.popleft() if lines else b"")
    assert not lines, "the server said more than is written"


def deciding(answers: list[Reply]) -> Callable[[ServerMachine, Question], bool]:
    """Answers each recipient with the next of these."""

    def decide(machine: ServerMachine, question: Question) -> bool:
        if isinstance(question, ContentEnd) and machine.answers_each:
            machine.answer_each(answers, YES)
            return True
        return False

    return decide


def opened(greeting: str, mail: str, recipients: int) -> bytes:
    return f"{greeting} c.example\r\nMAIL FROM:<a@b.example>{mail}\r\n".encode() + b"RCPT TO:<x@example.com>\r\n" * recipients


@given(
    answers=st.lists(st.sampled_from([YES, NO, LATER]), min_size=1, max_size=6),
    lmtp=st.booleans(),
    bdat=st.booleans(),
    step=st.integers(1, 400),
)
@settings(max_examples=150, deadline=None)
def test_each_answer_comes_once_and_in_order(answers: list[Reply], lmtp: bool, bdat: bool, step: int) -> None:
    host = Host(LMTP if lmtp else ServerSettings(HOSTNAME), deciding(answers))
    content = b"BDAT 4\r\nab\r\nBDAT 4 LAST\r\ncd\r\n" if bdat else b"DATA\r\nab\r\ncd\r\n.\r\n"
    octets = opened("LHLO" if lmtp else "EHLO", "" if lmtp else " PRDR", len(answers)) + content + b"NOOP\r\n"
    host.said = b""
    for at in range(0, len(octets), step):
        host.feed(octets[at : at + step])
    said = [line[:3] for line in host.said.decode().splitlines() if line[3] != "-"]
    each = [str(answer.code) for answer in answers]
    expected = each if lmtp else ["353", *each, "250"]
    assert said == ["250", "250", *["250"] * len(answers), "250" if bdat else "354", *expected, "250"]


@pytest.mark.parametrize("bdat", [False, True])
def test_content_that_breaks_a_rule_is_refused_for_each_in_lmtp_and_once_with_prdr(bdat: bool) -> None:
    content = b"BDAT 5 LAST\r\na\nb\r\n" if bdat else b"DATA\r\na\nb\r\n.\r\n"
    for rules, greeting, mail, times in ((LMTP, "LHLO", "", 3), (ServerSettings(HOSTNAME), "EHLO", " PRDR", 1)):
        host = Host(rules)
        host.feed(opened(greeting, mail, 3))
        assert host.feed(content).count(b"550 5.6.11") == times


def test_a_first_chunk_that_the_host_refuses_gets_as_many_replies_as_it_would_have_had() -> None:
    def refuse(machine: ServerMachine, question: Question) -> bool:
        if isinstance(question, DataStart):
            machine.refuse(LATER)
            return True
        return False

    for command, times in ((b"BDAT 2 LAST\r\nab", 3), (b"BDAT 2\r\nab", 1), (b"DATA\r\n", 1)):
        host = Host(LMTP, refuse)
        host.feed(opened("LHLO", "", 3))
        assert host.feed(command) == LATER.to_bytes() * times


def test_answers_that_cannot_be_are_refused() -> None:
    host = Host(LMTP, deciding([YES]))
    host.feed(opened("LHLO", "", 2) + b"DATA\r\n")
    with pytest.raises(LocalProtocolError, match="1 replies for 2 recipients"):
        host.feed(b"x\r\n.\r\n")
    host = Host(
        ServerSettings(HOSTNAME), lambda machine, question: isinstance(question, ContentEnd) and bool(machine.answer_each([YES], YES))
    )
    host.feed(opened("EHLO", "", 1) + b"DATA\r\n")
    with pytest.raises(LocalProtocolError, match="answer_each"):
        host.feed(b"x\r\n.\r\n")
    with pytest.raises(LocalProtocolError):
        ServerMachine(LMTP).answer_each([], YES)


def test_what_one_transaction_asked_for_does_not_hold_for_the_next() -> None:
    host = Host(ServerSettings(HOSTNAME), deciding([NO]))
    assert b"353" in host.feed(opened("EHLO", " PRDR", 1) + b"DATA\r\nx\r\n.\r\n")
    assert b"353" not in host.feed(b"MAIL FROM:<a@b.example>\r\nRCPT TO:<x@example.com>\r\nDATA\r\nx\r\n.\r\n")


@given(st.lists(st.sampled_from([b"LHLO c\r\n", b"EHLO c\r\n", b"MAIL FROM:<a@b>\r\n", b"RCPT TO:<a@b>\r\n", b"DATA\r\n", b"x\r\n.\r\n",
    b"BDAT 3\r\nabc", b"BDAT 3 LAST\r\nab\n", b"RSET\r\n", b"\xff\r\n"]), max_size=25), st.integers(1, 50))  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_lmtp_whole_and_in_pieces_is_the_same(pieces: list[bytes], step: int) -> None:
    octets, rules = b"".join(pieces), ServerSettings(HOSTNAME, Limits(errors=0), lmtp=True)
    whole, parts = Host(rules), Host(rules)
    whole.feed(octets)
    for at in range(0, len(octets), step):
        parts.feed(octets[at : at + step])
    assert whole.said == parts.said
    assert whole.messages == parts.messages
