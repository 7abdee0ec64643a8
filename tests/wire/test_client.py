"""One command at a time or a group, each answer goes to its command, and of a session that ends it is known what is certain."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from penstock.errors import LocalProtocolError
from penstock.mail.address import Address
from penstock.mail.envelope import Recipient
from penstock.mail.reply import Reply
from penstock.wire.smtp.client import ClientMachine
from penstock.wire.smtp.client_events import (
    NEED_DATA,
    Answer,
    Banner,
    Broken,
    Closed,
    ContentAnswer,
    Ending,
    Event,
    Fate,
    Unsolicited,
)
from penstock.wire.smtp.client_settings import ClientLimits, ClientSettings, Timeouts
from penstock.wire.smtp.client_state import MOVES, ClientState
from penstock.wire.smtp.outgoing import (
    Bdat,
    Continuation,
    Data,
    EndOfData,
    Hello,
    Mail,
    Quit,
    Raw,
    Rcpt,
    Reset,
    Sendable,
    StartTls,
    edited,
    raw,
)

SETTINGS = ClientSettings("client.example")
LMTP = ClientSettings("client.example", "lmtp")
MAIL = Mail("MAIL FROM:<a@b>", Address("a", "b"))
RCPT = Rcpt("RCPT TO:<c@d>", Recipient(Address("c", "d")))
EHLO = SETTINGS.greeting()
OFFER = b"250-mx.example\r\n250-PIPELINING\r\n250-CHUNKING\r\n250-STARTTLS\r\n250 SIZE 1000\r\n"
PLAIN = b"250-mx.example\r\n250 CHUNKING\r\n"
OK, NO = b"250 2.0.0 Ok\r\n", b"550 5.7.1 No\r\n"
GO = b"354 Go on\r\n"
ALL: list[Sendable] = [EHLO, MAIL, RCPT, Data(), Bdat(1), Reset(), Quit(), StartTls(), Raw("NOOP"), Continuation("x")]


def heard(machine: ClientMachine, data: bytes) -> list[Event]:
    """What the machine makes of these octets, every split of which is looked at elsewhere."""
    if data:
        machine.receive_data(data)
    events = []
    while not isinstance(event := machine.next_event(), type(NEED_DATA)):
        events.append(event)
    return events


def said(machine: ClientMachine, command: Sendable, answer: bytes) -> list[Event]:
    machine.send(command)
    return heard(machine, answer)


def greeted(offer: bytes = OFFER, settings: ClientSettings = SETTINGS) -> ClientMachine:
    machine = ClientMachine(settings)
    heard(machine, b"220 mx.example ESMTP\r\n")
    said(machine, settings.greeting(), offer)
    machine.data_to_send()
    return machine


def in_transaction(recipients: int = 1, settings: ClientSettings = SETTINGS) -> ClientMachine:
    machine = greeted(settings=settings)
    said(machine, MAIL, OK)
    for _ in range(recipients):
        said(machine, RCPT, OK)
    machine.data_to_send()
    return machine


def in_content(recipients: int = 1, settings: ClientSettings = SETTINGS) -> ClientMachine:
    machine = in_transaction(recipients, settings)
    said(machine, Data(), GO)
    machine.begin_content()
    machine.data_to_send()
    return machine


def at(state: ClientState) -> ClientMachine:
    """A machine that came to this state in the ordinary way."""
    makers: dict[ClientState, Callable[[], ClientMachine]] = {
        ClientState.CONNECTED: lambda: ClientMachine(SETTINGS),
        ClientState.READY: greeted,
        ClientState.RCPT: in_transaction,
        ClientState.CONTENT: in_content,
        ClientState.MAIL: lambda: in_transaction(0),
    }
    if state in makers:
        return makers[state]()
    start, command, answer = {
        ClientState.TURNED_AWAY: (ClientState.CONNECTED, None, NO),
        ClientState.GREETING: (ClientState.CONNECTED, None, b"220 hi\r\n"),
        ClientState.GO_AHEAD: (ClientState.RCPT, Data(), GO),
        ClientState.CHUNKS: (ClientState.RCPT, Bdat(0), OK),
        ClientState.FAILED: (ClientState.RCPT, Bdat(0), NO),
        ClientState.DIALOGUE: (ClientState.READY, raw("AUTH LOGIN"), b"334 VXNlcm5hbWU6\r\n"),
        ClientState.TLS: (ClientState.READY, StartTls(), b"220 Go\r\n"),
        ClientState.OUT_OF_STEP: (ClientState.READY, None, OK),
        ClientState.CLOSED: (ClientState.READY, None, b"421 bye\r\n"),
    }[state]
    machine = at(start)
    if command is not None:
        machine.send(command)
    heard(machine, answer)
    return machine


MAY_SEND = {
    ClientState.CONNECTED: "",
    ClientState.TURNED_AWAY: "QUIT",
    ClientState.GREETING: "EHLO QUIT NOOP",
    ClientState.READY: "EHLO MAIL RSET QUIT STARTTLS NOOP",
    ClientState.MAIL: "EHLO RCPT RSET QUIT NOOP",
    ClientState.RCPT: "EHLO RCPT DATA BDAT RSET QUIT NOOP",
    ClientState.GO_AHEAD: "",
    ClientState.CONTENT: "",
    ClientState.CHUNKS: "EHLO BDAT RSET QUIT",
    ClientState.FAILED: "EHLO RSET QUIT NOOP",
    ClientState.DIALOGUE: "QUIT X",
    ClientState.TLS: "",
    ClientState.OUT_OF_STEP: "QUIT",
    ClientState.CLOSED: "",
}


@pytest.mark.parametrize("state", MAY_SEND, ids=lambda state: state.name)
def test_what_may_be_sent_from_each_state_and_nothing_else(state: ClientState) -> None:
    machine = at(state)
    assert machine.state is state
    verbs = [command.line.partition(" ")[0].upper() for command in ALL if machine.may_send(command)]
    assert sorted(verbs) == sorted(MAY_SEND[state].split())
    machine.data_to_send()
    for command in ALL:
        if not machine.may_send(command):
            assert not machine.send_if_it_may(command)
            with pytest.raises(LocalProtocolError, match=state.name):
                machine.send(command)
    assert machine.data_to_send() == b""


@pytest.mark.parametrize("state", MAY_SEND, ids=lambda state: state.name)
def test_calls_that_a_state_does_not_allow_name_it(state: ClientState) -> None:
    calls: dict[Callable[[ClientMachine], object], set[ClientState]] = {
        lambda machine: machine.begin_content(): {ClientState.GO_AHEAD},
        lambda machine: machine.content(b"x"): {ClientState.CONTENT},
        lambda machine: machine.end_content(): {ClientState.CONTENT},
        lambda machine: machine.reset_after_tls(): {ClientState.TLS},
        lambda machine: machine.treat_as_accepted(): set(),
    }
    for call, allowed in calls.items():
        machine = at(state)
        if state in allowed:
            call(machine)
        else:
            with pytest.raises(LocalProtocolError, match=state.name):
                call(machine)


def test_every_state_has_its_row_of_moves() -> None:
    assert set(MOVES) == set(ClientState)


def test_a_whole_session_one_command_at_a_time() -> None:
    machine = ClientMachine(SETTINGS)
    assert heard(machine, b"220 mx.example ESMTP\r\n") == [Banner(Reply(220, "", "mx.example ESMTP"))]
    assert machine.remote_name == "mx.example"
    said(machine, EHLO, PLAIN)
    for command in (MAIL, RCPT):
        assert said(machine, command, OK) == [Answer(command, Reply(250, "2.0.0", "Ok"))]
    assert said(machine, Data(), GO) == [Answer(Data(), Reply(354, "", "Go on"))]
    machine.begin_content()
    machine.content(b"x\r\n")
    machine.end_content()
    assert heard(machine, OK) == [ContentAnswer(EndOfData(), Reply(250, "2.0.0", "Ok"))]
    assert said(machine, Quit(), b"221 Bye\r\n") == [Answer(Quit(), Reply(221, "", "Bye")), Closed(Ending.QUIT)]
    assert machine.data_to_send() == (b"EHLO client.example\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n")


@pytest.mark.parametrize(
    ("group", "allowed"),
    [
        ([MAIL, RCPT, RCPT, Data()], True),
        ([Reset(), MAIL, RCPT, Reset(), MAIL], True),
        ([MAIL, RCPT, raw("NOOP")], True),
        ([MAIL, RCPT, Quit()], True),
        ([MAIL, RCPT, Bdat(0), Bdat(0, last=True), MAIL, RCPT], True),
        ([MAIL, RCPT, Data(), RCPT], False),
        ([raw("NOOP"), MAIL], False),
        ([MAIL, EHLO], False),
        ([Reset(), StartTls()], False),
        ([Quit(), Quit()], False),
        ([EHLO, MAIL], False),
    ],
    ids=lambda value: " ".join(command.line.partition(" ")[0] for command in value) if isinstance(value, list) else "",
)
def test_only_what_rfc_2920_lets_be_grouped_is_and_only_where_it_was_offered(group: list[Sendable], allowed: bool) -> None:
    machine = greeted()
    assert machine.oldest is None
    for command in group[:-1]:
        machine.send(command)
    assert machine.oldest is group[0]
    assert machine.may_send(group[-1]) is allowed
    assert machine.send_if_it_may(group[-1]) is allowed
    assert machine.outstanding == tuple(group if allowed else group[:-1])
    lockstep = greeted(PLAIN)
    lockstep.send(group[0])
    assert not any(lockstep.may_send(command) for command in ALL)


def test_answers_of_a_group_go_to_their_commands_in_order() -> None:
    machine = greeted()
    other = Rcpt("RCPT TO:<e@f>", Recipient(Address("e", "f")))
    for command in (MAIL, RCPT, other, Data()):
        machine.send(command)
    assert machine.outstanding == (MAIL, RCPT, other, Data())
    events = heard(machine, OK + NO + OK + GO)
    assert [(event.command, event.reply.code) for event in events if isinstance(event, Answer)] == [
        (MAIL, 250), (RCPT, 550), (other, 250), (Data(), 354),
    ]  # fmt: skip
    assert (machine.accepted, machine.state) == (1, ClientState.GO_AHEAD)


def test_no_more_commands_are_outstanding_than_the_limit_says() -> None:
    machine = greeted(settings=ClientSettings("x", limits=ClientLimits(outstanding=2)))
    machine.send(MAIL)
    machine.send(RCPT)
    assert not machine.may_send(RCPT)
    heard(machine, OK)
    assert machine.may_send(RCPT)


def test_the_next_message_may_follow_content_in_one_group() -> None:
    machine = in_content()
    machine.content(b"x\r\n")
    machine.end_content()
    machine.send(MAIL)
    machine.send(RCPT)
    assert heard(machine, OK + OK + NO) == [
        ContentAnswer(EndOfData(), Reply(250, "2.0.0", "Ok")),
        Answer(MAIL, Reply(250, "2.0.0", "Ok")),
        Answer(RCPT, Reply(550, "5.7.1", "No")),
    ]
    assert machine.state is ClientState.MAIL


def test_a_refused_mail_returns_to_ready_and_refused_recipients_leave_the_transaction_open() -> None:
    machine = greeted()
    said(machine, MAIL, NO)
    assert machine.state is ClientState.READY
    said(machine, MAIL, OK)
    said(machine, RCPT, NO)
    assert (machine.state, machine.may_send(Data()), machine.may_send(Reset())) == (ClientState.MAIL, False, True)
    said(machine, Reset(), OK)
    assert machine.state is ClientState.READY


def test_a_354_in_vain_may_only_be_followed_by_a_single_dot() -> None:
    machine = greeted()
    for command in (MAIL, RCPT, Data()):
        machine.send(command)
    heard(machine, OK + NO + GO)
    machine.begin_content()
    with pytest.raises(LocalProtocolError, match="no recipient"):
        machine.content(b"x")
    machine.data_to_send()
    machine.end_content()
    assert machine.data_to_send() == b".\r\n"
    assert heard(machine, b"554 5.5.1 No valid recipients\r\n")[0] == ContentAnswer(EndOfData(), Reply(554, "5.5.1", "No valid recipients"))
    assert machine.state is ClientState.READY


@pytest.mark.parametrize(
    ("refused", "reply", "expected"),
    [
        (EHLO, Reply(500), Hello("HELO client.example")),
        (EHLO, Reply(550), Hello("HELO client.example")),
        (EHLO, Reply(450), None),
        (Hello("HELO client.example"), Reply(500), None),
        (LMTP.greeting(), Reply(500), None),
    ],
)
def test_helo_is_tried_only_after_ehlo_was_refused_for_good(refused: Hello, reply: Reply, expected: Hello | None) -> None:
    assert SETTINGS.fallback(refused, reply) == expected


def test_helo_offers_nothing() -> None:
    machine = greeted(b"500 What?\r\n")
    assert machine.state is ClientState.GREETING
    said(machine, Hello("HELO client.example"), OFFER)
    assert (machine.extensions, machine.state) == ({}, ClientState.READY)


def test_starttls_forgets_what_was_said_and_drops_what_came_behind_it() -> None:
    machine = greeted()
    injected = b"250-evil.example\r\n250 SIZE 1\r\n421 x\r\n"
    assert [type(event) for event in said(machine, StartTls(), b"220 Go\r\n" + injected)] == [Answer]
    assert (machine.state, machine.reset_after_tls()) == (ClientState.TLS, len(injected))
    assert (machine.state, machine.extensions, machine.remote_name) == (ClientState.GREETING, {}, "")
    assert not machine.may_send(MAIL)
    assert heard(machine, b"") == []
    assert said(machine, EHLO, b"250 mx.example\r\n") == [Answer(EHLO, Reply(250, "", "mx.example"))]


def test_half_a_reply_behind_starttls_is_dropped_too() -> None:
    machine = greeted()
    said(machine, StartTls(), b"220 Go\r\n250-ev")
    machine.reset_after_tls()
    assert said(machine, EHLO, b"il\r\n") == [Broken("not a reply: 'il'"), Closed(Ending.BROKEN, (EHLO,))]


def test_a_refused_starttls_changes_nothing() -> None:
    machine = greeted()
    said(machine, StartTls(), b"454 4.7.0 Not now\r\n")
    assert (machine.state, machine.may_send(MAIL)) == (ClientState.READY, True)
    assert not greeted(PLAIN).may_send(StartTls())


def test_a_dialogue_goes_on_as_long_as_3xx_answers_it_and_returns_to_where_it_began() -> None:
    machine = greeted()
    said(machine, raw("AUTH LOGIN"), b"334 a\r\n")
    said(machine, Continuation("DATA"), b"334 b\r\n")
    assert machine.state is ClientState.DIALOGUE
    assert said(machine, Continuation("*"), b"501 x\r\n") == [Answer(Continuation("*"), Reply(501, "", "x"))]
    assert machine.state is ClientState.READY


def test_a_bdat_is_followed_by_exactly_its_octets() -> None:
    machine = in_transaction()
    machine.send(Bdat(6))
    assert not machine.may_send(Reset())
    machine.content(b".a\r\n")
    with pytest.raises(LocalProtocolError, match="room for 2"):
        machine.content(b"abc")
    machine.content(b"\r\n")
    machine.send(Bdat(3, last=True))
    machine.content(b"b\r\n")
    assert machine.data_to_send() == b"BDAT 6\r\n.a\r\n\r\nBDAT 3 LAST\r\nb\r\n"
    assert [type(event) for event in heard(machine, OK + OK)] == [Answer, ContentAnswer]
    assert machine.state is ClientState.READY


@pytest.mark.parametrize("pieces", [(b"a\nb",), (b"a\rb",), (b"a\r", b"b\n"), (b"ab\r",)])
def test_a_bdat_with_a_bare_newline_is_not_sent(pieces: tuple[bytes, ...]) -> None:
    machine = in_transaction()
    machine.send(Bdat(sum(map(len, pieces)), last=True))
    machine.data_to_send()
    with pytest.raises(LocalProtocolError, match="bare CR or LF"):  # noqa: PT012, as any of the pieces may be the one
        for piece in pieces:
            machine.content(piece)
    assert len(machine.data_to_send()) < sum(map(len, pieces))
    machine.disconnect()
    assert heard(machine, b"")[-1].fate is Fate.PARTIAL


def test_after_a_refused_bdat_only_rset_begins_anew() -> None:
    machine = in_transaction()
    machine.send(Bdat(1))
    machine.content(b"x")
    machine.send(Bdat(1, last=True))
    machine.content(b"y")
    assert heard(machine, NO + b"503 5.5.1 No\r\n") == [
        Answer(Bdat(1), Reply(550, "5.7.1", "No")),
        ContentAnswer(Bdat(1, last=True), Reply(503, "5.5.1", "No")),
    ]
    assert machine.state is ClientState.FAILED


def test_lmtp_has_an_answer_for_each_accepted_recipient_in_order() -> None:
    machine = greeted(settings=LMTP)
    for command in (MAIL, RCPT, RCPT, RCPT, Data()):
        machine.send(command)
    heard(machine, OK + OK + NO + OK + GO)
    machine.begin_content()
    machine.end_content()
    assert heard(machine, OK) == [ContentAnswer(EndOfData(), Reply(250, "2.0.0", "Ok"), 0)]
    assert machine.outstanding == (EndOfData(),)
    assert heard(machine, NO) == [ContentAnswer(EndOfData(), Reply(550, "5.7.1", "No"), 1)]
    assert (machine.outstanding, machine.state) == ((), ClientState.READY)


def test_lmtp_answers_each_recipient_of_the_last_bdat_too() -> None:
    machine = in_transaction(2, LMTP)
    machine.send(Bdat(1, last=True))
    machine.content(b"x")
    assert [event.recipient for event in heard(machine, NO + OK) if isinstance(event, ContentAnswer)] == [0, 1]
    assert machine.state is ClientState.READY


def test_a_refusal_may_be_treated_as_a_grant_but_lmtp_recipients_may_not() -> None:
    machine = greeted()
    said(machine, MAIL, NO)
    machine.treat_as_accepted()
    assert machine.state is ClientState.MAIL
    with pytest.raises(LocalProtocolError):
        machine.treat_as_accepted()
    said(machine, RCPT, NO)
    machine.treat_as_accepted()
    assert (machine.state, machine.accepted) == (ClientState.RCPT, 1)
    lmtp = in_transaction(0, LMTP)
    said(lmtp, RCPT, NO)
    with pytest.raises(LocalProtocolError):
        lmtp.treat_as_accepted()


def test_an_edited_command_is_what_it_was_and_its_answer_names_it() -> None:
    machine = greeted()
    command = edited(MAIL, "mail from:<x@y> XFOO=1")
    assert said(machine, command, OK) == [Answer(command, Reply(250, "2.0.0", "Ok"))]
    assert (command.sender, machine.state) == (MAIL.sender, ClientState.MAIL)
    assert machine.data_to_send() == b"mail from:<x@y> XFOO=1\r\n"


def test_only_the_last_event_may_be_treated_otherwise() -> None:
    machine = greeted()
    said(machine, MAIL, NO)
    said(machine, raw("NOOP"), OK)
    with pytest.raises(LocalProtocolError):
        machine.treat_as_accepted()


def test_lmtp_counts_the_answers_of_each_message_anew() -> None:
    machine = in_transaction(2, LMTP)
    for recipients in (2, 1):
        said(machine, Data(), GO)
        machine.begin_content()
        machine.end_content()
        answers = [event.recipient for event in heard(machine, OK * recipients) if isinstance(event, ContentAnswer)]
        assert answers == list(range(recipients))
        assert machine.state is ClientState.READY
        said(machine, MAIL, OK)
        said(machine, RCPT, OK)


@pytest.mark.parametrize(
    ("settings", "command", "answer"),
    [(LMTP, Data(), GO), (LMTP, Bdat(0), OK), (SETTINGS, Bdat(0), OK), (LMTP, Bdat(0, last=True), OK), (SETTINGS, Bdat(0, last=True), OK)],
)
def test_content_for_nobody_cannot_be_granted(settings: ClientSettings, command: Sendable, answer: bytes) -> None:
    machine = greeted(settings=settings)
    for sent in (MAIL, RCPT, command):
        machine.send(sent)
    assert [type(event) for event in heard(machine, OK + NO + answer)][-2:] == [Broken, Closed]


def test_a_chunk_that_ends_in_cr_spoils_an_empty_last_one_but_not_the_next_message() -> None:
    for command in (Bdat(0, last=True), Reset()):
        machine = in_transaction()
        machine.send(Bdat(1))
        machine.content(b"\r")
        heard(machine, OK)
        if command == Reset():
            for sent in (Reset(), MAIL, RCPT):
                said(machine, sent, OK)
            machine.send(Bdat(1, last=True))
            machine.content(b"x")
        else:
            with pytest.raises(LocalProtocolError, match="bare CR or LF"):
                machine.send(command)


def test_nothing_that_comes_after_the_end_is_heard() -> None:
    machine = greeted()
    machine.send(MAIL)
    machine.receive_data(b"")
    assert heard(machine, OK) == [Closed(Ending.EOF, (MAIL,))]


# How a session ends: from which state, what is outstanding, what the server does, and what is certain then.
@pytest.mark.parametrize(
    ("state", "commands", "data", "expected"),
    [
        (ClientState.CONNECTED, [], b"", [Closed(Ending.EOF)]),
        (ClientState.CONNECTED, [], b"421 busy\r\n", [Banner(Reply(421, "", "busy")), Closed(Ending.SHUTTING_DOWN)]),
        (ClientState.READY, [], b"", [Closed(Ending.EOF)]),
        (ClientState.READY, [], b"421 x\r\n", [Unsolicited(Reply(421, "", "x")), Closed(Ending.SHUTTING_DOWN)]),
        (ClientState.READY, [MAIL, RCPT], b"421 x\r\n", [Answer(MAIL, Reply(421, "", "x")), Closed(Ending.SHUTTING_DOWN, (RCPT,))]),
        (ClientState.READY, [MAIL, RCPT], b"", [Closed(Ending.EOF, (MAIL, RCPT))]),
        (ClientState.READY, [MAIL], b"foo bar\r\n", [Broken("not a reply: 'foo bar'"), Closed(Ending.BROKEN, (MAIL,))]),
        (ClientState.READY, [MAIL], GO, [Answer(MAIL, Reply(354, "", "Go on")), Broken("354 in answer to MAIL"), Closed(Ending.BROKEN)]),
        (ClientState.RCPT, [Data()], OK, [
            Answer(Data(), Reply(250, "2.0.0", "Ok")), Broken("250 in answer to DATA"), Closed(Ending.BROKEN),
        ]),
        (ClientState.GO_AHEAD, [], b"", [Closed(Ending.EOF, (), Fate.PARTIAL)]),
        (ClientState.CONTENT, [], b"", [Closed(Ending.EOF, (), Fate.PARTIAL)]),
        (ClientState.CONTENT, [], NO, [
            ContentAnswer(EndOfData(), Reply(550, "5.7.1", "No")), Broken("550 before the content was sent"), Closed(Ending.BROKEN),
        ]),
        (ClientState.CONTENT, [], b"421 x\r\n", [ContentAnswer(EndOfData(), Reply(421, "", "x")), Closed(Ending.SHUTTING_DOWN)]),
        (ClientState.CONTENT, [], OK, [Broken("250 before the content was sent"), Closed(Ending.BROKEN, (), Fate.PARTIAL)]),
        (ClientState.CHUNKS, [], b"", [Closed(Ending.EOF, (), Fate.PARTIAL)]),
        (ClientState.RCPT, [Bdat(0)], b"", [Closed(Ending.EOF, (Bdat(0),), Fate.PARTIAL)]),
        (ClientState.RCPT, [Bdat(2, last=True)], b"", [Closed(Ending.EOF, (Bdat(2, last=True),), Fate.PARTIAL)]),
        (ClientState.RCPT, [Bdat(2, last=True)], OK, [
            Broken("250 before the content was sent"), Closed(Ending.BROKEN, (Bdat(2, last=True),), Fate.PARTIAL),
        ]),
        (ClientState.RCPT, [Bdat(2)], NO, [
            Answer(Bdat(2), Reply(550, "5.7.1", "No")), Broken("550 before the content was sent"), Closed(Ending.BROKEN),
        ]),
        (ClientState.RCPT, [Bdat(0, last=True)], b"", [Closed(Ending.EOF, (Bdat(0, last=True),), Fate.UNCERTAIN)]),
        (ClientState.RCPT, [Bdat(0), Bdat(0, last=True), MAIL, RCPT, Bdat(3)], b"", [
            Closed(Ending.EOF, (Bdat(0), Bdat(0, last=True), MAIL, RCPT, Bdat(3)), Fate.UNCERTAIN),
        ]),
        (ClientState.RCPT, [Bdat(0), Bdat(0, last=True)], NO + b"250", [
            Answer(Bdat(0), Reply(550, "5.7.1", "No")), Closed(Ending.EOF, (Bdat(0, last=True),), Fate.PARTIAL),
        ]),
        (ClientState.RCPT, [Bdat(0), Bdat(0, last=True)], NO + OK, [
            Answer(Bdat(0), Reply(550, "5.7.1", "No")),
            Broken("250 in answer to the content"),
            Closed(Ending.BROKEN, (Bdat(0, last=True),), Fate.PARTIAL),
        ]),
        (ClientState.READY, [Quit()], b"", [Closed(Ending.EOF, (Quit(),))]),
        (ClientState.READY, [Quit()], b"500 what?\r\n", [Answer(Quit(), Reply(500, "", "what?")), Closed(Ending.QUIT)]),
        (ClientState.READY, [StartTls()], b"220 go\r\n", [Answer(StartTls(), Reply(220, "", "go")), Closed(Ending.EOF)]),
    ],
)  # fmt: skip
def test_how_a_session_ends(state: ClientState, commands: list[Sendable], data: bytes, expected: list[Event]) -> None:
    machine = at(state)
    for command in commands:
        machine.send(command)
    events = heard(machine, data)
    machine.receive_data(b"")
    assert events + heard(machine, b"") == expected
    assert machine.is_closed
    machine.receive_data(b"250 late\r\n")
    assert (heard(machine, b""), machine.pending, machine.outstanding) == ([], 0, ())


@pytest.mark.parametrize("end", ["eof", "421", "disconnect", "garbage"])
def test_content_that_was_sent_and_not_answered_is_uncertain_however_the_session_ends(end: str) -> None:
    machine = in_content(2, LMTP)
    machine.end_content()
    events = heard(machine, OK)
    if end == "disconnect":
        machine.disconnect()
    elif end == "eof":
        machine.receive_data(b"")
    else:
        machine.receive_data(b"???\r\n" if end == "garbage" else b"250-\r\n")
        machine.receive_data(b"")
    closed = heard(machine, b"")[-1]
    assert events == [ContentAnswer(EndOfData(), Reply(250, "2.0.0", "Ok"), 0)]
    assert isinstance(closed, Closed)
    assert (closed.outstanding, closed.fate) == ((EndOfData(),), Fate.UNCERTAIN)


def test_a_reply_that_nobody_asked_for_leaves_only_quit() -> None:
    machine = greeted()
    # The first line lacks its hyphen: the second would be taken for the answer to MAIL.
    assert heard(machine, OK) == [Unsolicited(Reply(250, "2.0.0", "Ok"))]
    assert not machine.may_send(MAIL)
    assert said(machine, Quit(), OK)[-1] == Closed(Ending.QUIT)


def test_disconnect_ends_it_once() -> None:
    machine = greeted()
    machine.send(MAIL)
    machine.disconnect()
    machine.disconnect()
    assert heard(machine, OK) == [Closed(Ending.DISCONNECTED, (MAIL,))]


def test_how_long_to_wait_depends_on_what_is_outstanding() -> None:
    times = Timeouts()
    waits = [times.of(command) for command in (None, EHLO, MAIL, RCPT, Data(), Bdat(1), EndOfData(), Quit())]
    assert waits == [300, 300, 300, 300, 120, 600, 600, 20]


PRDR_OFFER = b"250-mx.example\r\n250-PIPELINING\r\n250-CHUNKING\r\n250 PRDR\r\n"
PRDR_MAIL = Mail("MAIL FROM:<a@b> PRDR", Address("a", "b"))
EACH = b"353 analysis has started\r\n"
BUSY = b"450 4.2.1 Busy\r\n"


def in_prdr(recipients: int, chunked: bool = False) -> ClientMachine:
    """Content is sent to its end, for recipients that are each to be answered."""
    machine = greeted(PRDR_OFFER)
    said(machine, PRDR_MAIL, OK)
    for _ in range(recipients):
        said(machine, RCPT, OK)
    if chunked:
        machine.send(Bdat(1, last=True))
        machine.content(b"x")
    else:
        said(machine, Data(), GO)
        machine.begin_content()
        machine.end_content()
    machine.data_to_send()
    return machine


def answers(events: list[Event]) -> list[tuple[int | None, int]]:
    assert all(isinstance(event, ContentAnswer) for event in events)
    return [(event.recipient, event.reply.code) for event in events if isinstance(event, ContentAnswer)]


@pytest.mark.parametrize("chunked", [False, True])
def test_with_prdr_each_recipient_is_answered_and_the_last_reply_lets_it_hold(chunked: bool) -> None:
    machine = in_prdr(3, chunked)
    assert heard(machine, EACH + OK + NO + BUSY) == []
    assert answers(heard(machine, OK)) == [(0, 250), (1, 550), (2, 450)]
    assert (machine.state, machine.outstanding) == (ClientState.READY, ())
    # The next transaction has one answer again, if it did not ask for more.
    said(machine, MAIL, OK)
    said(machine, RCPT, OK)
    said(machine, Data(), GO)
    machine.begin_content()
    machine.end_content()
    assert answers(heard(machine, OK)) == [(None, 250)]


@pytest.mark.parametrize("chunked", [False, True])
def test_with_prdr_nobody_has_it_when_the_last_reply_refuses(chunked: bool) -> None:
    machine = in_prdr(2, chunked)
    assert answers(heard(machine, EACH + OK + NO + BUSY)) == [(0, 450), (1, 550)]
    assert machine.state is (ClientState.FAILED if chunked else ClientState.READY)


def test_a_server_may_answer_for_all_at_once_in_spite_of_prdr() -> None:
    assert answers(heard(in_prdr(2), OK)) == [(None, 250)]
    assert answers(heard(in_prdr(2), NO)) == [(None, 550)]


@pytest.mark.parametrize("cut", [b"", OK, OK + NO, OK + OK[:5]])
def test_a_server_that_goes_before_the_last_reply_leaves_it_uncertain(cut: bytes) -> None:
    machine = in_prdr(2)
    heard(machine, EACH + cut)
    machine.receive_data(b"")
    assert heard(machine, b"") == [Closed(Ending.EOF, (EndOfData(),), Fate.UNCERTAIN)]


@pytest.mark.parametrize("odd", [EACH + EACH, EACH + OK + GO, EACH + OK + OK + GO])
def test_what_cannot_answer_for_a_recipient_ends_the_session(odd: bytes) -> None:
    events = heard(in_prdr(2), odd)
    assert [type(event) for event in events] == [Broken, Closed]
    assert events[-1] == Closed(Ending.BROKEN, (EndOfData(),), Fate.UNCERTAIN)


def test_without_prdr_a_353_means_nothing() -> None:
    machine = in_content()
    machine.end_content()
    assert isinstance(heard(machine, EACH)[0], Broken)


def test_a_recipient_that_prdr_answers_for_cannot_be_treated_as_accepted() -> None:
    machine = greeted(PRDR_OFFER)
    said(machine, PRDR_MAIL, OK)
    said(machine, RCPT, NO)
    with pytest.raises(LocalProtocolError):
        machine.treat_as_accepted()
