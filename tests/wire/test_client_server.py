"""Our client and our server talk to each other over a link that splits what it carries: every message comes through exactly."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.mail.address import Address
from penstock.mail.envelope import MailParameters, Recipient
from penstock.mail.reply import Reply
from penstock.wire.smtp.client import ClientMachine
from penstock.wire.smtp.client_events import NEED_DATA, Answer, Closed, ContentAnswer, Ending, Event
from penstock.wire.smtp.client_parameters import Facts, Needs, mail_command, rcpt_command
from penstock.wire.smtp.client_settings import ClientSettings
from penstock.wire.smtp.extension import STANDARD
from penstock.wire.smtp.happening import ContentEnd, Question
from penstock.wire.smtp.happening import Mail as MailQuestion
from penstock.wire.smtp.happening import Rcpt as RcptQuestion
from penstock.wire.smtp.outgoing import Bdat, Data, Quit, Reset, Sendable
from penstock.wire.smtp.server import ServerMachine
from penstock.wire.smtp.settings import ServerSettings
from wire.driver import BANNER, HOSTNAME, Host

SENDER = Address("Alice Smith", "client.example")
PARAMETERS = MailParameters(ret="HDRS", envid="id +=1", smtputf8=True)
NO = Reply(550, "5.1.1", "Nobody here")
Split = Callable[[bytes], Iterator[bytes]]


def whole(data: bytes) -> Iterator[bytes]:
    # No octets are no piece: they would mean the end.
    if data:
        yield data


def octets(data: bytes) -> Iterator[bytes]:
    for at in range(len(data)):
        yield data[at : at + 1]


def randomly(seed: int) -> Split:
    dice = random.Random(seed)

    def split(data: bytes) -> Iterator[bytes]:
        while data:
            size = dice.choice((1, 2, 5, 40, 1000))
            yield data[:size]
            data = data[size:]

    return split


def refuse_strangers(machine: ServerMachine, question: Question) -> bool:
    if isinstance(question, RcptQuestion) and question.recipient.address.local.startswith("no"):
        machine.refuse(NO)
        return True
    if isinstance(question, ContentEnd) and question.size == 13:
        machine.refuse(Reply(554, "5.7.1", "Unlucky"))
        return True
    return False


class Link:
    """A client whose host sends what it may, and a server, with what each says cut into pieces on the way.

    Args:
        split: cuts what is carried.
        without: keywords that the server does not offer.
    """

    def __init__(self, split: Split, without: tuple[str, ...] = ()) -> None:
        rows = tuple(row for row in STANDARD if row.keyword not in without)
        self.server = Host(ServerSettings(HOSTNAME, extensions=rows), refuse_strangers)
        self.client = ClientMachine(ClientSettings("client.example"))
        self.split = split
        self.events: list[Event] = []
        self.writes = 0
        self._hear(self.server.said)
        self.send(ClientSettings("client.example").greeting())
        self.carry()

    def _hear(self, data: bytes) -> None:
        for piece in self.split(data):
            self.client.receive_data(piece)
            while not isinstance(event := self.client.next_event(), type(NEED_DATA)):
                self.events.append(event)

    def carry(self) -> None:
        """Carries what the client has to say to the server, and what that says back."""
        data = self.client.data_to_send()
        self.writes += bool(data)
        for piece in self.split(data):
            self._hear(self.server.feed(piece))

    def send(self, command: Sendable) -> None:
        if not self.client.may_send(command):
            self.carry()
        self.client.send(command)

    def deliver(self, recipients: list[Recipient], content: bytes, chunk: int) -> None:
        """Hands over one message: with BDAT in chunks of this many octets, with DATA when it is 0."""
        offered = self.client.offered
        self.send(mail_command(SENDER, PARAMETERS, Facts(len(content), utf8=True), offered).command)
        for recipient in recipients:
            self.send(rcpt_command(recipient, offered).command)
        if chunk or not self.client.may_send(Data()):
            self.carry()
        if chunk and self.client.accepted:
            for at in range(0, len(content) or 1, chunk):
                piece = content[at : at + chunk]
                self.send(Bdat(len(piece), last=at + chunk >= len(content)))
                self.client.content(piece) if piece else None
        elif not chunk and self.client.may_send(Data()):
            self.send(Data())
            self.carry()
            if self.client.state.name == "GO_AHEAD":
                self.client.begin_content()
                for piece in self.split(content):
                    self.client.content(piece)
                self.client.end_content()
        self.carry()
        if self.client.state.name != "READY":
            self.send(Reset())
            self.carry()


SPLITS = {"whole": whole, "octet by octet": octets, "randomly": randomly(7)}
WITHOUT = {
    "everything": (),
    "no pipelining": ("PIPELINING",),
    "no extensions": tuple(row.keyword for row in STANDARD if row.keyword != "SMTPUTF8"),
}
WAYS = [
    pytest.param(without, chunk, id=f"{name}, {chunk or 'DATA'}")
    for name, without in WITHOUT.items()
    for chunk in (0, 7, 4096)
    if not chunk or "CHUNKING" not in without
]
CONTENT = b"Subject: x\r\n\r\n.dots\r\n..\r\n.\r\n\r\nend\x00\xff\r\n"


@pytest.mark.parametrize("split", SPLITS.values(), ids=SPLITS)
@pytest.mark.parametrize(("without", "chunk"), WAYS)
def test_messages_with_many_recipients_some_refused_come_through(split: Split, without: tuple[str, ...], chunk: int) -> None:
    link = Link(split, without)
    names = ["bob", "no-1", "x y", "no-2", "é", *(f"r{number}" for number in range(40))]
    recipients = [Recipient(Address(name, "d.example"), notify=frozenset({"failure"}), orcpt="rfc822;a+b@c") for name in names]
    link.deliver(recipients, CONTENT, chunk)
    link.deliver([Recipient(Address("no-3", "d.example"))], CONTENT, chunk)
    link.deliver(recipients[:1], b"thirteen oct\n" if not chunk else b"thirteen oc\r\n", chunk)
    link.deliver(recipients[:1], b"second\r\n", chunk)
    link.send(Quit())
    link.carry()
    link.server.feed(b"")
    assert link.server.messages == ([CONTENT, b"second\r\n"] if chunk else [CONTENT, b"thirteen oct\r\n", b"second\r\n"])
    asked = [event.recipient for event in link.server.happened if isinstance(event, RcptQuestion)]
    assert [recipient.address.local for recipient in asked[: len(names)]] == names
    offers_dsn = "DSN" not in without
    assert asked[0].orcpt == ("rfc822;a+b@c" if offers_dsn else "")
    mail = next(event for event in link.server.happened if isinstance(event, MailQuestion))
    assert (mail.sender, mail.parameters.envid) == (SENDER, "id +=1" if offers_dsn else "")
    answers = [event for event in link.events if isinstance(event, Answer) and event.reply == NO]
    assert [answer.command.line for answer in answers] == [f"RCPT TO:<no-{n}@d.example>" + (
        " NOTIFY=FAILURE ORCPT=rfc822;a+2Bb@c" if offers_dsn and n < 3 else ""
    ) for n in (1, 2, 3)]  # fmt: skip
    assert [event.reply.code for event in link.events if isinstance(event, ContentAnswer)] == (
        [250, 554, 250] if chunk else [250, 250, 250]
    )
    assert link.events[-1] == Closed(Ending.QUIT)


def test_pipelining_saves_the_waits() -> None:
    writes = []
    for without in ((), ("PIPELINING",)):
        link = Link(whole, without)
        link.deliver([Recipient(Address(f"r{number}", "d.example")) for number in range(50)], CONTENT, 0)
        assert len(link.server.messages) == 1
        writes.append(link.writes)
    # EHLO, the group with DATA, content; or every command by itself.
    assert writes == [3, 1 + 52 + 1]


def test_what_the_server_does_not_offer_is_said() -> None:
    link = Link(whole, tuple(row.keyword for row in STANDARD))
    built = mail_command(SENDER, PARAMETERS, Facts(5, eight_bit=True, utf8=True), link.client.offered)
    assert built.unmet == {Needs.EIGHT_BIT, Needs.UTF8, Needs.DSN}
    link = Link(whole)
    assert link.client.offered.size == 25 * 1024 * 1024
    assert link.client.offered.limit("RCPTMAX") == 1000
    assert link.client.remote_name == HOSTNAME == BANNER.text.split()[0]


legal = st.lists(st.sampled_from([b".", b"..", b"a.", b"", b".a", b"\x00\xff", b"QUIT", b"x" * 900])).map(
    lambda lines: b"".join(line + b"\r\n" for line in lines)
)


@given(st.lists(legal, min_size=1, max_size=3), st.integers(0, 60), st.integers(0, 10**6), st.booleans())
@settings(max_examples=60, deadline=None)
def test_any_legal_content_comes_through_any_link(contents: list[bytes], chunk: int, seed: int, pipelining: bool) -> None:
    link = Link(randomly(seed), () if pipelining else ("PIPELINING",))
    contents = [content for content in contents if len(content) != 13]
    for content in contents:
        link.deliver([Recipient(Address("bob", "d.example"))], content, chunk)
    assert link.server.messages == contents
    assert all(event.reply.is_positive for event in link.events if isinstance(event, (Answer, ContentAnswer)))
