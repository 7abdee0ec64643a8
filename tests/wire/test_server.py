"""The host decides: what it accepts, refuses and asks for is what happens, and a wrong call says so and names the state."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from penstock.errors import LocalProtocolError
from penstock.mail.reply import Reply
from penstock.wire.smtp.happening import (
    NEED_DATA,
    PAUSED,
    Block,
    Chunk,
    Closed,
    ContentEnd,
    DataStart,
    Greeting,
    Line,
    Quit,
    Reason,
    Refused,
    Verb,
)
from penstock.wire.smtp.limits import Limits
from penstock.wire.smtp.server import ServerMachine
from penstock.wire.smtp.settings import ServerSettings
from penstock.wire.smtp.state import State
from wire.driver import BANNER, HOSTNAME, session

LATER = Reply(451, "4.3.0", "Later")
NO = Reply(550, "5.7.1", "No")
SETTINGS = ServerSettings(HOSTNAME, Limits(dialogue_line=20), verbs=frozenset({"XASK"}))


def greeted() -> ServerMachine:
    machine = ServerMachine(SETTINGS)
    machine.greet(BANNER)
    machine.data_to_send()
    return machine


def after(*lines: str) -> ServerMachine:
    """A machine whose host accepted these commands, with nothing left to send."""
    machine = greeted()
    for line in lines:
        machine.receive_data(line.encode() + b"\r\n")
        machine.next_event()
        machine.accept()
    machine.data_to_send()
    return machine


def asked(machine: ServerMachine, line: str) -> object:
    machine.receive_data(line.encode() + b"\r\n")
    return machine.next_event()


RCPT = ("EHLO x", "MAIL FROM:<a@b>", "RCPT TO:<c@d>")


def test_nothing_is_parsed_before_the_banner() -> None:
    machine = ServerMachine(SETTINGS)
    machine.receive_data(b"EHLO x\r\n")
    assert machine.next_event() is PAUSED
    assert machine.pending == 8
    machine.greet(BANNER)
    assert isinstance(machine.next_event(), Greeting)
    assert machine.data_to_send() == b"220 mx.example.com ESMTP\r\n"


def test_a_client_turned_away_is_only_waited_for() -> None:
    machine = ServerMachine(SETTINGS)
    machine.greet(Reply(554, "5.7.1", "Not you"))
    machine.receive_data(b"EHLO x\r\nNOOP\r\nQUIT\r\n")
    assert [type(machine.next_event()) for _ in range(3)] == [Refused, Refused, Quit]
    machine.accept()
    assert [reply[:3] for reply in machine.data_to_send().splitlines()] == [b"554", b"503", b"503", b"221"]
    assert machine.next_event() == Closed(Reason.QUIT)


def test_a_421_closes_wherever_it_is_said() -> None:
    goodbye = Reply(421, "4.3.2", "Shutting down")
    calls: list[Callable[[ServerMachine], None]] = [
        lambda machine: machine.refuse(goodbye),
        lambda machine: machine.respond(goodbye),
        lambda machine: machine.disconnect(goodbye),
    ]
    for call in calls:
        machine = greeted()
        asked(machine, "NOOP")
        call(machine)
        assert machine.data_to_send() == b"421 4.3.2 Shutting down\r\n"
        assert machine.next_event() == Closed(Reason.DISCONNECTED)
        assert machine.is_closed
    machine = ServerMachine(SETTINGS)
    machine.greet(goodbye)
    assert machine.next_event() == Closed(Reason.DISCONNECTED)


def test_while_a_decision_is_open_nothing_more_is_parsed() -> None:
    machine = greeted()
    machine.receive_data(b"NOOP one\r\nNOOP two\r\n")
    machine.next_event()
    assert machine.next_event() is PAUSED
    assert machine.pending == 10
    assert machine.data_to_send() == b""
    machine.accept()
    assert machine.next_event() is not PAUSED
    assert machine.pending == 0


@pytest.mark.parametrize(
    ("before", "line", "state"),
    [
        ((), "EHLO x", State.GREETING),
        (("EHLO x",), "MAIL FROM:<a@b>", State.READY),
        (RCPT[:2], "RCPT TO:<c@d>", State.MAIL),
        (RCPT, "RCPT TO:<e@f>", State.RCPT),
        (RCPT, "DATA", State.RCPT),
        (RCPT, "RSET", State.RCPT),
        (RCPT, "EHLO y", State.RCPT),
        (RCPT, "QUIT", State.RCPT),
        (RCPT, "NOOP", State.RCPT),
    ],
)
def test_a_refusal_leaves_the_session_as_it_was(before: tuple[str, ...], line: str, state: State) -> None:
    machine = after(*before)
    asked(machine, line)
    assert machine.state is state, "asking changes nothing"
    machine.refuse(LATER)
    assert machine.state is state
    assert machine.data_to_send() == b"451 4.3.0 Later\r\n"
    assert machine.next_event() is NEED_DATA


@pytest.mark.parametrize(
    ("before", "line", "state"),
    [
        ((), "HELO x", State.READY),
        ((), "RSET", State.GREETING),
        (RCPT, "RSET", State.READY),
        (RCPT, "EHLO y", State.READY),
        (RCPT[:1], "MAIL FROM:<>", State.MAIL),
        (RCPT[:2], "RCPT TO:<c@d>", State.RCPT),
        (RCPT, "DATA", State.DATA),
        (RCPT, "BDAT 5", State.CHUNK),
        (RCPT, "VRFY x", State.RCPT),
        (RCPT, "QUIT", State.CLOSED),
    ],
)
def test_what_is_accepted_happens(before: tuple[str, ...], line: str, state: State) -> None:
    machine = after(*before)
    asked(machine, line)
    machine.accept()
    assert machine.state is state


def test_a_refused_recipient_does_not_count_towards_the_limit() -> None:
    machine = ServerMachine(ServerSettings(HOSTNAME, Limits(recipients=1)))
    machine.greet(BANNER)
    for line in RCPT[:2]:
        asked(machine, line)
        machine.accept()
    for _ in range(3):
        asked(machine, "RCPT TO:<c@d>")
        machine.refuse(NO)
    asked(machine, "RCPT TO:<c@d>")
    machine.accept()
    assert isinstance(asked(machine, "RCPT TO:<e@f>"), Refused)


@pytest.mark.parametrize("verdict", [LATER, None])
def test_the_end_of_content_ends_the_transaction_whatever_is_decided(verdict: Reply | None) -> None:
    machine = after(*RCPT, "DATA")
    machine.receive_data(b"x\r\n.\r\nDATA\r\n")
    assert machine.next_event() == Chunk(b"x\r\n")
    assert machine.next_event() == ContentEnd(3, None)
    machine.refuse(verdict) if verdict else machine.accept(Reply(250, "2.0.0", "Queued"))
    assert machine.state is State.READY
    assert isinstance(machine.next_event(), Refused), "DATA needs a new MAIL"


def test_a_refused_first_chunk_is_swallowed_before_the_reply_and_fails_the_transaction() -> None:
    machine = after(*RCPT)
    machine.receive_data(b"BDAT 5\r\nab")
    assert machine.next_event() == DataStart(True, "BDAT 5")
    machine.refuse(NO)
    assert machine.next_event() is NEED_DATA
    assert machine.data_to_send() == b""
    machine.receive_data(b"cdeBDAT 1 LAST\r\nxNOOP\r\n")
    assert isinstance(machine.next_event(), Refused)
    machine.next_event()
    machine.accept()
    assert [line[:9] for line in machine.data_to_send().splitlines()] == [b"550 5.7.1", b"503 5.5.1", b"250 2.0.0"]


def test_the_offer_can_be_edited_and_only_what_was_offered_may_be_used() -> None:
    machine = greeted()
    asked(machine, "EHLO x")
    lines = [line for line in machine.offered() if not line.startswith(("SIZE", "CHUNKING"))] + ["XSINK yes"]
    machine.accept_greeting(lines)
    said = machine.data_to_send().decode()
    assert "SIZE" not in said
    assert said.endswith("250 XSINK yes\r\n")
    refused = asked(machine, "MAIL FROM:<a@b> SIZE=1")
    assert isinstance(refused, Refused)
    assert refused.reply.code == 555
    for line in RCPT[1:]:
        asked(machine, line)
        machine.accept()
    refused = asked(machine, "BDAT 0")
    assert isinstance(refused, Refused)
    assert refused.reply.code == 502


def test_helo_gets_one_line_and_no_extension() -> None:
    calls: list[Callable[[ServerMachine], None]] = [ServerMachine.accept, lambda machine: machine.accept_greeting(machine.offered())]
    for call in calls:
        machine = greeted()
        asked(machine, "HELO x")
        call(machine)
        assert machine.data_to_send() == b"250 mx.example.com\r\n"
        assert isinstance(asked(machine, "MAIL FROM:<a@b> SIZE=1"), Refused)


def test_an_ehlo_may_be_answered_in_the_hosts_own_words() -> None:
    machine = greeted()
    asked(machine, "EHLO x")
    machine.accept(Reply(250, "", "welcome\nSIZE 5"))
    assert machine.data_to_send() == b"250-welcome\r\n250 SIZE 5\r\n"
    assert not isinstance(asked(machine, "MAIL FROM:<a@b> SIZE=1"), Refused)


def test_a_verb_can_ask_for_lines_and_octets() -> None:
    machine = greeted()
    assert asked(machine, "XASK now") == Verb("XASK", "now", "XASK now")
    machine.request_line(Reply(334, "", "name"))
    assert machine.data_to_send() == b"334 name\r\n"
    assert machine.next_event() is NEED_DATA
    machine.receive_data(b"al\xff\x00ice\r\nabcdeNOOP\r\n")
    assert machine.next_event() == Line(b"al\xff\x00ice")
    assert machine.next_event() is PAUSED
    machine.request_bytes(5)
    assert machine.next_event() == Block(b"abcde", 0)
    machine.respond(NO)
    machine.next_event()
    machine.accept()
    assert machine.data_to_send() == b"550 5.7.1 No\r\n250 2.0.0 Ok\r\n"


def test_octets_of_a_dialogue_come_as_they_are_received() -> None:
    machine = greeted()
    asked(machine, "XASK")
    machine.request_bytes(4)
    machine.receive_data(b"ab")
    assert machine.next_event() == Block(b"ab", 2)
    assert machine.next_event() is NEED_DATA
    with pytest.raises(LocalProtocolError):
        machine.accept()
    machine.receive_data(b"cdef")
    assert machine.next_event() == Block(b"cd", 0)
    machine.accept()
    assert machine.pending == 2


@pytest.mark.parametrize(("line", "reply"), [(b"x" * 30 + b"\r\n", "500 5.5.6"), (b"secret\n\r\n", "500 5.5.2")])
def test_a_spoilt_line_ends_the_dialogue_and_is_not_shown(line: bytes, reply: str) -> None:
    machine = greeted()
    asked(machine, "XASK")
    machine.request_line()
    machine.receive_data(line + b"NOOP\r\n")
    refused = machine.next_event()
    assert isinstance(refused, Refused)
    assert refused.line == ""
    assert str(refused.reply).startswith(reply)
    machine.next_event()
    machine.accept()
    assert machine.data_to_send().endswith(b"250 2.0.0 Ok\r\n")


def test_the_end_of_input_closes_after_what_came_before_it() -> None:
    machine = greeted()
    machine.receive_data(b"NOOP\r\nincompl")
    machine.receive_data(b"")
    machine.next_event()
    assert machine.next_event() is PAUSED
    machine.accept()
    assert machine.next_event() == Closed(Reason.EOF)
    assert machine.next_event() is NEED_DATA
    machine.receive_data(b"NOOP\r\n")
    assert (machine.pending, machine.next_event()) == (0, NEED_DATA)


def test_content_cut_off_by_the_end_of_input_is_never_asked_about() -> None:
    for start, content in (("DATA", b"x\r\n"), ("BDAT 10 LAST", b"x\r\n")):
        machine = after(*RCPT, start)
        machine.receive_data(content)
        machine.receive_data(b"")
        assert machine.next_event() == Chunk(b"x\r\n")
        assert machine.next_event() == Closed(Reason.EOF)


def test_disconnecting_at_a_chunk_drops_the_end_that_was_not_yet_asked_about() -> None:
    machine = after(*RCPT, "DATA")
    machine.receive_data(b"x\r\n.\r\n")
    assert machine.next_event() == Chunk(b"x\r\n")
    machine.disconnect(Reply(421, "4.3.0", "Full"))
    assert machine.next_event() == Closed(Reason.DISCONNECTED)
    assert machine.next_event() is NEED_DATA
    machine.disconnect(NO)
    assert machine.data_to_send() == b"421 4.3.0 Full\r\n"


def test_a_new_greeting_forgets_what_came_before_the_handshake() -> None:
    machine = after("EHLO x")
    machine.receive_data(b"MAIL FROM:<injected@example.net>\r\n")
    machine.reset_greeting()
    assert (machine.pending, machine.state) == (0, State.GREETING)
    assert isinstance(asked(machine, "MAIL FROM:<a@b>"), Refused)


WRONG: list[tuple[str, Callable[[], ServerMachine], Callable[[ServerMachine], object]]] = [
    ("greet twice", greeted, lambda machine: machine.greet(BANNER)),
    ("accept nothing", greeted, lambda machine: machine.accept()),
    ("refuse nothing", greeted, lambda machine: machine.refuse(NO)),
    ("respond to nothing", greeted, lambda machine: machine.respond(NO)),
    ("ask a line for nothing", greeted, lambda machine: machine.request_line()),
    ("accept the banner", lambda: ServerMachine(SETTINGS), lambda machine: machine.accept()),
    ("reset in a transaction", lambda: after(*RCPT), lambda machine: machine.reset_greeting()),
]


@pytest.mark.parametrize(("what", "make", "call"), WRONG, ids=lambda value: value if isinstance(value, str) else "")
def test_a_wrong_call_names_the_state(what: str, make: Callable[[], ServerMachine], call: Callable[[ServerMachine], object]) -> None:
    machine = make()
    with pytest.raises(LocalProtocolError, match=machine.state.name):
        call(machine)


@pytest.mark.parametrize(
    "call",
    [
        lambda machine: machine.accept(NO),
        lambda machine: machine.refuse(Reply(250)),
        lambda machine: machine.respond(NO),
        lambda machine: machine.accept_greeting([]),
        lambda machine: machine.request_bytes(5),
        lambda machine: machine.reset_greeting(),
    ],
)
def test_a_wrong_answer_leaves_the_question_open(call: Callable[[ServerMachine], None]) -> None:
    machine = after("EHLO x")
    asked(machine, "MAIL FROM:<a@b>")
    with pytest.raises(LocalProtocolError):
        call(machine)
    machine.accept()
    assert machine.state is State.MAIL


def test_broken_content_cannot_be_accepted() -> None:
    machine = after(*RCPT, "DATA")
    machine.receive_data(b"a\nb\r\n.\r\n")
    end = machine.next_event()
    assert isinstance(end, ContentEnd)
    assert end.refusal is not None
    with pytest.raises(LocalProtocolError, match=r"550 5\.6\.11"):
        machine.accept()
    machine.refuse(end.refusal)
    assert machine.state is State.READY


def test_data_is_accepted_with_a_354_only_and_bdat_without_a_reply() -> None:
    for line in ("DATA", "BDAT 1"):
        machine = after(*RCPT)
        asked(machine, line)
        with pytest.raises(LocalProtocolError):
            machine.accept(Reply(250))
    machine = after(*RCPT)
    asked(machine, "DATA")
    machine.accept(Reply(354, "", "Go"))
    assert machine.data_to_send() == b"354 Go\r\n"


def test_the_end_of_content_cannot_be_accepted_before_it_was_given() -> None:
    machine = after(*RCPT, "DATA")
    machine.receive_data(b"x\r\n.\r\n")
    assert isinstance(machine.next_event(), Chunk)
    with pytest.raises(LocalProtocolError):
        machine.accept()


@pytest.mark.parametrize("verb", [b"BDAT\t", b" BDAT ", b"BDAT\x00", b"bdat\x0b"])
def test_a_bdat_that_only_others_would_read_ends_the_session(verb: bytes) -> None:
    """Its octets may be on their way already: taken for commands they would be a second session within the first."""
    host = session(b"EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n" + verb + b"33 LAST\r\nMAIL FROM:<smuggled@example.com>\r\n")
    assert host.machine.is_closed
    assert host.happened[-1] == Closed(Reason.OUT_OF_STEP)
    assert b"smuggled" not in host.said
